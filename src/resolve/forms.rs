//! What properties may be, and in which order forms ask for them.

use super::context::Context;
use super::properties::mismatch;
use crate::config::{Builder, Name, Path, Scalar};
use crate::finding::Code;

/// The names of a builder's properties, as they stand one after the other. Complains of values
/// that no build can have.
pub(super) fn resolve(context: &mut Context<'_, '_>, name: &Name, builder: &Builder) -> Vec<Name> {
    let path = Path::root("builders").key(name.as_str()).key("properties");
    for (name, property) in &builder.properties {
        let path = path.key(name.as_str());
        let choices = property.choices.iter().enumerate();
        let choices = choices.map(|(i, value)| (path.key("choices").index(i), value));
        let default = property.default.iter().map(|value| (path.key("default"), value));
        for (path, value) in choices.chain(default) {
            if let Some(expected) = mismatch(property.r#type, value) {
                let message = format!("`{}` is not what it is declared to be", name.as_str());
                context.at_value(Code::ConfigType, &path, message, format!("write {expected}"));
            }
        }
        let chosen =
            |value: &Scalar| property.choices.is_empty() || property.choices.contains(value);
        if property.default.as_ref().is_some_and(|value| !chosen(value)) {
            context.at_value(
                Code::ConfigValue,
                &path.key("default"),
                "this is none of the `choices`",
                "write one of them",
            );
        }
        if property.optional && property.default.is_some() {
            context.at_key(
                Code::ConfigValue,
                &path.key("optional"),
                "no build is without a property that has a `default`",
                "delete one of the two",
            );
        }
    }
    let document = context.document;
    let mut order: Vec<Name> = builder.properties.keys().cloned().collect();
    order.sort_by_key(|name| document.key(&path.key(name.as_str())));
    order
}
