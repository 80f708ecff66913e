//! Reading what every command reads, and judging what was found.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use fdroid_bb::cache::{self, Cache};
use fdroid_bb::compile::{self, Apps, Description, Detail};
use fdroid_bb::finding::{Finding, Severity};
use fdroid_bb::load::Tree;
use indicatif::{ProgressBar, ProgressStyle};

use crate::Exit;
use crate::cli::{Inputs, Strictness};

/// How long work may go on before a bar shows its progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// All that was read and found.
pub struct Read {
    pub description: Description,
    pub tree: Tree,
    pub apps: Apps,
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
    let description = compile::description(&inputs.config);
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
    Ok(Read { description, tree, apps, findings })
}

/// Reads of the apps what their pollers follow from.
///
/// # Errors
/// When `tree` cannot be listed.
pub fn apps(description: &Description, tree: &Tree) -> Result<Apps, Finding> {
    let cache = cache::folder().map(|folder| Cache::load(&folder, tree.folder()));
    let known = cache.as_ref().map(Cache::known);
    read_apps(description, tree, Detail::Pollers(known.as_ref()))
}

/// Reads the apps, with a bar where that takes long.
fn read_apps(description: &Description, tree: &Tree, detail: Detail<'_>) -> Result<Apps, Finding> {
    let progress = Progress::new();
    let apps = compile::apps(description, tree, detail, &|done, total| progress.at(done, total));
    progress.end();
    apps
}

/// How a command ends that found `findings`.
pub fn exit(findings: &[Finding], strictness: &Strictness, apps: &Apps) -> Exit {
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

/// A bar that shows itself only when work takes long, and only on a terminal.
struct Progress {
    started: Instant,
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    fn new() -> Self {
        Self { started: Instant::now(), bar: OnceLock::new() }
    }

    fn at(&self, done: usize, total: usize) {
        if done.is_multiple_of(64) && self.started.elapsed() > PATIENCE {
            let bar = self.bar.get_or_init(|| {
                let style = ProgressStyle::with_template("reading apps {wide_bar} {pos}/{len}");
                ProgressBar::new(total as u64)
                    .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
            bar.set_position(done as u64);
        }
    }

    fn end(self) {
        if let Some(bar) = self.bar.into_inner() {
            bar.finish_and_clear();
        }
    }
}
