//! The output set on a real file system.
#![allow(clippy::expect_used, reason = "helpers of tests may panic like the tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use fdroid_bb::write::{Changes, OutputSet, WriteError, compare, write};
use serde_json::{Value, json};
use tempfile::TempDir;

fn set(files: &[(&str, &str)]) -> OutputSet {
    let mut set = OutputSet::new();
    for (path, text) in files {
        set.insert(*path, *text).expect("a path");
    }
    set
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn paths(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|&path| path.to_owned()).collect()
}

/// Everything under `root`, links and empty directories too.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let kind = fs::symlink_metadata(&path).expect("metadata").file_type();
            let key = path.strip_prefix(root).expect("a prefix").to_owned();
            if kind.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                found.insert(key, format!("-> {}", target.display()));
            } else if kind.is_dir() {
                found.insert(key, "/".to_owned());
                walk(root, &path, found);
            } else {
                found.insert(key, fs::read_to_string(&path).expect("a file"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// The inode and the time of each file of the set.
fn stamps(out: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let root = out.join("masters");
    tree(&root)
        .into_keys()
        .filter(|path| root.join(path).is_file())
        .map(|path| {
            let metadata = fs::symlink_metadata(root.join(&path)).expect("metadata");
            (path, (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
        })
        .collect()
}

fn names(out: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(out)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

fn put(out: &Path, path: &str, text: &str) {
    let path = out.join("masters").join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("a file");
}

fn get(out: &Path, path: &str) -> String {
    fs::read_to_string(out.join("masters").join(path)).expect("a file")
}

const NOTHING: Value = Value::Null;

#[test]
fn the_first_write_makes_the_whole_set() {
    let out = folder();
    let out = out.path().join("not/yet/there");
    let files = set(&[("m/master.cfg", "one\n"), ("m/apps.py", "two\n")]);
    let want = Changes {
        added: paths(&["m/apps.py", "m/master.cfg", "manifest.json"]),
        ..Changes::default()
    };
    assert_eq!(compare(&out, &files).expect("compared"), want);
    assert!(!out.exists());
    assert_eq!(write(&out, &files, &json!({"commit": "abc"})).expect("written"), want);
    assert_eq!(names(&out), ["masters"]);
    let root = out.join("masters");
    assert_eq!(
        tree(&root).into_keys().collect::<Vec<_>>(),
        ["m", "m/apps.py", "m/master.cfg", "manifest.json", "provenance.json"].map(PathBuf::from)
    );
    assert_eq!(get(&out, "m/master.cfg"), "one\n");
    assert_eq!(get(&out, "provenance.json"), "{\n  \"commit\": \"abc\"\n}\n");
    assert_eq!(
        get(&out, "manifest.json"),
        r#"{
  "files": {
    "m/apps.py": "27dd8ed44a83ff94d557f9fd0412ed5a8cbca69ea04922d88c01184a07300a5a",
    "m/master.cfg": "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806"
  },
  "format": 1
}
"#
    );
    // By the umask, as any other tool would make them.
    let probe = out.join("probe");
    fs::create_dir(&probe).expect("a folder");
    fs::write(probe.join("file"), "").expect("a file");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode();
    assert_eq!(mode(&root), mode(&probe));
    assert_eq!(mode(&root.join("m")), mode(&probe));
    assert_eq!(mode(&root.join("m/apps.py")), mode(&probe.join("file")));
    assert_eq!(mode(&root.join("provenance.json")), mode(&probe.join("file")));
}

#[test]
fn the_same_set_touches_nothing_and_a_new_provenance_only_itself() {
    let out = folder();
    let files = set(&[("a", "1"), ("b/c", "2")]);
    write(out.path(), &files, &json!({"commit": "abc"})).expect("written");
    put(out.path(), "b/__pycache__/c.pyc", "compiled");
    let before = stamps(out.path());
    let root = fs::metadata(out.path().join("masters")).expect("metadata").ino();
    let same = Changes { unchanged: 3, ..Changes::default() };
    assert!(same.is_empty());
    assert_eq!(write(out.path(), &files, &json!({"commit": "abc"})).expect("written"), same);
    assert_eq!(stamps(out.path()), before);

    assert_eq!(write(out.path(), &files, &json!({"commit": "def"})).expect("written"), same);
    let after = stamps(out.path());
    assert_eq!(get(out.path(), "provenance.json"), "{\n  \"commit\": \"def\"\n}\n");
    let differ: Vec<_> = after.keys().filter(|path| after[*path] != before[*path]).collect();
    assert_eq!(differ, [Path::new("provenance.json")]);
    assert_eq!(fs::metadata(out.path().join("masters")).expect("metadata").ino(), root);
    assert_eq!(names(out.path()), ["masters"]);
}

#[test]
fn what_changes_is_replaced_and_nothing_else() {
    let out = folder();
    let files = [("a", "1"), ("b/c", "2"), ("b/d", "3"), ("e/f/g", "4")];
    write(out.path(), &set(&files), &NOTHING).expect("written");
    fs::set_permissions(out.path().join("masters"), fs::Permissions::from_mode(0o750))
        .expect("mode");
    let before = stamps(out.path());
    let next = set(&[("a", "1"), ("b/c", "changed"), ("b/d", "3"), ("h/i", "5")]);
    let want = Changes {
        added: paths(&["h/i"]),
        changed: paths(&["b/c", "manifest.json"]),
        removed: paths(&["e/f/g"]),
        unchanged: 2,
        ..Changes::default()
    };
    assert_eq!(compare(out.path(), &next).expect("compared"), want);
    assert_eq!(stamps(out.path()), before);
    assert_eq!(write(out.path(), &next, &NOTHING).expect("written"), want);
    let after = stamps(out.path());
    for path in ["a", "b/d", "provenance.json"].map(Path::new) {
        assert_eq!(after[path], before[path], "{}", path.display());
    }
    let root = out.path().join("masters");
    assert!(!root.join("e").exists());
    assert_eq!(get(out.path(), "b/c"), "changed");
    assert_eq!(fs::metadata(root).expect("metadata").mode() & 0o777, 0o750);
    assert_eq!(names(out.path()), ["masters"]);

    let first = write(out.path(), &set(&files), &NOTHING).expect("written");
    assert_eq!((first.added, first.removed), (paths(&["e/f/g"]), paths(&["h/i"])));
}

#[test]
fn what_was_edited_is_kept_unless_it_is_produced() {
    let out = folder();
    write(out.path(), &set(&[("a", "1"), ("b", "2"), ("c/d", "3")]), &NOTHING).expect("written");
    put(out.path(), "a", "edited");
    put(out.path(), "c/d", "edited");
    let before = stamps(out.path());
    let next = set(&[("a", "1")]);
    let want = Changes {
        changed: paths(&["a", "manifest.json"]),
        removed: paths(&["b"]),
        kept_edited: paths(&["c/d"]),
        ..Changes::default()
    };
    assert_eq!(write(out.path(), &next, &NOTHING).expect("written"), want);
    assert_eq!(get(out.path(), "a"), "1");
    assert_eq!(get(out.path(), "c/d"), "edited");
    assert_eq!(stamps(out.path())[Path::new("c/d")], before[Path::new("c/d")]);
    // From now on it is its editor's.
    let again = write(out.path(), &next, &NOTHING).expect("written");
    assert_eq!(again, Changes { unchanged: 2, ..Changes::default() });
}

#[test]
fn what_is_not_ours_is_kept() {
    let out = folder();
    fs::write(out.path().join("README"), "theirs").expect("a file");
    fs::create_dir(out.path().join(".git")).expect("a folder");
    write(out.path(), &set(&[("m/a", "1")]), &NOTHING).expect("written");
    put(out.path(), "notes.txt", "theirs");
    put(out.path(), "m/secret/deep/x", "theirs");
    put(out.path(), "m/__pycache__/a.pyc", "compiled");
    put(out.path(), "manifest.json.orig", "theirs");
    let root = out.path().join("masters");
    fs::create_dir(root.join("empty")).expect("a folder");
    symlink("nowhere", root.join("m/dangling")).expect("a link");
    symlink("/", root.join("up")).expect("a link");
    let mut want = tree(&root);
    write(out.path(), &set(&[("m/a", "2"), ("m/secret/b", "3")]), &NOTHING).expect("written");
    want.retain(|path, _| !path.starts_with("m/__pycache__"));
    want.insert("m/a".into(), "2".into());
    want.insert("m/secret/b".into(), "3".into());
    want.insert("manifest.json".into(), get(out.path(), "manifest.json"));
    assert_eq!(tree(&root), want);
    assert_eq!(names(out.path()), [".git", "README", "masters"]);
}

/// Writes a set, lets `prepare` at its directory, and expects the next set to be refused.
#[track_caller]
fn refused(want: &str, prepare: impl Fn(&Path) -> std::io::Result<()>) {
    let out = folder();
    write(out.path(), &set(&[("m/a", "1")]), &NOTHING).expect("written");
    prepare(&out.path().join("masters")).expect("prepared");
    let before = names(out.path());
    let next = set(&[("m/a", "2"), ("m/sub/new", "3")]);
    for result in [compare(out.path(), &next), write(out.path(), &next, &NOTHING)] {
        let error = result.expect_err(want);
        let message = error.to_string().replace(&format!("{}/", out.path().display()), "");
        assert_eq!(message, want);
        assert!(!error.help().is_empty());
    }
    assert_eq!(names(out.path()), before);
}

#[test]
fn what_is_in_the_way_is_refused() {
    const IN_THE_WAY: &str =
        "is in the way of a file of the set, and was not written by this program";
    refused(&format!("`masters/m/sub` {IN_THE_WAY}"), |root| {
        fs::write(root.join("m/sub"), "theirs")
    });
    refused(&format!("`masters/m/sub` {IN_THE_WAY}"), |root| symlink("/tmp", root.join("m/sub")));
    refused(&format!("`masters/m/sub/new` {IN_THE_WAY}"), |root| {
        fs::create_dir_all(root.join("m/sub/new/x"))
    });
    refused(&format!("`masters/provenance.json` {IN_THE_WAY}"), |root| {
        fs::remove_file(root.join("provenance.json"))?;
        fs::create_dir(root.join("provenance.json"))
    });
    refused("`masters/m/s` is neither a file, a directory nor a link", |root| {
        std::os::unix::net::UnixListener::bind(root.join("m/s")).map(drop)
    });
    refused("`masters` is not a directory", |root| {
        fs::remove_dir_all(root)?;
        symlink("/tmp", root)
    });
}

#[test]
fn the_base_directory_of_a_master_is_refused() {
    for file in ["m/buildbot.tac", "m/twistd.pid", "buildbot.tac", "twistd.pid"] {
        refused(&format!("`masters/{file}` belongs to a master's base directory"), |root| {
            fs::write(root.join(file), "")
        });
    }
}

#[test]
fn a_damaged_manifest_is_refused() {
    for (text, reason) in [
        ("{", "EOF while parsing an object at line 1 column 1"),
        (r#"{"format": 2, "files": {}}"#, "its format is 2, not 1"),
        (r#"{"format": 1, "files": {"../../x": ""}}"#, "`../../x` is no path of a set"),
        (r#"{"format": 1, "files": {"/x": ""}}"#, "`/x` is no path of a set"),
    ] {
        refused(&format!("`masters/manifest.json` is damaged: {reason}"), |root| {
            fs::write(root.join("manifest.json"), text)
        });
    }
}

#[test]
fn our_own_files_are_not_in_the_way() {
    let out = folder();
    write(out.path(), &set(&[("a", "1"), ("b/c", "2")]), &NOTHING).expect("written");
    write(out.path(), &set(&[("a/x", "1"), ("b", "2")]), &NOTHING).expect("written");
    assert_eq!(get(out.path(), "a/x") + &get(out.path(), "b"), "12");
}

#[test]
fn a_lost_manifest_makes_every_file_somebody_elses() {
    let out = folder();
    write(out.path(), &set(&[("a", "1"), ("b", "2")]), &NOTHING).expect("written");
    fs::remove_file(out.path().join("masters/manifest.json")).expect("removed");
    let changes = write(out.path(), &set(&[("a", "1")]), &NOTHING).expect("written");
    assert_eq!(changes.added, ["manifest.json"]);
    assert_eq!(changes.unchanged, 1);
    assert_eq!(get(out.path(), "b"), "2");
}

#[test]
fn leftovers_are_removed_and_a_lock_is_respected() {
    let out = folder();
    write(out.path(), &set(&[("a", "1")]), &NOTHING).expect("written");
    fs::create_dir_all(out.path().join(".masters-staging-abc123/m")).expect("a folder");
    fs::write(out.path().join(".masters-staging-abc123/m/a"), "half").expect("a file");
    fs::write(out.path().join(".masters-staging-def456"), "half").expect("a file");
    fs::create_dir(out.path().join(".masters-backup")).expect("a folder");

    let lock = fs::File::open(out.path()).expect("a folder");
    lock.lock().expect("a lock");
    let error = write(out.path(), &set(&[("a", "2")]), &NOTHING).expect_err("locked");
    assert!(matches!(error, WriteError::Busy(_)), "{error}");
    assert_eq!(names(out.path()).len(), 4);
    assert_eq!(get(out.path(), "a"), "1");
    drop(lock);

    write(out.path(), &set(&[("a", "1")]), &NOTHING).expect("written");
    assert_eq!(names(out.path()), [".masters-backup", "masters"]);
}

#[test]
fn paths_that_are_no_file_of_a_set_are_refused() {
    for path in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "./a",
        "a/.",
        "a\\b",
        "a\0",
        "a\n",
        "é",
        "manifest.json",
        "provenance.json",
        "m/buildbot.tac",
        "twistd.pid",
        "m/__pycache__/x",
        "taken",
        "taken/x",
        "folder",
    ] {
        let mut set = set(&[("taken", ""), ("folder/x", "")]);
        assert!(matches!(set.insert(path, ""), Err(WriteError::Path(p)) if p == path), "{path:?}");
        assert_eq!(set.iter().count(), 2);
    }
    for path in ["taken2", "takes", "m/manifest.json", "a b", ".hidden"] {
        assert!(set(&[("taken", "")]).insert(path, "").is_ok(), "{path:?}");
    }
}
