//! The command `generate`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use fdroid_bb::finding::Finding;
use fdroid_bb::render::{POLLERS, polled_apps};
use fdroid_bb::text::{count, list};
use fdroid_bb::write::{self, Changes, OutputSet, SET_DIR, WriteError};
use fdroid_bb::{compile, load};
use serde_json::json;

use crate::Exit;
use crate::cli::{Format, Inputs, Strictness};
use crate::input::{self, Read};
use crate::report::{self, Totals, tally, thousands};

/// The version of the JSON that `--format json` gives.
const JSON_VERSION: u32 = 1;

/// The most names that a message spells out.
const NAMES_SHOWN: usize = 10;

/// What `generate` was asked for.
pub struct Options {
    pub folder: PathBuf,
    pub check: bool,
    pub accept_vanishing: bool,
    pub strictness: Strictness,
    pub format: Format,
}

/// Compiles, and writes the output or compares it with what is there.
pub fn generate(
    inputs: &Inputs,
    options: &Options,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let started = Instant::now();
    let format = options.format;
    let read = match input::read(inputs) {
        Ok(read) => read,
        Err(findings) => return invalid(&findings, format, out, err),
    };
    if format == Format::Text {
        report::findings(err, &read.findings)?;
    }
    let exit = input::exit(&read.findings, &options.strictness, &read.apps);
    if exit != Exit::Clean {
        say_result(&read, None, started, format, out)?;
        writeln!(err, "error: nothing was written, because of the findings")?;
        return Ok(exit);
    }
    let pollers = read.apps.pollers();
    let files = match compile::output(&read.description.pipeline, &pollers) {
        Ok(files) => files,
        Err(error) => {
            writeln!(err, "error: a template of fdroid-bb is broken: {error}")?;
            writeln!(err, "help: this is a fault of fdroid-bb; please report it")?;
            return Ok(Exit::Invalid);
        }
    };
    let limit = read.description.pipeline.guard.vanishing_percent;
    if let Some(loss) = vanishing(&options.folder, &files, limit)
        && !options.check
        && !options.accept_vanishing
    {
        if format == Format::Json {
            let document = json!({
                "version": JSON_VERSION,
                "findings": read.findings,
                "vanishing": loss,
            });
            writeln!(out, "{document}")?;
            return Ok(Exit::Guard);
        }
        writeln!(err, "error: {loss}")?;
        writeln!(
            err,
            "help: see that `--fdroiddata` and `--rev` are right; if so, run again with \
             `--accept-vanishing`"
        )?;
        return Ok(Exit::Guard);
    }
    let provenance = json!({
        "fdroid-bb": env!("CARGO_PKG_VERSION"),
        "fdroiddata": read.tree.commit,
    });
    let written = output_set(files).and_then(|set| {
        if options.check {
            write::compare(&options.folder, &set)
        } else {
            write::write(&options.folder, &set, &provenance)
        }
    });
    let changes = match written {
        Ok(changes) => changes,
        Err(error) => {
            writeln!(err, "error: {error}\nhelp: {}", error.help())?;
            return Ok(Exit::Invalid);
        }
    };
    say_result(&read, Some((&changes, options)), started, format, out)?;
    // The process ends: to free what thousands of apps hold would be for nothing.
    std::mem::forget(read);
    if options.check && !changes.is_empty() {
        let path = |path: &Path| quoted(&path.display().to_string());
        write!(err, "to update it: fdroid-bb generate --config {}", path(&inputs.config))?;
        write!(err, " --fdroiddata {}", path(&inputs.fdroiddata))?;
        if let Some(rev) = &inputs.rev {
            write!(err, " --rev {}", quoted(rev))?;
        }
        writeln!(err, " --out {}", path(&options.folder))?;
        return Ok(Exit::Changes);
    }
    Ok(Exit::Clean)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@^~".contains(c);
    if !word.is_empty() && !word.starts_with('~') && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

pub fn output_set(files: BTreeMap<String, String>) -> Result<OutputSet, WriteError> {
    let mut set = OutputSet::new();
    for (path, text) in files {
        set.insert(path, text)?;
    }
    Ok(set)
}

/// What to say if more than `limit` percent of a master's pollers would vanish, or if nobody can
/// tell.
pub fn vanishing(folder: &Path, files: &BTreeMap<String, String>, limit: u8) -> Option<String> {
    let unknown = |path: &Path, error: &io::Error| {
        let path = path.display();
        format!("`{path}` cannot be read, so nobody can tell which pollers would vanish: {error}")
    };
    let set = folder.join(SET_DIR);
    let folders = match std::fs::read_dir(&set) {
        Ok(folders) => folders,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(unknown(&set, &error)),
    };
    let mut masters: Vec<String> = folders
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    masters.sort();
    masters.iter().find_map(|master| {
        let file = set.join(master).join(POLLERS);
        let new = files.get(&format!("{master}/{POLLERS}")).map_or("", String::as_str);
        if write::holds(&file, new.as_bytes()).unwrap_or(false) {
            return None;
        }
        let old = match std::fs::read_to_string(&file) {
            Ok(old) => old,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return Some(unknown(&file, &error)),
        };
        let apps = polled_apps(&old);
        let mut now = polled_apps(new).into_iter().peekable();
        let mut gone = apps.clone();
        gone.retain(|id| {
            while now.next_if(|other| other < id).is_some() {}
            now.peek() != Some(id)
        });
        (gone.len() * 100 > apps.len() * usize::from(limit)).then(|| {
            let more = gone.len().saturating_sub(NAMES_SHOWN);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!(
                "{} of {} pollers of the master `{master}` would vanish, and the guard allows \
                 {limit} %: {}{more}",
                thousands(gone.len()),
                thousands(apps.len()),
                list(gone.get(..NAMES_SHOWN).unwrap_or(&gone)),
            )
        })
    })
}

pub fn invalid(
    findings: &[Finding],
    format: Format,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    match format {
        Format::Text => {
            report::findings(err, findings)?;
            writeln!(err, "findings: {}", tally(findings))?;
        }
        Format::Json => {
            writeln!(out, "{}", json!({ "version": JSON_VERSION, "findings": findings }))?;
        }
    }
    Ok(Exit::Invalid)
}

/// The closing lines: what was read, what is active, what changed, how long it took.
pub fn say_result(
    read: &Read,
    written: Option<(&Changes, &Options)>,
    started: Instant,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    let totals = Totals::of(&read.apps);
    let took = started.elapsed();
    if format == Format::Json {
        let document = json!({
            "version": JSON_VERSION,
            "fdroiddata": read.tree.commit,
            "apps": {
                "read": totals.apps,
                "active": totals.active,
                "inactive": totals.inactive,
                "quarantined": totals.quarantined,
            },
            "srclibs": read.apps.srclibs.len(),
            "findings": read.findings,
            "changes": written.map(|(changes, _)| changes),
            "milliseconds": took.as_millis() as u64,
        });
        return writeln!(out, "{document}");
    }
    let apps = if totals.apps == 1 { "app" } else { "apps" };
    let apps = format!("{} {apps}", thousands(totals.apps));
    let srclibs = count(read.apps.srclibs.len(), "srclib");
    write!(out, "read      {apps} in `{}`, {srclibs}", load::METADATA)?;
    match &read.tree.commit {
        Some(commit) => writeln!(out, ", at {}", commit.get(..12).unwrap_or(commit))?,
        None => writeln!(out)?,
    }
    let active = totals.active();
    let inactive = totals.apps - active;
    for (what, number, kinds) in [
        ("active  ", active, totals.active_kinds()),
        ("inactive", inactive, totals.inactive_reasons()),
    ] {
        let colon = if kinds.is_empty() { "" } else { ": " };
        writeln!(out, "{what}  {}{colon}{kinds}", thousands(number))?;
    }
    writeln!(out, "findings  {}", tally(&read.findings))?;
    if let Some((changes, options)) = written {
        say_changes(changes, options, out)?;
    }
    writeln!(out, "took      {:.2} s", took.as_secs_f64())
}

fn say_changes(changes: &Changes, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let folder = options.folder.join(SET_DIR);
    let verb = if options.check { "would be " } else { "" };
    let kinds = [
        ("added", &changes.added),
        ("changed", &changes.changed),
        ("removed", &changes.removed),
        ("kept, for they were edited", &changes.kept_edited),
    ];
    let parts: Vec<String> = kinds
        .iter()
        .filter(|(_, files)| !files.is_empty())
        .map(|(what, files)| format!("{} {verb}{what}", count(files.len(), "file")))
        .collect();
    let folder = folder.display();
    if parts.is_empty() {
        return writeln!(out, "output    {folder}: up to date");
    }
    writeln!(out, "output    {folder}: {}", parts.join(", "))?;
    for (what, files) in kinds {
        for file in files.iter().take(NAMES_SHOWN) {
            writeln!(out, "          {file} {verb}{what}")?;
        }
        if files.len() > NAMES_SHOWN {
            writeln!(out, "          and {} more {verb}{what}", files.len() - NAMES_SHOWN)?;
        }
    }
    Ok(())
}
