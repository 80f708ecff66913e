//! What f-droid.org published: the `index-v2.json` of a repository, as fdroidserver's
//! `update.make_v2` writes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::Path;

use serde::Deserialize;
use url::Url;

use crate::fdroid::AppId;
use crate::publish::Version;

/// The largest index that is read, in bytes. F-Droid's has some 50 MB.
const LONGEST: u64 = 512 << 20;

/// Milliseconds of a day: times are counted in them.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// An index, as far as a comparison needs it.
#[derive(Debug)]
pub struct Index {
    /// When it was made, in milliseconds since 1970.
    made: u64,
    /// The folder of the files, if it has an address of the web.
    address: Option<Url>,
    /// By package and version code. Several, where the same version has several signers.
    versions: BTreeMap<(String, u32), Vec<Published>>,
}

/// A file that was published.
#[derive(Debug)]
pub struct Published {
    /// When it was, in milliseconds since 1970.
    pub added: u64,
    /// Its name: letters, digits and `._+-`.
    pub name: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

#[derive(Deserialize)]
struct Document {
    repo: Repo,
    packages: BTreeMap<String, Package>,
}

#[derive(Deserialize)]
struct Repo {
    address: String,
    timestamp: u64,
}

#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    versions: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    added: u64,
    file: Named,
    manifest: Manifest,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    sha256: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    version_code: u64,
}

impl Index {
    /// Reads one while it comes in; what is not needed of it takes no memory. What no build can be
    /// compared with, such as a file whose name leads elsewhere, is not in it.
    ///
    /// # Errors
    /// When it cannot be read, is no index, or too large.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?.take(LONGEST);
        let document: Document = serde_json::from_reader(BufReader::new(file))?;
        let mut versions: BTreeMap<_, Vec<Published>> = BTreeMap::new();
        for (package, entry) in document.packages.into_iter().flat_map(|(package, found)| {
            found.versions.into_values().map(move |entry| (package.clone(), entry))
        }) {
            let name = entry.file.name.trim_start_matches('/');
            let Ok(code) = u32::try_from(entry.manifest.version_code) else { continue };
            if AppId::new(&package).is_some() && is_plain(name) {
                let (name, added) = (name.to_owned(), entry.added);
                let published = Published { added, name, sha256: entry.file.sha256 };
                versions.entry((package, code)).or_default().push(published);
            }
        }
        let address = Url::parse(&document.repo.address).ok();
        let address = address.filter(|url| matches!(url.scheme(), "http" | "https"));
        Ok(Self { made: document.repo.timestamp, address, versions })
    }

    /// The files of one version.
    #[must_use]
    pub fn of(&self, version: &Version) -> &[Published] {
        let key = (version.app.to_string(), version.code);
        self.versions.get(&key).map(Vec::as_slice).unwrap_or_default()
    }

    /// What was published in the last days before the index was made, each as `APPID_VERSIONCODE`.
    pub fn since(&self, days: u32) -> impl Iterator<Item = String> {
        let start = self.made.saturating_sub(u64::from(days) * DAY);
        let is_new = move |files: &Vec<Published>| files.iter().any(|file| file.added >= start);
        let new = self.versions.iter().filter(move |(_, files)| is_new(files));
        new.map(|((package, code), _)| format!("{package}_{code}"))
    }

    /// Where a file can be had; only its name where the index does not say.
    #[must_use]
    pub fn url(&self, published: &Published) -> String {
        let Some(mut url) = self.address.clone() else { return published.name.clone() };
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(&published.name);
        }
        url.to_string()
    }
}

/// Whether it is the name of a file in a folder.
fn is_plain(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    !name.starts_with('.') && !name.is_empty() && name.len() <= 255 && name.bytes().all(is_known)
}
