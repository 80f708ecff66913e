//! From a description as written to a [`Pipeline`] in which every name refers to something.

use std::collections::BTreeMap;

use super::context::{Context, locks_of};
use super::{braces, failures, forms, homes, machines, output, properties, reporters, steps, web};
use crate::config::{self, ChangeProperty, Config, Document, Name, Path, Places, Trigger};
use crate::finding::{Code, Finding, Severity};
use crate::pipeline::{Builder, Master, Pipeline, Scheduler};
use crate::remote::{HostRule, RemotePolicy};

/// Resolves every name in `config`, which was read from `document`.
///
/// # Errors
/// All findings, of which at least one is an error.
pub fn resolve(
    config: &Config,
    document: &Document<'_>,
) -> Result<(Pipeline, Vec<Finding>), Vec<Finding>> {
    let mut context = Context { config, document, findings: Vec::new() };
    let homes = homes::find(&mut context);
    homes::check(&mut context, &homes);
    web::check(&mut context);
    output::check(&mut context);
    braces::check(&mut context);
    check_overrides(&mut context);
    let remotes = remotes(&mut context);
    let mut masters: BTreeMap<Name, Master> = config
        .masters
        .iter()
        .map(|(name, settings)| {
            let master = Master {
                settings: settings.clone(),
                // It is in a file of its own, and a pipeline is made of texts alone.
                extra: None,
                workers: BTreeMap::new(),
                locks: BTreeMap::new(),
                builders: BTreeMap::new(),
                schedulers: BTreeMap::new(),
                reporters: BTreeMap::new(),
            };
            (name.clone(), master)
        })
        .collect();
    let instances = machines::resolve(&mut context, &mut masters);
    for (name, builder) in &config.builders {
        let (env, steps) = steps::resolve(&mut context, name, builder);
        let resolved = Builder {
            description: builder.description.clone(),
            tags: builder.tags.clone(),
            workers: builder
                .workers
                .iter()
                .flat_map(|worker| instances.get(worker).cloned().unwrap_or_default())
                .collect(),
            properties: builder.properties.clone(),
            order: forms::resolve(&mut context, name, builder),
            keep: builder.keep.clone(),
            page: builder.page.clone(),
            collapse: builder.collapse.clone(),
            locks: builder.locks.clone(),
            env,
            steps,
        };
        if let Some(master) = homes.builder(name).and_then(|home| masters.get_mut(home)) {
            for lock in locks_of(builder) {
                if let Some(definition) = config.locks.get(lock) {
                    master.locks.insert(lock.clone(), definition.clone());
                }
            }
            master.builders.insert(name.clone(), resolved);
        }
    }
    for (name, scheduler) in &config.schedulers {
        properties::check_given(&mut context, name, scheduler);
        check_change_keys(&mut context, name, scheduler);
        if let Some(master) = homes.scheduler(name).and_then(|home| masters.get_mut(home)) {
            let resolved = Scheduler {
                on: scheduler.on.clone(),
                builders: scheduler.builders.clone(),
                priority: scheduler.priority,
                quiet_time: scheduler.quiet_time.clone(),
                max_wait: scheduler.max_wait.clone(),
                checks_per_day: scheduler.checks_per_day,
                with_properties: scheduler.with_properties.clone(),
                without_properties: scheduler.without_properties.clone(),
                branches: scheduler.branches.clone(),
                files: scheduler.files.clone(),
                properties: scheduler.properties.clone(),
            };
            master.schedulers.insert(name.clone(), resolved);
        }
    }
    reporters::resolve(&mut context, &homes, &mut masters);
    let failures = failures::resolve(&mut context, &masters);
    let mut findings = context.findings;
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    findings.dedup();
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    let pipeline = Pipeline {
        fdroiddata: config.fdroiddata.clone(),
        apps: config.apps.clone(),
        remotes,
        operator: config.remotes.operator.clone(),
        guard: config.guard.clone(),
        failures,
        masters,
        places: Places::new(document),
    };
    Ok((pipeline, findings))
}

/// Complains of what can only be said of changes where there are none.
fn check_change_keys(context: &mut Context<'_, '_>, name: &Name, scheduler: &config::Scheduler) {
    let path = Path::root("schedulers").key(name.as_str());
    let waits_for_changes =
        matches!(scheduler.on, Trigger::AppSource | Trigger::Fdroiddata | Trigger::Submitted(_));
    let waits_for_builds = scheduler.on.upstream().is_some();
    let keys = [
        ("quiet-time", scheduler.quiet_time.is_some() && !waits_for_builds),
        ("with-properties", !scheduler.with_properties.is_empty()),
        ("without-properties", !scheduler.without_properties.is_empty()),
        ("files", !scheduler.files.is_empty()),
    ];
    check_filtered_properties(context, &path, scheduler);
    for (key, _) in keys.iter().filter(|(_, given)| *given && !waits_for_changes) {
        context.at_key(
            Code::ConfigValue,
            &path.key(*key),
            "this scheduler does not wait for changes",
            "delete it, or wait for `app-source`, `fdroiddata` or `submitted`",
        );
    }
    if scheduler.max_wait.is_some() && !(waits_for_builds && scheduler.quiet_time.is_some()) {
        context.at_key(
            Code::ConfigValue,
            &path.key("max-wait"),
            "this scheduler does not wait for builds to end",
            "delete it, or wait `after` a builder, with `quiet-time`",
        );
    }
    if !scheduler.branches.is_empty() && scheduler.on != Trigger::Fdroiddata {
        context.at_key(
            Code::ConfigValue,
            &path.key("branches"),
            "only what waits for changes in fdroiddata looks at its branches",
            "delete it, or wait for `fdroiddata`",
        );
    }
    if scheduler.checks_per_day.is_some() && scheduler.on != Trigger::AppSource {
        context.at_key(
            Code::ConfigValue,
            &path.key("checks-per-day"),
            "only what waits for the sources of apps does checks again",
            "delete it, or wait for `app-source`",
        );
    }
}

/// Complains of properties by which changes are told apart, but that no builder has a use for.
fn check_filtered_properties(
    context: &mut Context<'_, '_>,
    path: &Path,
    scheduler: &config::Scheduler,
) {
    let config = context.config;
    let builders = scheduler.builders.iter().filter_map(|name| config.builders.get(name));
    let known: BTreeMap<&Name, _> = builders.flat_map(|builder| &builder.properties).collect();
    for (key, properties) in [
        ("with-properties", &scheduler.with_properties),
        ("without-properties", &scheduler.without_properties),
    ] {
        for (i, property) in properties.iter().enumerate() {
            let path = path.key(key).index(i);
            let (name_path, condition) = match property {
                ChangeProperty::Any(_) => (path.clone(), None),
                ChangeProperty::Is(condition) => (path.key("property"), Some(condition)),
            };
            let name = property.name();
            match (known.get(name), condition) {
                (None, _) => {
                    let known = known.keys().map(|name| name.as_str());
                    context.unknown(&name_path, false, "property", name.as_str(), known);
                }
                (Some(declared), Some(condition)) => {
                    properties::check_condition(context, &path, declared, condition);
                }
                (Some(_), None) => {}
            }
        }
    }
}

fn check_overrides(context: &mut Context<'_, '_>) {
    for (i, rule) in context.config.apps.overrides.iter().enumerate() {
        let path = Path::root("apps").key("overrides").index(i);
        if rule.apps.is_empty() && rule.hosts.is_empty() {
            context.at_value(
                Code::ConfigMissingKey,
                &path,
                "this override says neither `apps` nor `hosts`",
                "say which apps it is for; for all of them, change `apps` itself",
            );
        }
        if rule.poll.is_none() && rule.poll_interval.is_none() {
            context.at_value(
                Code::ConfigMissingKey,
                &path,
                "this override changes nothing",
                "say `poll` or `poll-interval`, or delete it",
            );
        }
    }
}

fn remotes(context: &mut Context<'_, '_>) -> RemotePolicy {
    let remotes = &context.config.remotes;
    let mut hosts = Vec::new();
    for (i, text) in remotes.allow_hosts.iter().enumerate() {
        match text.parse::<HostRule>() {
            Ok(rule) => hosts.push(rule),
            Err(error) => context.at_value(
                Code::ConfigValue,
                &Path::root("remotes").key("allow-hosts").index(i),
                error.to_string(),
                "write a host name, an address or a network, as in `git.example.org` or \
                 `192.0.2.0/24`",
            ),
        }
    }
    RemotePolicy { schemes: remotes.schemes.iter().copied().collect(), allow_hosts: hosts }
}
