//! Workers.

use super::{object, scalar, secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{DockerWorker, LibvirtWorker, Pull, VagrantWorker};
use crate::pipeline::{Master, Worker, WorkerKind};

/// One object for each machine.
pub(super) fn workers(master: &Master) -> Vec<Object> {
    let port = i64::from(master.settings.workers.addr().port());
    let workers = master.workers.values();
    workers
        .flat_map(|worker| {
            worker.instances.iter().map(move |name| object(name, call(name, worker, port)))
        })
        .collect()
}

fn call(name: &str, worker: &Worker, port: i64) -> Call {
    let timeout = worker.start_timeout.as_ref().map(crate::config::Duration::as_secs);
    let call = match &worker.kind {
        WorkerKind::Vagrant(kind) => vagrant(name, kind, port),
        WorkerKind::Docker(kind) => docker(name, kind),
        WorkerKind::Libvirt(kind) => libvirt(name, kind),
        WorkerKind::Local => Call::new("worker.LocalWorker").arg(name).kwarg("max_builds", 1),
        WorkerKind::Remote(kind) => {
            Call::new("worker.Worker").arg(name).arg(secret(&kind.password)).kwarg("max_builds", 1)
        }
    };
    call.kwarg_opt("missing_timeout", timeout)
}

fn vagrant(name: &str, kind: &VagrantWorker, port: i64) -> Call {
    let options = kind.options.iter().map(|(name, value)| (name.as_str(), scalar(value)));
    Call::new("VagrantLatentWorker")
        .arg(name)
        .kwarg("box", kind.r#box.as_str())
        .kwarg_opt("box_version", kind.box_version.as_deref())
        .kwarg("provider", kind.provider.as_str())
        .kwarg_opt("memory", kind.memory.as_ref().map(crate::config::Size::as_mib))
        .kwarg_opt("cpus", kind.cpus.map(i64::from))
        .kwarg_opt("provider_options", (!kind.options.is_empty()).then(|| Expr::dict(options)))
        .kwarg_opt("snapshot", kind.snapshot.map(Expr::Bool))
        .kwarg("worker_port", port)
        .kwarg_opt("worker_wheels", kind.worker_wheels.as_deref())
}

/// A container without rights that a build does not need.
fn docker(name: &str, kind: &DockerWorker) -> Call {
    let mut host_config: Vec<(&str, Expr)> = vec![
        ("cap_drop", Expr::list(["ALL"])),
        ("security_opt", Expr::list(["no-new-privileges"])),
    ];
    if let Some(network) = &kind.network {
        host_config.push(("network_mode", network.as_str().into()));
    }
    if let Some(memory) = &kind.memory {
        host_config.push(("mem_limit", format!("{}m", memory.as_mib()).into()));
    }
    if let Some(processes) = kind.processes {
        host_config.push(("pids_limit", i64::from(processes).into()));
    }
    let volumes =
        (!kind.volumes.is_empty()).then(|| Expr::list(kind.volumes.iter().map(String::as_str)));
    let call = Call::new("worker.DockerLatentWorker")
        .arg(name)
        .arg(Expr::None)
        .kwarg("docker_host", kind.host.as_str())
        .kwarg("image", kind.image.as_str())
        .kwarg_opt("volumes", volumes)
        .kwarg_opt("masterFQDN", kind.master_host.as_deref())
        .kwarg("hostconfig", Expr::dict(host_config));
    let call = match kind.pull {
        Pull::Never => call,
        Pull::Missing => call.kwarg("autopull", true),
        Pull::Always => call.kwarg("autopull", true).kwarg("alwaysPull", true),
    };
    call.kwarg("max_builds", 1).kwarg("build_wait_timeout", 0)
}

fn libvirt(name: &str, kind: &LibvirtWorker) -> Call {
    Call::new("worker.LibVirtWorker")
        .arg(name)
        .arg(secret(&kind.password))
        .kwarg("hd_image", kind.image.as_str())
        .kwarg("base_image", kind.base_image.as_str())
        .kwarg("uri", kind.uri.as_str())
        .kwarg_opt("masterFQDN", kind.master_host.as_deref())
        .kwarg("max_builds", 1)
        .kwarg("build_wait_timeout", 0)
}
