//! What refers to choices, step lists and property sets: whether there is what is named, and
//! whether all there is is named.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::choices::CONDITIONAL;
use super::document::{Document, Path};
use super::tree::{Node, entries, items, table, text, texts};
use crate::finding::{Code, Finding};
use crate::text::{remedy, shown};

/// All findings on names of choices, step lists and property sets in `document`, whose shape is
/// right.
pub(super) fn check(document: &Document<'_>) -> Vec<Finding> {
    let mut check = Check { document, used: BTreeSet::new(), findings: Vec::new() };
    let root = document.root();
    for (_, choice) in entries(root, "choices") {
        let Some(choice) = table(choice) else { continue };
        if let Some(chosen) = choice.get("chosen") {
            check.known("alternative", chosen, &texts(choice.get("of")));
        }
    }
    for kind in CONDITIONAL {
        entries(root, kind).for_each(|(_, entry)| check.when(entry));
    }
    for (_, builder) in entries(root, "builders") {
        let Some(builder) = table(builder) else { continue };
        builder.get("steps").map_or(&[][..], items).iter().for_each(|step| check.step(step));
        builder.get("workers").map_or(&[][..], items).iter().for_each(|name| check.when(name));
        check.properties(builder);
    }
    for (_, list) in entries(root, "step-lists") {
        for step in items(list) {
            check.when(step);
            if let Some(list) = table(step).and_then(|step| step.get("use")) {
                let message = "a step list cannot use another one";
                let help = "write the steps, or use both lists in the builder";
                check.add(Code::OneKind, list, message, help);
            }
        }
    }
    check.unused();
    check.findings
}

struct Check<'a, 't> {
    document: &'a Document<'t>,
    /// What is referred to: the table it stands in, and its name.
    used: BTreeSet<(&'static str, &'a str)>,
    findings: Vec<Finding>,
}

impl<'a, 't> Check<'a, 't> {
    fn add(
        &mut self,
        code: Code,
        at: &Node<'_>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = self.document.place_of(at.span());
        self.findings.push(Finding::new(code, place, message, help));
    }

    /// Complains of a name that is none of `known`.
    fn known(&mut self, what: &str, name: &Node<'_>, known: &[&str]) {
        if let Some(word) = text(name).filter(|word| !known.contains(word)) {
            let message = format!("there is no {what} `{}`", shown(word));
            self.add(Code::UnknownName, name, message, remedy(what, word, known));
        }
    }

    /// What `name` refers to in the table `kind`. Complains if there is nothing.
    fn find(&mut self, kind: &'static str, what: &str, name: &'a Node<'t>) -> Option<&'a Node<'t>> {
        let word = text(name)?;
        let root = self.document.root();
        self.used.insert((kind, word));
        let known: Vec<&str> = entries(root, kind).map(|(known, _)| known).collect();
        self.known(what, name, &known);
        entries(root, kind).find_map(|(known, value)| (known == word).then_some(value))
    }

    fn when(&mut self, entry: &'a Node<'t>) {
        let when = table(entry).and_then(|entry| table(entry.get("when")?));
        for (choice, alternative) in when.into_iter().flatten() {
            let word = choice.get_ref().as_ref();
            let root = self.document.root();
            let known: Vec<&str> = entries(root, "choices").map(|(known, _)| known).collect();
            self.used.insert(("choices", word));
            let Some((_, found)) = entries(root, "choices").find(|(known, _)| *known == word)
            else {
                let place = self.document.place_of(choice.span());
                let message = format!("there is no choice `{}`", shown(word));
                let help = remedy("choice", word, &known);
                self.findings.push(Finding::new(Code::UnknownName, place, message, help));
                continue;
            };
            let of = texts(table(found).and_then(|found| found.get("of")));
            self.known("alternative", alternative, &of);
        }
    }

    fn step(&mut self, step: &'a Node<'t>) {
        self.when(step);
        let Some(step) = table(step) else { return };
        let Some(list) = step.get("use") else { return };
        self.find("step-lists", "step list", list);
        let other = step.keys().find(|key| !["use", "when"].contains(&key.get_ref().as_ref()));
        if let Some(key) = other {
            let place = self.document.place_of(key.span());
            let message = format!("a step that uses a list has no `{}`", shown(key.get_ref()));
            let help = "delete it, or write it in the steps of the list";
            self.findings.push(Finding::new(Code::OneKind, place, message, help));
        }
    }

    /// The sets of a builder, which share no name with each other nor with its own properties.
    fn properties(&mut self, builder: &'a DeTable<'t>) {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for set in builder.get("property-sets").map_or(&[][..], items) {
            let Some(DeValue::Table(properties)) =
                self.find("property-sets", "property set", set).map(Spanned::get_ref)
            else {
                continue;
            };
            let name = text(set).unwrap_or_default();
            for property in properties.keys() {
                let property = property.get_ref().as_ref();
                if let Some(other) = owners.insert(property, name) {
                    let (other, name) = (shown(other), shown(name));
                    let property = shown(property);
                    let message = format!("the sets `{other}` and `{name}` both have `{property}`");
                    self.add(Code::Duplicate, set, message, "delete it from one of them");
                }
            }
        }
        let own = builder.get("properties").and_then(table);
        for (property, value) in own.into_iter().flatten() {
            let property = property.get_ref().as_ref();
            if let Some(set) = owners.get(property) {
                let (set, property) = (shown(set), shown(property));
                let message = format!("the property set `{set}` has `{property}` already");
                self.add(Code::Duplicate, value, message, "delete one of them");
            }
        }
    }

    /// Complains of what is defined and never referred to.
    fn unused(&mut self) {
        let kinds = [
            ("choices", "choice", "when"),
            ("step-lists", "step list", "use"),
            ("property-sets", "property set", "property-sets"),
        ];
        for (kind, what, key) in kinds {
            for (name, _) in entries(self.document.root(), kind) {
                if !self.used.contains(&(kind, name)) {
                    let place = self.document.key(&Path::root(kind).key(name));
                    let message = format!("nothing refers to the {what} `{}`", shown(name));
                    let help = format!("refer to it with `{key}`, or delete it");
                    self.findings.push(Finding::new(Code::DefinitionUnused, place, message, help));
                }
            }
        }
    }
}
