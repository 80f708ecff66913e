//! Builders and their steps.

use std::collections::BTreeMap;

use super::machines::machine;
use super::{interpolate, locks, names, object, scalar, secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{
    Condition, Credentials, EnvName, Fdroiddata, Name, OnFailure, Path, Property, Revision,
    TimeLimit, Trigger,
};
use crate::pipeline::{Action, Builder, Master, Pipeline, SetProperty, Step, Variable};

/// The most bytes that one upload may have: 4 GiB, as much as an APK can.
const MOST_BYTES: i64 = 1 << 32;

/// The folder of a build, below that of its builder: Buildbot's own default.
const BUILD: &str = "build";

/// One object for each builder.
pub(super) fn builders(pipeline: &Pipeline, master: &Master) -> Vec<Object> {
    master
        .builders
        .iter()
        .map(|(name, builder)| {
            let path = Path::root("builders").key(name.as_str());
            let workers = Expr::list(builder.workers.iter().map(|name| machine(master, name)));
            let tags = (!builder.tags.is_empty()).then(|| names(&builder.tags));
            let locks = locks(&path.key("locks"), &builder.locks);
            let env = env(&[(path.key("env"), &builder.env)]);
            let call = Call::new("util.BuilderConfig")
                .kwarg("name", name.as_str())
                .kwarg_opt_at(
                    "description",
                    path.key("description"),
                    builder.description.as_deref(),
                )
                .kwarg_opt_at("tags", path.key("tags"), tags)
                .kwarg_at("workernames", path.key("workers"), workers)
                .kwarg_opt_at("locks", path.key("locks"), locks)
                .kwarg_opt_at("collapseRequests", path.key("collapse"), collapse(builder))
                .kwarg_opt_at("canStartBuild", path.key("properties"), can_start(builder))
                .kwarg_opt_at("env", path.key("env"), env)
                .kwarg("factory", factory(pipeline, master, &path, name, builder));
            object(path, name.as_str(), call)
        })
        .collect()
}

/// Which waiting requests become one. Without it, none: see `settings`.
fn collapse(builder: &Builder) -> Option<Call> {
    let equal = (!builder.collapse.is_empty()).then(|| names(&builder.collapse))?;
    Some(Call::new("SameProperties").arg(equal))
}

/// What keeps builds of one app from starting, where builds are of one.
fn can_start(builder: &Builder) -> Option<Expr> {
    let of_app =
        builder.properties.keys().any(|name| name.as_str() == crate::resolve::PACKAGE_NAME);
    of_app.then(|| Expr::name("app_may_start"))
}

fn factory(
    pipeline: &Pipeline,
    master: &Master,
    path: &Path,
    name: &Name,
    builder: &Builder,
) -> Expr {
    let mut steps = Vec::new();
    let properties = path.key("properties");
    steps.extend(check_properties(&properties, builder));
    let common_env = (path.key("env"), &builder.env);
    steps.extend(builder.steps.iter().map(|s| step(s, &properties, &common_env)));
    let after = |on: &Trigger| matches!(on, Trigger::After(upstream) if upstream == name);
    let failed = |on: &Trigger| matches!(on, Trigger::AfterFailure(upstream) if upstream == name);
    steps.extend(trigger(master, &properties, builder, after, "build_is_well"));
    steps.extend(trigger(master, &properties, builder, failed, "build_has_failed"));
    let steps = Expr::List(steps).at(path.key("steps"));
    let fdroiddata = Path::root("fdroiddata");
    let call = match &builder.page {
        None => Call::new("util.BuildFactory").arg(steps),
        Some(page) => Call::new("AppFactory").arg(steps).kwarg("page", page.as_str()).kwarg_at(
            "metadata_url",
            fdroiddata.key("url"),
            Expr::from(metadata_url(pipeline)).at(fdroiddata.key("branch")),
        ),
    };
    call.at(path.key("page"))
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

/// The step that judges what came from outside before any other step uses it. `path` is that of
/// the properties.
fn check_properties(path: &Path, builder: &Builder) -> Option<Expr> {
    let properties = &builder.properties;
    // A checkout is of the commit and branch that the change names, which are looked at too.
    let has_checkout = builder.steps.iter().any(|step| matches!(step.action, Action::Checkout(_)));
    if properties.is_empty() && !has_checkout {
        return None;
    }
    let types = properties.iter().map(|(name, property)| {
        let r#type = Expr::from(property.r#type.as_str());
        (name.as_str(), r#type.at(path.key(name.as_str()).key("type")))
    });
    let optional = named(path, builder, |name| !builder.needs(name));
    let given = |key: &'static str, value: fn(&Property) -> Option<Expr>| {
        let pairs: Vec<(&str, Expr)> = properties
            .iter()
            .filter_map(|(name, property)| {
                let value = value(property)?.at(path.key(name.as_str()).key(key));
                Some((name.as_str(), value))
            })
            .collect();
        (!pairs.is_empty()).then(|| Expr::dict(pairs))
    };
    let choices = given("choices", |property| {
        let choices = property.choices.iter().map(scalar);
        (!property.choices.is_empty()).then(|| Expr::list(choices))
    });
    let defaults = given("default", |property| property.default.as_ref().map(scalar));
    let call = Call::new("CheckProperties").arg(Expr::dict(types)).kwarg_opt("optional", optional);
    Some(call.kwarg_opt("choices", choices).kwarg_opt("defaults", defaults).at(path.clone()))
}

/// The names of some properties of a builder, if there are any; `path` is that of its properties.
/// It follows from `optional`, and from the steps that set them.
fn named(path: &Path, builder: &Builder, is_wanted: impl Fn(&Name) -> bool) -> Option<Expr> {
    let setters = |name: &Name| {
        let name = name.clone();
        let sets = move |step: &&Step| step.sets.as_ref().is_some_and(|sets| sets.name == name);
        builder.steps.iter().filter(sets).map(|step| step.origin.key("set-property"))
    };
    let names: Vec<Expr> = builder
        .properties
        .keys()
        .filter(|name| is_wanted(name))
        .map(|name| {
            let path = path.key(name.as_str());
            let expr = Expr::from(name.as_str()).at(path.key("optional")).at(path.key("default"));
            setters(name).fold(expr, Expr::at)
        })
        .collect();
    (!names.is_empty()).then_some(Expr::List(names))
}

/// The last step of a builder that others wait for, run where its builds end as they wait for.
fn trigger(
    master: &Master,
    properties: &Path,
    builder: &Builder,
    waits: impl Fn(&Trigger) -> bool,
    condition: &'static str,
) -> Option<Expr> {
    let waiting = master.schedulers.iter().filter(|(_, scheduler)| waits(&scheduler.on));
    let waiting: Vec<(&str, Path)> = waiting
        .map(|(name, _)| (name.as_str(), Path::root("schedulers").key(name.as_str()).key("on")))
        .collect();
    if waiting.is_empty() {
        return None;
    }
    let names = waiting.iter().map(|(name, on)| Expr::from(*name).at(on.clone()));
    let is_passed = |name: &Name| builder.properties.get(name).is_some_and(|p| !p.optional);
    let passed = named(properties, builder, is_passed);
    let is_usual = condition == "build_is_well";
    let call = Call::new("steps.Trigger")
        // A name of its own, by which `plan` knows it too.
        .kwarg_opt("name", (!is_usual).then_some("trigger after a failure"))
        .kwarg("schedulerNames", Expr::list(names))
        .kwarg_opt("copy_properties", passed)
        .kwarg("waitForFinish", false)
        .kwarg("doStepIf", Expr::name(condition))
        .kwarg_opt("alwaysRun", (!is_usual).then_some(true));
    Some(waiting.into_iter().fold(call.into(), |call: Expr, (_, on)| call.at(on)))
}

/// Environment variables, with the path of the table that they stand in.
type Env<'a> = (Path, &'a BTreeMap<EnvName, Variable>);

/// `properties` is the path of those of its builder.
fn step(step: &Step, properties: &Path, common_env: &Env<'_>) -> Expr {
    let path = &step.origin;
    let action = path.key(step.action.key());
    // Without a name of its own, it is called after what it does.
    let name = || {
        let name = Expr::from(step.name.as_str()).at(action.clone()).at(path.key("name"));
        match &step.action {
            Action::Checkout(_) => name.at(Path::root("fdroiddata").key("url")),
            _ => name,
        }
    };
    let named = |class: &'static str| Call::new(class).kwarg("name", name());
    let timeout = || limit(&step.timeout).at(step.timeout_origin.clone());
    let workdir = |call: Call, argument: &'static str| {
        let folder = step.workdir.as_ref().map(|folder| match argument {
            "workdir" => interpolate(&folder.below(BUILD)),
            _ => interpolate(folder),
        });
        call.kwarg_opt_at(argument, path.key("workdir"), folder)
    };
    let words = |words: &[_]| Expr::List(words.iter().map(interpolate).collect());
    let copy = |class, from, to| {
        let call = named(class)
            .kwarg_at("source", action.key("from"), interpolate(from))
            .kwarg_at("to", action.key("to"), interpolate(to))
            .kwarg("limit", timeout());
        workdir(call, "workdir")
    };
    let own_env = (path.key("env"), &step.env);
    let call = match &step.action {
        Action::Run(command) => {
            let call = workdir(named(run_class(step)).kwarg("command", words(command)), "workdir")
                .kwarg_opt_at("env", path.key("env"), env(&[own_env]))
                // Logs are public, and the environment holds more than what is set here.
                .kwarg("logEnviron", false)
                // Silence is no fault; only the whole time counts.
                .kwarg("timeout", Expr::None)
                .kwarg("maxTime", timeout());
            ended(call, step, properties)
        }
        Action::RunOnMaster(command) => {
            let call = workdir(named("RunOnMaster").kwarg("command", words(command)), "folder")
                // Buildbot gives the builder's variables to the steps on a worker alone.
                .kwarg_opt_at("env", path.key("env"), env(&[common_env.clone(), own_env]))
                .kwarg("limit", timeout());
            ended(call, step, properties)
        }
        Action::Checkout(checkout) => {
            let latest = (checkout.revision == Revision::Latest).then_some(true);
            // Without a `url` it is fdroiddata.
            let fdroiddata = Path::root("fdroiddata");
            let of =
                |template, key| interpolate(template).at(action.key(key)).at(fdroiddata.key(key));
            let call = named("PatientGit")
                .kwarg("repourl", of(&checkout.url, "url"))
                .kwarg("branch", of(&checkout.branch, "branch"))
                .kwarg("mode", "incremental")
                .kwarg_opt_at("alwaysUseLatest", action.key("revision"), latest);
            let asks = action.key("credentials");
            let into = checkout.into.as_ref().map(|into| format!("{BUILD}/{}", into.as_str()));
            call.kwarg_opt_at("shallow", action.key("depth"), checkout.depth.map(i64::from))
                .kwarg_opt_at(
                    "submodules",
                    action.key("submodules"),
                    checkout.submodules.then_some(true),
                )
                .kwarg_opt(
                    "auth_credentials",
                    checkout.credentials.as_ref().map(|it| credentials(&asks, it)),
                )
                .kwarg_opt_at("workdir", action.key("into"), into)
                .kwarg("timeout", timeout())
        }
        Action::Upload { from, to, folder, max_size } => {
            let most = max_size.as_ref().map_or(MOST_BYTES, |size| size.as_mib() << 20);
            copy(if *folder { "UploadFolder" } else { "Upload" }, from, to)
                // What a build writes must not fill the master's disk.
                .kwarg_at("most", action.key("max-size"), most)
        }
        Action::SaveLog { step, to } => named("SaveLog")
            .kwarg_at("step", action.key("step"), step.as_str())
            .kwarg_at("to", action.key("to"), interpolate(to)),
        Action::Download { from, to } => copy("Download", from, to),
    };
    let call = call
        .kwarg_opt_at("locks", path.key("locks"), locks(&path.key("locks"), &step.locks))
        .kwarg_opt("doStepIf", condition(step))
        .kwarg_opt_at("alwaysRun", path.key("always"), step.always.then_some(true));
    // Said in full, for the classes' own defaults differ.
    let flags: &[(&str, bool)] = match step.on_failure {
        OnFailure::Stop => &[("haltOnFailure", true)],
        OnFailure::Continue => &[("haltOnFailure", false)],
        OnFailure::Warn => {
            &[("haltOnFailure", false), ("flunkOnFailure", false), ("warnOnFailure", true)]
        }
    };
    let flag = |call: Call, (name, value): &(&'static str, bool)| {
        call.kwarg_at(*name, path.key("on-failure"), *value)
    };
    let call = flags.iter().fold(call, flag);
    match &step.action {
        Action::Upload { .. } => call.at(action.key("folder")),
        _ => call.at(action),
    }
}

/// Buildbot's own class, where it can do all that is wanted.
fn run_class(step: &Step) -> &'static str {
    let has_meanings = !step.warn_on.is_empty() || !step.stop_on.is_empty();
    let is_plain = step.sets.is_none() && step.retry.is_none() && !has_meanings;
    if is_plain { "steps.ShellCommand" } else { "Run" }
}

/// What follows from how a command ends.
fn ended(call: Call, step: &Step, properties: &Path) -> Call {
    let path = &step.origin;
    call.kwarg_opt_at("retry", path.key("retry"), retry(step))
        .kwarg_opt_at("sets", path.key("set-property"), sets(step, properties))
        .kwarg_opt_at("warn_on", path.key("warn-on"), statuses(&step.warn_on))
        .kwarg_opt_at("stop_on", path.key("stop-on"), statuses(&step.stop_on))
}

/// The property that a step sets; `properties` is the path of those of its builder.
fn sets(step: &Step, properties: &Path) -> Option<Call> {
    let SetProperty { name, declared } = step.sets.as_ref()?;
    let path = properties.key(name.as_str());
    Some(
        Call::new("SetProperty")
            .arg(name.as_str())
            .arg(Expr::from(declared.r#type.as_str()).at(path.key("type")))
            .kwarg_opt_at("optional", path.key("optional"), declared.optional.then_some(true)),
    )
}

/// The exit statuses, if there are any.
fn statuses(statuses: &[u8]) -> Option<Expr> {
    let list = statuses.iter().map(|status| i64::from(*status));
    (!statuses.is_empty()).then(|| Expr::list(list))
}

fn retry(step: &Step) -> Option<Call> {
    let retry = step.retry.as_ref()?;
    let path = step.origin.key("retry");
    Some(
        Call::new("Retry")
            .arg(Expr::from(i64::from(retry.times)).at(path.key("times")))
            .arg(Expr::from(retry.pause.as_secs()).at(path.key("pause"))),
    )
}

fn condition(step: &Step) -> Option<Call> {
    let test = |condition: &Condition| {
        let value = condition.is.as_ref().map(scalar);
        Call::new("PropertyIs").arg(condition.property.as_str()).arg_opt(value)
    };
    let path = &step.origin;
    let call = Call::new("Condition")
        .kwarg_opt_at("only_if", path.key("only-if"), step.only_if.as_ref().map(test))
        .kwarg_opt_at("unless", path.key("unless"), step.unless.as_ref().map(test));
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

/// The user and the password, which Buildbot gives to git's own store of credentials.
fn credentials(path: &Path, credentials: &Credentials) -> Expr {
    let secret = Call::new("util.Secret").arg(credentials.secret.as_str());
    Expr::tuple([
        Expr::from(credentials.user.as_str()).at(path.key("user")),
        secret.at(path.key("secret")),
    ])
}

fn variable(value: &Variable) -> Expr {
    match value {
        Variable::Text(text) => interpolate(text),
        Variable::Secret(name) => secret(name),
    }
}

/// All of them together, of which a later table wins.
fn env(tables: &[Env<'_>]) -> Option<Expr> {
    let all: BTreeMap<&EnvName, Expr> = tables
        .iter()
        .flat_map(|(path, table)| {
            table.iter().map(|(name, value)| (name, variable(value).at(path.key(name.as_str()))))
        })
        .collect();
    let empty = all.is_empty();
    let pairs = all.into_iter().map(|(name, value)| (name.as_str(), value));
    (!empty).then(|| Expr::dict(pairs))
}
