//! The pipeline description, `fdroid-bb.toml`: its types, from which the schema that editors use
//! is generated, and how a file becomes a [`Config`] or findings.
//!
//! A file passes three gates. [`Document::parse`] judges TOML, [`shape`] judges every key and
//! value against the generated schema, `resolve` judges what the names refer to.

mod builders;
mod checkouts;
mod document;
mod login;
mod machines;
mod masters;
mod places;
mod reporters;
mod scalars;
mod shape;
mod steps;
mod times;
mod types;
pub(crate) mod values;

pub use builders::*;
pub use checkouts::*;
pub use document::{Document, MOST_FINDINGS, Path};
pub use login::*;
pub use machines::*;
pub use masters::*;
pub use places::Places;
pub use reporters::*;
pub use scalars::*;
pub use steps::*;
pub use times::*;
pub use types::*;
pub use values::{
    Account, Branch, Duration, EngineHost, EnvName, FilePattern, Folder, Glob, Listen, Name,
    Operator, RepoUrl, SecretName, Size, TimeOfDay, VagrantName, WebUrl,
};

use serde::Deserialize as _;
use toml::de::ValueDeserializer;

use crate::finding::{Code, Finding, Place};

/// The JSON schema of `fdroid-bb.toml`, as `schema/fdroid-bb.schema.json` holds it.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

/// Reads a pipeline description. `file` is the path that findings name.
///
/// # Errors
/// All findings on the text's syntax, or else all on its shape.
pub fn read<'t>(file: &'t str, text: &'t str) -> Result<(Config, Document<'t>), Vec<Finding>> {
    let document = Document::parse(file, text)?;
    let findings = shape::check(&document, &schema());
    if !findings.is_empty() {
        return Err(findings);
    }
    match Config::deserialize(ValueDeserializer::from(document.root().clone())) {
        Ok(config) => Ok((config, document)),
        Err(error) => Err(vec![Finding::new(
            Code::ConfigValue,
            error.span().map_or_else(|| Place::file(file), |span| document.place_of(span)),
            error.message(),
            "see schema/fdroid-bb.schema.json for what may stand here",
        )]),
    }
}
