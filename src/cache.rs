//! What was read of each file of fdroiddata, kept from run to run by the id of its blob.
//!
//! A cache that was cut short, that another version has written or that two runs write at once is
//! no cache: everything is read again. What is kept is only of files on which there was nothing to
//! find, so findings are always made anew.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::fdroid::outline::{Outline, SrclibOutline};
use crate::remote::RemoteUrl;
use crate::resolve::apps::{Poller, Reason, Watch};

/// What a cache of this program begins with: its version, and a sum of its source.
const MAGIC: &str =
    concat!("fdroid-bb ", env!("CARGO_PKG_VERSION"), " ", env!("FDROID_BB_SOURCE"), "\n");

/// The length of the sum that follows.
const SUM: usize = 32;

/// The largest cache that is read, in bytes. That of 6,500 apps has 1 MB.
const LARGEST: u64 = 64 << 20;

/// How long a file must have been left alone before its times tell that it is the same.
const SETTLED: Duration = Duration::from_secs(2);

/// The id of a blob.
pub type Blob = [u8; 20];

/// The files of fdroiddata by their blobs, in the order of these.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Blobs<'a> {
    /// The sum of all but the apps that decisions followed from.
    pub settings: Settings,
    /// Apps.
    #[serde(borrow)]
    pub apps: Vec<(Blob, Entry<'a>)>,
    /// Srclibs.
    #[serde(borrow)]
    pub srclibs: Vec<(Blob, SrclibOutline<'a>)>,
}

/// The sum of a pipeline description and all srclibs.
pub type Settings = [u8; 32];

/// What is known of an app's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// What was read of it.
    #[serde(borrow)]
    pub outline: Outline<'a>,
    /// What was decided on it, if there was nothing to find.
    #[serde(borrow)]
    pub decision: Option<Decision<'a>>,
}

/// What was decided on an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision<'a> {
    /// The application id, for two apps can have equal files.
    pub id: &'a str,
    /// Its poller, or why it has none.
    #[serde(borrow)]
    pub poller: Result<KnownPoller<'a>, Reason>,
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

/// The files of a checkout, in the order of their paths: what they looked like, and their blobs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Checkout<'a> {
    /// The files.
    #[serde(borrow)]
    pub files: Vec<(&'a str, Look, Blob)>,
}

/// What tells that a file is the same, as git takes it for its index: its size, inode and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    size: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    /// What the file at `path` looks like, unless it was touched a moment ago.
    #[must_use]
    pub fn of(path: &Path, now: SystemTime) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let (modified, changed) = (metadata.mtime(), metadata.ctime());
        let settled = now.checked_sub(SETTLED)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let settled = i64::try_from(settled.as_secs()).ok()?;
        (modified < settled && changed < settled).then(|| Self {
            size: metadata.size(),
            inode: metadata.ino(),
            modified: (modified, metadata.mtime_nsec()),
            changed: (changed, metadata.ctime_nsec()),
        })
    }
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

/// The file of [`Blobs`] in the folder of caches.
#[must_use]
pub fn blobs(folder: &Path) -> PathBuf {
    folder.join("blobs")
}

/// The file of the [`Checkout`] at `root` in the folder of caches.
#[must_use]
pub fn checkout(folder: &Path, root: &Path) -> PathBuf {
    let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let name = crate::write::digest(root.as_os_str().as_encoded_bytes());
    folder.join(format!("checkout-{}", name.get(..16).unwrap_or(&name)))
}

/// The payload of a file, if it is whole and of this program; else nothing.
#[must_use]
pub fn load(file: &Path) -> Vec<u8> {
    let size = fs::metadata(file).map_or(0, |metadata| metadata.len());
    if size > LARGEST {
        return Vec::new();
    }
    let Ok(mut bytes) = fs::read(file) else { return Vec::new() };
    let head = MAGIC.len() + SUM;
    let payload = bytes.get(head..).unwrap_or_default();
    let whole = bytes.starts_with(MAGIC.as_bytes())
        && bytes.get(MAGIC.len()..head) == Some(Sha256::digest(payload).as_slice());
    if !whole {
        return Vec::new();
    }
    bytes.drain(..head);
    bytes
}

/// What [`load`] gave; an empty one where that is none.
#[must_use]
pub fn read<'b, T: Deserialize<'b> + Default>(payload: &'b [u8]) -> T {
    postcard::from_bytes(payload).unwrap_or_default()
}

/// Writes a file anew, whole or not at all.
///
/// # Errors
/// When the system refuses, which is no reason to fail: the next run reads everything again.
pub fn save<T: Serialize>(file: &Path, content: &T) -> io::Result<()> {
    let payload = postcard::to_stdvec(content).map_err(io::Error::other)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut staged = tempfile::NamedTempFile::new_in(folder)?;
    staged.write_all(MAGIC.as_bytes())?;
    staged.write_all(&Sha256::digest(&payload))?;
    staged.write_all(&payload)?;
    staged.persist(file)?;
    Ok(())
}
