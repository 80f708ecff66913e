//! Small ways through the parsed values of TOML.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value of TOML with its place.
pub(super) type Node<'t> = Spanned<DeValue<'t>>;

/// The value as a table.
pub(super) fn table<'v, 't>(value: &'v Node<'t>) -> Option<&'v DeTable<'t>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// The value as a table that can be changed.
pub(super) fn table_mut<'v, 't>(value: &'v mut Node<'t>) -> Option<&'v mut DeTable<'t>> {
    match value.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// The elements of a list; none of what is no list.
pub(super) fn items<'v, 't>(value: &'v Node<'t>) -> &'v [Node<'t>] {
    match value.get_ref() {
        DeValue::Array(items) => items,
        _ => &[],
    }
}

/// The value as a text.
pub(super) fn text<'v>(value: &'v Node<'_>) -> Option<&'v str> {
    match value.get_ref() {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

/// The name in `{ value = "NAME" }`.
pub(super) fn reference<'v, 't>(value: &'v Node<'t>) -> Option<&'v Node<'t>> {
    table(value).filter(|table| table.len() == 1)?.get("value")
}

/// The texts of a list.
pub(super) fn texts<'v>(value: Option<&'v Node<'_>>) -> Vec<&'v str> {
    value.map_or(&[][..], items).iter().filter_map(text).collect()
}

/// The entries of the table `key` of a table, each with its name.
pub(super) fn entries<'v, 't: 'v>(
    parent: &'v Node<'t>,
    key: &str,
) -> impl Iterator<Item = (&'v str, &'v Node<'t>)> + use<'v, 't> {
    let entries = table(parent).and_then(|parent| table(parent.get(key)?));
    entries.into_iter().flatten().map(|(name, value)| (name.get_ref().as_ref(), value))
}
