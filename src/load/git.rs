//! The command `git`, which reads what libgit2 cannot: reftable, SHA-256, and whatever comes next.
//! It has limits on time and output, for a repository may be anybody's.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::LARGEST_FILE;
use crate::process;

/// The mode of a folder, in a tree.
pub(super) const FOLDER: u32 = 0o040_000;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest answer that is no file, in bytes. The list of fdroiddata's `metadata/` has 0.7 MB.
const LONGEST: u64 = 64 << 20;

/// The longest line before a file, in bytes.
const LONGEST_HEADER: u64 = 1 << 10;

/// The most that is kept of what git says to people, in bytes.
const MOST_WORDS: u64 = 4 << 10;

/// git, at work on the repository in `path` itself, and in no folder above it.
///
/// It finds the repository by itself, for only then does it refuse one of another user, whose
/// settings could make it run anything.
#[must_use]
pub fn command(path: &Path) -> Command {
    let mut git = Command::new("git");
    // The setting is for repositories that nobody has named.
    git.args(["-c", "safe.bareRepository=all", "-C"]).arg(path);
    let above = fs::canonicalize(path).ok();
    if let Some(above) = above.as_deref().and_then(Path::parent) {
        git.env("GIT_CEILING_DIRECTORIES", above);
    }
    // Those of a hook that this program may have been started by.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"] {
        git.env_remove(name);
    }
    git.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").stdin(Stdio::null());
    git
}

/// What git prints.
///
/// # Errors
/// What it says instead.
pub(super) fn ask(path: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let mut running = Running::start(command(path).args(arguments))?;
    let mut answer = Vec::new();
    let read = running.answers.by_ref().take(LONGEST + 1).read_to_end(&mut answer);
    if answer.len() as u64 > LONGEST {
        return Err(format!("git gives more than {LONGEST} bytes"));
    }
    let status = read.and_then(|_| process::wait(&mut running.child, PATIENCE, &|| false));
    match status {
        Ok(status) if status.success() => Ok(answer),
        Ok(_) => Err(running.words()),
        Err(error) => Err(failed(&error)),
    }
}

/// An entry of a tree: its mode, its name, and the id of what it names.
pub(super) type Entry = (u32, Vec<u8>, Box<str>);

/// The entries of a tree: mode, name and id.
pub(super) fn list(path: &Path, tree: &str) -> Result<Vec<Entry>, String> {
    let listed = ask(path, &["ls-tree", "-z", "--full-tree", tree])?;
    let entry = |entry: &[u8]| {
        let tab = entry.iter().position(|&byte| byte == b'\t')?;
        let (before, name) = (entry.get(..tab)?, entry.get(tab + 1..)?);
        let mut words = std::str::from_utf8(before).ok()?.split(' ');
        let mode = u32::from_str_radix(words.next()?, 8).ok()?;
        Some((mode, name.to_owned(), words.nth(1)?.into()))
    };
    let entries = listed.split(|&byte| byte == 0).filter(|entry| !entry.is_empty());
    entries.map(|e| entry(e).ok_or_else(|| "git gives a list of another form".to_owned())).collect()
}

/// A git that gives one blob after the other.
pub(super) struct Blobs(Running);

impl Blobs {
    pub(super) fn start(path: &Path) -> Result<Self, String> {
        Running::start(command(path).args(["cat-file", "--batch"]).stdin(Stdio::piped())).map(Self)
    }

    /// The size of a blob and, if it is not too large, its bytes. After anything else than a blob
    /// of an allowed size, this is of no more use.
    pub(super) fn read(&mut self, id: &str) -> Result<(u64, Vec<u8>), String> {
        let Running { answers, questions, .. } = &mut self.0;
        let mut header = Vec::new();
        let asked = questions.as_mut().ok_or(io::ErrorKind::BrokenPipe.into());
        let answered = asked
            .and_then(|questions| writeln!(questions, "{id}"))
            .and_then(|()| answers.by_ref().take(LONGEST_HEADER).read_until(b'\n', &mut header));
        match answered {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(failed(&error)),
            Err(_) | Ok(0) => return Err(self.0.words()),
            Ok(_) => {}
        }
        let header = String::from_utf8_lossy(&header);
        let size = header.trim_end().rsplit_once(" blob ").and_then(|(_, size)| size.parse().ok());
        let Some(size) = size else {
            return Err(format!("git says `{}`", crate::text::shown(header.trim_end())));
        };
        if size > LARGEST_FILE {
            return Ok((size, Vec::new()));
        }
        // A line end follows.
        let mut bytes = vec![0; size as usize + 1];
        answers.read_exact(&mut bytes).map_err(|error| failed(&error))?;
        bytes.pop();
        Ok((size, bytes))
    }
}

/// A git that is at work. It ends with this.
struct Running {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<Answers>,
    words: File,
}

impl Running {
    fn start(git: &mut Command) -> Result<Self, String> {
        let mut start = || {
            let words = tempfile::tempfile()?;
            let mut child = git.stdout(Stdio::piped()).stderr(words.try_clone()?).spawn()?;
            let answers = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
            let questions = child.stdin.take();
            Ok(Self { child, questions, answers: BufReader::new(Answers(answers)), words })
        };
        start().map_err(|error: io::Error| format!("git cannot be run: {error}"))
    }

    /// What git says to people, in one line.
    fn words(&mut self) -> String {
        let mut text = Vec::new();
        let read = self.words.rewind();
        let read = read.and_then(|()| (&mut self.words).take(MOST_WORDS).read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let text: Vec<&str> = text.split_whitespace().collect();
        match read {
            Ok(0) | Err(_) => "git has ended without a word".to_owned(),
            Ok(_) => text.join(" "),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What git prints, each part within [`PATIENCE`].
struct Answers(ChildStdout);

impl Read for Answers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = left.try_into().map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.0.as_fd(), PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return self.0.read(buffer),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn failed(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => format!("git gave no answer within {} s", PATIENCE.as_secs()),
        _ => format!("git cannot be read: {error}"),
    }
}
