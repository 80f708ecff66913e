//! What the checks of one description share: the description, and their findings.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{self, Access, Config, Document, MOST_FINDINGS, Name, Path};
use crate::finding::{Code, Finding};
use crate::text::{remedy, shown};

/// What the checks of one description share.
pub(super) struct Context<'a, 't> {
    pub(super) config: &'a Config,
    pub(super) document: &'a Document<'t>,
    pub(super) findings: Vec<Finding>,
}

impl Context<'_, '_> {
    /// A finding on the value at `path`.
    pub(super) fn at_value(
        &mut self,
        code: Code,
        path: &Path,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding::new(code, self.document.value(path), message, help));
        }
    }

    /// A finding on the key that `path` ends with.
    pub(super) fn at_key(
        &mut self,
        code: Code,
        path: &Path,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding::new(code, self.document.key(path), message, help));
        }
    }

    /// A finding on a name that stands at `path` (as a value, or as a key if `is_key`) and is
    /// none of `known`, which are `what`s.
    pub(super) fn unknown<'k>(
        &mut self,
        path: &Path,
        is_key: bool,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        if self.findings.len() >= MOST_FINDINGS {
            return;
        }
        let known: Vec<&str> = known.into_iter().collect();
        let help = remedy(what, name, &known);
        let message = format!("there is no {what} `{}`", shown(name));
        if is_key {
            self.at_key(Code::UnknownName, path, message, help);
        } else {
            self.at_value(Code::UnknownName, path, message, help);
        }
    }
}

/// The locks that a builder and its steps use.
pub(super) fn locks_of(builder: &config::Builder) -> BTreeSet<&Name> {
    let steps = builder.steps.iter().map(|step| &step.locks);
    std::iter::once(&builder.locks).chain(steps).flat_map(BTreeMap::<Name, Access>::keys).collect()
}
