//! Schedulers, and the change sources they wait for.

use std::collections::BTreeMap;

use super::settings::endpoint;
use super::{names, object, scalar, secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{Name, Property, PropertyType, Trigger};
use crate::pipeline::{APP_SOURCE, FDROIDDATA, Master, Pipeline, Scheduler};

/// One object for each scheduler.
pub(super) fn schedulers(pipeline: &Pipeline, master: &Master) -> Vec<Object> {
    let schedulers = master.schedulers.iter();
    schedulers
        .map(|(name, scheduler)| object(name.as_str(), call(pipeline, master, name, scheduler)))
        .collect()
}

fn call(pipeline: &Pipeline, master: &Master, name: &Name, scheduler: &Scheduler) -> Call {
    let call = |class| {
        let builders = names(&scheduler.builders);
        Call::new(class).kwarg("name", name.as_str()).kwarg("builderNames", builders)
    };
    let on_change_by = |class, category: &str| {
        let filter = Call::new("util.ChangeFilter")
            .kwarg("category", category)
            .kwarg_opt("property_re", any_value(&scheduler.having))
            .kwarg_opt("property_not_re", any_value(&scheduler.lacking));
        let settle = scheduler.settle.as_ref().map(crate::config::Duration::as_secs);
        call(class).kwarg("change_filter", filter).kwarg_opt("treeStableTimer", settle)
    };
    let on_change = |category: &str| on_change_by("ChangeScheduler", category);
    let call = match &scheduler.on {
        Trigger::AppSource => on_change_by("AppSourceScheduler", APP_SOURCE)
            .kwarg_opt("checksPerDay", scheduler.checks_per_day.map(i64::from))
            .kwarg("checkInterval", pipeline.apps.check_interval.as_secs()),
        Trigger::Fdroiddata => on_change(FDROIDDATA),
        Trigger::Submitted(category) => on_change(category.as_str()),
        Trigger::Daily(time) => {
            let (hour, minute) = time.hour_and_minute();
            call("Daily").kwarg("hour", i64::from(hour)).kwarg("minute", i64::from(minute))
        }
        Trigger::Every(interval) => {
            call("schedulers.Periodic").kwarg("periodicBuildTimer", interval.as_secs())
        }
        Trigger::After(_) => call("schedulers.Triggerable"),
        Trigger::Person => {
            let call = call("schedulers.ForceScheduler").kwarg("codebases", no_codebase());
            return priority(call, scheduler, |number| {
                let field = Call::new("util.IntParameter").kwarg("name", "priority");
                field.kwarg("default", number).kwarg("hide", true)
            })
            .kwarg("properties", parameters(master, scheduler));
        }
    };
    let call = priority(call, scheduler, Expr::Int);
    let properties = scheduler.properties.iter();
    let properties = properties.map(|(name, value)| (name.as_str(), scalar(value)));
    call.kwarg_opt("properties", (!scheduler.properties.is_empty()).then(|| Expr::dict(properties)))
}

/// For each property the expression that matches every value; the lack of one is empty to Buildbot.
fn any_value(properties: &[Name]) -> Option<Expr> {
    let pairs = properties.iter().map(|name| (name.as_str(), "."));
    (!properties.is_empty()).then(|| Expr::dict(pairs))
}

/// Sets the priority, where it is not Buildbot's own, as `value` makes it of the number.
fn priority<E: Into<Expr>>(call: Call, scheduler: &Scheduler, value: impl Fn(i64) -> E) -> Call {
    let number = i64::from(scheduler.priority);
    call.kwarg_opt("priority", (number != 0).then(|| value(number)))
}

/// The one codebase with nothing to fill in: what is built is told by the properties.
fn no_codebase() -> Expr {
    let fixed = |name: &'static str| {
        Call::new("util.FixedParameter").kwarg("name", name).kwarg("default", "")
    };
    let codebase = ["branch", "revision", "repository", "project"]
        .into_iter()
        .fold(Call::new("util.CodebaseParameter").arg(""), |call, name| {
            call.kwarg(name, fixed(name))
        });
    Expr::list([codebase])
}

/// A field for each property of the builders, but those the scheduler gives itself. One that some
/// of the builders can do without may stay empty; the others' first step then says what they lack.
fn parameters(master: &Master, scheduler: &Scheduler) -> Expr {
    let builders: Vec<_> =
        scheduler.builders.iter().filter_map(|name| master.builders.get(name)).collect();
    let declared: BTreeMap<&Name, &Property> = builders
        .iter()
        .flat_map(|builder| builder.properties.iter().filter(|(name, _)| !builder.sets(name)))
        .collect();
    Expr::list(declared.into_iter().map(|(name, property)| {
        let required = builders.iter().all(|builder| builder.needs(name));
        if let Some(value) = scheduler.properties.get(name) {
            return Call::new("util.FixedParameter")
                .kwarg("name", name.as_str())
                .kwarg("default", scalar(value));
        }
        let number = matches!(property.r#type, PropertyType::Integer | PropertyType::Seconds);
        // A number that may stay empty is none that `IntParameter` would take.
        let class = if number && required { "util.IntParameter" } else { "util.StringParameter" };
        Call::new(class)
            .kwarg("name", name.as_str())
            .kwarg("label", format!("{}:", name.as_str()))
            .kwarg("required", required)
    }))
}

/// What brings changes, but for the pollers of apps.
pub(super) fn change_sources(pipeline: &Pipeline, master: &Master) -> Vec<Object> {
    let mut sources = Vec::new();
    if master.waits_for(&Trigger::Fdroiddata) {
        // No application id has a `-`, so this is no app's name.
        let name = "fdroiddata-poller";
        let fdroiddata = &pipeline.fdroiddata;
        let call = Call::new("changes.GitPoller")
            .kwarg("name", name)
            .kwarg("repourl", fdroiddata.url.url().as_str())
            .kwarg("branches", Expr::list([fdroiddata.branch.as_str()]))
            .kwarg("workdir", name)
            .kwarg("pollInterval", fdroiddata.poll_interval.as_secs())
            .kwarg("category", FDROIDDATA)
            .kwarg("project", FDROIDDATA);
        sources.push(object(name, call));
    }
    if let Some(submit) = &master.settings.submit {
        let password = submit.password.as_ref().map(secret);
        let call = Call::new("SubmitSource")
            .kwarg("port", endpoint(&submit.listen))
            .kwarg("user", submit.user.as_str())
            .kwarg_opt("passwd", password)
            .kwarg_opt("password_file", submit.password_file.as_deref());
        sources.push(object("sendchange", call));
    }
    sources
}
