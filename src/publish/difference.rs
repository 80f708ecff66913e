//! What differs between two APKs but for their signatures.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::apk::{Content, contents, run, sealed};
use crate::text::shown;

/// The most files that are named. All of them fit into what is read of a process.
const MOST_NAMED: usize = 10;

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// How many files do.
    pub count: usize,
    /// The first of them, in order of their names.
    pub files: Vec<Changed>,
}

/// A file that differs, or that only one of the APKs has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its name, cut and made safe to show.
    pub name: String,
    /// Its size in the first APK, unpacked, in bytes.
    pub first: Option<u64>,
    /// Its size in the second.
    pub second: Option<u64>,
}

/// Compares the names and contents of all files but those of a signature. Order and compression do
/// not count. No other file can be opened from then on.
///
/// # Errors
/// As of [`read`](super::read).
pub fn read_difference(first: &Path, second: &Path) -> Result<Difference, String> {
    let open = |path| File::open(path).map_err(|error| format!("it cannot be opened: {error}"));
    let [first, second] = sealed([open(first)?, open(second)?])?;
    let first = contents(first)?;
    let mut second = contents(second).map_err(|why| format!("the other one: {why}"))?;
    let mut changed = BTreeMap::new();
    for (name, content) in first {
        let other = second.remove(&name);
        if other.as_ref() != Some(&content) {
            changed.insert(name, (Some(content), other));
        }
    }
    changed.extend(second.into_iter().map(|(name, content)| (name, (None, Some(content)))));
    let size = |content: &Option<Content>| content.as_ref().map(|content| content.size);
    let named = changed.iter().take(MOST_NAMED).map(|(name, (first, second))| Changed {
        name: shown(&String::from_utf8_lossy(name)),
        first: size(first),
        second: size(second),
    });
    Ok(Difference { count: changed.len(), files: named.collect() })
}

/// Lets another process of `program`, which is this one, compare them.
///
/// # Errors
/// When it cannot be started. Within: why one of them is no APK.
pub fn differ(
    program: &Path,
    first: &Path,
    second: &Path,
) -> io::Result<Result<Difference, String>> {
    let second = std::path::absolute(second)?;
    let said = run(program, &["--against".as_ref(), second.as_os_str()], first)?;
    Ok(said.and_then(|said| {
        serde_json::from_str(&said).map_err(|_| "it says nothing that can be read".to_owned())
    }))
}
