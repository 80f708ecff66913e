//! The poller of an app. They are short, for there are thousands: what most of them share stands
//! once, in the functions that `pollers.py` gives these names.

use super::object;
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr, Name};
use crate::config::Operator;
use crate::fdroid::AppId;
use crate::pipeline::{APP_SOURCE, Pipeline};
use crate::resolve::apps::{Poller, Watch};

/// The poller of the app `id`. Its interval stands there only where it is not the common one.
#[must_use]
pub fn poller(pipeline: &Pipeline, id: &AppId, poller: &Poller) -> Object {
    let common = pipeline.apps.poll_interval.as_secs();
    let call = |function| Call::new(function).arg(id.as_str()).arg(poller.url.as_str());
    let call = match &poller.watch {
        Watch::GitTags { tags } => call("git").kwarg("tags", tags.as_str()),
        Watch::GitTagsAndHead => call("git").kwarg("tags", "").kwarg("head", true),
        Watch::GitBranch { branch } => call("git").kwarg_opt("branch", branch.as_deref()),
        Watch::Hg { branch } => call("hg").kwarg_opt("branch", branch.as_deref()),
        Watch::Svn => call("svn"),
    };
    let interval = (poller.interval != common).then_some(poller.interval);
    let usual = pipeline.apps.check_interval.as_secs();
    let check = (poller.check_interval != usual).then_some(poller.check_interval);
    let call = call.kwarg_opt("pollInterval", interval).kwarg_opt("checkInterval", check);
    object(id.as_str(), call)
}

/// The functions that `pollers.py` calls for each app, with what all its calls share.
pub(super) fn functions(pipeline: &Pipeline) -> Vec<(Name, Expr)> {
    let interval = pipeline.apps.poll_interval.as_secs();
    let protocols: Vec<&str> = pipeline.remotes.schemes.iter().map(|s| s.as_str()).collect();
    let shared = |class: &'static str| {
        Call::new("partial")
            .arg(Expr::name(class))
            .kwarg("category", APP_SOURCE)
            .kwarg("pollInterval", interval)
    };
    let operator = pipeline.operator.as_ref().map(Operator::as_str);
    let git = shared("AppGitPoller")
        .kwarg("allow_protocol", protocols.join(":"))
        .kwarg_opt("operator", operator);
    [("git", git), ("hg", shared("app_hg_poller")), ("svn", shared("app_svn_poller"))]
        .into_iter()
        .map(|(name, call)| (Name::from(name), call.into()))
        .collect()
}
