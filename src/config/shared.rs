//! What a description says once and refers to by name: `values`.
//!
//! `{ value = "NAME" }` stands for the value of that name wherever it is written. A list that
//! stands for an element of a list becomes elements of that.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::document::Texts;
use super::tree::{Node, entries, reference, table_mut};
use crate::finding::{Code, Finding};
use crate::text::{list, may_hold_secret, remedy, shown};

/// A value that is said once: anything that may stand where it is referred to, where it is judged.
#[derive(Clone, Debug, Deserialize)]
pub struct SharedValue(pub serde_json::Value);

impl JsonSchema for SharedValue {
    fn schema_name() -> Cow<'static, str> {
        "SharedValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::from(true)
    }
}

/// Puts values in the place of their names. Complains of names that there are not, and of values
/// that nothing refers to.
pub(super) fn substitute<'t>(texts: &Texts<'t>, root: &mut Node<'t>) -> Vec<Finding> {
    let values: BTreeMap<String, Node<'t>> =
        entries(root, "values").map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let mut shared = Shared { texts, values: &values, used: BTreeSet::new(), findings: Vec::new() };
    for (key, value) in table_mut(root).into_iter().flatten() {
        if key.get_ref() != "values" {
            shared.walk(value);
        }
    }
    let Shared { used, mut findings, .. } = shared;
    for (name, value) in values.iter().filter(|(name, _)| !used.contains(*name)) {
        let name = shown(name);
        let message = format!("nothing refers to the value `{name}`");
        let help = format!("write `{{ value = \"{name}\" }}` where it belongs, or delete it");
        let place = texts.place_of(value.span());
        findings.push(Finding::new(Code::DefinitionUnused, place, message, help));
    }
    findings
}

struct Shared<'a, 't> {
    texts: &'a Texts<'t>,
    values: &'a BTreeMap<String, Node<'t>>,
    used: BTreeSet<String>,
    findings: Vec<Finding>,
}

impl<'t> Shared<'_, 't> {
    fn walk(&mut self, value: &mut Node<'t>) {
        if let Some(found) = self.find(value) {
            *value = found;
            return;
        }
        match value.get_mut() {
            DeValue::Table(table) => {
                for (_, inner) in table {
                    self.walk(inner);
                }
            }
            DeValue::Array(items) => self.list(items),
            _ => {}
        }
    }

    fn list(&mut self, items: &mut DeArray<'t>) {
        let mut all = Vec::new();
        for mut item in std::mem::replace(items, DeArray::new()) {
            match self.find(&item).map(|found| (found.span(), found.into_inner())) {
                Some((_, DeValue::Array(several))) => all.extend(several),
                Some((span, one)) => all.push(Spanned::new(span, one)),
                None => {
                    self.walk(&mut item);
                    all.push(item);
                }
            }
        }
        *items = all.into_iter().collect();
    }

    /// The value that `value` refers to, if it refers to one that there is.
    fn find(&mut self, value: &Node<'t>) -> Option<Node<'t>> {
        let name = reference(value)?;
        let DeValue::String(text) = name.get_ref() else { return None };
        if let Some(found) = self.values.get(text.as_ref()) {
            self.used.insert(text.to_string());
            return Some(found.clone());
        }
        let known: Vec<&str> = self.values.keys().map(String::as_str).collect();
        let place = self.texts.place_of(name.span());
        // It may be a secret itself.
        let (message, help) = if may_hold_secret(self.texts.line_of(name.span().start)) {
            let help = format!("the values here are {}", list(&known));
            ("there is no value of this name".to_owned(), help)
        } else {
            (format!("there is no value `{}`", shown(text)), remedy("value", text, &known))
        };
        self.findings.push(Finding::new(Code::UnknownName, place, message, help));
        None
    }
}
