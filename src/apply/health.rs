//! Whether all of a master works, as it says itself (`templates/fdroid_bb/master/health.py`).

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::basedir::Basedir;
use super::refusal::Refusal;
use super::{LOOK, live, silent};

/// How long a master may take to find it out; it has an end to its time itself.
const PATIENCE: Duration = Duration::from_secs(150);

/// How many problems are told.
const MOST: usize = 10;

/// What a master says of its own health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Health {
    /// After how many configurations it was found out; fewer than [`super::Live::updates`] while it is
    /// being found out.
    pub update: u64,
    /// All that does not work.
    pub problems: Vec<Problem>,
}

/// A part of a master that does not work.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// The kind of the part.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is wrong, in words.
    pub says: String,
}

impl Health {
    /// Whether it was found out at all.
    #[must_use]
    pub(crate) fn is_known(&self) -> bool {
        self.update > 0
    }

    /// The problems that `before` did not have; none if nothing is known of before.
    #[must_use]
    pub fn since(&self, before: Option<&Self>) -> Vec<Problem> {
        let Some(before) = before else { return Vec::new() };
        let is_old = |new: &Problem| {
            before.problems.iter().any(|old| (&old.kind, &old.name) == (&new.kind, &new.name))
        };
        self.problems.iter().filter(|problem| !is_old(problem)).cloned().collect()
    }
}

/// What a master says of its health, once it has found it out after its last configuration.
pub(super) fn settled(master: &Basedir) -> Result<Health, Refusal> {
    let log = master.log_length();
    let end = Instant::now() + PATIENCE;
    loop {
        let Some(live) = live(master)? else { return Err(Refusal::Died(master.name.clone())) };
        let updates = live.updates;
        match live.health {
            Some(health) if health.update < updates => {}
            // An earlier runtime, which somebody has returned to, does not say.
            health => return Ok(health.unwrap_or_default()),
        }
        silent(master, "found out whether all of it works", log, end, PATIENCE)?;
        std::thread::sleep(LOOK);
    }
}

/// An error if something does not work that did `before`; a warning for what did not even then, or
/// if nothing is known of before.
pub(super) fn judge(
    master: &Basedir,
    before: Option<&Health>,
    say: &mut dyn FnMut(&str),
) -> Result<(), Refusal> {
    let now = settled(master)?;
    let problems = now.since(before);
    warn(master, now.problems.iter().filter(|problem| !problems.contains(problem)), say);
    if problems.is_empty() {
        return Ok(());
    }
    Err(Refusal::Unhealthy { master: master.name.clone(), problems })
}

pub(super) fn warn<'a>(
    master: &Basedir,
    problems: impl Iterator<Item = &'a Problem>,
    say: &mut dyn FnMut(&str),
) {
    let problems: Vec<Problem> = problems.cloned().collect();
    if !problems.is_empty() {
        say(&format!("warning: parts of `{}` do not work:\n{}", master.name, lines(&problems)));
    }
}

/// Problems, each in a line of its own.
pub(super) fn lines(problems: &[Problem]) -> String {
    let mut lines: Vec<String> =
        problems.iter().take(MOST).map(|problem| format!("  {}", problem.says)).collect();
    if problems.len() > MOST {
        lines.push(format!("  and {} more", problems.len() - MOST));
    }
    lines.join("\n")
}
