//! The pipeline description, `fdroid-bb.toml`: its types, from which the schema that editors use
//! is generated, and how a file becomes a [`Config`] or findings.
//!
//! Its files ([`Sources`]) are parsed, laid on top of each other (`merge`), and every value is put in
//! the place of its name (`shared`). What they say together is then judged, its shape against the
//! generated schema (`shape`) and its choices, step lists and property sets (`references`). From
//! [`Written::expand`] on there are none of these; `resolve` judges what all other names refer to.

mod builders;
mod checkouts;
mod choices;
pub mod described;
mod document;
mod failures;
mod login;
mod machines;
mod masters;
mod merge;
mod places;
mod property_rules;
mod references;
mod reporters;
mod scalars;
mod schema;
mod shape;
mod shared;
mod sources;
mod steps;
mod times;
mod tree;
mod types;
pub(crate) mod values;

pub use builders::*;
pub use checkouts::*;
pub use choices::{Choice, ChosenWorker, Selection, When, WorkerName, Written, in_words};
pub(crate) use document::MOST_FINDINGS;
pub use document::{Document, Path};
pub use failures::*;
pub use login::*;
pub use machines::*;
pub use masters::*;
pub use places::Places;
pub use property_rules::{PropertyRule, PropertyUse};
pub use reporters::*;
pub use scalars::*;
pub use schema::{editor_schema, schema};
pub use shared::SharedValue;
pub use sources::{Source, Sources};
pub use steps::*;
pub use times::*;
pub use types::*;
pub use values::{
    AbsoluteFile, Account, Branch, Duration, EngineHost, EnvName, FilePattern, Folder, Glob,
    Listen, MailAddress, Name, Operator, RepoUrl, SecretName, Size, TimeOfDay, VagrantName, WebUrl,
};

use std::sync::Arc;

use serde::Deserialize as _;
use toml::de::ValueDeserializer;

use crate::finding::{Code, Finding, Severity};
use document::Texts;

/// Reads a pipeline description.
///
/// # Errors
/// All findings on the syntax of its files, or else on how they are merged, or else on the shape.
pub fn read(sources: &Sources) -> Result<Written<'_>, Vec<Finding>> {
    let (texts, roots) = Texts::parse(sources.files())?;
    let (mut root, mut findings) = merge::merge(&texts, sources, roots);
    findings.extend(shared::substitute(&texts, &mut root));
    let document = Document::new(Arc::new(texts), root);
    findings.extend(shape::check(&document, &schema()));
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    if !has_error(&findings) {
        findings.extend(references::check(&document));
    }
    if has_error(&findings) { Err(findings) } else { Ok(Written { document, findings }) }
}

/// Reads what [`Written::expand`] gives into its types.
///
/// # Errors
/// When the types and their schema disagree, which is a fault of this program.
pub fn deserialize(document: &Document<'_>) -> Result<Config, Vec<Finding>> {
    Config::deserialize(ValueDeserializer::from(document.root().clone())).map_err(|error| {
        vec![Finding::new(
            Code::ConfigValue,
            document.place_of(error.span().unwrap_or_default()),
            error.message(),
            "see schema/fdroid-bb.schema.json for what may stand here",
        )]
    })
}

fn has_error(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}
