//! A file of metadata as fdroidserver would write it: `metadata.post_parse_yaml_metadata`, then
//! `metadata.write_yaml`. Two files that come to the same mean the same.

use std::collections::BTreeMap;

use crate::fdroid::field::{FLAGS, Type, field_index, field_type, flag_type};
use crate::fdroid::problem::Problem;
use crate::fdroid::scalar::{Value, python_int};
use crate::fdroid::yaml::{self, Data, Key, Node};

/// The language of texts that name none (`common.DEFAULT_LOCALE`).
const LOCALE: &str = "en-US";

/// A value, with all scalars as texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Normal {
    Text(String),
    List(Vec<Normal>),
    Map(BTreeMap<String, Normal>),
}

/// The flags of a build, or the fields of an app.
pub(super) type Fields = BTreeMap<String, Normal>;

/// What a file says, but for what is empty.
#[derive(Debug, Default)]
pub(super) struct File {
    /// All fields but `Builds`.
    pub fields: Fields,
    /// The builds, in order of their version codes.
    pub builds: Vec<Fields>,
    /// A field or flag that fdroidserver does not know and would not write.
    pub unknown: Option<String>,
}

impl Normal {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn number(&self) -> Option<i128> {
        self.text().and_then(|text| text.parse().ok())
    }
}

/// What `text` says.
///
/// # Errors
/// What is no YAML of fdroiddata.
pub(super) fn read(text: &str) -> Result<File, Box<Problem>> {
    let mut file = File::default();
    for (key, node) in map(yaml::read(text)?) {
        let name = key.value.python_str().into_owned();
        if name == "Builds" {
            for build in list(node) {
                let build = flags(build, &mut file.unknown);
                file.builds.push(build);
            }
        } else if field_index(&name).is_none() {
            file.unknown.get_or_insert(name);
        } else if let Some(value) = field(&name, &node) {
            file.fields.insert(name, value);
        }
    }
    file.builds.sort_by_key(|build| build.get("versionCode").and_then(Normal::number));
    for (name, default) in
        [("License", "Unknown"), ("AutoUpdateMode", "None"), ("UpdateCheckMode", "None")]
    {
        file.fields.entry(name.to_owned()).or_insert_with(|| Normal::Text(default.to_owned()));
    }
    no_source_since(&mut file.fields);
    Ok(file)
}

fn map(node: Option<Node<'_>>) -> Vec<(Key<'_>, Node<'_>)> {
    match node.map(|node| node.data) {
        Some(Data::Map(entries)) => entries,
        _ => Vec::new(),
    }
}

fn list(node: Node<'_>) -> Vec<Node<'_>> {
    match node.data {
        Data::List(items) => items,
        _ => Vec::new(),
    }
}

fn flags(node: Node<'_>, unknown: &mut Option<String>) -> Fields {
    let mut flags = Fields::new();
    for (key, node) in map(Some(node)) {
        let name = key.value.python_str().into_owned();
        if !FLAGS.contains(&&*name) {
            unknown.get_or_insert(name);
        } else if let Some(value) = value(flag_type(&name), &node) {
            flags.insert(name, value);
        }
    }
    flags
}

fn field(name: &str, node: &Node<'_>) -> Option<Normal> {
    let mut value = value(field_type(name), node)?;
    match (name, &mut value) {
        ("Categories", Normal::List(items)) => {
            items.sort_by_key(|item| item.text().map(str::to_lowercase));
        }
        ("AllowedAPKSigningKeys", Normal::List(items)) => {
            for item in items {
                if let Normal::Text(text) = item {
                    text.make_ascii_lowercase();
                }
            }
        }
        ("ArchivePolicy", Normal::Text(text)) => {
            if let Some((number, _)) = text.split_once(' ') {
                *text = number.to_owned();
            }
        }
        _ => {}
    }
    Some(value)
}

/// `NoSourceSince` is an anti-feature by itself, and is not written twice.
fn no_source_since(fields: &mut Fields) {
    let Some(since) = fields.get("NoSourceSince").cloned() else { return };
    let implied = Normal::Map([(LOCALE.to_owned(), since)].into());
    if let Some(Normal::Map(features)) = fields.get_mut("AntiFeatures") {
        if features.get("NoSourceSince") == Some(&implied) {
            features.remove("NoSourceSince");
        }
        if features.is_empty() {
            fields.remove("AntiFeatures");
        }
    }
}

/// The value of a field or flag; none where it is not written.
fn value(kind: Type, node: &Node<'_>) -> Option<Normal> {
    if !node.counts() || (kind == Type::Bool && !node.truthy()) {
        return None;
    }
    Some(match (kind, &node.data) {
        (Type::Bool, _) => Normal::Text("true".to_owned()),
        (Type::Int, Data::Scalar(scalar)) => match &scalar.value {
            Value::Str(text) => Normal::Text(
                python_int(text).map_or_else(|| text.to_string(), |number| number.to_string()),
            ),
            value => Normal::Text(value.python_str().into_owned()),
        },
        (Type::List, Data::Scalar(scalar)) => Normal::List(vec![text(&scalar.value)]),
        (Type::List, Data::List(items)) => {
            let items = items.iter().map(any).filter(|item| item.text() != Some(""));
            let items: Vec<Normal> = items.collect();
            if items.is_empty() {
                return None;
            }
            Normal::List(items)
        }
        (Type::TextMap, _) => Normal::Map(text_map(node)),
        _ => any(node),
    })
}

/// `_normalize_type_stringmap`.
fn text_map(node: &Node<'_>) -> BTreeMap<String, Normal> {
    let one = |key: &Value<'_>, value: &Node<'_>| {
        let value = match &value.data {
            _ if !value.truthy() => Normal::Map(BTreeMap::new()),
            Data::Map(_) => any(value),
            _ => Normal::Map([(LOCALE.to_owned(), any(value))].into()),
        };
        (key.text().map_or_else(|_| key.python_str().into_owned(), Into::into), value)
    };
    let empty = |value: &Value<'_>| {
        (text(value).text().unwrap_or_default().to_owned(), Normal::Map(BTreeMap::new()))
    };
    match &node.data {
        Data::Scalar(scalar) => [empty(&scalar.value)].into(),
        Data::Map(entries) => entries.iter().map(|(key, value)| one(&key.value, value)).collect(),
        Data::List(items) => items
            .iter()
            .flat_map(|item| match &item.data {
                Data::Map(entries) => {
                    entries.iter().map(|(key, value)| one(&key.value, value)).collect()
                }
                Data::Scalar(scalar) => vec![empty(&scalar.value)],
                // Nobody writes this; it is kept, so that it is compared.
                Data::List(_) => vec![(format!("{:?}", any(item)), Normal::Map(BTreeMap::new()))],
            })
            .collect(),
    }
}

fn any(node: &Node<'_>) -> Normal {
    match &node.data {
        Data::Scalar(scalar) => text(&scalar.value),
        Data::List(items) => Normal::List(items.iter().map(any).collect()),
        Data::Map(entries) => Normal::Map(
            entries
                .iter()
                .map(|(key, node)| (key.value.python_str().into_owned(), any(node)))
                .collect(),
        ),
    }
}

fn text(value: &Value<'_>) -> Normal {
    Normal::Text(value.text().map_or_else(|_| value.python_str().into_owned(), Into::into))
}
