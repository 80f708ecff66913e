//! Earlier sets, kept to return to.
//!
//! `OUT/.masters-kept/NUMBER` is a set as it was when another took its place. Files that stay the
//! same from set to set share their bytes on the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use crate::write::{OutputSet, PROVENANCE, WriteError};

/// The directory of kept sets, in the output directory.
const KEPT: &str = ".masters-kept";

/// The mark of a set that a person has returned to, which nothing replaces by itself.
const HELD: &str = ".masters-held";

/// How many sets are kept.
const MOST: usize = 20;

/// A set that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its number; a later one is greater.
    pub number: u64,
    /// Its directory.
    pub path: PathBuf,
    /// When another took its place.
    pub since: Option<SystemTime>,
    /// What it was made from.
    pub provenance: Value,
}

/// The sets that `out` keeps, the latest last.
#[must_use]
pub fn list(out: &Path) -> Vec<Kept> {
    let entries = fs::read_dir(out.join(KEPT)).into_iter().flatten().flatten();
    let mut kept: Vec<Kept> = entries
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let path = entry.path();
            let since = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            let provenance = provenance(&path);
            Some(Kept { number, path, since, provenance })
        })
        .collect();
    kept.sort_by_key(|kept| kept.number);
    kept
}

/// What the set at `masters` was made from.
#[must_use]
pub fn provenance(masters: &Path) -> Value {
    let text = fs::read(masters.join(PROVENANCE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Keeps the set at `masters`, and lets go of the oldest ones that are too many.
///
/// # Errors
/// When the system refuses.
pub fn keep(out: &Path, masters: &Path, set: &OutputSet) -> io::Result<()> {
    let kept = list(out);
    let number = kept.last().map_or(1, |last| last.number + 1);
    let folder = out.join(KEPT);
    fs::create_dir_all(&folder)?;
    // Under its number only once it is complete.
    let staging = tempfile::Builder::new().prefix(".staging-").tempdir_in(&folder)?;
    let all = set.iter().map(|(path, _)| path).chain([crate::write::MANIFEST, PROVENANCE]);
    for path in all {
        let (from, to) = (masters.join(path), staging.path().join(path));
        fs::create_dir_all(to.parent().unwrap_or(staging.path()))?;
        match fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && path == PROVENANCE => {}
            result => result?,
        }
    }
    fs::rename(staging.keep(), folder.join(number.to_string()))?;
    for old in kept.iter().rev().skip(MOST - 1) {
        fs::remove_dir_all(&old.path)?;
    }
    Ok(())
}

impl Kept {
    /// Its files.
    ///
    /// # Errors
    /// When they cannot be read, or were edited since.
    pub fn load(&self) -> Result<OutputSet, WriteError> {
        let set = OutputSet::load(&self.path)?;
        if let Some(path) = set.edited().next() {
            return Err(WriteError::Edited(self.path.join(path)));
        }
        Ok(set)
    }
}

/// Why nothing replaces the set by itself, if so.
#[must_use]
pub fn held(out: &Path) -> Option<String> {
    fs::read_to_string(out.join(HELD)).ok().map(|why| why.trim().to_owned())
}

/// Lets nothing replace the set by itself any more.
///
/// # Errors
/// When the system refuses.
pub fn hold(out: &Path, why: &str) -> io::Result<()> {
    fs::write(out.join(HELD), format!("{why}\n"))
}

/// Ends [`hold`].
///
/// # Errors
/// When the system refuses.
pub fn release(out: &Path) -> io::Result<()> {
    match fs::remove_file(out.join(HELD)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
