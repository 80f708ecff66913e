//! The `*.yml` files of one folder of a tree.

use std::fs;
use std::io;
use std::path::Path;

use git2::{Oid, Repository};
use walkdir::WalkDir;

use super::git;
use super::repository::Id;
use crate::finding::{Code, Finding, Place};

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
    pub(super) blob: Option<Id>,
}

impl File {
    /// The path from the tree's root to what is read, with `/`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.folder, self.read_name())
    }

    /// The name of what is read, in its folder.
    #[must_use]
    pub(crate) fn read_name(&self) -> &str {
        self.target.as_ref().unwrap_or(&self.name)
    }

    /// The name without its `.yml`.
    #[must_use]
    pub fn stem(&self) -> &str {
        stem(&self.name)
    }

    /// The id of its blob, in a revision, in hexadecimal.
    #[must_use]
    pub(crate) fn blob_id(&self) -> Option<String> {
        self.blob.as_ref().map(ToString::to_string)
    }

    /// The id of its blob, in a revision; of a longer one, the start.
    #[must_use]
    pub fn blob(&self) -> Option<[u8; 20]> {
        self.blob.as_ref()?.start()
    }
}

pub(super) fn stem(name: &str) -> &str {
    name.strip_suffix(".yml").unwrap_or(name)
}

/// What a folder holds whose name ends in `.yml` but is no file.
pub(super) struct Other {
    /// Its name, or what of it is text.
    name: String,
    /// Where it leads, if it is a symbolic link; else it is a folder, socket or device, or a file
    /// whose name is no text.
    target: Option<String>,
}

impl Listing {
    pub(super) fn new(folder: &'static str, mut files: Vec<File>, others: Vec<Other>) -> Self {
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
        Ok(File { folder, name: self.name.into(), target, blob: file.blob.clone() })
    }
}

/// Whether `path` is a folder itself: a link could lead out of the tree.
pub(super) fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// One level only: below are thousands of folders of pictures, which take ten times as long.
pub(super) fn list_folder(
    root: &Path,
    folder: &'static str,
) -> io::Result<(Vec<File>, Vec<Other>)> {
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

/// The mode of a symbolic link, in a tree.
const LINK: u32 = 0o120_000;

/// The longest name that a link is followed to, in bytes.
const LONGEST_TARGET: usize = 4096;

pub(super) fn list_tree(
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
        let mode = entry.filemode().unsigned_abs();
        let target = || repository.find_blob(entry.id()).map(|blob| blob.content().to_vec());
        match sort(folder, mode, entry.name_bytes(), Id::Libgit2(entry.id()), target)? {
            Some(Ok(file)) => files.push(file),
            Some(Err(other)) => others.push(other),
            None => {}
        }
    }
    Ok((files, others))
}

/// The same, as git lists it.
pub(super) fn list_with_git(
    path: &Path,
    tree: &str,
    folder: &'static str,
) -> Result<(Vec<File>, Vec<Other>), String> {
    let root = git::list(path, tree)?;
    let Some((_, _, id)) = root.iter().find(|(_, name, _)| name == folder.as_bytes()) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let mut blobs = None;
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for (mode, name, id) in git::list(path, id)? {
        let target = || {
            let mut started = match blobs.take() {
                Some(started) => started,
                None => git::Blobs::start(path)?,
            };
            let (_, content) = started.read(&id)?;
            blobs = Some(started);
            Ok::<_, String>(content)
        };
        match sort(folder, mode, &name, Id::Git(id.clone()), target)? {
            Some(Ok(file)) => files.push(file),
            Some(Err(other)) => others.push(other),
            None => {}
        }
    }
    Ok((files, others))
}

/// What an entry of a tree is; `None` if its name does not end in `.yml`.
fn sort<E>(
    folder: &'static str,
    mode: u32,
    name: &[u8],
    id: Id,
    target: impl FnOnce() -> Result<Vec<u8>, E>,
) -> Result<Option<Result<File, Other>>, E> {
    if !name.ends_with(b".yml") {
        return Ok(None);
    }
    Ok(Some(match (std::str::from_utf8(name), mode) {
        (Ok(name), 0o100_644 | 0o100_755 | 0o100_664) => {
            Ok(File { folder, name: name.into(), target: None, blob: Some(id) })
        }
        (Ok(name), LINK) => {
            let target = target()?;
            let target = target.get(..LONGEST_TARGET).unwrap_or(&target);
            let target = Some(String::from_utf8_lossy(target).into_owned());
            Err(Other { name: name.to_owned(), target })
        }
        _ => Err(Other { name: String::from_utf8_lossy(name).into_owned(), target: None }),
    }))
}
