//! Workers: which kind they are of, and the name of each machine.

use std::collections::BTreeMap;

use super::pipeline::Context;
use crate::config::{Name, Path};
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
        let instances: Vec<String> = match worker.count {
            1 => vec![name.as_str().to_owned()],
            count => (1..=count).map(|n| format!("{}-{n}", name.as_str())).collect(),
        };
        for instance in &instances {
            if let Some(other) = taken.insert((&worker.master, instance.clone()), name) {
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
