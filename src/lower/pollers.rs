//! The poller of an app. They are short, for there are thousands: what most of them share stands
//! once, in the functions that `pollers.py` gives these names.

use super::object;
use crate::buildbot::Object;
use crate::buildbot::python::Call;
use crate::fdroid::AppId;
use crate::pipeline::Pipeline;
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
