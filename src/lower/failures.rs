//! The service that tells failures of the infrastructure from those of the source.

use super::object;
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{Duration, Path};
use crate::pipeline::{FailureRule, Failures};

/// The service of a master.
pub(super) fn service(failures: &Failures) -> Object {
    let path = Path::root("failures");
    let repeat = Expr::list(failures.repeat.iter().map(Duration::as_secs));
    let call = Call::new("Failures")
        .arg(repeat.at(path.key("repeat")))
        .kwarg_at("infrastructure", path.key("infrastructure"), rules(&failures.infrastructure))
        .kwarg_at("source", path.key("source"), rules(&failures.source));
    object(path, "failures", call)
}

fn rules(rules: &[FailureRule]) -> Expr {
    Expr::list(rules.iter().map(|rule| {
        let steps =
            (!rule.steps.is_empty()).then(|| Expr::list(rule.steps.iter().map(String::as_str)));
        Call::new("FailureRule")
            .arg(rule.words.as_str())
            .arg(Expr::from(rule.pattern.as_str()).at(rule.path.key("pattern")))
            .kwarg_opt_at("steps", rule.path.key("steps"), steps)
            .at(rule.path.clone())
    }))
}
