//! Properties of builds: which there are, which are given, and what fits their types.

use std::collections::BTreeSet;

use super::context::Context;
use crate::config::{self, Builder, Name, Path, PropertyType, Scalar, Trigger};
use crate::finding::Code;

/// The property that every change in an app's source carries.
pub(crate) const PACKAGE_NAME: &str = "packageName";

/// Properties that Buildbot itself gives to every build
/// (<https://docs.buildbot.net/current/manual/configuration/properties.html>).
pub(super) const BUILDBOT_PROPERTIES: &[&str] = &[
    "branch",
    "buildername",
    "buildnumber",
    "builddir",
    "got_revision",
    "project",
    "revision",
    "workername",
];

/// Those of them that whoever sends a change has written, or who makes a tag: a builder that uses
/// one declares of which type it must be.
pub(crate) const SENT_PROPERTIES: &[&str] = &["branch", "project", "revision"];

/// The type that such a property has at its best.
pub(super) fn usual_type(sent: &str) -> &'static str {
    match sent {
        "project" => "app-id",
        "revision" => "commit",
        _ => "branch",
    }
}

/// Complains of a property that the builder does not declare, or not as of `type_`.
pub(super) fn check_property(
    context: &mut Context<'_, '_>,
    path: &Path,
    builder: &Builder,
    name: &Name,
    type_: Option<PropertyType>,
) {
    match (builder.properties.get(name), type_) {
        (None, _) => {
            let known = builder.properties.keys().map(Name::as_str);
            context.unknown(path, false, "property", name.as_str(), known);
        }
        (Some(property), Some(type_)) if property.r#type != type_ => context.at_value(
            Code::ConfigType,
            path,
            format!("the property `{}` is of another type", name.as_str()),
            format!("declare it with `type = \"{}\"`", type_.as_str()),
        ),
        _ => {}
    }
}

/// Whether each build that a scheduler starts has the properties its builder needs, and each
/// property it gives is one that its builders know.
pub(super) fn check_given(
    context: &mut Context<'_, '_>,
    name: &Name,
    scheduler: &config::Scheduler,
) {
    let path = Path::root("schedulers").key(name.as_str());
    let config = context.config;
    let builders: Vec<_> = scheduler
        .builders
        .iter()
        .enumerate()
        .filter_map(|(i, name)| Some((i, name, config.builders.get(name)?)))
        .collect();
    for (property, value) in &scheduler.properties {
        let known: Vec<_> = builders.iter().flat_map(|(_, _, b)| &b.properties).collect();
        let path = path.key("properties").key(property.as_str());
        let mut declared = known.iter().filter(|(name, _)| *name == property).peekable();
        if declared.peek().is_none() {
            let names: BTreeSet<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            context.unknown(&path, true, "property", property.as_str(), names);
        } else if let Some(expected) = declared.find_map(|(_, p)| refusal(p, value)) {
            context.at_value(
                Code::ConfigType,
                &path,
                format!("`{}` is not what its builder declares", property.as_str()),
                format!("write {expected}"),
            );
        }
    }
    let comes = |property: &Name| match scheduler.on {
        Trigger::Submitted(_) => true,
        // Forms have no field for what a source stamp brings.
        Trigger::Force => !SENT_PROPERTIES.contains(&property.as_str()),
        Trigger::AppSource => {
            property.as_str() == PACKAGE_NAME || SENT_PROPERTIES.contains(&property.as_str())
        }
        // One build for many has the properties of none.
        _ if scheduler.quiet_time.is_some() && scheduler.on.upstream().is_some() => false,
        Trigger::After(ref builder) | Trigger::AfterFailure(ref builder) => config
            .builders
            .get(builder)
            .is_some_and(|b| b.properties.get(property).is_some_and(|p| !p.optional)),
        Trigger::Fdroiddata | Trigger::Daily(_) | Trigger::Weekly(_) | Trigger::Every(_) => false,
    };
    for (i, name, builder) in builders {
        for (property, declared) in &builder.properties {
            let set_by_step = |step: &config::Step| step.set_property.as_ref() == Some(property);
            if !declared.optional
                && declared.default.is_none()
                && !builder.steps.iter().any(set_by_step)
                && !scheduler.properties.contains_key(property)
                && !comes(property)
            {
                let property = property.as_str();
                context.at_value(
                    Code::PropertyMissing,
                    &path.key("builders").index(i),
                    format!(
                        "each of these builds would fail: `{}` needs the property `{property}`, \
                         which this trigger does not bring",
                        name.as_str()
                    ),
                    format!(
                        "give `{property}` in `properties`, or make it optional in the builder"
                    ),
                );
            }
        }
    }
}

/// What a property would be, if `value` is none that it may have.
fn refusal(property: &config::Property, value: &Scalar) -> Option<&'static str> {
    let chosen = property.choices.is_empty() || property.choices.contains(value);
    mismatch(property.r#type, value).or((!chosen).then_some("one of its `choices`"))
}

/// Complains of a condition that never holds.
pub(super) fn check_condition(
    context: &mut Context<'_, '_>,
    path: &Path,
    declared: &config::Property,
    condition: &config::Condition,
) {
    let expected = condition.is.as_ref().and_then(|value| mismatch(declared.r#type, value));
    if let Some(expected) = expected {
        context.at_value(
            Code::ConfigType,
            &path.key("is"),
            format!("`{}` never has this value", condition.property.as_str()),
            format!("write {expected}"),
        );
    }
}

/// What a property of `type_` would be, if `value` is none that it may have. A number is written
/// as one.
pub(super) fn mismatch(type_: PropertyType, value: &Scalar) -> Option<&'static str> {
    let rule = type_.rule();
    match value {
        Scalar::Text(_) if rule.is_number() => Some(&rule.means),
        Scalar::Bool(_) | Scalar::Int(_) if !rule.is_number() => Some("a text, in quotes"),
        value => (!rule.accepts(value)).then_some(&rule.means),
    }
}
