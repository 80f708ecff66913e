//! From the expression that makes an object to its fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Field, Object};
use crate::buildbot;
use crate::buildbot::python::{Call, Expr};
use crate::config::Path;

/// The object with its fields.
pub(super) fn object(object: &buildbot::Object) -> Object {
    let origins: Vec<String> = object.origins.iter().map(ToString::to_string).collect();
    let mut fields = BTreeMap::new();
    flatten("", &object.expr, &origins, &mut fields);
    // It is known by it already.
    fields.remove("name");
    Object { origins, fields }
}

/// The keys that `expr` says it follows from, or else those of what it is part of.
fn origins_of(expr: &Expr, outer: &[String]) -> Vec<String> {
    let own = texts(expr.origins());
    if own.is_empty() { outer.to_vec() } else { own }
}

/// Paths from the outermost to the innermost, which is the most specific and comes first.
fn texts<'p>(paths: impl Iterator<Item = &'p Path>) -> Vec<String> {
    let mut texts: Vec<String> = paths.map(ToString::to_string).collect();
    texts.reverse();
    texts
}

/// Classes whose call is a value like any other.
const VALUES: &[&str] = &["Path", "str", "util.Interpolate", "util.Property", "util.Secret"];

/// Whether a call is a value like any other; so is the use of a lock.
fn is_value(call: &Call) -> bool {
    VALUES.contains(&call.function()) || call.function().ends_with("_lock.access")
}

/// The names of the positional arguments of a class, as far as this program uses them.
fn positional(class: &str) -> &'static [&'static str] {
    match class {
        "AppFactory" | "util.BuildFactory" => &["steps"],
        "CheckProperties" => &["properties"],
        "Live" => &["file"],
        "Output" => &["folder"],
        // What it is a part of.
        "partial" => &[""],
        "PropertyIs" => &["property", "is"],
        "Retry" => &["times", "pause"],
        "SetProperty" => &["name", "type"],
        "util.CodebaseParameter" => &["codebase"],
        _ => &["name", "password"],
    }
}

/// Adds to `fields` the values of `expr`, which stands at `way`.
fn flatten(way: &str, expr: &Expr, outer: &[String], fields: &mut BTreeMap<String, Field>) {
    let origins = origins_of(expr, outer);
    let deeper = |name: &str| {
        if way.is_empty() { name.to_owned() } else { format!("{way}.{name}") }
    };
    match expr.plain() {
        Expr::Call(call) if !is_value(call) => {
            let value = json!({ "python": call.function() });
            fields.insert(way.to_owned(), Field { value, origins: origins.clone() });
            let names = positional(call.function());
            for (i, value) in call.args().iter().enumerate() {
                let number = i.to_string();
                let name = names.get(i).copied().unwrap_or(&number);
                flatten(&deeper(name), value, &origins, fields);
            }
            for (name, value) in call.kwargs() {
                // Of a builder, the steps are what it does: they need no longer way.
                let name = name.as_str();
                let way = if name == "factory" { way.to_owned() } else { deeper(name) };
                flatten(&way, value, &origins, fields);
            }
        }
        Expr::Dict(items) if !items.is_empty() => {
            for (key, value) in items {
                let key = match key.plain() {
                    Expr::Str(text) => text.clone(),
                    other => other.one_line(),
                };
                flatten(&deeper(&key), value, &origins, fields);
            }
        }
        Expr::List(items) if items.iter().any(|item| label(item).is_some()) => {
            let mut labels: Vec<String> = Vec::with_capacity(items.len());
            for item in items {
                let plain = label(item).unwrap_or_default();
                let same = labels.iter().filter(|l| l.split('#').next() == Some(plain)).count();
                let name = match same {
                    0 => plain.to_owned(),
                    _ => format!("{plain}#{}", same + 1),
                };
                flatten(&format!("{way}[{name}]"), item, &origins, fields);
                labels.push(name);
            }
            fields.insert(format!("{way}[]"), Field { value: json!(labels), origins });
        }
        plain => {
            let mut origins = origins;
            let value = value(plain, &mut origins);
            let mut seen = BTreeSet::new();
            origins.retain(|origin| seen.insert(origin.clone()));
            fields.insert(way.to_owned(), Field { value, origins });
        }
    }
}

/// What a call in a list is known by: its `name`, else its class.
fn label(item: &Expr) -> Option<&str> {
    let Expr::Call(call) = item.plain() else { return None };
    if is_value(call) {
        return None;
    }
    let name = call.kwargs().find(|(name, _)| name.as_str() == "name").map(|(_, value)| value);
    match name.map(Expr::plain) {
        Some(Expr::Str(name)) => Some(name),
        _ => Some(call.function()),
    }
}

/// A value as JSON, with the keys that parts of it follow from.
fn value(expr: &Expr, more: &mut Vec<String>) -> Value {
    more.extend(texts(expr.origins()));
    match expr.plain() {
        Expr::Str(text) => json!(text),
        Expr::Int(number) => json!(number),
        Expr::Bool(value) => json!(value),
        Expr::None => Value::Null,
        Expr::List(items) | Expr::Tuple(items) => {
            items.iter().map(|item| value(item, more)).collect()
        }
        other => json!({ "python": other.one_line() }),
    }
}
