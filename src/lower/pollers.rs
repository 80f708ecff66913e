//! The poller of an app. They are short, for there are thousands: what most of them share stands
//! once, in the functions that `pollers.py` gives these names.

use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr, Name};
use crate::config::{Operator, Path, Trigger};
use crate::fdroid::AppId;
use crate::pipeline::{APP_SOURCE, Master, Pipeline};
use crate::resolve::apps::{Poller, Watch};

/// The functions, each a `partial` with what all its calls share; none for a master that polls no
/// apps.
pub(super) fn functions(pipeline: &Pipeline, master: &Master) -> Vec<(Name, Object)> {
    let origins = super::waiting(master, &Trigger::AppSource);
    if origins.is_empty() {
        return Vec::new();
    }
    let interval = pipeline.apps.poll_interval.as_secs();
    let protocols: Vec<&str> = pipeline.remotes.schemes.iter().map(|s| s.as_str()).collect();
    let operator = pipeline.operator.as_ref().map(Operator::as_str);
    let shared = |class: &'static str| {
        Call::new("partial").arg(Expr::name(class)).kwarg("category", APP_SOURCE).kwarg_at(
            "pollInterval",
            Path::root("apps").key("poll-interval"),
            interval,
        )
    };
    let remotes = Path::root("remotes");
    let git = shared("AppGitPoller")
        .kwarg_at("allow_protocol", remotes.key("schemes"), protocols.join(":"))
        .kwarg_opt_at("operator", remotes.key("operator"), operator);
    [("git", git), ("hg", shared("app_hg_poller")), ("svn", shared("app_svn_poller"))]
        .into_iter()
        .map(|(name, call)| {
            let origins = origins.clone();
            let object = Object { name: name.to_owned(), expr: call.into(), origins };
            (Name::from(name), object)
        })
        .collect()
}

/// Where a value of an app's own poller comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollerOrigin {
    /// `Repo` of the app, or of the srclib that it names.
    Repo,
    /// `RepoType` of the same.
    RepoType,
    /// `UpdateCheckMode` of the app.
    UpdateCheckMode,
    /// These keys of the description, by their paths.
    Keys(&'static [&'static str]),
}

/// Where the value that [`poller`] writes as the argument `name` comes from; an empty name is the
/// function itself.
#[must_use]
pub(crate) fn poller_origin(name: &str) -> PollerOrigin {
    match name {
        "" => PollerOrigin::RepoType,
        "repourl" => PollerOrigin::Repo,
        "pollInterval" => PollerOrigin::Keys(&["apps.overrides"]),
        "checkInterval" => PollerOrigin::Keys(&["apps.http-check-interval", "apps.check-interval"]),
        _ => PollerOrigin::UpdateCheckMode,
    }
}

/// The poller of the app `id`. Its interval stands there only where it is not the common one.
#[must_use]
pub fn poller(pipeline: &Pipeline, id: &AppId, poller: &Poller) -> Expr {
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
    call.kwarg_opt("pollInterval", interval).kwarg_opt("checkInterval", check).into()
}
