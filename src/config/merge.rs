//! Lays the files of a description on top of each other.
//!
//! Tables are merged key by key. Everything else, lists and what stands between braces among it,
//! takes the place of what is below. What `remove` names is gone before that.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::described::key as in_toml;
use super::document::Texts;
use super::sources::Sources;
use super::tree::{Node, table, table_mut};
use crate::finding::{Code, Finding};
use crate::text::{remedy, shown};

/// The keys of a file that are for this stage alone.
pub(super) const DIRECTIVES: &[&str] = &["base", "remove"];

/// All files in one value, without the keys that are for this stage.
pub(super) fn merge<'t>(
    texts: &Texts<'t>,
    sources: &Sources,
    roots: Vec<Node<'t>>,
) -> (Node<'t>, Vec<Finding>) {
    let mut merge = Merge { texts, findings: Vec::new() };
    let mut merged: Option<Node<'t>> = None;
    for (layer, mut root) in roots.into_iter().enumerate() {
        merge.base(&mut root, layer == sources.site());
        let removed = take(&mut root, "remove");
        let below = if let Some(mut below) = merged {
            if let Some(removed) = removed {
                merge.remove(&mut below, &removed);
            }
            merge.lay(below, root, "")
        } else {
            if let Some(removed) = removed {
                let message = "`remove` has nothing below this file to remove";
                merge.add(Code::OverlayUseless, &removed, message, "delete it, or name a `base`");
            }
            root
        };
        merged = Some(below);
    }
    let empty = || Spanned::new(0..0, DeValue::Table(DeTable::new()));
    (merged.unwrap_or_else(empty), merge.findings)
}

struct Merge<'a, 't> {
    texts: &'a Texts<'t>,
    findings: Vec<Finding>,
}

impl<'t> Merge<'_, 't> {
    /// Takes the key `base`, which was read before.
    fn base(&mut self, root: &mut Node<'t>, is_site: bool) {
        let Some(base) = take(root, "base") else { return };
        if !is_site {
            self.add(
                Code::ConfigValue,
                &base,
                "only the site's own file has a `base`",
                "delete it: bases and overlays are one level each",
            );
        } else if !matches!(base.get_ref(), DeValue::String(_)) {
            self.add(
                Code::ConfigType,
                &base,
                "`base` is not a text",
                "write the name of a shipped description, or the path of a file",
            );
        }
    }

    /// Takes out of `below` what `removed` names.
    fn remove(&mut self, below: &mut Node<'t>, removed: &Node<'t>) {
        let DeValue::Array(ways) = removed.get_ref() else {
            let help = "write a list, as in `remove = [\"builders.verify\"]`";
            return self.add(Code::ConfigType, removed, "`remove` is not a list", help);
        };
        for way in ways {
            let DeValue::String(text) = way.get_ref() else {
                let help = "write a text, as in `\"builders.verify\"`";
                self.add(Code::ConfigType, way, "this names nothing to remove", help);
                continue;
            };
            if let Err(known) = cut(below, text) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let last = text.rsplit('.').next().unwrap_or_default();
                let help = match known.as_slice() {
                    [] => {
                        "only tables have names; to change a list, write the whole list".to_owned()
                    }
                    known => remedy("name", last, known),
                };
                let message = format!("there is no `{}` below this file", shown(text));
                self.add(Code::UnknownName, way, message, help);
            }
        }
    }

    /// `above` on top of `below`; `way` says where, for messages.
    fn lay(&mut self, below: Node<'t>, above: Node<'t>, way: &str) -> Node<'t> {
        let is_whole = self.texts.is_inline(&above);
        let (span, over) = (above.span(), above);
        let below_span = below.span();
        match (below.into_inner(), over.into_inner()) {
            (DeValue::Table(mut merged), DeValue::Table(changes)) if !is_whole => {
                for (key, change) in changes {
                    let way = match way {
                        "" => in_toml(key.get_ref()),
                        way => format!("{way}.{}", in_toml(key.get_ref())),
                    };
                    let Some((old_key, old)) = merged.remove_entry(key.get_ref().as_ref()) else {
                        merged.insert(key, change);
                        continue;
                    };
                    let is_part = table(&change).is_some()
                        && table(&old).is_some()
                        && !self.texts.is_inline(&change);
                    if !is_part && same(&old, &change) {
                        self.add(
                            Code::OverlayUseless,
                            &change,
                            format!("`{}` has this value already", shown(&way)),
                            "delete this line, or give another value",
                        );
                    }
                    let key = if is_part { old_key } else { key };
                    merged.insert(key, self.lay(old, change, &way));
                }
                Spanned::new(below_span, DeValue::Table(merged))
            }
            (_, whole) => Spanned::new(span, whole),
        }
    }

    fn add(
        &mut self,
        code: Code,
        value: &Node<'t>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = self.texts.place_of(value.span());
        self.findings.push(Finding::new(code, place, message, help));
    }
}

/// Takes a key of a table.
fn take<'t>(root: &mut Node<'t>, key: &str) -> Option<Node<'t>> {
    table_mut(root)?.remove(key)
}

/// Takes what the way `a.b.c` leads to; if there is nothing, gives the names where it ends.
fn cut(root: &mut Node<'_>, way: &str) -> Result<(), Vec<String>> {
    let Some(table) = table_mut(root) else { return Err(Vec::new()) };
    let names = |table: &DeTable<'_>| table.keys().map(|key| key.get_ref().to_string()).collect();
    match way.split_once('.') {
        None if table.remove(way).is_some() => Ok(()),
        None => Err(names(table)),
        Some((key, rest)) => match table.get_mut(key) {
            Some(value) => cut(value, rest),
            None => Err(names(table)),
        },
    }
}

/// Whether two values say the same, wherever they stand.
fn same(a: &Node<'_>, b: &Node<'_>) -> bool {
    match (a.get_ref(), b.get_ref()) {
        (DeValue::Table(a), DeValue::Table(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|((key, a), (other, b))| key.get_ref() == other.get_ref() && same(a, b))
        }
        (DeValue::Array(a), DeValue::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (DeValue::String(a), DeValue::String(b)) => a == b,
        (DeValue::Integer(a), DeValue::Integer(b)) => {
            (a.as_str(), a.radix()) == (b.as_str(), b.radix())
        }
        (DeValue::Boolean(a), DeValue::Boolean(b)) => a == b,
        _ => false,
    }
}
