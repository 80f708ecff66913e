//! The stages in a row: from a pipeline description and fdroiddata to the files of the masters.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::config;
use crate::fdroid::{App, AppId};
use crate::finding::{Code, Finding, Place};
use crate::load::{self, Tree};
use crate::lower::lower;
use crate::parse;
use crate::pipeline::Pipeline;
use crate::render::{POLLERS, render, written_pollers};
use crate::resolve;
use crate::resolve::apps::{Poller, Reason, Resolver, Srclibs};
use crate::text::shown;

/// How many files a thread takes at a time: neighbours in a pack are made from each other.
const BLOCK: usize = 64;

/// The largest pipeline description that is read, in bytes. F-Droid's own has 8 KB.
pub const LARGEST_DESCRIPTION: u64 = 1 << 20;

/// A pipeline description that holds together, and what was found in it.
#[derive(Debug)]
pub struct Description {
    /// What it says.
    pub pipeline: Pipeline,
    /// Warnings.
    pub findings: Vec<Finding>,
    /// The path that findings name.
    pub file: String,
    /// The text that it was read from.
    pub text: String,
}

/// What is known of one file of `metadata/`.
#[derive(Debug)]
pub enum Record {
    /// It was read.
    App {
        /// What it says.
        app: Box<App>,
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
            Self::App { app, .. } => app.id.as_str(),
            Self::Quarantined { stem, .. } => stem,
        }
    }
}

/// All that fdroiddata holds.
#[derive(Debug)]
pub struct Apps {
    /// The files, in order of their names.
    pub records: Vec<Record>,
    /// The number of srclibs.
    pub srclibs: usize,
    /// All findings, those on quarantined files too.
    pub findings: Vec<Finding>,
}

impl Apps {
    /// The pollers of the active apps, in order of their application ids.
    #[must_use]
    pub fn pollers(&self) -> Vec<(AppId, Poller)> {
        let mut pollers: Vec<_> = self
            .records
            .iter()
            .filter_map(|record| match record {
                Record::App { app, poller: Ok(poller) } => Some((app.id.clone(), poller.clone())),
                _ => None,
            })
            .collect();
        pollers.sort_by(|a, b| a.0.cmp(&b.0));
        pollers
    }
}

/// Reads the pipeline description in `file`.
///
/// # Errors
/// All findings, of which at least one is an error.
pub fn description(file: &Path) -> Result<Description, Vec<Finding>> {
    let shown = file.display().to_string();
    let text = read_description(file).map_err(|error| {
        let message = format!("the pipeline description cannot be read: {error}");
        let help = "give `--config FILE`, or write one with `fdroid-bb init`";
        vec![Finding::new(Code::ConfigMissing, Place::file(&shown), message, help)]
    })?;
    describe(&shown, &text)
}

/// The text of a pipeline description.
///
/// # Errors
/// When the file cannot be read, is not UTF-8, or is larger than [`LARGEST_DESCRIPTION`].
pub fn read_description(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(LARGEST_DESCRIPTION + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_DESCRIPTION {
        let message = format!("it has more than {LARGEST_DESCRIPTION} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// Reads a pipeline description from `text`; `file` is the path that findings name.
///
/// # Errors
/// All findings, of which at least one is an error.
pub fn describe(file: &str, text: &str) -> Result<Description, Vec<Finding>> {
    let (config, document) = config::read(file, text)?;
    let (pipeline, findings) = resolve::pipeline::resolve(&config, &document)?;
    Ok(Description { pipeline, findings, file: file.to_owned(), text: text.to_owned() })
}

/// Reads every app of `tree` and decides on it. `progress` is told, now and then and from any
/// thread, how many files of how many are done.
///
/// # Errors
/// When `tree` cannot be listed.
pub fn apps(
    pipeline: &Pipeline,
    tree: &Tree,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Apps, Finding> {
    let (srclib_files, _) = tree.files(load::SRCLIBS)?;
    let srclibs = read_srclibs(tree, &srclib_files);
    let (files, mut findings) = tree.files(load::METADATA)?;
    let resolver = Resolver::new(pipeline, &srclibs);
    let done = AtomicUsize::new(0);
    let read = read_all(tree, &files, |reader, file| {
        let read = read_app(&resolver, reader, file);
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, files.len());
        read
    });
    let mut records = Vec::with_capacity(read.len() + findings.len());
    for error in &findings {
        let stem = error.place.file.rsplit('/').next().unwrap_or_default();
        let stem = stem.strip_suffix(".yml").unwrap_or(stem).to_owned();
        records.push(Record::Quarantined { stem, error: error.clone() });
    }
    for (record, found) in read {
        records.push(record);
        findings.extend(found);
    }
    records.sort_by(|a, b| a.name().cmp(b.name()));
    findings.extend(unused_overrides(pipeline, &records));
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(Apps { records, srclibs: srclib_files.len(), findings })
}

/// Every file of the output, by its path.
///
/// # Errors
/// When a template is broken, which is a fault of this program.
pub fn output(
    pipeline: &Pipeline,
    pollers: &[(AppId, Poller)],
) -> Result<BTreeMap<String, String>, minijinja::Error> {
    render(pipeline, &lower(pipeline, pollers))
}

/// The same for masters that run: an app whose metadata is broken now keeps the poller that it has
/// in `old`, the files of the set on disk. With it, the names of these apps.
///
/// # Errors
/// When a template is broken, which is a fault of this program.
pub fn following_output(
    pipeline: &Pipeline,
    apps: &Apps,
    old: &BTreeMap<&str, &str>,
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
    let mut masters = lower(pipeline, &apps.pollers());
    for master in masters.iter_mut().filter(|_| !broken.is_empty()) {
        let Some(pollers) = &mut master.pollers else { continue };
        let file = format!("{}/{POLLERS}", master.name);
        let had = old.get(file.as_str()).map(|text| written_pollers(text)).unwrap_or_default();
        let had = had.into_iter().filter(|object| broken.contains(object.name.as_str()));
        let before = pollers.len();
        pollers.extend(had);
        kept.extend(pollers.iter().skip(before).map(|object| object.name.clone()));
        pollers.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok((render(pipeline, &masters)?, kept))
}

fn read_srclibs(tree: &Tree, files: &[load::File]) -> Srclibs {
    read_all(tree, files, |reader, file| {
        let read = reader.read(file).and_then(|bytes| parse::srclib(&file.path, &bytes));
        (file.stem.clone(), read)
    })
    .into_iter()
    .collect()
}

/// What `read` makes of each file, in their order. There is a thread for each processor; it opens
/// the repository once and takes files as long as there are any.
fn read_all<T: Send>(
    tree: &Tree,
    files: &[load::File],
    read: impl Fn(&load::Reader<'_>, &load::File) -> T + Sync,
) -> Vec<T> {
    let order = tree.fastest_order(files);
    let next = AtomicUsize::new(0);
    let work = || {
        let reader = tree.reader();
        let mut mine = Vec::new();
        while let Some(block) = order.chunks(BLOCK).nth(next.fetch_add(1, Ordering::Relaxed)) {
            let block = block.iter().filter_map(|&i| Some((i, files.get(i)?)));
            mine.extend(block.map(|(i, file)| (i, read(&reader, file))));
        }
        mine
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let mut all: Vec<(usize, T)> = thread::scope(|scope| {
        let others: Vec<_> = (1..processors).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            match other.join() {
                Ok(theirs) => all.extend(theirs),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_unstable_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, read)| read).collect()
}

fn read_app(
    resolver: &Resolver<'_>,
    reader: &load::Reader<'_>,
    file: &load::File,
) -> (Record, Vec<Finding>) {
    let quarantined = |error: Finding, mut findings: Vec<Finding>| {
        findings.push(error.clone());
        (Record::Quarantined { stem: file.stem.clone(), error }, findings)
    };
    let Some(id) = AppId::new(&file.stem) else {
        let message = format!("`{}` is no application id", shown(&file.stem));
        let help = "name the file as the app is named: letters, digits, `_` and `.` only";
        let place = Place::file(shown(&file.path));
        return quarantined(Finding::new(Code::AppIdInvalid, place, message, help), Vec::new());
    };
    let bytes = match reader.read(file) {
        Ok(bytes) => bytes,
        Err(error) => return quarantined(error, Vec::new()),
    };
    let parsed = parse::app(id, &file.path, &bytes);
    let mut findings = parsed.findings;
    match parsed.app {
        Err(error) => quarantined(error, findings),
        Ok(app) => {
            let (poller, found) = resolver.resolve(&app, &file.path);
            findings.extend(found);
            (Record::App { app: Box::new(app), poller }, findings)
        }
    }
}

/// Overrides that name apps of which there is none.
fn unused_overrides(pipeline: &Pipeline, records: &[Record]) -> Vec<Finding> {
    let rules = &pipeline.apps.overrides;
    if rules.iter().all(|rule| rule.apps.is_empty()) {
        return Vec::new();
    }
    let ids: Vec<&str> = records
        .iter()
        .filter_map(|record| match record {
            Record::App { app, .. } => Some(app.id.as_str()),
            Record::Quarantined { .. } => None,
        })
        .collect();
    let globs = rules.iter().flat_map(|rule| &rule.apps).zip(&pipeline.override_places);
    globs
        .filter(|(glob, _)| !ids.iter().any(|id| glob.matches(id)))
        .map(|(_, place)| {
            let message = "no app has an id like this";
            Finding::new(Code::OverrideUnused, place.clone(), message, "mend it or delete it")
        })
        .collect()
}
