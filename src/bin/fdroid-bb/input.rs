//! Reading what every command reads, and judging what was found.

use std::path::PathBuf;
use std::thread;

use fdroid_bb::cache::{self, Cache};
use fdroid_bb::compile::{self, Description, Detail, Metadata};
use fdroid_bb::finding::{Finding, Severity};
use fdroid_bb::load::Tree;

use crate::Exit;
use crate::cli::{Inputs, Strictness};
use crate::progress::Progress;

/// All that was read and found.
pub struct Read {
    pub description: Description,
    pub tree: Tree,
    /// Where the tree is.
    pub fdroiddata: PathBuf,
    pub apps: Metadata,
    /// The findings on the description, then those on the apps.
    pub findings: Vec<Finding>,
}

/// Reads the description, and of the apps what their pollers follow from.
///
/// # Errors
/// All findings, where one of them leaves nothing to go on with.
pub fn read(inputs: &Inputs) -> Result<Read, Vec<Finding>> {
    read_with(inputs, true)
}

/// Reads the description, and of the apps all.
///
/// # Errors
/// All findings, where one of them leaves nothing to go on with.
pub fn read_whole(inputs: &Inputs) -> Result<Read, Vec<Finding>> {
    read_with(inputs, false)
}

fn read_with(inputs: &Inputs, pollers_only: bool) -> Result<Read, Vec<Finding>> {
    // To list a repository takes as long as all that can be done without it.
    let (path, revision) = (inputs.fdroiddata.clone(), inputs.rev.clone());
    let tree = thread::spawn(move || {
        let tree = Tree::open(&path, revision.as_deref())?;
        tree.metadata().and(tree.srclibs())?;
        Ok(tree)
    });
    let root = inputs.rev.is_none().then_some(inputs.fdroiddata.as_path());
    let cache = cache::folder().filter(|_| pollers_only).map(|folder| Cache::load(&folder, root));
    let known = cache.as_ref().map(Cache::known);
    let description = compile::description(&inputs.config, inputs.overlay.as_deref());
    let tree = tree.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let (description, tree) = match (description, tree) {
        (Ok(description), Ok(tree)) => (description, tree),
        (Ok(_), Err(finding)) => return Err(vec![finding]),
        (Err(findings), Ok(_)) => return Err(findings),
        (Err(mut findings), Err(finding)) => {
            findings.push(finding);
            return Err(findings);
        }
    };
    let detail = if pollers_only { Detail::Pollers(known.as_ref()) } else { Detail::Whole };
    let apps = read_apps(&description, &tree, detail).map_err(|finding| vec![finding])?;
    let findings = description.findings.iter().chain(&apps.findings).cloned().collect();
    Ok(Read { description, tree, fdroiddata: inputs.fdroiddata.clone(), apps, findings })
}

/// Reads of the apps what their pollers follow from.
///
/// # Errors
/// When `tree` cannot be listed.
pub fn apps(description: &Description, tree: &Tree) -> Result<Metadata, Finding> {
    let cache = cache::folder().map(|folder| Cache::load(&folder, tree.folder()));
    let known = cache.as_ref().map(Cache::known);
    read_apps(description, tree, Detail::Pollers(known.as_ref()))
}

/// Reads the apps, with a bar where that takes long.
fn read_apps(
    description: &Description,
    tree: &Tree,
    detail: Detail<'_>,
) -> Result<Metadata, Finding> {
    let progress = Progress::new("reading apps");
    compile::apps(description, tree, detail, &|done, total| progress.at(done, total))
}

/// How a command ends that found `findings`.
pub fn exit(findings: &[Finding], strictness: &Strictness, apps: &Metadata) -> Exit {
    if findings.iter().any(|finding| finding.severity == Severity::Error)
        || (strictness.strict && !apps.findings.is_empty())
    {
        Exit::Invalid
    } else if strictness.deny_warnings && !findings.is_empty() {
        Exit::Warnings
    } else {
        Exit::Clean
    }
}
