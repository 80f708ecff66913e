//! Where `fdroid publish` works: a folder that has all of the repository's but what it would
//! change. It has its own `unsigned` and `repo`, so what is left over there after a failure or a
//! crash is in nobody's way, and what is not whole is never in the repository.
//!
//! Of the metadata it has only that of the app at hand. All others are there as empty files: for
//! fdroidserver looks whether two of them would get the same key, and lists whose keys there are,
//! but it also stops at the first file of any app that it does not like.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What is made anew for each app.
const OWN: [&str; 5] = ["unsigned", "repo", "archive", "tmp", "logs"];

/// What has no part in signing, beside what is made anew.
const LEFT_OUT: [&str; 3] = ["metadata", "build", ".git"];

/// One that is gone when it is dropped.
pub struct View {
    folder: TempDir,
    repository: PathBuf,
}

impl View {
    /// One of a repository, below `parent`.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(repository: &Path, parent: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        for entry in fs::read_dir(repository)? {
            let name = entry?.file_name();
            if !OWN.iter().chain(&LEFT_OUT).any(|own| name == *own) {
                symlink(repository.join(&name), folder.path().join(&name))?;
            }
        }
        let metadata = folder.path().join("metadata");
        fs::create_dir(&metadata)?;
        for entry in fs::read_dir(repository.join("metadata"))? {
            let name = entry?.file_name();
            if Path::new(&name).extension().is_some_and(|it| it == "yml") {
                File::create(metadata.join(name))?;
            }
        }
        let view = Self { folder, repository: repository.to_owned() };
        view.clean()?;
        Ok(view)
    }

    /// Removes those that killed processes have left below `parent`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn sweep(parent: &Path) -> io::Result<()> {
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Empties what fdroidserver reads and writes.
    ///
    /// # Errors
    /// What the system says.
    pub fn clean(&self) -> io::Result<()> {
        for name in OWN {
            match fs::remove_dir_all(self.path(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => fs::create_dir(self.path(name))?,
            }
        }
        fs::create_dir(self.path("unsigned/binaries"))
    }

    /// Puts the metadata of an app into it, while `work` goes on.
    ///
    /// # Errors
    /// What the system says.
    pub fn with<T>(&self, app: &str, work: impl FnOnce() -> T) -> io::Result<T> {
        let (folder, file) = (format!("metadata/{app}"), format!("metadata/{app}.yml"));
        fs::remove_file(self.path(&file))?;
        symlink(self.repository.join(&file), self.path(&file))?;
        // Its signatures.
        symlink(self.repository.join(&folder), self.path(&folder))?;
        let done = work();
        fs::remove_file(self.path(&folder))?;
        fs::remove_file(self.path(&file))?;
        File::create(self.path(&file))?;
        Ok(done)
    }
}

const PREFIX: &str = "view-";
