//! Sets whose files are not what this program wrote, and what `plan` and `diff` make of them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

mod common;

use std::fs;

use common::state::set;
use common::{DESCRIPTION, Sandbox};
use fdroid_bb::model::{Key, Kind, Model, Unread};
use proptest::prelude::*;
use serde_json::Value;

const CONFIG: &str = "generated/masters/main/master.cfg";
const POLLERS: &str = "generated/masters/main/pollers.py";
const MODEL: &str = "generated/masters/model.json";

fn generated() -> Sandbox {
    let sandbox = Sandbox::new(&["org.example.a", "org.example.b"]);
    sandbox.run(&["generate"]).ends(0);
    sandbox
}

fn edit(sandbox: &Sandbox, path: &str, from: &str, to: &str) {
    let text = sandbox.get(path);
    assert!(text.contains(from), "{text}");
    sandbox.put(path, text.replacen(from, to, 1));
}

#[test]
fn a_file_edited_by_hand_is_named_and_shown_as_text() {
    let sandbox = generated();
    fs::rename(sandbox.path("generated"), sandbox.path("old")).unwrap();
    sandbox.run(&["generate"]).ends(0);
    edit(&sandbox, CONFIG, "c[\"title\"] = \"Main\"", "c[\"title\"] = \"\u{1b}[31m\" + f(1)");
    let run = sandbox.run(&["plan"]).ends(0);
    assert_eq!(
        run.stdout,
        "no changes, 1 file edited by hand\n\n\
         Shown as text\n  \
         main/master.cfg: edited by hand, so what it does is not analysed\n      \
         --- old\n      \
         +++ new\n      \
         @@ -23,5 +23,5 @@\n       \
         c = BuildmasterConfig = {}\n       \
         \n      \
         -c[\"title\"] = \"\\u{1b}[31m\" + f(1)\n      \
         +c[\"title\"] = \"Main\"\n       \
         c[\"titleURL\"] = \"http://localhost:8010/\"\n       \
         c[\"buildbotURL\"] = \"http://localhost:8010/\"\n"
    );
    // What the description says is still compared, whatever the file holds.
    sandbox.put("fdroid-bb.toml", DESCRIPTION.replace("\"Main\"", "\"Other\""));
    let run = sandbox.run(&["plan"]).ends(0);
    assert!(run.stdout.contains("\"Main\" → \"Other\" (fdroid-bb.toml:6)"), "{}", run.stdout);
    let run = sandbox.run(&["diff", "old", "generated", "--format", "markdown"]).ends(0);
    assert!(run.stdout.contains("\n```diff\n--- "), "{}", run.stdout);
    let run = sandbox.run(&["diff", "old", "generated", "--format", "json"]).ends(0);
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["changes"], Value::Array(Vec::new()));
    assert_eq!(json["files"][0]["file"], "main/master.cfg");
    assert_eq!(json["files"][0]["edited"], true);
    let run = sandbox.run(&["plan", "--limit", "500"]).ends(0);
    assert!(run.stdout.ends_with("Left out, for there is no room: 1 shown as text.\n"));
}

#[test]
fn nobody_knows_the_pollers_of_an_edited_file() {
    let sandbox = generated();
    edit(&sandbox, POLLERS, "POLLERS = [", "POLLERS = [x for x in []] + [");
    sandbox.app("org.example.c", &["UpdateCheckMode: Tags"]);
    // This one's poller cannot be told from what somebody wrote there.
    sandbox.put("fdroiddata/metadata/org.example.a.yml", "Repo: [\n");
    let run = sandbox.run(&["plan", "--accept-vanishing"]).ends(0);
    assert!(run.stdout.starts_with("no changes, 1 file edited by hand\n"), "{}", run.stdout);
    assert!(run.stdout.contains("+    git(\"org.example.c\", "), "{}", run.stdout);
    assert!(run.stdout.contains("-    git(\"org.example.a\", "), "{}", run.stdout);
    assert!(!run.stderr.contains("keeps the poller"), "{}", run.stderr);
}

#[test]
fn a_set_without_its_model_is_compared_as_text() {
    let sandbox = generated();
    sandbox.app("org.example.c", &["UpdateCheckMode: Tags"]);
    let plan = |why: &str| {
        let run = sandbox.run(&["plan"]).ends(0);
        assert!(run.stdout.starts_with("no changes, not analysed"), "{}", run.stdout);
        let said =
            format!("\nThe old set cannot be analysed: {why}; what differs is shown as text");
        assert!(run.stdout.contains(&said), "{}", run.stdout);
        assert!(run.stdout.contains("\n  main/pollers.py: not analysed\n"), "{}", run.stdout);
        assert!(run.stdout.contains("\n      +    git(\"org.example.c\", "), "{}", run.stdout);
        assert!(!run.stdout.contains("main/master.cfg"), "{}", run.stdout);
    };
    let manifest = "generated/masters/manifest.json";
    let (model, listed) = (sandbox.get(MODEL), sandbox.get(manifest));
    sandbox.put(MODEL, format!("{model} "));
    plan("its `model.json` was edited by hand");

    // One of an earlier version lists none, and one may have been written by a later version.
    let mut json: Value = serde_json::from_str(&listed).unwrap();
    json["files"].as_object_mut().unwrap().remove("model.json");
    sandbox.put(manifest, json.to_string());
    plan("it has no `model.json`");
    let later = model.replacen("\"format\": 1", "\"format\": 2", 1);
    json["files"]["model.json"] = fdroid_bb::write::digest(later.as_bytes()).into();
    sandbox.put(MODEL, later);
    sandbox.put(manifest, json.to_string());
    plan("its `model.json` is damaged: its format is 2, not 1");
}

/// What is read of a set with this model.
fn read(model: &str) -> Model {
    let files = [("model.json", model), ("main/pollers.py", "    git(\"a\", \"b\"),\n")];
    Model::read(&set(files.map(|(path, text)| (path.to_owned(), text.to_owned()))))
}

#[test]
fn a_damaged_model_is_refused() {
    let object = r#"{"kind": "lock", "master": "m", "name": "n", "origins": [], "fields": {}}"#;
    let with =
        |objects: &str| format!(r#"{{"format":1,"description":{{}},"objects":[{objects}]}}"#);
    assert_eq!(read(&with(object)).unread, None);
    let twice = read(&with(&format!("{object},{object}")));
    let [Key { kind: Kind::Lock, .. }] = twice.collisions.as_slice() else { panic!("{twice:?}") };
    for damaged in [
        "",
        "[]",
        r#"{"format": 1}"#,
        &with("1"),
        &with(&object.replace("lock", "clock")),
        &with(&object.replace("{}", r#"{"x": {"value": 1, "more": 2}}"#)),
        &with(&object.replace("{}", &format!(r#"{{"x": {{"value": {}"#, "[".repeat(100_000)))),
        &format!("{}{}", with(object), " ".repeat(16 << 20)),
    ] {
        let model = read(damaged);
        let is_damaged = matches!(model.unread, Some(Unread::Damaged(_)));
        assert!(is_damaged && model.pollers.is_empty(), "{}", &damaged[..damaged.len().min(200)]);
    }
}

proptest! {
    #[test]
    fn nothing_panics(text: String, at in 0..1_000_usize) {
        let _ = read(&text);
        // Also what is nearly a model.
        let whole = include_str!("../generated/masters/model.json");
        let at = whole.floor_char_boundary(at * whole.len() / 1_000);
        let _ = read(&format!("{}{text}{}", &whole[..at], &whole[at..]));
    }
}

#[test]
fn code_of_the_site_is_listed_and_shown_as_text() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.put(
        "fdroid-bb.toml",
        DESCRIPTION.replace("url = \"http:", "extra = \"our.py\"\nurl = \"http:"),
    );
    let run = sandbox.run(&["check"]).ends(1);
    assert!(run.stderr.contains("the file `our.py` cannot be read"), "{}", run.stderr);
    sandbox.put("our.py", "c[\"title\"] = \"Ours\"\n");
    sandbox.run(&["generate"]).ends(0);
    assert!(sandbox.get("generated/masters/manifest.json").contains("\"main/extra.py\""));
    assert!(sandbox.get(CONFIG).ends_with("with_name(\"extra.py\")), {\"c\": c})\n"));
    sandbox.put("our.py", "c[\"title\"] = \"Theirs\"\n");
    let run = sandbox.run(&["plan"]).ends(0);
    for line in [
        "main/extra.py: the site's own code, not analysed",
        "-c[\"title\"] = \"Ours\"",
        "+c[\"title\"] = \"Theirs\"",
    ] {
        assert!(run.stdout.contains(line), "{}", run.stdout);
    }
}
