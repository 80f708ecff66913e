//! The folders beside a repository, and what moves between them. All are of one file system, so
//! that each move is a rename.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::names;
use super::set::{ENDINGS, OURS};

/// Why nothing is published, whatever the set.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The system refused.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// What it is about.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another run is at work.
    #[error("another run is publishing to `{}`", .0.display())]
    Busy(PathBuf),
    /// There is no command `fdroid`.
    #[error("cannot run `fdroid`: {0}")]
    NoFdroid(io::Error),
    /// The key of the index is not known.
    #[error("`config.yml` has no `repo_pubkey`, the certificate of the key that signs the index")]
    NoKey,
    /// There is no index that could be signed.
    #[error("there is no unsigned index: {0}")]
    NoIndex(String),
    /// `fdroid publish` fails with nothing to publish.
    #[error("`fdroid publish` cannot work in this repository\n{0}")]
    Fdroidserver(String),
}

impl PublishError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Io { .. } => "look at the folder's owner, its space and its file system",
            Self::Busy(_) => "wait for it to end",
            Self::NoFdroid(_) => "install fdroidserver, and have it in the PATH",
            Self::NoKey => {
                "write there, in hexadecimal, what `keytool -exportcert` prints where the keys are"
            }
            Self::NoIndex(_) => "run `fdroid update --nosign`",
            Self::Fdroidserver(_) => {
                "see that `fdroid publish` works by itself: its config.yml, the keystore, Java"
            }
        }
    }
}

/// The folders of a repository, and beside it.
#[derive(Debug)]
pub struct Places {
    /// Where `fdroid` runs.
    pub repository: PathBuf,
    /// The sets that builds gave.
    pub built: PathBuf,
    /// Those that were not published, each with a `reason`.
    pub refused: PathBuf,
    /// What is to be signed elsewhere.
    pub outbox: PathBuf,
    /// What was signed there.
    pub inbox: PathBuf,
    /// Where this program works.
    pub work: PathBuf,
    /// Below it, the sets at hand: what a new build puts into `built` meanwhile is another set.
    pub taken: PathBuf,
    /// Below it, what only has to be moved into the repository.
    pub ready: PathBuf,
}

impl Places {
    /// Those of a repository; missing ones are made.
    ///
    /// # Errors
    /// When it is no folder, or nothing can be made beside it.
    pub fn new(repository: &Path, built: &Path) -> Result<Self, PublishError> {
        let at = |path: &Path| {
            fs::canonicalize(path)
                .map_err(|source| PublishError::Io { path: path.to_owned(), source })
        };
        let repository = at(repository)?;
        let beside = repository.parent().unwrap_or(&repository).to_owned();
        let work = beside.join("publishing");
        let places = Self {
            refused: beside.join("refused"),
            outbox: beside.join("outbox"),
            inbox: beside.join("inbox"),
            taken: work.join("taken"),
            ready: work.join("ready"),
            built: built.to_owned(),
            repository,
            work,
        };
        let repo = places.repository.join("repo");
        let Self { built: sets, refused, taken, ready, outbox, inbox, .. } = &places;
        for folder in [sets, refused, taken, ready, outbox, inbox, &repo] {
            fs::create_dir_all(folder).map_err(|e| places.failed(folder, e))?;
        }
        Ok(Self { built: at(built)?, ..places })
    }

    #[expect(clippy::unused_self, reason = "it reads well at each place")]
    pub(super) fn failed(&self, path: &Path, source: io::Error) -> PublishError {
        PublishError::Io { path: path.to_owned(), source }
    }

    /// Held while one process works.
    pub(super) fn lock(&self) -> Result<File, PublishError> {
        let path = self.work.join("lock");
        let file = File::create(&path).map_err(|e| self.failed(&path, e))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| PublishError::Busy(self.repository.clone()))?;
        Ok(file)
    }

    /// What is in a folder, in order, but for what is not whole yet: an upload of a master's, which
    /// has a name with a dot before it has its own.
    pub(super) fn list(&self, folder: &Path) -> Result<Vec<OsString>, PublishError> {
        let mut names = names(folder).map_err(|e| self.failed(folder, e))?;
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        Ok(names)
    }

    /// Takes a set out of `built`.
    pub(super) fn take(&self, name: &OsStr) -> Result<PathBuf, PublishError> {
        let folder = self.taken.join(name);
        self.rename(&self.built.join(name), &folder)?;
        Ok(folder)
    }

    /// Puts back what a killed process had taken, but for what was built anew since.
    pub(super) fn put_back(&self) -> Result<(), PublishError> {
        for name in self.list(&self.taken)? {
            let (from, to) = (self.taken.join(&name), self.built.join(&name));
            if fs::symlink_metadata(&to).is_ok() {
                self.remove(&from)?;
            } else {
                self.rename(&from, &to)?;
            }
        }
        Ok(())
    }

    /// `STEM` of everything that the repository or its archive has.
    pub(super) fn published(&self) -> Result<BTreeSet<String>, PublishError> {
        let mut stems = BTreeSet::new();
        for name in ["repo", "archive"] {
            let folder = self.repository.join(name);
            let found = match names(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                found => found.map_err(|e| self.failed(&folder, e))?,
            };
            let outputs = found.iter().filter_map(|name| name.to_str()?.rsplit_once('.'));
            let outputs = outputs.filter(|(_, ending)| ENDINGS.contains(ending));
            stems.extend(outputs.map(|(stem, _)| stem.to_owned()));
        }
        Ok(stems)
    }

    /// Moves what is ready into the repository, and forgets its set, and one of the same version that
    /// was refused before. Whoever is killed in between does it again.
    pub(super) fn finish(&self, stem: &str) -> Result<(), PublishError> {
        let ready = self.ready.join(stem);
        let repo = self.repository.join("repo");
        self.merge(&ready, &repo)?;
        // Signed elsewhere, it came back without its log.
        let log = format!("{stem}.log.gz");
        let sent = self.outbox.join(stem).join("repo").join(&log);
        if sent.is_file() {
            self.rename(&sent, &repo.join(&log))?;
        }
        for folder in [&self.outbox, &self.taken, &self.refused, &self.ready] {
            self.remove(&folder.join(stem))?;
        }
        Ok(())
    }

    /// Moves all files of a folder, and of those below it, into another that has the same ones.
    fn merge(&self, from: &Path, to: &Path) -> Result<(), PublishError> {
        fs::create_dir_all(to).map_err(|e| self.failed(to, e))?;
        for name in self.list(from)? {
            let (path, target) = (from.join(&name), to.join(&name));
            if path.is_dir() {
                self.merge(&path, &target)?;
            } else if !OURS.iter().any(|ours| name == *ours) {
                let mode = Permissions::from_mode(0o644);
                fs::set_permissions(&path, mode).map_err(|e| self.failed(&path, e))?;
                self.rename(&path, &target)?;
            }
        }
        Ok(())
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), PublishError> {
        fs::rename(from, to).map_err(|e| self.failed(to, e))
    }

    /// Removes a folder, or whatever is there in its place.
    pub(super) fn remove(&self, path: &Path) -> Result<(), PublishError> {
        let is_folder = fs::symlink_metadata(path).map(|found| found.is_dir());
        let removed = match is_folder {
            Ok(true) => fs::remove_dir_all(path),
            Ok(false) => fs::remove_file(path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.map_err(|e| self.failed(path, e))
    }

    /// Puts a set away, with the reason. One that was refused before gives way.
    pub(super) fn refuse(
        &self,
        folder: &Path,
        name: &OsStr,
        reason: &str,
    ) -> Result<(), PublishError> {
        let (from, to) = (folder.join(name), self.refused.join(name));
        self.remove(&to)?;
        let is_folder = fs::symlink_metadata(&from).map_err(|e| self.failed(&from, e))?.is_dir();
        if is_folder {
            // Written before the move: whoever is killed in between writes it again.
            self.write(&from.join("reason"), reason)?;
            return fs::rename(&from, &to).map_err(|e| self.failed(&to, e));
        }
        fs::create_dir(&to).map_err(|e| self.failed(&to, e))?;
        self.write(&to.join("reason"), reason)?;
        let inside = to.join(name);
        fs::rename(&from, &inside).map_err(|e| self.failed(&inside, e))
    }

    /// Writes a file in the place of whatever has its name.
    pub(super) fn write(&self, path: &Path, text: &str) -> Result<(), PublishError> {
        let write = || {
            if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
                fs::remove_dir_all(path)?;
            }
            let mut file = tempfile::NamedTempFile::new_in(&self.work)?;
            file.write_all(text.as_bytes())?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|e: io::Error| self.failed(path, e))
    }
}
