//! The stage `load`: where the files of fdroiddata come from. A [`Tree`] is a folder, or a
//! revision of a git repository, bare or not; both give the same files.

pub mod git;
mod listing;
mod repository;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use git2::{ObjectType, Oid};

use crate::finding::{Code, Finding, Place};
pub use listing::{File, Listing};
use listing::{is_folder, list_folder, list_tree, list_with_git, stem};
use repository::{Id, Instances, Repository, Trouble};

/// The largest file that is read, in bytes. The largest honest one has 1.4 MB.
pub(crate) const LARGEST_FILE: u64 = 4 << 20;

/// The folder of app metadata.
pub const METADATA: &str = "metadata";

/// The folder of srclibs.
pub(crate) const SRCLIBS: &str = "srclibs";

/// A state of fdroiddata.
pub struct Tree {
    source: Source,
    /// The commit that the files are of; `None` for a folder outside git.
    pub commit: Option<String>,
    /// Why the commit of a checkout is not known.
    pub finding: Option<Finding>,
    metadata: OnceLock<Result<Listing, Finding>>,
    srclibs: OnceLock<Result<Listing, Finding>>,
}

enum Source {
    Folder(PathBuf),
    /// A revision that libgit2 reads.
    Libgit2 {
        instances: Instances,
        tree: Oid,
    },
    /// A revision that git reads.
    Git {
        path: PathBuf,
        tree: Box<str>,
    },
}

/// Reads files of one tree. Each thread has its own, for a git repository serves one at a time.
pub struct Reader<'a> {
    tree: &'a Tree,
    open: Open,
}

/// What a reader has open.
enum Open {
    Nothing,
    Libgit2(git2::Repository),
    /// Started when the first file is read.
    Git(RefCell<Option<git::Blobs>>),
    /// It could not be opened.
    Failed(String),
}

/// The id that git gives to a file of these bytes.
#[must_use]
pub(crate) fn blob_of(bytes: &[u8]) -> Option<[u8; 20]> {
    Oid::hash_object(ObjectType::Blob, bytes).ok()?.as_bytes().try_into().ok()
}

/// Whether there is a bare repository in `path`.
///
/// # Errors
/// When there is a repository that cannot be read.
pub fn is_bare(path: &Path) -> Result<bool, Finding> {
    Repository::open(path)
        .and_then(|repository| repository.map_or(Ok(false), |repository| repository.is_bare()))
        .map_err(|trouble| unreadable(path, &trouble))
}

/// What to say of a repository that cannot be read.
fn unreadable(path: &Path, trouble: &Trouble) -> Finding {
    let shown = path.display().to_string();
    let message = format!("the git repository `{shown}` cannot be read: {}", trouble.reason);
    Finding::new(Code::TreeMissing, Place::file(shown), message, &trouble.remedy)
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
        let opened = Repository::open(path).and_then(|repository| {
            let Some(repository) = repository else { return Ok(None) };
            let is_bare = repository.is_bare()?;
            Ok(Some((repository, is_bare)))
        });
        let mut trouble = None;
        let (source, commit) = match opened {
            Ok(None) if revision.is_some() => {
                let message = format!("`{shown}` is not a git repository");
                return Err(fail(message, "leave out `--rev` to read a plain folder"));
            }
            Err(trouble) if revision.is_some() => return Err(unreadable(path, &trouble)),
            Ok(Some((repository, is_bare))) if revision.is_some() || is_bare => {
                let revision = revision.unwrap_or("HEAD");
                let (commit, tree) = repository.commit(revision).map_err(|trouble| {
                    let revision = crate::text::shown(revision);
                    let message =
                        format!("`{revision}` is no commit of `{shown}`: {}", trouble.reason);
                    fail(message, &trouble.remedy)
                })?;
                (Source::new(path, repository, tree), Some(commit))
            }
            Ok(repository) => {
                let commit = repository.map(|(repository, _)| repository.commit("HEAD"));
                let commit = commit.transpose().unwrap_or_else(|error| {
                    trouble = Some(error);
                    None
                });
                (Source::Folder(path.to_owned()), commit.map(|(commit, _)| commit))
            }
            Err(error) => {
                trouble = Some(error);
                (Source::Folder(path.to_owned()), None)
            }
        };
        let has_metadata = source.has(METADATA).map_err(|reason| {
            fail(format!("`{METADATA}` of `{shown}` cannot be read: {reason}"), "see `git fsck`")
        })?;
        if !has_metadata {
            return Err(match trouble {
                // It may be bare, or nothing may be checked out.
                Some(trouble) => unreadable(path, &trouble),
                None => fail(
                    format!("`{shown}` has no folder `{METADATA}`"),
                    "give the root of fdroiddata with `--fdroiddata PATH`",
                ),
            });
        }
        let finding = trouble.map(|trouble| {
            let message = format!("the commit of `{shown}` is not known: {}", trouble.reason);
            Finding::new(Code::CommitUnknown, Place::file(&shown), message, trouble.remedy)
        });
        let (metadata, srclibs) = (OnceLock::new(), OnceLock::new());
        Ok(Self { source, commit, finding, metadata, srclibs })
    }

    /// A reader of its files.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        let open = match &self.source {
            Source::Folder(_) => Open::Nothing,
            Source::Libgit2 { instances, .. } => {
                instances.take().map_or_else(Open::Failed, Open::Libgit2)
            }
            Source::Git { .. } => Open::Git(RefCell::new(None)),
        };
        Reader { tree: self, open }
    }

    /// Its root, if it is a folder.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match &self.source {
            Source::Folder(root) => Some(root),
            Source::Libgit2 { .. } | Source::Git { .. } => None,
        }
    }

    /// Those indices of `files` in the order in which they are read fastest. In a pack, a blob is
    /// stored as its difference from one that stands before it, which git keeps for a while; so a
    /// revision is read in the order of its packs. That took 0.6 times the processor of the order
    /// of names.
    #[must_use]
    pub(crate) fn fastest_order(&self, files: &[File], indices: Vec<usize>) -> Vec<usize> {
        let reader = self.reader();
        let Open::Libgit2(repository) = &reader.open else { return indices };
        let mut left: BTreeMap<Oid, Vec<usize>> = BTreeMap::new();
        for (i, file) in indices.into_iter().filter_map(|i| Some((i, files.get(i)?))) {
            let oid = if let Some(Id::Libgit2(oid)) = file.blob { oid } else { Oid::ZERO_SHA1 };
            left.entry(oid).or_default().push(i);
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
            Source::Libgit2 { instances, tree } => instances.take().and_then(|repository| {
                let listed = list_tree(&repository, *tree, folder);
                instances.give_back(repository);
                listed.map_err(|error| error.message().to_owned())
            }),
            Source::Git { path, tree } => list_with_git(path, tree, folder),
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

impl Source {
    /// A revision of a repository.
    fn new(path: &Path, repository: Repository, tree: Id) -> Self {
        match (repository, tree) {
            (Repository::Libgit2(repository), Id::Libgit2(tree)) => {
                Self::Libgit2 { instances: Instances::new(path, repository), tree }
            }
            (_, tree) => Self::Git { path: path.to_owned(), tree: tree.to_string().into() },
        }
    }

    fn has(&self, folder: &str) -> Result<bool, String> {
        match self {
            Self::Folder(root) => Ok(is_folder(&root.join(folder))),
            Self::Libgit2 { instances, tree } => {
                let repository = instances.take()?;
                let found = repository.find_tree(*tree).map(|tree| {
                    tree.get_name(folder).is_some_and(|e| e.kind() == Some(ObjectType::Tree))
                });
                instances.give_back(repository);
                found.map_err(|error| error.message().to_owned())
            }
            Self::Git { path, tree } => {
                let entries = git::list(path, tree)?;
                let found = entries.iter().find(|(_, name, _)| name == folder.as_bytes());
                Ok(found.is_some_and(|(mode, _, _)| *mode == git::FOLDER))
            }
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let (Source::Libgit2 { instances, .. }, Open::Libgit2(repository)) =
            (&self.tree.source, std::mem::replace(&mut self.open, Open::Nothing))
        {
            instances.give_back(repository);
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
        let (size, bytes) = match (&self.tree.source, &file.blob) {
            (Source::Folder(root), _) => read_file(&root.join(file.path())),
            (_, Some(blob)) => self.read_blob(blob),
            (_, None) => Err("it is no blob".to_owned()),
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
    fn read_blob(&self, blob: &Id) -> Result<(u64, Vec<u8>), String> {
        match (&self.open, &self.tree.source, blob) {
            (Open::Libgit2(repository), _, Id::Libgit2(oid)) => {
                let read = || {
                    let odb = repository.odb()?;
                    let (size, _) = odb.read_header(*oid)?;
                    if size as u64 > LARGEST_FILE {
                        return Ok((size as u64, Vec::new()));
                    }
                    Ok((size as u64, odb.read(*oid)?.data().to_vec()))
                };
                read().map_err(|error: git2::Error| error.message().to_owned())
            }
            (Open::Git(blobs), Source::Git { path, .. }, Id::Git(id)) => {
                let mut blobs = blobs.borrow_mut();
                let mut started = match blobs.take() {
                    Some(started) => started,
                    None => git::Blobs::start(path)?,
                };
                let (size, bytes) = started.read(id)?;
                // One that was left in the middle of a file is not asked again.
                *blobs = Some(started).filter(|_| size <= LARGEST_FILE);
                Ok((size, bytes))
            }
            (Open::Failed(reason), _, _) => Err(reason.clone()),
            _ => Err("it is of another repository".to_owned()),
        }
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
