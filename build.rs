//! Gives the program a name for its reading of metadata, so that what an earlier one has cached is
//! not taken for its own.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

fn main() {
    let mut files = vec![PathBuf::from("src/parse.rs"), PathBuf::from("src/cache.rs")];
    find(Path::new("src/fdroid"), &mut files);
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
        hasher.write(&fs::read(&file).unwrap_or_default());
    }
    println!("cargo::rerun-if-changed=src/fdroid");
    println!("cargo::rustc-env=FDROID_BB_READER={:016x}", hasher.finish());
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { find(&path, files) } else { files.push(path) }
    }
}
