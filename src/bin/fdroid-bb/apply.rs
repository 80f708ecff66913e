//! The commands `apply` and `rollback`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fdroid_bb::apply::{self, Basedir, Failure, New, Refusal, Told, Undone, kept};
use fdroid_bb::diff::{Causes, Diff};
use fdroid_bb::model::{Kind, Model};
use fdroid_bb::render::{POLLERS, polled_apps};
use fdroid_bb::text::{count, list};
use fdroid_bb::write::{Output, OutputSet, SET_DIR, WriteError};
use indicatif::HumanDuration;

use crate::Exit;
use crate::cli::{DiffFormat, Inputs, Masters, Shown};
use crate::compiled::{self, Compiled, Stopped};
use crate::diff::{self, Plan};
use crate::metrics;

/// How long a master may take to load its configuration, in seconds: for itself, and for each
/// hundred of its pollers. 4,000 pollers took one second to reconfigure and ten to start.
const PATIENCE: (u64, u64) = (300, 1);

/// What `apply` was asked for.
pub struct Options {
    pub plan: Option<PathBuf>,
    pub accept_vanishing: bool,
    pub release: bool,
    pub masters: Masters,
    pub shown: Shown,
    pub metrics: Option<PathBuf>,
}

/// Compiles, brings the result to the masters, and notes what became of it.
pub fn apply(
    inputs: &Inputs,
    options: &Options,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let started = Instant::now();
    let mut seen = None;
    let exit = compile_and_bring(inputs, options, &mut seen, out, err)?;
    if let Some(file) = &options.metrics
        && let Err(error) = metrics::write(file, seen.as_ref(), exit, started.elapsed())
    {
        writeln!(err, "warning: `{}` cannot be written: {error}", file.display())?;
    }
    Ok(exit)
}

fn compile_and_bring(
    inputs: &Inputs,
    options: &Options,
    seen: &mut Option<metrics::Compiled>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let folder = &options.masters.out;
    // Before anything is looked at: what a plan was compared with must still be there when it is
    // replaced.
    let output = match Output::open(folder) {
        Ok(output) => output,
        Err(error) => return say_error(&error, err),
    };
    if let Some(why) = kept::held(folder).filter(|_| !options.release) {
        writeln!(err, "error: {why}")?;
        writeln!(err, "help: fix what made it necessary, then `fdroid-bb apply --release`")?;
        return Ok(Exit::Failed);
    }
    let compiled = match compiled::compile(inputs, folder, options.accept_vanishing, err)? {
        Ok(compiled) => compiled,
        Err(Stopped(exit)) => return Ok(exit),
    };
    if let Some(file) = &options.plan
        && let Some(exit) = outdated(file, &compiled, err)?
    {
        return Ok(exit);
    }
    diff::say(&compiled.diff, &options.shown, out)?;
    let Compiled { set, provenance, model, diff, read, .. } = compiled;
    let pollers = set.texts().filter_map(|(path, text)| {
        let master = path.strip_suffix(POLLERS)?.strip_suffix('/')?;
        Some((master.to_owned(), polled_apps(text).len()))
    });
    *seen = Some(metrics::Compiled { read, pollers: pollers.collect() });
    let new = New { set: &set, provenance: &provenance, diff: &diff };
    let exit = if options.shown.format == DiffFormat::Json {
        // What became of the masters is no part of the document.
        let mut told = Vec::new();
        let exit = bring(&output, &new, &model, &options.masters, &mut told, err)?;
        err.write_all(&told)?;
        exit
    } else {
        bring(&output, &new, &model, &options.masters, out, err)?
    };
    // Only now: had it failed, what was rolled back to would be replaced by the next run.
    if exit == Exit::Clean
        && let Err(error) = kept::release(folder)
    {
        writeln!(err, "error: the rollback cannot be ended: {error}")?;
        writeln!(err, "help: see the permissions of `{}`", folder.display())?;
        return Ok(Exit::Failed);
    }
    Ok(exit)
}

/// How the command ends if a plan is not what would be applied now.
fn outdated(file: &Path, compiled: &Compiled, err: &mut dyn Write) -> io::Result<Option<Exit>> {
    let planned = match Plan::read(file) {
        Ok(planned) => planned,
        Err(error) => {
            writeln!(err, "error: `{}` is no plan: {error}", file.display())?;
            writeln!(err, "help: make one with `fdroid-bb plan --output FILE`")?;
            return Ok(Some(Exit::Invalid));
        }
    };
    let now = Plan::of(compiled);
    let moved = [
        (planned.old != now.old, "the configuration on disk"),
        (planned.new != now.new, "what the inputs compile to"),
    ];
    let moved: Vec<&str> =
        moved.iter().filter(|(moved, _)| *moved).map(|(_, what)| *what).collect();
    if moved.is_empty() {
        return Ok(None);
    }
    writeln!(err, "error: the plan is out of date: {} has changed since", moved.join(" and "))?;
    writeln!(err, "help: look at a new one: `fdroid-bb plan --output FILE`")?;
    Ok(Some(Exit::Changes))
}

fn say_error(error: &WriteError, err: &mut dyn Write) -> io::Result<Exit> {
    writeln!(err, "error: {error}\nhelp: {}", error.help())?;
    Ok(Exit::Invalid)
}

/// Brings a set, which describes `model`, to the masters of this machine, and says what became of
/// each.
fn bring(
    output: &Output,
    new: &New<'_>,
    model: &Model,
    asked: &Masters,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let names = new.set.iter().filter_map(|(path, _)| path.strip_suffix("/master.cfg"));
    let masters = Basedir::find(&asked.basedirs, names);
    if masters.is_empty() {
        writeln!(err, "error: `{}` holds no master's base directory", asked.basedirs.display())?;
        writeln!(err, "help: give the folder that does with `--basedirs DIR`")?;
        return Ok(Exit::Failed);
    }
    let most = masters.iter().map(|master| model.names(Kind::Poller, &master.name).count()).max();
    let usual = PATIENCE.0 + most.unwrap_or_default() as u64 / 100 * PATIENCE.1;
    let options = apply::Options {
        buildbot: asked.buildbot.clone(),
        allow_restart: asked.allow_restart,
        patience: Duration::from_secs(asked.patience.unwrap_or(usual)),
    };
    for idle in idle_workers(model) {
        writeln!(err, "warning: no builder uses the worker {idle}")?;
    }
    let mut steps = Vec::new();
    let result = apply::apply(output, new, &masters, &options, &mut |step| {
        // Shown as it happens; a reader that went away is noticed at the end.
        steps.push(writeln!(err, "{step}"));
    });
    steps.into_iter().collect::<io::Result<()>>()?;
    match result {
        Ok(told) => {
            for (name, told) in told {
                let told = match told {
                    Told::Reconfigured => "reconfigured",
                    Told::Restarted => "started again",
                    Told::UpToDate => "runs it already",
                };
                writeln!(out, "{name}: {told}")?;
            }
            Ok(Exit::Clean)
        }
        Err(failure) => {
            say_failure(&failure, err)?;
            Ok(Exit::Failed)
        }
    }
}

fn say_failure(failure: &Failure, err: &mut dyn Write) -> io::Result<()> {
    let Failure { refusal, undone } = failure;
    writeln!(err, "error: {refusal}")?;
    match undone {
        Undone::Nothing => writeln!(err, "nothing was changed")?,
        Undone::Restored => writeln!(err, "the old configuration is back, and runs")?,
        Undone::Stuck(why) => {
            writeln!(err, "the old configuration is back, but does not run: {why}")?;
        }
    }
    let help = match (refusal, undone) {
        (_, Undone::Stuck(_)) => "start the master again, then see its twistd.log",
        (Refusal::Down(_), _) => "start it; what it runs cannot be told otherwise",
        (Refusal::Open { path, .. }, _) => {
            let chmod = format!("chmod 700 {path}");
            return writeln!(err, "help: `{chmod}`, and change the passwords if others could read");
        }
        (Refusal::Foreign { owner, .. }, _) => {
            return writeln!(
                err,
                "help: run it as {owner}: `runuser -u USER -- fdroid-bb apply …`"
            );
        }
        (Refusal::Restart { .. }, _) => {
            "run again with `--allow-restart`, when no build is lost by it"
        }
        (Refusal::Elsewhere(_), _) => {
            "let the master's buildbot.tac name its file in the folder that `--out` gives"
        }
        (Refusal::Command { .. }, _) => "give the program with `--buildbot PROGRAM`",
        (Refusal::System { .. }, _) => "run as the user that the masters run as",
        (Refusal::Write(error), _) => return writeln!(err, "help: {}", error.help()),
        (Refusal::Unhealthy { .. }, _) => {
            "provide what is missing, or take it out of fdroid-bb.toml, then apply again"
        }
        (Refusal::Start { .. }, _) => "fix what it says, then apply again",
        (Refusal::Silent { .. }, _) => "see its twistd.log, or give it more `--patience`",
        _ => "fix fdroid-bb.toml or the metadata, then apply again",
    };
    writeln!(err, "help: {help}")
}

/// The workers that no builder of their master uses.
fn idle_workers(model: &Model) -> Vec<String> {
    let used = |master: &str, worker: &str| {
        model
            .objects
            .iter()
            .filter(|(key, _)| key.kind == Kind::Builder && key.master == master)
            .filter_map(|(_, builder)| builder.fields.get("workernames")?.value.as_array())
            .any(|names| names.iter().any(|name| name == worker))
    };
    let workers = model.objects.keys().filter(|key| key.kind == Kind::Worker);
    workers
        .filter(|key| !used(&key.master, &key.name))
        .map(|key| format!("`{}` of the master `{}`", key.name, key.master))
        .collect()
}

/// Returns to an earlier set, or lists what there is.
pub fn rollback(
    number: Option<u64>,
    only_list: bool,
    asked: &Masters,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let sets = kept::list(&asked.out);
    if only_list {
        for set in &sets {
            writeln!(out, "{}", described(set))?;
        }
        writeln!(err, "{} to return to", count(sets.len(), "configuration"))?;
        return Ok(Exit::Clean);
    }
    // An apply that failed has kept what is there again.
    let now = OutputSet::load(&asked.out.join(SET_DIR)).map(|set| set.digest()).ok();
    let differs = |set: &&kept::Kept| set.load().map(|set| set.digest()).ok() != now;
    let chosen = match number {
        Some(number) => sets.iter().find(|set| set.number == number),
        None => sets.iter().rev().find(differs),
    };
    let Some(chosen) = chosen else {
        let numbers: Vec<String> = sets.iter().map(|set| set.number.to_string()).collect();
        let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
        writeln!(err, "error: there is no such configuration; kept are {}", list(&numbers))?;
        writeln!(err, "help: `fdroid-bb rollback --list` says what they are")?;
        return Ok(Exit::Invalid);
    };
    let loaded = Output::open(&asked.out).and_then(|output| {
        let old = OutputSet::load(&output.masters())?;
        Ok((chosen.load()?, old, output))
    });
    let (set, old, output) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return say_error(&error, err),
    };
    let (before, after) = (Model::read(&old), Model::read(&set));
    let diff = Diff::new((&old, &before), (&set, &after), &Causes::default());
    writeln!(err, "returning to {}", described(chosen))?;
    writeln!(out, "{}", diff.summary())?;
    // First of all: nothing else may bring back at once what is taken away here.
    if let Err(error) =
        kept::hold(&asked.out, "somebody has rolled back, and nothing may undo that by itself")
    {
        writeln!(err, "error: `{}` cannot be written: {error}", asked.out.display())?;
        return Ok(Exit::Invalid);
    }
    let new = New { set: &set, provenance: &chosen.provenance, diff: &diff };
    let exit = bring(&output, &new, &after, asked, out, err)?;
    writeln!(err, "nothing replaces what is there by itself until `fdroid-bb apply --release`")?;
    Ok(exit)
}

fn described(set: &kept::Kept) -> String {
    let age = set.since.and_then(|since| since.elapsed().ok());
    let age = age.map_or_else(String::new, |age| format!(", replaced {} ago", HumanDuration(age)));
    let commit = set.provenance.get("fdroiddata").and_then(|commit| commit.as_str());
    let commit = commit.map_or("no commit", |commit| commit.get(..12).unwrap_or(commit));
    format!("{}: of fdroiddata at {commit}{age}", set.number)
}
