//! A description with what is chosen, and with every other alternative too: what is not chosen
//! today is checked all the same.

use std::collections::BTreeSet;

use super::names::resolve;
use crate::config::{self, Selection, Written, in_words};
use crate::finding::{Code, Finding, Severity};
use crate::pipeline::Pipeline;

/// Warnings of which nothing is left once they do not hold for one alternative: what they are about
/// is needed there.
const UNUSED: &[Code] =
    &[Code::BuilderUnreachable, Code::WorkerUnused, Code::LockUnused, Code::SubmitUnused];

/// The pipeline of a description, and warnings.
///
/// # Errors
/// All findings, of which at least one is an error: also those on alternatives that are not chosen.
pub(crate) fn resolve_all(written: &Written<'_>) -> Result<(Pipeline, Vec<Finding>), Vec<Finding>> {
    let mut selections = written.selections().into_iter();
    let chosen = selections.next().unwrap_or_default();
    let (pipeline, mut findings) = match resolve_one(written, &chosen) {
        Ok((pipeline, findings)) => (Some(pipeline), findings),
        Err(findings) => (None, findings),
    };
    for selection in selections {
        let other = match resolve_one(written, &selection) {
            Ok((_, findings)) | Err(findings) => findings,
        };
        let there: BTreeSet<_> = other.iter().map(|f| (f.code, &f.place)).collect();
        findings.retain(|f| !UNUSED.contains(&f.code) || there.contains(&(f.code, &f.place)));
        let known: BTreeSet<_> = findings.iter().map(|f| (f.code, f.place.clone())).collect();
        for mut finding in other {
            let is_new = !known.contains(&(finding.code, finding.place.clone()));
            if is_new && finding.severity == Severity::Error {
                finding.message = format!("{} ({})", finding.message, in_words(&selection));
                findings.push(finding);
            }
        }
    }
    findings.extend(written.findings.iter().cloned());
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    match pipeline {
        Some(pipeline) if findings.iter().all(|f| f.severity == Severity::Warning) => {
            Ok((pipeline, findings))
        }
        _ => Err(findings),
    }
}

fn resolve_one(
    written: &Written<'_>,
    selection: &Selection,
) -> Result<(Pipeline, Vec<Finding>), Vec<Finding>> {
    let document = written.expand(selection)?;
    resolve(&config::deserialize(&document)?, &document)
}
