//! The corpus, unpacked once for all tests that read it.
#![allow(dead_code, reason = "each test takes what it needs")]

#[path = "../skip/mod.rs"]
mod skip;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

/// Where the corpus is, or `None` with a visible line where it is absent: `FDROID_BB_CORPUS`, or
/// `../shared/corpus` beside the project.
pub fn corpus() -> Option<PathBuf> {
    let packed = env::var_os("FDROID_BB_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
        PathBuf::from,
    );
    if !packed.join("fdroiddata.bundle").is_file() {
        skip::skipped(&format!("corpus absent at {}", packed.display()));
        return None;
    }
    Some(unpack(&packed))
}

/// Every file of a folder of the corpus, by its name, in order.
pub fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yml"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    files.sort();
    files
}

/// The corpus as files in a cache folder. Whoever finishes first puts it there; the others' work is
/// thrown away.
fn unpack(packed: &Path) -> PathBuf {
    let cache =
        env::var_os("XDG_CACHE_HOME").map_or_else(env::temp_dir, PathBuf::from).join("fdroid-bb");
    let size = fs::metadata(packed.join("fdroiddata.bundle")).unwrap().len();
    let done = cache.join(format!("corpus-{size}"));
    if done.is_dir() {
        return done;
    }
    let own = cache.join(format!("corpus-{size}.{}", process::id()));
    fs::create_dir_all(&own).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&own)
            .output()
            .unwrap_or_else(|error| panic!("cannot run `{program}`: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let of = |name: &str| packed.join(name).to_str().unwrap().to_owned();
    run("git", &["clone", "-q", "-b", "dev", &of("fdroiddata.bundle"), "fdroiddata"]);
    for name in ["oracle-half.jsonl", "history-half.jsonl"] {
        let content = run("xz", &["-dc", &of(&format!("{name}.xz"))]);
        fs::write(own.join(name), content).unwrap();
    }
    run("tar", &["-xJf", &of("history-half.tar.xz")]);
    if fs::rename(&own, &done).is_err() {
        fs::remove_dir_all(&own).unwrap();
    }
    assert!(done.is_dir());
    done
}
