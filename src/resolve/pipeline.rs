//! From a description as written to a [`Pipeline`] in which every name refers to something.

use std::collections::{BTreeMap, BTreeSet};

use super::{graph, machines, output, reporters, steps, variants, web};
use crate::config::{
    self, Access, Config, Document, MOST_FINDINGS, Name, Path, PropertyType, Scalar, Trigger,
};
use crate::fdroid::AppId;
use crate::finding::{Code, Finding, Place, Severity};
use crate::pipeline::{Builder, Master, Pipeline, Scheduler};
use crate::remote::{HostRule, RemotePolicy};
use crate::text::{list, nearest, plural, shown};

/// The property that every change in an app's source carries.
pub const PACKAGE_NAME: &str = "packageName";

/// What the checks of one description share.
pub(super) struct Context<'a, 't> {
    pub(super) config: &'a Config,
    pub(super) document: &'a Document<'t>,
    pub(super) findings: Vec<Finding>,
}

impl Context<'_, '_> {
    /// A finding on the value at `path`.
    pub(super) fn at_value(
        &mut self,
        code: Code,
        path: &Path,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding::new(code, self.document.value(path), message, help));
        }
    }

    /// A finding on the key that `path` ends with.
    pub(super) fn at_key(
        &mut self,
        code: Code,
        path: &Path,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding::new(code, self.document.key(path), message, help));
        }
    }

    /// A finding on a name that stands at `path` (as a value, or as a key if `is_key`) and is
    /// none of `known`, which are `what`s.
    pub(super) fn unknown<'k>(
        &mut self,
        path: &Path,
        is_key: bool,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        if self.findings.len() >= MOST_FINDINGS {
            return;
        }
        let known: Vec<&str> = known.into_iter().collect();
        let help = match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("there are no {} here", plural(what)),
            None => format!("the {} here are {}", plural(what), list(&known)),
        };
        let message = format!("there is no {what} `{}`", shown(name));
        if is_key {
            self.at_key(Code::UnknownName, path, message, help);
        } else {
            self.at_value(Code::UnknownName, path, message, help);
        }
    }
}

/// Resolves every name in `config`, which was read from `document`.
///
/// # Errors
/// All findings, of which at least one is an error.
pub fn resolve(
    config: &Config,
    document: &Document<'_>,
) -> Result<(Pipeline, Vec<Finding>), Vec<Finding>> {
    let mut context = Context { config, document, findings: Vec::new() };
    let homes = graph::homes(&mut context);
    graph::check(&mut context, &homes);
    web::check(&mut context);
    output::check(&mut context);
    check_overrides(&mut context);
    let remotes = remotes(&mut context);
    let mut masters: BTreeMap<Name, Master> = config
        .masters
        .iter()
        .map(|(name, settings)| {
            let master = Master {
                settings: settings.clone(),
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
        let resolved = Builder {
            description: builder.description.clone(),
            tags: builder.tags.clone(),
            workers: builder
                .workers
                .iter()
                .flat_map(|worker| instances.get(worker).cloned().unwrap_or_default())
                .collect(),
            properties: builder.properties.clone(),
            page: builder.page.clone(),
            collapse: builder.collapse.clone(),
            locks: builder.locks.clone(),
            env: builder.env.clone(),
            steps: steps::resolve(&mut context, name, builder),
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
        check_properties(&mut context, name, scheduler);
        if let Some(master) = homes.scheduler(name).and_then(|home| masters.get_mut(home)) {
            let resolved = Scheduler {
                on: scheduler.on.clone(),
                builders: scheduler.builders.clone(),
                priority: scheduler.priority,
                settle: scheduler.settle.clone(),
                checks_per_day: scheduler.checks_per_day,
                having: scheduler.having.clone(),
                lacking: scheduler.lacking.clone(),
                properties: scheduler.properties.clone(),
            };
            master.schedulers.insert(name.clone(), resolved);
        }
    }
    reporters::resolve(&mut context, &homes, &mut masters);
    let unchosen = variants::check(&mut context);
    let mut findings = context.findings;
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    findings.dedup();
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    // Only now, so that what is not chosen today is checked all the same.
    variants::leave_out(&mut masters, &unchosen);
    let pipeline = Pipeline {
        fdroiddata: config.fdroiddata.clone(),
        apps: config.apps.clone(),
        override_places: override_places(config, document),
        remotes,
        guard: config.guard.clone(),
        masters,
    };
    Ok((pipeline, findings))
}

/// The locks that a builder and its steps use.
pub(super) fn locks_of(builder: &config::Builder) -> BTreeSet<&Name> {
    let steps = builder.steps.iter().map(|step| &step.locks);
    std::iter::once(&builder.locks).chain(steps).flat_map(BTreeMap::<Name, Access>::keys).collect()
}

/// Whether each build that a scheduler starts has the properties its builder needs, and each
/// property it gives is one that its builders know.
fn check_properties(context: &mut Context<'_, '_>, name: &Name, scheduler: &config::Scheduler) {
    let path = Path::root("schedulers").key(name.as_str());
    check_change_keys(context, &path, scheduler);
    let config = context.config;
    let builders: Vec<_> = scheduler
        .builders
        .iter()
        .enumerate()
        .filter_map(|(i, name)| Some((i, name, config.builders.get(name)?)))
        .collect();
    for (property, value) in &scheduler.properties {
        let known: Vec<_> = builders.iter().flat_map(|(_, _, b)| &b.properties).collect();
        let path = path.key("properties").key(property.as_str());
        let mut declared = known.iter().filter(|(name, _)| *name == property).peekable();
        if declared.peek().is_none() {
            let names: BTreeSet<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            context.unknown(&path, true, "property", property.as_str(), names);
        } else if let Some(expected) = declared.find_map(|(_, p)| mismatch(p.r#type, value)) {
            context.at_value(
                Code::ConfigType,
                &path,
                format!("`{}` is not what its builder declares", property.as_str()),
                format!("write {expected}"),
            );
        }
    }
    let comes = |property: &Name| match scheduler.on {
        Trigger::Submitted(_) | Trigger::Person => true,
        Trigger::AppSource => property.as_str() == PACKAGE_NAME,
        Trigger::After(ref builder) => config
            .builders
            .get(builder)
            .is_some_and(|b| b.properties.get(property).is_some_and(|p| !p.optional)),
        Trigger::Fdroiddata | Trigger::Daily(_) | Trigger::Every(_) => false,
    };
    for (i, name, builder) in builders {
        for (property, declared) in &builder.properties {
            let set_by_step = |step: &config::Step| step.set_property.as_ref() == Some(property);
            if !declared.optional
                && !builder.steps.iter().any(set_by_step)
                && !scheduler.properties.contains_key(property)
                && !comes(property)
            {
                let property = property.as_str();
                context.at_value(
                    Code::PropertyMissing,
                    &path.key("builders").index(i),
                    format!(
                        "each of these builds would fail: `{}` needs the property `{property}`, \
                         which this trigger does not bring",
                        name.as_str()
                    ),
                    format!(
                        "give `{property}` in `properties`, or make it optional in the builder"
                    ),
                );
            }
        }
    }
}

/// Complains of what can only be said of changes where there are none.
fn check_change_keys(context: &mut Context<'_, '_>, path: &Path, scheduler: &config::Scheduler) {
    let waits_for_changes =
        matches!(scheduler.on, Trigger::AppSource | Trigger::Fdroiddata | Trigger::Submitted(_));
    let keys = [
        ("settle", scheduler.settle.is_some()),
        ("having", !scheduler.having.is_empty()),
        ("lacking", !scheduler.lacking.is_empty()),
    ];
    check_filtered_properties(context, path, scheduler);
    for (key, _) in keys.iter().filter(|(_, given)| *given && !waits_for_changes) {
        context.at_key(
            Code::ConfigValue,
            &path.key(*key),
            "this scheduler does not wait for changes",
            "delete it, or wait for `app-source`, `fdroiddata` or `submitted`",
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
    let known: BTreeSet<&Name> = builders.flat_map(|builder| builder.properties.keys()).collect();
    for (key, names) in [("having", &scheduler.having), ("lacking", &scheduler.lacking)] {
        for (i, name) in names.iter().enumerate().filter(|(_, name)| !known.contains(name)) {
            let known = known.iter().map(|name| name.as_str());
            context.unknown(&path.key(key).index(i), false, "property", name.as_str(), known);
        }
    }
}

/// What a property of `type_` would be, if `value` is none: the rules of the runtime's
/// `check_properties.py`.
pub(super) fn mismatch(type_: PropertyType, value: &Scalar) -> Option<&'static str> {
    let hash =
        |text: &str| (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let word = |text: &str| {
        (1..=128).contains(&text.len())
            && !text.starts_with(['.', '-'])
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let line = |text: &str| text.chars().count() <= 1_000 && !text.starts_with('-');
    let (fits, expected) = match (type_, value) {
        (PropertyType::Integer, value) => {
            (matches!(value, Scalar::Int(0..)), "a whole number from 0")
        }
        (PropertyType::Seconds, value) => {
            (matches!(value, Scalar::Int(1..=604_800)), "seconds, as a whole number to 604800")
        }
        (PropertyType::AppId, Scalar::Text(text)) => {
            (AppId::new(text).is_some(), "an application id")
        }
        (PropertyType::Commit, Scalar::Text(text)) => {
            (hash(text), "a commit: 7 to 64 hexadecimal digits")
        }
        (PropertyType::Word, Scalar::Text(text)) => {
            (word(text), "letters, digits, `.`, `_` and `-`, the first no dot or dash")
        }
        (PropertyType::Text, Scalar::Text(text)) => {
            (line(text), "up to 1000 characters, the first no dash")
        }
        (_, Scalar::Bool(_) | Scalar::Int(_)) => (false, "a text, in quotes"),
    };
    (!fits).then_some(expected)
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

fn override_places(config: &Config, document: &Document<'_>) -> Vec<Place> {
    let rules = config.apps.overrides.iter().enumerate();
    rules
        .flat_map(|(i, rule)| {
            let path = Path::root("apps").key("overrides").index(i).key("apps");
            (0..rule.apps.len()).map(move |j| document.value(&path.index(j)))
        })
        .collect()
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
    RemotePolicy {
        schemes: remotes.schemes.iter().copied().collect(),
        allow_hosts: hosts,
        operator: remotes.operator.clone(),
    }
}
