//! Reading what every command reads, and judging what was found.

use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fdroid_bb::cache;
use fdroid_bb::compile::{self, Apps, Description, Detail};
use fdroid_bb::finding::{Finding, Severity};
use fdroid_bb::load::Tree;
use indicatif::{ProgressBar, ProgressStyle};

use crate::Exit;
use crate::cli::{Inputs, Strictness};
use crate::report;

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
    read_detail(inputs, Detail::Pollers(cache::folder().as_deref()))
}

/// Reads the description, and of the apps all.
///
/// # Errors
/// All findings, where one of them leaves nothing to go on with.
pub fn read_whole(inputs: &Inputs) -> Result<Read, Vec<Finding>> {
    read_detail(inputs, Detail::Whole)
}

fn read_detail(inputs: &Inputs, detail: Detail<'_>) -> Result<Read, Vec<Finding>> {
    let (description, tree) = std::thread::scope(|scope| {
        let tree = scope.spawn(|| Tree::open(&inputs.fdroiddata, inputs.rev.as_deref()));
        (compile::description(&inputs.config), tree.join())
    });
    let tree = tree.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let (description, tree) = match (description, tree) {
        (Ok(description), Ok(tree)) => (description, tree),
        (Ok(_), Err(finding)) => return Err(vec![finding]),
        (Err(findings), Ok(_)) => return Err(findings),
        (Err(mut findings), Err(finding)) => {
            findings.push(finding);
            return Err(findings);
        }
    };
    let apps = read_apps(&description, &tree, detail).map_err(|finding| vec![finding])?;
    let findings = description.findings.iter().chain(&apps.findings).cloned().collect();
    Ok(Read { description, tree, apps, findings })
}

/// Reads of the apps what their pollers follow from.
///
/// # Errors
/// When `tree` cannot be listed.
pub fn apps(description: &Description, tree: &Tree) -> Result<Apps, Finding> {
    read_apps(description, tree, Detail::Pollers(cache::folder().as_deref()))
}

/// Reads the apps, with a bar where that takes long.
fn read_apps(description: &Description, tree: &Tree, detail: Detail<'_>) -> Result<Apps, Finding> {
    let progress = Progress::new();
    let apps = compile::apps(description, tree, detail, &|done, total| progress.at(done, total));
    progress.end();
    apps
}

/// Says all findings, each with the line it points at.
pub fn say(
    err: &mut dyn Write,
    inputs: &Inputs,
    tree: Option<&Tree>,
    findings: &[Finding],
) -> io::Result<()> {
    let reader = tree.map(Tree::reader);
    // Findings come in the order of their files, so one file is remembered.
    let mut file_shown = String::new();
    let mut text = String::new();
    report::findings(err, findings, &mut |file, line| {
        if file != file_shown {
            text = if Path::new(file) == inputs.config {
                compile::read_description(&inputs.config).unwrap_or_default()
            } else {
                reader.as_ref().and_then(|reader| reader.text(file)).unwrap_or_default()
            };
            file.clone_into(&mut file_shown);
        }
        text.lines().nth(line as usize - 1).map(ToOwned::to_owned)
    })
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
