//! The command `watch`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use fdroid_bb::compile::{self, Description};
use fdroid_bb::load::Tree;
use fdroid_bb::{process, write};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Exit;
use crate::apply::{self, Options};
use crate::cli::Inputs;
use crate::report;

/// How long a fetch may take.
const FETCH: Duration = Duration::from_secs(120);

/// The longest that a burst of commits is waited out.
const LONGEST_BURST: Duration = Duration::from_secs(60);

/// The longest time between two tries of what has failed.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);

/// What `watch` was asked for.
pub struct Watch {
    pub apply: Options,
    /// The time between two fetches.
    pub interval: Duration,
    /// How long there must have been no new commit before it is applied.
    pub settle: Duration,
}

/// What a signal asks for.
enum Signal {
    /// To look at once.
    Wake,
    /// To end.
    End,
}

/// A state of the inputs: fdroiddata's commit, and the sum of the description.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    commit: String,
    description: String,
}

/// Follows fdroiddata until it is told to end.
pub fn watch(
    inputs: &Inputs,
    watch: &Watch,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let description = match compile::description(&inputs.config) {
        Ok(description) => description,
        Err(findings) => {
            report::findings(err, &findings)?;
            return Ok(Exit::Invalid);
        }
    };
    if !is_bare(&inputs.fdroiddata) {
        writeln!(err, "error: `{}` is no bare repository", inputs.fdroiddata.display())?;
        writeln!(err, "help: make one with `git clone --bare {}`", url(&description))?;
        return Ok(Exit::Invalid);
    }
    let branch = inputs.rev.clone();
    let branch =
        branch.unwrap_or_else(|| description.pipeline.fdroiddata.branch.as_str().to_owned());
    let inputs = Inputs {
        config: inputs.config.clone(),
        fdroiddata: inputs.fdroiddata.clone(),
        rev: Some(branch.clone()),
    };
    let signals = signals()?;
    let mut follower = Follower { inputs: &inputs, watch, branch: &branch, signals: &signals };
    writeln!(out, "following `{branch}` of {}", inputs.fdroiddata.display())?;
    follower.follow(out, err)
}

fn url(description: &Description) -> String {
    description.pipeline.fdroiddata.url.url().to_string()
}

fn is_bare(path: &Path) -> bool {
    path.join("objects").is_dir() && path.join("HEAD").is_file()
}

/// SIGHUP wakes; SIGTERM and SIGINT end, once what is being applied has come to its end.
fn signals() -> io::Result<Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel();
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGINT])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let meaning = if signal == SIGHUP { Signal::Wake } else { Signal::End };
            if sender.send(meaning).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

struct Follower<'a> {
    inputs: &'a Inputs,
    watch: &'a Watch,
    branch: &'a str,
    signals: &'a Receiver<Signal>,
}

impl Follower<'_> {
    fn follow(&mut self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
        let mut done: Option<State> = None;
        let mut failures = 0;
        loop {
            if let Some(words) = self.fetch() {
                writeln!(err, "warning: fdroiddata cannot be fetched: {words}")?;
            }
            let mut wait = self.watch.interval;
            match self.settled(done.as_ref()) {
                Settled::End => return Ok(Exit::Clean),
                Settled::Same => {}
                Settled::New(state) => {
                    let started = Instant::now();
                    let exit = apply::apply(self.inputs, &self.watch.apply, out, err)?;
                    let seconds = started.elapsed().as_secs_f64();
                    let commit = state.commit.get(..12).unwrap_or(&state.commit);
                    if exit == Exit::Clean {
                        writeln!(out, "fdroiddata at {commit}: live after {seconds:.1} s")?;
                        (done, failures) = (Some(state), 0);
                    } else {
                        // It stays as it is; it may be a master that is down for a while.
                        failures += 1;
                        wait = backoff(wait, failures);
                        writeln!(
                            err,
                            "fdroiddata at {commit}: not applied ({}); tried again in {} s, or \
                             with the next commit",
                            exit as u8,
                            wait.as_secs(),
                        )?;
                        if self.is_idle_until_news(wait, &state) {
                            return Ok(Exit::Clean);
                        }
                        continue;
                    }
                }
            }
            out.flush()?;
            if self.is_over(wait) {
                return Ok(Exit::Clean);
            }
        }
    }

    /// Waits; whether it is to end. A signal to wake ends the wait.
    fn is_over(&self, wait: Duration) -> bool {
        matches!(
            self.signals.recv_timeout(wait),
            Ok(Signal::End) | Err(RecvTimeoutError::Disconnected)
        )
    }

    /// Waits until there is a newer state, or for `wait`; whether it is to end.
    fn is_idle_until_news(&self, wait: Duration, failed: &State) -> bool {
        let end = Instant::now() + wait;
        while Instant::now() < end {
            if self.is_over(self.watch.interval.min(wait)) {
                return true;
            }
            // What hinders it was said, or is said with the next try.
            let _ = self.fetch();
            if self.state().is_some_and(|now| now != *failed) {
                break;
            }
        }
        false
    }

    /// The state to apply, once no commit has come for a while.
    fn settled(&self, done: Option<&State>) -> Settled {
        let Some(mut state) = self.state().filter(|state| Some(state) != done) else {
            return Settled::Same;
        };
        let burst = Instant::now();
        while burst.elapsed() < LONGEST_BURST {
            if self.is_over(self.watch.settle) {
                return Settled::End;
            }
            let _ = self.fetch();
            match self.state() {
                Some(now) if now != state => state = now,
                _ => break,
            }
        }
        Settled::New(state)
    }

    /// What the inputs are now; `None` where the branch is gone.
    fn state(&self) -> Option<State> {
        let tree = Tree::open(&self.inputs.fdroiddata, Some(self.branch)).ok()?;
        let description = fs::read(&self.inputs.config).unwrap_or_default();
        Some(State { commit: tree.commit?, description: write::digest(&description) })
    }

    /// Fetches the branch, whatever became of it; why not, if it cannot be done.
    ///
    /// git itself does it, for it knows the proxies, certificates and passwords of this machine,
    /// and can be stopped.
    fn fetch(&self) -> Option<String> {
        let branch = self.branch;
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(&self.inputs.fdroiddata);
        git.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "origin"]);
        git.arg(format!("+refs/heads/{branch}:refs/heads/{branch}"));
        git.env("GIT_TERMINAL_PROMPT", "0");
        match process::run(&mut git, FETCH) {
            Ok((true, _)) => None,
            Ok((false, words)) => Some(words),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Some(format!("nothing came within {} s", FETCH.as_secs()))
            }
            Err(error) => Some(format!("git does not work: {error}")),
        }
    }
}

/// What became of a look at the inputs.
enum Settled {
    Same,
    New(State),
    End,
}

/// Twice as long with each failure.
fn backoff(interval: Duration, failures: u32) -> Duration {
    interval.saturating_mul(2u32.saturating_pow(failures)).min(LONGEST_BACKOFF)
}
