//! The stages in a row: from a pipeline description and fdroiddata to the files of the masters.

mod apps;
mod each;
mod extra;
mod read;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::buildbot::Master;
use crate::config::{self, Sources};
use crate::fdroid::{App, AppId, Marks};
use crate::finding::{Code, Finding};
use crate::lower::{self, lower};
use crate::model::{self, MODEL};
use crate::pipeline::Pipeline;
use crate::render::{self, POLLERS, written_pollers};
use crate::resolve;
use crate::resolve::apps::{Poller, Reason, Srclibs};
use crate::text::may_hold_secret;
use crate::write::OutputSet;

pub use apps::{Detail, apps};

/// A pipeline description that holds together, and what was found in it.
#[derive(Debug)]
pub struct Description {
    /// What it says.
    pub pipeline: Pipeline,
    /// Warnings.
    pub findings: Vec<Finding>,
    /// The files that it was read from.
    pub sources: Sources,
}

/// What is known of one file of `metadata/`.
#[derive(Debug)]
pub enum Record {
    /// It was read.
    App {
        /// The application id.
        id: AppId,
        /// Where the fields stand that decide on its poller.
        marks: Marks,
        /// All that it says, where that was asked for.
        app: Option<Box<App>>,
        /// What watches its source, or why nothing does.
        poller: Result<Poller, Reason>,
    },
    /// It was not, and is left out.
    Quarantined {
        /// The name of the file without `.yml`.
        stem: String,
        /// Why.
        error: Finding,
    },
}

impl Record {
    /// The name of the file without `.yml`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::App { id, .. } => id.as_str(),
            Self::Quarantined { stem, .. } => stem,
        }
    }
}

/// All that fdroiddata holds.
#[derive(Debug)]
pub struct Metadata {
    /// The files, in order of their names.
    pub records: Vec<Record>,
    /// The srclibs, by their names.
    pub srclibs: Srclibs,
    /// All findings, those on quarantined files too.
    pub findings: Vec<Finding>,
}

impl Metadata {
    /// The pollers of the active apps, in order of their application ids.
    #[must_use]
    pub fn pollers(&self) -> Vec<(&AppId, &Poller)> {
        let mut pollers: Vec<_> = self
            .records
            .iter()
            .filter_map(|record| match record {
                Record::App { id, poller: Ok(poller), .. } => Some((id, poller)),
                _ => None,
            })
            .collect();
        pollers.sort_by_key(|(id, _)| *id);
        pollers
    }
}

/// Reads the pipeline description in `file`, what it is on top of, and what is on top of it.
///
/// # Errors
/// All findings, of which at least one is an error.
pub fn description(file: &Path, overlay: Option<&Path>) -> Result<Description, Vec<Finding>> {
    describe(Sources::read(file, overlay)?)
}

/// Makes sense of a pipeline description.
///
/// # Errors
/// All findings, of which at least one is an error.
pub fn describe(sources: Sources) -> Result<Description, Vec<Finding>> {
    let resolved =
        config::read(&sources).and_then(|written| resolve::alternatives::resolve_all(&written));
    let resolved = resolved.and_then(|(mut pipeline, findings)| {
        extra::read(&mut pipeline, &sources)?;
        Ok((pipeline, findings))
    });
    match resolved {
        Ok((pipeline, mut findings)) => {
            sources.quote(&mut findings);
            Ok(Description { pipeline, findings, sources })
        }
        Err(mut findings) => {
            sources.quote(&mut findings);
            hide_secrets(&mut findings);
            Err(findings)
        }
    }
}

/// Takes the excerpts from lines whose findings are not about what they say but may be meant to hold
/// a secret.
fn hide_secrets(findings: &mut [Finding]) {
    let codes = [Code::ConfigSyntax, Code::UnknownName];
    for finding in findings.iter_mut().filter(|finding| codes.contains(&finding.code)) {
        finding.excerpt.take_if(|excerpt| may_hold_secret(&excerpt.text));
    }
}

/// Every file of the output, by its path.
///
/// # Errors
/// When a template is broken, which is a fault of this program.
pub fn output(
    pipeline: &Pipeline,
    pollers: &[(&AppId, &Poller)],
) -> Result<BTreeMap<String, String>, minijinja::Error> {
    let new =
        |(id, poller): &(&AppId, &Poller)| render::Poller::New(lower::poller(pipeline, id, poller));
    files(pipeline, |_| pollers.iter().map(new))
}

/// The same for masters that run: an app whose metadata is broken now keeps the poller that it has
/// in `old`, the set on disk, unless its file was edited. With it, the names of these apps.
///
/// # Errors
/// When a template is broken, which is a fault of this program.
pub fn following_output(
    pipeline: &Pipeline,
    apps: &Metadata,
    old: &OutputSet,
) -> Result<(BTreeMap<String, String>, BTreeSet<String>), minijinja::Error> {
    let broken: BTreeSet<&str> = apps
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Quarantined { stem, .. } => Some(stem.as_str()),
            Record::App { .. } => None,
        })
        .collect();
    let mut kept = BTreeSet::new();
    let pollers = apps.pollers();
    let files = files(pipeline, |master| {
        let file = format!("{}/{POLLERS}", master.name);
        let had = old.text(&file).filter(|_| !broken.is_empty() && !old.is_edited(&file));
        let had = written_pollers(had.unwrap_or_default());
        let mut all: Vec<(&str, render::Poller<'_>)> = had
            .filter(|(id, _)| broken.contains(id))
            .map(|(id, call)| (id, render::Poller::Kept(call)))
            .collect();
        kept.extend(all.iter().map(|(id, _)| (*id).to_owned()));
        all.extend(pollers.iter().map(|(id, poller)| {
            (id.as_str(), render::Poller::New(lower::poller(pipeline, id, poller)))
        }));
        all.sort_by_key(|(id, _)| *id);
        all.into_iter().map(|(_, poller)| poller)
    })?;
    Ok((files, kept))
}

fn files<'a, P: Iterator<Item = render::Poller<'a>>>(
    pipeline: &Pipeline,
    pollers: impl FnMut(&Master) -> P,
) -> Result<BTreeMap<String, String>, minijinja::Error> {
    let masters = lower(pipeline);
    let mut files = render::render(&masters, pollers)?;
    files.insert(MODEL.to_owned(), model::written(&pipeline.places, &masters));
    Ok(files)
}
