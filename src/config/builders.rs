//! Builders, their steps and locks, and what starts them, in `fdroid-bb.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::checkouts::Checkout;
use super::choices::{When, WorkerName};
use super::scalars::{Scalar, TextOrSecret};
use super::steps::{ChangeProperty, Condition, Retry};
use super::times::Weekly;
use super::values::{Branch, Duration, EnvName, FilePattern, Name, Size, TimeOfDay};

/// Something that builds must not use at the same time.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lock {
    /// Where it holds.
    pub scope: LockScope,
    /// How many builds may share it; any number if not given.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_holders: Option<u16>,
}

/// Where a lock holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LockScope {
    /// In the whole master.
    #[default]
    Master,
    /// On each worker by itself.
    Worker,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Access {
    /// Alone or not.
    Word(Sharing),
    /// Together with others, as if by so many at once: together they are at most the lock's
    /// `max-holders`.
    Share(#[schemars(range(min = 1, max = 10_000))] u16),
}

/// How a lock is held, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Alone.
    Exclusive,
    /// Together with others that share it.
    Shared,
}

/// A kind of build.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Builder {
    /// What it does, for its web page.
    pub description: Option<String>,
    /// Tags by which the web pages group builders.
    #[serde(default)]
    pub tags: Vec<Name>,
    /// The workers that may run it. They say which master it belongs to.
    #[schemars(length(min = 1), with = "Vec<WorkerName>")]
    pub workers: Vec<Name>,
    /// How long its builds are kept from their end, if not as long as its master keeps builds.
    pub keep: Option<Duration>,
    /// The properties its steps use as `{name}`. They come from outside, and are checked before
    /// anything else runs.
    #[serde(default)]
    pub properties: BTreeMap<Name, Property>,
    /// Property sets whose properties it gets too.
    #[serde(default)]
    pub property_sets: Vec<Name>,
    /// The choices under which it is there.
    #[serde(default)]
    pub when: When,
    /// The property, an `app-id`, by whose value its builds are shown: each app has one page for
    /// its builds of all builders.
    pub page: Option<Name>,
    /// Properties by which requests that wait are compared: those equal in all of them become one
    /// build. If not given, each request is a build of its own.
    #[serde(default)]
    pub collapse: Vec<Name>,
    /// What it locks, from its first step to its last.
    #[serde(default)]
    pub locks: BTreeMap<Name, Access>,
    /// Environment variables of all its steps. `{name}` stands for a property, but not one of the
    /// type `text`; `{{` and `}}` are braces.
    #[serde(default)]
    pub env: BTreeMap<EnvName, TextOrSecret>,
    /// How long each of its steps may take, unless the step says otherwise.
    #[serde(default = "default_two_hours")]
    pub timeout: TimeLimit,
    /// What it does, in this order.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
}

/// How long something may take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TimeLimit {
    /// This long.
    Fixed(Duration),
    /// As long as the build's own property says.
    FromProperty(PropertyLimit),
}

/// A length of time that a property gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PropertyLimit {
    /// The property, of the type `seconds`.
    pub property: Name,
    /// How long where a build has no such property.
    pub default: Duration,
}

/// A property that a build gets from outside. Forms ask for those of a builder in the order in
/// which it declares them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Property {
    /// What it may hold.
    pub r#type: PropertyType,
    /// Whether a build may be without it. A step that uses it then sees an empty text.
    #[serde(default)]
    pub optional: bool,
    /// What it is in builds that come without it, and at first in forms.
    pub default: Option<Scalar>,
    /// All that it may be.
    #[serde(default)]
    pub choices: Vec<Scalar>,
    /// What forms call it; its name if not given.
    #[schemars(length(min = 1, max = 100))]
    pub label: Option<String>,
    /// What forms say about it.
    #[schemars(length(min = 1, max = 1_000))]
    pub help: Option<String>,
}

/// What a property may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PropertyType {
    /// An application id.
    AppId,
    /// A whole number from 0, such as a version code.
    Integer,
    /// A length of time in whole seconds, from 1 to a week.
    Seconds,
    /// A commit's hash.
    Commit,
    /// The name of a branch or tag: words with `/` between them.
    Branch,
    /// Letters, digits, `.`, `_` and `-`.
    Word,
    /// One line of any text.
    Text,
}

impl PropertyType {
    /// The type's name, here and in the runtime's `check_properties.py`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AppId => "app-id",
            Self::Integer => "integer",
            Self::Seconds => "seconds",
            Self::Commit => "commit",
            Self::Branch => "branch",
            Self::Word => "word",
            Self::Text => "text",
        }
    }
}

/// Steps that several builders have.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StepList(#[schemars(length(min = 1))] pub Vec<Step>);

/// One thing a builder does, or the steps of a list: `use`. Just one of `run`, `run-on-master`, `git`, `upload`, `download` and
/// `save-log` says what.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// Its name on the web pages; made from what it does if not given.
    #[schemars(length(min = 1))]
    pub name: Option<String>,
    /// The step list whose steps are in this place.
    pub r#use: Option<Name>,
    /// The choices under which it is there.
    #[serde(default)]
    pub when: When,
    /// A command and its arguments, run on the worker without a shell. `{name}` stands for a
    /// property, `{{` and `}}` for braces.
    #[schemars(length(min = 1))]
    pub run: Option<Vec<String>>,
    /// The same, run on the master's machine, in the master's output directory.
    #[schemars(length(min = 1))]
    pub run_on_master: Option<Vec<String>>,
    /// Checks out a git repository.
    pub git: Option<Checkout>,
    /// Copies a file or folder from the worker to the master, whole or not at all.
    pub upload: Option<Upload>,
    /// Copies a file from the master to the worker, whole or not at all.
    pub download: Option<Transfer>,
    /// Writes the log of an earlier step into a file of the master, also if that step failed.
    pub save_log: Option<SavedLog>,
    /// The folder it runs in, relative to the build's own; for `run-on-master`, to the master's
    /// output directory. `{name}` stands for a property, but not one of the type `text`.
    #[schemars(length(min = 1))]
    pub workdir: Option<String>,
    /// Environment variables, added to the builder's.
    #[serde(default)]
    pub env: BTreeMap<EnvName, TextOrSecret>,
    /// How long it may take.
    pub timeout: Option<TimeLimit>,
    /// What it locks while it runs.
    #[serde(default)]
    pub locks: BTreeMap<Name, Access>,
    /// Run it even if a step before it failed.
    #[serde(default)]
    pub always: bool,
    /// What its failure means for the build.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// For `run` and `run-on-master`: the exit statuses of a command that has done its work and
    /// warns. The build ends with a warning, and the further steps run.
    #[serde(default)]
    #[schemars(inner(range(min = 1)))]
    pub warn_on: Vec<u8>,
    /// For `run` and `run-on-master`: the exit statuses of a command that has found nothing for the
    /// further steps to do. The build ends well, or with a warning if `warn-on` has it too; of the
    /// further steps only those marked `always` run, and no scheduler with `after` starts a build.
    #[serde(default)]
    #[schemars(inner(range(min = 1)))]
    pub stop_on: Vec<u8>,
    /// For `run` and `run-on-master`: the property that the command's standard output becomes. It
    /// is one line of the type that the builder declares; spaces around it are left out.
    pub set_property: Option<Name>,
    /// For `run` and `run-on-master`: runs the command again if it fails.
    pub retry: Option<Retry>,
    /// Runs the step only where this is true. Where it is not, the step is shown as skipped.
    pub only_if: Option<Condition>,
    /// Runs the step only where this is not true.
    pub unless: Option<Condition>,
}

/// What a step's failure means for the build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The build fails, and no further step runs but those marked `always`.
    #[default]
    Stop,
    /// The build fails, and the further steps run.
    Continue,
    /// The build ends with a warning, and the further steps run.
    Warn,
}

/// What is copied between worker and master.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Transfer {
    /// The file or folder to copy; `{name}` stands for a property.
    #[schemars(length(min = 1))]
    pub from: String,
    /// Where to. Paths on the master lie below its output directory.
    #[schemars(length(min = 1))]
    pub to: String,
    /// Whether it is a folder. It replaces the one that is there.
    #[serde(default)]
    pub folder: bool,
}

/// What is copied to the master, and how much of it at most.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Upload {
    /// The file or folder to copy; `{name}` stands for a property.
    #[schemars(length(min = 1))]
    pub from: String,
    /// Where to, below the master's output directory.
    #[schemars(length(min = 1))]
    pub to: String,
    /// Whether it is a folder. It replaces the one that is there.
    #[serde(default)]
    pub folder: bool,
    /// The most that is copied, of a folder in all; 4 GiB if not given.
    pub max_size: Option<Size>,
}

/// The log of a step, and where to write it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SavedLog {
    /// The name of the step.
    #[schemars(length(min = 1))]
    pub step: String,
    /// Where to, below the master's output directory.
    #[schemars(length(min = 1))]
    pub to: String,
}

/// What makes builders build.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scheduler {
    /// What it waits for.
    pub on: Trigger,
    /// The choices under which it is there.
    #[serde(default)]
    pub when: When,
    /// The builders it starts, all on one master.
    #[schemars(length(min = 1))]
    pub builders: Vec<Name>,
    /// Whose builds come first when several wait: those of the scheduler with the higher number.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i16,
    /// How long it waits after a change for further ones in the same project, which then all make
    /// one build. For `after`: how long after a build for further ones.
    pub quiet_time: Option<Duration>,
    /// For `after` with `quiet-time`: how long it waits at most, whatever follows.
    pub max_wait: Option<Duration>,
    /// For `app-source`: how many times in a day a check that fails is done for one app.
    #[schemars(range(min = 1, max = 100))]
    pub checks_per_day: Option<u8>,
    /// Properties that a change must have for this scheduler to take it.
    #[serde(default)]
    pub with_properties: Vec<ChangeProperty>,
    /// Properties that a change must not have for this scheduler to take it.
    #[serde(default)]
    pub without_properties: Vec<ChangeProperty>,
    /// For `fdroiddata`: the branches in which it looks for changes; that of `fdroiddata` if not
    /// given.
    #[serde(default)]
    pub branches: Vec<Branch>,
    /// Takes only changes of a file that matches one of these patterns, such as `metadata/*.yml`.
    #[serde(default)]
    pub files: Vec<FilePattern>,
    /// Properties it gives to each build.
    #[serde(default)]
    pub properties: BTreeMap<Name, Scalar>,
}

/// What a scheduler waits for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// A change in the source of an app that is polled.
    AppSource,
    /// A change in fdroiddata.
    Fdroiddata,
    /// Somebody presses the button on the web page.
    Force,
    /// A change submitted with `buildbot sendchange`, with this category.
    Submitted(Name),
    /// A time of each day.
    Daily(TimeOfDay),
    /// A length of time since the last build.
    Every(Duration),
    /// A time of some days of the week.
    Weekly(Weekly),
    /// A build of this builder ended well.
    After(Name),
    /// A build of this builder failed.
    AfterFailure(Name),
}

impl Trigger {
    /// The builder whose builds it waits for.
    #[must_use]
    pub fn upstream(&self) -> Option<&Name> {
        match self {
            Self::After(name) | Self::AfterFailure(name) => Some(name),
            _ => None,
        }
    }
}

fn default_two_hours() -> TimeLimit {
    TimeLimit::Fixed(Duration::from_hours(2))
}
