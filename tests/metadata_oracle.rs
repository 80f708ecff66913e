//! fdroidserver's own reading of real files, against ours: no app and no field may differ.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

mod metadata;

use std::fs;
use std::path::Path;

use fdroid_bb::fdroid::AppId;
use fdroid_bb::finding::Code;
use fdroid_bb::parse::{self, Parsed};
use serde_json::Value;

/// Compares every app that `oracle` has a line for; gives their number.
fn compare(oracle: &Path, files: &Path) -> usize {
    let mut compared = 0;
    let mut differences = Vec::new();
    for line in fs::read_to_string(oracle).unwrap().lines() {
        let theirs: Value = serde_json::from_str(line).unwrap();
        let id = theirs["id"].as_str().unwrap();
        let bytes = fs::read(files.join(format!("{id}.yml"))).unwrap();
        for read in [parse::app, parse::app_full] {
            match read(AppId::new(id).unwrap(), id, &bytes).app {
                Err(finding) => differences.push(format!("{id}: {finding:?}")),
                Ok(app) => {
                    let ours = serde_json::to_value(app).unwrap();
                    // The history's lines lack a few fields; a line never has one that we lack.
                    for (field, value) in theirs.as_object().unwrap() {
                        if ours[field] != *value {
                            differences.push(format!("{id}: {field}: {value} {}", ours[field]));
                        }
                    }
                }
            }
        }
        compared += 1;
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    compared
}

#[test]
fn the_tip_is_read_as_fdroidserver_reads_it() {
    let Some(corpus) = metadata::corpus() else { return };
    let compared = compare(&corpus.join("oracle-half.jsonl"), &corpus.join("fdroiddata/metadata"));
    assert!(compared > 3_000, "only {compared} apps compared");
}

#[test]
fn the_history_is_read_as_fdroidserver_reads_it() {
    let Some(corpus) = metadata::corpus() else { return };
    let compared = compare(&corpus.join("history-half.jsonl"), &corpus.join("metadata"));
    assert_eq!(compared, 1_235);
}

#[test]
fn every_file_of_the_tip_is_read_and_by_the_fast_path() {
    let Some(corpus) = metadata::corpus() else { return };
    let (mut apps, mut slow) = (0, Vec::new());
    for (name, path) in metadata::files(&corpus.join("fdroiddata/metadata")) {
        let (id, bytes) = (AppId::new(&name).unwrap(), fs::read(&path).unwrap());
        if !parse::agree(&id, &bytes) {
            slow.push(name.clone());
        }
        let Parsed { app, findings } = parse::app(id, &name, &bytes);
        assert!(app.is_ok(), "{app:?}");
        assert!(
            findings.iter().all(|finding| finding.code == Code::FieldNeedsQuotes),
            "{findings:?}"
        );
        apps += 1;
    }
    assert!(apps > 6_000, "only {apps} apps read");
    assert!(slow.len() * 50 < apps, "{} files took the full parser: {slow:?}", slow.len());
}

#[test]
fn every_srclib_of_the_tip_is_read() {
    let Some(corpus) = metadata::corpus() else { return };
    let mut read = 0;
    for (name, path) in metadata::files(&corpus.join("fdroiddata/srclibs")) {
        let srclib = parse::srclib(&name, &fs::read(&path).unwrap()).unwrap();
        // One of them, which lies in no repository of its own, has no `Repo`.
        assert!(!srclib.repo_type.is_empty(), "{name}");
        read += usize::from(!srclib.repo.is_empty());
    }
    assert!(read > 500, "only {read} srclibs read");
}

/// serde-saphyr, of another parser's family, sees the same fields, and the same text where one is
/// written in quotes or is no number.
#[test]
fn a_second_reader_agrees() {
    let Some(corpus) = metadata::corpus() else { return };
    let mut texts = 0;
    for (name, path) in metadata::files(&corpus.join("fdroiddata/metadata")) {
        let content = fs::read_to_string(&path).unwrap();
        let second: Value = serde_yaml::from_str(&content).unwrap();
        let app = parse::app(AppId::new(&name).unwrap(), &name, content.as_bytes()).app.unwrap();
        let ours = serde_json::to_value(&app).unwrap();
        for field in ["Repo", "RepoType", "UpdateCheckMode", "AutoUpdateMode", "CurrentVersion"] {
            match &second[field] {
                Value::Null => {
                    assert!(!content.contains(&format!("\n{field}:")), "{name}: {field}");
                }
                Value::String(text) => {
                    assert_eq!(ours[field], *text, "{name}: {field}");
                    texts += 1;
                }
                _ => {}
            }
        }
        let builds = second["Builds"].as_array().map_or(0, Vec::len);
        assert_eq!(app.builds.len(), builds, "{name}");
    }
    assert!(texts > 20_000, "only {texts} texts compared");
}
