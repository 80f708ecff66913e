//! Where each key of a description stands, and what it says: what `resolve` keeps of a
//! [`Document`], so that nobody reads it again.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

use super::document::{Document, Path};
use crate::finding::Place;

/// The keys of a description, by their paths as text.
#[derive(Clone, Debug)]
pub struct Places {
    /// The description itself.
    file: Place,
    keys: BTreeMap<String, Key>,
}

#[derive(Clone, Debug)]
struct Key {
    place: Place,
    /// Its value, unless that has keys of its own.
    value: Option<Value>,
}

impl Places {
    /// The places of all that `document` holds.
    #[must_use]
    pub fn new(document: &Document<'_>) -> Self {
        let file = document.whole();
        let mut places = Self { file, keys: BTreeMap::new() };
        places.below("", document.root(), document);
        places
    }

    /// The place of the key at `path`, or of what comes nearest on the way to it.
    #[must_use]
    pub fn of(&self, path: &Path) -> Place {
        self.nearest(&path.to_string()).clone()
    }

    /// The same by the text of a path.
    #[must_use]
    pub fn nearest(&self, path: &str) -> &Place {
        let mut way = path;
        loop {
            if let Some(key) = self.keys.get(way) {
                return &key.place;
            }
            match way.rfind(['.', '[']) {
                Some(end) => way = way.get(..end).unwrap_or_default(),
                None => return &self.file,
            }
        }
    }

    /// What the description says: the path of each key that has a value and no keys below it.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.keys.iter().filter_map(|(path, key)| Some((path.as_str(), key.value.as_ref()?)))
    }

    /// Adds what lies below `path`.
    fn below(&mut self, path: &str, value: &Spanned<DeValue<'_>>, document: &Document<'_>) {
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    let dot = if path.is_empty() { "" } else { "." };
                    let way = format!("{path}{dot}{}", key.get_ref());
                    self.add(way, document.place_of(key.span()), value, document);
                }
            }
            DeValue::Array(list) => {
                let has_tables = list.iter().any(has_keys);
                for (i, value) in list.iter().enumerate() {
                    let place = document.place_of(value.span());
                    if has_keys(value) {
                        self.add(format!("{path}[{i}]"), place, value, document);
                    } else {
                        // Its value is told with those beside it, unless one of them has keys.
                        let value = has_tables.then(|| plain(value)).flatten();
                        self.keys.insert(format!("{path}[{i}]"), Key { place, value });
                    }
                }
            }
            _ => {}
        }
    }

    fn add(
        &mut self,
        path: String,
        place: Place,
        value: &Spanned<DeValue<'_>>,
        document: &Document<'_>,
    ) {
        self.below(&path, value, document);
        // A value that is said once is changed where it is said.
        let said = document.place_of(value.span());
        let line = |place: &Place| (place.file.clone(), place.span.map(|span| span.line));
        let place = if has_keys(value) || line(&said) == line(&place) { place } else { said };
        let own = if has_keys(value) { None } else { plain(value) };
        self.keys.insert(path, Key { place, value: own });
    }
}

fn plain(value: &Spanned<DeValue<'_>>) -> Option<Value> {
    Value::deserialize(ValueDeserializer::from(value.clone())).ok()
}

/// Whether a value has keys that can be told one by one. An empty table has none.
fn has_keys(value: &Spanned<DeValue<'_>>) -> bool {
    match value.get_ref() {
        DeValue::Table(table) => !table.is_empty(),
        DeValue::Array(list) => list.iter().any(has_keys),
        _ => false,
    }
}
