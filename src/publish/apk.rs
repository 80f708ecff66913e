//! What an APK says it is. The file was made from what strangers wrote, so it is read by a process
//! that can do nothing else ([`ask`]), and one that different readers may read differently is
//! refused.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, FileReader, RECOMMENDED_BUFFER_SIZE, ZipArchive, ZipEntry};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::axml;
use super::parcel::digest;
use crate::process;

const MANIFEST: &[u8] = b"AndroidManifest.xml";

/// The largest manifest that is read, in bytes. Large ones have some 100 kB.
const MOST_MANIFEST: u64 = 4 << 20;

/// The most files that an APK may have. Large ones have some 10,000.
const MOST_FILES: u64 = 200_000;

/// What the process may use: seconds of its processor, bytes of memory, bytes that it writes.
const LIMITS: [(Resource, u64); 4] = [
    (Resource::Cpu, 20),
    (Resource::As, 1 << 30),
    (Resource::Fsize, 64 << 10),
    (Resource::Core, 0),
];

/// How long the process may take, by the clock.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an APK says it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The application id.
    pub package: String,
    /// What fdroidserver and the names of files go by.
    pub version_code: u32,
    /// The upper half of Android's long version code; 0 where absent. fdroidserver does not know it.
    pub version_code_major: u32,
}

/// Takes from this process, for good, what reading a file does not need.
///
/// # Errors
/// When the kernel refuses.
pub fn confine() -> io::Result<()> {
    LIMITS.iter().try_for_each(|(resource, most)| limit(*resource, *most))
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// What the APK says it is. No other file can be opened from then on, if the process is
/// [confined](confine).
///
/// # Errors
/// Why it is no APK that everybody reads alike.
pub fn read(path: &Path) -> Result<Identity, String> {
    let file = File::open(path).map_err(|error| format!("it cannot be opened: {error}"))?;
    limit(Resource::Nofile, 0).map_err(|error| error.to_string())?;
    read_file(file)
}

/// The same of an open file, in this process.
///
/// # Errors
/// As of [`read`].
pub fn read_file(file: File) -> Result<Identity, String> {
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let (archive, size) = open(file, &mut buffer)?;
    let found = scan(&archive, size, &mut buffer)?;
    identity(found.ok_or("it has no AndroidManifest.xml")?, &mut buffer)
}

fn broken(error: &dyn std::fmt::Display) -> String {
    format!("it is no sound ZIP archive: {error}")
}

/// The archive, and its size in bytes.
fn open(file: File, buffer: &mut [u8]) -> Result<(ZipArchive<FileReader>, u64), String> {
    let size = file.metadata().map_err(|error| broken(&error))?.len();
    let archive = ZipArchive::from_file(file, buffer).map_err(|error| broken(&error))?;
    Ok((archive, size))
}

/// A manifest, whether it is in plain, and how it is packed.
type Manifest<'a> = (ZipEntry<'a, FileReader>, bool, CompressionMethod);

/// Whether everybody reads the archive alike; its manifest, if it has one.
fn scan<'a>(
    archive: &'a ZipArchive<FileReader>,
    size: u64,
    buffer: &mut [u8],
) -> Result<Option<Manifest<'a>>, String> {
    let mut comment = Vec::new();
    archive.comment().read_to_end(&mut comment).map_err(|error| broken(&error))?;
    if archive.end_offset() != size || comment.windows(4).any(|bytes| bytes == b"PK\x05\x06") {
        return Err("it may be read as several ZIP archives".to_owned());
    }
    let (mut names, mut places, mut manifest) = (BTreeSet::new(), Vec::new(), None);
    let mut entries = archive.entries(buffer);
    while let Some(entry) = entries.next_entry().map_err(|error| broken(&error))? {
        if names.len() as u64 == MOST_FILES.min(archive.entries_hint()) {
            return Err("it has more files than it says, or far too many".to_owned());
        }
        let name = entry.file_path().as_bytes();
        let found = archive.get_entry(entry.wayfinder()).map_err(|error| broken(&error))?;
        places.push((entry.local_header_offset(), found.compressed_data_range().1));
        if name == MANIFEST {
            let is_plain = !entry.flags().is_encrypted();
            manifest = Some((found, is_plain, entry.compression_method()));
        }
        if !names.insert(name.to_owned()) {
            let name = String::from_utf8_lossy(name);
            return Err(format!("it has two files `{}`", crate::text::shown(&name)));
        }
    }
    if names.len() as u64 != archive.entries_hint() {
        return Err("it has fewer files than it says".to_owned());
    }
    places.sort_unstable();
    let ends_before = |pair: &[(u64, u64)]| matches!(pair, [(_, end), (start, _)] if end <= start);
    if !places.windows(2).all(ends_before)
        || places.last().is_none_or(|(_, end)| *end > archive.directory_offset())
    {
        return Err("its files overlap".to_owned());
    }
    if places.first().is_some_and(|(start, _)| *start != 0) {
        return Err("there is data before the first entry".to_owned());
    }
    Ok(manifest)
}

/// What a manifest says.
fn identity(
    (entry, is_plain, method): Manifest<'_>,
    buffer: &mut [u8],
) -> Result<Identity, String> {
    let header = entry.local_header(buffer).map_err(|error| broken(&error))?;
    if header.file_path().as_bytes() != MANIFEST || header.compression_method() != method {
        return Err("its AndroidManifest.xml is not what its directory says".to_owned());
    }
    let mut bytes = Vec::new();
    let taken = match method {
        _ if !is_plain => return Err("its AndroidManifest.xml is encrypted".to_owned()),
        CompressionMethod::STORE => {
            entry.verifying_reader(entry.reader()).take(MOST_MANIFEST + 1).read_to_end(&mut bytes)
        }
        CompressionMethod::DEFLATE => entry
            .verifying_reader(DeflateDecoder::new(entry.reader()))
            .take(MOST_MANIFEST + 1)
            .read_to_end(&mut bytes),
        _ => return Err("its AndroidManifest.xml is packed in an unknown way".to_owned()),
    };
    taken.map_err(|error| format!("its AndroidManifest.xml cannot be unpacked: {error}"))?;
    if bytes.len() as u64 > MOST_MANIFEST {
        return Err("its AndroidManifest.xml is far too large".to_owned());
    }
    axml::read(&bytes).map_err(|error| format!("its AndroidManifest.xml: {error}"))
}

/// A sum of all that an APK or another JAR holds but its signature: of the names and the contents of
/// its files. No other file can be opened from then on.
///
/// # Errors
/// As of [`read`].
pub fn read_content(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("it cannot be opened: {error}"))?;
    let [file] = sealed([file])?;
    let mut all = String::new();
    for (name, content) in contents(file)? {
        all += &digest(name.as_slice()).map_err(|error| error.to_string())?;
        all += &content.sum;
    }
    digest(all.as_bytes()).map_err(|error| error.to_string())
}

/// The content of a file of an APK.
#[derive(PartialEq, Eq)]
pub(super) struct Content {
    /// Its size, in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sum: String,
}

/// Files that are open, each twice, and the last that can be opened.
pub(super) fn sealed<const N: usize>(files: [File; N]) -> Result<[[File; 2]; N], String> {
    let mut pairs = Vec::new();
    for file in files {
        let again = file.try_clone().map_err(|error| error.to_string())?;
        pairs.push([file, again]);
    }
    limit(Resource::Nofile, 0).map_err(|error| error.to_string())?;
    pairs.try_into().map_err(|_| "there are fewer files than were opened".to_owned())
}

/// What an APK or another JAR holds but its signature, by name.
pub(super) fn contents([file, again]: [File; 2]) -> Result<BTreeMap<Vec<u8>, Content>, String> {
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let (archive, size) = open(again, &mut buffer)?;
    // It is sound, so its files are read alike by all.
    if let Some(manifest) = scan(&archive, size, &mut buffer)? {
        identity(manifest, &mut buffer)?;
    }
    let broken = |error: &dyn std::fmt::Display| format!("it cannot be unpacked: {error}");
    let archive = ZipArchive::from_file(file, &mut buffer).map_err(|error| broken(&error))?;
    let (mut all, mut entries) = (BTreeMap::new(), archive.entries(&mut buffer));
    while let Some(entry) = entries.next_entry().map_err(|error| broken(&error))? {
        let name = entry.file_path().as_bytes();
        if is_signature(name) {
            continue;
        }
        let found = archive.get_entry(entry.wayfinder()).map_err(|error| broken(&error))?;
        let sum = match entry.compression_method() {
            CompressionMethod::STORE => digest(found.verifying_reader(found.reader())),
            CompressionMethod::DEFLATE => {
                digest(found.verifying_reader(DeflateDecoder::new(found.reader())))
            }
            _ => return Err("a file of it is packed in an unknown way".to_owned()),
        };
        let sum = sum.map_err(|error| broken(&error))?;
        all.insert(name.to_owned(), Content { size: entry.uncompressed_size_hint(), sum });
    }
    Ok(all)
}

/// The sum of a JAR that holds this one file, and no more but its signature.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn content_of_one(name: &str, file: &Path) -> io::Result<String> {
    let sum = digest(name.as_bytes())? + &digest(File::open(file)?)?;
    digest(sum.as_bytes())
}

/// Whether a file belongs to the signature of a JAR, or is the folder that it is in.
fn is_signature(whole: &[u8]) -> bool {
    let name = whole.strip_prefix(b"META-INF/").unwrap_or_default();
    let endings: [&[u8]; 4] = [b".SF", b".RSA", b".DSA", b".EC"];
    name == b"MANIFEST.MF"
        || whole == b"META-INF/"
        || (!name.contains(&b'/') && endings.iter().any(|ending| name.ends_with(ending)))
}

/// Lets another process of `program`, which is this one, read the APK.
///
/// # Errors
/// When it cannot be started. Within: why the APK is none.
pub fn ask(program: &Path, apk: &Path) -> io::Result<Result<Identity, String>> {
    Ok(run(program, &[], apk)?.and_then(|said| {
        serde_json::from_str(&said).map_err(|_| "it says nothing that can be read".to_owned())
    }))
}

/// The same for the [sum](read_content) of what it holds.
///
/// # Errors
/// As of [`ask`].
pub fn content(program: &Path, apk: &Path) -> io::Result<Result<String, String>> {
    run(program, &["--content".as_ref()], apk)
}

/// Lets another process of `program` read the APK: what it says, or why it is none.
pub(super) fn run(
    program: &Path,
    options: &[&OsStr],
    apk: &Path,
) -> io::Result<Result<String, String>> {
    let mut command = Command::new(program);
    // An absolute path is no option.
    command.arg0("fdroid-bb").arg("apk").args(options).arg(std::path::absolute(apk)?).env_clear();
    let (is_good, said) = match process::run(&mut command, PATIENCE) {
        Ok(ended) => ended,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            return Ok(Err("reading it takes too long".to_owned()));
        }
        Err(error) => return Err(error),
    };
    if !is_good {
        let why = said.lines().find_map(|line| line.strip_prefix("error: "));
        let why = why.unwrap_or("reading it takes more time or memory than it may");
        return Ok(Err(why.to_owned()));
    }
    Ok(Ok(said))
}
