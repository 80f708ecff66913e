//! The rules by which failures are told apart: their patterns and the steps they name.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use crate::config::{self, Name, Path};
use crate::finding::Code;
use crate::pattern::to_re2;
use crate::pipeline::{FailureRule, Failures, Master};
use crate::text::shown;

/// The rules, with their patterns written for RE2.
pub(super) fn resolve(
    context: &mut Context<'_, '_>,
    masters: &BTreeMap<Name, Master>,
) -> Option<Failures> {
    let failures = context.config.failures.as_ref()?;
    let builders = masters.values().flat_map(|master| master.builders.values());
    let steps = builders.flat_map(|builder| &builder.steps);
    let steps: BTreeSet<&str> = steps.map(|step| step.name.as_str()).collect();
    let mut rules = |kind: &str, rules: &BTreeMap<Name, config::FailureRule>| {
        let path = Path::root("failures").key(kind);
        let rules = rules.iter();
        rules.map(|(name, rule)| check(context, &path, name, rule, &steps)).collect()
    };
    Some(Failures {
        repeat: failures.repeat.clone(),
        infrastructure: rules("infrastructure", &failures.infrastructure),
        source: rules("source", &failures.source),
    })
}

fn check(
    context: &mut Context<'_, '_>,
    path: &Path,
    name: &Name,
    rule: &config::FailureRule,
    steps: &BTreeSet<&str>,
) -> FailureRule {
    let path = path.key(name.as_str());
    for (i, step) in rule.steps.iter().enumerate() {
        if !steps.contains(step.as_str()) {
            let path = path.key("steps").index(i);
            context.unknown(&path, false, "step", step, steps.iter().copied());
        }
    }
    let pattern = to_re2(&rule.pattern).unwrap_or_else(|why| {
        let message = format!("the pattern `{}` {why}", shown(&rule.pattern));
        let help = "write one that can be matched in linear time, as for RE2";
        context.at_value(Code::ConfigValue, &path.key("pattern"), message, help);
        String::new()
    });
    let words = name.as_str().replace('-', " ");
    FailureRule { path, words, pattern, steps: rule.steps.clone() }
}
