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
use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use serde::Serialize;
use tempfile::TempDir;

pub use error::WriteError;
use error::{Action, IoContext as _};
pub use manifest::hash as digest;
use plan::Plan;

/// The directory of the set, in the output directory.
pub const SET_DIR: &str = "masters";

/// The list of the set's files, in the set.
pub const MANIFEST: &str = "manifest.json";

/// What the set was made from, in the set's directory but no part of the set.
pub(crate) const PROVENANCE: &str = "provenance.json";

/// How the names of staged sets begin, in the output directory.
const STAGING: &str = ".masters-staging-";

/// The files of an output set, each by its path in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputSet {
    files: BTreeMap<String, Vec<u8>>,
    /// The hashes that the manifest lists for those that have another one now.
    edited: BTreeMap<String, String>,
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
    /// something else ([`MANIFEST`], `provenance.json`, the files of a master's base directory).
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

    /// The set at `masters` as its manifest lists it, whatever else lies there; an empty one where
    /// there is none.
    ///
    /// # Errors
    ///
    /// When the manifest is damaged, or a file that it lists cannot be read.
    pub fn load(masters: &Path) -> Result<Self, WriteError> {
        let mut set = Self::default();
        for (path, hash) in manifest::read(masters)? {
            let full = masters.join(&path);
            let bytes = fs::read(&full).context(Action::Read, &full)?;
            if digest(&bytes) != hash {
                set.edited.insert(path.clone(), hash);
            }
            set.files.insert(path, bytes);
        }
        Ok(set)
    }

    /// Whether somebody has edited the file at `path` since this program wrote it.
    #[must_use]
    pub(crate) fn is_edited(&self, path: &str) -> bool {
        self.edited.contains_key(path)
    }

    /// The files that somebody has edited since this program wrote them.
    pub fn edited(&self) -> impl Iterator<Item = &str> {
        self.edited.keys().map(String::as_str)
    }

    /// The file at `path` as text; `None` also if it is no UTF-8, and so none of this program's.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.files.get(path)?).ok()
    }

    /// The SHA-256 of what is in the files: two sets are equal if it is.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&manifest::render(&self.files, &BTreeMap::new()))
    }

    /// The digest of the files in one folder of the set, as `live.py` computes it of what a master
    /// has loaded.
    #[must_use]
    pub fn part(&self, folder: &str) -> String {
        let inside = |path: &str| path.strip_prefix(folder).is_some_and(|p| p.starts_with('/'));
        let files = self.files.iter().filter(|(path, _)| inside(path));
        let lines: Vec<String> =
            files.map(|(path, bytes)| format!("{path} {}\n", digest(bytes))).collect();
        digest(lines.concat().as_bytes())
    }

    /// The files as texts, in the order of their paths; what is no UTF-8 is none of this program's.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter_map(|(path, bytes)| Some((path, std::str::from_utf8(bytes).ok()?)))
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
    let manifest = manifest::render(&set.files, &set.edited);
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
    let output = Output::open(out)?;
    let staged = output.stage(set, provenance)?;
    let changes = staged.changes.clone();
    staged.commit()?;
    Ok(changes)
}

/// An output directory in which no other run is at work for as long as this lives.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    /// The directory itself is locked, so that no lock file stays behind.
    lock: File,
}

impl Drop for Output {
    fn drop(&mut self) {
        // Closing would do, but that a process which is just being started holds it for a moment.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// A new set, complete under a temporary name. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Staged<'o> {
    output: &'o Output,
    /// What differs from the set on disk.
    pub changes: Changes,
    exists: bool,
    provenance: Sidecar,
    /// `None` where no file of the set differs.
    folder: Option<TempDir>,
}

impl Output {
    /// Makes `out` if it is not there, keeps other runs out, and removes what killed ones left.
    ///
    /// # Errors
    ///
    /// When another run is at work there, or when the system refuses.
    pub fn open(out: &Path) -> Result<Self, WriteError> {
        fs::create_dir_all(out).context(Action::Create, out)?;
        let output = Self { path: out.to_owned(), lock: lock(out)? };
        remove_leftovers(out)?;
        Ok(output)
    }

    /// The output directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of the set.
    #[must_use]
    pub fn masters(&self) -> PathBuf {
        self.path.join(SET_DIR)
    }

    /// Lays a new set beside the one on disk.
    ///
    /// # Errors
    ///
    /// When the set on disk holds what must not be replaced, or when the system refuses.
    pub fn stage(
        &self,
        set: &OutputSet,
        provenance: &serde_json::Value,
    ) -> Result<Staged<'_>, WriteError> {
        let masters = self.masters();
        let manifest = manifest::render(&set.files, &set.edited);
        let files = complete(set, &manifest);
        let plan = Plan::new(&masters, &files)?;
        let text = format!("{provenance:#}\n");
        let same = fs::read(masters.join(PROVENANCE)).is_ok_and(|old| old == text.as_bytes());
        let provenance = Sidecar { text, same };
        let folder = if plan.changes.is_empty() {
            None
        } else {
            Some(stage(&self.path, &masters, &plan, &files, &provenance)?)
        };
        let (changes, exists) = (plan.changes, plan.exists);
        Ok(Staged { output: self, changes, exists, provenance, folder })
    }
}

impl Staged<'_> {
    /// Where the set's files are to look at: those on disk, where none differs.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.as_ref().map_or_else(|| self.output.masters(), |dir| dir.path().to_owned())
    }

    /// Lets the new set take the place of the old one, in one step.
    ///
    /// # Errors
    ///
    /// When the system refuses. The old set is then untouched.
    pub fn commit(self) -> Result<(), WriteError> {
        let out = &self.output.path;
        let masters = self.output.masters();
        if let Some(folder) = self.folder {
            exchange(&folder, &masters, self.exists)?;
            sync(out)?;
            // What now bears the name of the staging is the old set. If it cannot be removed, the
            // next run tries again.
            drop(folder);
        } else if !self.provenance.same {
            replace_provenance(out, &masters, &self.provenance.text)?;
        }
        Ok(())
    }
}

/// The provenance as it is to be written.
#[derive(Debug)]
struct Sidecar {
    text: String,
    /// Whether the one on disk is the same.
    same: bool,
}

/// Whether the file at `path` holds just `bytes`.
///
/// # Errors
///
/// When it cannot be read.
pub fn holds(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let file = File::open(path)?;
    if file.metadata()?.len() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut file = BufReader::with_capacity(64 << 10, file);
    let mut rest = bytes;
    loop {
        let read = file.fill_buf()?;
        let number = read.len();
        match rest.split_at_checked(number) {
            Some((same, more)) if same == read => rest = more,
            _ => return Ok(false),
        }
        if number == 0 {
            return Ok(rest.is_empty());
        }
        file.consume(number);
    }
}

/// All files of the set, the manifest among them.
fn complete<'a>(set: &'a OutputSet, manifest: &'a [u8]) -> BTreeMap<&'a str, &'a [u8]> {
    set.iter().chain([(MANIFEST, manifest)]).collect()
}

/// Keeps other runs out of `out` for as long as the file lives.
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

/// Replaces the provenance alone, in one step. Nothing waits for the disk: should it be lost, the
/// next run writes it again, and nearly every commit to fdroiddata changes nothing else.
fn replace_provenance(out: &Path, masters: &Path, provenance: &str) -> Result<(), WriteError> {
    let path = masters.join(PROVENANCE);
    let mut file = tempfile::Builder::new()
        .prefix(STAGING)
        .permissions(mode(0o666))
        .tempfile_in(out)
        .context(Action::Write, &path)?;
    file.write_all(provenance.as_bytes()).context(Action::Write, &path)?;
    file.persist(&path).map_err(|error| error.error).context(Action::Replace, &path)?;
    Ok(())
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
