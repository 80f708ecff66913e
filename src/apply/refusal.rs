//! Why a master does not run a configuration, and what was done about it.

use std::io;

use super::health::{Problem, lines};
use crate::write::WriteError;

/// Why a master does not run a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It does not run at all.
    #[error("the master `{0}` does not run")]
    Down(String),
    /// Other users can enter its base directory.
    #[error(
        "other users can enter `{path}` (mode {mode:04o}), where the master `{master}` has passwords \
         and the key of logins"
    )]
    Open {
        /// The master.
        master: String,
        /// Its base directory.
        path: String,
        /// The permissions of that.
        mode: u32,
    },
    /// Somebody else is the one who runs it: its `buildbot.tac` would run as who asks, and what it
    /// writes would be theirs.
    #[error("the base directory of the master `{master}` is of {owner}, and this is run by {user}")]
    Foreign {
        /// The master.
        master: String,
        /// The user whose base directory it is, such as `user 1000`.
        owner: String,
        /// The user who asks.
        user: String,
    },
    /// Only a restart makes it do so.
    #[error("the master `{master}` must be started again: {why}")]
    Restart {
        /// The master.
        master: String,
        /// What it would otherwise leave as it is.
        why: String,
    },
    /// `buildbot checkconfig` refuses the configuration.
    #[error("buildbot checkconfig refuses the configuration of `{master}`:\n{words}")]
    Checkconfig {
        /// The master.
        master: String,
        /// Buildbot's words.
        words: String,
    },
    /// Names that Buildbot would mix up, which its `checkconfig` lets pass.
    #[error("several objects of the master `{master}` have the name `{name}`")]
    Collision {
        /// The master.
        master: String,
        /// The name.
        name: String,
    },
    /// The master refused the configuration and runs its old one.
    #[error("the master `{master}` refuses the configuration:\n{words}")]
    Aborted {
        /// The master.
        master: String,
        /// Its words.
        words: String,
    },
    /// The master took half of the configuration.
    #[error("the master `{master}` took half of the configuration (partially applied):\n{words}")]
    Partial {
        /// The master.
        master: String,
        /// Its words.
        words: String,
    },
    /// Buildbot cannot start the master.
    #[error("buildbot does not start the master `{master}`:\n{words}")]
    Start {
        /// The master.
        master: String,
        /// Buildbot's words, and the master's.
        words: String,
    },
    /// The master runs the configuration, but parts of it do not work that did before.
    #[error(
        "the master `{master}` runs the configuration, but parts of it do not work:\n{}",
        lines(problems)
    )]
    Unhealthy {
        /// The master.
        master: String,
        /// What does not work.
        problems: Vec<Problem>,
    },
    /// The master ended.
    #[error("the master `{0}` ended while it loaded the configuration")]
    Died(String),
    /// The master says nothing.
    #[error("the master `{master}` has not {what} within {seconds} s:\n{words}")]
    Silent {
        /// The master.
        master: String,
        /// What it should have done.
        what: &'static str,
        /// How long it was waited for.
        seconds: u64,
        /// Its last words.
        words: String,
    },
    /// Another configuration is loaded than the one on the disk.
    #[error(
        "the master `{0}` loaded another configuration than this one: is its `master.cfg` here?"
    )]
    Elsewhere(String),
    /// Buildbot's command does not work.
    #[error("`{program}` does not work: {error}")]
    Command {
        /// As it is called.
        program: String,
        /// What the system says.
        error: io::Error,
    },
    /// The system refused.
    #[error("cannot {what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// The set cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Nothing of the new set is left, as far as that was possible.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub refusal: Refusal,
    /// What was done to put things right.
    pub undone: Undone,
}

/// What was done about a refusal.
#[derive(Debug)]
pub enum Undone {
    /// Nothing had been changed.
    Nothing,
    /// The old set is back and the masters run it.
    Restored,
    /// The old set is back, but a master does not run it.
    Stuck(Box<Refusal>),
}
