//! Workers.

use super::{scalar, secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{DockerWorker, LibvirtWorker, Name, Path, Pull, VagrantWorker};
use crate::pipeline::{Master, Worker, WorkerKind};

/// Where a master listens for its workers.
struct Listen {
    port: Expr,
    /// The address, where machines other than the master's reach it.
    host: Option<Expr>,
}

impl Listen {
    fn new(name: &Name, master: &Master) -> Self {
        let path = Path::root("masters").key(name.as_str()).key("worker-listen");
        let address = master.settings.worker_listen.addr();
        let ip = address.ip();
        let is_reached = !ip.is_loopback() && !ip.is_unspecified();
        Self {
            port: Expr::from(i64::from(address.port())).at(path.clone()),
            host: is_reached.then(|| Expr::from(ip.to_string()).at(path)),
        }
    }
}

/// One object for each machine.
pub(super) fn workers(name: &Name, master: &Master) -> Vec<Object> {
    let listen = Listen::new(name, master);
    let machine = |(name, worker): (&Name, &Worker), machine: &String| {
        let path = Path::root("workers").key(name.as_str());
        // It is there for those who use it.
        let users = master.builders.iter().filter(|(_, b)| b.workers.contains(machine));
        let users = users.map(|(b, _)| Path::root("builders").key(b.as_str()).key("workers"));
        let origins = [path.clone(), path.key("count")].into_iter().chain(users).collect();
        Object { name: machine.clone(), expr: call(&path, machine, worker, &listen), origins }
    };
    let workers = master.workers.iter();
    workers.flat_map(|named| named.1.instances.iter().map(move |m| machine(named, m))).collect()
}

/// The name of a machine, with the key that says how many there are.
pub(super) fn machine(master: &Master, name: &str) -> Expr {
    let has = |worker: &Worker| worker.instances.iter().any(|instance| instance == name);
    match master.workers.iter().find(|(_, worker)| has(worker)) {
        Some((worker, _)) => {
            Expr::from(name).at(Path::root("workers").key(worker.as_str()).key("count"))
        }
        None => name.into(),
    }
}

fn call(path: &Path, name: &str, worker: &Worker, listen: &Listen) -> Expr {
    let timeout = worker.start_timeout.as_ref().map(crate::config::Duration::as_secs);
    let (kind, call) = match &worker.kind {
        WorkerKind::Vagrant(kind) => {
            ("vagrant", vagrant(&path.key("vagrant"), name, kind, &listen.port))
        }
        WorkerKind::Docker(kind) => ("docker", docker(&path.key("docker"), name, kind, listen)),
        WorkerKind::Libvirt(kind) => ("libvirt", libvirt(&path.key("libvirt"), name, kind)),
        WorkerKind::Local => {
            ("local", Call::new("worker.LocalWorker").arg(name).kwarg("max_builds", 1))
        }
        WorkerKind::Remote(kind) => {
            let password = secret(&kind.password).at(path.key("remote").key("password"));
            let call = Call::new("worker.Worker").arg(name).arg(password);
            ("remote", call.kwarg("max_builds", 1))
        }
    };
    call.kwarg_opt_at("missing_timeout", path.key("start-timeout"), timeout).at(path.key(kind))
}

fn vagrant(path: &Path, name: &str, kind: &VagrantWorker, port: &Expr) -> Call {
    let options = kind.options.iter().map(|(name, value)| {
        (name.as_str(), scalar(value).at(path.key("options").key(name.as_str())))
    });
    let memory = kind.memory.as_ref().map(crate::config::Size::as_mib);
    let options = (!kind.options.is_empty()).then(|| Expr::dict(options));
    Call::new("VagrantLatentWorker")
        .arg(name)
        .kwarg_at("box", path.key("box"), kind.r#box.as_str())
        .kwarg_opt_at("box_version", path.key("box-version"), kind.box_version.as_deref())
        .kwarg_at("provider", path.key("provider"), kind.provider.as_str())
        .kwarg_opt_at("memory", path.key("memory"), memory)
        .kwarg_opt_at("cpus", path.key("cpus"), kind.cpus.map(i64::from))
        .kwarg_opt_at("provider_options", path.key("options"), options)
        .kwarg_opt_at("snapshot", path.key("snapshot"), kind.snapshot.map(Expr::Bool))
        .kwarg("worker_port", port.clone())
        .kwarg_opt_at("worker_wheels", path.key("worker-wheels"), kind.worker_wheels.as_deref())
}

/// A container without rights that a build does not need.
fn docker(path: &Path, name: &str, kind: &DockerWorker, listen: &Listen) -> Call {
    let mut host_config: Vec<(&str, Expr)> = vec![
        ("cap_drop", Expr::list(["ALL"])),
        ("security_opt", Expr::list(["no-new-privileges"])),
    ];
    let mut limit = |name, key, value: Option<Expr>| {
        host_config.extend(value.map(|value| (name, value.at(path.key(key)))));
    };
    limit("network_mode", "network", kind.network.as_deref().map(Expr::from));
    let memory = kind.memory.as_ref().map(|memory| format!("{}m", memory.as_mib()).into());
    limit("mem_limit", "memory", memory);
    // Docker counts in thousand millionths.
    let cpus = kind.cpus.map(|number| (i64::from(number) * 1_000_000_000).into());
    limit("nano_cpus", "cpus", cpus);
    limit("pids_limit", "processes", kind.processes.map(|number| i64::from(number).into()));
    let volumes =
        (!kind.volumes.is_empty()).then(|| Expr::list(kind.volumes.iter().map(String::as_str)));
    let master_host = kind.master_host.as_deref();
    let master_host = master_host.map(|host| Expr::from(host).at(path.key("master-host")));
    let tls = kind.tls.as_ref().map(|tls| {
        let path = path.key("tls");
        let files = [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)];
        Expr::tuple(files.map(|(key, file)| Expr::from(file.as_str()).at(path.key(key))))
    });
    let call = Call::new("ContainerWorker")
        .arg(name)
        .arg(Expr::None)
        .kwarg_at("docker_host", path.key("host"), kind.host.as_str())
        .kwarg_opt_at("tls", path.key("tls"), tls)
        .kwarg_at("image", path.key("image"), kind.image.as_str())
        .kwarg_opt_at("volumes", path.key("volumes"), volumes)
        .kwarg_opt("masterFQDN", master_host.or_else(|| listen.host.clone()))
        .kwarg("hostconfig", Expr::dict(host_config));
    let pulls = |call: Call, name| call.kwarg_at(name, path.key("pull"), true);
    let call = match kind.pull {
        Pull::Never => call,
        Pull::Missing => pulls(call, "autopull"),
        Pull::Always => pulls(pulls(call, "autopull"), "alwaysPull"),
    };
    call.kwarg("max_builds", 1).kwarg("build_wait_timeout", 0)
}

fn libvirt(path: &Path, name: &str, kind: &LibvirtWorker) -> Call {
    Call::new("worker.LibVirtWorker")
        .arg(name)
        .arg(secret(&kind.password).at(path.key("password")))
        .kwarg_at("hd_image", path.key("image"), kind.image.as_str())
        .kwarg_at("base_image", path.key("base-image"), kind.base_image.as_str())
        .kwarg_at("uri", path.key("uri"), kind.uri.as_str())
        .kwarg_opt_at("masterFQDN", path.key("master-host"), kind.master_host.as_deref())
        .kwarg("max_builds", 1)
        .kwarg("build_wait_timeout", 0)
}
