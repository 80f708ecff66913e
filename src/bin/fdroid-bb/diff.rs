//! The commands `diff` and `plan`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fdroid_bb::compile::{self, Description, Metadata};
use fdroid_bb::diff::{self, Causes, Diff, Style};
use fdroid_bb::finding::Finding;
use fdroid_bb::load::{METADATA, Tree};
use fdroid_bb::model::Model;
use fdroid_bb::write::{MANIFEST, OutputSet, SET_DIR};
use serde::{Deserialize, Serialize};

use crate::Exit;
use crate::cli::{DiffFormat, Inputs, Shown};
use crate::compiled::{self, Compiled, Stopped};
use crate::file;
use crate::generate::output_set;
use crate::input;
use crate::report;

/// One of two things that are compared.
struct Side {
    set: OutputSet,
    /// Of fdroiddata; a generated set does not know why its pollers are there.
    apps: Option<Metadata>,
}

/// Why a side cannot be read: what to say of it.
enum Unreadable {
    Findings(Vec<Finding>),
    Message(String, String),
}

/// Says what differs between `old` and `new`: two revisions, trees or generated sets.
pub fn diff(
    inputs: &Inputs,
    old: &str,
    new: &str,
    shown: &Shown,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let mut description = None;
    let sides = side(inputs, old, &mut description)
        .and_then(|old| Ok((old, side(inputs, new, &mut description)?)));
    let (old, new) = match sides {
        Ok(sides) => sides,
        Err(Unreadable::Findings(findings)) => {
            report::findings(err, &findings)?;
            return Ok(Exit::Invalid);
        }
        Err(Unreadable::Message(message, help)) => {
            writeln!(err, "error: {message}\nhelp: {help}")?;
            return Ok(Exit::Invalid);
        }
    };
    let causes = Causes {
        places: description.as_ref().map(|description| &description.pipeline.places),
        old: old.apps.as_ref().map(diff::ByName::new),
        new: new.apps.as_ref().map(diff::ByName::new),
    };
    let (before, after) = (Model::read(&old.set), Model::read(&new.set));
    say(&Diff::new((&old.set, &before), (&new.set, &after), &causes), shown, out)?;
    Ok(Exit::Clean)
}

/// A generated set if `what` leads to one, a tree if it leads to one, else a revision.
fn side(
    inputs: &Inputs,
    what: &str,
    description: &mut Option<Description>,
) -> Result<Side, Unreadable> {
    let folder = Path::new(what);
    let masters = [folder.join(SET_DIR), folder.to_owned()];
    if let Some(masters) = masters.iter().find(|masters| masters.join(MANIFEST).is_file()) {
        let set = OutputSet::load(masters)
            .map_err(|error| Unreadable::Message(error.to_string(), error.help()))?;
        return Ok(Side { set, apps: None });
    }
    let tree = if folder.join(METADATA).is_dir() {
        Tree::open(folder, None)
    } else {
        Tree::open(&inputs.fdroiddata, Some(what))
    };
    let tree = tree.map_err(|finding| Unreadable::Findings(vec![finding]))?;
    if description.is_none() {
        *description = Some(
            compile::description(&inputs.config, inputs.overlay.as_deref())
                .map_err(Unreadable::Findings)?,
        );
    }
    let Some(description) = description else {
        return Err(Unreadable::Findings(Vec::new()));
    };
    let pipeline = &description.pipeline;
    let apps = input::apps(description, &tree).map_err(|f| Unreadable::Findings(vec![f]))?;
    let set = compile::output(pipeline, &apps.pollers())
        .map_err(|error| error.to_string())
        .and_then(|files| output_set(files).map_err(|error| error.to_string()))
        .map_err(|error| {
            Unreadable::Message(error, "this is a fault of fdroid-bb; please report it".to_owned())
        })?;
    Ok(Side { set, apps: Some(apps) })
}

/// Writes a difference as it was asked for.
pub fn say(diff: &Diff, shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    match shown.format {
        DiffFormat::Text => write!(out, "{}", diff.words(Style::Text, shown.limit)),
        DiffFormat::Markdown => write!(out, "{}", diff.words(Style::Markdown, shown.limit)),
        DiffFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, &diff.json())?;
            writeln!(out)
        }
    }
}

/// What a plan was made of: who applies it later applies just that.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of this format.
    pub format: u32,
    /// The digest of the set on disk.
    pub old: String,
    /// The digest of the set that is to take its place.
    pub new: String,
    /// The commit of fdroiddata.
    pub fdroiddata: Option<String>,
    /// All that differs, in one line.
    pub summary: String,
}

/// The version of [`Plan`].
const PLAN_FORMAT: u32 = 1;

impl Plan {
    /// The plan of what was compiled.
    pub fn of(compiled: &Compiled) -> Self {
        Self {
            format: PLAN_FORMAT,
            old: compiled.old.digest(),
            new: compiled.set.digest(),
            fdroiddata: compiled.read.tree.commit.clone(),
            summary: compiled.diff.summary(),
        }
    }

    /// The plan in `file`.
    pub fn read(file: &Path) -> Result<Self, String> {
        let bytes = fs::read(file).map_err(|error| error.to_string())?;
        let plan: Self = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if plan.format != PLAN_FORMAT {
            return Err(format!("its format is {}, not {PLAN_FORMAT}", plan.format));
        }
        Ok(plan)
    }
}

/// Says what `apply` would do.
pub fn plan(
    inputs: &Inputs,
    folder: &Path,
    accept_vanishing: bool,
    output: Option<&PathBuf>,
    shown: &Shown,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let compiled = match compiled::compile(inputs, folder, accept_vanishing, err)? {
        Ok(compiled) => compiled,
        Err(Stopped(exit)) => return Ok(exit),
    };
    say(&compiled.diff, shown, out)?;
    if let Some(file) = output {
        let text = serde_json::to_string_pretty(&Plan::of(&compiled))? + "\n";
        if let Err(error) = file::replace(file, &text, None) {
            writeln!(err, "error: `{}` cannot be written: {error}", file.display())?;
            writeln!(err, "help: give another file with `--output FILE`")?;
            return Ok(Exit::Invalid);
        }
        writeln!(err, "to apply it: fdroid-bb apply {}", file.display())?;
    }
    Ok(Exit::Clean)
}
