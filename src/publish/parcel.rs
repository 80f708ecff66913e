//! What is carried to the machine that signs, and back: a folder with a `manifest.json` that has
//! the SHA-256 of each of its files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use super::set::Version;
use super::signature::hex;

/// The name of the manifest.
pub const MANIFEST: &str = "manifest.json";

/// The largest manifest that is read, in bytes.
const MOST: u64 = 64 << 10;

/// The most files that a parcel may have. An index has 14.
const MOST_FILES: usize = 32;

/// The most bytes that its files may have.
const MOST_BYTES: u64 = 8 << 30;

/// What a parcel holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The application id, if it is of a version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The version code, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_code: Option<u32>,
    /// The SHA-256 of each file, in hexadecimal, by its path.
    pub files: BTreeMap<String, String>,
}

impl Manifest {
    /// That of a folder, of a version or of the index.
    ///
    /// # Errors
    /// When a file cannot be read. Within: when something is no ordinary file.
    pub fn of(folder: &Path, version: Option<&Version>) -> io::Result<Result<Self, String>> {
        if !fs::symlink_metadata(folder)?.is_dir() {
            return Ok(Err("it is no folder".to_owned()));
        }
        let (mut files, mut bytes) = (BTreeMap::new(), 0);
        for entry in WalkDir::new(folder).min_depth(1).sort_by_file_name() {
            let entry = entry?;
            let path = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            let Some(path) = path.to_str() else {
                return Ok(Err("it has a file whose name is no text".to_owned()));
            };
            if path == MANIFEST || entry.file_type().is_dir() {
                continue;
            }
            if !entry.file_type().is_file() {
                return Ok(Err(format!("`{}` is no ordinary file", crate::text::shown(path))));
            }
            if files.len() == MOST_FILES {
                return Ok(Err(format!("it has more than {MOST_FILES} files")));
            }
            bytes += entry.metadata()?.len();
            if bytes > MOST_BYTES {
                return Ok(Err(format!("it has more than {} GiB", MOST_BYTES >> 30)));
            }
            files.insert(path.to_owned(), sum(entry.path())?);
        }
        let package = version.map(|version| version.app.to_string());
        let version_code = version.map(|version| version.code);
        Ok(Ok(Self { package, version_code, files }))
    }

    /// Checks a folder against the manifest that it has.
    ///
    /// # Errors
    /// As of [`Self::of`]. Within: why it is not what was packed.
    pub fn check(folder: &Path, version: Option<&Version>) -> io::Result<Result<Self, String>> {
        let path = folder.join(MANIFEST);
        let found = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() && found.len() <= MOST => fs::read(&path)?,
            Ok(_) => return Ok(Err(format!("its {MANIFEST} is none"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Err(format!("it has no {MANIFEST}")));
            }
            Err(error) => return Err(error),
        };
        let Ok(manifest) = serde_json::from_slice::<Self>(&found) else {
            return Ok(Err(format!("its {MANIFEST} is none")));
        };
        let is = match Self::of(folder, version)? {
            Ok(is) => is,
            Err(why) => return Ok(Err(why)),
        };
        if is == manifest {
            return Ok(Ok(is));
        }
        let differs = |path: &&String| is.files.get(*path) != manifest.files.get(*path);
        let path = is.files.keys().chain(manifest.files.keys()).find(differs);
        let what = path.map_or(MANIFEST, String::as_str);
        Ok(Err(format!("`{}` is not what was packed", crate::text::shown(what))))
    }

    /// As the file has it.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sum(path: &Path) -> io::Result<String> {
    digest(File::open(path)?)
}

/// The SHA-256 of all that can be read, in hexadecimal.
pub(super) fn digest(mut from: impl Read) -> io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => hash.update(buffer.get(..bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hex(&hash.finalize()))
}
