//! Workers: which kind they are of, and the name of each machine.

use std::collections::BTreeMap;

use super::context::Context;
use crate::config::{DockerWorker, Name, Path, VagrantWorker};
use crate::finding::Code;
use crate::pipeline::{Master, Worker, WorkerKind};
use crate::text::list;

/// Puts the workers into their masters and gives the machines of each.
pub(super) fn resolve<'a>(
    context: &mut Context<'a, '_>,
    masters: &mut BTreeMap<Name, Master>,
) -> BTreeMap<&'a Name, Vec<String>> {
    let config = context.config;
    let mut machines = BTreeMap::new();
    let mut taken: BTreeMap<(&Name, String), &Name> = BTreeMap::new();
    for (name, worker) in &config.workers {
        let path = Path::root("workers").key(name.as_str());
        let mut kinds = Vec::new();
        kinds.extend(worker.vagrant.clone().map(|w| ("vagrant", WorkerKind::Vagrant(w))));
        kinds.extend(worker.docker.clone().map(|w| ("docker", WorkerKind::Docker(w))));
        kinds.extend(worker.libvirt.clone().map(|w| ("libvirt", WorkerKind::Libvirt(w))));
        kinds.extend(worker.local.as_ref().map(|_| ("local", WorkerKind::Local)));
        kinds.extend(worker.remote.clone().map(|w| ("remote", WorkerKind::Remote(w))));
        if kinds.len() != 1 {
            let given: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
            context.at_key(
                Code::OneKind,
                &path,
                format!(
                    "the worker `{}` is of {} kinds: {}",
                    name.as_str(),
                    given.len(),
                    list(&given)
                ),
                "give just one of `vagrant`, `docker`, `libvirt`, `local` and `remote`",
            );
        }
        check_vagrant(context, &path.key("vagrant"), worker.vagrant.as_ref());
        check_docker(context, &path.key("docker"), worker.docker.as_ref());
        let instances: Vec<String> = match worker.count {
            1 => vec![name.as_str().to_owned()],
            count => (1..=count).map(|n| format!("{}-{n}", name.as_str())).collect(),
        };
        for instance in &instances {
            // Buildbot names containers after workers, and Docker knows no `_` there.
            let known = instance.replace('_', "-");
            if let Some(other) = taken.insert((&worker.master, known), name) {
                context.at_key(
                    Code::Duplicate,
                    &path,
                    format!(
                        "the workers `{}` and `{}` both have a machine `{instance}`",
                        other.as_str(),
                        name.as_str()
                    ),
                    "rename one of them",
                );
            }
        }
        machines.insert(name, instances.clone());
        if let (Some((_, kind)), Some(master)) = (kinds.pop(), masters.get_mut(&worker.master)) {
            let start_timeout = worker.start_timeout.clone();
            master.workers.insert(name.clone(), Worker { instances, kind, start_timeout });
        }
    }
    machines
}

/// Providers whose settings for memory and processors go by those names.
const SIZED: &[&str] = &["libvirt", "parallels", "virtualbox"];

fn check_vagrant(context: &mut Context<'_, '_>, path: &Path, worker: Option<&VagrantWorker>) {
    let Some(worker) = worker else { return };
    let provider = worker.provider.as_str();
    let given = [("memory", worker.memory.is_some()), ("cpus", worker.cpus.is_some())];
    for (key, _) in given.iter().filter(|(_, given)| *given && !SIZED.contains(&provider)) {
        context.at_key(
            Code::ConfigValue,
            &path.key(*key),
            format!("the provider `{provider}` has no setting of that name"),
            "set it in `options`, by the name that the provider's documentation gives it",
        );
    }
}

/// A container that reaches the engine is as powerful as the engine, which is root.
fn check_docker(context: &mut Context<'_, '_>, path: &Path, worker: Option<&DockerWorker>) {
    // Buildbot takes any tag of an image for the one that was asked for, and Docker then does not.
    let untagged = |image: &str| image.rsplit('/').next().is_some_and(|name| !name.contains(':'));
    if let Some(image) = worker.map(|worker| &worker.image).filter(|image| untagged(image)) {
        context.at_value(
            Code::ConfigValue,
            &path.key("image"),
            format!("the image `{image}` has no tag"),
            format!("write `{image}:latest`, or whichever tag it has"),
        );
    }
    if let Some(worker) = worker.filter(|worker| worker.tls.is_some())
        && !worker.host.as_str().starts_with("tcp://")
    {
        context.at_key(
            Code::ConfigValue,
            &path.key("tls"),
            format!("`{}` is not spoken to with TLS", worker.host.as_str()),
            "delete it, or write a `host` with `tcp://`",
        );
    }
    for (index, volume) in worker.iter().flat_map(|worker| &worker.volumes).enumerate() {
        let on_host = volume.split(':').next().unwrap_or_default();
        if ["/", "/run", "/var", "/var/run", "/run/docker.sock", "/var/run/docker.sock"]
            .contains(&normal(on_host).as_str())
        {
            context.at_value(
                Code::ConfigValue,
                &path.key("volumes").index(index),
                format!("the volume `{on_host}` holds the socket of the Docker engine"),
                "leave it out: a build that reaches the engine can do all that root can",
            );
        }
    }
}

/// A path of the host without what does not change where it leads.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
