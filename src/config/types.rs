//! The shape of `fdroid-bb.toml`: the file as a whole, and which apps are polled. Doc comments
//! here and in the files beside are what editors show.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::builders::{Builder, Lock, Property, Scheduler, StepList};
use super::choices::Choice;
use super::failures::Failures;
use super::machines::Worker;
use super::masters::Master;
use super::reporters::Reporter;
use super::shared::SharedValue;
use super::values::{Branch, Duration, Glob, Name, Operator, WebUrl};
use crate::remote::Scheme;

/// F-Droid's Buildbot masters, what they build, where and when.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The git repository of app metadata that the masters follow.
    pub fdroiddata: Fdroiddata,
    /// Which apps are polled, and how often.
    #[serde(default)]
    pub apps: Apps,
    /// Which source URLs are polled. Metadata is written by strangers: widen this with care.
    #[serde(default)]
    pub remotes: Remotes,
    /// What `generate` refuses to do by mistake.
    #[serde(default)]
    pub guard: Guard,
    /// The Buildbot masters, each with a folder of its own in the output.
    pub masters: BTreeMap<Name, Master>,
    /// What is said once and referred to with `{ value = "NAME" }`, wherever a value may stand.
    #[serde(default)]
    pub values: BTreeMap<Name, SharedValue>,
    /// Of several ways to do the same, which is taken. What has a `when` is there only then.
    #[serde(default)]
    pub choices: BTreeMap<Name, Choice>,
    /// Properties that several builders get, named in their `property-sets`.
    #[serde(default)]
    pub property_sets: BTreeMap<Name, BTreeMap<Name, Property>>,
    /// Steps that several builders have: `{ use = "NAME" }` among their steps.
    #[serde(default)]
    pub step_lists: BTreeMap<Name, StepList>,
    /// The machines that builds run on.
    pub workers: BTreeMap<Name, Worker>,
    /// What builds must not use at the same time.
    #[serde(default)]
    pub locks: BTreeMap<Name, Lock>,
    /// The kinds of builds.
    pub builders: BTreeMap<Name, Builder>,
    /// What makes builders build.
    pub schedulers: BTreeMap<Name, Scheduler>,
    /// Who is told of builds.
    #[serde(default)]
    pub reporters: BTreeMap<Name, Reporter>,
    /// What becomes of builds that fail; if not given, that is up to Buildbot.
    pub failures: Option<Failures>,
}

/// The git repository of app metadata.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fdroiddata {
    /// Where it is.
    pub url: WebUrl,
    /// The branch to follow.
    #[serde(default = "default_branch")]
    pub branch: Branch,
    /// How often a master that is triggered by `fdroiddata` looks for changes.
    #[serde(default = "default_five_minutes")]
    pub poll_interval: Duration,
}

/// Which apps are polled, and how often. An app without a repository never is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Apps {
    /// Poll apps that have `Disabled`.
    pub disabled: bool,
    /// Poll apps whose `ArchivePolicy` is 0.
    pub archived: bool,
    /// The `UpdateCheckMode`s that are polled; `None` and `Static` ask for no check.
    pub update_check_modes: Vec<PolledMode>,
    /// How often each source is polled.
    pub poll_interval: Duration,
    /// How often each app is checked whatever its source says.
    pub check_interval: Duration,
    /// The same for apps whose `UpdateCheckMode` is `HTTP`: a release of theirs need not be seen in
    /// their source.
    pub http_check_interval: Duration,
    /// Exceptions; of those that match an app, a later one wins.
    pub overrides: Vec<Override>,
}

/// An `UpdateCheckMode` that a poller can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum PolledMode {
    /// A new or moved tag.
    Tags,
    /// A new commit on a branch.
    RepoManifest,
    /// A new or moved tag, or a new commit on the default branch; the version itself is on a web page.
    #[serde(rename = "HTTP")]
    Http,
}

/// An exception for some apps: those whose id matches `apps` and whose source is on a host that
/// matches `hosts`. One that is not given matches all.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Override {
    /// Application ids or patterns.
    pub apps: Vec<Glob>,
    /// Hosts or patterns.
    pub hosts: Vec<Glob>,
    /// Whether these apps are polled at all.
    pub poll: Option<bool>,
    /// How often these apps are polled.
    pub poll_interval: Option<Duration>,
}

/// Which source URLs are polled.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Remotes {
    /// The protocols that are spoken to sources.
    pub schemes: Vec<Scheme>,
    /// Hosts, addresses and networks (`192.0.2.0/24`) that are polled although they are not
    /// public ones.
    pub allow_hosts: Vec<String>,
    /// Who asks, as git tells it in its user agent: a name and how to reach somebody. Forges may
    /// exempt those that they can recognise from their limits.
    pub operator: Option<Operator>,
}

/// What is not done by mistake.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Guard {
    /// The share of a master's pollers, in percent, that may vanish in one run.
    #[schemars(range(min = 0, max = 100))]
    pub vanishing_percent: u8,
    /// How often one host may be asked in a minute before there is a warning.
    #[schemars(range(min = 1))]
    pub polls_per_minute: u32,
}

impl Default for Apps {
    fn default() -> Self {
        Self {
            disabled: false,
            archived: false,
            update_check_modes: vec![PolledMode::Tags, PolledMode::RepoManifest, PolledMode::Http],
            poll_interval: Duration::from_hours(6),
            check_interval: Duration::from_hours(7 * 24),
            http_check_interval: Duration::from_hours(24),
            overrides: Vec::new(),
        }
    }
}

impl Default for Remotes {
    fn default() -> Self {
        Self { schemes: vec![Scheme::Https], allow_hosts: Vec::new(), operator: None }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self { vanishing_percent: 10, polls_per_minute: 60 }
    }
}

fn default_branch() -> Branch {
    Branch::fixed("master")
}

fn default_five_minutes() -> Duration {
    Duration::from_minutes(5)
}
