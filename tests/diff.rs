//! What `diff` says of two configurations, compiled from descriptions and metadata as they are
//! written.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

mod common;

use common::state::{difference, planned, state};
use fdroid_bb::diff::Style;
use fdroid_bb::model::Model;
use insta::assert_snapshot;

const DESCRIPTION: &str = r#"
[fdroiddata]
url = "https://gitlab.com/fdroid/fdroiddata.git"

[masters.main]
title = "F-Droid"
url = "https://buildbot.example.org/"

[workers.vm]
master = "main"
vagrant = { box = "buildserver", memory = "4GiB" }

[builders.check]
workers = ["vm"]
properties.packageName = { type = "app-id" }

[[builders.check.steps]]
name = "look"
run = ["fdroid", "checkupdates", "{packageName}"]
timeout = "1h"

[schedulers.sources]
on = "app-source"
builders = ["check"]
"#;

const TAGS: &str = "UpdateCheckMode: Tags\nRepoType: git\nRepo: https://git.example.org/NAME.git\n";

#[test]
fn what_became_of_apps_is_told_with_its_cause() {
    let old = state(
        DESCRIPTION,
        &[
            ("a.archived", TAGS),
            ("a.broken", TAGS),
            ("a.changed", TAGS),
            ("a.disabled", TAGS),
            ("a.gone", TAGS),
            ("a.idle", "Summary: x\n"),
            ("a.old", "UpdateCheckMode: Tags\nRepoType: git\nRepo: https://git.example.org/one\n"),
            ("a.woken", &format!("Disabled: no source\n{TAGS}")),
        ],
    );
    let new = state(
        DESCRIPTION,
        &[
            ("a.archived", &format!("{TAGS}ArchivePolicy: 0\n")),
            ("a.broken", "Repo: [\n"),
            ("a.changed", &format!("{}\n", TAGS.replace("Tags", "Tags ^v[0-9.]+$"))),
            ("a.disabled", &format!("Summary: x\nDisabled: no source\n{TAGS}")),
            ("a.idle", "Summary: x\nDisabled: gone\n"),
            ("a.new", TAGS),
            (
                "a.other",
                "UpdateCheckMode: Tags\nRepoType: git\nRepo: https://git.example.org/one\n",
            ),
            ("a.woken", TAGS),
            ("z.idle", "Summary: x\n"),
        ],
    );
    let diff = difference(&old, &new);
    assert_snapshot!("apps.txt", diff.words(Style::Text, None));
    assert_snapshot!("apps.md", diff.words(Style::Markdown, None));
}

#[test]
fn machines_are_told_each_kind_of_change() {
    let one = "UpdateCheckMode: Tags\nRepoType: git\nRepo: https://git.example.org/one\n";
    let old = state(DESCRIPTION, &[("a.changed", TAGS), ("a.gone", TAGS), ("a.old", one)]);
    let tags = TAGS.replace("Tags", "Tags ^v[0-9.]+$");
    let new = state(
        DESCRIPTION,
        &[("a.changed", &tags), ("a.idle", "Summary: x\n"), ("a.new", TAGS), ("a.other", one)],
    );
    assert_snapshot!("apps.json", format!("{:#}", difference(&old, &new).json()));
}

#[test]
fn a_srclib_is_the_cause_of_what_its_apps_are_cloned_from() {
    let app = "UpdateCheckMode: Tags\nRepoType: srclib\nRepo: Lib\n";
    let lib = |url: &str| format!("# Of many apps.\nRepoType: git\nRepo: {url}\n");
    let old = state(DESCRIPTION, &[("a.b", app), ("srclibs/Lib", &lib("https://x.org/old"))]);
    let new = state(DESCRIPTION, &[("a.b", app), ("srclibs/Lib", &lib("https://x.org/new"))]);
    let expected =
        "      repourl: \"https://x.org/old\" → \"https://x.org/new\" (srclibs/Lib.yml:3)\n";
    for diff in [difference(&old, &new), planned(&old, &new)] {
        let words = diff.words(Style::Text, None);
        assert!(words.ends_with(expected), "{words}");
    }
    // That an app names it now is the app's own doing.
    let own = state(DESCRIPTION, &[("a.b", TAGS), ("srclibs/Lib", &lib("https://x.org/new"))]);
    let words = difference(&own, &new).words(Style::Text, None);
    assert!(words.ends_with("(metadata/a.b.yml:3)\n"), "{words}");
}

#[test]
fn names_that_buildbot_would_mix_up_are_found() {
    let set = state(DESCRIPTION, &[("a.b", TAGS)]).set;
    let twice = |path: &str, text: &str| match path {
        "main/pollers.py" => text.replace("]\n", "    git(\"a.b\", \"https://y\"),\n]\n"),
        _ => text.to_owned(),
    };
    assert_eq!(Model::read(&set).collisions, []);
    let set =
        common::state::set(set.iter().map(|(path, bytes)| {
            (path.to_owned(), twice(path, std::str::from_utf8(bytes).unwrap()))
        }));
    let model = Model::read(&set);
    let [collision] = model.collisions.as_slice() else { panic!("{:?}", model.collisions) };
    assert_eq!((collision.master.as_str(), collision.name.as_str()), ("main", "a.b"));
}

#[test]
fn what_became_of_the_description_is_told_with_its_line_and_its_effect() {
    let old = state(DESCRIPTION, &[("a.b", TAGS)]);
    let new = DESCRIPTION
        .replace("4GiB", "8GiB")
        .replace("timeout = \"1h\"", "timeout = \"2h\"")
        .replace("[schedulers.sources]", "[schedulers.app-sources]")
        .replace("title = \"F-Droid\"", "title = \"F-Droid\"\ndatabase = \"sqlite:///x.sqlite\"");
    let new = format!("{new}\n[locks.one]\n\n[workers.host]\nmaster = \"main\"\nlocal = {{}}\n")
        .replace("[builders.check]\n", "[builders.check]\nlocks = { one = \"exclusive\" }\n")
        .replace("workers = [\"vm\"]", "workers = [\"vm\", \"host\"]");
    let diff = difference(&old, &state(&new, &[("a.b", TAGS)]));
    assert_snapshot!("description.txt", diff.words(Style::Text, None));
}

#[test]
fn equal_changes_are_told_once_and_deletions_one_by_one() {
    let names: Vec<String> = (0..40).map(|n| format!("org.example.a{n}")).collect();
    let metadata: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), TAGS)).collect();
    let old = state(DESCRIPTION, &metadata);
    let slower = format!("[apps]\npoll-interval = \"12h\"\n{DESCRIPTION}");
    let diff = difference(&old, &state(&slower, &metadata));
    assert_snapshot!("grouped.txt", diff.words(Style::Text, None));

    let diff = difference(&old, &state(DESCRIPTION, &metadata[..5]));
    let words = diff.words(Style::Markdown, None);
    assert!(words.starts_with("**+0 ~0 −35, safe to reconfigure**\n"), "{words}");
    assert_eq!(words.matches("\n- poller ").count(), 35);
    let cut = diff.words(Style::Markdown, Some(1_000));
    assert!(cut.len() <= 1_000, "{}", cut.len());
    let told = cut.matches("\n- poller ").count();
    assert!(told > 0);
    assert!(cut.ends_with(&format!("\nLeft out, for there is no room: {} removed.\n", 35 - told)));
}

#[test]
fn what_is_the_same_is_no_difference() {
    let same = state(DESCRIPTION, &[("a.b", TAGS)]);
    let diff = difference(&same, &state(DESCRIPTION, &[("a.b", &format!("{TAGS}\nSummary: x\n"))]));
    assert_eq!(diff.words(Style::Text, None), "no changes\n");
}

#[test]
fn nothing_of_a_stranger_becomes_markdown() {
    let old = state(DESCRIPTION, &[]);
    let text = TAGS.replace("Tags", "'Tags ^``x``[*](b)|<img>'");
    let diff = difference(&old, &state(DESCRIPTION, &[("a.b", &text)]));
    let words = diff.words(Style::Markdown, None);
    assert!(words.contains("tags ``` \"^``x``[*](b)|<img>\" ```"), "{words}");
}
