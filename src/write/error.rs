//! What can go wrong with an output set.

use std::io;
use std::path::{Path, PathBuf};

/// Why the output set was not compared or not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: Action,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another run is at work in this output directory.
    #[error("another run is writing to `{}`", .0.display())]
    Busy(PathBuf),
    /// A master has its base directory where the set belongs.
    #[error("`{}` belongs to a master's base directory", .0.display())]
    MasterBasedir(PathBuf),
    /// A file of an unusual kind, which cannot be carried into the new set.
    #[error("`{}` is neither a file, a directory nor a link", .0.display())]
    Special(PathBuf),
    /// Something that was not written by this program is in the way.
    #[error("`{}` is in the way of a file of the set, and was not written by this program", .0.display())]
    Blocked(PathBuf),
    /// A file of a set that was kept is not what was written.
    #[error("`{}` was edited", .0.display())]
    Edited(PathBuf),
    /// The set's directory is no directory.
    #[error("`{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// A manifest that cannot be trusted.
    #[error("`{}` is damaged: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The set's directory cannot change places with another.
    #[error("cannot exchange `{}` in one step: {source}", path.display())]
    NoExchange {
        /// The set's directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A path that no file of a set can have, which is a defect of this program.
    #[error("`{}` cannot be the path of a file in the set", .0.escape_default())]
    Path(String),
}

impl WriteError {
    /// What the user can do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free some space and run again; the old set is untouched"
                }
                io::ErrorKind::PermissionDenied => {
                    "run as the owner of the output directory; the old set is untouched"
                }
                _ => "the old set is untouched",
            },
            Self::Busy(_) => "wait for it to end, or give another directory with `--out`",
            Self::MasterBasedir(_) => {
                "keep base directories out of the set: move this one, or give another directory with `--out`"
            }
            Self::Edited(_) => "return to another set: `fdroid-bb rollback --list`",
            Self::Special(_) => "move it out of the set's directory",
            Self::Blocked(_) => "move it out of the set's directory, or rename it",
            Self::NotADirectory(_) => "move it away, or give another directory with `--out`",
            Self::Manifest { .. } => {
                "restore it, or delete it: every file that is no longer produced is then kept"
            }
            Self::NoExchange { .. } => {
                "give a directory with `--out` that is on ext4, XFS, Btrfs or tmpfs and whose `masters` is no mount point"
            }
            Self::Path(_) => "report this as a defect of fdroid-bb",
        }
        .to_owned()
    }
}

/// What was tried when the system refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To create a directory.
    Create,
    /// To give a file of the old set a name in the new one.
    Link,
    /// To lock a directory.
    Lock,
    /// To open a directory.
    Open,
    /// To read a file or list a directory.
    Read,
    /// To remove what an earlier run left.
    Remove,
    /// To put something new in the place of something old.
    Replace,
    /// To write a file or sync a directory.
    Write,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Link => "link",
            Self::Lock => "lock",
            Self::Open => "open",
            Self::Read => "read",
            Self::Remove => "remove",
            Self::Replace => "replace",
            Self::Write => "write",
        })
    }
}

/// Says what an error of the system is about.
pub(super) trait IoContext<T> {
    fn context(self, action: Action, path: &Path) -> Result<T, WriteError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: Action, path: &Path) -> Result<T, WriteError> {
        self.map_err(|source| WriteError::Io { action, path: path.to_owned(), source })
    }
}
