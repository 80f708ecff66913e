//! What can be told of files without reading them, and what the cache has of them.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::SystemTime;

use super::each::each;
use super::read::Fresh;
use crate::cache::{Blob, Kept, Known, Look, Looked};
use crate::load::{File, METADATA, Tree};

/// What can be told of files without reading them.
pub(super) struct Seen {
    /// What they look like, in a checkout; else empty.
    looks: Vec<Option<Look>>,
    /// One for each file.
    blobs: Vec<Option<Blob>>,
}

impl Seen {
    /// Looks at the files of one folder, if there is a cache to know them by.
    pub(super) fn of(
        tree: &Tree,
        folder: &str,
        files: &[File],
        known: Option<&Known<'_>>,
        now: SystemTime,
    ) -> Self {
        let none = Self { looks: Vec::new(), blobs: vec![None; files.len()] };
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

    pub(super) fn blob(&self, index: usize) -> Option<Blob> {
        self.blobs.get(index).copied().flatten()
    }

    /// Those files of a checkout that were read now, for the next run to know.
    pub(super) fn news<'f>(
        &self,
        files: &'f [File],
        fresh: &BTreeMap<usize, Fresh>,
    ) -> Vec<Looked<'f>> {
        let news = |(&i, fresh): (&usize, &Fresh)| {
            let look = self.looks.get(i).copied().flatten()?;
            let stem = files.get(i)?.stem();
            self.blob(i).is_none().then_some(Looked { stem, look, blob: fresh.blob })
        };
        fresh.iter().filter_map(news).collect()
    }
}

/// What `kept` has of each file. Both are in the order of stems, so they are walked together.
pub(super) fn look_up<'k, 'a>(
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
