//! The `*.yml` files of one folder of a tree.

use std::fs;
use std::io;
use std::path::Path;

use git2::{Oid, Repository};
use walkdir::WalkDir;

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
    pub(super) blob: Option<Oid>,
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
        Ok(File { folder, name: self.name.into(), target, blob: file.blob })
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
