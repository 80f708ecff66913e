//! What a master knows of builds that were asked for before.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::fdroid::AppId;
use crate::load::git;
use crate::process;

/// How long git may take to compare two commits.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of one version of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Its build waits.
    Queued,
    /// It is being built.
    Running,
    /// It was built, and nothing has changed since.
    Built,
    /// Its build failed, and nothing has changed since.
    Failed,
    /// It was built, and could not be published.
    Refused,
}

impl State {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Built => "built",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// How a build ended that was asked for last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether it was well.
    pub well: bool,
    /// The commit of fdroiddata that it was of, if that is known.
    pub revision: Option<String>,
    /// Whether builds are made by another machine or fdroidserver since.
    pub other_machine: bool,
}

/// What a master says of one version of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It waits or is being built.
    UnderWay(State),
    /// It was built, or not.
    Ended(Ended),
}

/// What a master knows.
#[derive(Debug, Default)]
pub struct Knowledge {
    /// By `APPID:VERSIONCODE`. What it does not know is not there.
    pub builds: BTreeMap<String, Known>,
    /// What is paused, a line each.
    pub paused: Vec<String>,
}

impl Known {
    /// From one line of the master's answer: the version, and what is known of it.
    pub(super) fn read(line: &str) -> Option<(String, Self)> {
        let parts: Vec<serde_json::Value> = serde_json::from_str(line).ok()?;
        let key = parts.first()?.as_str()?.to_owned();
        let ended = |well| {
            let revision = parts.get(2)?.as_str().filter(|text| is_commit(text));
            let revision = revision.map(ToOwned::to_owned);
            Some(Self::Ended(Ended { well, revision, other_machine: parts.get(3)?.as_bool()? }))
        };
        let known = match parts.get(1)?.as_str()? {
            "queued" => Self::UnderWay(State::Queued),
            "running" => Self::UnderWay(State::Running),
            "built" => ended(true)?,
            "failed" => ended(false)?,
            _ => return None,
        };
        Some((key, known))
    }
}

impl Ended {
    /// Why the build is not asked for again, if it is not.
    ///
    /// One that failed is when its metadata in `fdroiddata` at `commit`, or what builds it, is another;
    /// one that was well, when its metadata is.
    #[must_use]
    pub fn keeps(&self, fdroiddata: &Path, commit: Option<&str>, app: &AppId) -> Option<State> {
        let is_over = (!self.well && self.other_machine)
            || self
                .revision
                .as_deref()
                .zip(commit)
                .is_some_and(|(old, new)| has_changed(fdroiddata, old, new, app));
        (!is_over).then_some(if self.well { State::Built } else { State::Failed })
    }
}

/// Whether an app's metadata differs between two commits. It does where one is gone.
fn has_changed(fdroiddata: &Path, old: &str, new: &str, app: &AppId) -> bool {
    let app = app.as_str();
    let mut git = git::command(fdroiddata);
    git.args(["diff", "--quiet", "--no-ext-diff", "--no-textconv", old, new, "--"]);
    git.args([format!(":/metadata/{app}.yml"), format!(":/metadata/{app}")]);
    old != new && !matches!(process::run(&mut git, PATIENCE), Ok((true, _)))
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
