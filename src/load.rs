//! The stage `load`: where the files of fdroiddata come from. A [`Tree`] is a folder, or a
//! revision of a git repository, bare or not; both give the same files.

mod listing;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use git2::{ObjectType, Oid, Repository};

use crate::finding::{Code, Finding, Place};
pub use listing::{File, Listing};
use listing::{is_folder, list_folder, list_tree, stem};

/// The largest file that is read, in bytes. The largest honest one has 1.4 MB.
pub const LARGEST_FILE: u64 = 4 << 20;

/// The folder of app metadata.
pub const METADATA: &str = "metadata";

/// The folder of srclibs.
pub const SRCLIBS: &str = "srclibs";

/// A state of fdroiddata.
pub struct Tree {
    source: Source,
    /// The commit that the files are of; `None` for a folder outside git.
    pub commit: Option<String>,
    metadata: OnceLock<Result<Listing, Finding>>,
    srclibs: OnceLock<Result<Listing, Finding>>,
}

enum Source {
    Folder(PathBuf),
    Revision { repositories: Repositories, tree: Oid },
}

/// One git repository, opened as often as there are readers at the same time: one instance serves
/// one thread, and to open another takes longer than to read a few files.
struct Repositories {
    path: PathBuf,
    idle: Mutex<Vec<Repository>>,
}

impl Repositories {
    fn take(&self) -> Result<Repository, git2::Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| Repository::open(&self.path), Ok)
    }

    fn give_back(&self, repository: Repository) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(repository);
    }
}

/// Reads files of one tree. Each thread has its own, for a git repository serves one at a time.
pub struct Reader<'a> {
    tree: &'a Tree,
    repository: Option<Repository>,
}

/// The id that git gives to a file of these bytes.
#[must_use]
pub fn blob_of(bytes: &[u8]) -> Option<[u8; 20]> {
    Oid::hash_object(ObjectType::Blob, bytes).ok()?.as_bytes().try_into().ok()
}

impl Tree {
    /// Opens `path` at `revision`; without one, the files in a checkout or folder as they are,
    /// and the head of a bare repository.
    ///
    /// # Errors
    /// When there is no such folder, repository or revision, or it has no folder `metadata`. The
    /// message is for people and names the remedy.
    pub fn open(path: &Path, revision: Option<&str>) -> Result<Self, Finding> {
        let shown = path.display().to_string();
        let fail = |message: String, help: &str| {
            Finding::new(Code::TreeMissing, Place::file(&shown), message, help)
        };
        if !path.is_dir() {
            return Err(fail(format!("there is no folder `{shown}`"), "give `--fdroiddata PATH`"));
        }
        // Objects are addressed by their hash; git checked them when they were fetched.
        git2::opts::strict_hash_verification(false);
        let repository = Repository::open(path);
        let bare = repository.as_ref().is_ok_and(Repository::is_bare);
        let (source, commit) = match repository {
            Err(error) if revision.is_some() => {
                let message = format!("`{shown}` is no git repository: {}", error.message());
                return Err(fail(message, "leave out `--rev` to read a plain folder"));
            }
            Ok(repository) if revision.is_some() || bare => {
                let revision = revision.unwrap_or("HEAD");
                let found = commit_of(&repository, revision).map_err(|error| {
                    let message = format!(
                        "`{}` is no commit of `{shown}`: {}",
                        crate::text::shown(revision),
                        error.message()
                    );
                    fail(message, "give `--rev REV` as git would take it")
                });
                let (commit, tree) = found?;
                let path = repository.path().to_owned();
                let repositories = Repositories { path, idle: Mutex::new(vec![repository]) };
                (Source::Revision { repositories, tree }, Some(commit))
            }
            repository => {
                let commit = repository.ok().and_then(|repository| {
                    let head = repository.head().ok()?.peel_to_commit().ok()?;
                    Some(head.id().to_string())
                });
                (Source::Folder(path.to_owned()), commit)
            }
        };
        let tree = Self { source, commit, metadata: OnceLock::new(), srclibs: OnceLock::new() };
        if tree.has(METADATA) {
            Ok(tree)
        } else {
            let message = format!("`{shown}` has no folder `{METADATA}`");
            Err(fail(message, "give the root of fdroiddata with `--fdroiddata PATH`"))
        }
    }

    /// A reader of its files.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        let repository = match &self.source {
            Source::Folder(_) => None,
            Source::Revision { repositories, .. } => repositories.take().ok(),
        };
        Reader { tree: self, repository }
    }

    /// Its root, if it is a folder.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match &self.source {
            Source::Folder(root) => Some(root),
            Source::Revision { .. } => None,
        }
    }

    /// Those indices of `files` in the order in which they are read fastest. In a pack, a blob is
    /// stored as its difference from one that stands before it, which git keeps for a while; so a
    /// revision is read in the order of its packs. That took 0.6 times the processor of the order
    /// of names.
    #[must_use]
    pub fn fastest_order(&self, files: &[File], indices: Vec<usize>) -> Vec<usize> {
        let reader = self.reader();
        let Some(repository) = &reader.repository else { return indices };
        let mut left: BTreeMap<Oid, Vec<usize>> = BTreeMap::new();
        for (i, file) in indices.into_iter().filter_map(|i| Some((i, files.get(i)?))) {
            left.entry(file.blob.unwrap_or(Oid::ZERO_SHA1)).or_default().push(i);
        }
        let mut order = Vec::with_capacity(files.len());
        // What is not found here is an error only when it is read.
        let _ = repository.odb().and_then(|objects| {
            objects.foreach(|oid| {
                order.extend(left.remove(oid).into_iter().flatten());
                !left.is_empty()
            })
        });
        order.extend(left.into_values().flatten());
        order
    }

    fn has(&self, folder: &str) -> bool {
        match &self.source {
            Source::Folder(root) => is_folder(&root.join(folder)),
            Source::Revision { repositories, tree } => {
                let Ok(repository) = repositories.take() else { return false };
                let found = repository.find_tree(*tree).is_ok_and(|tree| {
                    tree.get_name(folder).is_some_and(|e| e.kind() == Some(ObjectType::Tree))
                });
                repositories.give_back(repository);
                found
            }
        }
    }

    /// The `*.yml` files of `metadata/`. A link is taken for the file of the same folder that it
    /// names.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn metadata(&self) -> Result<&Listing, Finding> {
        self.metadata.get_or_init(|| self.list(METADATA)).as_ref().map_err(Clone::clone)
    }

    /// The `*.yml` files of `srclibs/`, as [`Self::metadata`].
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn srclibs(&self) -> Result<&Listing, Finding> {
        self.srclibs.get_or_init(|| self.list(SRCLIBS)).as_ref().map_err(Clone::clone)
    }

    fn list(&self, folder: &'static str) -> Result<Listing, Finding> {
        let listed = match &self.source {
            Source::Folder(root) => list_folder(root, folder).map_err(|e| e.to_string()),
            Source::Revision { repositories, tree } => repositories
                .take()
                .and_then(|repository| {
                    let listed = list_tree(&repository, *tree, folder);
                    repositories.give_back(repository);
                    listed
                })
                .map_err(|e| e.message().to_owned()),
        };
        match listed {
            Ok((files, others)) => Ok(Listing::new(folder, files, others)),
            Err(error) => Err(Finding::new(
                Code::TreeMissing,
                Place::file(folder),
                format!("`{folder}` cannot be listed: {error}"),
                "check that it is a folder, and its permissions",
            )),
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let (Source::Revision { repositories, .. }, Some(repository)) =
            (&self.tree.source, self.repository.take())
        {
            repositories.give_back(repository);
        }
    }
}

impl Reader<'_> {
    /// The bytes of a file.
    ///
    /// # Errors
    /// A finding when it is too large or cannot be read.
    pub fn read(&self, file: &File) -> Result<Vec<u8>, Finding> {
        let place = || Place::file(file.path());
        let (size, bytes) = match (&self.tree.source, file.blob) {
            (Source::Folder(root), _) => read_file(&root.join(file.path())),
            (Source::Revision { .. }, Some(blob)) => self.read_blob(blob),
            (Source::Revision { .. }, None) => Err("it is no blob".to_owned()),
        }
        .map_err(|error| {
            let message = format!("the file cannot be read: {error}");
            Finding::new(Code::FileUnreadable, place(), message, "check its permissions")
        })?;
        if size > LARGEST_FILE {
            let message =
                format!("the file has {size} bytes, and no honest one has {LARGEST_FILE}");
            let help = "take out what does not belong into metadata";
            return Err(Finding::new(Code::FileTooLarge, place(), message, help));
        }
        Ok(bytes)
    }

    /// The text of the file at `path`, as far as it is text; `None` where there is none.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let (folder, name) = path.split_once('/')?;
        let listing = match folder {
            METADATA => self.tree.metadata(),
            SRCLIBS => self.tree.srclibs(),
            _ => return None,
        };
        let files = &listing.ok()?.files;
        let file = files.get(files.binary_search_by(|f| f.stem().cmp(stem(name))).ok()?)?;
        Some(String::from_utf8_lossy(&self.read(file).ok()?).into_owned())
    }

    /// The size of a blob and, if it is not too large, its bytes.
    fn read_blob(&self, blob: Oid) -> Result<(u64, Vec<u8>), String> {
        let repository = self.repository.as_ref().ok_or("the repository is gone")?;
        let read = || {
            let odb = repository.odb()?;
            let (size, _) = odb.read_header(blob)?;
            if size as u64 > LARGEST_FILE {
                return Ok((size as u64, Vec::new()));
            }
            Ok((size as u64, odb.read(blob)?.data().to_vec()))
        };
        read().map_err(|error: git2::Error| error.message().to_owned())
    }
}

/// The size of a file and its bytes, or as many of them as show that it is too large.
fn read_file(path: &Path) -> Result<(u64, Vec<u8>), String> {
    let read = || {
        let file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        let mut bytes = Vec::with_capacity(size.min(LARGEST_FILE) as usize + 1);
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
        Ok((size.max(bytes.len() as u64), bytes))
    };
    read().map_err(|error: std::io::Error| error.to_string())
}

/// The commit that `revision` names, and its tree.
fn commit_of(repository: &Repository, revision: &str) -> Result<(String, Oid), git2::Error> {
    let commit = repository.revparse_single(revision)?.peel_to_commit()?;
    Ok((commit.id().to_string(), commit.tree_id()))
}
