//! The output set while runs meet, disks fill up and processes die.
#![allow(clippy::expect_used, reason = "helpers of tests may panic like the tests")]

mod skip;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use fdroid_bb::write::{OutputSet, WriteError, compare, write};
use serde_json::json;

/// A set of `count` files, each of which tells the name of the set.
fn named(name: &str, count: usize, size: usize) -> OutputSet {
    let mut set = OutputSet::new();
    for index in 0..count {
        // A third is common to all sets, a third differs in bytes, a third in paths.
        let (path, text) = match index % 3 {
            0 => (format!("m{}/same{index}.py", index % 4), "same".to_owned()),
            1 => (format!("m{}/differs{index}.py", index % 4), name.to_owned()),
            _ => (format!("m{}/{name}{index}.py", index % 4), name.to_owned()),
        };
        set.insert(path, format!("{text}\n").repeat(size)).expect("a path");
    }
    set
}

/// The files of the set on disk.
fn on_disk(out: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).expect("a prefix").to_str().expect("UTF-8");
                found.insert(name.to_owned(), fs::read(&path).expect("a file"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&out.join("masters"), &out.join("masters"), &mut found);
    found
}

/// What `set` is on disk.
fn expected(set: &OutputSet, name: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), set, &json!({ "set": name })).expect("written");
    on_disk(folder.path())
}

fn staged(out: &Path) -> usize {
    let entries = fs::read_dir(out).expect("a folder");
    entries.filter(|entry| entry.as_ref().expect("an entry").file_name() != "masters").count()
}

#[test]
fn runs_that_meet_leave_one_whole_set() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let (names, at) = (["A", "B", "C", "D"], out.path());
    let written: usize = thread::scope(|scope| {
        let runs: Vec<_> = names
            .iter()
            .map(|name| {
                scope.spawn(move || {
                    let set = named(name, 20, 10);
                    (0..30)
                        .filter(|_| match write(at, &set, &json!({ "set": name })) {
                            Ok(_) => true,
                            Err(WriteError::Busy(_)) => false,
                            Err(error) => panic!("{error}"),
                        })
                        .count()
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().expect("a run")).sum()
    });
    assert!(written > 0);
    let found = on_disk(out.path());
    assert!(names.iter().any(|name| found == expected(&named(name, 20, 10), name)));
    assert_eq!(staged(out.path()), 0);
}

/// The child of the next test: writes one set after the other until it is killed.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(out) = std::env::var_os("FDROID_BB_TEST_CRASH") else { return };
    let sets = ["A", "B"].map(|name| (name, named(name, 21, 10)));
    fs::write(Path::new(&out).join("ready"), "").expect("a file");
    loop {
        for (name, set) in &sets {
            write(Path::new(&out), set, &json!({ "set": name })).expect("written");
        }
    }
}

#[test]
fn a_killed_run_leaves_one_whole_set() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let sets = ["A", "B"].map(|name| (named(name, 21, 10), expected(&named(name, 21, 10), name)));
    write(out.path(), &sets[0].0, &json!({"set": "A"})).expect("written");
    let ready = out.path().join("ready");
    let (mut ends, mut leftovers) = ([0, 0], 0);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..100 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_that_writes_until_it_is_killed"])
            .env("FDROID_BB_TEST_CRASH", out.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("a child");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        while !ready.exists() {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros((random >> 33) % 40_000));
        child.kill().expect("killed");
        assert!(!child.wait().expect("an end").success());

        fs::remove_file(&ready).expect("removed");
        let found = on_disk(out.path());
        let which = sets.iter().position(|(_, want)| *want == found);
        ends[which.expect("one of the two sets, whole, with its provenance")] += 1;
        leftovers += usize::from(staged(out.path()) > 0);
        let next = usize::from((random >> 20).is_multiple_of(2));
        let name = ["A", "B"][next];
        write(out.path(), &sets[next].0, &json!({ "set": name })).expect("written");
        assert_eq!(on_disk(out.path()), sets[next].1);
        assert_eq!(staged(out.path()), 0);
    }
    assert!(ends[0] > 0 && ends[1] > 0 && leftovers > 0, "{ends:?}, {leftovers} leftovers");
}

/// A small file system of its own, for as long as the value lives.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},nr_inodes=200"), "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_the_old_set() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(disk) = Tmpfs::mount(&folder.path().join("disk"), "400k") else {
        return skip::skipped("the full disk: only root can mount one");
    };
    let out = &disk.0;
    let old = named("A", 21, 10);
    write(out, &old, &json!({"set": "A"})).expect("written");
    let before = on_disk(out);
    for too_much in [named("B", 21, 40_000), named("B", 300, 1), named("B", 60, 3_000)] {
        let error = write(out, &too_much, &json!({"set": "B"})).expect_err("full");
        match &error {
            WriteError::Io { source, .. } => assert_eq!(source.kind(), ErrorKind::StorageFull),
            _ => panic!("{error}"),
        }
        assert_eq!(error.help(), "free some space and run again; the old set is untouched");
        assert_eq!(on_disk(out), before);
        assert_eq!(staged(out), 0);
    }
    write(out, &named("B", 21, 10), &json!({"set": "B"})).expect("written");
    assert_eq!(on_disk(out), expected(&named("B", 21, 10), "B"));
}

#[test]
fn a_set_that_is_a_mount_point_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(disk) = Tmpfs::mount(&folder.path().join("masters"), "400k") else {
        return skip::skipped("the mount point: only root can make one");
    };
    let error = write(folder.path(), &named("A", 3, 1), &json!({})).expect_err("a mount point");
    assert!(matches!(error, WriteError::NoExchange { .. }), "{error}");
    assert!(error.help().contains("mount point"));
    drop(disk);
    assert_eq!(staged(folder.path()), 0);
    assert_eq!(compare(folder.path(), &named("A", 3, 1)).expect("compared").added.len(), 4);
}
