//! Bringing a new set to the masters that run, or leaving all as it was.
//!
//! ```text
//! lock ─▶ stage ─▶ checkconfig ─▶ keep the old set ─▶ exchange ─▶ reconfig ─▶ the master says that
//!                      │                                    it runs it, and that all of it works
//!                      ▼ nothing has changed                          ▼ exchange back, reconfig
//! ```

mod basedir;
mod health;
pub mod kept;
mod refusal;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub use basedir::{Basedir, Ended, Live};
pub use health::{Health, Problem};
pub use refusal::{Failure, Refusal, Undone};

use crate::diff::Diff;
use crate::model::{Kind, Model};
use crate::pipeline::RUNTIME;
use crate::process;
use crate::render::MASTER_CFG;
use crate::write::{Output, OutputSet};

/// How often a master is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How much longer Buildbot's command to start a master is given than it gives the master.
const SPARE: Duration = Duration::from_secs(30);

/// What a master may be asked, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program `buildbot`.
    pub buildbot: PathBuf,
    /// Whether a master is started again where that is needed.
    pub allow_restart: bool,
    /// How long a master may take to load a configuration.
    pub patience: Duration,
}

/// A new set, and what is known of it.
#[derive(Debug)]
pub struct New<'a> {
    /// Its files.
    pub set: &'a OutputSet,
    /// What it was made from.
    pub provenance: &'a Value,
    /// What it differs in.
    pub diff: &'a Diff,
}

/// What became of a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It runs the new configuration without having stopped.
    Reconfigured,
    /// It runs the new configuration and was started again.
    Restarted,
    /// It ran this configuration already.
    UpToDate,
}

/// Brings `new` to `masters`, whose base directories are on this machine. `say` is told each step.
///
/// # Errors
/// When a master does not run the new set. The old one is then in its place again.
pub fn apply(
    output: &Output,
    new: &New<'_>,
    masters: &[Basedir],
    options: &Options,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<(String, Told)>, Failure> {
    let unchanged = |refusal: Refusal| Failure { refusal, undone: Undone::Nothing };
    let folder = output.masters();
    let old = OutputSet::load(&folder).map_err(|error| unchanged(error.into()))?;
    let old_provenance = kept::provenance(&folder);
    check(new.set).map_err(unchanged)?;
    masters.iter().try_for_each(Basedir::guard).map_err(unchanged)?;
    let mut told = Vec::new();
    let mut work = Vec::new();
    for master in masters {
        let how = todo(master, new, options, say).map_err(unchanged)?;
        let health = health::settled(master).ok().filter(Health::is_known);
        match how {
            None => {
                health::warn(master, health.iter().flat_map(|health| &health.problems), say);
                told.push((master.name.clone(), Told::UpToDate));
            }
            Some(how) => work.push(Work { master, how, health }),
        }
    }
    let staged = output.stage(new.set, new.provenance).map_err(|error| unchanged(error.into()))?;
    for Work { master, .. } in &work {
        say(&format!("checking the configuration of `{}`", master.name));
        checkconfig(master, &staged.path(), options).map_err(unchanged)?;
    }
    let is_new = !staged.changes.is_empty();
    if is_new && old.iter().next().is_some() {
        kept::keep(output.path(), &folder, &old)
            .map_err(|error| unchanged(system("keep the old configuration", error)))?;
    }
    staged.commit().map_err(|error| unchanged(error.into()))?;
    for (i, Work { master, how, health }) in work.iter().enumerate() {
        say(&format!("telling `{}`", master.name));
        let mut how = *how;
        let mut result = tell(master, new.set, how, options);
        if options.allow_restart && matches!(result, Err(Refusal::Partial { .. })) {
            say(&format!("`{}` took half of it: starting it again", master.name));
            how = Told::Restarted;
            result = tell(master, new.set, how, options);
        }
        if let Err(refusal) = result.and_then(|()| health::judge(master, health.as_ref(), say)) {
            say(&format!("{refusal}"));
            say("putting the old configuration back");
            let touched = work.get(..=i).unwrap_or_default();
            let undone = undo(output, &old, &old_provenance, touched, options, say);
            return Err(Failure { refusal, undone });
        }
        told.push((master.name.clone(), how));
    }
    Ok(told)
}

/// A master that is to be told.
struct Work<'a> {
    master: &'a Basedir,
    how: Told,
    /// Its health so far.
    health: Option<Health>,
}

/// Runs one of Buildbot's commands, as from the base directory.
fn buildbot(
    master: &Basedir,
    arguments: &[&OsStr],
    options: &Options,
    patience: Duration,
) -> io::Result<(bool, String)> {
    let mut command = Command::new(&options.buildbot);
    process::run(command.args(arguments).current_dir(&master.path), patience)
}

fn command(options: &Options, error: io::Error) -> Refusal {
    Refusal::Command { program: options.buildbot.display().to_string(), error }
}

fn system(what: impl Into<String>, error: io::Error) -> Refusal {
    Refusal::System { what: what.into(), error }
}

/// What Buildbot's own check lets pass.
fn check(set: &OutputSet) -> Result<(), Refusal> {
    match Model::read(set).collisions.first() {
        None => Ok(()),
        Some(key) => Err(Refusal::Collision { master: key.master.clone(), name: key.name.clone() }),
    }
}

/// How a master is to be told; `None` if it runs the set already.
fn todo(
    master: &Basedir,
    new: &New<'_>,
    options: &Options,
    say: &mut dyn FnMut(&str),
) -> Result<Option<Told>, Refusal> {
    let name = || master.name.clone();
    if master.pid().is_none() {
        return Err(Refusal::Down(name()));
    }
    let mut live = live(master)?;
    if live.is_none() && master.is_young(options.patience) {
        say(&format!("waiting for `{}` to start", master.name));
        while live.is_none() && master.is_young(options.patience) {
            std::thread::sleep(LOOK);
            live = self::live(master)?;
        }
    }
    let runtime = new.set.part(RUNTIME);
    if live.as_ref().is_some_and(|live| {
        live.config == new.set.part(&master.name)
            && live.runtime == runtime
            && live.ended == Ended::Complete
    }) {
        return Ok(None);
    }
    let why = match &live {
        None => Some("it does not say which configuration it runs".to_owned()),
        Some(live) if live.runtime != runtime => {
            Some("it keeps the Python that it has imported".to_owned())
        }
        Some(live) if live.ended == Ended::Partial => {
            Some("it runs half of a configuration".to_owned())
        }
        Some(_) => {
            let of_this = |kind: Kind, of: &str| kind != Kind::Runtime && of == master.name;
            let mut needs = new.diff.restarts().filter(|c| of_this(c.key.kind, &c.key.master));
            let needs =
                needs.next().map(|change| format!("only that changes its `{}`", change.key.name));
            let blind = new.diff.blind.as_ref();
            needs.or_else(|| blind.map(|(_, why)| format!("nobody can tell what changes: {why}")))
        }
    };
    match why {
        None => Ok(Some(Told::Reconfigured)),
        Some(_) if options.allow_restart => Ok(Some(Told::Restarted)),
        Some(why) => Err(Refusal::Restart { master: name(), why }),
    }
}

fn live(master: &Basedir) -> Result<Option<Live>, Refusal> {
    let what = || format!("read what the master `{}` says it runs", master.name);
    master.live().map_err(|error| system(what(), error))
}

fn checkconfig(master: &Basedir, set: &Path, options: &Options) -> Result<(), Refusal> {
    let file = set.join(&master.name).join(MASTER_CFG);
    let file = std::path::absolute(&file).unwrap_or(file);
    let arguments = [OsStr::new("checkconfig"), file.as_os_str()];
    match buildbot(master, &arguments, options, options.patience) {
        Ok((true, _)) => Ok(()),
        Ok((false, words)) => Err(Refusal::Checkconfig { master: master.name.clone(), words }),
        Err(error) => Err(command(options, error)),
    }
}

/// Tells a master to load the set on the disk, and waits until it says that it runs it.
fn tell(master: &Basedir, set: &OutputSet, how: Told, options: &Options) -> Result<(), Refusal> {
    let name = || master.name.clone();
    let before = live(master)?.map(|live| (live.pid, live.updates));
    let log = master.log_length();
    let end = Instant::now() + options.patience;
    match (how, master.pid()) {
        (Told::UpToDate, _) => return Ok(()),
        (Told::Reconfigured, None) => return Err(Refusal::Died(name())),
        // What `buildbot reconfig` does; but that asks for a daemon, and gives up on a silent log.
        (Told::Reconfigured, Some(pid)) => signal(master, pid, Signal::HUP)?,
        (Told::Restarted, pid) => restart(master, pid, end, options)?,
    }
    loop {
        if let Some(now) = live(master)?
            && before != Some((now.pid, now.updates))
        {
            let words = master.log_since(log);
            return match now.ended {
                Ended::Complete if now.config == set.part(&master.name) => Ok(()),
                Ended::Complete => Err(Refusal::Elsewhere(name())),
                Ended::Partial => Err(Refusal::Partial { master: name(), words }),
                Ended::Aborted => Err(Refusal::Aborted { master: name(), words }),
            };
        }
        // While it starts, it has no process for a while.
        if how == Told::Reconfigured && master.pid().is_none() {
            return Err(Refusal::Died(name()));
        }
        silent(master, "loaded the configuration", log, end, options.patience)?;
        std::thread::sleep(LOOK);
    }
}

fn signal(master: &Basedir, pid: Pid, signal: Signal) -> Result<(), Refusal> {
    match kill_process(pid, signal) {
        // It has just ended, which is noticed elsewhere.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(system(format!("signal the master `{}`", master.name), error.into())),
    }
}

/// An error once the `patience` is at its `end`, with what was logged since the log had `log` bytes.
fn silent(
    master: &Basedir,
    what: &'static str,
    log: u64,
    end: Instant,
    patience: Duration,
) -> Result<(), Refusal> {
    if Instant::now() <= end {
        return Ok(());
    }
    let (seconds, words) = (patience.as_secs(), master.log_since(log));
    Err(Refusal::Silent { master: master.name.clone(), what, seconds, words })
}

/// Stops a master, and starts it as a daemon if it was one. If not, whoever keeps it in the
/// foreground does that.
fn restart(
    master: &Basedir,
    pid: Option<Pid>,
    end: Instant,
    options: &Options,
) -> Result<(), Refusal> {
    let log = master.log_length();
    if let Some(pid) = pid {
        signal(master, pid, Signal::TERM)?;
        while master.pid() == Some(pid) {
            silent(master, "ended", log, end, options.patience)?;
            std::thread::sleep(LOOK);
        }
    }
    if !master.is_daemon {
        return Ok(());
    }
    let left = end.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    let seconds = left.as_secs().to_string();
    let arguments =
        ["start".as_ref(), "--start_timeout".as_ref(), seconds.as_ref(), master.path.as_os_str()];
    // It gives up by itself at that time.
    match buildbot(master, &arguments, options, left + SPARE) {
        Ok((true, _)) => Ok(()),
        Ok((false, words)) => {
            let words = format!("{words}\n{}", master.log_since(log));
            Err(Refusal::Start { master: master.name.clone(), words })
        }
        Err(error) => Err(command(options, error)),
    }
}

/// Puts the old set back and has the masters load it that were told of the new one.
fn undo(
    output: &Output,
    old: &OutputSet,
    provenance: &Value,
    touched: &[Work<'_>],
    options: &Options,
    say: &mut dyn FnMut(&str),
) -> Undone {
    let written = output.stage(old, provenance).and_then(crate::write::Staged::commit);
    if let Err(error) = written {
        return Undone::Stuck(Box::new(error.into()));
    }
    let mut undone = Undone::Restored;
    for Work { master, how, health } in touched {
        // Also one that refused the new set: what it was slow to load, it may yet load. One that
        // has ended, or has half of it, is better started again.
        let half = |live: &Live| live.ended == Ended::Partial;
        let broken =
            master.pid().is_none() || master.live().ok().flatten().is_some_and(|l| half(&l));
        let how = if broken && options.allow_restart { &Told::Restarted } else { how };
        let told = tell(master, old, *how, options);
        if let Err(refusal) = told.and_then(|()| health::judge(master, health.as_ref(), say)) {
            undone = Undone::Stuck(Box::new(refusal));
        }
    }
    undone
}
