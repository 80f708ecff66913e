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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::run;

    #[test]
    fn a_command_ends_by_itself_or_is_ended() {
        let patience = Duration::from_secs(60);
        let (good, said) =
            run(Command::new("sh").args(["-c", "echo a; echo b >&2"]), patience).unwrap();
        assert!(good);
        assert_eq!(said, "a\nb");
        let (good, _) = run(&mut Command::new("false"), patience).unwrap();
        assert!(!good);
        let started = Instant::now();
        let error = run(Command::new("sleep").arg("60"), Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(30));
        assert_eq!(
            run(&mut Command::new("/none"), patience).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}
