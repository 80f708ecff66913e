//! Builders and their steps.

use std::collections::BTreeMap;

use super::{interpolate, locks, names, object, text_or_secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{
    EnvName, Name, OnFailure, Property, PropertyType, Revision, TextOrSecret, Trigger,
};
use crate::pipeline::{Action, Builder, Master, Step};

/// One object for each builder.
pub(super) fn builders(master: &Master) -> Vec<Object> {
    master
        .builders
        .iter()
        .map(|(name, builder)| {
            let workers = Expr::list(builder.workers.iter().map(String::as_str));
            let tags = (!builder.tags.is_empty()).then(|| names(&builder.tags));
            let call = Call::new("util.BuilderConfig")
                .kwarg("name", name.as_str())
                .kwarg_opt("description", builder.description.as_deref())
                .kwarg_opt("tags", tags)
                .kwarg("workernames", workers)
                .kwarg_opt("locks", locks(&builder.locks))
                .kwarg_opt("env", env(builder.env.iter().collect()))
                .kwarg("factory", factory(master, name, builder));
            object(name.as_str(), call)
        })
        .collect()
}

fn factory(master: &Master, name: &Name, builder: &Builder) -> Call {
    let mut steps = Vec::new();
    steps.extend(check_properties(&builder.properties).map(Expr::from));
    steps.extend(builder.steps.iter().map(|s| Expr::from(step(s, &builder.env))));
    steps.extend(trigger(master, name, builder).map(Expr::from));
    Call::new("util.BuildFactory").arg(Expr::List(steps))
}

/// The step that judges what came from outside before any other step uses it.
fn check_properties(properties: &BTreeMap<Name, Property>) -> Option<Call> {
    if properties.is_empty() {
        return None;
    }
    let types = properties.iter().map(|(name, property)| (name.as_str(), type_(property.r#type)));
    let optional = properties.iter().filter(|(_, property)| property.optional);
    let optional: Vec<&str> = optional.map(|(name, _)| name.as_str()).collect();
    let optional = (!optional.is_empty()).then(|| Expr::list(optional));
    Some(Call::new("CheckProperties").arg(Expr::dict(types)).kwarg_opt("optional", optional))
}

/// The name of a type in the runtime's `check_properties.py`.
fn type_(property: PropertyType) -> &'static str {
    match property {
        PropertyType::AppId => "app-id",
        PropertyType::Integer => "integer",
        PropertyType::Seconds => "seconds",
        PropertyType::Commit => "commit",
        PropertyType::Word => "word",
        PropertyType::Text => "text",
    }
}

/// The last step of a builder that others wait for, run only if all went well.
fn trigger(master: &Master, name: &Name, builder: &Builder) -> Option<Call> {
    let waits = |on: &Trigger| matches!(on, Trigger::After(upstream) if upstream == name);
    let waiting = master.schedulers.iter().filter(|(_, scheduler)| waits(&scheduler.on));
    let waiting: Vec<&str> = waiting.map(|(name, _)| name.as_str()).collect();
    if waiting.is_empty() {
        return None;
    }
    let needed = builder.properties.iter().filter(|(_, property)| !property.optional);
    let passed: Vec<&str> = needed.map(|(name, _)| name.as_str()).collect();
    let passed = (!passed.is_empty()).then(|| Expr::list(passed));
    Some(
        Call::new("steps.Trigger")
            .kwarg("schedulerNames", Expr::list(waiting))
            .kwarg_opt("copy_properties", passed)
            .kwarg("waitForFinish", false)
            .kwarg("doStepIf", Expr::name("build_is_well")),
    )
}

fn step(step: &Step, common_env: &BTreeMap<EnvName, TextOrSecret>) -> Call {
    let name = step.name.as_str();
    let timeout = step.timeout.as_secs();
    let workdir = step.workdir.as_deref();
    let words = |words: &[_]| Expr::List(words.iter().map(interpolate).collect());
    let call = match &step.action {
        Action::Run(command) => Call::new("steps.ShellCommand")
            .kwarg("name", name)
            .kwarg("command", words(command))
            .kwarg_opt("workdir", workdir)
            .kwarg_opt("env", env(step.env.iter().collect()))
            // Logs are public, and the environment holds more than what is set here.
            .kwarg("logEnviron", false)
            // Silence is no fault; only the whole time counts.
            .kwarg("timeout", Expr::None)
            .kwarg("maxTime", timeout),
        Action::RunOnMaster(command) => Call::new("steps.MasterShellCommand")
            .kwarg("name", name)
            .kwarg("command", words(command))
            .kwarg_opt("workdir", workdir)
            // Buildbot gives the builder's variables to the steps on a worker alone.
            .kwarg_opt("env", env(common_env.iter().chain(&step.env).collect()))
            .kwarg("logEnviron", false)
            .kwarg("runtime_timeout", timeout),
        Action::Checkout(checkout) => Call::new("steps.Git")
            .kwarg("name", name)
            .kwarg("repourl", checkout.url.url().as_str())
            .kwarg("branch", checkout.branch.as_str())
            .kwarg("mode", "incremental")
            .kwarg_opt("alwaysUseLatest", (checkout.revision == Revision::Latest).then_some(true))
            .kwarg_opt("workdir", workdir)
            .kwarg("timeout", timeout),
        Action::Upload { from, to, folder } => {
            let class = if *folder { "steps.DirectoryUpload" } else { "steps.FileUpload" };
            Call::new(class)
                .kwarg("name", name)
                .kwarg("workersrc", interpolate(from))
                .kwarg("masterdest", interpolate(to))
                .kwarg_opt("workdir", workdir)
        }
        Action::Download { from, to } => Call::new("steps.FileDownload")
            .kwarg("name", name)
            .kwarg("mastersrc", interpolate(from))
            .kwarg("workerdest", interpolate(to))
            .kwarg_opt("workdir", workdir),
    };
    let call = call
        .kwarg_opt("locks", locks(&step.locks))
        .kwarg_opt("alwaysRun", step.always.then_some(true));
    // Said in full, for the classes' own defaults differ.
    match step.on_failure {
        OnFailure::Stop => call.kwarg("haltOnFailure", true),
        OnFailure::Continue => call.kwarg("haltOnFailure", false),
        OnFailure::Warn => call
            .kwarg("haltOnFailure", false)
            .kwarg("flunkOnFailure", false)
            .kwarg("warnOnFailure", true),
    }
}

fn env(env: BTreeMap<&EnvName, &TextOrSecret>) -> Option<Expr> {
    let empty = env.is_empty();
    let pairs = env.into_iter().map(|(name, value)| (name.as_str(), text_or_secret(value)));
    (!empty).then(|| Expr::dict(pairs))
}
