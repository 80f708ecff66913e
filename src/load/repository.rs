//! One git repository, read by libgit2 or, where that cannot, by git itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use git2::{ErrorCode, Oid};

use super::git;
use crate::text::shown;

/// Why a repository, or a revision of it, cannot be read, and what to do about it.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) reason: String,
    pub(super) remedy: String,
}

impl Trouble {
    fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into() }
    }

    /// From git's own words.
    fn said(words: &str) -> Self {
        // `fatal: REASON To add an exception for this directory, call: REMEDY`
        let (reason, remedy) = match words.split_once("To add an exception") {
            Some((reason, rest)) => (reason, rest.split_once("call:").map(|(_, remedy)| remedy)),
            None => (words, None),
        };
        let reason = reason.trim().trim_start_matches("fatal: ");
        let remedy = match remedy {
            Some(command) => {
                format!("run as the owner of the repository, or trust it: `{}`", command.trim())
            }
            None if reason.contains("extension") || reason.contains("repo version") => {
                "install a newer git".to_owned()
            }
            None if reason.contains("cannot be run") => "install git".to_owned(),
            None => "check the repository with `git fsck`".to_owned(),
        };
        Self { reason: shown(reason), remedy }
    }
}

/// The id of a tree or blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Id {
    Libgit2(Oid),
    /// In hexadecimal; SHA-256 is longer than libgit2 takes.
    Git(Box<str>),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Libgit2(oid) => oid.fmt(f),
            Self::Git(hex) => f.write_str(hex),
        }
    }
}

impl Id {
    /// Its first 20 bytes.
    pub(super) fn start(&self) -> Option<[u8; 20]> {
        match self {
            Self::Libgit2(oid) => oid.as_bytes().try_into().ok(),
            Self::Git(hex) => Oid::from_str(hex.get(..40)?).ok()?.as_bytes().try_into().ok(),
        }
    }
}

/// A git repository.
pub(super) enum Repository {
    Libgit2(git2::Repository),
    Git(PathBuf),
}

impl Repository {
    /// The repository in `path`, bare or not; `None` if there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Trouble> {
        // Objects are addressed by their hash; git checked them when they were fetched.
        git2::opts::strict_hash_verification(false);
        let error = match git2::Repository::open(path) {
            Ok(repository) => return Ok(Some(Self::Libgit2(repository))),
            Err(error) => error,
        };
        let has = |name| path.join(name).symlink_metadata().is_ok();
        if error.code() == ErrorCode::NotFound && !has(".git") && !(has("HEAD") && has("objects")) {
            return Ok(None);
        }
        match git::ask(path, &["rev-parse", "--git-dir"]) {
            Ok(_) => Ok(Some(Self::Git(path.to_owned()))),
            Err(words) => Err(Trouble::said(&words)),
        }
    }

    pub(super) fn is_bare(&self) -> Result<bool, Trouble> {
        match self {
            Self::Libgit2(repository) => Ok(repository.is_bare()),
            Self::Git(path) => {
                let said = git::ask(path, &["rev-parse", "--is-bare-repository"]);
                said.map(|said| said.starts_with(b"true")).map_err(|words| Trouble::said(&words))
            }
        }
    }

    /// The commit that `revision` names, and its tree.
    pub(super) fn commit(&self, revision: &str) -> Result<(String, Id), Trouble> {
        let found = match self {
            Self::Libgit2(repository) => commit(repository, revision)
                .map(|(commit, tree)| (commit, Id::Libgit2(tree)))
                .map_err(|error| error.message().to_owned()),
            Self::Git(path) => {
                // It says nothing of use itself.
                let none = format!("revspec '{}' not found", shown(revision));
                let one = |kind| parse(path, &format!("{revision}^{{{kind}}}"));
                one("commit").zip(one("tree").map(|tree| Id::Git(tree.into()))).ok_or(none)
            }
        };
        found.map_err(|reason| match self.unborn(revision) {
            Some(branch) => Trouble::new(
                format!("the branch `{}` has no commit yet", shown(&branch)),
                "make a first commit, fetch the branch, or give another one with `--rev BRANCH`",
            ),
            None => Trouble::new(reason, "give a commit, branch or tag that `git log` knows"),
        })
    }

    /// The branch that HEAD names, if that is asked for.
    fn unborn(&self, revision: &str) -> Option<String> {
        if revision != "HEAD" {
            return None;
        }
        let name = match self {
            Self::Libgit2(repository) => {
                repository.find_reference("HEAD").ok()?.symbolic_target().ok()??.to_owned()
            }
            Self::Git(path) => {
                let name = git::ask(path, &["symbolic-ref", "--quiet", "HEAD"]).ok()?;
                String::from_utf8_lossy(&name).trim_end().to_owned()
            }
        };
        Some(name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned())
    }
}

/// The object that `name` names to git.
fn parse(path: &Path, name: &str) -> Option<String> {
    let said = git::ask(path, &["rev-parse", "--verify", "--quiet", "--end-of-options", name]);
    Some(String::from_utf8_lossy(&said.ok()?).trim_end().to_owned())
}

fn commit(repository: &git2::Repository, revision: &str) -> Result<(String, Oid), git2::Error> {
    let commit = repository.revparse_single(revision)?.peel_to_commit()?;
    Ok((commit.id().to_string(), commit.tree_id()))
}

/// One repository, opened by libgit2 as often as there are readers at the same time: one instance
/// serves one thread, and to open another takes longer than to read a few files.
pub(super) struct Instances {
    path: PathBuf,
    idle: Mutex<Vec<git2::Repository>>,
}

impl Instances {
    pub(super) fn new(path: &Path, first: git2::Repository) -> Self {
        Self { path: path.to_owned(), idle: Mutex::new(vec![first]) }
    }

    pub(super) fn take(&self) -> Result<git2::Repository, String> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| git2::Repository::open(&self.path), Ok)
            .map_err(|error| error.message().to_owned())
    }

    pub(super) fn give_back(&self, repository: git2::Repository) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(repository);
    }
}
