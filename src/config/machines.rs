//! Workers in `fdroid-bb.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::choices::When;
use super::scalars::{Scalar, Secret};
use super::values::{Duration, EngineHost, Name, Size, VagrantName};

/// Machines of one kind, all alike. Just one of `vagrant`, `docker`, `libvirt`, `local` and
/// `remote` says which kind.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Worker {
    /// The choices under which it is there.
    #[serde(default)]
    pub when: When,
    /// The master they work for.
    pub master: Name,
    /// How many there are; several are named NAME-1, NAME-2 and so on.
    #[serde(default = "default_one")]
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
    #[serde(default = "default_provider")]
    pub provider: VagrantName,
    /// Memory of the machine; as the box has it if not given.
    pub memory: Option<Size>,
    /// Processors of the machine; as the box has it if not given.
    #[schemars(range(min = 1, max = 256))]
    pub cpus: Option<u16>,
    /// More settings of the provider, by the names that its documentation gives them.
    #[serde(default)]
    pub options: BTreeMap<VagrantName, Scalar>,
    /// Whether a snapshot of its first boot makes the machine new for each build. If not, it is
    /// destroyed and made again, which takes longer; if not given, what the provider can.
    pub snapshot: Option<bool>,
    /// A folder of the master's machine with the wheels of buildbot-worker, all it needs, and pip:
    /// for a box without a worker.
    #[schemars(length(min = 1))]
    pub worker_wheels: Option<String>,
}

/// A Docker container.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DockerWorker {
    /// The image, which starts a worker.
    #[schemars(length(min = 1))]
    pub image: String,
    /// Where the Docker engine listens: a socket of this machine, or a port of another one with
    /// `tls`. A socket may be one that `ssh -L` forwards to another machine's.
    #[serde(default = "default_docker_host")]
    pub host: EngineHost,
    /// What proves to an engine at `tcp://` who asks, and to the master which engine it is.
    pub tls: Option<EngineTls>,
    /// The network of the container; Docker's default bridge if not given.
    #[schemars(length(min = 1))]
    pub network: Option<String>,
    /// Folders of the host inside the container: `/on/host:/inside` or `/on/host:/inside:ro`.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// The most memory it may use.
    pub memory: Option<Size>,
    /// The most processors it may use.
    #[schemars(range(min = 1, max = 1_000))]
    pub cpus: Option<u16>,
    /// The most processes it may have.
    #[schemars(range(min = 1, max = 100_000))]
    pub processes: Option<u32>,
    /// When the image is fetched from its registry.
    #[serde(default)]
    pub pull: Pull,
    /// The name or address under which the container reaches the master; if not given, the address
    /// of its `worker-listen`, unless that is loopback or every address.
    #[schemars(length(min = 1))]
    pub master_host: Option<String>,
}

/// Files of the master's machine with which it speaks TLS to a Docker engine.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EngineTls {
    /// The certificate of the authority that the engine's is from.
    #[schemars(length(min = 1))]
    pub ca: String,
    /// The master's own certificate.
    #[schemars(length(min = 1))]
    pub cert: String,
    /// The key of that.
    #[schemars(length(min = 1))]
    pub key: String,
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
    #[serde(default = "default_libvirt_uri")]
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

fn default_one() -> u16 {
    1
}

fn default_provider() -> VagrantName {
    VagrantName::fixed("libvirt")
}

fn default_docker_host() -> EngineHost {
    EngineHost::fixed("unix:///var/run/docker.sock")
}

fn default_libvirt_uri() -> String {
    "qemu:///system".to_owned()
}
