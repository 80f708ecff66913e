//! The pipeline description once every name in it refers to something: what `resolve` makes of a
//! [`Config`](crate::config::Config) and `lower` turns into Buildbot's terms.

use std::collections::BTreeMap;

use crate::config::{
    Access, Apps, Branch, ChangeProperty, Condition, Credentials, DockerWorker, Duration, EnvName,
    Fdroiddata, FilePattern, Folder, Guard, LibvirtWorker, Lock, Name, OnFailure, Operator, Path,
    Places, Property, RemoteWorker, Reporter, Retry, Revision, Scalar, Secret, Size, TextOrSecret,
    TimeLimit, Trigger, VagrantWorker,
};
use crate::remote::RemotePolicy;
use crate::template::Template;

/// The category of changes in the sources of apps.
pub(crate) const APP_SOURCE: &str = "app-source";

/// The category of changes in fdroiddata.
pub(crate) const FDROIDDATA: &str = "fdroiddata";

/// The folder of the runtime beside those of the masters, so that no master has this name.
pub(crate) const RUNTIME: &str = "fdroid_bb";

/// All masters and what they share.
#[derive(Debug)]
pub struct Pipeline {
    /// The repository of app metadata.
    pub fdroiddata: Fdroiddata,
    /// Which apps are polled.
    pub apps: Apps,
    /// Which source URLs are polled.
    pub remotes: RemotePolicy,
    /// Who polls them, for git's user agent.
    pub operator: Option<Operator>,
    /// What `generate` refuses to do by mistake.
    pub guard: Guard,
    /// What becomes of builds that fail.
    pub failures: Option<Failures>,
    /// The masters, by name.
    pub masters: BTreeMap<Name, Master>,
    /// Where all of this stands.
    pub places: Places,
}

/// How failures are told apart, and which are repeated.
#[derive(Debug)]
pub struct Failures {
    /// The pauses before each repetition.
    pub repeat: Vec<Duration>,
    /// What tells those of the infrastructure.
    pub infrastructure: Vec<FailureRule>,
    /// What tells why the source fails.
    pub source: Vec<FailureRule>,
}

/// What is looked for in the log of a step that failed.
#[derive(Debug)]
pub struct FailureRule {
    /// The key that it stands at.
    pub path: Path,
    /// What to call it.
    pub words: String,
    /// A pattern of RE2.
    pub pattern: String,
    /// The steps it is for; all if there are none.
    pub steps: Vec<String>,
}

/// A master with all that belongs to it.
#[derive(Debug)]
pub struct Master {
    /// Its settings, as written.
    pub settings: crate::config::Master,
    /// The Python of its `extra`.
    pub extra: Option<String>,
    /// Its workers, by the names in the description.
    pub workers: BTreeMap<Name, Worker>,
    /// The locks its builders use.
    pub locks: BTreeMap<Name, Lock>,
    /// Its builders.
    pub builders: BTreeMap<Name, Builder>,
    /// Its schedulers.
    pub schedulers: BTreeMap<Name, Scheduler>,
    /// Who is told of its builds.
    pub reporters: BTreeMap<Name, Reporter>,
}

impl Master {
    /// Whether a scheduler waits for `trigger`.
    #[must_use]
    pub(crate) fn waits_for(&self, trigger: &Trigger) -> bool {
        self.schedulers.values().any(|scheduler| scheduler.on == *trigger)
    }

    /// Whether anything of it is a secret, so that it needs its folder of secrets.
    #[must_use]
    pub(crate) fn uses_secrets(&self) -> bool {
        let is_secret = |value: &TextOrSecret| matches!(value, TextOrSecret::Secret(_));
        let has_password =
            |kind: &WorkerKind| matches!(kind, WorkerKind::Libvirt(_) | WorkerKind::Remote(_));
        let reports = |reporter: &Reporter| {
            reporter.gitlab.is_some()
                || reporter.http.as_ref().is_some_and(|http| !http.headers.is_empty())
                || reporter.mail.as_ref().is_some_and(|mail| mail.password.is_some())
        };
        self.settings.submit.as_ref().is_some_and(|submit| submit.password.is_some())
            || self.reporters.values().any(reports)
            || is_secret(&self.settings.database)
            || self.settings.web.login.is_some()
            || self.settings.web.users.values().any(|user| user.password.is_some())
            || self.workers.values().any(|worker| has_password(&worker.kind))
            || self.builders.values().any(|builder| {
                let steps = builder.steps.iter().flat_map(|step| step.env.values());
                let mut variables = builder.env.values().chain(steps);
                let asks = |step: &Step| {
                    matches!(&step.action, Action::Checkout(checkout) if checkout.credentials.is_some())
                };
                variables.any(|value| matches!(value, Variable::Secret(_)))
                    || builder.steps.iter().any(asks)
            })
    }
}

/// Machines of one kind.
#[derive(Debug)]
pub struct Worker {
    /// The name of each machine.
    pub instances: Vec<String>,
    /// Their kind.
    pub kind: WorkerKind,
    /// How long one may take to start.
    pub start_timeout: Option<Duration>,
}

/// How a worker's machine comes to be.
#[derive(Debug)]
pub enum WorkerKind {
    /// A virtual machine from a Vagrant box.
    Vagrant(VagrantWorker),
    /// A Docker container.
    Docker(DockerWorker),
    /// A libvirt domain.
    Libvirt(LibvirtWorker),
    /// The master's own process.
    Local,
    /// A machine that starts by itself.
    Remote(RemoteWorker),
}

/// A kind of build.
#[derive(Debug)]
pub struct Builder {
    /// What it does.
    pub description: Option<String>,
    /// Tags by which web pages group it.
    pub tags: Vec<Name>,
    /// The machines that may run it.
    pub workers: Vec<String>,
    /// The properties it gets from outside.
    pub properties: BTreeMap<Name, Property>,
    /// Their names, as they are declared one after the other.
    pub order: Vec<Name>,
    /// How long its builds are kept, if not as long as those of others.
    pub keep: Option<Duration>,
    /// The property by which its builds are shown.
    pub page: Option<Name>,
    /// The properties by which waiting requests are compared.
    pub collapse: Vec<Name>,
    /// What it locks throughout.
    pub locks: BTreeMap<Name, Access>,
    /// Environment variables of all its steps.
    pub env: BTreeMap<EnvName, Variable>,
    /// What it does.
    pub steps: Vec<Step>,
}

impl Builder {
    /// Whether a build must get the property from outside: one of its steps may set it.
    #[must_use]
    pub fn needs(&self, name: &Name) -> bool {
        let needed = |property: &Property| !property.optional && property.default.is_none();
        self.properties.get(name).is_some_and(needed) && !self.sets(name)
    }

    /// Whether one of its steps sets the property.
    #[must_use]
    pub fn sets(&self, name: &Name) -> bool {
        self.steps.iter().any(|step| step.sets.as_ref().is_some_and(|set| set.name == *name))
    }
}

/// One thing a builder does.
#[derive(Debug)]
pub struct Step {
    /// The key that it stands at.
    pub origin: Path,
    /// Its name on the web pages.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// The folder it runs in.
    pub workdir: Option<Template>,
    /// Environment variables of its own.
    pub env: BTreeMap<EnvName, Variable>,
    /// How long it may take.
    pub timeout: TimeLimit,
    /// The key that says so: its own, or its builder's.
    pub timeout_origin: Path,
    /// What it locks while it runs.
    pub locks: BTreeMap<Name, Access>,
    /// Whether it runs after a failure.
    pub always: bool,
    /// What its own failure means.
    pub on_failure: OnFailure,
    /// The exit statuses that are a warning.
    pub warn_on: Vec<u8>,
    /// The exit statuses after which the build ends.
    pub stop_on: Vec<u8>,
    /// The property that its output becomes.
    pub sets: Option<SetProperty>,
    /// How it is run again if it fails.
    pub retry: Option<Retry>,
    /// What must be true for it to run.
    pub only_if: Option<Condition>,
    /// What must not be true for it to run.
    pub unless: Option<Condition>,
}

/// The property that a step sets.
#[derive(Debug)]
pub struct SetProperty {
    /// Its name.
    pub name: Name,
    /// As its builder declares it.
    pub declared: Property,
}

/// What an environment variable holds.
#[derive(Debug)]
pub enum Variable {
    /// A text.
    Text(Template),
    /// A secret.
    Secret(Secret),
}

/// A git repository to check out.
#[derive(Debug)]
pub struct Checkout {
    /// Where it is.
    pub url: Template,
    /// The branch.
    pub branch: Template,
    /// Which commit of it.
    pub revision: Revision,
    /// How many commits are fetched, if not all.
    pub depth: Option<u32>,
    /// Whether its submodules are checked out too.
    pub submodules: bool,
    /// Who asks the server.
    pub credentials: Option<Credentials>,
    /// A folder of its own below that of the build.
    pub into: Option<Folder>,
}

/// What a step does.
#[derive(Debug)]
pub enum Action {
    /// Runs a command on the worker.
    Run(Vec<Template>),
    /// Runs a command on the master's machine.
    RunOnMaster(Vec<Template>),
    /// Checks out a git repository.
    Checkout(Checkout),
    /// Copies from worker to master; `folder` says which kind of thing.
    Upload {
        /// On the worker.
        from: Template,
        /// On the master.
        to: Template,
        /// Whether it is a folder.
        folder: bool,
        /// The most that is copied.
        max_size: Option<Size>,
    },
    /// Writes the log of an earlier step on the master.
    SaveLog {
        /// The step's name.
        step: String,
        /// On the master.
        to: Template,
    },
    /// Copies a file from master to worker.
    Download {
        /// On the master.
        from: Template,
        /// On the worker.
        to: Template,
    },
}

impl Action {
    /// The key of a step that asks for it.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::RunOnMaster(_) => "run-on-master",
            Self::Checkout(_) => "git",
            Self::Upload { .. } => "upload",
            Self::SaveLog { .. } => "save-log",
            Self::Download { .. } => "download",
        }
    }
}

/// What makes builders build.
#[derive(Debug)]
pub struct Scheduler {
    /// What it waits for.
    pub on: Trigger,
    /// The builders it starts.
    pub builders: Vec<Name>,
    /// Its place among those that wait; higher comes first.
    pub priority: i16,
    /// How long it waits for further changes or builds.
    pub quiet_time: Option<Duration>,
    /// How long it waits for further builds at most.
    pub max_wait: Option<Duration>,
    /// How many times in a day a check that fails is done for one app.
    pub checks_per_day: Option<u8>,
    /// The properties a change must have.
    pub with_properties: Vec<ChangeProperty>,
    /// The properties a change must not have.
    pub without_properties: Vec<ChangeProperty>,
    /// The branches in which it looks for changes, if not in the usual one.
    pub branches: Vec<Branch>,
    /// The files of which one must have changed.
    pub files: Vec<FilePattern>,
    /// The properties it gives.
    pub properties: BTreeMap<Name, Scalar>,
}
