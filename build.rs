//! Gives the program a sum of its own source and of its crates' versions, so that what an earlier
//! one has read and decided is not taken for its own.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

fn main() {
    // All of it: what is decided on an app follows from the policy of URLs and from much else.
    let mut files = Vec::new();
    find(Path::new("src"), &mut files);
    files.sort();
    // And of the crates it is built with, which read the files.
    files.push(PathBuf::from("Cargo.lock"));
    let mut hasher = DefaultHasher::new();
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
        hasher.write(&fs::read(&file).unwrap_or_default());
    }
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rustc-env=FDROID_BB_SOURCE={:016x}", hasher.finish());
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { find(&path, files) } else { files.push(path) }
    }
}
