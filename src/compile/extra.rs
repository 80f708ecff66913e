//! Python of the site's own, which `masters.NAME.extra` names.

use crate::config::{Path, Sources};
use crate::finding::{Code, Finding};
use crate::pipeline::Pipeline;

/// Reads it for every master.
///
/// # Errors
/// A finding for each file that cannot be read.
pub(super) fn read(pipeline: &mut Pipeline, sources: &Sources) -> Result<(), Vec<Finding>> {
    let mut findings = Vec::new();
    for (name, master) in &mut pipeline.masters {
        let Some(file) = &master.settings.extra else { continue };
        let place = pipeline.places.of(&Path::root("masters").key(name.as_str()).key("extra"));
        match sources.beside(&place.file, file) {
            Ok(source) => master.extra = Some(source.text),
            Err((path, error)) => findings.push(Finding::new(
                Code::ConfigMissing,
                place,
                format!("the file `{}` cannot be read: {error}", path.display()),
                "paths are relative to the file that names them",
            )),
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}
