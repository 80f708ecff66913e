//! The commands `pause` and `resume`: files in the masters' base directories, which the masters
//! look at before they start a build (`templates/fdroid_bb/common/pauses.py`).

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use fdroid_bb::compile;
use fdroid_bb::config::Name;
use fdroid_bb::fdroid::AppId;
use fdroid_bb::pipeline::Pipeline;
use fdroid_bb::text::{nearest, shown};

use crate::cli::{Inputs, Paused};
use crate::{Exit, file, report};

/// The folder in a base directory.
const FOLDER: &str = "paused";

/// Pauses, where there is a reason to give; else resumes. Without anything to pause, says what is.
pub fn pause(
    inputs: &Inputs,
    what: &Paused,
    reason: Option<&str>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let description = match compile::description(&inputs.config, inputs.overlay.as_deref()) {
        Ok(description) => description,
        Err(findings) => {
            report::findings(err, &findings)?;
            return Ok(Exit::Invalid);
        }
    };
    let result = match name(what, &description.pipeline) {
        Ok(Some(name)) => set(&description.pipeline, what, &name, reason, out),
        Ok(None) => tell(&description.pipeline, what, out),
        Err(stop) => Err(stop),
    };
    match result {
        Ok(()) => Ok(Exit::Clean),
        Err((message, help)) => {
            writeln!(err, "error: {message}\nhelp: {help}")?;
            Ok(Exit::Invalid)
        }
    }
}

/// A message and a remedy.
type Stop = (String, String);

/// The name of the file.
fn name(what: &Paused, pipeline: &Pipeline) -> Result<Option<String>, Stop> {
    if let Some(app) = &what.app {
        let Some(app) = AppId::new(app) else {
            let message = format!("`{}` is no application id", shown(app));
            return Err((message, "`fdroid-bb apps` lists all apps".to_owned()));
        };
        return Ok(Some(format!("app-{}", app.as_str())));
    }
    if let Some(builder) = &what.builder {
        let masters = pipeline.masters.values();
        let known: Vec<&str> =
            masters.flat_map(|master| master.builders.keys()).map(Name::as_str).collect();
        if !known.contains(&builder.as_str()) {
            let help = match nearest(builder, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", known.join(", ")),
            };
            return Err((format!("there is no builder `{}`", shown(builder)), help));
        }
        return Ok(Some(format!("builder-{builder}")));
    }
    Ok(what.all.then(|| "everything".to_owned()))
}

/// The base directories of the masters that are meant, and on this machine.
fn basedirs(pipeline: &Pipeline, what: &Paused) -> Result<Vec<(String, PathBuf)>, Stop> {
    let has = |builder: &String, master: &fdroid_bb::pipeline::Master| {
        master.builders.keys().any(|name| name.as_str() == builder)
    };
    let masters = pipeline.masters.iter();
    let meant = masters.filter(|(_, m)| what.builder.as_ref().is_none_or(|b| has(b, m)));
    let meant: Vec<(String, PathBuf)> = meant
        .map(|(name, _)| (name.as_str().to_owned(), what.basedirs.join(name.as_str())))
        .filter(|(_, basedir)| basedir.is_dir())
        .collect();
    if meant.is_empty() {
        let message = format!("`{}` has no base directory of a master", what.basedirs.display());
        return Err((message, "give the folder that holds them with `--basedirs`".to_owned()));
    }
    Ok(meant)
}

fn set(
    pipeline: &Pipeline,
    what: &Paused,
    name: &str,
    reason: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    for (master, basedir) in basedirs(pipeline, what)? {
        let path = basedir.join(FOLDER).join(name);
        let done = match reason {
            Some(reason) => put(&path, reason),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                done => done,
            },
        };
        done.map_err(|error| {
            let message = format!("`{}` cannot be written: {error}", path.display());
            (message, "run as the user of the master".to_owned())
        })?;
        let (shown, verb) =
            (name.replacen('-', " ", 1), if reason.is_some() { "" } else { "no longer " });
        let goes_on = if reason.is_some() { "; what runs goes on" } else { "" };
        // A reader who has gone away does not undo what was done.
        let _ = writeln!(out, "{master}: {verb}paused: {shown}{goes_on}");
    }
    Ok(())
}

fn put(path: &Path, reason: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    file::replace(path, &format!("{line}\n"), Some(0o644))
}

/// Says what is paused.
fn tell(pipeline: &Pipeline, what: &Paused, out: &mut dyn Write) -> Result<(), Stop> {
    for (master, basedir) in basedirs(pipeline, what)? {
        let mut lines: Vec<String> = paused(&basedir).iter().map(Pause::line).collect();
        if lines.is_empty() {
            lines.push("nothing".to_owned());
        }
        for line in lines {
            let _ = writeln!(out, "{master}: paused: {line}");
        }
    }
    Ok(())
}

/// What is paused on a master.
pub struct Pause {
    /// `everything`, `app APPID` or `builder NAME`.
    pub what: String,
    /// In one line; empty if none is known.
    pub reason: String,
}

impl Pause {
    /// For a person.
    pub fn line(&self) -> String {
        match self.reason.as_str() {
            "" => shown(&self.what),
            reason => format!("{}: {}", shown(&self.what), shown(reason)),
        }
    }
}

/// All that is paused on the master of this base directory, in order.
pub fn paused(basedir: &Path) -> Vec<Pause> {
    let entries = fs::read_dir(basedir.join(FOLDER)).into_iter().flatten().flatten();
    let mut found: Vec<Pause> = entries
        .map(|entry| Pause {
            what: entry.file_name().to_string_lossy().replacen('-', " ", 1),
            reason: fs::read_to_string(entry.path()).unwrap_or_default().trim().to_owned(),
        })
        .collect();
    found.sort_by(|a, b| a.what.cmp(&b.what));
    found
}
