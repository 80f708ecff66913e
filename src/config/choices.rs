//! Choices: of several ways to do the same, a description takes one.
//!
//! What has `when` is there only where the choices are made as it says. [`Written::expand`] leaves
//! out the rest, and puts step lists and property sets in the place of their names, so that what
//! comes after need not know them.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::document::{Document, Path};
use super::tree::{Node, entries, items, table, table_mut, text, texts};
use super::values::Name;
use crate::finding::{Code, Finding};
use crate::text::shown;

/// A closed list of alternatives, of which one is taken.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Choice {
    /// What can be chosen.
    #[schemars(length(min = 1))]
    pub of: Vec<Name>,
    /// Which of them is.
    pub chosen: Name,
}

/// A worker of a builder: always, or by choice. [`Written::expand`] leaves plain names.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum WorkerName {
    /// Always.
    Name(Name),
    /// By choice.
    Chosen(ChosenWorker),
}

/// A worker that a builder has by choice.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChosenWorker {
    /// The worker.
    pub worker: Name,
    /// The choices under which the builder has it.
    pub when: When,
}

/// Where something is there: names of choices, each with one of its alternatives.
pub type When = BTreeMap<Name, Name>;

/// Which alternative of each choice is taken.
pub type Selection = BTreeMap<String, String>;

/// The tables whose entries may have `when`.
pub(super) const CONDITIONAL: &[&str] = &["workers", "builders", "schedulers", "reporters"];

/// A description as it is written, with every value in the place of its name.
#[derive(Debug)]
pub struct Written<'t> {
    /// The files and all they hold.
    pub document: Document<'t>,
    /// Warnings.
    pub findings: Vec<Finding>,
}

impl<'t> Written<'t> {
    /// What is chosen, and then, for each other alternative, the same with that one.
    #[must_use]
    pub fn selections(&self) -> Vec<Selection> {
        let mut chosen = Selection::new();
        let mut others = Vec::new();
        for (name, choice) in entries(self.document.root(), "choices") {
            let Some(choice) = table(choice) else { continue };
            let taken = choice.get("chosen").and_then(text).unwrap_or_default();
            chosen.insert(name.to_owned(), taken.to_owned());
            let of = texts(choice.get("of")).into_iter();
            others.extend(of.filter(|other| *other != taken).map(|other| (name, other.to_owned())));
        }
        let others = others.into_iter().map(|(name, other)| {
            let mut selection = chosen.clone();
            selection.insert(name.to_owned(), other);
            selection
        });
        std::iter::once(chosen.clone()).chain(others).collect()
    }

    /// The description with these alternatives.
    ///
    /// # Errors
    /// Findings on what then lacks all of something that it needs.
    pub fn expand(&self, selection: &Selection) -> Result<Document<'t>, Vec<Finding>> {
        let mut root = self.document.root().clone();
        let mut gone: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for kind in CONDITIONAL {
            let gone = gone.entry(kind).or_default();
            if let Some(entries) =
                table_mut(&mut root).and_then(|root| table_mut(root.get_mut(*kind)?))
            {
                for (name, entry) in std::mem::take(entries) {
                    if is_chosen(&entry, selection) {
                        entries.insert(name, entry);
                    } else {
                        gone.insert(name.into_inner().into_owned());
                    }
                }
            }
        }
        let mut expansion = Expansion { written: self, selection, findings: Vec::new() };
        let empty = BTreeSet::new();
        let parts =
            [("builders", "workers"), ("schedulers", "builders"), ("reporters", "builders")];
        for (kind, key) in parts {
            let entries = table_mut(&mut root).and_then(|root| table_mut(root.get_mut(kind)?));
            for (name, entry) in entries.into_iter().flatten() {
                let Some(entry) = table_mut(entry) else { continue };
                let path = Path::root(kind).key(name.get_ref().as_ref());
                expansion.names(&path, entry, key, gone.get(key).unwrap_or(&empty));
                if kind == "builders" {
                    expansion.steps(&path, entry);
                    expansion.properties(entry);
                }
            }
        }
        let findings = expansion.findings;
        for key in ["values", "step-lists", "property-sets"] {
            if let Some(root) = table_mut(&mut root) {
                root.remove(key);
            }
        }
        match findings {
            findings if findings.is_empty() => Ok(self.document.with_root(root)),
            findings => Err(findings),
        }
    }
}

struct Expansion<'a, 't> {
    written: &'a Written<'t>,
    selection: &'a Selection,
    findings: Vec<Finding>,
}

impl<'t> Expansion<'_, 't> {
    /// Takes names of what is left out out of a list.
    fn names(&mut self, path: &Path, entry: &mut DeTable<'t>, key: &str, gone: &BTreeSet<String>) {
        let Some(DeValue::Array(names)) = entry.get_mut(key).map(Spanned::get_mut) else { return };
        let had = names.len();
        let chosen = |name: Node<'t>| match table(&name).and_then(|name| name.get("worker")) {
            Some(worker) => is_chosen(&name, self.selection).then(|| worker.clone()),
            None => Some(name),
        };
        let is_left = |name: &Node<'_>| !text(name).is_some_and(|name| gone.contains(name));
        *names = taken(names).into_iter().filter_map(chosen).filter(is_left).collect();
        if names.is_empty() && had > 0 {
            self.empty(&path.key(key), &format!("none of these {key} is there"));
        }
    }

    /// Leaves out steps, and puts step lists in the place of their names.
    fn steps(&mut self, path: &Path, builder: &mut DeTable<'t>) {
        let Some(DeValue::Array(steps)) = builder.get_mut("steps").map(Spanned::get_mut) else {
            return;
        };
        let had = steps.len();
        let mut all = Vec::new();
        for step in taken(steps) {
            if !is_chosen(&step, self.selection) {
                continue;
            }
            let Some(list) = table(&step).and_then(|step| text(step.get("use")?)) else {
                all.push(step);
                continue;
            };
            let listed = entries(self.written.document.root(), "step-lists");
            let listed =
                listed.filter(|(name, _)| *name == list).flat_map(|(_, steps)| items(steps));
            let listed = listed.filter(|listed| is_chosen(listed, self.selection));
            all.extend(listed.map(|listed| with_when_of(&step, listed)));
        }
        *steps = all.into_iter().collect();
        if steps.is_empty() && had > 0 {
            self.empty(&path.key("steps"), "none of these steps is there");
        }
    }

    /// Adds the properties of the builder's sets.
    fn properties(&mut self, builder: &mut DeTable<'t>) {
        let Some(sets) = builder.remove("property-sets") else { return };
        let root = self.written.document.root();
        let names = texts(Some(&sets));
        let sets_named = entries(root, "property-sets").filter(|(name, _)| names.contains(name));
        let shared: Vec<_> = sets_named.filter_map(|(_, set)| table(set)).flatten().collect();
        let mut all = match builder.remove("properties") {
            Some(own) => own,
            None => Spanned::new(sets.span(), DeValue::Table(DeTable::new())),
        };
        if let Some(all) = table_mut(&mut all) {
            for (name, property) in shared {
                all.insert(name.clone(), property.clone());
            }
        }
        builder.insert(Spanned::new(sets.span(), "properties".into()), all);
    }

    fn empty(&mut self, path: &Path, message: &str) {
        let place = self.written.document.value(path);
        let help = "name one for this alternative, or give what they belong to a `when` too";
        self.findings.push(Finding::new(Code::ChoiceEmpty, place, message, help));
    }
}

/// Which alternatives are meant, as a person says it: where one choice is this and another that.
#[must_use]
pub fn in_words(selection: &Selection) -> String {
    let choices = selection.iter();
    let words: Vec<String> =
        choices.map(|(name, taken)| format!("`{}` is `{}`", shown(name), shown(taken))).collect();
    format!("where {}", words.join(" and "))
}

/// Whether something is there.
fn is_chosen(entry: &Node<'_>, selection: &Selection) -> bool {
    let when = table(entry).and_then(|entry| table(entry.get("when")?));
    when.into_iter().flatten().all(|(choice, alternative)| {
        let taken = selection.get(choice.get_ref().as_ref());
        taken.map(String::as_str) == text(alternative)
    })
}

/// A step of a list that `user` uses. What decides on the user decides on the step too.
fn with_when_of<'t>(user: &Node<'t>, listed: &Node<'t>) -> Node<'t> {
    let mut step = listed.clone();
    let when = table(user).and_then(|user| user.get_key_value("when"));
    if let (Some((key, when)), Some(step)) = (when, table_mut(&mut step)) {
        let mut all = when.clone();
        let own = step.remove("when");
        if let (Some(all), Some(own)) = (table_mut(&mut all), own.as_ref().and_then(table)) {
            all.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        step.insert(key.clone(), all);
    }
    step
}

/// The elements of a list, which is empty then.
fn taken<'t>(list: &mut DeArray<'t>) -> DeArray<'t> {
    std::mem::replace(list, DeArray::new())
}
