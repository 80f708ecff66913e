//! What was read of each file of fdroiddata and decided on it, kept from run to run by the name of
//! the file and the id of its blob.
//!
//! A file of the cache is a row of parts, each with a sum: the first holds all that was known when
//! it was written, later ones what was new since. So the work of keeping grows with what changed.
//! What was cut short, what another version has written or what two runs wrote into each other is
//! no part: it is read again from fdroiddata.

mod decision;
mod look;
mod parts;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use decision::{Decision, KnownFinding, KnownPoller, keeps};
pub use look::{Look, Looked};
use parts::Parts;
pub use parts::{read, written};

/// How many states of one file are kept: those of the branches that one works on.
const KEPT: usize = 3;

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
                // The longest by far is not copied: it says 0 as it is.
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
    pub(crate) fn decision(&self, kept: &Kept<'c>, settings: &Settings) -> Option<&'c [u8]> {
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
