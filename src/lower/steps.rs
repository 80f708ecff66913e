//! Builders and their steps.

use std::collections::BTreeMap;

use super::{interpolate, locks, names, object, scalar, text_or_secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{
    Condition, EnvName, Fdroiddata, Name, OnFailure, Revision, TextOrSecret, TimeLimit, Trigger,
};
use crate::pipeline::{Action, Builder, Master, Pipeline, SetProperty, Step};

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
    steps.extend(check_properties(builder).map(Expr::from));
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
fn check_properties(builder: &Builder) -> Option<Call> {
    let properties = &builder.properties;
    if properties.is_empty() {
        return None;
    }
    let types = properties.iter().map(|(name, p)| (name.as_str(), p.r#type.as_str()));
    let optional = properties.keys().filter(|name| !builder.needs(name));
    let optional: Vec<&str> = optional.map(Name::as_str).collect();
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
        Action::Run(command) => Call::new(run_class(step))
            .kwarg("name", name)
            .kwarg("command", words(command))
            .kwarg_opt("workdir", workdir)
            .kwarg_opt("env", env(step.env.iter().collect()))
            // Logs are public, and the environment holds more than what is set here.
            .kwarg("logEnviron", false)
            // Silence is no fault; only the whole time counts.
            .kwarg("timeout", Expr::None)
            .kwarg("maxTime", timeout())
            .kwarg_opt("retry", retry(step))
            .kwarg_opt("sets", sets(step)),
        Action::RunOnMaster(command) => Call::new("RunOnMaster")
            .kwarg("name", name)
            .kwarg("command", words(command))
            .kwarg_opt("folder", workdir)
            // Buildbot gives the builder's variables to the steps on a worker alone.
            .kwarg_opt("env", env(common_env.iter().chain(&step.env).collect()))
            .kwarg("limit", timeout())
            .kwarg_opt("retry", retry(step))
            .kwarg_opt("sets", sets(step)),
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
        .kwarg_opt("doStepIf", condition(step))
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

/// Buildbot's own class, where it can do all that is wanted.
fn run_class(step: &Step) -> &'static str {
    if step.sets.is_some() || step.retry.is_some() { "Run" } else { "steps.ShellCommand" }
}

fn sets(step: &Step) -> Option<Call> {
    let SetProperty { name, declared } = step.sets.as_ref()?;
    Some(
        Call::new("SetProperty")
            .arg(name.as_str())
            .arg(declared.r#type.as_str())
            .kwarg_opt("optional", declared.optional.then_some(true)),
    )
}

fn retry(step: &Step) -> Option<Call> {
    let retry = step.retry.as_ref()?;
    Some(Call::new("Retry").arg(i64::from(retry.times)).arg(retry.pause.as_secs()))
}

fn condition(step: &Step) -> Option<Call> {
    let test = |condition: &Condition| {
        let value = condition.is.as_ref().map(scalar);
        Call::new("PropertyIs").arg(condition.property.as_str()).arg_opt(value)
    };
    let call = Call::new("Condition")
        .kwarg_opt("only_if", step.only_if.as_ref().map(test))
        .kwarg_opt("unless", step.unless.as_ref().map(test));
    (step.only_if.is_some() || step.unless.is_some()).then_some(call)
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
