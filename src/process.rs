//! Commands with an end to their time.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::text::printed;

/// How often a process is looked at: soon at first, then less and less often.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// The most that is kept of what a command prints, in bytes, from its end.
const MOST_OUTPUT: u64 = 16 << 10;

/// Runs a command: whether it was good, and what it printed.
///
/// # Errors
/// When it cannot be started, or has not ended after `patience`; it is then killed, and the error
/// tells what it printed.
pub fn run(command: &mut Command, patience: Duration) -> io::Result<(bool, String)> {
    run_unless(command, patience, &|| false)
}

/// The same, but that it is also killed once `is_over` says so; that is an error of the kind
/// `Interrupted`.
///
/// # Errors
/// As of [`run`].
pub fn run_unless(
    command: &mut Command,
    patience: Duration,
    is_over: &dyn Fn() -> bool,
) -> io::Result<(bool, String)> {
    let output = tempfile::tempfile()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        // Ctrl-C is for this program, which knows how to end; and what a command starts ends with it.
        .process_group(0)
        .spawn()?;
    let waited = wait(&mut child, patience, is_over);
    let said = last(output)?;
    match waited {
        Ok(status) => Ok((status.success(), said)),
        Err(e) if e.kind() == ErrorKind::TimedOut => {
            let why = format!("it has not ended within {} s\n{said}", patience.as_secs());
            Err(io::Error::new(ErrorKind::TimedOut, why.trim_end()))
        }
        Err(e) => Err(e),
    }
}

/// The end of what was printed, fit to be shown.
fn last(mut output: File) -> io::Result<String> {
    let mut text = Vec::new();
    let start = output.metadata()?.len().saturating_sub(MOST_OUTPUT);
    output.seek(io::SeekFrom::Start(start))?;
    output.read_to_end(&mut text)?;
    Ok(printed(String::from_utf8_lossy(&text).trim()))
}

/// How a process ends; if it does not do so within `patience`, or `is_over` says so, it is killed
/// with all of its process group.
///
/// # Errors
/// Of the kind `TimedOut` or `Interrupted`, if it was killed.
pub(crate) fn wait(
    child: &mut Child,
    patience: Duration,
    is_over: &dyn Fn() -> bool,
) -> io::Result<ExitStatus> {
    let end = Instant::now() + patience;
    let mut look = LOOK.0;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let is_over = is_over();
        if is_over || Instant::now() > end {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            // Its children, if it has a group of its own; then itself, in any case.
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            child.kill()?;
            child.wait()?;
            let kind = if is_over { ErrorKind::Interrupted } else { ErrorKind::TimedOut };
            return Err(kind.into());
        }
        std::thread::sleep(look);
        look = (look * 2).min(LOOK.1);
    }
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
        let mut slow = Command::new("sh");
        let error = run(slow.args(["-c", "echo a; exec sleep 60"]), Duration::from_secs(1));
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "it has not ended within 1 s\na");
        assert!(started.elapsed() < Duration::from_secs(30));
        assert_eq!(
            run(&mut Command::new("/none"), patience).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}
