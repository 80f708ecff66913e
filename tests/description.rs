//! Descriptions of several files, with what they say once: how files are merged, values, choices,
//! step lists and property sets; and that the schema and the checks agree.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{DESCRIPTION, PROJECT, Sandbox};
use fdroid_bb::config::{Sources, editor_schema, read, schema};
use fdroid_bb::finding::Code;
use insta::assert_snapshot;
use serde_json::{Value, json};

/// A sandbox whose site's file is on top of [`DESCRIPTION`] and says `site`.
fn on_top(site: &str) -> Sandbox {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.put("base.toml", DESCRIPTION);
    sandbox.put("fdroid-bb.toml", format!("base = \"./base.toml\"\n{site}"));
    sandbox
}

/// What the site's file gives of `DESCRIPTION`.
fn explained(sandbox: &Sandbox, kind: &str, name: &str, more: &[&str]) -> String {
    let arguments = [&["explain", kind, name], more].concat();
    sandbox.run(&arguments).ends(0).stdout
}

#[test]
fn tables_are_merged_and_all_else_is_replaced() {
    let sandbox = on_top(
        "[masters.main]\ntitle = \"Site\"\nweb.listen = \"127.0.0.1:8020\"\n\
         [builders.look]\nsteps = [{ run = [\"true\"] }]\ntags = [\"site\"]\n",
    );
    sandbox.put("overlay.toml", "[masters.main.web]\nlisten = \"127.0.0.1:8030\"\n");
    assert_snapshot!(explained(&sandbox, "master", "main", &[]));
    assert_snapshot!(explained(&sandbox, "master", "main", &["--overlay", "overlay.toml"]));
    assert_snapshot!(explained(&sandbox, "builder", "look", &[]));
}

#[test]
fn a_key_is_told_as_toml_writes_it() {
    let sandbox = on_top("[builders.look.env]\n\"a.b\" = \"1\"\n");
    sandbox.put("overlay.toml", "[builders.look.env]\n\"a.b\" = \"1\"\n");
    let run = sandbox.run(&["check", "--overlay", "overlay.toml"]);
    assert!(run.stderr.contains("`builders.look.env.\"a.b\"` has this value"), "{}", run.seen());
}

#[test]
fn what_stands_between_braces_is_one_value() {
    let sandbox = on_top(
        "[schedulers.news]\non = { daily = \"02:30\" }\n[builders.look]\nproperties = {}\nsteps = [{ run = [\"true\"] }]\n",
    );
    assert_snapshot!(explained(&sandbox, "scheduler", "news", &[]));
    assert_snapshot!(explained(&sandbox, "builder", "look", &[]));
}

#[test]
fn what_is_removed_is_not_there() {
    let sandbox = on_top(
        "remove = [\"schedulers.news\"]\n[schedulers.hourly]\non = { every = \"1h\" }\n\
         builders = [\"look\"]\nproperties.packageName = \"org.example.a\"\n",
    );
    let said = sandbox.run(&["explain", "scheduler", "news"]).ends(1).stderr;
    assert_snapshot!(said);
    sandbox.run(&["check"]).ends(0);
}

#[test]
fn the_shipped_pipelines_are_a_base() {
    let sandbox = Sandbox::new(&["org.fdroid.a"]);
    sandbox.put(
        "fdroid-bb.toml",
        "base = \"f-droid\"\nchoices.build.chosen = \"stages\"\nchoices.updates.chosen = \"push\"\n\
         masters.buildserver.url = \"https://build.example.org/\"\n",
    );
    sandbox.put("overlay.toml", "choices.updates.chosen = \"merge-request\"\n");
    sandbox.run(&["check", "--deny-warnings"]).ends(0);
    sandbox.run(&["check", "--deny-warnings", "--overlay", "overlay.toml"]).ends(0);
    assert_snapshot!(explained(&sandbox, "builder", "build", &[]));
    let pushed = explained(&sandbox, "builder", "checkupdates", &[]);
    let asked = explained(&sandbox, "builder", "checkupdates", &["--overlay", "overlay.toml"]);
    assert!(pushed.contains("deliver-update") && !pushed.contains("--fork"), "{pushed}");
    assert!(asked.contains("deliver-update") && asked.contains("--fork"), "{asked}");
}

/// What `check` says to wrong sites, one after the other.
#[test]
fn wrong_files_are_told_where_they_are_wrong() {
    let sites = [
        ("no such base", "base = \"f-droit\"\n"),
        ("no such file", "base = \"./other.toml\"\n"),
        ("a base that is no text", "base = 1\n"),
        ("removes nothing", "remove = [\"builders.lok\", \"masters.main.title.x\", 1]\n"),
        ("removes with no list", "remove = \"builders.look\"\n"),
        ("says what is said", "[masters.main]\ntitle = \"Main\"\nweb = {}\n"),
        ("is not about anything", "[workers.locl]\ncount = 2\n"),
        (
            "no such value",
            "[values]\nport = \"127.0.0.1:1\"\n[masters.main]\nweb.listen = { value = \"prt\" }\n",
        ),
        (
            "a value that does not fit",
            "[values]\nport = 1\n[masters.main]\nweb.listen = { value = \"port\" }\n",
        ),
        (
            "a value with a token",
            "[values]\ntoken = [\"glpat-hunter2hunter2\"]\n[builders.look]\nenv = { A = { value = \"token\" } }\n",
        ),
        ("an unused value", "[values]\nport = 1\n"),
        (
            "no such choice",
            "[choices.a]\nof = [\"x\", \"y\"]\nchosen = \"z\"\n[builders.look]\nwhen = { a = \"w\", b = \"x\" }\n",
        ),
        ("nothing chosen", "[choices.a]\nof = [\"x\", \"y\"]\n[builders.look]\nwhen.a = \"x\"\n"),
        (
            "nothing left",
            "[choices.a]\nof = [\"x\", \"y\"]\nchosen = \"x\"\n[builders.look]\nwhen.a = \"x\"\n",
        ),
        (
            "wrong where it is not chosen",
            "[choices.a]\nof = [\"x\", \"y\"]\nchosen = \"x\"\n[builders.look]\nsteps = [{ run = [\"true\"], when.a = \"x\" }, { run = [\"{nam}\"], when.a = \"y\" }]\n",
        ),
        (
            "no such step list",
            "[[step-lists.all]]\nrun = [\"true\"]\n[builders.look]\nsteps = [{ use = \"al\" }, { use = \"all\", run = [\"true\"] }]\n",
        ),
        (
            "step lists in step lists",
            "[step-lists]\na = [{ use = \"b\" }]\nb = [{ run = [\"true\"] }]\n[builders.look]\nsteps = [{ use = \"a\" }]\n",
        ),
        (
            "property sets",
            "[property-sets.a]\nx = { type = \"word\" }\n[property-sets.b]\nx = { type = \"word\" }\npackageName = { type = \"app-id\" }\n[property-sets.c]\nz = { type = \"word\" }\n[builders.look]\nproperty-sets = [\"a\", \"b\", \"d\"]\n",
        ),
    ];
    let mut seen = String::new();
    for (what, site) in sites {
        let sandbox = on_top("");
        let site = if site.starts_with("base") {
            site.to_owned()
        } else {
            format!("base = \"./base.toml\"\n{site}")
        };
        sandbox.put("fdroid-bb.toml", site);
        let run = sandbox.run(&["check"]);
        assert!(run.code == 1 || run.stderr.contains("warning["), "{what}: {}", run.seen());
        assert!(!run.seen().contains("hunter2"), "{}", run.seen());
        seen.push_str("=== ");
        seen.push_str(what);
        seen.push_str(": ");
        seen.push_str(&run.seen());
    }
    assert_snapshot!(seen);
}

#[test]
fn a_wrong_overlay_is_told_in_its_own_file() {
    let sandbox = on_top("");
    sandbox.put("overlay.toml", "base = \"f-droid\"\n[masters.main]\ntitle = 1\n");
    let mut seen = sandbox.run(&["check", "--overlay", "overlay.toml"]).ends(1).seen();
    seen += &sandbox.run(&["check", "--overlay", "none.toml"]).ends(1).seen();
    sandbox.put("overlay.toml", "[masters.main\n");
    sandbox.put("base.toml", "[masters.main\n");
    seen += &sandbox.run(&["check", "--overlay", "overlay.toml"]).ends(1).seen();
    assert_snapshot!(seen);
}

#[test]
fn kinds_and_names_are_explained_or_suggested() {
    let sandbox = on_top("");
    let mut seen = sandbox.run(&["explain", "bilder", "look"]).ends(64).seen();
    seen += &sandbox.run(&["explain", "builder", "lok"]).ends(1).seen();
    seen += &sandbox.run(&["explain", "worker", "local", "--format", "json"]).ends(0).seen();
    assert_snapshot!(seen);
}

/// The whole description of every key, as JSON, once files are merged and values are in place.
fn all() -> (String, Value) {
    let text = fs::read_to_string(Path::new(PROJECT).join("tests/pipeline/all.toml")).unwrap();
    let text = text.replace("{ value = \"build\" }", "\"fdroid\", \"build\"");
    let document: toml::Value = toml::from_str(&text).unwrap();
    (text, serde_json::to_value(document).unwrap())
}

/// Every way to a value that is no table, as keys and indexes.
fn leaves(value: &Value, way: &mut Vec<Value>, found: &mut Vec<Vec<Value>>) {
    match value {
        Value::Object(table) => {
            for (key, inner) in table {
                way.push(json!(key));
                leaves(inner, way, found);
                way.pop();
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                way.push(json!(index));
                leaves(inner, way, found);
                way.pop();
            }
        }
        _ => found.push(way.clone()),
    }
}

fn at<'v>(value: &'v mut Value, way: &[Value]) -> &'v mut Value {
    way.iter().fold(value, |value, step| match step {
        Value::String(key) => value.get_mut(key).unwrap(),
        step => value.get_mut(step.as_u64().unwrap() as usize).unwrap(),
    })
}

/// Findings of the stage that judges the shape alone.
const OF_SHAPE: &[Code] = &[
    Code::ConfigUnknownKey,
    Code::ConfigMissingKey,
    Code::ConfigType,
    Code::ConfigValue,
    Code::LiteralSecret,
];

fn shape_takes(text: &str) -> bool {
    let sources = Sources::of_text("all.toml", text).unwrap();
    match read(&sources) {
        Ok(_) => true,
        Err(findings) => !findings.iter().any(|finding| OF_SHAPE.contains(&finding.code)),
    }
}

/// Every value of a description of all keys, replaced by values of all kinds: what the schema takes,
/// the checks take, and the other way round.
#[test]
fn the_schema_and_the_checks_agree() {
    let schema = jsonschema::validator_for(&schema()).unwrap();
    let (text, whole) = all();
    assert!(shape_takes(&text) && schema.is_valid(&whole));
    let mut ways = Vec::new();
    leaves(&whole, &mut Vec::new(), &mut ways);
    let pool = [
        json!("passwd"),
        json!(""),
        json!("a b"),
        json!("-x"),
        json!("02:30"),
        json!("6h"),
        json!("8GiB"),
        json!("https://x.example/"),
        json!("/a/b"),
        json!("/a"),
        json!("a@b"),
        json!("127.0.0.1:99"),
        json!("x\ny"),
        json!("word"),
        json!("é"),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(100_000),
        json!(1_i64 << 40),
        json!([]),
        json!(["a"]),
        json!({}),
        json!({ "a": 1 }),
    ];
    let mut differ = Vec::new();
    for way in &ways {
        for value in &pool {
            let mut changed = whole.clone();
            *at(&mut changed, way) = value.clone();
            let text = toml::to_string(&changed).unwrap();
            let (by_schema, by_checks) = (schema.is_valid(&changed), shape_takes(&text));
            if by_schema != by_checks {
                let way: Vec<String> = way.iter().map(Value::to_string).collect();
                differ.push(format!(
                    "{}: {value}: schema {by_schema}, checks {by_checks}",
                    way.join(".")
                ));
            }
        }
    }
    assert_eq!(differ, [""; 0]);
}

/// What editors are given takes each file by itself: the whole, a site's own, the shipped base.
#[test]
fn editors_take_each_file() {
    let schema = jsonschema::validator_for(&editor_schema()).unwrap();
    for file in [
        "tests/pipeline/all.toml",
        "fdroid-bb.toml",
        "pipelines/f-droid.toml",
        "example/fdroid-bb.toml",
    ] {
        let text = fs::read_to_string(Path::new(PROJECT).join(file)).unwrap();
        let document: toml::Value = toml::from_str(&text).unwrap();
        let document = serde_json::to_value(document).unwrap();
        let errors: Vec<String> = schema
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors, [""; 0], "{file}");
    }
    for wrong in [json!({ "title": 1 }), json!({ "surprise": true })] {
        assert!(!schema.is_valid(&json!({ "masters": { "main": wrong } })), "{wrong}");
    }
}
