//! Every finding on a pipeline description and on the sources of apps, as a person sees it.
//!
//! An input of `tests/findings/` is a description that shows one code, or a few that belong
//! together; its snapshot is all that `fdroid-bb check` says to it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{DESCRIPTION, PROJECT, Run, Sandbox};
use fdroid_bb::compile;
use fdroid_bb::config::{PropertyType, Scalar, Source, Sources};
use fdroid_bb::finding::{Code, Severity};
use insta::assert_snapshot;
use proptest::prelude::*;

/// Runs `fdroid-bb check` on a file of `tests/findings/`.
fn check(config: &str, fdroiddata: &str) -> Run {
    let folder = Path::new(PROJECT).join("tests/findings");
    Run::new(&folder, &["check", "--config", config, "--fdroiddata", fdroiddata])
}

#[test]
fn descriptions() {
    let mut wrong = Vec::new();
    insta::glob!("findings/*.toml", |path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let run = check(name, "app");
        assert_snapshot!(run.seen());
        let (code, said) = match name.split(['_', '.']).next().unwrap() {
            "err" => (1, run.stderr.contains("error[")),
            "warn" => (0, run.stderr.contains("warning[")),
            _ => (0, run.stderr.is_empty()),
        };
        if run.code != code || !said || run.seen().contains("hunter2") {
            wrong.push(name.to_owned());
        }
    });
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn sources() {
    let run = check("ok.toml", "sources").ends(0);
    assert!(!run.seen().contains("hunter2"), "a password in an excerpt");
    assert_snapshot!(run.seen());
}

#[test]
fn missing() {
    let mut seen = check("none.toml", "none").ends(1).seen();
    seen += &check("app", "app/metadata").ends(1).seen();
    seen += &Run::new(
        &Path::new(PROJECT).join("tests/findings"),
        &["check", "--config", "ok.toml", "--fdroiddata", "app", "--rev", "master"],
    )
    .ends(1)
    .seen();
    assert_snapshot!(seen);
}

/// No person writes a file like these, or a repository: `tests/metadata_files.rs` and
/// `tests/repositories.rs` make some.
const IN_CODE: &[Code] = &[Code::CommitUnknown, Code::YamlTooDeep];

#[test]
fn every_code_is_in_a_snapshot() {
    let mut shown = String::new();
    for entry in fs::read_dir(Path::new(PROJECT).join("tests/snapshots")).unwrap() {
        shown += &fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    let missing: Vec<&str> = Code::ALL
        .iter()
        .filter(|code| {
            let level = match code.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            // As the program says it, or as the snapshots of `tests/metadata_files.rs` do.
            !shown.contains(&format!("{level}[{}]", code.as_str()))
                && !shown.contains(&format!("\n{} at ", code.as_str()))
                && !IN_CODE.contains(code)
        })
        .map(|code| code.as_str())
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn deep_and_large_descriptions_are_bounded() {
    let sandbox = Sandbox::new(&[]);
    let deep = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let tables = format!("{DESCRIPTION}\n[{}]\n", vec!["a"; 50_000].join("."));
    let large = format!("{DESCRIPTION}\n# {}\n", "x".repeat(5 << 20));
    let names: Vec<String> = (0..70_000).map(|n| format!("\"n{n}\"")).collect();
    let list = DESCRIPTION.replace("[\"local\"]", &format!("[{}]", names.join(", ")));
    let same =
        DESCRIPTION.replace("[\"local\"]", &format!("[{}]", vec!["\"a\""; 150_000].join(", ")));
    let chain: Vec<String> = (0..1_000)
        .map(|n| {
            format!(
                "[builders.b{n}]\nworkers = [\"local\"]\nsteps = [{{ run = [\"true\"] }}]\n\
                 [schedulers.s{n}]\non = {{ after = \"b{n}\" }}\nbuilders = [\"b{}\"]\n",
                n + 1
            )
        })
        .collect();
    for text in [deep, tables, large, list, same, format!("{DESCRIPTION}{}", chain.concat())] {
        sandbox.put("fdroid-bb.toml", text);
        let run = sandbox.run(&["check"]).ends(1);
        assert!(run.stderr.contains("error["), "{}", run.seen());
    }
}

/// Words that mean something in a description.
fn words() -> impl Strategy<Value = String> {
    let words = vec![
        "\"",
        "'",
        "\"\"\"",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "#",
        "\\",
        "\\u0000",
        "-1",
        "0",
        "1e9",
        "true",
        "\"0s\"",
        "\"buildserver\"",
        "[masters.x]",
        "[[apps.overrides]]",
        "steps",
        "secret",
        "after",
        "on = { after = \"build\" }",
        "\u{202e}",
        "\u{0}",
        "é",
        "glpat-x",
    ];
    prop_oneof![
        proptest::sample::select(words).prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens to the text of a description, it compiles, or all that is wrong with it
    /// has a place in it.
    #[test]
    fn mutations_compile_or_have_places(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..40, words(), 0u8..4), 1..5),
    ) {
        let read = |file: &str| fs::read_to_string(Path::new(PROJECT).join(file)).unwrap();
        let (mut text, site) = (read("pipelines/f-droid.toml"), read("fdroid-bb.toml"));
        for (at, length, word, kind) in edits {
            let places: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
            let (from, to) = {
                let at = at.index(places.len());
                (places[at], places[(at + length).min(places.len() - 1)])
            };
            let old = text[from..to].to_owned();
            match kind {
                0 => text.replace_range(from..to, ""),
                1 => text.insert_str(to, &old),
                2 => text.replace_range(from..to, &word),
                _ => text.insert_str(from, &word),
            }
        }
        let source = |file: &str, text: &str| Source { file: file.into(), text: text.into() };
        let base = source("base", &text);
        match compile::describe(Sources::new(Some(base), source("site", &site), None)) {
            Ok(description) => {
                compile::output(&description.pipeline, &[]).unwrap();
            }
            Err(findings) => {
                prop_assert!(findings.iter().any(|f| f.severity == Severity::Error));
                for finding in findings {
                    let text = if finding.place.file == "base" { &text } else { &site };
                    let lines = text.lines().count().max(1) as u32;
                    let span = finding.place.span;
                    prop_assert!(span.is_some_and(|s| (1..=lines + 1).contains(&s.line)), "{finding:?}");
                    prop_assert!(!finding.message.is_empty() && !finding.help.is_empty(), "{finding:?}");
                }
            }
        }
    }
}

/// The runtime's tests read the same cases.
#[test]
fn property_types() {
    let text = fs::read_to_string(Path::new(PROJECT).join("tests/property_types.json")).unwrap();
    let cases: BTreeMap<String, Vec<(PropertyType, Scalar)>> = serde_json::from_str(&text).unwrap();
    for (kind, cases) in cases {
        for (type_, value) in cases {
            assert_eq!(type_.rule().accepts(&value), kind == "good", "{type_:?} {value:?}");
        }
    }
}
