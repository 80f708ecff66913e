//! Builders of which a description has several, of which some are chosen.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use crate::config::{self, Access, Name, Path};
use crate::pipeline::{Builder, Master};

/// The builders that the description's `variants` leave out. Complains of a choice that is none.
pub(super) fn check<'a>(context: &mut Context<'a, '_>) -> BTreeSet<&'a Name> {
    let config = context.config;
    let known: BTreeSet<&Name> =
        config.builders.values().filter_map(|b| b.variant.as_ref()).collect();
    for (i, chosen) in config.variants.iter().enumerate().filter(|(_, v)| !known.contains(v)) {
        let path = Path::root("variants").index(i);
        let known = known.iter().map(|name| name.as_str());
        context.unknown(&path, false, "variant", chosen.as_str(), known);
    }
    let left_out = |b: &config::Builder| b.variant.as_ref().is_some_and(|v| !chosen(config, v));
    config.builders.iter().filter(|(_, b)| left_out(b)).map(|(name, _)| name).collect()
}

fn chosen(config: &config::Config, variant: &Name) -> bool {
    config.variants.contains(variant)
}

/// Takes builders out of their masters, and what only they used or started.
pub(super) fn leave_out(masters: &mut BTreeMap<Name, Master>, unchosen: &BTreeSet<&Name>) {
    for master in masters.values_mut().filter(|_| !unchosen.is_empty()) {
        master.builders.retain(|name, _| !unchosen.contains(name));
        master.schedulers.retain(|_, scheduler| {
            scheduler.builders.retain(|name| !unchosen.contains(name));
            let waits_in_vain = scheduler.on.upstream().is_some_and(|name| unchosen.contains(name));
            !scheduler.builders.is_empty() && !waits_in_vain
        });
        master.reporters.retain(|_, reporter| {
            reporter.builders.retain(|name| !unchosen.contains(name));
            !reporter.builders.is_empty()
        });
        let builders = &master.builders;
        master.workers.retain(|_, worker| {
            builders.values().any(|b| worker.instances.iter().any(|w| b.workers.contains(w)))
        });
        master.locks.retain(|lock, _| builders.values().any(|b| holds(b, lock)));
    }
}

fn holds(builder: &Builder, lock: &Name) -> bool {
    let steps = builder.steps.iter().map(|step| &step.locks);
    let mut all = std::iter::once(&builder.locks).chain(steps);
    all.any(|locks: &BTreeMap<Name, Access>| locks.contains_key(lock))
}
