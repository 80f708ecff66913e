//! A master on this machine, as it is seen from outside: its process, and what it writes down of
//! the configuration that it runs.

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use serde::Deserialize;

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
    /// Its base directory.
    pub path: PathBuf,
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
    #[must_use]
    pub fn find<'n>(folder: &Path, names: impl Iterator<Item = &'n str>) -> Vec<Self> {
        names
            .map(|name| Self { name: name.to_owned(), path: folder.join(name) })
            .filter(|basedir| basedir.path.join("buildbot.tac").is_file())
            .collect()
    }

    /// The master's process, if it runs: as `twistd.pid` has it, which a master in the foreground
    /// does not write, or as the master itself said.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        let daemon = fs::read_to_string(self.path.join(PIDFILE)).ok();
        let daemon = daemon.and_then(|text| text.trim().parse().ok());
        let said = self.said().ok().flatten().map(|live| live.pid);
        daemon.into_iter().chain(said).find_map(|pid| self.works_here(pid))
    }

    /// Whether it was started as a daemon, by `buildbot start`.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.path.join(PIDFILE).exists()
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
    pub fn log_length(&self) -> u64 {
        fs::metadata(self.path.join(LOG)).map_or(0, |metadata| metadata.len())
    }

    /// The last lines of the master's log since it had `length` bytes, without times.
    #[must_use]
    pub fn log_since(&self, length: u64) -> String {
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
        lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n")
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
