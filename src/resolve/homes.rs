//! Which master each thing belongs to, and what is reached from where.

use std::collections::{BTreeMap, BTreeSet};

use super::context::{Context, locks_of};
use crate::config::{Name, Path, Trigger};
use crate::finding::Code;
use crate::pipeline::{APP_SOURCE, FDROIDDATA};

/// The master that each builder and scheduler belongs to. A builder is where its workers are, a
/// scheduler where its builders are.
pub(super) struct Homes<'a> {
    builders: BTreeMap<&'a Name, &'a Name>,
    schedulers: BTreeMap<&'a Name, &'a Name>,
}

impl<'a> Homes<'a> {
    pub(super) fn builder(&self, name: &Name) -> Option<&'a Name> {
        self.builders.get(name).copied()
    }

    pub(super) fn scheduler(&self, name: &Name) -> Option<&'a Name> {
        self.schedulers.get(name).copied()
    }
}

/// Finds the homes; complains of names that refer to nothing and of things with several homes.
pub(super) fn find<'a>(context: &mut Context<'a, '_>) -> Homes<'a> {
    let config = context.config;
    let mut workers = BTreeMap::new();
    for (name, worker) in &config.workers {
        let path = Path::root("workers").key(name.as_str()).key("master");
        match config.masters.get_key_value(&worker.master) {
            Some((master, _)) => drop(workers.insert(name, master)),
            None => context.unknown(
                &path,
                false,
                "master",
                worker.master.as_str(),
                config.masters.keys().map(Name::as_str),
            ),
        }
    }
    let mut builders = BTreeMap::new();
    for (name, builder) in &config.builders {
        let path = Path::root("builders").key(name.as_str()).key("workers");
        let known = config.workers.keys().collect();
        if let Some(home) = home(context, &path, "worker", &builder.workers, &known, &workers) {
            builders.insert(name, home);
        }
    }
    let mut schedulers = BTreeMap::new();
    for (name, scheduler) in &config.schedulers {
        let path = Path::root("schedulers").key(name.as_str());
        let known = config.builders.keys().collect();
        let home =
            home(context, &path.key("builders"), "builder", &scheduler.builders, &known, &builders);
        if let Some(home) = home {
            schedulers.insert(name, home);
        }
        if let Some(builder) = scheduler.on.upstream() {
            let is_failure = matches!(scheduler.on, Trigger::AfterFailure(_));
            let path = path.key("on").key(if is_failure { "after-failure" } else { "after" });
            if !config.builders.contains_key(builder) {
                let known = config.builders.keys().map(Name::as_str);
                context.unknown(&path, false, "builder", builder.as_str(), known);
            } else if let (Some(from), Some(to)) = (builders.get(builder), home)
                && *from != to
            {
                mixed(context, &path, "builder", builder, from, to);
            }
        }
    }
    Homes { builders, schedulers }
}

/// The one master that the builders named at `path` belong to.
pub(super) fn home_of_builders<'a>(
    context: &mut Context<'a, '_>,
    path: &Path,
    names: &[Name],
    homes: &Homes<'a>,
) -> Option<&'a Name> {
    let known = context.config.builders.keys().collect();
    home(context, path, "builder", names, &known, &homes.builders)
}

/// The one home that all of `names` share.
fn home<'a>(
    context: &mut Context<'_, '_>,
    path: &Path,
    what: &str,
    names: &[Name],
    known: &BTreeSet<&'a Name>,
    homes: &BTreeMap<&'a Name, &'a Name>,
) -> Option<&'a Name> {
    let mut found: Option<&Name> = None;
    for (i, name) in names.iter().enumerate() {
        let path = path.index(i);
        match (homes.get(name), found) {
            (Some(home), None) => found = Some(home),
            (Some(home), Some(first)) if *home != first => {
                mixed(context, &path, what, name, home, first);
            }
            (None, _) if !known.contains(name) => {
                let known = known.iter().map(|name| name.as_str());
                context.unknown(&path, false, what, name.as_str(), known);
            }
            _ => {}
        }
    }
    found
}

fn mixed(
    context: &mut Context<'_, '_>,
    path: &Path,
    what: &str,
    name: &Name,
    home: &Name,
    first: &Name,
) {
    let (name, home, first) = (name.as_str(), home.as_str(), first.as_str());
    context.at_value(
        Code::MastersMixed,
        path,
        format!("the {what} `{name}` belongs to the master `{home}`, the others to `{first}`"),
        "masters share nothing: name things of one master only",
    );
}

/// Complains of what nothing reaches or uses, of triggers that go round in a circle, and of
/// changes that cannot arrive.
pub(super) fn check(context: &mut Context<'_, '_>, homes: &Homes<'_>) {
    let config = context.config;
    let started: BTreeSet<&Name> = config.schedulers.values().flat_map(|s| &s.builders).collect();
    for name in config.builders.keys().filter(|name| !started.contains(name)) {
        let path = Path::root("builders").key(name.as_str());
        let message = format!("nothing starts the builder `{}`", name.as_str());
        let help = "name it in the `builders` of a scheduler, or delete it";
        context.at_key(Code::BuilderUnreachable, &path, message, help);
    }
    let used: BTreeSet<&Name> = config.builders.values().flat_map(|b| &b.workers).collect();
    for name in config.workers.keys().filter(|name| !used.contains(name)) {
        let path = Path::root("workers").key(name.as_str());
        let message = format!("no builder uses the worker `{}`", name.as_str());
        let help = "name it in the `workers` of a builder, or delete it";
        context.at_key(Code::WorkerUnused, &path, message, help);
    }
    let held: BTreeSet<&Name> = config.builders.values().flat_map(locks_of).collect();
    for name in config.locks.keys().filter(|name| !held.contains(name)) {
        let path = Path::root("locks").key(name.as_str());
        let message = format!("no builder uses the lock `{}`", name.as_str());
        let help = "name it in the `locks` of a builder or step, or delete it";
        context.at_key(Code::LockUnused, &path, message, help);
    }
    let busy: BTreeSet<&Name> = config.builders.keys().filter_map(|b| homes.builder(b)).collect();
    for name in config.masters.keys().filter(|name| !busy.contains(name)) {
        let path = Path::root("masters").key(name.as_str());
        let message = format!("the master `{}` has no builder", name.as_str());
        let help = "give it a worker that a builder uses, or delete it";
        context.at_key(Code::MasterIdle, &path, message, help);
    }
    check_lock_names(context);
    check_submitted(context, homes);
    check_cycles(context);
}

/// Locks that would become one variable of the generated Python.
fn check_lock_names(context: &mut Context<'_, '_>) {
    let mut taken = BTreeMap::new();
    for name in context.config.locks.keys() {
        let Some(other) = taken.insert(name.as_str().replace('-', "_"), name) else {
            continue;
        };
        context.at_key(
            Code::Duplicate,
            &Path::root("locks").key(name.as_str()),
            format!(
                "the locks `{}` and `{}` differ only in `-` and `_`",
                other.as_str(),
                name.as_str()
            ),
            "rename one of them",
        );
    }
}

fn check_submitted(context: &mut Context<'_, '_>, homes: &Homes<'_>) {
    let config = context.config;
    let mut receiving = BTreeSet::new();
    for (name, scheduler) in &config.schedulers {
        let Trigger::Submitted(category) = &scheduler.on else {
            continue;
        };
        if [APP_SOURCE, FDROIDDATA].contains(&category.as_str()) {
            context.at_value(
                Code::Duplicate,
                &Path::root("schedulers").key(name.as_str()).key("on").key("submitted"),
                format!(
                    "the category `{}` is taken by another source of changes",
                    category.as_str()
                ),
                format!("choose another one, or write `on = \"{}\"`", category.as_str()),
            );
        }
        let Some(home) = homes.scheduler(name) else {
            continue;
        };
        receiving.insert(home);
        if config.masters.get(home).is_some_and(|master| master.submit.is_none()) {
            context.at_value(
                Code::SubmitMissing,
                &Path::root("schedulers").key(name.as_str()).key("on"),
                format!("nothing can be submitted to the master `{}`", home.as_str()),
                format!("add `[masters.{}.submit]`", home.as_str()),
            );
        }
    }
    for (name, master) in &config.masters {
        if master.submit.is_some() && !receiving.contains(name) {
            context.at_key(
                Code::SubmitUnused,
                &Path::root("masters").key(name.as_str()).key("submit"),
                format!("no scheduler of `{}` waits for submitted changes", name.as_str()),
                "add a scheduler with `on = { submitted = \"CATEGORY\" }`, or delete it",
            );
        }
    }
}

/// Follows `after` from builder to builder.
fn check_cycles(context: &mut Context<'_, '_>) {
    let config = context.config;
    let mut next: BTreeMap<&Name, Vec<(&Name, &Name)>> = BTreeMap::new();
    for (name, scheduler) in &config.schedulers {
        if let Some(from) = scheduler.on.upstream() {
            let edges = scheduler.builders.iter().map(|to| (to, name));
            next.entry(from).or_default().extend(edges);
        }
    }
    let mut done = BTreeSet::new();
    for start in next.keys() {
        if done.contains(start) {
            continue;
        }
        // Depth first, with the builders on the way and the scheduler that led to each.
        let mut way: Vec<&Name> = vec![start];
        let mut open = vec![next.get(start).cloned().unwrap_or_default()];
        while let Some(edges) = open.last_mut() {
            let Some((to, scheduler)) = edges.pop() else {
                open.pop();
                done.extend(way.pop());
                continue;
            };
            if let Some(i) = way.iter().position(|on_way| *on_way == to) {
                let mut round: Vec<&str> = way.iter().skip(i).map(|name| name.as_str()).collect();
                round.push(to.as_str());
                context.at_value(
                    Code::TriggerCycle,
                    &Path::root("schedulers").key(scheduler.as_str()).key("on"),
                    format!("builders start each other for ever: `{}`", round.join("` → `")),
                    "take one of the triggers away",
                );
            } else if !done.contains(to) {
                way.push(to);
                open.push(next.get(to).cloned().unwrap_or_default());
            }
        }
    }
}
