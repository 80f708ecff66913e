//! Reading every app: from the cache what it knows, the rest from fdroiddata.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::{Apps, Description, Record};
use crate::cache::{
    self, Blob, Decision, Kept, Known, KnownFinding, KnownPoller, Look, Looked, News, Settings,
};
use crate::config::{Document, Path, Trigger};
use crate::fdroid::AppId;
use crate::fdroid::outline::{Outline, SrclibOutline};
use crate::finding::{Code, Finding, Place, quote};
use crate::load::{self, File, METADATA, Reader, SRCLIBS, Tree};
use crate::parse;
use crate::pipeline::Pipeline;
use crate::polls::{self, Load};
use crate::resolve::apps::{Resolver, Srclibs};
use crate::text::shown;

/// How many files a thread takes at a time: neighbours in a pack are made from each other.
const BLOCK: usize = 64;

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
) -> Result<Apps, Finding> {
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
    let mut apps = Apps { records, srclibs: srclib_files.len(), findings };
    let mut of_all = unused_overrides(&description.pipeline, &apps.records);
    of_all.extend(poll_load(description, &apps));
    quote(&mut of_all, &description.text);
    apps.findings.extend(of_all);
    apps.findings.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(apps)
}

/// Hosts that are asked more often than they should be.
fn poll_load(description: &Description, apps: &Apps) -> Vec<Finding> {
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
    let load = Load::of(&polls::repositories(&pollers));
    let over = load.busiest().into_iter().filter(|(_, calls)| *calls > f64::from(limit));
    let place = Document::parse(&description.file, &description.text).map_or_else(
        |_| Place::file(&description.file),
        |document| document.key(&Path::root("apps").key("poll-interval")),
    );
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

/// What an earlier run has decided on a file.
fn known_record(file: &File, decision: Decision<'_>, findings: &mut Vec<Finding>) -> Record {
    let path = || file.path();
    findings.extend(decision.findings.iter().map(|finding| finding.on(&path())));
    match decision.outcome {
        Ok((marks, poller)) => {
            let poller = poller.map(|poller| (&poller).into());
            Record::App { id: AppId::known(file.stem()), marks, app: None, poller }
        }
        Err(error) => {
            Record::Quarantined { stem: file.stem().to_owned(), error: error.on(&path()) }
        }
    }
}

/// What became of one file.
struct Read {
    record: Record,
    findings: Vec<Finding>,
    /// Its blob, if it was read and is to be kept.
    blob: Option<Blob>,
    /// What the cache is to keep of what was read, as it was written.
    outline: Option<Vec<u8>>,
    /// Whether it says something of the file's content, which is the same next time.
    lasting: bool,
}

/// What the cache is to keep of a file.
struct Fresh {
    blob: Blob,
    /// `None` where it is kept already, or not wanted.
    outline: Option<Vec<u8>>,
    decision: Option<Vec<u8>>,
}

impl Fresh {
    /// The same as the cache takes it; `old` is what that has.
    fn kept<'f>(
        fresh: &'f BTreeMap<usize, Self>,
        files: &'f [File],
        old: &[Option<&Kept<'f>>],
    ) -> Vec<Kept<'f>> {
        let kept = |(&i, fresh): (&usize, &'f Self)| {
            let before = old.get(i).copied().flatten().and_then(|kept| kept.outline);
            let outline = fresh.outline.as_deref().or(before);
            let decision = fresh.decision.as_deref();
            Some(Kept::new(files.get(i)?.stem(), &fresh.blob, outline, decision))
        };
        fresh.iter().filter_map(kept).collect()
    }
}

impl Read {
    /// What follows from what an earlier run has read; `None` where there is something to find, for
    /// which its text is needed.
    fn known(resolver: &Resolver<'_>, file: &File, outline: &Outline<'_>) -> Option<Self> {
        let id = AppId::known(file.stem());
        let (poller, findings) = resolver.resolve(&id, outline, "");
        let record = Record::App { id, marks: outline.marks, app: None, poller };
        let known = Self { record, findings, blob: None, outline: None, lasting: true };
        known.findings.is_empty().then_some(known)
    }

    /// What the cache is to keep of the decision, as it is written.
    fn kept_decision(&self) -> Option<Vec<u8>> {
        let outcome = match &self.record {
            Record::App { marks, poller, .. } => {
                Ok((*marks, poller.as_ref().map(KnownPoller::from).map_err(|reason| *reason)))
            }
            Record::Quarantined { error, .. } => Err(KnownFinding::from(error)),
        };
        let findings = self.findings.iter().map(KnownFinding::from).collect();
        let keep = self.lasting && cache::keeps(&self.findings);
        keep.then(|| cache::written(&Decision { outcome, findings })).flatten()
    }

    fn new(resolver: &Resolver<'_>, reader: &Reader<'_>, file: &File, detail: Detail<'_>) -> Self {
        let unread = |error: Finding| {
            let findings = vec![error.clone()];
            let record = Record::Quarantined { stem: file.stem().to_owned(), error };
            Self { record, findings, blob: None, outline: None, lasting: false }
        };
        let path = file.path();
        let Some(id) = AppId::new(file.stem()) else {
            let message = format!("`{}` is no application id", shown(file.stem()));
            let help = "name the file as the app is named: letters, digits, `_` and `.` only";
            let place = Place::file(shown(&path));
            return unread(Finding::new(Code::AppIdInvalid, place, message, help));
        };
        let bytes = match reader.read(file) {
            Ok(bytes) => bytes,
            Err(error) => return unread(error),
        };
        let parsed = parse::app(id.clone(), &path, &bytes);
        let mut findings = parsed.findings;
        let resolved = parsed.app.map(|app| {
            let (poller, found) = resolver.resolve(&id, &Outline::from(&app), &path);
            findings.extend(found);
            (app, poller)
        });
        findings.extend(resolved.as_ref().err().cloned());
        if !findings.is_empty() {
            quote(&mut findings, &String::from_utf8_lossy(&bytes));
        }
        let keeps = matches!(detail, Detail::Pollers(Some(_)));
        let blob = keeps.then(|| file.blob().or_else(|| load::blob_of(&bytes))).flatten();
        let mut outline = None;
        let record = match resolved {
            Ok((app, poller)) => {
                if keeps && findings.is_empty() {
                    outline = cache::written(&Outline::from(&app));
                }
                let marks = app.marks;
                let app = matches!(detail, Detail::Whole).then(|| Box::new(app));
                Record::App { id, marks, app, poller }
            }
            Err(error) => {
                // With its excerpt.
                let error = findings.last().cloned().unwrap_or(error);
                Record::Quarantined { stem: file.stem().to_owned(), error }
            }
        };
        Self { record, findings, blob, outline, lasting: true }
    }
}

/// The sum of all but the apps that decisions follow from.
fn settings(description: &Description, srclibs: &Srclibs) -> Settings {
    let mut sum = Sha256::new_with_prefix(&description.text);
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

/// Those indices of `files` in the order in which they are read fastest. To find that takes longer
/// than to read a few.
fn in_order(tree: &Tree, files: &[File], indices: Vec<usize>) -> Vec<usize> {
    if indices.len() > BLOCK { tree.fastest_order(files, indices) } else { indices }
}

/// What `work` makes of the files at `indices`, in the order of these. Each thread, one for each
/// processor, has a state of its own and takes files as long as there are any.
fn each<S, T: Send>(
    files: &[File],
    indices: &[usize],
    begin: impl Fn() -> S + Sync,
    work: impl Fn(&S, usize, &File) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let state = begin();
        let mut mine = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(block) = indices.chunks(BLOCK).nth(number) else { return mine };
            let block = block.iter().filter_map(|&i| Some((i, files.get(i)?)));
            let done: Vec<T> = block.map(|(i, file)| work(&state, i, file)).collect();
            mine.push((number, done));
        }
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = processors.min(indices.len().div_ceil(BLOCK));
    let mut all: Vec<(usize, Vec<T>)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = if threads > 0 { work() } else { Vec::new() };
        for other in others {
            match other.join() {
                Ok(theirs) => all.extend(theirs),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_unstable_by_key(|(number, _)| *number);
    all.into_iter().flat_map(|(_, done)| done).collect()
}

/// What can be told of files without reading them.
struct Seen {
    /// What they look like, in a checkout; else empty.
    looks: Vec<Option<Look>>,
    blobs: Vec<Option<Blob>>,
}

impl Seen {
    /// Looks at the files of one folder, if there is a cache to know them by.
    fn of(
        tree: &Tree,
        folder: &str,
        files: &[File],
        known: Option<&Known<'_>>,
        now: SystemTime,
    ) -> Self {
        let none = Self { looks: Vec::new(), blobs: Vec::new() };
        let Some(known) = known else { return none };
        let Some(root) = tree.folder() else {
            return Self { looks: Vec::new(), blobs: files.iter().map(File::blob).collect() };
        };
        let Ok(opened) = std::fs::File::open(root.join(folder)) else { return none };
        let all: Vec<usize> = (0..files.len()).collect();
        let looks =
            each(files, &all, || (), |(), _, file| Look::of(opened.as_fd(), file.read_name(), now));
        let mut then = match folder {
            METADATA => known.metadata_looks.as_slice(),
            _ => known.srclib_looks.as_slice(),
        };
        let blobs = files
            .iter()
            .zip(&looks)
            .map(|(file, look)| {
                let stem = file.stem();
                while let Some((_, rest)) = then.split_first().filter(|(l, _)| l.stem < stem) {
                    then = rest;
                }
                let mut same = then.iter().take_while(|looked| looked.stem == stem);
                same.find(|looked| Some(looked.look) == *look).map(|looked| looked.blob)
            })
            .collect();
        Self { looks, blobs }
    }

    fn blob(&self, index: usize) -> Option<Blob> {
        self.blobs.get(index).copied().flatten()
    }

    /// Those files of a checkout that were read now, for the next run to know.
    fn news<'f>(&self, files: &'f [File], fresh: &BTreeMap<usize, Fresh>) -> Vec<Looked<'f>> {
        let news = |(&i, fresh): (&usize, &Fresh)| {
            let look = self.looks.get(i).copied().flatten()?;
            let stem = files.get(i)?.stem();
            self.blob(i).is_none().then_some(Looked { stem, look, blob: fresh.blob })
        };
        fresh.iter().filter_map(news).collect()
    }
}

/// What `kept` has of each file. Both are in the order of stems, so they are walked together.
fn look_up<'k, 'a>(
    mut kept: &'k [Kept<'a>],
    files: &[File],
    seen: &Seen,
) -> Vec<Option<&'k Kept<'a>>> {
    let find = |(file, blob): (&File, &Option<Blob>)| {
        let stem = file.stem();
        while let Some((_, rest)) = kept.split_first().filter(|(first, _)| first.stem < stem) {
            kept = rest;
        }
        let mut same = kept.iter().take_while(|kept| kept.stem == stem);
        same.find(|kept| blob.as_ref().is_some_and(|blob| kept.blob == blob))
    };
    files.iter().zip(&seen.blobs).map(find).collect()
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
    let globs = rules.iter().flat_map(|rule| &rule.apps).zip(&pipeline.override_places);
    globs
        .filter(|(glob, _)| !ids.iter().any(|id| glob.matches(id)))
        .map(|(_, place)| {
            let message = "no app has an id like this";
            Finding::new(Code::OverrideUnused, place.clone(), message, "mend it or delete it")
        })
        .collect()
}
