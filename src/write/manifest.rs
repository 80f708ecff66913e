//! The list of a set's files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{Action, IoContext as _};
use super::{MANIFEST, WriteError};

/// The version of the format. A later one is refused, not guessed at.
const FORMAT: u32 = 1;

/// Names that make a directory a master's base directory (`buildbot create-master`, and
/// `twistd` while the master runs).
pub(super) const BASEDIR_FILES: &[&str] = &["buildbot.tac", "twistd.pid"];

/// Where Python keeps what it has compiled.
pub(super) const PYCACHE: &str = "__pycache__";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    /// The SHA-256 of each file, in hexadecimal.
    files: BTreeMap<String, String>,
}

/// The manifest of `files`, of which `listed` have another hash than theirs.
pub(super) fn render(
    files: &BTreeMap<String, Vec<u8>>,
    listed: &BTreeMap<String, String>,
) -> Vec<u8> {
    let hash = |(path, bytes): (&String, &Vec<u8>)| {
        (path.clone(), listed.get(path).cloned().unwrap_or_else(|| hash(bytes)))
    };
    let files = files.iter().map(hash).collect();
    let value = serde_json::json!(Manifest { format: FORMAT, files });
    format!("{value:#}\n").into_bytes()
}

/// What the manifest of the set at `masters` lists; nothing when there is none.
pub(super) fn read(masters: &Path) -> Result<BTreeMap<String, String>, WriteError> {
    let path = masters.join(MANIFEST);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        result => result.context(Action::Read, &path)?,
    };
    let damaged = |reason: String| WriteError::Manifest { path: path.clone(), reason };
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(damaged(format!("its format is {}, not {FORMAT}", manifest.format)));
    }
    if let Some(bad) = manifest.files.keys().find(|path| !is_plain_path(path)) {
        return Err(damaged(format!("`{}` is no path of a set", bad.escape_default())));
    }
    Ok(manifest.files)
}

/// The SHA-256 of `bytes`, in hexadecimal.
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether `path` can be that of a file in a set: relative, of printable ASCII, without `.` and
/// `..`, and with no part that stands for something else.
pub(super) fn is_plain_path(path: &str) -> bool {
    path.split('/').all(|part| {
        !matches!(part, "" | "." | ".." | PYCACHE)
            && !BASEDIR_FILES.contains(&part)
            && part.len() <= 255
            && part.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\')
    })
}
