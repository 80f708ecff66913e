//! Properties of builds: which there are, which are given, and what fits their types.

use std::collections::BTreeSet;

use super::context::Context;
use crate::config::{self, Builder, Name, Path, PropertyType, Scalar, Trigger};
use crate::fdroid::AppId;
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
        Trigger::Submitted(_) | Trigger::Force => true,
        Trigger::AppSource => property.as_str() == PACKAGE_NAME,
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

/// What a property of `type_` would be, if `value` is none: the rules of the runtime's
/// `check_properties.py`.
pub(super) fn mismatch(type_: PropertyType, value: &Scalar) -> Option<&'static str> {
    let hash =
        |text: &str| (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let word = |text: &str| {
        (1..=128).contains(&text.len())
            && !text.starts_with(['.', '-'])
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let branch = |text: &str| {
        text.len() <= 200
            && text.split('/').all(|part| word(part) && part.strip_suffix(".lock").is_none())
            && !text.contains("..")
            && !text.ends_with('.')
    };
    let line = |text: &str| text.chars().count() <= 1_000 && !text.starts_with('-');
    let (fits, expected) = match (type_, value) {
        (PropertyType::Integer, value) => {
            (matches!(value, Scalar::Int(0..)), "a whole number from 0")
        }
        (PropertyType::Seconds, value) => {
            (matches!(value, Scalar::Int(1..=604_800)), "seconds, as a whole number to 604800")
        }
        (PropertyType::AppId, Scalar::Text(text)) => {
            (AppId::new(text).is_some(), "an application id")
        }
        (PropertyType::Commit, Scalar::Text(text)) => {
            (hash(text), "a commit: 7 to 64 hexadecimal digits")
        }
        (PropertyType::Branch, Scalar::Text(text)) => {
            (branch(text), "the name of a branch: words with `/` between them")
        }
        (PropertyType::Word, Scalar::Text(text)) => {
            (word(text), "letters, digits, `.`, `_` and `-`, the first no dot or dash")
        }
        (PropertyType::Text, Scalar::Text(text)) => {
            (line(text), "up to 1000 characters, the first no dash")
        }
        (_, Scalar::Bool(_) | Scalar::Int(_)) => (false, "a text, in quotes"),
    };
    (!fits).then_some(expected)
}
