//! What was read of each file of fdroiddata and decided on it, kept from run to run by the name of
//! the file and the id of its blob.
//!
//! A file of the cache is a row of parts, each with a sum: the first holds all that was known when
//! it was written, later ones what was new since. So the work of keeping grows with what changed.
//! What was cut short, what another version has written or what two runs wrote into each other is
//! no part: it is read again from fdroiddata.

use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, StatxFlags, StatxTimestamp, statx};
use serde::{Deserialize, Serialize};

use crate::fdroid::Marks;
use crate::finding::{Code, Excerpt, Finding, Place, Span};
use crate::remote::RemoteUrl;
use crate::resolve::apps::{Poller, Reason, Watch};

/// What a cache of this program begins with: its version, and a sum of its source.
const MAGIC: &str =
    concat!("fdroid-bb ", env!("CARGO_PKG_VERSION"), " ", env!("FDROID_BB_SOURCE"), "\n");

/// What stands before the bytes of a part: their number, and the sum of [`MAGIC`] and them.
const LENGTH: usize = 4;
const SUM: usize = 8;

/// The largest cache that is read, in bytes. That of 6,500 apps has 1 MB.
const LARGEST: u64 = 64 << 20;

/// How long a file must have been left alone before its times tell that it is the same.
const SETTLED: Duration = Duration::from_secs(2);

/// How many states of one file are kept: those of the branches that one works on.
const KEPT: usize = 3;

/// The most findings of one file that are kept. A file with more is read again each time.
const MOST_FINDINGS: usize = 20;

/// The id of a blob.
pub type Blob = [u8; 20];

/// The sum of a pipeline description and all srclibs: all but the apps that decisions follow from.
pub type Settings = [u8; 32];

/// What is known of one state of a file. What it holds is made sense of only when it is wanted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Kept<'a> {
    /// The name of the file without `.yml`.
    pub stem: &'a str,
    /// The id of its blob.
    pub blob: &'a [u8],
    /// What was read of it, if there was nothing to find: an `Outline` or a `SrclibOutline`.
    pub outline: Option<&'a [u8]>,
    /// What was decided on it: a [`Decision`].
    pub decision: Option<&'a [u8]>,
    /// The part that it was read from.
    #[serde(skip)]
    part: usize,
}

/// What was decided on an app.
#[derive(Debug, Serialize, Deserialize)]
pub struct Decision<'a> {
    /// Its poller, or why it has none; what is wrong with its file if that was not read.
    #[serde(borrow)]
    pub outcome: Result<(Marks, Result<KnownPoller<'a>, Reason>), KnownFinding<'a>>,
    /// What was found.
    #[serde(borrow)]
    pub findings: Vec<KnownFinding<'a>>,
}

/// A [`Finding`] on one file, borrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFinding<'a> {
    code: Code,
    message: &'a str,
    help: &'a str,
    span: Option<Span>,
    #[serde(borrow)]
    excerpt: Option<(&'a str, Range<usize>)>,
}

impl<'a> From<&'a Finding> for KnownFinding<'a> {
    fn from(finding: &'a Finding) -> Self {
        let excerpt = finding.excerpt.as_ref();
        Self {
            code: finding.code,
            message: &finding.message,
            help: &finding.help,
            span: finding.place.span,
            excerpt: excerpt.map(|excerpt| (excerpt.text.as_str(), excerpt.marked.clone())),
        }
    }
}

impl KnownFinding<'_> {
    /// The same, on the file at `path`.
    #[must_use]
    pub fn on(&self, path: &str) -> Finding {
        let place = Place { file: path.to_owned(), span: self.span };
        let excerpt = self.excerpt.as_ref();
        let excerpt = excerpt
            .map(|(text, marked)| Excerpt { text: (*text).to_owned(), marked: marked.clone() })
            .map(Box::new);
        Finding { excerpt, ..Finding::new(self.code, place, self.message, self.help) }
    }
}

/// A [`Poller`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPoller<'a> {
    url: &'a str,
    watch: KnownWatch<'a>,
    interval: i64,
}

/// A [`Watch`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum KnownWatch<'a> {
    GitTags(&'a str),
    GitBranch(Option<&'a str>),
    Hg(Option<&'a str>),
    Svn,
}

impl<'a> From<&'a Poller> for KnownPoller<'a> {
    fn from(poller: &'a Poller) -> Self {
        let watch = match &poller.watch {
            Watch::GitTags { tags } => KnownWatch::GitTags(tags),
            Watch::GitBranch { branch } => KnownWatch::GitBranch(branch.as_deref()),
            Watch::Hg { branch } => KnownWatch::Hg(branch.as_deref()),
            Watch::Svn => KnownWatch::Svn,
        };
        Self { url: poller.url.as_str(), watch, interval: poller.interval }
    }
}

impl From<&KnownPoller<'_>> for Poller {
    fn from(known: &KnownPoller<'_>) -> Self {
        let branch = |name: Option<&str>| name.map(ToOwned::to_owned);
        let watch = match known.watch {
            KnownWatch::GitTags(tags) => Watch::GitTags { tags: tags.to_owned() },
            KnownWatch::GitBranch(name) => Watch::GitBranch { branch: branch(name) },
            KnownWatch::Hg(name) => Watch::Hg { branch: branch(name) },
            KnownWatch::Svn => Watch::Svn,
        };
        let url = RemoteUrl::known(known.url.to_owned());
        Self { url, watch, interval: known.interval }
    }
}

/// A file of a checkout.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Looked<'a> {
    /// The name of the file without `.yml`.
    pub stem: &'a str,
    /// What it looked like.
    pub look: Look,
    /// Its blob.
    pub blob: Blob,
}

/// A part of the file of all blobs; each list is in the order of stems.
#[derive(Serialize, Deserialize)]
struct Blobs<'a> {
    settings: Settings,
    #[serde(borrow)]
    apps: Vec<Kept<'a>>,
    #[serde(borrow)]
    srclibs: Vec<Kept<'a>>,
}

/// A part of the file of a checkout; each list is in the order of stems.
#[derive(Serialize, Deserialize)]
struct Checkout<'a> {
    #[serde(borrow)]
    metadata: Vec<Looked<'a>>,
    #[serde(borrow)]
    srclibs: Vec<Looked<'a>>,
}

/// What tells that a file is the same, as git takes it for its index: its size, inode and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    size: u64,
    inode: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Look {
    /// What the file `name` of the open folder `folder` looks like, unless it was touched a moment
    /// before `now`.
    #[must_use]
    pub fn of(folder: BorrowedFd<'_>, name: &str, now: SystemTime) -> Option<Self> {
        let stat = statx(folder, name, AtFlags::empty(), StatxFlags::BASIC_STATS).ok()?;
        let time = |time: StatxTimestamp| (time.tv_sec, time.tv_nsec);
        let (modified, changed) = (time(stat.stx_mtime), time(stat.stx_ctime));
        let settled = now.checked_sub(SETTLED)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let settled = i64::try_from(settled.as_secs()).ok()?;
        (modified.0 < settled && changed.0 < settled).then_some(Self {
            size: stat.stx_size,
            inode: stat.stx_ino,
            modified,
            changed,
        })
    }
}

/// The files of the cache, as they were read.
#[derive(Debug)]
pub struct Cache {
    blobs: Parts,
    checkout: Option<Parts>,
}

/// What the cache knows; each list is in the order of stems, and files have the latest first.
#[derive(Debug)]
pub struct Known<'c> {
    cache: &'c Cache,
    settings: Vec<Settings>,
    /// The files of `metadata/`.
    pub apps: Vec<Kept<'c>>,
    /// The files of `srclibs/`.
    pub srclibs: Vec<Kept<'c>>,
    /// The files of the checkout's `metadata/`.
    pub metadata_looks: Vec<Looked<'c>>,
    /// The files of the checkout's `srclibs/`.
    pub srclib_looks: Vec<Looked<'c>>,
}

/// What a run has learnt; each list is in the order of stems.
#[derive(Debug, Default)]
pub struct News<'n> {
    /// The files of `metadata/`.
    pub apps: Vec<Kept<'n>>,
    /// The files of `srclibs/`.
    pub srclibs: Vec<Kept<'n>>,
    /// The files of the checkout's `metadata/`.
    pub metadata_looks: Vec<Looked<'n>>,
    /// The files of the checkout's `srclibs/`.
    pub srclib_looks: Vec<Looked<'n>>,
}

impl Cache {
    /// Reads the files in the folder of caches; `root` is that of the checkout, if it is one.
    #[must_use]
    pub fn load(folder: &Path, root: Option<&Path>) -> Self {
        Self {
            blobs: Parts::load(folder.join("blobs")),
            checkout: root.map(|root| Parts::load(checkout_file(folder, root))),
        }
    }

    /// Makes sense of them.
    #[must_use]
    pub fn known(&self) -> Known<'_> {
        let mut known = Known {
            cache: self,
            settings: Vec::new(),
            apps: Vec::new(),
            srclibs: Vec::new(),
            metadata_looks: Vec::new(),
            srclib_looks: Vec::new(),
        };
        for (part, blobs) in self.blobs.read::<Blobs<'_>>().into_iter().enumerate() {
            known.settings.push(blobs.settings);
            let of = |kept| Kept { part, ..kept };
            if part == 0 {
                // Most are here, and say so.
                (known.apps, known.srclibs) = (blobs.apps, blobs.srclibs);
            } else {
                known.apps.extend(blobs.apps.into_iter().map(of));
                known.srclibs.extend(blobs.srclibs.into_iter().map(of));
            }
        }
        for list in [&mut known.apps, &mut known.srclibs] {
            list.sort_by(|a, b| a.stem.cmp(b.stem).then(b.part.cmp(&a.part)));
        }
        for mut part in self.checkout.iter().flat_map(Parts::read::<Checkout<'_>>) {
            known.metadata_looks.append(&mut part.metadata);
            known.srclib_looks.append(&mut part.srclibs);
        }
        for list in [&mut known.metadata_looks, &mut known.srclib_looks] {
            list.sort_by_key(|looked| looked.stem);
        }
        known
    }
}

impl<'k> Kept<'k> {
    /// A new one.
    #[must_use]
    pub fn new(
        stem: &'k str,
        blob: &'k Blob,
        outline: Option<&'k [u8]>,
        decision: Option<&'k [u8]>,
    ) -> Self {
        Self { stem, blob, outline, decision, part: 0 }
    }
}

impl<'c> Known<'c> {
    /// What was decided on an app, if it follows from `settings`: a [`Decision`] as it was written.
    #[must_use]
    pub fn decision(&self, kept: &Kept<'c>, settings: &Settings) -> Option<&'c [u8]> {
        kept.decision.filter(|_| self.settings.get(kept.part) == Some(settings))
    }

    /// Adds what is new. That it cannot be written is no reason to fail.
    pub fn save<'n>(&'n self, settings: Settings, news: News<'n>) {
        if !news.apps.is_empty() || !news.srclibs.is_empty() {
            let new = Blobs { settings, apps: news.apps, srclibs: news.srclibs };
            let current = |kept: &Kept<'n>| match self.settings.get(kept.part) {
                Some(then) if *then == settings => *kept,
                _ => Kept { decision: None, ..*kept },
            };
            let joined = |new: &[Kept<'n>], old: &[Kept<'n>]| {
                let all = new.iter().copied().chain(old.iter().map(current));
                latest(all.collect(), KEPT, |kept| (kept.stem, kept.blob))
            };
            let _ = self.cache.blobs.add(&new, || Blobs {
                settings,
                apps: joined(&new.apps, &self.apps),
                srclibs: joined(&new.srclibs, &self.srclibs),
            });
        }
        if let Some(parts) = &self.cache.checkout
            && !(news.metadata_looks.is_empty() && news.srclib_looks.is_empty())
        {
            let new = Checkout { metadata: news.metadata_looks, srclibs: news.srclib_looks };
            let joined = |new: &[Looked<'n>], old: &[Looked<'n>]| {
                let all = new.iter().chain(old.iter().rev()).copied();
                latest(all.collect(), 1, |looked| (looked.stem, &looked.blob))
            };
            let _ = parts.add(&new, || Checkout {
                metadata: joined(&new.metadata, &self.metadata_looks),
                srclibs: joined(&new.srclibs, &self.srclib_looks),
            });
        }
    }
}

/// The first `most` of each stem, and of these each blob once, in the order of stems.
fn latest<T>(mut all: Vec<T>, most: usize, key: impl Fn(&T) -> (&str, &[u8])) -> Vec<T> {
    all.sort_by(|a, b| key(a).0.cmp(key(b).0));
    let mut latest: Vec<T> = Vec::with_capacity(all.len());
    for item in all {
        let (stem, blob) = key(&item);
        let mut same = latest.iter().rev().map(&key).take_while(|(other, _)| *other == stem);
        if same.clone().count() < most && same.all(|(_, other)| other != blob) {
            latest.push(item);
        }
    }
    latest
}

/// The folder of caches: `$XDG_CACHE_HOME/fdroid-bb`, or `~/.cache/fdroid-bb`. Who has no home, as
/// services do, gets none made.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = || set("HOME").map(PathBuf::from).filter(|home| home.is_dir());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(home()?.join(".cache")))?;
    cache.is_absolute().then(|| cache.join("fdroid-bb"))
}

/// The file of the checkout at `root` in the folder of caches.
fn checkout_file(folder: &Path, root: &Path) -> PathBuf {
    let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let name = crate::write::digest(root.as_os_str().as_encoded_bytes());
    folder.join(format!("checkout-{}", name.get(..16).unwrap_or(&name)))
}

/// The bytes as they were kept.
#[must_use]
pub fn written<T: Serialize>(content: &T) -> Option<Vec<u8>> {
    postcard::to_stdvec(content).ok()
}

/// What [`written`] gave.
#[must_use]
pub fn read<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

/// Whether so many findings of one file are kept.
#[must_use]
pub fn keeps(findings: &[Finding]) -> bool {
    findings.len() <= MOST_FINDINGS
}

/// A file of the cache.
#[derive(Debug)]
struct Parts {
    file: PathBuf,
    bytes: Vec<u8>,
    /// Where its parts are.
    ranges: Vec<Range<usize>>,
}

impl Parts {
    /// Reads `file` as far as it is whole and of this program.
    fn load(file: PathBuf) -> Self {
        let size = fs::metadata(&file).map_or(0, |metadata| metadata.len());
        let bytes = if size > LARGEST { Vec::new() } else { fs::read(&file).unwrap_or_default() };
        let mut ranges = Vec::new();
        let mut at = MAGIC.len();
        while bytes.starts_with(MAGIC.as_bytes()) {
            let Some((length, rest)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk) else {
                break;
            };
            let Some((then, rest)) = rest.split_at_checked(SUM) else { break };
            let Some(content) = rest.get(..u32::from_le_bytes(*length) as usize) else { break };
            if sum(content).as_slice() != then {
                break;
            }
            let start = at + LENGTH + SUM;
            at = start + content.len();
            ranges.push(start..at);
        }
        Self { file, bytes, ranges }
    }

    /// The parts that make sense, the oldest first.
    fn read<'b, T: Deserialize<'b>>(&'b self) -> Vec<T> {
        self.ranges.iter().filter_map(|part| read(self.bytes.get(part.clone())?)).collect()
    }

    /// Adds a part; once the added ones have a quarter of the first one's size, `all` takes the
    /// place of them all.
    fn add<T: Serialize>(&self, new: &T, all: impl FnOnce() -> T) -> io::Result<()> {
        let new = postcard::to_stdvec(new).map_err(io::Error::other)?;
        let first = self.ranges.first().map_or(0, Range::len);
        let whole = self.ranges.last().is_some_and(|last| last.end == self.bytes.len());
        let added = self.bytes.len().saturating_sub(MAGIC.len() + first) + new.len();
        if whole && added <= first / 4 {
            // One call, which the system does not mix with that of another run.
            return OpenOptions::new().append(true).open(&self.file)?.write_all(&part(&new)?);
        }
        let all = postcard::to_stdvec(&all()).map_err(io::Error::other)?;
        let folder = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut staged = tempfile::NamedTempFile::new_in(folder)?;
        staged.write_all(MAGIC.as_bytes())?;
        staged.write_all(&part(&all)?)?;
        staged.persist(&self.file)?;
        Ok(())
    }
}

/// A part that holds `content`.
fn part(content: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes(), sum(content).as_slice(), content].concat())
}

/// The sum of a part, against accidents. With [`MAGIC`], for another version may add its part to a
/// file of this one; another release of Rust may sum otherwise, and then reads everything again.
fn sum(content: &[u8]) -> [u8; SUM] {
    let mut hasher = DefaultHasher::new();
    hasher.write(MAGIC.as_bytes());
    hasher.write(content);
    hasher.finish().to_le_bytes()
}
