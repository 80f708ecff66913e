//! Buildbot's own commands, each with an end to its time.

use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The most that is kept of what a command prints, in bytes, from its end.
const MOST_OUTPUT: u64 = 16 << 10;

/// The program `buildbot`.
#[derive(Clone, Debug)]
pub struct Buildbot {
    /// As it is called.
    pub program: PathBuf,
}

impl Buildbot {
    /// Runs `buildbot ARGUMENTS` in `folder`: whether it was good, and what it printed.
    ///
    /// # Errors
    /// When it cannot be started, or has not ended after `patience`.
    pub fn run(
        &self,
        folder: &Path,
        arguments: &[&str],
        patience: Duration,
    ) -> io::Result<(bool, String)> {
        let mut output = tempfile::tempfile()?;
        let mut child = Command::new(&self.program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .spawn()?;
        let end = Instant::now() + patience;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                child.kill()?;
                child.wait()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(LOOK);
        };
        let mut text = Vec::new();
        let start = output.metadata()?.len().saturating_sub(MOST_OUTPUT);
        output.seek(io::SeekFrom::Start(start))?;
        output.read_to_end(&mut text)?;
        Ok((status.success(), String::from_utf8_lossy(&text).trim().to_owned()))
    }
}
