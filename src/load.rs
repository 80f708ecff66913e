//! The stage `load`: where the files of fdroiddata come from. A [`Tree`] is a folder, or a
//! revision of a git repository, bare or not; both give the same files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use git2::{ObjectType, Oid, Repository};
use walkdir::WalkDir;

use crate::finding::{Code, Finding, Place};

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

/// The `*.yml` files of one folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// Those that can be read, in the order of their stems.
    pub files: Vec<File>,
    /// Those that cannot be files of F-Droid's.
    pub findings: Vec<Finding>,
}

/// A file of a tree that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    folder: &'static str,
    name: Box<str>,
    /// The name of the file that it is a link to.
    target: Option<Box<str>>,
    /// The blob, in a revision.
    blob: Option<Oid>,
}

/// Reads files of one tree. Each thread has its own, for a git repository serves one at a time.
pub struct Reader<'a> {
    tree: &'a Tree,
    repository: Option<Repository>,
}

impl File {
    /// The path from the tree's root to what is read, with `/`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.folder, self.read_name())
    }

    /// The name of what is read, in its folder.
    #[must_use]
    pub fn read_name(&self) -> &str {
        self.target.as_ref().unwrap_or(&self.name)
    }

    /// The name without its `.yml`.
    #[must_use]
    pub fn stem(&self) -> &str {
        stem(&self.name)
    }

    /// The id of its blob, in a revision.
    #[must_use]
    pub fn blob(&self) -> Option<[u8; 20]> {
        self.blob?.as_bytes().try_into().ok()
    }
}

fn stem(name: &str) -> &str {
    name.strip_suffix(".yml").unwrap_or(name)
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

/// What a folder holds whose name ends in `.yml` but is no file.
struct Other {
    /// Its name, or what of it is text.
    name: String,
    /// Where it leads, if it is a symbolic link; else it is a folder, socket or device, or a file
    /// whose name is no text.
    target: Option<String>,
}

impl Listing {
    fn new(folder: &'static str, mut files: Vec<File>, others: Vec<Other>) -> Self {
        files.sort_by(|a, b| a.stem().cmp(b.stem()));
        // A tree that git did not make can name a file twice; two pollers of one name would leave
        // a reconfigured master half done.
        files.dedup_by(|a, b| a.name == b.name);
        let mut links = Vec::new();
        let mut findings = Vec::new();
        for other in others {
            match other.follow(folder, &files) {
                Ok(link) => links.push(link),
                Err(finding) => findings.push(*finding),
            }
        }
        if !links.is_empty() {
            files.extend(links);
            files.sort_by(|a, b| a.stem().cmp(b.stem()));
            files.dedup_by(|a, b| a.name == b.name);
        }
        Self { files, findings }
    }
}

impl Other {
    /// A link is taken for the file of the same folder that it names.
    fn follow(self, folder: &'static str, files: &[File]) -> Result<File, Box<Finding>> {
        let place = Place::file(crate::text::shown(&format!("{folder}/{}", self.name)));
        let finding = |code, message: String, help: &str| {
            Err(Box::new(Finding::new(code, place, message, help)))
        };
        let Some(target) = self.target else {
            let message = "this is no regular file, or its name is not UTF-8";
            return finding(Code::FileUnreadable, message.to_owned(), "delete it or rename it");
        };
        let target = target.strip_prefix("./").unwrap_or(&target);
        let found = files.binary_search_by(|file| file.stem().cmp(stem(target)));
        let found = found.ok().and_then(|i| files.get(i)).filter(|file| &*file.name == target);
        let Some(file) = found else {
            let target = crate::text::shown(target);
            let message = format!("the link leads to `{target}`, which is no file of `{folder}`");
            return finding(Code::FileSymlink, message, "put the file itself here");
        };
        let target = Some(file.name.clone());
        Ok(File { folder, name: self.name.into(), target, blob: file.blob })
    }
}

/// The commit that `revision` names, and its tree.
fn commit_of(repository: &Repository, revision: &str) -> Result<(String, Oid), git2::Error> {
    let commit = repository.revparse_single(revision)?.peel_to_commit()?;
    Ok((commit.id().to_string(), commit.tree_id()))
}

/// Whether `path` is a folder itself: a link could lead out of the tree.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// One level only: below are thousands of folders of pictures, which take ten times as long.
fn list_folder(root: &Path, folder: &'static str) -> io::Result<(Vec<File>, Vec<Other>)> {
    let (mut files, mut others) = (Vec::new(), Vec::new());
    let path = root.join(folder);
    if fs::symlink_metadata(&path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Ok((files, others));
    }
    if !is_folder(&path) {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    for entry in WalkDir::new(path).min_depth(1).max_depth(1) {
        let entry = entry?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().ends_with(b".yml") {
            continue;
        }
        if let Some(name) = name.to_str().filter(|_| entry.file_type().is_file()) {
            files.push(File { folder, name: name.into(), target: None, blob: None });
        } else {
            let is_link = name.to_str().is_some() && entry.path_is_symlink();
            let target = is_link.then(|| fs::read_link(entry.path())).transpose()?;
            let target = target.map(|target| target.to_string_lossy().into_owned());
            others.push(Other { name: name.to_string_lossy().into_owned(), target });
        }
    }
    Ok((files, others))
}

fn list_tree(
    repository: &Repository,
    tree: Oid,
    folder: &'static str,
) -> Result<(Vec<File>, Vec<Other>), git2::Error> {
    let root = repository.find_tree(tree)?;
    let Some(entry) = root.get_name(folder) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let listed = repository.find_tree(entry.id())?;
    let (mut files, mut others) = (Vec::with_capacity(listed.len()), Vec::new());
    for entry in &listed {
        if !entry.name_bytes().ends_with(b".yml") {
            continue;
        }
        match (entry.name(), entry.filemode()) {
            (Ok(name), 0o100_644 | 0o100_755 | 0o100_664) => {
                files.push(File {
                    folder,
                    name: name.into(),
                    target: None,
                    blob: Some(entry.id()),
                });
            }
            (Ok(name), 0o120_000) => {
                let target = repository.find_blob(entry.id())?;
                let target = target.content().get(..4096.min(target.size())).unwrap_or_default();
                let target = Some(String::from_utf8_lossy(target).into_owned());
                others.push(Other { name: name.to_owned(), target });
            }
            _ => {
                let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
                others.push(Other { name, target: None });
            }
        }
    }
    Ok((files, others))
}
