//! Reading every app: from the cache what it knows, the rest from fdroiddata.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{self, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::{Apps, Description, Record};
use crate::cache::{self, Blob, Blobs, Checkout, Decision, Entry, KnownPoller, Look, Settings};
use crate::config::{Document, Path, Trigger};
use crate::fdroid::outline::{Outline, SrclibOutline};
use crate::fdroid::{App, AppId, Srclib};
use crate::finding::{Code, Finding, Place};
use crate::load::{self, File, Reader, Tree};
use crate::parse;
use crate::pipeline::Pipeline;
use crate::polls::{self, Load};
use crate::resolve::apps::{Resolver, Srclibs};
use crate::text::shown;

/// How many files a thread takes at a time: neighbours in a pack are made from each other.
const BLOCK: usize = 64;

/// From how many files on the cache is begun anew: three times those of fdroiddata.
const MOST: usize = 20_000;

/// What is wanted of each app.
#[derive(Clone, Copy, Debug)]
pub enum Detail<'c> {
    /// All that it says.
    Whole,
    /// What decides on its poller, with the help of the cache in this folder, if there is one.
    Pollers(Option<&'c path::Path>),
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
    let pipeline = &description.pipeline;
    let load_cache = || match detail {
        Detail::Pollers(Some(folder)) => Some(Cache::load(folder, tree)),
        _ => None,
    };
    let (listed, cache) = thread::scope(|scope| {
        let cache = scope.spawn(load_cache);
        let listed = tree
            .files(load::SRCLIBS)
            .and_then(|srclibs| Ok((srclibs.0, tree.files(load::METADATA)?)));
        (listed, cache.join().ok().flatten())
    });
    let (srclib_files, (files, mut findings)) = listed?;
    let known = cache.as_ref().map(Cache::known);
    let known = known.as_ref();

    let (srclibs, new_srclibs, srclib_looks) = read_srclibs(tree, &srclib_files, known);
    let settings = settings(description, &srclibs);
    let resolver = Resolver::new(pipeline, &srclibs);
    let done = AtomicUsize::new(0);
    let seen = see(&files, known);
    let read = read_all(
        tree,
        &files,
        |i, file| {
            let known = known?;
            let entry = known.app(seen.get(i)?.blob?)?;
            let id = AppId::new(&file.stem)?;
            done.fetch_add(1, Ordering::Relaxed);
            let decision = entry.decision.filter(|_| known.blobs.settings == settings);
            Some(Read::known(&resolver, id, &entry.outline, decision, &file.path))
        },
        |reader, file| {
            let read = Read::new(&resolver, reader, file, detail);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, files.len());
            read
        },
    );
    let mut records = Vec::with_capacity(read.len() + findings.len());
    for error in &findings {
        let stem = error.place.file.rsplit('/').next().unwrap_or_default();
        let stem = stem.strip_suffix(".yml").unwrap_or(stem).to_owned();
        records.push(Record::Quarantined { stem, error: error.clone() });
    }
    let mut looks = srclib_looks;
    let mut fresh = Vec::new();
    for ((file, read), seen) in files.iter().zip(read).zip(seen) {
        let blob = seen.blob.or(read.blob);
        looks.extend(seen.now(file, blob));
        if let Some(blob) = blob.filter(|_| read.news) {
            fresh.push(Fresh { blob, record: records.len(), decided: read.decided, app: read.app });
        }
        records.push(read.record);
        findings.extend(read.findings);
    }
    if let Some(known) = known {
        known.save(settings, &fresh, &records, &new_srclibs, looks);
    }
    records.sort_by(|a, b| a.name().cmp(b.name()));
    findings.extend(unused_overrides(pipeline, &records));
    let mut apps = Apps { records, srclibs: srclib_files.len(), findings };
    let loaded = poll_load(description, &apps);
    apps.findings.extend(loaded);
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

/// What became of one file.
struct Read {
    record: Record,
    findings: Vec<Finding>,
    /// Whether the cache does not know all of this: what was read or what was decided.
    news: bool,
    /// Whether a decision was made without a finding; else it is made anew each time.
    decided: bool,
    /// Its blob, and all that it says, if it was read and there was nothing to find.
    blob: Option<Blob>,
    app: Option<Box<App>>,
}

/// What was read of a srclib that the cache does not know.
struct NewSrclib {
    blob: Blob,
    srclib: Srclib,
}

/// What became of a blob that the cache does not know all of.
struct Fresh {
    blob: Blob,
    /// The index of its record.
    record: usize,
    /// As in [`Read`].
    decided: bool,
    /// All that it says, if it was read now.
    app: Option<Box<App>>,
}

impl Read {
    /// What an earlier run has read, and may have decided.
    fn known(
        resolver: &Resolver<'_>,
        id: AppId,
        outline: &Outline<'_>,
        decision: Option<Decision<'_>>,
        path: &str,
    ) -> Self {
        let known = decision.filter(|decision| decision.id == id.as_str());
        let (poller, findings) = match &known {
            Some(Decision { poller: Ok(poller), .. }) => (Ok(poller.into()), Vec::new()),
            Some(Decision { poller: Err(reason), .. }) => (Err(*reason), Vec::new()),
            None => resolver.resolve(&id, outline, path),
        };
        let decided = findings.is_empty();
        let news = decision.is_none() && decided;
        let record = Record::App { id, marks: outline.marks, app: None, poller };
        Self { record, findings, news, decided, blob: None, app: None }
    }

    fn new(resolver: &Resolver<'_>, reader: &Reader<'_>, file: &File, detail: Detail<'_>) -> Self {
        let quarantined = |error: Finding, mut findings: Vec<Finding>| {
            findings.push(error.clone());
            let record = Record::Quarantined { stem: file.stem.clone(), error };
            Self { record, findings, news: false, decided: false, blob: None, app: None }
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
        let parsed = parse::app(id.clone(), &file.path, &bytes);
        let mut findings = parsed.findings;
        let app = match parsed.app {
            Err(error) => return quarantined(error, findings),
            Ok(app) => Box::new(app),
        };
        let (poller, found) = resolver.resolve(&id, &Outline::from(&*app), &file.path);
        let marks = app.marks;
        let kept = matches!(detail, Detail::Pollers(Some(_))) && findings.is_empty();
        let blob = file.blob().or_else(|| load::blob_of(&bytes)).filter(|_| kept);
        let decided = found.is_empty();
        findings.extend(found);
        let (whole, app) = match detail {
            Detail::Whole => (Some(app), None),
            Detail::Pollers(_) => (None, Some(app).filter(|_| kept)),
        };
        let record = Record::App { id, marks, app: whole, poller };
        Self { record, findings, news: kept, decided, blob, app }
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

/// Every srclib, those that the cache does not know, and what their files look like.
fn read_srclibs<'f>(
    tree: &Tree,
    files: &'f [File],
    known: Option<&Known<'_>>,
) -> (Srclibs, Vec<NewSrclib>, Vec<Looked<'f>>) {
    type Read = (Result<Srclib, Finding>, Option<Blob>);
    let seen = see(files, known);
    let read = read_all(
        tree,
        files,
        |i, _| -> Option<Read> {
            Some((Ok(Srclib::from(known?.srclib(seen.get(i)?.blob?)?)), None))
        },
        |reader, file| match reader.read(file) {
            Ok(bytes) => {
                (parse::srclib(&file.path, &bytes), file.blob().or_else(|| load::blob_of(&bytes)))
            }
            Err(error) => (Err(error), None),
        },
    );
    let (mut srclibs, mut new, mut looks) = (Srclibs::new(), Vec::new(), Vec::new());
    for ((file, (srclib, blob)), seen) in files.iter().zip(read).zip(seen) {
        looks.extend(seen.now(file, blob));
        if let (Ok(srclib), Some(blob)) = (&srclib, blob) {
            new.push(NewSrclib { blob, srclib: srclib.clone() });
        }
        srclibs.insert(file.stem.clone(), srclib);
    }
    (srclibs, new, looks)
}

/// What `known` or else `read` makes of each file, in their order.
fn read_all<T: Send>(
    tree: &Tree,
    files: &[File],
    known: impl Fn(usize, &File) -> Option<T> + Sync,
    read: impl Fn(&Reader<'_>, &File) -> T + Sync,
) -> Vec<T> {
    let all: Vec<usize> = (0..files.len()).collect();
    let mut found = each(files, &all, || (), |(), i, file| known(i, file));
    let missing: Vec<usize> =
        all.into_iter().filter(|&i| found.get(i).is_none_or(Option::is_none)).collect();
    // To find the order takes longer than to read a few.
    let order = if missing.len() > BLOCK { tree.fastest_order(files, missing) } else { missing };
    let read = each(files, &order, || tree.reader(), |reader, _, file| read(reader, file));
    for (i, read) in order.into_iter().zip(read) {
        if let Some(slot) = found.get_mut(i) {
            *slot = Some(read);
        }
    }
    found.into_iter().flatten().collect()
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

/// What can be told of a file without reading it.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// What it looks like, in a checkout.
    look: Option<Look>,
    blob: Option<Blob>,
}

/// A file of a checkout, for the next run to know.
type Looked<'f> = (&'f str, Look, Blob);

impl Seen {
    /// The same once its blob is known.
    fn now(self, file: &File, blob: Option<Blob>) -> Option<Looked<'_>> {
        Some((file.path.as_str(), self.look?, self.blob.or(blob)?))
    }
}

fn see(files: &[File], known: Option<&Known<'_>>) -> Vec<Seen> {
    let Some(known) = known else { return vec![Seen::default(); files.len()] };
    let all: Vec<usize> = (0..files.len()).collect();
    each(files, &all, || (), |(), _, file| known.see(file))
}

/// The files of the cache, as they were read.
struct Cache {
    folder: PathBuf,
    blobs: Vec<u8>,
    /// For a checkout: its root, and what is known of it.
    checkout: Option<(PathBuf, Vec<u8>)>,
}

/// What the cache knows.
struct Known<'c> {
    cache: &'c Cache,
    blobs: Blobs<'c>,
    checkout: Checkout<'c>,
    /// Before any file was looked at.
    started: SystemTime,
}

impl Cache {
    fn load(folder: &path::Path, tree: &Tree) -> Self {
        let checkout = tree
            .folder()
            .map(|root| (root.to_owned(), cache::load(&cache::checkout(folder, root))));
        let blobs = cache::load(&cache::blobs(folder));
        Self { folder: folder.to_owned(), blobs, checkout }
    }

    fn known(&self) -> Known<'_> {
        let checkout = self.checkout.as_ref();
        Known {
            cache: self,
            blobs: cache::read(&self.blobs),
            checkout: checkout.map(|(_, bytes)| cache::read(bytes)).unwrap_or_default(),
            started: SystemTime::now(),
        }
    }
}

impl Known<'_> {
    fn app(&self, blob: Blob) -> Option<&Entry<'_>> {
        found(&self.blobs.apps, blob)
    }

    fn srclib(&self, blob: Blob) -> Option<&SrclibOutline<'_>> {
        found(&self.blobs.srclibs, blob)
    }

    fn see(&self, file: &File) -> Seen {
        let Some((root, _)) = &self.cache.checkout else {
            return Seen { look: None, blob: file.blob() };
        };
        let look = Look::of(&root.join(&file.path), self.started);
        let files = &self.checkout.files;
        let then = files.binary_search_by(|(path, ..)| (*path).cmp(&file.path)).ok();
        let then = then.and_then(|i| files.get(i)).filter(|(_, then, _)| Some(*then) == look);
        Seen { look, blob: then.map(|(.., blob)| *blob) }
    }

    /// Adds what is new. That it cannot be written is no reason to fail.
    fn save(
        &self,
        settings: Settings,
        fresh: &[Fresh],
        records: &[Record],
        srclibs: &[NewSrclib],
        mut looks: Vec<Looked<'_>>,
    ) {
        if !fresh.is_empty() || !srclibs.is_empty() {
            let new = fresh.iter().filter_map(|fresh| {
                let Record::App { id, poller, .. } = records.get(fresh.record)? else {
                    return None;
                };
                let outline = match &fresh.app {
                    Some(app) => Outline::from(&**app),
                    None => self.app(fresh.blob)?.outline,
                };
                let poller = poller.as_ref().map(KnownPoller::from).map_err(|reason| *reason);
                let decision = fresh.decided.then(|| Decision { id: id.as_str(), poller });
                Some((fresh.blob, Entry { outline, decision }))
            });
            let mut old = self.blobs.apps.clone();
            if self.blobs.settings != settings {
                for (_, entry) in &mut old {
                    entry.decision = None;
                }
            }
            let new_srclibs = srclibs.iter().map(|new| (new.blob, (&new.srclib).into()));
            let all = Blobs {
                settings,
                apps: joined(new.collect(), old),
                srclibs: joined(new_srclibs.collect(), self.blobs.srclibs.clone()),
            };
            let _ = cache::save(&cache::blobs(&self.cache.folder), &all);
        }
        let Some((root, _)) = &self.cache.checkout else { return };
        looks.sort_unstable_by_key(|(path, ..)| *path);
        // A link and what it leads to are one file.
        looks.dedup_by_key(|(path, ..)| *path);
        if looks != self.checkout.files {
            let checkout = Checkout { files: looks };
            let _ = cache::save(&cache::checkout(&self.cache.folder, root), &checkout);
        }
    }
}

/// What a list in the order of blobs has of one.
fn found<T>(list: &[(Blob, T)], blob: Blob) -> Option<&T> {
    let at = list.binary_search_by(|(other, _)| other.cmp(&blob)).ok()?;
    list.get(at).map(|(_, value)| value)
}

/// Two lists in the order of their blobs, of which the new one goes before the old one; that is
/// forgotten once it is long.
fn joined<T>(new: Vec<(Blob, T)>, old: Vec<(Blob, T)>) -> Vec<(Blob, T)> {
    let mut all = new;
    if old.len() <= MOST {
        all.extend(old);
    }
    all.sort_by_key(|(blob, _)| *blob);
    all.dedup_by_key(|(blob, _)| *blob);
    all
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
