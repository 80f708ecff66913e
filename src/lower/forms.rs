//! The forms of schedulers that wait for a person.

use super::scalar;
use crate::buildbot::python::{Call, Expr};
use crate::config::{Name, Path, Property, PropertyType, Scalar};
use crate::pipeline::{Builder, Master, Scheduler};
use crate::resolve::SENT_PROPERTIES;

/// The one codebase with nothing to fill in: what is built is told by the properties.
pub(super) fn no_codebase() -> Expr {
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

/// A field for each property of the builders, in the order in which they declare them. One that
/// some of the builders can do without may stay empty; the others' first step then says what they
/// lack. `path` is that of the scheduler.
pub(super) fn parameters(master: &Master, path: &Path, scheduler: &Scheduler) -> Expr {
    let builders: Vec<(&Name, &Builder)> =
        scheduler.builders.iter().filter_map(|name| master.builders.get_key_value(name)).collect();
    let mut fields: Vec<(&Name, &Property, Path)> = Vec::new();
    for (builder, content) in &builders {
        let path = Path::root("builders").key(builder.as_str()).key("properties");
        // Buildbot gives these by the codebase.
        let is_sent = |name: &Name| SENT_PROPERTIES.contains(&name.as_str());
        for name in content.order.iter().filter(|name| !content.sets(name) && !is_sent(name)) {
            if let Some(property) = content.properties.get(name)
                && fields.iter().all(|(known, ..)| *known != name)
            {
                fields.push((name, property, path.key(name.as_str())));
            }
        }
    }
    Expr::list(fields.into_iter().map(|(name, property, declared)| {
        // All that declare it have a say, and the steps that set a property.
        let told = |call: Call| {
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
            return told(call.kwarg("default", value));
        }
        let required = builders.iter().all(|(_, builder)| builder.needs(name));
        told(field(name, property, &declared, required))
    }))
    .at(path.key("builders"))
}

/// A field, empty at first but where there is a default; `path` is that of the property.
fn field(name: &Name, property: &Property, path: &Path, required: bool) -> Call {
    let number = matches!(property.r#type, PropertyType::Integer | PropertyType::Seconds);
    // A number that may stay empty is none that `IntParameter` would take.
    let is_number = number && required && property.choices.is_empty();
    let class = match (property.choices.as_slice(), is_number) {
        ([], true) => "util.IntParameter",
        ([], false) => "util.StringParameter",
        _ => "util.ChoiceStringParameter",
    };
    let label = property.label.clone().unwrap_or_else(|| format!("{}:", name.as_str()));
    // A number is preset to 0 by Buildbot, which nobody means.
    let default = property.default.as_ref().map(text).or(is_number.then(String::new));
    let empty = (!required && property.default.is_none()).then(String::new);
    let choices = Expr::list(empty.into_iter().chain(property.choices.iter().map(text)));
    let choices = (!property.choices.is_empty()).then_some(choices);
    Call::new(class)
        .kwarg("name", name.as_str())
        .kwarg_at("label", path.key("label"), label)
        .kwarg_opt_at("tooltip", path.key("help"), property.help.as_deref())
        .kwarg_opt_at("choices", path.key("choices"), choices)
        .kwarg_opt_at("default", path.key("default"), default)
        .kwarg("required", required)
}

/// A value as forms send it.
fn text(value: &Scalar) -> String {
    match value {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Text(value) => value.clone(),
    }
}
