//! Reading every app: from the cache what it knows, the rest from fdroiddata.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::each::{each, in_order};
use super::read::{Fresh, Read, known_record};
use super::seen::{Seen, look_up};
use super::{Description, Metadata, Record};
use crate::cache::{self, Known, News, Settings};
use crate::config::{Glob, Path, Trigger};
use crate::fdroid::outline::SrclibOutline;
use crate::finding::{Code, Finding, Place};
use crate::load::{self, File, METADATA, Reader, SRCLIBS, Tree};
use crate::parse;
use crate::pipeline::Pipeline;
use crate::polls::{self, CallRates};
use crate::resolve::apps::{Resolver, Srclibs};
use crate::text::shown;

/// What is wanted of each app.
#[derive(Clone, Copy, Debug)]
pub enum Detail<'c> {
    /// All that it says.
    Whole,
    /// What decides on its poller, with the help of what a cache knows.
    Pollers(Option<&'c Known<'c>>),
}

/// Reads every app of `tree` and decides on it. `progress` is told, now and then and from any
/// thread, how many files of how many are done.
///
/// # Errors
/// When `tree` cannot be listed.
pub fn apps(
    description: &Description,
    tree: &Tree,
    detail: Detail<'_>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Metadata, Finding> {
    let started = SystemTime::now();
    let (files, faults) = (&tree.metadata()?.files, &tree.metadata()?.findings);
    let srclib_files = &tree.srclibs()?.files;
    let known = match detail {
        Detail::Pollers(known) => known,
        Detail::Whole => None,
    };
    let seen_srclibs = Seen::of(tree, SRCLIBS, srclib_files, known, started);
    let (srclibs, new_srclibs) = read_srclibs(tree, srclib_files, &seen_srclibs, known);
    let settings = settings(description, &srclibs);
    let resolver = Resolver::new(&description.pipeline, &srclibs);

    let seen = Seen::of(tree, METADATA, files, known, started);
    let kept = look_up(known.map_or(&[], |known| &known.apps), files, &seen);
    let decided = |i: usize| known?.decision((*kept.get(i)?)?, &settings);
    let left = (0..files.len()).filter(|&i| decided(i).is_none()).collect();
    let order = in_order(tree, files, left);
    let done = AtomicUsize::new(0);
    let read_one = |reader: &Reader<'_>, i: usize, file: &File| {
        let outline = kept.get(i).copied().flatten().and_then(|kept| cache::read(kept.outline?));
        let read = outline.and_then(|outline| Read::known(&resolver, file, &outline));
        let read = read.unwrap_or_else(|| Read::new(&resolver, reader, file, detail));
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, order.len());
        read
    };
    let read = each(files, &order, || tree.reader(), read_one);
    let mut read = order.iter().copied().zip(read).collect::<BTreeMap<_, _>>();

    let mut findings = faults.clone();
    let mut records: Vec<Record> = Vec::with_capacity(files.len() + faults.len());
    let mut fresh = BTreeMap::new();
    for (i, file) in files.iter().enumerate() {
        if let Some(decision) = decided(i).and_then(cache::read) {
            records.push(known_record(file, decision, &mut findings));
            continue;
        }
        let read = read.remove(&i).unwrap_or_else(|| read_one(&tree.reader(), i, file));
        let decision = read.kept_decision();
        if let Some(blob) = seen.blob(i).or(read.blob).filter(|_| decision.is_some()) {
            fresh.insert(i, Fresh { blob, outline: read.outline, decision });
        }
        findings.extend(read.findings);
        records.push(read.record);
    }
    if let Some(known) = known {
        let news = News {
            apps: Fresh::kept(&fresh, files, &kept),
            srclibs: Fresh::kept(&new_srclibs, srclib_files, &[]),
            metadata_looks: seen.news(files, &fresh),
            srclib_looks: seen_srclibs.news(srclib_files, &new_srclibs),
        };
        known.save(settings, news);
    }
    for error in faults {
        let stem = error.place.file.rsplit('/').next().unwrap_or_default();
        let stem = stem.strip_suffix(".yml").unwrap_or(stem).to_owned();
        records.push(Record::Quarantined { stem, error: error.clone() });
    }
    records.sort_by(|a, b| a.name().cmp(b.name()));
    findings.extend(tree.finding.clone());
    let mut apps = Metadata { records, srclibs, findings };
    apps.findings.extend(alike(&apps.records));
    let mut of_all = unused_overrides(&description.pipeline, &apps.records);
    of_all.extend(poll_load(description, &apps));
    description.sources.quote(&mut of_all);
    apps.findings.extend(of_all);
    apps.findings.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(apps)
}

/// Application ids that differ from one before them by capitals alone. `records` are in order.
fn alike(records: &[Record]) -> Vec<Finding> {
    let ids = || records.iter().filter(|record| matches!(record, Record::App { .. }));
    let is_capital = |record: &&Record| record.name().bytes().any(|b| b.is_ascii_uppercase());
    let mut capitals: BTreeMap<String, &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for id in ids().filter(is_capital).map(Record::name) {
        let small = id.to_ascii_lowercase();
        let found = records.binary_search_by(|record| record.name().cmp(&small));
        let plain = found.ok().and_then(|at| records.get(at)).map(Record::name);
        if let Some(other) = plain.or(capitals.get(&small).copied()) {
            findings.push(Finding::new(
                Code::AppIdsAlike,
                Place::file(format!("{METADATA}/{id}.yml")),
                format!("`{id}` and `{other}` differ by capitals alone"),
                "rename one of the two, unless both are well known",
            ));
        }
        capitals.entry(small).or_insert(id);
    }
    findings
}

/// Hosts that are asked more often than they should be.
fn poll_load(description: &Description, apps: &Metadata) -> Vec<Finding> {
    let pipeline = &description.pipeline;
    if !pipeline.masters.values().any(|master| master.waits_for(&Trigger::AppSource)) {
        return Vec::new();
    }
    let limit = pipeline.guard.polls_per_minute;
    // Without what apps share, which takes longer to find out: hardly ever is it too much.
    let mut most: BTreeMap<&str, f64> = BTreeMap::new();
    for record in &apps.records {
        if let Record::App { poller: Ok(poller), .. } = record {
            *most.entry(poller.url.host()).or_default() += polls::per_minute(poller.interval);
        }
    }
    if most.values().all(|calls| *calls <= f64::from(limit)) {
        return Vec::new();
    }
    let pollers = apps.pollers();
    let rates = CallRates::of(&polls::repositories(&pollers));
    let over = rates.busiest().into_iter().filter(|(_, calls)| *calls > f64::from(limit));
    let place = pipeline.places.of(&Path::root("apps").key("poll-interval"));
    over.map(|(host, calls)| {
        let message = format!(
            "`{}` would be asked {calls:.1} times a minute, and `guard.polls-per-minute` is {limit}",
            shown(host),
        );
        let help = "raise the interval, or that of the host's apps in `apps.overrides`";
        Finding::new(Code::PollLoad, place.clone(), message, help)
    })
    .collect()
}

/// The sum of all but the apps that decisions follow from.
fn settings(description: &Description, srclibs: &Srclibs) -> Settings {
    let mut sum = Sha256::new();
    for source in description.sources.files() {
        sum.update(source.text.len().to_le_bytes());
        sum.update(&source.text);
    }
    for (name, srclib) in srclibs {
        let (repo, kind) = match srclib {
            Ok(srclib) => (srclib.repo.as_str(), srclib.repo_type.as_str()),
            Err(error) => (error.message.as_str(), ""),
        };
        for part in [name, repo, kind] {
            sum.update(part.len().to_le_bytes());
            sum.update(part);
        }
    }
    sum.finalize().into()
}

/// Every srclib, and those that the cache does not know by the index of their files.
fn read_srclibs(
    tree: &Tree,
    files: &[File],
    seen: &Seen,
    known: Option<&Known<'_>>,
) -> (Srclibs, BTreeMap<usize, Fresh>) {
    let mut srclibs = Srclibs::new();
    let mut left = Vec::new();
    let kept = look_up(known.map_or(&[], |known| &known.srclibs), files, seen);
    for (i, (file, kept)) in files.iter().zip(kept).enumerate() {
        match kept.and_then(|kept| cache::read::<SrclibOutline<'_>>(kept.outline?)) {
            Some(outline) => {
                srclibs.insert(file.stem().to_owned(), Ok((&outline).into()));
            }
            None => left.push(i),
        }
    }
    let order = in_order(tree, files, left);
    let read = each(
        files,
        &order,
        || tree.reader(),
        |reader, _, file| match reader.read(file) {
            Ok(bytes) => {
                let blob = file.blob().or_else(|| load::blob_of(&bytes));
                (parse::srclib(&file.path(), &bytes), blob)
            }
            Err(error) => (Err(error), None),
        },
    );
    let mut fresh = BTreeMap::new();
    for (i, (srclib, blob)) in order.into_iter().zip(read) {
        let Some(file) = files.get(i) else { continue };
        if let (Ok(srclib), Some(blob)) = (&srclib, blob) {
            let outline = cache::written(&SrclibOutline::from(srclib));
            fresh.insert(i, Fresh { blob, outline, decision: None });
        }
        srclibs.insert(file.stem().to_owned(), srclib);
    }
    (srclibs, fresh)
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
            Record::App { id, .. } => Some(id.as_str()),
            Record::Quarantined { .. } => None,
        })
        .collect();
    let is_unused = |glob: &Glob| !ids.iter().any(|id| glob.matches(id));
    let rules = rules.iter().enumerate();
    let unused = rules.flat_map(|(i, rule)| {
        let path = Path::root("apps").key("overrides").index(i).key("apps");
        let globs = rule.apps.iter().enumerate();
        globs.filter(|(_, glob)| is_unused(glob)).map(move |(j, _)| path.index(j))
    });
    unused
        .map(|path| {
            let place = pipeline.places.of(&path);
            let message = "no app has an id like this";
            Finding::new(Code::OverrideUnused, place, message, "fix or remove it")
        })
        .collect()
}
