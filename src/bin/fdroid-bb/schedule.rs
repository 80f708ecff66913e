//! The command `schedule`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fdroid_bb::compile::Record;
use fdroid_bb::config::Submit;
use fdroid_bb::fdroid::{App, Build};
use fdroid_bb::pipeline::Pipeline;
use fdroid_bb::submit::known::{Knowledge, Known, State};
use fdroid_bb::submit::pending::{self, Built, pending};
use fdroid_bb::submit::{Change, Connection, SubmitError, password};
use fdroid_bb::text::{count, shown};
use serde_json::json;

use crate::Exit;
use crate::chosen::chosen;
use crate::cli::{Format, Inputs, Which};
use crate::input::{self, Read};
use crate::merged::Merged;
use crate::progress::Progress;
use crate::report;

/// Where a master lays down its password if the description does not say, as fdroidserver has it.
const PASSWORD_FILE: &str = "/tmp/fdroid-buildbot-sendchange/passwd";

/// What is submitted, and how.
pub struct Options {
    pub which: Which,
    pub repository: Option<PathBuf>,
    pub category: String,
    pub cycle: bool,
    pub master: Option<String>,
    pub password_file: Option<PathBuf>,
    pub dry_run: bool,
    pub format: Format,
}

/// Why nothing is submitted: a message, a remedy, and how the command ends.
pub struct Stop(String, String, Exit);

impl Stop {
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self(message.into(), help.into(), Exit::Invalid)
    }
}

/// Submits the pending builds of the chosen apps.
pub fn schedule(
    inputs: &Inputs,
    options: &Options,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    // What is submitted names a commit, so what is read must be of it, and not of a checkout in
    // which somebody works.
    let in_git = inputs.fdroiddata.join(".git").exists();
    let rev = inputs.rev.clone().or_else(|| in_git.then(|| "HEAD".to_owned()));
    let (config, overlay) = (inputs.config.clone(), inputs.overlay.clone());
    let inputs = &Inputs { config, overlay, fdroiddata: inputs.fdroiddata.clone(), rev };
    let read = match input::read_whole(inputs) {
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

fn submit(read: &Read, options: &Options, out: &mut dyn Write) -> Result<io::Result<Exit>, Stop> {
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
        let asked = ask(pipeline, options, &builds);
        let (connection, known) = match asked {
            Ok((connection, known)) => (Some(connection), known),
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
        if let (Some(mut connection), false) = (connection, options.dry_run) {
            let address = target(pipeline, options)?.1;
            if let Err((taken, error)) = send(&mut connection, &outcome.changes) {
                let stop = failed(&error, address, taken.len(), outcome.changes.len());
                let left = outcome.changes.iter().filter(|c| !taken.contains(c.who.as_str()));
                return say_left(out, options, &left.collect::<Vec<_>>())
                    .map_or_else(|error| Ok(Err(error)), |()| Err(stop));
            }
        }
    }
    if let (Some(merged), false) = (&merged, options.dry_run) {
        merged.advance(read)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(say(out, options, &outcome, seconds).map(|()| Exit::Clean))
}

/// Connects to the master, and asks it what it knows of `builds`.
fn ask(
    pipeline: &Pipeline,
    options: &Options,
    builds: &[(&App, &Build)],
) -> Result<(Connection, Knowledge), Stop> {
    let (user, address, file) = target(pipeline, options)?;
    let password = password::read(&file).map_err(|error| {
        let message = format!("there is no password in `{}`: {error}", file.display());
        let help = "start the master, which makes it, or give `--password-file FILE`";
        Stop(message, help.to_owned(), Exit::Failed)
    })?;
    let keys =
        builds.iter().map(|(app, build)| format!("{}:{}", app.id.as_str(), build.version_code));
    let keys: Vec<String> = keys.collect();
    let asked = Connection::open(address, user, &password).and_then(|mut connection| {
        let known = connection.known(&options.category, &keys)?;
        Ok((connection, known))
    });
    asked.map_err(|error| failed(&error, address, 0, builds.len()))
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

fn failed(error: &SubmitError, address: SocketAddr, done: usize, all: usize) -> Stop {
    let help = match error {
        SubmitError::Login => {
            "the master that listens there made another password, or none".to_owned()
        }
        SubmitError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "start the master, or look at its `submit.listen`".to_owned()
        }
        // What is built twice is skipped by fdroidserver, what is never built is not noticed.
        _ => "look at the master's log, then submit the builds again that are listed above: one \
              that the master took without saying so is at most built a second time"
            .to_owned(),
    };
    let message = format!("{address}: {error}; {done} of {all} builds were submitted");
    Stop(message, help, Exit::Failed)
}

/// As `buildbot sendchange` would be called by fdroidserver.
fn changes(
    pipeline: &Pipeline,
    commit: Option<&str>,
    options: &Options,
    builds: &[(&App, &Build)],
) -> Vec<Change> {
    let cycle = options.cycle.then(cycle_id);
    let change = |(i, (app, build)): (usize, &(&App, &Build))| {
        let id = app.id.as_str();
        let mut properties: BTreeMap<String, String> = [
            ("packageName", id.to_owned()),
            ("versionCode", build.version_code.to_string()),
            ("timeout", pending::timeout(build).to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        if let Some(cycle) = &cycle {
            properties.insert("buildCycleItem".to_owned(), (i + 1).to_string());
            properties.insert("buildCycleSize".to_owned(), builds.len().to_string());
            properties.insert("buildCycleUuid".to_owned(), cycle.clone());
        }
        Change {
            who: format!("{id}:{}", build.version_code),
            project: id.to_owned(),
            repository: pipeline.fdroiddata.url.url().to_string(),
            branch: pipeline.fdroiddata.branch.as_str().to_owned(),
            revision: commit.map(ToOwned::to_owned),
            category: options.category.clone(),
            files: vec![format!("metadata/{id}.yml")],
            properties,
        }
    };
    builds.iter().enumerate().map(change).collect()
}

/// A name for this cycle that no other has: 32 hexadecimal digits, as a UUID's.
fn cycle_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{:032x}", (now << 32) | u128::from(std::process::id()))
}

/// Who submits, where, and the file with the password.
fn target<'p>(
    pipeline: &'p Pipeline,
    options: &Options,
) -> Result<(&'p str, SocketAddr, PathBuf), Stop> {
    let masters: Vec<(&str, &Submit)> = pipeline
        .masters
        .iter()
        .filter_map(|(name, master)| Some((name.as_str(), master.settings.submit.as_ref()?)))
        .filter(|(name, _)| options.master.as_deref().is_none_or(|wanted| wanted == *name))
        .collect();
    let [(_, submit)] = masters.as_slice() else {
        let message = match &options.master {
            Some(name) => format!("there is no master `{}` with a `submit`", shown(name)),
            None => format!("{} masters have a `submit`", masters.len()),
        };
        return Err(Stop::new(message, "name one that has it with `--master NAME`"));
    };
    let described = submit.password_file.as_ref().map(|file| PathBuf::from(file.as_str()));
    let file = options.password_file.clone().or(described);
    let file = file.unwrap_or_else(|| PathBuf::from(PASSWORD_FILE));
    Ok((submit.user.as_str(), submit.listen.addr(), file))
}

/// The builds that no answer came for.
fn say_left(out: &mut dyn Write, options: &Options, left: &[&Change]) -> io::Result<()> {
    if options.format == Format::Json {
        let builds: Vec<_> = left.iter().map(|change| &change.properties).collect();
        serde_json::to_writer_pretty(&mut *out, &json!({"submitted": false, "builds": builds}))?;
        return writeln!(out);
    }
    left.iter().try_for_each(|change| writeln!(out, "{}", change.who))
}

fn say(
    out: &mut dyn Write,
    options: &Options,
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
