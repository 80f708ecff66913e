//! A master on this machine, as it is seen from outside: its process, and what it writes down of
//! the configuration that it runs.

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;
use serde::Deserialize;

use super::health::Health;
use super::refusal::Refusal;
use crate::text::{printed, visible};

/// What `live.py` writes into a base directory.
const LIVE: &str = "fdroid-bb-live.json";

/// Where a daemon writes its number.
const PIDFILE: &str = "twistd.pid";

/// Where a master logs.
const LOG: &str = "twistd.log";

/// The most that is read of the log, in bytes.
const MOST_LOG: u64 = 64 << 10;

/// How many lines of the log are shown.
const LAST_LINES: usize = 20;

/// The base directory of a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basedir {
    /// The master's name.
    pub name: String,
    /// Its base directory, from wherever a command is run.
    pub path: PathBuf,
    /// Whether it was a daemon, started by `buildbot start`, when it was found. A daemon that has
    /// ended leaves no sign of that.
    pub is_daemon: bool,
}

/// What a master says of the configuration that it runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Live {
    /// The process that said it.
    pub pid: i32,
    /// The digest of its own files.
    pub config: String,
    /// The digest of the runtime that it imported when it started.
    pub runtime: String,
    /// How many configurations it has tried to load, its first among them.
    pub updates: u64,
    /// How the last of these ended.
    pub ended: Ended,
    /// Whether all of it works; `None` from a runtime that does not say so.
    pub health: Option<Health>,
}

/// How loading a configuration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The master runs it.
    Complete,
    /// «partially applied»: the master runs neither the old one nor the new one.
    Partial,
    /// The master runs the old one.
    Aborted,
}

impl Basedir {
    /// The masters of `names` that have their base directory in `folder`, each by its own name.
    /// `folder` is absolute: Buildbot's commands change their directory.
    #[must_use]
    pub fn find<'n>(folder: &Path, names: impl Iterator<Item = &'n str>) -> Vec<Self> {
        names
            .map(|name| (name.to_owned(), folder.join(name)))
            .filter(|(_, path)| path.join("buildbot.tac").is_file())
            .map(|(name, path)| {
                let mut found = Self { name, path, is_daemon: false };
                // The file may be of a daemon that was killed before another master was started.
                found.is_daemon = found.daemon().is_some()
                    || (found.pid().is_none() && found.path.join(PIDFILE).exists());
                found
            })
            .collect()
    }

    /// An error unless the base directory is the caller's own and closed to all others.
    pub(super) fn guard(&self) -> Result<(), Refusal> {
        let system = |error| Refusal::System { what: format!("look at `{}`", self.shown()), error };
        let found = fs::metadata(&self.path).map_err(system)?;
        let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
        let master = || self.name.clone();
        if owner != user {
            let named = |id| if id == 0 { "root".to_owned() } else { format!("user {id}") };
            let (owner, user) = (named(owner), named(user));
            return Err(Refusal::Foreign { master: master(), owner, user });
        }
        let mode = found.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Refusal::Open { master: master(), path: self.shown(), mode });
        }
        Ok(())
    }

    fn shown(&self) -> String {
        visible(&self.path.to_string_lossy())
    }

    /// The master's process, if it runs: as `twistd.pid` has it, which a master in the foreground
    /// does not write, or as the master itself said.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.daemon().or_else(|| self.works_here(self.said().ok().flatten()?.pid))
    }

    fn daemon(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.path.join(PIDFILE)).ok()?;
        self.works_here(text.trim().parse().ok()?)
    }

    /// Whether it is a daemon that was started less than `patience` ago.
    #[must_use]
    pub(crate) fn is_young(&self, patience: Duration) -> bool {
        let written = fs::metadata(self.path.join(PIDFILE)).and_then(|file| file.modified());
        let age = written.ok().and_then(|written| written.elapsed().ok());
        age.is_some_and(|age| age < patience) && self.daemon().is_some()
    }

    /// A process' number may be another's by now; a master works in its base directory.
    fn works_here(&self, pid: i32) -> Option<Pid> {
        let works_in = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        let here = works_in == fs::canonicalize(&self.path).ok()?;
        Pid::from_raw(pid).filter(|_| here)
    }

    fn said(&self) -> io::Result<Option<Live>> {
        match fs::read(self.path.join(LIVE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The length of the master's log.
    #[must_use]
    pub(crate) fn log_length(&self) -> u64 {
        fs::metadata(self.path.join(LOG)).map_or(0, |metadata| metadata.len())
    }

    /// The last lines of the master's log since it had `length` bytes, without times.
    #[must_use]
    pub(crate) fn log_since(&self, length: u64) -> String {
        // A log that was rotated begins anew.
        let length = if self.log_length() < length { 0 } else { length };
        let start = length.max(self.log_length().saturating_sub(MOST_LOG));
        let mut bytes = Vec::new();
        let read = fs::File::open(self.path.join(LOG)).and_then(|mut log| {
            log.seek(io::SeekFrom::Start(start))?;
            log.read_to_end(&mut bytes)
        });
        let text = String::from_utf8_lossy(&bytes);
        let said = text.lines().map(|line| line.split_once("] ").map_or(line, |(_, said)| said));
        let lines: Vec<&str> = said.filter(|line| read.is_ok() && !line.is_empty()).collect();
        printed(&lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n"))
    }

    /// What the process that runs says of its configuration; `None` before it has said anything.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or is none of `live.py`'s.
    pub fn live(&self) -> io::Result<Option<Live>> {
        let live = self.said()?;
        Ok(live.filter(|live| self.works_here(live.pid).is_some()))
    }
}
