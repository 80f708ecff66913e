//! Reading what every command reads, and judging what was found.

use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fdroid_bb::compile::{self, Apps, Description};
use fdroid_bb::finding::{Finding, Severity};
use fdroid_bb::load::Tree;
use fdroid_bb::pipeline::Pipeline;
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

/// Reads the description and the apps.
///
/// # Errors
/// All findings, where one of them leaves nothing to go on with.
pub fn read(inputs: &Inputs) -> Result<Read, Vec<Finding>> {
    let tree = Tree::open(&inputs.fdroiddata, inputs.rev.as_deref());
    let (description, tree) = match (compile::description(&inputs.config), tree) {
        (Ok(description), Ok(tree)) => (description, tree),
        (Ok(_), Err(finding)) => return Err(vec![finding]),
        (Err(findings), Ok(_)) => return Err(findings),
        (Err(mut findings), Err(finding)) => {
            findings.push(finding);
            return Err(findings);
        }
    };
    let apps = apps(&description.pipeline, &tree).map_err(|finding| vec![finding])?;
    let findings = description.findings.iter().chain(&apps.findings).cloned().collect();
    Ok(Read { description, tree, apps, findings })
}

/// Reads the apps, with a bar where that takes long.
///
/// # Errors
/// When `tree` cannot be listed.
pub fn apps(pipeline: &Pipeline, tree: &Tree) -> Result<Apps, Finding> {
    let progress = Progress::new();
    let apps = compile::apps(pipeline, tree, &|done, total| progress.at(done, total));
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
    let mut lines: Vec<String> = Vec::new();
    report::findings(err, findings, &mut |file, line| {
        if file != file_shown {
            let text = if Path::new(file) == inputs.config {
                compile::read_description(&inputs.config).ok()
            } else {
                reader.as_ref().and_then(|reader| reader.text(file))
            };
            lines = text.unwrap_or_default().lines().map(ToOwned::to_owned).collect();
            file.clone_into(&mut file_shown);
        }
        lines.get(line as usize - 1).cloned()
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
