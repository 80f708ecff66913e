//! Schedulers, and the change sources they wait for.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::endpoint;
use super::{forms, names, object, scalar, secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{
    AbsoluteFile, Branch, ChangeProperty, Duration, FilePattern, Name, Path, Trigger,
};
use crate::pipeline::{APP_SOURCE, FDROIDDATA, Master, Pipeline, Scheduler};

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
        let (with, without) = (&scheduler.with_properties, &scheduler.without_properties);
        let filter = Call::new("util.ChangeFilter")
            .kwarg_opt_at("filter_fn", path.key("files"), changed_files(scheduler))
            .kwarg("category", category)
            .kwarg_opt_at("branch", path.key("branches"), branches(pipeline, master, scheduler))
            .kwarg_opt_at("property_eq", path.key("with-properties"), one_value(with))
            .kwarg_opt_at("property_re", path.key("with-properties"), any_value(with))
            .kwarg_opt_at("property_not_eq", path.key("without-properties"), one_value(without))
            .kwarg_opt_at("property_not_re", path.key("without-properties"), any_value(without));
        let quiet_time = scheduler.quiet_time.as_ref().map(Duration::as_secs);
        call(class).kwarg("change_filter", filter).kwarg_opt_at(
            "treeStableTimer",
            path.key("quiet-time"),
            quiet_time,
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
        Trigger::Weekly(weekly) => {
            let (hour, minute) = weekly.at.hour_and_minute();
            let days: BTreeSet<i64> = weekly.days.iter().map(|day| day.number()).collect();
            let path = path.key("on").key("weekly");
            call("Daily")
                .kwarg_at("hour", path.key("at"), i64::from(hour))
                .kwarg_at("minute", path.key("at"), i64::from(minute))
                .kwarg_at("dayOfWeek", path.key("days"), Expr::list(days))
        }
        Trigger::Every(interval) => {
            call("schedulers.Periodic").kwarg("periodicBuildTimer", interval.as_secs())
        }
        Trigger::After(_) | Trigger::AfterFailure(_) => match &scheduler.quiet_time {
            None => call("schedulers.Triggerable"),
            Some(quiet_time) => call("QuietTriggerable")
                .kwarg_at("quietTime", path.key("quiet-time"), quiet_time.as_secs())
                .kwarg_opt_at(
                    "maxWait",
                    path.key("max-wait"),
                    scheduler.max_wait.as_ref().map(Duration::as_secs),
                ),
        },
        Trigger::Force => {
            let call = call("schedulers.ForceScheduler").kwarg("codebases", forms::no_codebase());
            return priority(call, path, scheduler, |number| {
                let field = Call::new("util.IntParameter").kwarg("name", "priority");
                field.kwarg("default", number).kwarg("hide", true)
            })
            .kwarg("properties", forms::parameters(master, path, scheduler));
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

/// The files of which one must have changed.
fn changed_files(scheduler: &Scheduler) -> Option<Call> {
    let patterns = scheduler.files.iter().map(FilePattern::as_str);
    (!scheduler.files.is_empty()).then(|| Call::new("ChangedFiles").arg(Expr::list(patterns)))
}

/// The branches that a scheduler looks at, where the poller looks at others too.
fn branches(pipeline: &Pipeline, master: &Master, scheduler: &Scheduler) -> Option<Expr> {
    let polled = polled_branches(pipeline, master);
    let wanted = match scheduler.branches.as_slice() {
        [] => vec![&pipeline.fdroiddata.branch],
        branches => branches.iter().collect(),
    };
    let all = scheduler.on != Trigger::Fdroiddata || wanted.len() == polled.len();
    (!all).then(|| Expr::list(wanted.into_iter().map(Branch::as_str)))
}

/// The branches of fdroiddata that schedulers look at, with the keys that say so.
fn polled_branches<'a>(pipeline: &'a Pipeline, master: &'a Master) -> BTreeMap<&'a Branch, Path> {
    let schedulers = master.schedulers.iter().filter(|(_, s)| s.on == Trigger::Fdroiddata);
    schedulers
        .flat_map(|(name, scheduler)| {
            let own = Path::root("schedulers").key(name.as_str()).key("branches");
            let usual = Path::root("fdroiddata").key("branch");
            let (branches, path) = match scheduler.branches.as_slice() {
                [] => (std::slice::from_ref(&pipeline.fdroiddata.branch), usual),
                branches => (branches, own),
            };
            branches.iter().map(move |branch| (branch, path.clone()))
        })
        .collect()
}

/// For each property the expression that matches every value; the lack of one is empty to Buildbot.
fn any_value(properties: &[ChangeProperty]) -> Option<Expr> {
    let of_any = properties.iter().filter(|property| property.value().is_none());
    let pairs: BTreeMap<&str, _> = of_any.map(|property| (property.name().as_str(), ".")).collect();
    (!pairs.is_empty()).then(|| Expr::dict(pairs))
}

/// The properties that must have one value, each with that.
fn one_value(properties: &[ChangeProperty]) -> Option<Expr> {
    let values = properties.iter().filter_map(|p| Some((p.name().as_str(), p.value()?)));
    let pairs: BTreeMap<&str, String> = values.collect();
    (!pairs.is_empty()).then(|| Expr::dict(pairs))
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

/// What brings changes, but for the pollers of apps.
pub(super) fn change_sources(pipeline: &Pipeline, name: &Name, master: &Master) -> Vec<Object> {
    let mut sources = Vec::new();
    let origins = super::waiting(master, &Trigger::Fdroiddata);
    if !origins.is_empty() {
        // No application id has a `-`, so this is no app's name.
        let name = "fdroiddata-poller";
        let fdroiddata = &pipeline.fdroiddata;
        let path = Path::root("fdroiddata");
        let branches = polled_branches(pipeline, master).into_iter();
        let branches = branches.map(|(branch, origin)| Expr::from(branch.as_str()).at(origin));
        let branches = Expr::List(branches.collect());
        let call = Call::new("changes.GitPoller")
            .kwarg("name", name)
            .kwarg_at("repourl", path.key("url"), fdroiddata.url.url().as_str())
            .kwarg("branches", branches)
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
                submit.password_file.as_ref().map(AbsoluteFile::as_str),
            );
        sources.push(object(path, "sendchange", call));
    }
    sources
}
