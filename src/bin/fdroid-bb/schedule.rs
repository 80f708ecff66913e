//! The command `schedule`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fdroid_bb::compile::Record;
use fdroid_bb::fdroid::{App, Build};
use fdroid_bb::finding::Finding;
use fdroid_bb::pipeline::Pipeline;
use fdroid_bb::submit::known::{Knowledge, Known, State};
use fdroid_bb::submit::pending::{self, Built, pending};
use fdroid_bb::submit::{Change, Connection, SubmitError};
use fdroid_bb::text::count;
use serde_json::json;

use crate::Exit;
use crate::chosen::chosen;
use crate::cli::{Format, Inputs, Scheduled};
use crate::input::{self, Read};
use crate::merged::Merged;
use crate::progress::Progress;
use crate::report;
use crate::target::{Stop, Target};

/// Submits the pending builds of the chosen apps.
pub fn schedule(
    inputs: &Inputs,
    options: &Scheduled,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let read = match read(inputs) {
        Ok(read) => read,
        Err(findings) => {
            report::findings(err, &findings)?;
            return Ok(Exit::Invalid);
        }
    };
    if options.which.all || options.which.merged {
        let broken = read.apps.records.iter().filter_map(|record| match record {
            Record::Quarantined { error, .. } => Some(error.clone()),
            Record::App { .. } => None,
        });
        let broken: Vec<_> = broken.collect();
        report::findings(err, &broken)?;
        if !broken.is_empty() {
            writeln!(err, "left out: {}\n", count(broken.len(), "app"))?;
        }
    }
    match submit(&read, options, out) {
        Ok(result) => result,
        Err(Stop(message, help, exit)) => {
            writeln!(err, "error: {message}\nhelp: {help}")?;
            Ok(exit)
        }
    }
}

/// Reads what every command reads. What is submitted names a commit, so it is of one, and not of a
/// checkout in which somebody works.
pub fn read(inputs: &Inputs) -> Result<Read, Vec<Finding>> {
    let in_git = inputs.fdroiddata.join(".git").exists();
    let rev = inputs.rev.clone().or_else(|| in_git.then(|| "HEAD".to_owned()));
    let (config, overlay) = (inputs.config.clone(), inputs.overlay.clone());
    input::read_whole(&Inputs { config, overlay, fdroiddata: inputs.fdroiddata.clone(), rev })
}

/// What is asked for, and what becomes of it.
struct Outcome<'r> {
    /// How many apps were looked at.
    apps: usize,
    /// What is submitted, or would be.
    changes: Vec<Change>,
    /// What is not, for it was before.
    kept: BTreeMap<State, Vec<String>>,
    /// What the master says is paused.
    paused: Vec<String>,
    /// Why the master was not asked.
    unasked: Option<String>,
    /// The commit after which merged builds are asked for, if that was not known.
    first: Option<&'r str>,
}

fn submit(read: &Read, options: &Scheduled, out: &mut dyn Write) -> Result<io::Result<Exit>, Stop> {
    let started = Instant::now();
    let pipeline = &read.description.pipeline;
    let apps = chosen(read, &options.which)?;
    let built = match &options.repository {
        Some(folder) => Built::read(folder).map_err(|error| {
            let message = format!("`{}` cannot be read: {error}", folder.display());
            Stop::new(message, "give the folder that has `unsigned`, `repo` and `archive`")
        })?,
        None => Built::default(),
    };
    let merged = options.which.merged.then(|| Merged::read(read)).transpose()?;
    let builds = match &merged {
        Some(merged) => merged.added(read, &apps, &built)?,
        None => apps.iter().flat_map(|app| pending(app, &built).map(|b| (*app, b))).collect(),
    };
    let mut outcome = Outcome {
        apps: apps.len(),
        changes: Vec::new(),
        kept: BTreeMap::new(),
        paused: Vec::new(),
        unasked: None,
        first: merged.as_ref().and_then(Merged::first),
    };
    if !builds.is_empty() {
        let target =
            Target::of(pipeline, options.master.as_deref(), options.password_file.as_deref());
        let asked = target.and_then(|target| ask(target, options, &builds));
        let (connection, known) = match asked {
            Ok((target, connection, known)) => (Some((target, connection)), known),
            Err(Stop(message, ..)) if options.dry_run => {
                outcome.unasked = Some(message);
                (None, Knowledge::default())
            }
            Err(stop) => return Err(stop),
        };
        let by_name = !options.which.all && !options.which.merged;
        let new = builds.into_iter().filter(|(app, build)| {
            let key = format!("{}:{}", app.id.as_str(), build.version_code);
            let Some(state) = kept(&known, &built, app, build, by_name, read) else { return true };
            outcome.kept.entry(state).or_default().push(key);
            false
        });
        let new: Vec<_> = new.collect();
        outcome.paused = known.paused;
        outcome.changes = changes(pipeline, read.tree.commit.as_deref(), options, &new);
        if let (Some((target, mut connection)), false) = (connection, options.dry_run)
            && let Err((taken, error)) = send(&mut connection, &outcome.changes)
        {
            let stop = failed(&error, &target, taken.len(), outcome.changes.len());
            let left = outcome.changes.iter().filter(|c| !taken.contains(c.who.as_str()));
            return say_left(out, options, &left.collect::<Vec<_>>())
                .map_or_else(|error| Ok(Err(error)), |()| Err(stop));
        }
    }
    if let (Some(merged), false) = (&merged, options.dry_run) {
        merged.advance(read)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(say(out, options, &outcome, seconds).map(|()| Exit::Clean))
}

/// Connects to the master, and asks it what it knows of `builds`.
fn ask<'p>(
    target: Target<'p>,
    options: &Scheduled,
    builds: &[(&App, &Build)],
) -> Result<(Target<'p>, Connection, Knowledge), Stop> {
    let keys =
        builds.iter().map(|(app, build)| format!("{}:{}", app.id.as_str(), build.version_code));
    let keys: Vec<String> = keys.collect();
    let asked = target.connect()?.and_then(|mut connection| {
        let known = connection.known(&options.category, &keys)?;
        Ok((connection, known))
    });
    match asked {
        Ok((connection, known)) => Ok((target, connection, known)),
        Err(error) => Err(failed(&error, &target, 0, builds.len())),
    }
}

/// Why a build is not asked for again, if it is not. Whoever names an app asks for what has ended.
fn kept(
    known: &Knowledge,
    built: &Built,
    app: &App,
    build: &Build,
    by_name: bool,
    read: &Read,
) -> Option<State> {
    let found = known.builds.get(&format!("{}:{}", app.id.as_str(), build.version_code));
    match found {
        Some(Known::UnderWay(state)) => Some(*state),
        _ if by_name => None,
        Some(Known::Ended(ended)) => {
            let commit = read.tree.commit.as_deref();
            let state = ended.keeps(&read.fdroiddata, commit, &app.id)?;
            Some(if built.refuses(app, build) { State::Refused } else { state })
        }
        None => built.refuses(app, build).then_some(State::Refused),
    }
}

/// Submits changes; else those that the master has taken, and why not all.
fn send<'c>(
    connection: &mut Connection,
    changes: &'c [Change],
) -> Result<(), (BTreeSet<&'c str>, SubmitError)> {
    let mut taken = BTreeSet::new();
    let progress = Progress::new("submitting builds");
    let result = connection.submit(changes, &mut |change| {
        taken.insert(change.who.as_str());
        progress.at(taken.len(), changes.len());
    });
    result.map_err(|error| (taken, error))
}

fn failed(error: &SubmitError, target: &Target<'_>, done: usize, all: usize) -> Stop {
    // What is built twice is skipped by fdroidserver, what is never built is not noticed.
    let otherwise = "look at the master's log, then submit the builds again that are listed above: \
                     one that the master took without saying so is at most built a second time";
    let Stop(message, help, exit) = target.failed(error, otherwise);
    Stop(format!("{message}; {done} of {all} builds were submitted"), help, exit)
}

/// The changes that ask for builds, which are a cycle if that is wanted.
fn changes(
    pipeline: &Pipeline,
    commit: Option<&str>,
    options: &Scheduled,
    builds: &[(&App, &Build)],
) -> Vec<Change> {
    let cycle = options.cycle.then(cycle_id);
    let one = |(i, (app, build)): (usize, &(&App, &Build))| {
        let mut change = change(pipeline, commit, &options.category, app, build);
        if let Some(cycle) = &cycle {
            let mut put = |name: &str, value| change.properties.insert(name.to_owned(), value);
            put("buildCycleItem", (i + 1).to_string());
            put("buildCycleSize", builds.len().to_string());
            put("buildCycleUuid", cycle.clone());
        }
        change
    };
    builds.iter().enumerate().map(one).collect()
}

/// As `buildbot sendchange` would be called by fdroidserver.
pub fn change(
    pipeline: &Pipeline,
    commit: Option<&str>,
    category: &str,
    app: &App,
    build: &Build,
) -> Change {
    let id = app.id.as_str();
    let properties = [
        ("packageName", id.to_owned()),
        ("versionCode", build.version_code.to_string()),
        ("timeout", pending::timeout(build).to_string()),
    ];
    Change {
        who: format!("{id}:{}", build.version_code),
        project: id.to_owned(),
        repository: pipeline.fdroiddata.url.url().to_string(),
        branch: pipeline.fdroiddata.branch.as_str().to_owned(),
        revision: commit.map(ToOwned::to_owned),
        category: category.to_owned(),
        files: vec![format!("metadata/{id}.yml")],
        properties: properties.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}

/// A name for this cycle that no other has: 32 hexadecimal digits, as a UUID's.
fn cycle_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{:032x}", (now << 32) | u128::from(std::process::id()))
}

/// The builds that no answer came for.
fn say_left(out: &mut dyn Write, options: &Scheduled, left: &[&Change]) -> io::Result<()> {
    if options.format == Format::Json {
        let builds: Vec<_> = left.iter().map(|change| &change.properties).collect();
        serde_json::to_writer_pretty(&mut *out, &json!({"submitted": false, "builds": builds}))?;
        return writeln!(out);
    }
    left.iter().try_for_each(|change| writeln!(out, "{}", change.who))
}

fn say(
    out: &mut dyn Write,
    options: &Scheduled,
    outcome: &Outcome<'_>,
    seconds: f64,
) -> io::Result<()> {
    let Outcome { apps, changes, kept, paused, unasked, first } = outcome;
    if options.format == Format::Json {
        let builds: Vec<_> = changes.iter().map(|change| &change.properties).collect();
        let kept: BTreeMap<_, _> =
            kept.iter().map(|(state, keys)| (state.as_str(), keys)).collect();
        let document = json!({
            "submitted": !options.dry_run, "apps": apps, "builds": builds, "kept": kept,
            "paused": paused, "master-not-asked": unasked,
        });
        serde_json::to_writer_pretty(&mut *out, &document)?;
        return writeln!(out);
    }
    for change in changes.iter().filter(|_| options.dry_run) {
        writeln!(out, "{}", change.who)?;
    }
    let builds = count(changes.len(), "build");
    let of = count(*apps, "app");
    match (changes.is_empty(), options.dry_run) {
        (true, _) if first.is_some() || options.which.merged => writeln!(out, "nothing to do")?,
        (true, _) if !kept.is_empty() => writeln!(out, "nothing to do")?,
        (true, _) => writeln!(out, "nothing to do: the current version of {of} is built")?,
        (false, true) => writeln!(out, "{builds} of {of} would be submitted")?,
        (false, false) => writeln!(out, "submitted {builds} of {of} in {seconds:.2} s")?,
    }
    for (state, keys) in kept {
        let reason = match state {
            State::Queued | State::Running => "",
            State::Built | State::Failed | State::Refused => {
                "; nothing has changed since, and who names the app has it built again"
            }
        };
        writeln!(out, "left out: {} {}{reason}", count(keys.len(), "build"), state.as_str())?;
    }
    if let Some(commit) = first {
        writeln!(out, "merged builds are submitted from now on: those after {commit}")?;
    }
    if let Some(why) = unasked {
        writeln!(out, "the master was not asked what it has built: {why}")?;
    }
    paused.iter().try_for_each(|line| writeln!(out, "paused: {line}"))
}
