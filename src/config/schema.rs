//! The schema of a description, and the one that editors get for each of its files.

use serde_json::{Map, Value, json};

use super::merge::DIRECTIVES;
use super::types::Config;

/// The JSON schema of a whole description, once its files are merged and every value stands in the
/// place of its name.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    without_controls(&mut schema);
    schema
}

/// Texts of no other rule hold no control characters, as `shape` has it.
fn without_controls(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let is_text = match members.get("type") {
                Some(Value::Array(types)) => types.iter().any(|of| of == "string"),
                of => of.is_some_and(|of| of == "string"),
            };
            let has_rule =
                ["pattern", "enum", "const"].iter().any(|rule| members.contains_key(*rule));
            if is_text && !has_rule {
                let rule = r"^[^\u0000-\u001f\u007f-\u009f]*$";
                members.insert("pattern".to_owned(), Value::String(rule.to_owned()));
            }
            members.values_mut().for_each(without_controls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_controls),
        _ => {}
    }
}

/// The JSON schema of one file, as `schema/fdroid-bb.schema.json` holds it: that of the whole, but
/// any key may be in another file, every value may be one of `values`, and what is for merging
/// files may stand at the top.
#[must_use]
pub fn editor_schema() -> Value {
    let mut schema = schema();
    let mut root = schema.as_object_mut();
    if let Some(root) = &mut root {
        for definition in root.get_mut("$defs").and_then(Value::as_object_mut).into_iter().flatten()
        {
            loosen(definition.1);
        }
        loosen_members(root);
        if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
            for name in DIRECTIVES {
                properties.insert((*name).to_owned(), directive(name));
            }
        }
        if let Some(definitions) = root.get_mut("$defs").and_then(Value::as_object_mut) {
            definitions.insert("ValueName".to_owned(), value_name());
        }
    }
    schema
}

fn directive(name: &str) -> Value {
    match name {
        "base" => json!({
            "description": "The description below this file: the name of one that is part of \
                            fdroid-bb (`f-droid`), or the path of a file, relative to this one.",
            "type": "string",
            "minLength": 1,
        }),
        _ => json!({
            "description": "What of the files below this one is not there, as in \
                            `builders.verify`.",
            "type": "array",
            "items": { "type": "string", "minLength": 1 },
        }),
    }
}

fn value_name() -> Value {
    json!({
        "description": "The value of this name in `values`.",
        "type": "object",
        "properties": { "value": { "$ref": "#/$defs/Name" } },
        "required": ["value"],
        "additionalProperties": false,
    })
}

/// Loosens a schema and all in it.
fn loosen(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    loosen_members(schema);
    for key in ["oneOf", "anyOf"] {
        for branch in schema.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            loosen(branch);
        }
    }
}

fn loosen_members(schema: &mut Map<String, Value>) {
    // The one key that tells which of several shapes a table has cannot be in another file.
    let tells = schema.get("properties").and_then(Value::as_object).is_some_and(|p| p.len() == 1);
    if !tells {
        schema.remove("required");
    }
    for key in ["properties", "patternProperties"] {
        for (_, member) in schema.get_mut(key).and_then(Value::as_object_mut).into_iter().flatten()
        {
            loosen(member);
            referable(member);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(member) = schema.get_mut(key).filter(|member| member.is_object()) {
            loosen(member);
            referable(member);
        }
    }
}

/// Lets the name of a value stand in the place of one.
fn referable(schema: &mut Value) {
    let inner = schema.take();
    let description = inner.get("description").cloned();
    let mut outer = json!({ "anyOf": [inner, { "$ref": "#/$defs/ValueName" }] });
    if let (Some(description), Some(outer)) = (description, outer.as_object_mut()) {
        outer.insert("description".to_owned(), description);
    }
    *schema = outer;
}
