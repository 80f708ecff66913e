//! The output set on disk, whole or not at all.
//!
//! `OUT/masters` is the set: one directory that belongs to this program. `OUT` itself may be a
//! mount point, the folder of a checkout or the current directory, and hold anything else. A new
//! set is staged beside the old one as `OUT/.masters-staging-*`, complete and synced, and then the
//! two directories change places in one step, which `renameat2(2)` offers. Who is killed at any
//! moment, or out of disk, leaves the old set or the new one.
//!
//! `manifest.json` in the set lists its files with their SHA-256. What it does not list, and what
//! no longer has the hash that it lists, belongs to somebody else and is kept.

mod error;
mod manifest;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use serde::Serialize;
use tempfile::TempDir;

pub use error::WriteError;
use error::{Action, IoContext as _};
use plan::Plan;

/// The directory of the set, in the output directory.
pub const SET_DIR: &str = "masters";

/// The list of the set's files, in the set.
pub const MANIFEST: &str = "manifest.json";

/// What the set was made from, in the set's directory but no part of the set.
pub const PROVENANCE: &str = "provenance.json";

/// How the names of staged sets begin, in the output directory.
const STAGING: &str = ".masters-staging-";

/// The files of an output set, each by its path in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputSet {
    files: BTreeMap<String, Vec<u8>>,
}

impl OutputSet {
    /// A set without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the file `path`, relative to the set, with `/` between its parts.
    ///
    /// # Errors
    ///
    /// [`WriteError::Path`] when the path is not a plain relative one, is taken, or stands for
    /// something else ([`MANIFEST`], [`PROVENANCE`], the files of a master's base directory).
    pub fn insert(
        &mut self,
        path: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
    ) -> Result<(), WriteError> {
        let path = path.into();
        let taken = |other: &str| {
            let (long, short) =
                if path.len() < other.len() { (other, &*path) } else { (&*path, other) };
            long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let reserved = path == MANIFEST || path == PROVENANCE;
        if reserved || !manifest::is_plain_path(&path) || self.files.keys().any(|k| taken(k)) {
            return Err(WriteError::Path(path));
        }
        self.files.insert(path, bytes.into());
        Ok(())
    }

    /// The files in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }
}

/// What differs between the set on disk and a new one. Paths are relative to the set and sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Files that are new.
    pub added: Vec<String>,
    /// Files that have other bytes, because the input changed or someone edited them.
    pub changed: Vec<String>,
    /// Files that are no longer produced and still are what was written.
    pub removed: Vec<String>,
    /// Files that are no longer produced but were edited since they were written: they stay, and
    /// are their editor's from now on.
    pub kept_edited: Vec<String>,
    /// How many files stay as they are.
    pub unchanged: usize,
}

impl Changes {
    /// Whether the set on disk is the new one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.changed.is_empty()
            && self.removed.is_empty()
            && self.kept_edited.is_empty()
    }
}

/// What [`write`] would change in `out`. Writes nothing.
///
/// # Errors
///
/// When the set on disk cannot be read, or [`write`] would refuse to replace it.
pub fn compare(out: &Path, set: &OutputSet) -> Result<Changes, WriteError> {
    let manifest = manifest::render(&set.files);
    let files = complete(set, &manifest);
    Ok(Plan::new(&out.join(SET_DIR), &files)?.changes)
}

/// Makes `out/masters` the new set, in one step. Files that stay the same keep their inode and
/// times; if all do, only the provenance is replaced, and not even that if it is the same.
///
/// # Errors
///
/// When another run is at work in `out`, when the set on disk holds what this program must not
/// replace, or when the system refuses. The old set is then untouched.
pub fn write(
    out: &Path,
    set: &OutputSet,
    provenance: &serde_json::Value,
) -> Result<Changes, WriteError> {
    fs::create_dir_all(out).context(Action::Create, out)?;
    let _lock = lock(out)?;
    remove_leftovers(out)?;
    let masters = out.join(SET_DIR);
    let manifest = manifest::render(&set.files);
    let files = complete(set, &manifest);
    let plan = Plan::new(&masters, &files)?;
    let text = format!("{provenance:#}\n");
    let same = fs::read(masters.join(PROVENANCE)).is_ok_and(|old| old == text.as_bytes());
    let provenance = Sidecar { text, same };
    if !plan.changes.is_empty() {
        let staging = stage(out, &masters, &plan, &files, &provenance)?;
        exchange(&staging, &masters, plan.exists)?;
        sync(out)?;
        // What now bears the name of the staging is the old set. If it cannot be removed, the next
        // run tries again.
        drop(staging);
    } else if !provenance.same {
        replace_provenance(out, &masters, &provenance.text)?;
    }
    Ok(plan.changes)
}

/// The provenance as it is to be written.
struct Sidecar {
    text: String,
    /// Whether the one on disk is the same.
    same: bool,
}

/// All files of the set, the manifest among them.
fn complete<'a>(set: &'a OutputSet, manifest: &'a [u8]) -> BTreeMap<&'a str, &'a [u8]> {
    set.iter().chain([(MANIFEST, manifest)]).collect()
}

/// Keeps other runs out of `out` for as long as the file lives. The directory itself is locked, so
/// that no lock file stays behind.
fn lock(out: &Path) -> Result<File, WriteError> {
    let file = File::open(out).context(Action::Open, out)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(WriteError::Busy(out.to_owned())),
        Err(error) => Err(error.into()).context(Action::Lock, out),
    }
}

/// Removes what runs that were killed have left: sets that were staged, or were replaced.
fn remove_leftovers(out: &Path) -> Result<(), WriteError> {
    for entry in fs::read_dir(out).context(Action::Read, out)? {
        let entry = entry.context(Action::Read, out)?;
        if !entry.file_name().as_encoded_bytes().starts_with(STAGING.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().context(Action::Read, &path)?;
        let removed =
            if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.context(Action::Remove, &path)?;
    }
    Ok(())
}

/// The new set, complete and synced, under a temporary name beside `masters`.
fn stage(
    out: &Path,
    masters: &Path,
    plan: &Plan,
    files: &BTreeMap<&str, &[u8]>,
    provenance: &Sidecar,
) -> Result<TempDir, WriteError> {
    let staging = tempfile::Builder::new()
        .prefix(STAGING)
        .permissions(mode(0o777))
        .tempdir_in(out)
        .context(Action::Create, out)?;
    let root = staging.path();

    let paths = files.keys().map(Path::new).chain(plan.kept.iter().map(PathBuf::as_path));
    let folders: BTreeSet<&Path> = paths
        .flat_map(|path| path.ancestors().skip(1))
        .chain(plan.empty_folders.iter().flat_map(|path| path.ancestors()))
        .collect();
    for folder in &folders {
        let path = root.join(folder);
        fs::create_dir_all(&path).context(Action::Create, &path)?;
    }
    for path in &plan.kept {
        let (from, to) = (masters.join(path), root.join(path));
        fs::hard_link(&from, &to).context(Action::Link, &from)?;
    }
    for (&path, bytes) in files {
        keep_or_write(masters, root, path, bytes, plan.unchanged.contains(path))?;
    }
    keep_or_write(masters, root, PROVENANCE, provenance.text.as_bytes(), provenance.same)?;
    for folder in folders.iter().rev() {
        let path = root.join(folder);
        if let Some(permissions) = plan.permissions.get(*folder) {
            fs::set_permissions(&path, permissions.clone()).context(Action::Write, &path)?;
        }
        sync(&path)?;
    }
    Ok(staging)
}

/// Puts a file at `path` into the set staged at `root`: the one of the old set, under a second
/// name, if that is `same` and the file system lets it be linked, else a new one.
fn keep_or_write(
    masters: &Path,
    root: &Path,
    path: &str,
    bytes: &[u8],
    same: bool,
) -> Result<(), WriteError> {
    let to = root.join(path);
    if same && fs::hard_link(masters.join(path), &to).is_ok() {
        return Ok(());
    }
    let shown = masters.join(path);
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(&to).context(Action::Write, &shown)?;
    file.write_all(bytes).context(Action::Write, &shown)?;
    file.sync_all().context(Action::Write, &shown)
}

/// Gives the staged set the name `masters`, and the old one, if there is one, the staging's name.
fn exchange(staging: &TempDir, masters: &Path, exists: bool) -> Result<(), WriteError> {
    let flags = if exists { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    match renameat_with(CWD, staging.path(), CWD, masters, flags) {
        Ok(()) => Ok(()),
        // A file system that does not know the flag, a mount point, a lower layer of overlayfs.
        Err(
            error @ (Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::XDEV | Errno::BUSY),
        ) => Err(WriteError::NoExchange { path: masters.to_owned(), source: error.into() }),
        Err(error) => Err(error.into()).context(Action::Replace, masters),
    }
}

/// Replaces the provenance alone, in one step.
fn replace_provenance(out: &Path, masters: &Path, provenance: &str) -> Result<(), WriteError> {
    let path = masters.join(PROVENANCE);
    let mut file = tempfile::Builder::new()
        .prefix(STAGING)
        .permissions(mode(0o666))
        .tempfile_in(out)
        .context(Action::Write, &path)?;
    file.write_all(provenance.as_bytes()).context(Action::Write, &path)?;
    file.as_file().sync_all().context(Action::Write, &path)?;
    file.persist(&path).map_err(|error| error.error).context(Action::Replace, &path)?;
    sync(masters)
}

/// Waits until the names in `folder` are on the disk.
fn sync(folder: &Path) -> Result<(), WriteError> {
    match File::open(folder).and_then(|file| file.sync_all()) {
        // Some file systems have nothing to sync for a directory.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        result => result.context(Action::Write, folder),
    }
}

/// Permissions that the umask still narrows.
fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}
