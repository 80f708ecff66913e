//! Steps: what each does, and the properties and locks it names.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::properties::check_property;
use super::step_name::name_of;
use super::templates::Templates;
use super::{checkouts, running};
use crate::config::{
    self, Access, Builder, EnvName, Name, Path, PropertyType, PropertyUse, TimeLimit,
};
use crate::finding::Code;
use crate::pipeline::{Action, Step, Variable};
use crate::text::{list, shown};

/// The variables of all steps of a builder, and the steps.
pub(super) fn resolve(
    context: &mut Context<'_, '_>,
    name: &Name,
    builder: &Builder,
) -> (BTreeMap<EnvName, Variable>, Vec<Step>) {
    let path = Path::root("builders").key(name.as_str());
    check_locks(context, &path, &builder.locks);
    check_named_properties(context, &path, builder);
    check_names(context, &path, builder);
    checkouts::check(context, &path, builder);
    let env = Templates { context, builder }.env(&path.key("env"), &builder.env);
    let steps = builder.steps.iter().enumerate();
    let steps = steps
        .filter_map(|(i, step)| {
            resolve_step(context, &path, &path.key("steps").index(i), builder, step)
        })
        .collect();
    (env, steps)
}

fn resolve_step(
    context: &mut Context<'_, '_>,
    builder_path: &Path,
    path: &Path,
    builder: &Builder,
    step: &config::Step,
) -> Option<Step> {
    check_locks(context, path, &step.locks);
    for lock in step.locks.keys().filter(|lock| builder.locks.contains_key(*lock)) {
        context.at_key(
            Code::Duplicate,
            &path.key("locks").key(lock.as_str()),
            format!("the builder holds the lock `{}` already, for all its steps", lock.as_str()),
            "delete one of the two",
        );
    }
    if let Some(limit) = &step.timeout {
        check_limit(context, &path.key("timeout"), builder, limit);
    }
    let mut templates = Templates { context, builder };
    let mut actions: Vec<(&str, Option<Action>)> = Vec::new();
    if let Some(words) = &step.run {
        let words = templates.words(&path.key("run"), words);
        actions.push(("run", words.map(Action::Run)));
    }
    if let Some(words) = &step.run_on_master {
        let words = templates.words(&path.key("run-on-master"), words);
        actions.push(("run-on-master", words.map(Action::RunOnMaster)));
    }
    if let Some(checkout) = &step.git {
        let action = checkouts::resolve(&mut templates, &path.key("git"), checkout);
        actions.push(("git", action.map(Action::Checkout)));
    }
    if let Some(copy) = &step.upload {
        let path = path.key("upload");
        let action = templates.copy(&path, &copy.from, &copy.to);
        check_below_output(templates.context, &path.key("to"), &copy.to);
        let action = action.map(|(from, to)| Action::Upload {
            from,
            to,
            folder: copy.folder,
            max_size: copy.max_size.clone(),
        });
        actions.push(("upload", action));
    }
    if let Some(copy) = &step.download {
        let path = path.key("download");
        let action = templates
            .copy(&path, &copy.from, &copy.to)
            .map(|(from, to)| Action::Download { from, to });
        actions.push(("download", action));
        check_below_output(templates.context, &path.key("from"), &copy.from);
        if copy.folder {
            let message = "a folder cannot be copied to the worker";
            let help = "pack it into a file, or let the worker fetch it";
            templates.context.at_value(Code::ConfigValue, &path.key("folder"), message, help);
        }
    }
    if let Some(log) = &step.save_log {
        let path = path.key("save-log");
        let to = templates.one(&path.key("to"), &log.to, PropertyUse::Path);
        check_below_output(templates.context, &path.key("to"), &log.to);
        actions.push(("save-log", to.map(|to| Action::SaveLog { step: log.step.clone(), to })));
        running::check_saved(templates.context, &path.key("step"), builder, step, &log.step);
    }
    if actions.len() != 1 {
        let given: Vec<&str> = actions.iter().map(|(kind, _)| *kind).collect();
        context.at_value(
            Code::OneKind,
            path,
            format!("this step does {} things: {}", given.len(), list(&given)),
            "give just one of `run`, `run-on-master`, `git`, `upload`, `download` and `save-log`",
        );
    }
    let (_, action) = actions.pop()?;
    let mut templates = Templates { context, builder };
    let env = templates.env(&path.key("env"), &step.env);
    let workdir = step.workdir.as_ref();
    let workdir =
        workdir.and_then(|folder| templates.one(&path.key("workdir"), folder, PropertyUse::Path));
    let action = action?;
    let sets = running::sets(context, path, builder, step);
    running::check(context, path, builder, step);
    let (timeout, timeout_origin) = match &step.timeout {
        Some(own) => (own, path.key("timeout")),
        None => (&builder.timeout, builder_path.key("timeout")),
    };
    Some(Step {
        origin: path.clone(),
        name: name_of(context.config, step),
        action,
        workdir,
        env,
        timeout: timeout.clone(),
        timeout_origin,
        locks: step.locks.clone(),
        // A log is wanted most when its step has failed.
        always: step.always || step.save_log.is_some(),
        on_failure: step.on_failure,
        warn_on: step.warn_on.clone(),
        stop_on: step.stop_on.clone(),
        sets,
        retry: step.retry.clone(),
        only_if: step.only_if.clone(),
        unless: step.unless.clone(),
    })
}

/// Complains of steps that have one name: nobody could tell their logs apart.
fn check_names(context: &mut Context<'_, '_>, path: &Path, builder: &Builder) {
    let mut taken = BTreeSet::new();
    for (i, step) in builder.steps.iter().enumerate() {
        if let Some(name) = &step.name
            && !taken.insert(name)
        {
            let path = path.key("steps").index(i).key("name");
            let message = format!("this builder has another step `{}`", shown(name));
            context.at_value(Code::Duplicate, &path, message, "rename one of them");
        }
    }
}

/// Complains of a path on the master that leads out of its output directory.
fn check_below_output(context: &mut Context<'_, '_>, path: &Path, text: &str) {
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        let message = format!("`{}` is not below the master's output directory", shown(text));
        let help =
            "write a relative path without `..`; `output` of the master says where it starts";
        context.at_value(Code::ConfigValue, path, message, help);
    }
}

/// Complains of properties that the builder names and does not declare, or not of that type.
fn check_named_properties(context: &mut Context<'_, '_>, path: &Path, builder: &Builder) {
    if let Some(page) = &builder.page {
        check_property(context, &path.key("page"), builder, page, Some(PropertyType::AppId));
    }
    for (i, property) in builder.collapse.iter().enumerate() {
        check_property(context, &path.key("collapse").index(i), builder, property, None);
    }
    check_limit(context, &path.key("timeout"), builder, &builder.timeout);
}

fn check_limit(context: &mut Context<'_, '_>, path: &Path, builder: &Builder, limit: &TimeLimit) {
    if let TimeLimit::FromProperty(limit) = limit {
        let path = path.key("property");
        check_property(context, &path, builder, &limit.property, Some(PropertyType::Seconds));
    }
}

fn check_locks(context: &mut Context<'_, '_>, path: &Path, locks: &BTreeMap<Name, Access>) {
    let config = context.config;
    let known = &config.locks;
    for (name, access) in locks {
        let most = known.get(name).and_then(|lock| lock.max_holders);
        if let (Access::Share(share), Some(most)) = (access, most)
            && *share > most
        {
            context.at_value(
                Code::ConfigValue,
                &path.key("locks").key(name.as_str()),
                format!("the lock `{}` has {most} shares only", name.as_str()),
                "take fewer, or raise its `max-holders`",
            );
        }
    }
    for name in locks.keys().filter(|name| !known.contains_key(name)) {
        let path = path.key("locks").key(name.as_str());
        context.unknown(&path, true, "lock", name.as_str(), known.keys().map(Name::as_str));
    }
}
