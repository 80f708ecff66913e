//! What a description says of one thing, once nothing in it refers to something shared: each line
//! with its origin.

use toml::de::DeValue;

use super::document::{Document, Path};
use super::tree::{Node, entries, table};
use crate::finding::Place;

/// The kinds of things that have names, as a person says them, with their tables.
pub const KINDS: &[(&str, &str)] = &[
    ("builder", "builders"),
    ("lock", "locks"),
    ("master", "masters"),
    ("reporter", "reporters"),
    ("scheduler", "schedulers"),
    ("worker", "workers"),
];

/// A line of TOML, and where what it says stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The TOML.
    pub text: String,
    /// Its origin.
    pub place: Place,
}

/// The names of the things in the table `kind`.
#[must_use]
pub fn names<'d>(document: &'d Document<'_>, kind: &str) -> Vec<&'d str> {
    entries(document.root(), kind).map(|(name, _)| name).collect()
}

/// All that is said of the thing `name` of the table `kind`; nothing if there is none.
#[must_use]
pub fn lines(document: &Document<'_>, kind: &str, name: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some((_, value)) = entries(document.root(), kind).find(|(known, _)| *known == name) {
        let way = format!("{kind}.{}", key(name));
        let place = document.key(&Path::root(kind).key(name));
        lines.push(Line { text: format!("[{way}]"), place });
        inside(document, value, &way, "", &mut lines);
    }
    lines
}

/// What a table says, the keys of tables in it joined by dots. A list of tables comes last, for what
/// stands below its headers is part of it.
fn inside(document: &Document<'_>, value: &Node<'_>, way: &str, keys: &str, lines: &mut Vec<Line>) {
    let mut lists = Vec::new();
    for (name, inner) in table(value).into_iter().flatten() {
        let keys = match keys {
            "" => key(name.get_ref()),
            keys => format!("{keys}.{}", key(name.get_ref())),
        };
        match inner.get_ref() {
            DeValue::Table(inside_it) if !inside_it.is_empty() => {
                inside(document, inner, way, &keys, lines);
            }
            DeValue::Array(items) if items.iter().any(|item| table(item).is_some()) => {
                lists.push((keys, items));
            }
            _ => {
                let text = format!("{keys} = {}", written(inner));
                lines.push(Line { text, place: document.place_of(inner.span()) });
            }
        }
    }
    for (keys, items) in lists {
        let way = format!("{way}.{keys}");
        for item in items {
            let place = document.place_of(item.span());
            lines.push(Line { text: format!("[[{way}]]"), place });
            inside(document, item, &way, "", lines);
        }
    }
}

/// A key as TOML writes it.
pub(super) fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A value that holds no table, as TOML writes it.
fn written(value: &Node<'_>) -> String {
    match value.get_ref() {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(_) => "{}".to_owned(),
    }
}
