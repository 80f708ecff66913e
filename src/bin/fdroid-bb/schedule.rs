//! The command `schedule`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fdroid_bb::compile::Record;
use fdroid_bb::config::Submit;
use fdroid_bb::fdroid::{App, Build};
use fdroid_bb::pipeline::Pipeline;
use fdroid_bb::submit::pending::{self, Built, pending};
use fdroid_bb::submit::{Change, Connection, Refused, password};
use fdroid_bb::text::{count, nearest, shown};
use serde_json::json;

use crate::Exit;
use crate::cli::{Format, Inputs, Which};
use crate::input::{self, Read};
use crate::progress::Progress;
use crate::report;

/// Where a master lays down its password if the description does not say, as fdroidserver has it.
const PASSWORD_FILE: &str = "/tmp/fdroid-buildbot-sendchange/passwd";

/// The longest list of apps that is read, in bytes.
const LONGEST_LIST: u64 = 4 << 20;

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
struct Stop(String, String, Exit);

impl Stop {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
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
    if options.which.all {
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
    let builds: Vec<(&App, &Build)> =
        apps.iter().flat_map(|app| pending(app, &built).map(|build| (*app, build))).collect();
    let changes = changes(pipeline, read.tree.commit.as_deref(), options, &builds);
    let mut taken = BTreeSet::new();
    if !options.dry_run && !changes.is_empty() {
        let (user, address, file) = target(pipeline, options)?;
        let password = password::read(&file).map_err(|error| {
            let message = format!("there is no password in `{}`: {error}", file.display());
            let help = "start the master, which makes it, or give `--password-file FILE`";
            Stop(message, help.to_owned(), Exit::Failed)
        })?;
        let progress = Progress::new("submitting builds");
        let result = Connection::open(address, user, &password).and_then(|mut connection| {
            connection.submit(&changes, &mut |change| {
                taken.insert(change.who.as_str());
                progress.at(taken.len(), changes.len());
            })
        });
        drop(progress);
        if let Err(error) = result {
            let stop = failed(&error, address, taken.len(), changes.len());
            let left = changes.iter().filter(|change| !taken.contains(change.who.as_str()));
            return say_left(out, options, &left.collect::<Vec<_>>())
                .map_or_else(|error| Ok(Err(error)), |()| Err(stop));
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(say(out, options, apps.len(), &changes, seconds).map(|()| Exit::Clean))
}

fn failed(error: &Refused, address: std::net::SocketAddr, done: usize, all: usize) -> Stop {
    let help = match error {
        Refused::Login => "the master that listens there made another password, or none".to_owned(),
        Refused::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
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

/// The apps that are asked for.
fn chosen<'r>(read: &'r Read, which: &Which) -> Result<Vec<&'r App>, Stop> {
    let known: BTreeMap<&str, &Record> =
        read.apps.records.iter().map(|record| (record.name(), record)).collect();
    let names: Vec<String> = if which.all {
        known.keys().map(|name| (*name).to_owned()).collect()
    } else if let Some(list) = &which.list {
        listed(list)?
    } else {
        which.apps.clone()
    };
    let mut apps = Vec::new();
    for name in names.iter().map(String::as_str).collect::<BTreeSet<_>>() {
        match known.get(name) {
            Some(Record::App { app, .. }) => apps.extend(app.as_deref()),
            Some(Record::Quarantined { .. }) if which.all => {}
            Some(Record::Quarantined { error, .. }) => {
                let message =
                    format!("the metadata of `{}` is broken: {}", shown(name), error.message);
                return Err(Stop::new(message, error.help.clone()));
            }
            None => {
                let names: Vec<&str> = known.keys().copied().collect();
                let help = match nearest(name, &names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`fdroid-bb apps` lists all apps".to_owned(),
                };
                return Err(Stop::new(format!("there is no app `{}`", shown(name)), help));
            }
        }
    }
    Ok(apps)
}

/// The lines of a list, without comments.
fn listed(file: &Path) -> Result<Vec<String>, Stop> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().take(LONGEST_LIST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|f| f.take(LONGEST_LIST + 1).read_to_string(&mut text))
    };
    let read = match read {
        Ok(bytes) if bytes as u64 > LONGEST_LIST => Err(io::ErrorKind::FileTooLarge.into()),
        read => read,
    };
    read.map_err(|error| {
        let message = format!("the list `{}` cannot be read: {error}", file.display());
        Stop::new(message, "give a file with one application id a line, or `-` for stdin")
    })?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    Ok(lines.filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect())
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
) -> Result<(&'p str, std::net::SocketAddr, PathBuf), Stop> {
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
    apps: usize,
    changes: &[Change],
    seconds: f64,
) -> io::Result<()> {
    if options.format == Format::Json {
        let builds: Vec<_> = changes.iter().map(|change| &change.properties).collect();
        let document = json!({"submitted": !options.dry_run, "apps": apps, "builds": builds});
        serde_json::to_writer_pretty(&mut *out, &document)?;
        return writeln!(out);
    }
    for change in changes.iter().filter(|_| options.dry_run) {
        writeln!(out, "{}", change.who)?;
    }
    let builds = count(changes.len(), "build");
    let apps = count(apps, "app");
    match (changes.is_empty(), options.dry_run) {
        (true, _) => writeln!(out, "nothing to do: the current version of {apps} is built"),
        (false, true) => writeln!(out, "{builds} of {apps} would be submitted"),
        (false, false) => writeln!(out, "submitted {builds} of {apps} in {seconds:.2} s"),
    }
}
