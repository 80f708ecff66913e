//! The index, signed on another machine.
//!
//! ```text
//! here:  fdroid update --nosign ──▶ repo/, archive/ ──copies──▶ outbox/index ╌╌carried╌╌▶ there: sign
//!        repo/*.jar ◀── receiving/ ◀──same content, repository's key── inbox/index ◀╌╌carried╌╌┘
//! ```
//!
//! An index of which the signed and the unsigned files differ must not be deployed, so what was sent
//! and came back signed is kept in `signed`: only while the repository has just that, [`take_index`]
//! ends well. What is in `receiving` is accepted, whatever happens then.
//!
//! [`take_index`]: Publisher::take_index

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Deserialize;

use super::apk::{content, content_of_one};
use super::parcel::{Manifest, sum};
use super::signature::read;
use super::{Failed, PublishError, Publisher};
use crate::text::{count, shown};

/// Its name in `outbox` and `inbox`, which is no version's.
pub(super) const INDEX: &str = "index";

/// The folders that have an index; the archive need not be there.
const SECTIONS: [&str; 2] = ["repo", "archive"];

/// What `fdroid signindex` signs, and the JAR that comes of it.
const SIGNED: [(&str, &str); 3] =
    [(UNSIGNED, "index.jar"), ("index-v1.json", "index-v1.jar"), (ENTRY, "entry.jar")];
const UNSIGNED: &str = "index_unsigned.jar";

/// The file that says when the index was made, and has the SHA-256 of the next one.
const ENTRY: &str = "entry.json";
const DATA: &str = "index-v2.json";

/// The largest `entry.json` that is read, in bytes. F-Droid's has 3 kB.
const MOST_ENTRY: u64 = 1 << 20;

/// What is read of `entry.json`.
#[derive(Deserialize)]
struct Entry {
    /// When it was made, in milliseconds of Unix time.
    timestamp: u64,
}

/// What is read of `index-v2.json`.
#[derive(Deserialize)]
struct Index {
    packages: BTreeMap<String, Package>,
}

#[derive(Deserialize)]
struct Package {
    versions: BTreeMap<String, Release>,
}

#[derive(Deserialize)]
struct Release {
    file: Published,
}

/// A file that is published: its path, with a `/` before it, and its size in bytes.
#[derive(Deserialize)]
struct Published {
    name: String,
    size: u64,
}

impl Publisher<'_> {
    /// Puts the repository's unsigned index into `outbox`, in the place of an earlier one.
    ///
    /// # Errors
    /// When there is none, or the folders cannot be used.
    pub fn send_index(&self) -> Result<(), Failed> {
        let places = self.places;
        let _lock = places.lock()?;
        // What is not in the repository yet never will be.
        places.remove(&places.work.join(RECEIVING))?;
        let has_index = |section: &&str| places.repository.join(section).join(ENTRY).is_file();
        let mut names = Vec::new();
        for section in SECTIONS.into_iter().filter(|it| *it == "repo" || has_index(it)) {
            for name in sent(section) {
                if !places.repository.join(&name).is_file() {
                    return Err(PublishError::NoIndex(format!("`{name}` is missing")));
                }
                names.push(name);
            }
        }
        self.pack(&places.outbox.join(INDEX), None, |staged| {
            for name in &names {
                let to = staged.join(name);
                fs::create_dir_all(to.parent().unwrap_or(staged))?;
                fs::copy(places.repository.join(name), to)?;
            }
            Ok(())
        })
    }

    /// Takes the signed index out of `inbox`, if there is one, into the repository. Within: why it is
    /// refused, or why the repository's index must not be deployed.
    ///
    /// # Errors
    /// When the folders cannot be used.
    pub fn take_index(&self) -> Result<Result<(), String>, Failed> {
        let places = self.places;
        let _lock = places.lock()?;
        let (back, receiving) = (places.inbox.join(INDEX), places.work.join(RECEIVING));
        if fs::symlink_metadata(&back).is_ok() && !receiving.exists() {
            if let Err(why) = self.judge_index(&back)? {
                places.refuse(&places.inbox, INDEX.as_ref(), &why)?;
                return Ok(Err(format!("refused: {why}")));
            }
            places.rename(&back, &receiving)?;
        }
        if receiving.exists() {
            self.install(&receiving).map_err(|e| places.failed(&receiving, e))?;
        }
        self.is_signed().map_err(|e| places.failed(&places.repository, e))
    }

    /// Whether what came back is what was sent, signed with the repository's key, and still wanted.
    fn judge_index(&self, back: &Path) -> Result<Result<(), String>, Failed> {
        let places = self.places;
        let sent = places.outbox.join(INDEX);
        let at = |e: io::Error| places.failed(back, e);
        if !sent.is_dir() {
            return Ok(Err("nobody asked for it: the outbox has no index".to_owned()));
        }
        let manifests = (Manifest::check(back, None), Manifest::check(&sent, None));
        let (manifest, asked) = match (manifests.0.map_err(at)?, manifests.1.map_err(at)?) {
            (Ok(manifest), Ok(asked)) => (manifest, asked),
            (Err(why), _) => return Ok(Err(why)),
            (_, Err(why)) => return Ok(Err(format!("what was sent: {why}"))),
        };
        let wanted: Vec<String> = sections(&asked).flat_map(given).collect();
        if let Some(name) = manifest.files.keys().find(|name| !wanted.contains(name)) {
            return Ok(Err(format!("it has a file `{}`, which nobody asked for", shown(name))));
        }
        let needed = sections(&asked).flat_map(jars).collect::<Vec<_>>();
        if let Some(name) = needed.iter().find(|name| !manifest.files.contains_key(*name)) {
            return Ok(Err(format!("there is no {name}")));
        }
        let deployed = places.work.join(KEPT);
        for section in sections(&asked) {
            let made = |folder: &Path| timestamp(&folder.join(section).join(ENTRY));
            let (Ok(signed), Ok(wanted)) = (made(back), made(&sent)) else {
                return Ok(Err(format!("{section}/{ENTRY} has no timestamp")));
            };
            if signed < wanted {
                let seconds = (wanted - signed).div_ceil(1000);
                let seconds = count(usize::try_from(seconds).unwrap_or(usize::MAX), "second");
                return Ok(Err(format!("it is {seconds} older than the index that was sent last")));
            }
            if made(&deployed).is_ok_and(|deployed| wanted < deployed) {
                return Ok(Err("it is older than the index that was signed last".to_owned()));
            }
        }
        if let Some(name) = changed(&asked, &places.repository).map_err(at)? {
            return Ok(Err(format!("the repository has another {name} since it was sent")));
        }
        for (section, (from, jar)) in sections(&asked).flat_map(|it| SIGNED.map(|pair| (it, pair)))
        {
            let (from, jar) = (format!("{section}/{from}"), format!("{section}/{jar}"));
            let file = sent.join(&from);
            let expected = if from.ends_with(UNSIGNED) {
                content(self.reader, &file).map_err(at)?
            } else {
                let name = Path::new(&from).file_name().unwrap_or_default().to_string_lossy();
                content_of_one(&name, &file).map(Ok).map_err(at)?
            };
            let checked = match expected {
                Ok(expected) => self.check_jar(&back.join(&jar), &expected)?,
                Err(why) => Err(format!("what was sent: {why}")),
            };
            if let Err(why) = checked {
                return Ok(Err(format!("{jar}: {why}")));
            }
        }
        Ok(Ok(()))
    }

    /// Moves what was accepted into the repository. Whoever is killed in between does it again.
    fn install(&self, receiving: &Path) -> io::Result<()> {
        let places = self.places;
        for section in SECTIONS.into_iter().filter(|section| receiving.join(section).is_dir()) {
            for name in given(section).iter().filter(|name| receiving.join(name).is_file()) {
                fs::set_permissions(receiving.join(name), Permissions::from_mode(0o644))?;
                fs::rename(receiving.join(name), places.repository.join(name))?;
            }
            let unsigned = places.repository.join(section).join(UNSIGNED);
            places.remove(&unsigned).map_err(io::Error::other)?;
        }
        let (sent, kept) = (places.outbox.join(INDEX), places.work.join(KEPT));
        if sent.is_dir() {
            places.remove(&kept).map_err(io::Error::other)?;
            fs::rename(sent, kept)?;
        }
        places.remove(receiving).map_err(io::Error::other)
    }

    /// Whether the repository has the index that was signed last, and the files that it names.
    fn is_signed(&self) -> io::Result<Result<(), String>> {
        let (places, kept) = (self.places, self.places.work.join(KEPT));
        if !kept.is_dir() {
            return Ok(Err("no index was signed yet".to_owned()));
        }
        let manifest = match Manifest::check(&kept, None)? {
            Ok(manifest) => manifest,
            Err(why) => return Ok(Err(why)),
        };
        if let Some(name) = changed(&manifest, &places.repository)? {
            return Ok(Err(format!("the index is not signed: {name} is another one since")));
        }
        for section in sections(&manifest) {
            let folder = places.repository.join(section);
            let index = BufReader::new(File::open(folder.join(DATA))?);
            let index: Index = serde_json::from_reader(index)?;
            let releases = index.packages.into_values().flat_map(|it| it.versions.into_values());
            for Published { name, size } in releases.map(|release| release.file) {
                let name = name.trim_start_matches('/');
                if fs::metadata(folder.join(name)).map_or(0, |found| found.len()) != size {
                    let name = shown(name);
                    return Ok(Err(format!("{section}/{name} is not what the index says")));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// Below the folder in which this program works: what was accepted, and what was sent for it.
const RECEIVING: &str = "receiving";
const KEPT: &str = "signed";

/// What of a section is sent.
fn sent(section: &str) -> Vec<String> {
    let names = SIGNED.map(|(from, _)| from);
    names.into_iter().chain([DATA]).map(|name| format!("{section}/{name}")).collect()
}

/// What of a section may come back: `entry.json` as it was sent, the JARs, and signatures of GPG's.
pub(super) fn given(section: &str) -> Vec<String> {
    let asc = ["index-v1.json", DATA, ENTRY].map(|name| format!("{section}/{name}.asc"));
    jars(section).into_iter().chain(asc).collect()
}

/// What of that must come back.
fn jars(section: &str) -> Vec<String> {
    let names = SIGNED.map(|(_, jar)| jar);
    names.into_iter().chain([ENTRY]).map(|name| format!("{section}/{name}")).collect()
}

/// The sections that a sent index has.
pub(super) fn sections(manifest: &Manifest) -> impl Iterator<Item = &'static str> {
    let has = |section: &str| manifest.files.contains_key(&format!("{section}/{ENTRY}"));
    SECTIONS.map(|section| has(section).then_some(section)).into_iter().flatten()
}

/// Checks that a folder with this manifest has what is sent of an index, and nothing else.
///
/// # Errors
/// What it has or lacks.
pub(super) fn check_sent(manifest: Manifest) -> Result<Manifest, String> {
    let wanted: Vec<String> = sections(&manifest).flat_map(sent).collect();
    if let Some(name) = manifest.files.keys().find(|name| !wanted.contains(name)) {
        return Err(format!("it has a file `{}`, which is none of an index", shown(name)));
    }
    let missing = wanted.iter().find(|name| !manifest.files.contains_key(*name));
    match missing {
        Some(name) => Err(format!("there is no {name}")),
        None if wanted.is_empty() => Err("it has no index".to_owned()),
        None => Ok(manifest),
    }
}

/// A file of the index that a repository has otherwise than the manifest says, but for the unsigned
/// JAR, which is gone once it is signed.
fn changed(manifest: &Manifest, repository: &Path) -> io::Result<Option<String>> {
    for (name, expected) in manifest.files.iter().filter(|(name, _)| !name.ends_with(UNSIGNED)) {
        let file = repository.join(name);
        if !file.is_file() || sum(&file)? != *expected {
            return Ok(Some(name.clone()));
        }
    }
    let has_archive = repository.join("archive").join(ENTRY).is_file();
    let name = format!("archive/{ENTRY}");
    Ok((has_archive && !manifest.files.contains_key(&name)).then_some(name))
}

fn timestamp(entry: &Path) -> io::Result<u64> {
    Ok(serde_json::from_str::<Entry>(&read(entry, MOST_ENTRY)?)?.timestamp)
}
