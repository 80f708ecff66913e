//! The stage `load`: where the files of fdroiddata come from. A [`Tree`] is a folder, or a
//! revision of a git repository, bare or not; both give the same files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

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
#[derive(Debug)]
pub struct Tree {
    source: Source,
    /// The commit that the files are of; `None` for a folder outside git.
    pub commit: Option<String>,
}

#[derive(Debug)]
enum Source {
    Folder(PathBuf),
    Revision { repository: PathBuf, tree: Oid },
}

/// A file of a tree that can be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// The path from the tree's root, with `/`.
    pub path: String,
    /// The name without its `.yml`.
    pub stem: String,
    /// The blob, in a revision.
    blob: Option<Oid>,
}

/// Reads files of one tree. Each thread has its own, for a git repository serves one at a time.
pub struct Reader<'a> {
    tree: &'a Tree,
    repository: Option<Repository>,
}

impl File {
    /// The id of its blob, in a revision.
    #[must_use]
    pub fn blob(&self) -> Option<[u8; 20]> {
        self.blob?.as_bytes().try_into().ok()
    }
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
        let tree = match repository {
            Err(error) if revision.is_some() => {
                let message = format!("`{shown}` is no git repository: {}", error.message());
                return Err(fail(message, "leave out `--rev` to read a plain folder"));
            }
            Ok(repository) if revision.is_some() || bare => {
                let revision = revision.unwrap_or("HEAD");
                let tree = repository
                    .revparse_single(revision)
                    .and_then(|object| object.peel(ObjectType::Commit))
                    .and_then(|commit| Ok((commit.peel_to_tree()?.id(), commit.id().to_string())));
                let (tree, commit) = tree.map_err(|error| {
                    let message = format!(
                        "`{}` is no commit of `{shown}`: {}",
                        crate::text::shown(revision),
                        error.message()
                    );
                    fail(message, "give `--rev REV` as git would take it")
                })?;
                let repository = repository.path().to_owned();
                Self { source: Source::Revision { repository, tree }, commit: Some(commit) }
            }
            repository => {
                let commit = repository.ok().and_then(|repository| {
                    let head = repository.head().ok()?.peel_to_commit().ok()?;
                    Some(head.id().to_string())
                });
                Self { source: Source::Folder(path.to_owned()), commit }
            }
        };
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
            Source::Revision { repository, .. } => Repository::open(repository).ok(),
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
        let Source::Revision { repository, .. } = &self.source else { return indices };
        let mut left: BTreeMap<Oid, Vec<usize>> = BTreeMap::new();
        for (i, file) in indices.into_iter().filter_map(|i| Some((i, files.get(i)?))) {
            left.entry(file.blob.unwrap_or(Oid::ZERO_SHA1)).or_default().push(i);
        }
        let mut order = Vec::with_capacity(files.len());
        // What is not found here is an error only when it is read.
        let _ = Repository::open(repository).and_then(|repository| {
            repository.odb()?.foreach(|oid| {
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
            Source::Revision { repository, tree } => Repository::open(repository)
                .and_then(|repository| {
                    let tree = repository.find_tree(*tree)?;
                    Ok(tree.get_name(folder).is_some_and(|e| e.kind() == Some(ObjectType::Tree)))
                })
                .unwrap_or_default(),
        }
    }

    /// The `*.yml` files of one folder, in order of their names; those that cannot be files of
    /// F-Droid's are findings. A link is taken for the file of the same folder that it names.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn files(&self, folder: &str) -> Result<(Vec<File>, Vec<Finding>), Finding> {
        let listed = match &self.source {
            Source::Folder(root) => list_folder(&root.join(folder)).map_err(|e| e.to_string()),
            Source::Revision { repository, tree } => {
                list_tree(repository, *tree, folder).map_err(|e| e.message().to_owned())
            }
        };
        let mut entries = listed.map_err(|error| {
            let message = format!("`{folder}` cannot be listed: {error}");
            Finding::new(
                Code::TreeMissing,
                Place::file(folder),
                message,
                "check that it is a folder, and its permissions",
            )
        })?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        // A tree that git did not make can name a file twice; two pollers of one name would leave
        // a reconfigured master half done.
        entries.dedup_by(|a, b| a.name == b.name);
        let mut files = Vec::with_capacity(entries.len());
        let mut findings = Vec::new();
        for entry in &entries {
            match entry.resolve(folder, &entries) {
                Ok(file) => files.push(file),
                Err(finding) => findings.push(*finding),
            }
        }
        Ok((files, findings))
    }
}

impl Reader<'_> {
    /// The bytes of a file.
    ///
    /// # Errors
    /// A finding when it is too large or cannot be read.
    pub fn read(&self, file: &File) -> Result<Vec<u8>, Finding> {
        let place = || Place::file(&file.path);
        let (size, bytes) = match (&self.tree.source, file.blob) {
            (Source::Folder(root), _) => read_file(&root.join(&file.path)),
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

    /// The text of the file at `path`, as far as it is text; `None` where it cannot be read.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let blob = match (&self.tree.source, &self.repository) {
            (Source::Revision { tree, .. }, Some(repository)) => {
                let tree = repository.find_tree(*tree).ok()?;
                Some(tree.get_path(Path::new(path)).ok()?.id())
            }
            _ => None,
        };
        let file = File { path: path.to_owned(), stem: String::new(), blob };
        Some(String::from_utf8_lossy(&self.read(&file).ok()?).into_owned())
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

/// An entry of a folder whose name ends in `.yml`.
struct Entry {
    /// Its name, or what of it is text.
    name: String,
    kind: EntryKind,
    blob: Option<Oid>,
}

enum EntryKind {
    File,
    /// A symbolic link to this path.
    Link(String),
    /// A folder, socket or device, or a file whose name is no text.
    Other,
}

impl Entry {
    fn resolve(&self, folder: &str, all: &[Self]) -> Result<File, Box<Finding>> {
        let path = format!("{folder}/{}", self.name);
        let stem = self.name.strip_suffix(".yml").unwrap_or(&self.name).to_owned();
        let finding = |code, message: String, help: &str| {
            Box::new(Finding::new(code, Place::file(crate::text::shown(&path)), message, help))
        };
        match &self.kind {
            EntryKind::File => Ok(File { path, stem, blob: self.blob }),
            EntryKind::Link(target) => {
                let target = target.strip_prefix("./").unwrap_or(target);
                let found = all
                    .binary_search_by(|entry| entry.name.as_str().cmp(target))
                    .ok()
                    .and_then(|i| all.get(i))
                    .filter(|entry| matches!(entry.kind, EntryKind::File));
                match found {
                    Some(entry) => Ok(File {
                        path: format!("{folder}/{}", entry.name),
                        stem,
                        blob: entry.blob,
                    }),
                    None => Err(finding(
                        Code::FileSymlink,
                        format!(
                            "the link leads to `{}`, which is no file of `{folder}`",
                            crate::text::shown(target)
                        ),
                        "put the file itself here",
                    )),
                }
            }
            EntryKind::Other => Err(finding(
                Code::FileUnreadable,
                "this is no regular file, or its name is not UTF-8".to_owned(),
                "delete it or rename it",
            )),
        }
    }
}

/// Whether `path` is a folder itself: a link could lead out of the tree.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// One level only: below are thousands of folders of pictures, which take ten times as long.
fn list_folder(folder: &Path) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    if fs::symlink_metadata(folder).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(entries);
    }
    if !is_folder(folder) {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    for entry in WalkDir::new(folder).min_depth(1).max_depth(1) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_suffix(".yml").is_none() {
            continue;
        }
        let kind = if entry.file_name().to_str().is_none() {
            EntryKind::Other
        } else if entry.file_type().is_file() {
            EntryKind::File
        } else if entry.path_is_symlink() {
            let target = fs::read_link(entry.path())?;
            EntryKind::Link(target.to_string_lossy().into_owned())
        } else {
            EntryKind::Other
        };
        entries.push(Entry { name, kind, blob: None });
    }
    Ok(entries)
}

fn list_tree(repository: &Path, tree: Oid, folder: &str) -> Result<Vec<Entry>, git2::Error> {
    let repository = Repository::open(repository)?;
    let root = repository.find_tree(tree)?;
    let Some(entry) = root.get_name(folder) else {
        return Ok(Vec::new());
    };
    let folder = repository.find_tree(entry.id())?;
    let mut entries = Vec::with_capacity(folder.len());
    for entry in &folder {
        if !entry.name_bytes().ends_with(b".yml") {
            continue;
        }
        let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
        let kind = match (entry.name().is_ok(), entry.filemode()) {
            (true, 0o100_644 | 0o100_755 | 0o100_664) => EntryKind::File,
            (true, 0o120_000) => {
                let target = repository.find_blob(entry.id())?;
                let target = target.content().get(..4096.min(target.size())).unwrap_or_default();
                EntryKind::Link(String::from_utf8_lossy(target).into_owned())
            }
            _ => EntryKind::Other,
        };
        entries.push(Entry { name, kind, blob: Some(entry.id()) });
    }
    Ok(entries)
}
