//! The command `watch`.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fdroid_bb::compile::{self, Description};
use fdroid_bb::config::Sources;
use fdroid_bb::load::{self, Tree};
use fdroid_bb::{process, write};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::Exit;
use crate::apply::{self, Options};
use crate::cli::Inputs;
use crate::metrics;
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
    pub quiet_time: Duration,
}

/// Signals: SIGHUP makes it look at once; SIGTERM and SIGINT make it end, once what is being
/// applied has come to its end.
struct Signals {
    came: Receiver<()>,
    /// The signal to end with.
    end: Arc<OnceLock<i32>>,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let (sender, came) = mpsc::channel();
        let end = Arc::new(OnceLock::new());
        let ending = Arc::clone(&end);
        let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGTERM, SIGINT])?;
        std::thread::spawn(move || {
            for signal in signals.forever() {
                if signal != SIGHUP {
                    ending.get_or_init(|| signal);
                }
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { came, end })
    }

    fn is_end(&self) -> bool {
        self.end.get().is_some()
    }

    /// Waits for a signal, `time` at most; whether it is to end.
    fn is_end_within(&self, time: Duration) -> bool {
        let waited = self.came.recv_timeout(time);
        self.is_end() || waited == Err(RecvTimeoutError::Disconnected)
    }
}

/// What is wrong for a while: told when it begins, when it changes, and when it is over.
#[derive(Default)]
struct Trouble(Option<String>);

impl Trouble {
    fn tell(&mut self, now: Option<String>, over: &str, err: &mut dyn Write) -> io::Result<()> {
        match &now {
            _ if now == self.0 => {}
            Some(words) => writeln!(err, "warning: {words}")?,
            None => writeln!(err, "{over}")?,
        }
        self.0 = now;
        Ok(())
    }
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
    let description = match compile::description(&inputs.config, inputs.overlay.as_deref()) {
        Ok(description) => description,
        Err(findings) => {
            report::findings(err, &findings)?;
            return Ok(Exit::Invalid);
        }
    };
    match load::is_bare(&inputs.fdroiddata) {
        Ok(true) => {}
        Ok(false) => {
            writeln!(err, "error: `{}` is no bare repository", inputs.fdroiddata.display())?;
            writeln!(err, "help: make one with `git clone --bare {}`", url(&description))?;
            return Ok(Exit::Invalid);
        }
        Err(finding) => {
            report::findings(err, &[finding])?;
            return Ok(Exit::Invalid);
        }
    }
    let branch = inputs.rev.clone();
    let branch =
        branch.unwrap_or_else(|| description.pipeline.fdroiddata.branch.as_str().to_owned());
    let inputs = Inputs {
        config: inputs.config.clone(),
        overlay: inputs.overlay.clone(),
        fdroiddata: inputs.fdroiddata.clone(),
        rev: Some(branch.clone()),
    };
    let signals = Signals::listen()?;
    let (fetching, reading) = Default::default();
    let mut follower =
        Follower { inputs: &inputs, watch, branch: &branch, signals: &signals, fetching, reading };
    writeln!(out, "following `{branch}` of {}", inputs.fdroiddata.display())?;
    let exit = follower.follow(out, err)?;
    if signals.end.get() == Some(&SIGINT) {
        // As it would have ended by itself, so that a script that runs this ends too.
        out.flush()?;
        signal_hook::low_level::emulate_default_handler(SIGINT)?;
    }
    Ok(exit)
}

fn url(description: &Description) -> String {
    description.pipeline.fdroiddata.url.url().to_string()
}

/// Whether somebody still reads both streams. A terminal may be closed, a pipe cut short.
fn is_heard() -> bool {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let mut streams =
        [PollFd::new(&stdout, PollFlags::empty()), PollFd::new(&stderr, PollFlags::empty())];
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Where this cannot be told, writing will tell.
    poll(&mut streams, Some(&none)).is_ok_and(|closed| closed == 0)
}

struct Follower<'a> {
    inputs: &'a Inputs,
    watch: &'a Watch,
    branch: &'a str,
    signals: &'a Signals,
    /// Why fdroiddata cannot be fetched.
    fetching: Trouble,
    /// Why the inputs cannot be read.
    reading: Trouble,
}

impl Follower<'_> {
    fn follow(&mut self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
        let mut done: Option<State> = None;
        let mut failures = 0;
        loop {
            self.fetch(err)?;
            let mut wait = self.watch.interval;
            match self.settled(done.as_ref(), err)? {
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
                        if self.is_idle_until_news(wait, &state, err)? {
                            return Ok(if is_heard() { Exit::Clean } else { Exit::Invalid });
                        }
                        continue;
                    }
                }
            }
            if !is_heard() {
                return Ok(Exit::Invalid);
            }
            if self.signals.is_end_within(wait) {
                return Ok(Exit::Clean);
            }
        }
    }

    /// Waits until there is a newer state, or for `wait`; whether it is to end. A signal to look
    /// ends the wait.
    fn is_idle_until_news(
        &mut self,
        wait: Duration,
        failed: &State,
        err: &mut dyn Write,
    ) -> io::Result<bool> {
        let end = Instant::now() + wait;
        while Instant::now() < end {
            if !is_heard() || self.signals.is_end_within(self.watch.interval.min(wait)) {
                return Ok(true);
            }
            self.fetch(err)?;
            if self.state(err)?.is_some_and(|now| now != *failed) {
                break;
            }
        }
        Ok(false)
    }

    /// The state to apply, once no commit has come for a while.
    fn settled(&mut self, done: Option<&State>, err: &mut dyn Write) -> io::Result<Settled> {
        let Some(mut state) = self.state(err)?.filter(|state| Some(state) != done) else {
            return Ok(Settled::Same);
        };
        let burst = Instant::now();
        while burst.elapsed() < LONGEST_BURST {
            if self.signals.is_end_within(self.watch.quiet_time) {
                return Ok(Settled::End);
            }
            self.fetch(err)?;
            match self.state(err)? {
                Some(now) if now != state => state = now,
                _ => break,
            }
        }
        Ok(Settled::New(state))
    }

    /// What the inputs are now. If they cannot be read, that is told.
    fn state(&mut self, err: &mut dyn Write) -> io::Result<Option<State>> {
        let (state, trouble) = match self.read() {
            Ok(state) => (Some(state), None),
            Err(words) => (None, Some(words)),
        };
        self.reading.tell(trouble, "fdroiddata and its description can be read again", err)?;
        Ok(state)
    }

    fn read(&self) -> Result<State, String> {
        let tree = Tree::open(&self.inputs.fdroiddata, Some(self.branch))
            .map_err(|finding| format!("{}\nhelp: {}", finding.message, finding.help))?;
        let overlay = self.inputs.overlay.as_deref();
        let sources = Sources::read(&self.inputs.config, overlay).map_err(|findings| {
            let words = findings.iter().map(|f| format!("{}: {}", f.place.file, f.message));
            words.collect::<Vec<_>>().join("\n")
        })?;
        let texts: Vec<&str> = sources.files().iter().map(|source| source.text.as_str()).collect();
        let commit = tree.commit.ok_or("fdroiddata has no commit")?;
        Ok(State { commit, description: write::digest(texts.join("\0").as_bytes()) })
    }

    /// Fetches the branch, whatever became of it. If that cannot be done, why is told.
    ///
    /// git itself does it, for it knows the proxies, certificates and passwords of this machine,
    /// and can be stopped.
    fn fetch(&mut self, err: &mut dyn Write) -> io::Result<()> {
        let branch = self.branch;
        let mut git = load::git::command(&self.inputs.fdroiddata);
        git.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "origin"]);
        git.arg(format!("+refs/heads/{branch}:refs/heads/{branch}"));
        let trouble = match process::run_unless(&mut git, FETCH, &|| self.signals.is_end()) {
            Ok((true, _)) => None,
            Ok((false, words)) => Some(words),
            // It is to end.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Some(error.to_string()),
            Err(error) => Some(format!("git cannot be run: {error}")),
        };
        if let Some(file) = self.watch.apply.metrics.as_ref().filter(|_| trouble.is_none())
            && let Err(error) = metrics::fetched(file)
        {
            writeln!(err, "warning: `{}` cannot be written: {error}", file.display())?;
        }
        let trouble = trouble.map(|words| format!("fdroiddata cannot be fetched: {words}"));
        self.fetching.tell(trouble, "fdroiddata is fetched again", err)
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
