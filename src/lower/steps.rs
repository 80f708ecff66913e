//! Builders and their steps.

use std::collections::BTreeMap;

use super::{interpolate, locks, names, object, text_or_secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{
    EnvName, Fdroiddata, Name, OnFailure, Property, Revision, TextOrSecret, TimeLimit, Trigger,
};
use crate::pipeline::{Action, Builder, Master, Pipeline, Step};

/// The most bytes that one upload may have: 4 GiB, as much as an APK can.
const MOST_BYTES: i64 = 1 << 32;

/// One object for each builder.
pub(super) fn builders(pipeline: &Pipeline, master: &Master) -> Vec<Object> {
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
                .kwarg_opt("collapseRequests", collapse(builder))
                .kwarg_opt("env", env(builder.env.iter().collect()))
                .kwarg("factory", factory(pipeline, master, name, builder));
            object(name.as_str(), call)
        })
        .collect()
}

/// Which waiting requests become one. Without it, none: see `settings`.
fn collapse(builder: &Builder) -> Option<Call> {
    let equal = (!builder.collapse.is_empty()).then(|| names(&builder.collapse))?;
    Some(Call::new("SameProperties").arg(equal))
}

fn factory(pipeline: &Pipeline, master: &Master, name: &Name, builder: &Builder) -> Call {
    let mut steps = Vec::new();
    steps.extend(check_properties(&builder.properties).map(Expr::from));
    steps.extend(builder.steps.iter().map(|s| Expr::from(step(s, &builder.env))));
    steps.extend(trigger(master, name, builder).map(Expr::from));
    match &builder.page {
        None => Call::new("util.BuildFactory").arg(Expr::List(steps)),
        Some(page) => Call::new("AppFactory")
            .arg(Expr::List(steps))
            .kwarg("page", page.as_str())
            .kwarg("metadata_url", metadata_url(pipeline)),
    }
}

/// Where people read an app's metadata, with `{}` for its id.
fn metadata_url(pipeline: &Pipeline) -> String {
    let Fdroiddata { url, branch, .. } = &pipeline.fdroiddata;
    let project = url.url().as_str().trim_end_matches('/').trim_end_matches(".git");
    // GitHub's pages do without the `-`.
    let dash = if url.url().host_str() == Some("github.com") { "" } else { "/-" };
    let literal = format!("{project}{dash}/blob/{}/metadata/", branch.as_str());
    format!("{}{{}}.yml", literal.replace('{', "{{").replace('}', "}}"))
}

/// The step that judges what came from outside before any other step uses it.
fn check_properties(properties: &BTreeMap<Name, Property>) -> Option<Call> {
    if properties.is_empty() {
        return None;
    }
    let types = properties.iter().map(|(name, p)| (name.as_str(), p.r#type.as_str()));
    let optional = properties.iter().filter(|(_, property)| property.optional);
    let optional: Vec<&str> = optional.map(|(name, _)| name.as_str()).collect();
    let optional = (!optional.is_empty()).then(|| Expr::list(optional));
    Some(Call::new("CheckProperties").arg(Expr::dict(types)).kwarg_opt("optional", optional))
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
    let timeout = || limit(&step.timeout);
    let workdir = step.workdir.as_deref();
    let words = |words: &[_]| Expr::List(words.iter().map(interpolate).collect());
    let copy = |class: &'static str, from, to| {
        Call::new(class)
            .kwarg("name", name)
            .kwarg("source", interpolate(from))
            .kwarg("to", interpolate(to))
            .kwarg("limit", timeout())
            .kwarg_opt("workdir", workdir)
    };
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
            .kwarg("maxTime", timeout()),
        Action::RunOnMaster(command) => Call::new("RunOnMaster")
            .kwarg("name", name)
            .kwarg("command", words(command))
            .kwarg_opt("folder", workdir)
            // Buildbot gives the builder's variables to the steps on a worker alone.
            .kwarg_opt("env", env(common_env.iter().chain(&step.env).collect()))
            .kwarg("limit", timeout()),
        Action::Checkout(checkout) => Call::new("PatientGit")
            .kwarg("name", name)
            .kwarg("repourl", checkout.url.url().as_str())
            .kwarg("branch", checkout.branch.as_str())
            .kwarg("mode", "incremental")
            .kwarg_opt("alwaysUseLatest", (checkout.revision == Revision::Latest).then_some(true))
            .kwarg_opt("workdir", workdir)
            .kwarg("timeout", timeout()),
        Action::Upload { from, to, folder } => {
            copy(if *folder { "UploadFolder" } else { "Upload" }, from, to)
                // What a build writes must not fill the master's disk.
                .kwarg("most", MOST_BYTES)
        }
        Action::SaveLog { step, to } => Call::new("SaveLog")
            .kwarg("name", name)
            .kwarg("step", step.as_str())
            .kwarg("to", interpolate(to)),
        Action::Download { from, to } => copy("Download", from, to),
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

/// In seconds.
fn limit(limit: &TimeLimit) -> Expr {
    match limit {
        TimeLimit::Fixed(time) => time.as_secs().into(),
        TimeLimit::FromProperty(limit) => Call::new("util.Property")
            .arg(limit.property.as_str())
            .kwarg("default", limit.default.as_secs())
            .into(),
    }
}

fn env(env: BTreeMap<&EnvName, &TextOrSecret>) -> Option<Expr> {
    let empty = env.is_empty();
    let pairs = env.into_iter().map(|(name, value)| (name.as_str(), text_or_secret(value)));
    (!empty).then(|| Expr::dict(pairs))
}
