//! The shape of `fdroid-bb.toml`. Doc comments here are what editors show.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::{
    Branch, Duration, EnvName, Glob, Listen, Name, SecretName, Size, TimeOfDay, WebUrl,
};
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
    /// The machines that builds run on.
    pub workers: BTreeMap<Name, Worker>,
    /// What builds must not use at the same time.
    #[serde(default)]
    pub locks: BTreeMap<Name, Lock>,
    /// The kinds of builds.
    pub builders: BTreeMap<Name, Builder>,
    /// What makes builders build.
    pub schedulers: BTreeMap<Name, Scheduler>,
}

/// The git repository of app metadata.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fdroiddata {
    /// Where it is.
    pub url: WebUrl,
    /// The branch to follow.
    #[serde(default = "defaults::branch")]
    pub branch: Branch,
    /// How often a master that is triggered by `fdroiddata` looks for changes.
    #[serde(default = "defaults::five_minutes")]
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
    /// A new commit on the default branch; the version itself is on a web page.
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
}

/// What `generate` refuses to do by mistake.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Guard {
    /// The share of a master's pollers, in percent, that may vanish in one run.
    #[schemars(range(min = 0, max = 100))]
    pub vanishing_percent: u8,
}

/// A Buildbot master.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Master {
    /// The name on its web pages; Buildbot shows no longer ones than this.
    #[schemars(length(min = 1, max = 18))]
    pub title: String,
    /// What its name links to; its own pages if not given.
    pub title_url: Option<WebUrl>,
    /// Where people reach its web pages, with the path prefix that a reverse proxy adds.
    pub url: WebUrl,
    /// Its database: a URL of `sqlalchemy` without a password, or a secret that holds one with it.
    #[serde(default = "defaults::database")]
    pub database: TextOrSecret,
    /// Where workers connect.
    #[serde(default = "defaults::workers")]
    pub workers: Listen,
    /// The folder of its secrets, one file each; relative to the master's own folder.
    #[serde(default = "defaults::secrets")]
    #[schemars(length(min = 1))]
    pub secrets: String,
    /// Where changes are submitted with `buildbot sendchange`.
    pub submit: Option<Submit>,
    /// Its web pages.
    #[serde(default)]
    pub web: Web,
}

/// Where changes are submitted with `buildbot sendchange`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Submit {
    /// The address to listen on.
    #[serde(default = "defaults::submit")]
    pub listen: Listen,
    /// Who submits.
    pub user: Name,
    /// The password of `user`.
    pub password: Secret,
}

/// The web pages of a master.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Web {
    /// The address to listen on. Keep it on loopback and put a reverse proxy before it.
    pub listen: Listen,
    /// The views beside Buildbot's own.
    pub views: Vec<View>,
    /// Who may log in.
    pub users: BTreeMap<Name, User>,
    /// Which roles may do what. What nobody is allowed to do, nobody can.
    pub allow: Allow,
    /// The reverse proxy before it, if there is one.
    pub proxy: Option<Proxy>,
}

/// A view of builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// Builders as columns, changes as rows.
    Console,
    /// Changes as columns, builders as rows.
    Grid,
    /// Builds along a time line.
    Waterfall,
}

/// Somebody who may log in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// The password; left out where the reverse proxy says who it is (`user-header`).
    pub password: Option<Secret>,
    /// What the user is allowed to do, by the names that `allow` uses.
    #[serde(default)]
    pub roles: Vec<Name>,
}

/// Which roles may do what.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Allow {
    /// Who may see the pages; everybody if not given.
    pub look: Option<Vec<Name>>,
    /// Who may force and repeat builds.
    pub force: Vec<Name>,
    /// Who may stop builds and cancel requests.
    pub stop: Vec<Name>,
    /// Who may do all else: pause workers, switch schedulers.
    pub manage: Vec<Name>,
}

/// A reverse proxy before a master's web pages.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Proxy {
    /// How often an idle websocket is used, so that the proxy does not close it.
    pub ping_interval: Option<Duration>,
    /// The header in which the proxy says who is logged in. The proxy must set it itself.
    pub user_header: Option<Name>,
}

/// Machines of one kind, all alike. Just one of `vagrant`, `docker`, `libvirt`, `local` and
/// `remote` says which kind.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Worker {
    /// The master they work for.
    pub master: Name,
    /// How many there are; several are named NAME-1, NAME-2 and so on.
    #[serde(default = "defaults::one")]
    #[schemars(range(min = 1, max = 100))]
    pub count: u16,
    /// How long a machine may take from its start until it asks for work.
    pub start_timeout: Option<Duration>,
    /// A virtual machine from a Vagrant box, made new for each build.
    pub vagrant: Option<VagrantWorker>,
    /// A Docker container, made new for each build.
    pub docker: Option<DockerWorker>,
    /// A libvirt domain that is started for each build from a copy of an image.
    pub libvirt: Option<LibvirtWorker>,
    /// A worker inside the master's own process.
    pub local: Option<LocalWorker>,
    /// A machine that runs `buildbot-worker` by itself.
    pub remote: Option<RemoteWorker>,
}

/// A virtual machine from a Vagrant box.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VagrantWorker {
    /// The name of the box, which is on the master's machine.
    #[schemars(length(min = 1))]
    pub r#box: String,
    /// The version of the box; the newest one if not given.
    #[schemars(length(min = 1))]
    pub box_version: Option<String>,
    /// Vagrant's provider.
    #[serde(default = "defaults::provider")]
    pub provider: Name,
    /// Memory of the machine; as the box has it if not given.
    pub memory: Option<Size>,
    /// Processors of the machine; as the box has it if not given.
    #[schemars(range(min = 1, max = 256))]
    pub cpus: Option<u16>,
}

/// A Docker container.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DockerWorker {
    /// The image, which starts a worker.
    #[schemars(length(min = 1))]
    pub image: String,
    /// Where the Docker engine listens.
    #[serde(default = "defaults::docker_host")]
    #[schemars(length(min = 1))]
    pub host: String,
    /// The network of the container; Docker's default bridge if not given.
    #[schemars(length(min = 1))]
    pub network: Option<String>,
    /// Folders of the host inside the container: `/on/host:/inside` or `/on/host:/inside:ro`.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// The most memory it may use.
    pub memory: Option<Size>,
    /// The most processes it may have.
    #[schemars(range(min = 1, max = 100_000))]
    pub processes: Option<u32>,
    /// When the image is fetched from its registry.
    #[serde(default)]
    pub pull: Pull,
    /// The name or address under which the container reaches the master.
    #[schemars(length(min = 1))]
    pub master_host: Option<String>,
}

/// When a Docker image is fetched from its registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pull {
    /// Never: the image is made on the host.
    #[default]
    Never,
    /// When the host does not have it.
    Missing,
    /// Before each build.
    Always,
}

/// A libvirt domain. It must exist, under the worker's own name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LibvirtWorker {
    /// The image the domain boots, written anew for each build.
    #[schemars(length(min = 1))]
    pub image: String,
    /// The image it is a copy of.
    #[schemars(length(min = 1))]
    pub base_image: String,
    /// Where libvirt listens.
    #[serde(default = "defaults::libvirt_uri")]
    #[schemars(length(min = 1))]
    pub uri: String,
    /// The password of the worker inside.
    pub password: Secret,
    /// The name or address under which the machine reaches the master.
    #[schemars(length(min = 1))]
    pub master_host: Option<String>,
}

/// A worker inside the master's own process. What it runs can do what the master can.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LocalWorker {}

/// A machine that runs `buildbot-worker` by itself.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RemoteWorker {
    /// The password of the worker there.
    pub password: Secret,
}

/// Something that builds must not use at the same time.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lock {
    /// Where it holds.
    pub scope: LockScope,
    /// How many builds may share it; any number if not given.
    #[schemars(range(min = 1, max = 10_000))]
    pub sharers: Option<u16>,
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
#[serde(rename_all = "kebab-case")]
pub enum Access {
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
    #[schemars(length(min = 1))]
    pub workers: Vec<Name>,
    /// The properties its steps use as `{name}`. They come from outside, and are checked before
    /// anything else runs.
    #[serde(default)]
    pub properties: BTreeMap<Name, Property>,
    /// What it locks, from its first step to its last.
    #[serde(default)]
    pub locks: BTreeMap<Name, Access>,
    /// Environment variables of all its steps.
    #[serde(default)]
    pub env: BTreeMap<EnvName, TextOrSecret>,
    /// How long each of its steps may take, unless the step says otherwise.
    #[serde(default = "defaults::two_hours")]
    pub timeout: Duration,
    /// What it does, in this order.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
}

/// A property that a build gets from outside.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Property {
    /// What it may hold.
    pub r#type: PropertyType,
    /// Whether a build may be without it. A step that uses it then sees an empty text.
    #[serde(default)]
    pub optional: bool,
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
    /// Letters, digits, `.`, `_` and `-`.
    Word,
    /// One line of any text.
    Text,
}

/// One thing a builder does. Just one of `run`, `run-on-master`, `git`, `upload` and `download`
/// says what.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// Its name on the web pages; made from what it does if not given.
    #[schemars(length(min = 1))]
    pub name: Option<String>,
    /// A command and its arguments, run on the worker without a shell. `{name}` stands for a
    /// property, `{{` and `}}` for braces.
    #[schemars(length(min = 1))]
    pub run: Option<Vec<String>>,
    /// The same, run on the master's machine.
    #[schemars(length(min = 1))]
    pub run_on_master: Option<Vec<String>>,
    /// Checks out a git repository.
    pub git: Option<Checkout>,
    /// Copies a file or folder from the worker to the master.
    pub upload: Option<Copy>,
    /// Copies a file from the master to the worker.
    pub download: Option<Copy>,
    /// The folder it runs in, relative to the build's own.
    #[schemars(length(min = 1))]
    pub workdir: Option<String>,
    /// Environment variables, added to the builder's.
    #[serde(default)]
    pub env: BTreeMap<EnvName, TextOrSecret>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// What it locks while it runs.
    #[serde(default)]
    pub locks: BTreeMap<Name, Access>,
    /// Run it even if a step before it failed.
    #[serde(default)]
    pub always: bool,
    /// What its failure means for the build.
    #[serde(default)]
    pub on_failure: OnFailure,
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

/// A git repository to check out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Checkout {
    /// Where it is.
    pub url: WebUrl,
    /// The branch.
    #[serde(default = "defaults::branch")]
    pub branch: Branch,
    /// Which commit of it.
    #[serde(default)]
    pub revision: Revision,
}

/// Which commit is checked out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Revision {
    /// The newest of the branch.
    #[default]
    Latest,
    /// The one that the change names which asked for the build.
    Change,
}

/// What is copied between worker and master.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Copy {
    /// The file or folder to copy; `{name}` stands for a property.
    #[schemars(length(min = 1))]
    pub from: String,
    /// Where to; relative paths on the master start at the master's own folder.
    #[schemars(length(min = 1))]
    pub to: String,
    /// Whether it is a folder.
    #[serde(default)]
    pub folder: bool,
}

/// What makes builders build.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scheduler {
    /// What it waits for.
    pub on: Trigger,
    /// The builders it starts, all on one master.
    #[schemars(length(min = 1))]
    pub builders: Vec<Name>,
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
    Person,
    /// A change submitted with `buildbot sendchange`, with this category.
    Submitted(Name),
    /// A time of each day.
    Daily(TimeOfDay),
    /// A length of time since the last build.
    Every(Duration),
    /// A build of this builder ended well.
    After(Name),
}

/// A text, a number, or yes or no.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// Yes or no.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
}

/// A secret, by its name. The secret itself never stands in this file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// The name of the secret.
    pub secret: SecretName,
}

/// A text, or a secret by its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TextOrSecret {
    /// The text itself.
    Text(String),
    /// A secret.
    Secret(Secret),
}

impl Default for Apps {
    fn default() -> Self {
        Self {
            disabled: false,
            archived: false,
            update_check_modes: vec![PolledMode::Tags, PolledMode::RepoManifest, PolledMode::Http],
            poll_interval: Duration::from_hours(6),
            overrides: Vec::new(),
        }
    }
}

impl Default for Remotes {
    fn default() -> Self {
        Self { schemes: vec![Scheme::Https], allow_hosts: Vec::new() }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self { vanishing_percent: 10 }
    }
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen: Listen::loopback(8010),
            views: vec![View::Console, View::Grid, View::Waterfall],
            users: BTreeMap::new(),
            allow: Allow::default(),
            proxy: None,
        }
    }
}

/// Values of keys that are left out.
mod defaults {
    use super::{Branch, Duration, Listen, Name, TextOrSecret};

    pub(super) fn branch() -> Branch {
        Branch::fixed("master")
    }

    pub(super) fn five_minutes() -> Duration {
        Duration::from_minutes(5)
    }

    pub(super) fn two_hours() -> Duration {
        Duration::from_hours(2)
    }

    pub(super) fn database() -> TextOrSecret {
        TextOrSecret::Text("sqlite:///state.sqlite".to_owned())
    }

    pub(super) fn workers() -> Listen {
        Listen::loopback(9989)
    }

    pub(super) fn submit() -> Listen {
        Listen::loopback(9999)
    }

    pub(super) fn secrets() -> String {
        "secrets".to_owned()
    }

    pub(super) fn one() -> u16 {
        1
    }

    pub(super) fn provider() -> Name {
        Name::fixed("libvirt")
    }

    pub(super) fn docker_host() -> String {
        "unix:///var/run/docker.sock".to_owned()
    }

    pub(super) fn libvirt_uri() -> String {
        "qemu:///system".to_owned()
    }
}
