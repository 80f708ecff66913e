//! Schedulers, and the change sources they wait for.

use std::collections::BTreeMap;

use super::settings::endpoint;
use super::{names, object, scalar, secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{Name, Path, Property, PropertyType, Trigger};
use crate::pipeline::{APP_SOURCE, Builder, FDROIDDATA, Master, Pipeline, Scheduler};

/// One object for each scheduler.
pub(super) fn schedulers(pipeline: &Pipeline, master: &Master) -> Vec<Object> {
    let schedulers = master.schedulers.iter();
    schedulers
        .map(|(name, scheduler)| {
            let path = Path::root("schedulers").key(name.as_str());
            let call = call(pipeline, master, &path, name, scheduler);
            object(path.clone(), name.as_str(), call.at(path.key("on")))
        })
        .collect()
}

fn call(
    pipeline: &Pipeline,
    master: &Master,
    path: &Path,
    name: &Name,
    scheduler: &Scheduler,
) -> Call {
    let call = |class| {
        Call::new(class).kwarg("name", name.as_str()).kwarg_at(
            "builderNames",
            path.key("builders"),
            names(&scheduler.builders),
        )
    };
    let on_change_by = |class, category: &str| {
        let having = any_value(&scheduler.having);
        let lacking = any_value(&scheduler.lacking);
        let filter = Call::new("util.ChangeFilter")
            .kwarg("category", category)
            .kwarg_opt_at("property_re", path.key("having"), having)
            .kwarg_opt_at("property_not_re", path.key("lacking"), lacking);
        let settle = scheduler.settle.as_ref().map(crate::config::Duration::as_secs);
        call(class).kwarg("change_filter", filter).kwarg_opt_at(
            "treeStableTimer",
            path.key("settle"),
            settle,
        )
    };
    let on_change = |category: &str| on_change_by("ChangeScheduler", category);
    let call = match &scheduler.on {
        Trigger::AppSource => on_change_by("AppSourceScheduler", APP_SOURCE)
            .kwarg_opt_at(
                "checksPerDay",
                path.key("checks-per-day"),
                scheduler.checks_per_day.map(i64::from),
            )
            .kwarg_at(
                "checkInterval",
                Path::root("apps").key("check-interval"),
                pipeline.apps.check_interval.as_secs(),
            ),
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
            return priority(call, path, scheduler, |number| {
                let field = Call::new("util.IntParameter").kwarg("name", "priority");
                field.kwarg("default", number).kwarg("hide", true)
            })
            .kwarg("properties", parameters(master, path, scheduler));
        }
    };
    let call = priority(call, path, scheduler, Expr::Int);
    let path = path.key("properties");
    let properties = scheduler.properties.iter();
    let properties =
        properties.map(|(name, value)| (name.as_str(), scalar(value).at(path.key(name.as_str()))));
    let properties = (!scheduler.properties.is_empty()).then(|| Expr::dict(properties));
    call.kwarg_opt_at("properties", path.clone(), properties)
}

/// For each property the expression that matches every value; the lack of one is empty to Buildbot.
fn any_value(properties: &[Name]) -> Option<Expr> {
    let pairs = properties.iter().map(|name| (name.as_str(), "."));
    (!properties.is_empty()).then(|| Expr::dict(pairs))
}

/// Sets the priority, where it is not Buildbot's own, as `value` makes it of the number.
fn priority<E: Into<Expr>>(
    call: Call,
    path: &Path,
    scheduler: &Scheduler,
    value: impl Fn(i64) -> E,
) -> Call {
    let number = i64::from(scheduler.priority);
    call.kwarg_opt_at("priority", path.key("priority"), (number != 0).then(|| value(number)))
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
fn parameters(master: &Master, path: &Path, scheduler: &Scheduler) -> Expr {
    let builders: Vec<(&Name, &Builder)> =
        scheduler.builders.iter().filter_map(|name| master.builders.get_key_value(name)).collect();
    let declared: BTreeMap<&Name, &Property> = builders
        .iter()
        .flat_map(|(_, b)| b.properties.iter().filter(|(name, _)| !b.sets(name)))
        .collect();
    Expr::list(declared.into_iter().map(|(name, property)| {
        let required = builders.iter().all(|(_, builder)| builder.needs(name));
        // All that declare it have a say, and the steps that set a property.
        let declared = |call: Call| {
            let given = Expr::from(call).at(path.key("builders"));
            builders.iter().fold(given, |expr, (builder, content)| {
                let setting = content.steps.iter().filter(|step| step.sets.is_some());
                let expr =
                    setting.fold(expr, |expr, step| expr.at(step.origin.key("set-property")));
                let path = Path::root("builders").key(builder.as_str()).key("properties");
                expr.at(path.key(name.as_str()))
            })
        };
        if let Some(value) = scheduler.properties.get(name) {
            let value = scalar(value).at(path.key("properties").key(name.as_str()));
            let call = Call::new("util.FixedParameter").kwarg("name", name.as_str());
            return declared(call.kwarg("default", value));
        }
        let number = matches!(property.r#type, PropertyType::Integer | PropertyType::Seconds);
        // A number that may stay empty is none that `IntParameter` would take.
        let class = if number && required { "util.IntParameter" } else { "util.StringParameter" };
        declared(
            Call::new(class)
                .kwarg("name", name.as_str())
                .kwarg("label", format!("{}:", name.as_str()))
                .kwarg("required", required),
        )
    }))
    .at(path.key("builders"))
}

/// What brings changes, but for the pollers of apps.
pub(super) fn change_sources(pipeline: &Pipeline, name: &Name, master: &Master) -> Vec<Object> {
    let mut sources = Vec::new();
    let origins = super::waiting(master, &Trigger::Fdroiddata);
    if !origins.is_empty() {
        // No application id has a `-`, so this is no app's name.
        let name = "fdroiddata-poller";
        let fdroiddata = &pipeline.fdroiddata;
        let path = Path::root("fdroiddata");
        let branches = Expr::list([fdroiddata.branch.as_str()]);
        let call = Call::new("changes.GitPoller")
            .kwarg("name", name)
            .kwarg_at("repourl", path.key("url"), fdroiddata.url.url().as_str())
            .kwarg_at("branches", path.key("branch"), branches)
            .kwarg("workdir", name)
            .kwarg_at("pollInterval", path.key("poll-interval"), fdroiddata.poll_interval.as_secs())
            .kwarg("category", FDROIDDATA)
            .kwarg("project", FDROIDDATA);
        sources.push(Object { name: name.to_owned(), expr: call.into(), origins });
    }
    if let Some(submit) = &master.settings.submit {
        let path = Path::root("masters").key(name.as_str()).key("submit");
        let password = submit.password.as_ref().map(secret);
        let call = Call::new("SubmitSource")
            .kwarg_at("port", path.key("listen"), endpoint(&submit.listen))
            .kwarg_at("user", path.key("user"), submit.user.as_str())
            .kwarg_opt_at("passwd", path.key("password"), password)
            .kwarg_opt_at(
                "password_file",
                path.key("password-file"),
                submit.password_file.as_deref(),
            );
        sources.push(object(path, "sendchange", call));
    }
    sources
}
