//! What has to be done to make the set on disk a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::{Action, IoContext as _};
use super::manifest::{self, BASEDIR_FILES, PYCACHE};
use super::{Changes, PROVENANCE, WriteError, holds};

/// What has to be done to make the set on disk a new one. Paths are relative to the set.
#[derive(Default)]
pub(super) struct Plan {
    pub changes: Changes,
    /// Whether there is a set on disk.
    pub exists: bool,
    /// The files of the new set that are on disk with the same bytes.
    pub unchanged: BTreeSet<String>,
    /// Files and links on disk that belong to somebody else.
    pub kept: BTreeSet<PathBuf>,
    /// Directories on disk that belong to somebody else and hold nothing.
    pub empty_folders: BTreeSet<PathBuf>,
    /// The permissions of all directories on disk, that of the set among them.
    pub permissions: BTreeMap<PathBuf, Permissions>,
}

impl Plan {
    /// Compares the set at `masters` with `files`.
    pub fn new(masters: &Path, files: &BTreeMap<&str, &[u8]>) -> Result<Self, WriteError> {
        let mut plan = Self::default();
        match fs::symlink_metadata(masters) {
            Ok(metadata) if metadata.is_dir() => plan.exists = true,
            Ok(_) => return Err(WriteError::NotADirectory(masters.to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(Action::Read, masters),
        }
        let mut found = BTreeSet::new();
        if plan.exists {
            let listed = manifest::read(masters)?;
            for path in plan.walk(masters, PathBuf::new())? {
                if let Some(path) = plan.judge(masters, &path, files, &listed)? {
                    found.insert(path);
                }
            }
            plan.find_blocks(masters, files)?;
        }
        plan.changes.added = files
            .keys()
            .filter(|&&path| !found.contains(path))
            .map(|&path| path.to_owned())
            .collect();
        plan.changes.unchanged = plan.unchanged.len();
        Ok(plan)
    }

    /// The files and links under `folder`, sorted; notes the directories.
    fn walk(&mut self, masters: &Path, folder: PathBuf) -> Result<Vec<PathBuf>, WriteError> {
        let full = masters.join(&folder);
        let permissions = fs::metadata(&full).context(Action::Read, &full)?.permissions();
        self.permissions.insert(folder.clone(), permissions);
        let mut entries = fs::read_dir(&full)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .context(Action::Read, &full)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut paths = Vec::new();
        let mut holds_nothing = true;
        for entry in entries {
            let (name, path) = (entry.file_name(), entry.path());
            let kind = entry.file_type().context(Action::Read, &path)?;
            if name == PYCACHE && kind.is_dir() {
                continue;
            }
            holds_nothing = false;
            if BASEDIR_FILES.iter().any(|&file| name == file) {
                return Err(WriteError::MasterBasedir(path));
            }
            let relative = folder.join(name);
            if kind.is_dir() {
                paths.extend(self.walk(masters, relative)?);
            } else if !kind.is_file() && !kind.is_symlink() {
                return Err(WriteError::Special(path));
            } else if relative != Path::new(PROVENANCE) {
                paths.push(relative);
            }
        }
        if holds_nothing {
            self.empty_folders.insert(folder);
        }
        Ok(paths)
    }

    /// Decides what happens to the file or link at `path`. Gives its path back if the new set has
    /// one of that name.
    fn judge(
        &mut self,
        masters: &Path,
        path: &Path,
        files: &BTreeMap<&str, &[u8]>,
        listed: &BTreeMap<String, String>,
    ) -> Result<Option<String>, WriteError> {
        let full = masters.join(path);
        let is_file = fs::symlink_metadata(&full).context(Action::Read, &full)?.is_file();
        let read = || fs::read(&full).context(Action::Read, &full);
        // Every path of a set is UTF-8.
        let name = path.to_str().unwrap_or_default();
        if let Some(bytes) = files.get(name) {
            if is_file && holds(&full, bytes).context(Action::Read, &full)? {
                self.unchanged.insert(name.to_owned());
            } else {
                self.changes.changed.push(name.to_owned());
            }
            return Ok(Some(name.to_owned()));
        }
        match listed.get(name) {
            Some(hash) if is_file && manifest::hash(&read()?) == *hash => {
                self.changes.removed.push(name.to_owned());
            }
            Some(_) => {
                self.changes.kept_edited.push(name.to_owned());
                self.kept.insert(path.to_owned());
            }
            None => {
                self.kept.insert(path.to_owned());
            }
        }
        Ok(None)
    }

    /// Refuses what belongs to somebody else where the new set needs a directory or a file.
    fn find_blocks(&self, masters: &Path, files: &BTreeMap<&str, &[u8]>) -> Result<(), WriteError> {
        let blocked = |path: &Path| Err(WriteError::Blocked(masters.join(path)));
        for &path in files.keys() {
            let path = Path::new(path);
            if let Some(file) = path.ancestors().skip(1).find(|folder| self.kept.contains(*folder))
            {
                return blocked(file);
            }
        }
        let theirs = self.kept.iter().chain(&self.empty_folders);
        for path in theirs {
            let is_file = |folder: &&Path| {
                folder.to_str().is_some_and(|p| p == PROVENANCE || files.contains_key(p))
            };
            if let Some(folder) = path.ancestors().find(is_file) {
                return blocked(folder);
            }
        }
        Ok(())
    }
}
