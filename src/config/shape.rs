//! Judges a TOML file against the generated schema: every key and every value, all findings at
//! once, each at its place and with the nearest known name. The schema is the one editors get, so
//! the two cannot disagree.

use std::collections::HashSet;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Document, MOST_FINDINGS};
use super::{tree, values};
use crate::finding::{Code, Finding, Place};
use crate::text::{list, nearest, shown};

/// What stands at the start of secrets that well-known services hand out.
const SECRET_STARTS: &[&str] = &["glpat-", "ghp_", "github_pat_", "-----BEGIN"];

/// Names of environment variables that hold secrets, by their ends.
const SECRET_ENDS: &[&str] = &["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "_KEY"];

/// Everything in `document` that `schema` does not allow, in the order of the file.
pub(super) fn check(document: &Document<'_>, schema: &Value) -> Vec<Finding> {
    let defs = schema.get("$defs").and_then(Value::as_object);
    let mut shape = Shape { document, defs, findings: Vec::new() };
    shape.value(schema, document.root(), "the file");
    shape.findings.sort_by(|a, b| a.place.cmp(&b.place));
    shape.findings
}

struct Shape<'a, 't> {
    document: &'a Document<'t>,
    defs: Option<&'a Map<String, Value>>,
    findings: Vec<Finding>,
}

impl<'a, 't> Shape<'a, 't> {
    /// Checks one value; `what` names it in messages.
    fn value(&mut self, schema: &'a Value, value: &Spanned<DeValue<'t>>, what: &str) {
        if self.findings.len() >= MOST_FINDINGS {
            return;
        }
        if self.resolve(schema) == &Value::Bool(true) {
            return self.anything(value, what);
        }
        let is_secret = matches!(reference(schema), Some("Secret" | "Credentials"));
        let schema = self.resolve(schema);
        let literal = match value.get_ref() {
            DeValue::Table(table) => is_secret && !self.names_secret(schema, table),
            DeValue::String(text) => is_secret || holds_token(text),
            _ => is_secret,
        };
        if literal {
            return self.secret(value, what);
        }
        if tree::reference(value).is_some() {
            // There is no value of that name, which was said.
            return;
        }
        let branches: Vec<&'a Value> = ["oneOf", "anyOf"]
            .iter()
            .filter_map(|key| schema.get(key)?.as_array())
            .flatten()
            .filter(|branch| branch.get("type").and_then(Value::as_str) != Some("null"))
            .collect();
        match (branches.as_slice(), value.get_ref()) {
            ([], DeValue::Table(_)) if allows(schema, "object") => self.table(schema, value, what),
            ([], DeValue::Array(items)) if allows(schema, "array") => {
                self.array(schema, value, items, what);
            }
            ([], DeValue::String(text)) if allows(schema, "string") => {
                self.string(schema, value, text, what);
            }
            ([], DeValue::Integer(number)) if allows(schema, "integer") => {
                self.integer(schema, value, number, what);
            }
            ([], DeValue::Boolean(_)) if allows(schema, "boolean") => {}
            ([], _) => self.wrong_type(schema, value, what),
            ([only], _) => self.value(only, value, what),
            (branches, _) => self.choice(branches, value, what),
        }
    }

    /// Looks for secrets in a value whose shape is judged elsewhere.
    fn anything(&mut self, value: &Spanned<DeValue<'t>>, what: &str) {
        match value.get_ref() {
            DeValue::String(text) if holds_token(text) => self.secret(value, what),
            DeValue::Array(items) => items.iter().for_each(|item| self.anything(item, what)),
            DeValue::Table(table) => {
                table.iter().for_each(|(_, inner)| self.anything(inner, what));
            }
            _ => {}
        }
    }

    /// Checks a value that may have one of several shapes.
    fn choice(&mut self, branches: &[&'a Value], value: &Spanned<DeValue<'t>>, what: &str) {
        // A shape may itself be one of several words.
        let inner = |branch: &'a Value| branch.get("oneOf").and_then(Value::as_array);
        let branches: Vec<&'a Value> = branches
            .iter()
            .map(|branch| self.resolve(branch))
            .flat_map(|branch| inner(branch).map_or(vec![branch], |words| words.iter().collect()))
            .collect();
        let words: Vec<&str> = branches.iter().flat_map(|b| words(b)).collect();
        match value.get_ref() {
            DeValue::String(text) if !words.is_empty() => {
                if !words.contains(&text.as_ref()) {
                    let keys: Vec<&str> = branches.iter().filter_map(|b| only_key(b)).collect();
                    let message = format!("`{}` is not known as {what}", shown(text));
                    let help = match (nearest(text, &words), nearest(text, &keys)) {
                        (Some(near), _) => format!("did you mean `{near}`?"),
                        (None, Some(near)) => format!("did you mean `{{ {near} = … }}`?"),
                        (None, None) if keys.is_empty() => format!("write one of {}", list(&words)),
                        (None, None) => {
                            format!("write one of {}, or a table of {}", list(&words), list(&keys))
                        }
                    };
                    self.add(Code::ConfigValue, self.place(value), message, help);
                }
            }
            DeValue::Table(table) => {
                // A table of one key that tells the shape, or the only shape that is a table.
                let keys: Vec<&str> = branches.iter().filter_map(|b| only_key(b)).collect();
                let tables: Vec<_> = branches.iter().filter(|b| allows(b, "object")).collect();
                let told = table.keys().find_map(|key| {
                    branches.iter().find(|b| only_key(b) == Some(key.get_ref().as_ref()))
                });
                match (told, tables.as_slice()) {
                    (Some(branch), _) => self.table(branch, value, what),
                    (None, [only]) => self.table(only, value, what),
                    (None, []) => self.not_one_of(&branches, value, what),
                    (None, _) => {
                        self.unknown_shape(table, value, &keys, what);
                    }
                }
            }
            other => {
                let type_ = type_of(other);
                match branches.iter().find(|b| b.get("type").and_then(Value::as_str) == Some(type_))
                {
                    Some(branch) => self.value(branch, value, what),
                    None => self.not_one_of(&branches, value, what),
                }
            }
        }
    }

    /// A table of none of the keys that tell its shape.
    fn unknown_shape(
        &mut self,
        table: &DeTable<'t>,
        value: &Spanned<DeValue<'t>>,
        keys: &[&str],
        what: &str,
    ) {
        let Some(key) = table.keys().next() else {
            let help = format!("write one of {}", list(keys));
            let message = format!("{what} is empty");
            return self.add(Code::ConfigMissingKey, self.place(value), message, help);
        };
        let message = format!("`{}` is no key of {what}", shown(key.get_ref()));
        let help = match nearest(key.get_ref(), keys) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {}", list(keys)),
        };
        let place = self.document.place_of(key.span());
        self.add(Code::ConfigUnknownKey, place, message, help);
    }

    /// Whether a table where a secret is due is one of the name of a secret, mistyped at most.
    fn names_secret(&self, schema: &Value, table: &DeTable<'_>) -> bool {
        let properties = schema.get("properties").and_then(Value::as_object);
        let known: Vec<&str> =
            properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        table.iter().all(|(key, value)| {
            let format = properties
                .and_then(|p| self.resolve(p.get(nearest(key.get_ref(), &known)?)?).get("format"));
            match (format.and_then(Value::as_str), value.get_ref()) {
                (Some(format), DeValue::String(name)) => values::check_format(format, name).is_ok(),
                _ => false,
            }
        })
    }

    fn table(&mut self, schema: &'a Value, value: &Spanned<DeValue<'t>>, what: &str) {
        let DeValue::Table(table) = value.get_ref() else {
            return self.wrong_type(schema, value, what);
        };
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let known: Vec<&str> = properties.unwrap_or(&none).keys().map(String::as_str).collect();
        // A map with names as keys: every value has the same schema.
        let named = schema
            .get("patternProperties")
            .and_then(Value::as_object)
            .and_then(|patterns| patterns.values().next())
            .or_else(|| schema.get("additionalProperties").filter(|s| s.is_object()));
        for (key, inner) in table {
            let name = key.get_ref().as_ref();
            if let Some(schema) = properties.and_then(|p| p.get(name)) {
                self.value(schema, inner, &format!("`{name}`"));
            } else if let Some(schema) = named {
                let is_env = what == "`env`";
                let format = match what {
                    "`env`" => "variable name",
                    "`options`" => "Vagrant name",
                    _ => "name",
                };
                if let Err(expected) = values::check_format(format, name) {
                    let message = format!("`{}` cannot be a name", shown(name));
                    let place = self.document.place_of(key.span());
                    self.add(Code::ConfigValue, place, message, format!("write {expected}"));
                }
                let upper = name.to_ascii_uppercase();
                if is_env
                    && matches!(inner.get_ref(), DeValue::String(_))
                    && SECRET_ENDS.iter().any(|end| upper.ends_with(end))
                {
                    self.secret(inner, &format!("`{}`", shown(name)));
                    continue;
                }
                self.value(schema, inner, &format!("`{}`", shown(name)));
            } else {
                let message = format!("`{}` is no key of {what}", shown(name));
                let place = self.document.place_of(key.span());
                let help = match nearest(name, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => "it has no keys: delete this one".to_owned(),
                    None => format!("its keys are {}", list(&known)),
                };
                self.add(Code::ConfigUnknownKey, place, message, help);
            }
        }
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let key = key.as_str().unwrap_or_default();
            if !table.contains_key(key) {
                let help = properties
                    .and_then(|p| p.get(key))
                    .map_or(String::new(), |schema| self.describe(schema));
                let message = format!("{what} lacks `{key}`");
                let place = self.place(value);
                self.add(Code::ConfigMissingKey, place, message, format!("add `{key}`{help}"));
            }
        }
    }

    fn array(
        &mut self,
        schema: &'a Value,
        value: &Spanned<DeValue<'t>>,
        items: &[Spanned<DeValue<'t>>],
        what: &str,
    ) {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or_default();
        if (items.len() as u64) < least {
            let place = self.place(value);
            let message = format!("{what} is empty");
            self.add(Code::ConfigValue, place, message, "name at least one");
        }
        if let Some(most) = schema.get("maxItems").and_then(Value::as_u64)
            && items.len() as u64 > most
        {
            let message = format!("{what} has {} values", items.len());
            self.add(Code::ConfigValue, self.place(value), message, format!("give {most} at most"));
        }
        let Some(schema) = schema.get("items") else {
            return;
        };
        // Names and words, of which a second one says nothing; arguments of commands are plain, and
        // pauses may be alike.
        let is_set = reference(schema).is_some_and(|name| name != "Duration");
        let mut seen = HashSet::new();
        for item in items {
            if self.findings.len() >= MOST_FINDINGS {
                return;
            }
            self.value(schema, item, what);
            if let DeValue::String(text) = item.get_ref()
                && is_set
                && !seen.insert(text.as_ref())
            {
                let message = format!("{what} names `{}` twice", shown(text));
                self.add(Code::Duplicate, self.place(item), message, "delete one of them");
            }
        }
    }

    fn string(&mut self, schema: &'a Value, value: &Spanned<DeValue<'t>>, text: &str, what: &str) {
        let words: Vec<&str> = words(schema).collect();
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        if values::holds_credentials(format, text) {
            self.add(
                Code::LiteralSecret,
                self.place(value),
                format!("{what} holds a user or a password"),
                "use an address that needs none, and change the password: it has been seen",
            );
        } else if !words.is_empty() && !words.contains(&text) {
            let message = format!("`{}` is not known as {what}", shown(text));
            self.unknown(Code::ConfigValue, value, message, text, &words);
        } else if let Err(expected) = values::check_format(format, text) {
            let place = self.place(value);
            let message = format!("`{}` cannot be {what}", shown(text));
            self.add(Code::ConfigValue, place, message, format!("write {expected}"));
        } else if text.is_empty() && schema.get("minLength").is_some() {
            let place = self.place(value);
            self.add(Code::ConfigValue, place, format!("{what} is empty"), "write a text");
        } else if let Some(most) = schema.get("maxLength").and_then(Value::as_u64)
            && text.chars().count() as u64 > most
        {
            let place = self.place(value);
            let message = format!("{what} is longer than {most} characters");
            self.add(Code::ConfigValue, place, message, "shorten it");
        } else if let Some(c) = text.chars().find(|c| c.is_control()) {
            let place = self.place(value);
            let message = format!("{what} holds the control character U+{:04X}", u32::from(c));
            self.add(Code::ConfigValue, place, message, "delete it");
        }
    }

    fn integer(
        &mut self,
        schema: &'a Value,
        value: &Spanned<DeValue<'t>>,
        number: &toml::de::DeInteger<'t>,
        what: &str,
    ) {
        let least = schema.get("minimum").and_then(Value::as_i64).unwrap_or(i64::MIN);
        let most = schema.get("maximum").and_then(Value::as_i64).unwrap_or(i64::MAX);
        let read = i64::from_str_radix(number.as_str(), number.radix()).ok();
        if !read.is_some_and(|n| (least..=most).contains(&n)) {
            let place = self.place(value);
            let message = format!("{number} cannot be {what}");
            let help = format!("write a whole number from {least} to {most}");
            self.add(Code::ConfigValue, place, message, help);
        }
    }

    fn secret(&mut self, value: &Spanned<DeValue<'t>>, what: &str) {
        self.add(
            Code::LiteralSecret,
            self.place(value),
            format!("{what} holds a secret in plain text"),
            "write `{ secret = \"NAME\" }`, put the secret into the file NAME of the master's \
             `secrets` folder, and change it: it has been seen",
        );
    }

    fn wrong_type(&mut self, schema: &Value, value: &Spanned<DeValue<'t>>, what: &str) {
        let expected = match schema.get("type") {
            Some(Value::Array(types)) => types.first().and_then(Value::as_str).unwrap_or_default(),
            other => other.and_then(Value::as_str).unwrap_or("table"),
        };
        let message = format!("{what} cannot be {}", called(type_of(value.get_ref())));
        let help = format!("write {}{}", called(expected), self.describe(schema));
        self.add(Code::ConfigType, self.place(value), message, help);
    }

    fn not_one_of(&mut self, branches: &[&Value], value: &Spanned<DeValue<'t>>, what: &str) {
        let mut types: Vec<&str> =
            branches.iter().filter_map(|b| b.get("type")?.as_str()).map(called).collect();
        types.dedup();
        let message = format!("{what} cannot be {}", called(type_of(value.get_ref())));
        self.add(
            Code::ConfigType,
            self.place(value),
            message,
            format!("write {}", types.join(" or ")),
        );
    }

    fn unknown(
        &mut self,
        code: Code,
        value: &Spanned<DeValue<'t>>,
        message: String,
        word: &str,
        known: &[&str],
    ) {
        let help = match nearest(word, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {}", list(known)),
        };
        self.add(code, self.place(value), message, help);
    }

    fn add(&mut self, code: Code, place: Place, message: String, help: impl Into<String>) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding::new(code, place, message, help));
        }
    }

    fn place(&self, value: &Spanned<DeValue<'t>>) -> Place {
        self.document.place_of(value.span())
    }

    /// `: ` and the first sentence of what the schema says about a value, or nothing.
    fn describe(&self, schema: &Value) -> String {
        let text = schema
            .get("description")
            .or_else(|| schema.get("$ref").and_then(|_| self.lookup(schema)?.get("description")));
        text.and_then(Value::as_str)
            .and_then(|text| text.split_terminator('.').next())
            .map(|text| {
                let mut chars = text.chars();
                let first = chars.next().map(|c| c.to_lowercase().to_string()).unwrap_or_default();
                format!(": {first}{}", chars.as_str().replace('\n', " "))
            })
            .unwrap_or_default()
    }

    fn resolve<'v>(&self, schema: &'v Value) -> &'v Value
    where
        'a: 'v,
    {
        self.lookup(schema).unwrap_or(schema)
    }

    fn lookup<'v>(&self, schema: &'v Value) -> Option<&'v Value>
    where
        'a: 'v,
    {
        self.defs?.get(reference(schema)?)
    }
}

/// The type that a schema refers to by name.
fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// The fixed texts that a schema allows.
fn words(schema: &Value) -> impl Iterator<Item = &str> {
    let one = schema.get("const").and_then(Value::as_str);
    let several = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    one.into_iter().chain(several.filter_map(Value::as_str))
}

/// The key of a schema for tables that have just that one.
fn only_key(schema: &Value) -> Option<&str> {
    let properties = schema.get("properties")?.as_object()?;
    properties.keys().next().filter(|_| properties.len() == 1).map(String::as_str)
}

fn allows(schema: &Value, type_: &str) -> bool {
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().any(|t| t == type_),
        Some(only) => only == type_,
        None => false,
    }
}

/// Whether a text holds what a well-known service hands out as a secret.
fn holds_token(text: &str) -> bool {
    SECRET_STARTS.iter().any(|start| {
        text.match_indices(start)
            .any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric()))
    })
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "datetime",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

/// What TOML's users call a type of JSON's schema.
fn called(type_: &str) -> &'static str {
    match type_ {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number with a fraction",
        "boolean" => "`true` or `false`",
        "datetime" => "a date",
        "array" => "a list",
        _ => "a table",
    }
}
