//! Commands with an end to their time.

use std::io::{self, Read as _, Seek as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The most that is kept of what a command prints, in bytes, from its end.
const MOST_OUTPUT: u64 = 16 << 10;

/// Runs a command: whether it was good, and what it printed.
///
/// # Errors
/// When it cannot be started, or has not ended after `patience`; it is then killed.
pub fn run(command: &mut Command, patience: Duration) -> io::Result<(bool, String)> {
    let mut output = tempfile::tempfile()?;
    let mut child = command
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
