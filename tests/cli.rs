//! The real program on folders and repositories of its own, hostile ones too.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests"
)]

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{DESCRIPTION, PROJECT, Run, Sandbox, git};
use insta::assert_snapshot;
use serde_json::{Value, json};

/// Runs a program with `text` as its input and gives its output.
fn pipe(program: &str, arguments: &[&str], text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input");
    fs::write(&file, text).unwrap();
    let output =
        Command::new(program).args(arguments).stdin(File::open(&file).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The calls in the `POLLERS` of a file, as Python itself reads them.
fn pollers(text: &str) -> Value {
    let program = "
import ast, json, sys
tree = ast.parse(sys.stdin.buffer.read().decode())
[found] = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == 'POLLERS']
print(json.dumps([
    [call.func.id, *map(ast.literal_eval, call.args), {k.arg: ast.literal_eval(k.value) for k in call.keywords}]
    for call in found.elts
]))";
    serde_json::from_str(&pipe("python3", &["-c", program], text)).unwrap()
}

#[test]
fn exit_codes() {
    let sandbox = Sandbox::new(&["org.example.a", "org.example.b"]);
    sandbox.run(&["generate"]).ends(0);
    sandbox.run(&["generate", "--check"]).ends(0);
    sandbox.app("org.example.c", &["UpdateCheckMode: Tags", "Unknown: field"]);
    sandbox.run(&["generate", "--check"]).ends(2);
    sandbox.run(&["check"]).ends(0);
    sandbox.run(&["check", "--deny-warnings"]).ends(3);
    sandbox.run(&["generate", "--deny-warnings"]).ends(3);
    sandbox.run(&["generate"]).ends(0);
    fs::remove_file(sandbox.path("fdroiddata/metadata/org.example.a.yml")).unwrap();
    sandbox.run(&["generate"]).ends(4);
    sandbox.run(&["check", "--config", "none.toml"]).ends(1);
    for wrong in [&["generat"][..], &["check", "--colour"], &["apps", "--format", "xml"], &[]] {
        let run = sandbox.run(wrong).ends(64);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty());
    }
}

#[test]
fn generate_says_what_it_did() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    let stale = sandbox.run(&["generate", "--out", "an output", "--check"]).ends(2);
    assert!(!sandbox.path("an output").exists());
    assert_eq!(
        stale.stderr,
        "to update it: fdroid-bb generate --config fdroid-bb.toml --fdroiddata fdroiddata --out \
         'an output'\n"
    );
    assert!(
        stale.stdout.contains("an output/masters: ") && stale.stdout.contains(" would be added")
    );
    sandbox.run(&["generate"]).ends(0);
    let mut seen = sandbox.run(&["generate", "--check"]).ends(0).seen();
    sandbox.app("org.example.b", &["UpdateCheckMode: None"]);
    sandbox.app("org.example.c", &["UpdateCheckMode: Tags", "Disabled: no more"]);
    seen += &sandbox.run(&["generate"]).ends(0).seen();
    fs::remove_file(sandbox.path("fdroiddata/metadata/org.example.a.yml")).unwrap();
    seen += &sandbox.run(&["generate"]).ends(4).seen();
    let before = sandbox.files("generated");
    seen += &sandbox.run(&["generate", "--check"]).ends(2).seen();
    assert_eq!(sandbox.files("generated"), before);
    seen += &sandbox.run(&["generate", "--accept-vanishing"]).ends(0).seen();
    assert_snapshot!(seen);
}

#[test]
fn one_more_app_is_one_more_line() {
    let sandbox = Sandbox::new(&["org.example.a", "org.example.c"]);
    sandbox.commit();
    sandbox.run(&["generate"]).ends(0);
    let before = sandbox.files("generated/masters");
    let inode = |name| fs::metadata(sandbox.path(name)).unwrap().ino();
    let master = inode("generated/masters/main/master.cfg");

    sandbox.app("org.example.b", &["UpdateCheckMode: Tags"]);
    sandbox.commit();
    sandbox.run(&["generate"]).ends(0);
    let after = sandbox.files("generated/masters");
    let changed: Vec<&str> =
        after.iter().filter(|(k, v)| before.get(*k) != Some(v)).map(|(k, _)| k.as_str()).collect();
    assert_eq!(changed, ["main/pollers.py", "manifest.json", "provenance.json"]);
    assert_eq!(before.len(), after.len());
    assert_eq!(inode("generated/masters/main/master.cfg"), master);
    let lines = |files: &std::collections::BTreeMap<String, Vec<u8>>| -> Vec<String> {
        let text = String::from_utf8(files["main/pollers.py"].clone()).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    };
    let (old, new) = (lines(&before), lines(&after));
    let added: Vec<&String> = new.iter().filter(|line| !old.contains(line)).collect();
    assert_eq!(
        added,
        [r#"    git("org.example.b", "https://git.example.org/org.example.b.git", tags=""),"#]
    );
    assert_eq!(
        new.iter().filter(|line| *line != added[0]).collect::<Vec<_>>(),
        old.iter().collect::<Vec<_>>()
    );

    // A commit that changes nothing that counts.
    sandbox.put("fdroiddata/README.md", "more");
    sandbox.commit();
    sandbox.run(&["generate"]).ends(0);
    let later = sandbox.files("generated/masters");
    let changed: Vec<&String> =
        later.iter().filter(|(k, v)| after.get(*k) != Some(v)).map(|(k, _)| k).collect();
    assert_eq!(changed, ["provenance.json"]);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let sandbox = Sandbox::new(&["org.example.b", "org.example.A", "a.b", "org.example.c"]);
    sandbox.put("fdroiddata/metadata/org.example.bad.yml", "a: [");
    fs::create_dir(sandbox.path("plain")).unwrap();
    pipe(
        "cp",
        &[
            "-r",
            sandbox.path("fdroiddata/metadata").to_str().unwrap(),
            sandbox.path("plain").to_str().unwrap(),
        ],
        "",
    );
    sandbox.commit();
    git(&sandbox.path("."), &["clone", "-q", "--bare", "fdroiddata", "bare.git"]);
    let mut outputs = Vec::new();
    for (i, (source, settings)) in [
        (&["--fdroiddata=fdroiddata"][..], [("TZ", "UTC"), ("LANG", "C"), ("COLUMNS", "200")]),
        (
            &["--fdroiddata=fdroiddata"],
            [("TZ", "Asia/Kathmandu"), ("LC_ALL", "tr_TR.UTF-8"), ("COLUMNS", "40")],
        ),
        (
            &["--fdroiddata=bare.git", "--rev=master"],
            [("TZ", "UTC"), ("LANG", "de_DE"), ("HOME", "/nonexistent")],
        ),
        (&["--fdroiddata=bare.git"], [("TZ", ""), ("LANG", ""), ("COLUMNS", "")]),
        (&["--fdroiddata=plain"], [("TZ", "UTC"), ("LANG", "C"), ("COLUMNS", "20")]),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("out{i}");
        let run = Run::of(
            sandbox.command(&[&["generate", "--out", &out][..], source].concat()).envs(settings),
        )
        .ends(0);
        let mut files = sandbox.files(&out);
        files.remove("masters/provenance.json").unwrap();
        outputs.push((files, run.stderr));
    }
    // On one processor there is one thread; above there was one for each.
    let mut alone = std::process::Command::new("taskset");
    let alone = alone.args(["-c", "0", env!("CARGO_BIN_EXE_fdroid-bb")]);
    alone.args(["generate", "--fdroiddata=fdroiddata", "--out=alone"]);
    Run::of(alone.current_dir(sandbox.path("."))).ends(0);
    let mut files = sandbox.files("alone");
    files.remove("masters/provenance.json").unwrap();
    assert!(files == outputs[0].0);
    for other in &outputs[1..] {
        assert!(*other == outputs[0], "{} / {}", other.1, outputs[0].1);
    }
}

#[test]
fn broken_files_leave_the_others_alone() {
    let sandbox = Sandbox::new(&["org.example.a", "org.example.b"]);
    sandbox.put("fdroiddata/metadata/org.example.broken.yml", "Repo: [\n");
    let run = sandbox.run(&["generate"]).ends(0);
    assert!(run.stderr.contains("metadata/org.example.broken.yml:"), "{}", run.seen());
    assert_eq!(
        pollers(&sandbox.get("generated/masters/main/pollers.py")).as_array().unwrap().len(),
        2
    );
    for wanted in ["check", "apps", "generate"] {
        sandbox.run(&[wanted, "--strict"]).ends(1);
        sandbox.run(&[wanted, "--deny-warnings"]).ends(3);
    }
}

/// Files that no honest fdroiddata has, and what else a hostile one may hold.
fn hostile() -> Sandbox {
    let sandbox = Sandbox::new(&["org.example.a"]);
    let metadata = sandbox.path("fdroiddata/metadata");
    symlink("/etc/passwd", metadata.join("link.out.yml")).unwrap();
    symlink("../../fdroid-bb.toml", metadata.join("link.up.yml")).unwrap();
    symlink("org.example.a.yml", metadata.join("link.sibling.yml")).unwrap();
    symlink("link.loop.yml", metadata.join("link.loop.yml")).unwrap();
    for name in
        ["-x.yml", "a b.yml", "a..b.yml", "a\nb.yml", ".yml", "{{a}}.yml", "..yml", "\u{202e}a.yml"]
    {
        fs::write(metadata.join(name), "UpdateCheckMode: Tags\n").unwrap();
    }
    fs::write(metadata.join(OsStr::from_bytes(b"a\xff.yml")), "").unwrap();
    fs::create_dir(metadata.join("folder.yml")).unwrap();
    fs::write(metadata.join("folder.yml/a"), "").unwrap();
    sandbox.put("fdroiddata/metadata/org.example.large.yml", vec![b'a'; 50 << 20]);
    sandbox.put("fdroiddata/srclibs/Loop.yml", "RepoType: srclib\nRepo: Loop\n");
    sandbox.put(
        "fdroiddata/metadata/org.example.loop.yml",
        "RepoType: srclib\nRepo: Loop\nUpdateCheckMode: Tags\n",
    );
    sandbox.put(
        "fdroiddata/metadata/org.example.none.yml",
        "RepoType: srclib\nRepo: ../metadata/a\nUpdateCheckMode: Tags\n",
    );
    sandbox
}

#[test]
fn hostile_trees() {
    let sandbox = hostile();
    // git knows neither pipes nor sockets, so it is a folder alone that can have one.
    pipe("mkfifo", &[sandbox.path("fdroiddata/metadata/fifo.yml").to_str().unwrap()], "");
    let folder = sandbox.run(&["check"]).ends(0);
    assert_snapshot!(folder.seen());
    fs::remove_file(sandbox.path("fdroiddata/metadata/fifo.yml")).unwrap();
    let folder = sandbox.run(&["check"]).ends(0);
    sandbox.commit();
    let revision = sandbox.run(&["check", "--rev", "HEAD"]).ends(0);
    assert_eq!(folder.stderr, revision.stderr);
}

#[test]
fn files_that_cannot_be_read() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.run(&["check", "--fdroiddata", "none"]).ends(1);
    sandbox.run(&["check", "--fdroiddata", "fdroid-bb.toml"]).ends(1);
    sandbox.run(&["check", "--fdroiddata", "fdroiddata/metadata"]).ends(1);
    sandbox.commit();
    for rev in ["none", "--upload-pack=x", "HEAD:metadata", "", "HEAD^{tree}", "@{-1}"] {
        let run = sandbox.run(&["check", &format!("--rev={rev}")]).ends(1);
        assert!(run.stderr.starts_with("error[fdroiddata-missing]: "), "{}", run.seen());
    }
    sandbox.run(&["check", "--rev", "--upload-pack=x"]).ends(64);
    // Links in the place of folders lead out of the tree.
    for folder in ["metadata", "srclibs"] {
        let sandbox = Sandbox::new(&["org.example.a"]);
        let _ =
            fs::rename(sandbox.path(&format!("fdroiddata/{folder}")), sandbox.path("elsewhere"));
        symlink("../elsewhere", sandbox.path(&format!("fdroiddata/{folder}"))).unwrap();
        let run = sandbox.run(&["check"]).ends(1);
        assert!(run.stderr.starts_with("error[fdroiddata-missing]: "), "{}", run.seen());
    }
}

#[test]
fn hostile_values_are_values() {
    let sandbox = Sandbox::new(&[]);
    let patterns = [
        r#"^v"1'$"#,
        r"^\d+\n$",
        "{{ 7 }}",
        r#"""""#,
        "%s%(a)s",
        "\u{202e}é",
        r"a\\b",
        "{# x #}{% raw %}",
    ];
    for (i, pattern) in patterns.iter().enumerate() {
        let quoted = serde_json::to_string(&format!("Tags {pattern}")).unwrap();
        sandbox.app(&format!("p{i}"), &[&format!("UpdateCheckMode: {quoted}")]);
    }
    sandbox.app("q.branch", &["UpdateCheckMode: RepoManifest/a'b\"c{{d}}"]);
    sandbox.app("q.dash", &["UpdateCheckMode: RepoManifest/--foo"]);
    sandbox.app("q.ahead", &["UpdateCheckMode: Tags ^(?!a)b"]);
    sandbox.app("q.line", &[r#"UpdateCheckMode: "Tags a\nimport os""#]);
    for (i, repo) in [
        "ext::sh -c touch% /tmp/x",
        "--upload-pack=x",
        "https://127.1/",
        "https://a.example.org/\\\"); import os; (\\\"",
        "file:///etc",
        "https://[::1]/",
        "https://u:p@example.org/",
        "https://example.org/\\u2028",
    ]
    .iter()
    .enumerate()
    {
        sandbox.put(
            &format!("fdroiddata/metadata/r{i}.yml"),
            format!("RepoType: git\nRepo: \"{repo}\"\nUpdateCheckMode: Tags\n"),
        );
    }
    let run = sandbox.run(&["generate"]).ends(0);
    for i in 0..8 {
        assert!(run.stderr.contains(&format!("metadata/r{i}.yml:2:")), "{i}: {}", run.seen());
    }
    for id in ["q.dash", "q.ahead", "q.line"] {
        assert!(run.stderr.contains(&format!("metadata/{id}.yml:3:")), "{id}: {}", run.seen());
    }
    let found = pollers(&sandbox.get("generated/masters/main/pollers.py"));
    let url = |id: &str| format!("https://git.example.org/{id}.git");
    let written = |id: &str| {
        found.as_array().unwrap().iter().find(|poller| poller[1] == id).cloned().unwrap_or_default()
    };
    // Braces are written for RE2 as text; all else stands as it was.
    let tags = [
        r#"^v"1'$"#,
        r"^\d+\n$",
        r"\{\{ 7 \}\}",
        r#"""""#,
        r"%s%(a)s",
        "\u{202e}é",
        r"a\\b",
        r"\{# x #\}\{% raw %\}",
    ];
    for (i, tags) in tags.iter().enumerate() {
        let id = format!("p{i}");
        assert_eq!(written(&id), json!(["git", id, url(&id), { "tags": tags }]));
    }
    assert_eq!(
        written("q.branch"),
        json!(["git", "q.branch", url("q.branch"), { "branch": "a'b\"c{{d}}" }])
    );
    assert_eq!(written("q.ahead"), json!(["git", "q.ahead", url("q.ahead"), { "tags": "" }]));
    assert_eq!(found.as_array().unwrap().len(), tags.len() + 2);
}

#[test]
fn init_writes_what_compiles() {
    let sandbox = Sandbox::new(&[]);
    fs::remove_file(sandbox.path("fdroid-bb.toml")).unwrap();
    let example = Path::new(PROJECT).join("example/fdroiddata");
    let run = sandbox.run(&["init"]).ends(0);
    assert_eq!(
        run.seen(),
        "exit 0\n--- stdout ---\nwrote fdroid-bb.toml\n\
         next: fdroid-bb check --config fdroid-bb.toml --fdroiddata PATH\n"
    );
    let written = sandbox.get("fdroid-bb.toml");
    let again = sandbox.run(&["init"]).ends(1);
    assert_eq!(
        again.seen(),
        "exit 1\n--- stderr ---\n\
         error: `fdroid-bb.toml` cannot be written: File exists (os error 17)\n\
         help: give another file with `--config FILE`\n"
    );
    assert_eq!(sandbox.get("fdroid-bb.toml"), written);
    sandbox.run(&["generate", "--fdroiddata", example.to_str().unwrap()]).ends(0);
}

/// The object a schema is of, behind references and alternatives.
fn objects<'a>(root: &'a Value, schema: &'a Value, found: &mut Vec<&'a Value>) {
    if let Some(name) = schema["$ref"].as_str() {
        objects(root, &root["$defs"][name.trim_start_matches("#/$defs/")], found);
    }
    for key in ["anyOf", "oneOf"] {
        for branch in schema[key].as_array().into_iter().flatten() {
            objects(root, branch, found);
        }
    }
    found.push(schema);
}

/// Holds a TOML value against a schema: every key must be known; `used` gathers which were set.
fn walk(root: &Value, schema: &Value, value: &toml::Value, way: &str, used: &mut BTreeSet<String>) {
    let mut found = Vec::new();
    objects(root, schema, &mut found);
    match value {
        // The name of a value.
        toml::Value::Table(table) if table.len() == 1 && table.contains_key("value") => {}
        toml::Value::Table(table) => {
            for (key, value) in table {
                let known = found.iter().find_map(|s| s["properties"].get(key));
                let named = found.iter().find_map(|s| {
                    s["patternProperties"]
                        .as_object()
                        .and_then(|p| p.values().next())
                        .or_else(|| s.get("additionalProperties").filter(|s| s.is_object()))
                });
                match (known, named) {
                    (Some(schema), _) => {
                        let way = format!("{way}.{key}");
                        used.insert(way.clone());
                        walk(root, schema, value, &way, used);
                    }
                    (None, Some(schema)) => walk(root, schema, value, &format!("{way}.*"), used),
                    (None, None) if way.starts_with(".values.") => {}
                    (None, None) => panic!("{way}.{key} is not in the schema"),
                }
            }
        }
        toml::Value::Array(items) => {
            // What is shared is judged where it is used.
            let Some(schema) = found.iter().find_map(|s| s.get("items")) else { return };
            for item in items {
                walk(root, schema, item, way, used);
            }
        }
        _ => {}
    }
}

/// Every way to a key that a schema allows.
fn ways(root: &Value, schema: &Value, way: &str, all: &mut BTreeSet<String>) {
    let mut found = Vec::new();
    objects(root, schema, &mut found);
    for schema in found {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            let way = format!("{way}.{key}");
            ways(root, inner, &way, all);
            all.insert(way);
        }
        if schema["items"].is_object() {
            ways(root, &schema["items"], way, all);
        }
        let named = schema["patternProperties"].as_object().and_then(|p| p.values().next());
        let named = named.or_else(|| schema.get("additionalProperties").filter(|s| s.is_object()));
        if let Some(inner) = named {
            ways(root, inner, &format!("{way}.*"), all);
        }
    }
}

#[test]
fn the_schema_is_the_one_that_is_shipped_and_knows_every_key() {
    let printed = Run::new(Path::new(PROJECT), &["schema"]).ends(0).stdout;
    let path = Path::new(PROJECT).join("schema/fdroid-bb.schema.json");
    assert!(
        printed == fs::read_to_string(path).unwrap(),
        "run `fdroid-bb schema > schema/fdroid-bb.schema.json`"
    );
    let schema = fdroid_bb::config::schema();
    let mut all = BTreeSet::new();
    ways(&schema, &schema, "", &mut all);
    // Steps and properties have their examples in builders.
    all.retain(|way| !way.starts_with(".step-lists.*.") && !way.starts_with(".property-sets.*."));
    assert!(all.contains(".builders.*.steps.git.url"), "{all:?}");
    let text = fs::read_to_string(Path::new(PROJECT).join("tests/pipeline/all.toml")).unwrap();
    let mut used = BTreeSet::new();
    walk(&schema, &schema, &toml::from_str(&text).unwrap(), "", &mut used);
    let left: Vec<&String> = all.difference(&used).collect();
    assert!(left.is_empty(), "no example of {left:?}");
}

#[test]
fn every_key_has_its_effect() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    let all = Path::new(PROJECT).join("tests/pipeline/all.toml");
    let run = sandbox.run(&["generate", "--config", all.to_str().unwrap()]).ends(0);
    assert_eq!(run.stderr, "");
    let mut text = sandbox.get("generated/masters/main/master.cfg");
    pipe("python3", &["-c", "import ast, sys; ast.parse(sys.stdin.buffer.read())"], &text);
    assert!(text.lines().count() < 600);
    assert_snapshot!("main.master.cfg", text);
    text = sandbox.get("generated/masters/proxied/master.cfg");
    assert_snapshot!("proxied.master.cfg", text);
    for (name, class) in [("forge", "GitLabLogin("), ("hub", "GitHubLogin(")] {
        text = sandbox.get(&format!("generated/masters/{name}/master.cfg"));
        let login = text.find(class).expect("a login");
        let end = text[login..].find("\n\n").expect("an end");
        assert_snapshot!(format!("{name}.master.cfg"), &text[login..login + end]);
    }
    assert_snapshot!("main.pollers.py", sandbox.get("generated/masters/main/pollers.py"));
}

#[test]
fn apps_for_machines() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.app("org.example.off", &["Disabled: |-\n  why\n  not", "UpdateCheckMode: Tags"]);
    sandbox.put(
        "fdroiddata/metadata/org.example.full.yml",
        "RepoType: hg\nRepo: https://hg.example.org/full\nBuilds:\n  - versionName: '1.0'\n    \
         versionCode: 1\n    commit: v1.0\n    disable: broken\n    timeout: 60\nArchivePolicy: 3\n\
         AutoUpdateMode: Version\nUpdateCheckMode: RepoManifest/stable\nUpdateCheckData: \
         a|b|.|c\nUpdateCheckName: Ignore\nUpdateCheckIgnore: beta\nVercodeOperation:\n  - '%c*10'\n\
         CurrentVersion: '1.0'\nCurrentVersionCode: 1\n",
    );
    sandbox.put("fdroiddata/metadata/org.example.x y.yml", "UpdateCheckMode: Tags\n");
    let run = sandbox.run(&["apps", "--format", "json"]).ends(0);
    assert_eq!(run.stderr, "");
    let lines: Vec<Value> = run.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let expected = "id Repo RepoType Disabled UpdateCheckMode AutoUpdateMode ArchivePolicy CurrentVersion \
         CurrentVersionCode UpdateCheckData UpdateCheckName UpdateCheckIgnore VercodeOperation Builds \
         active reason poller";
    for line in &lines[..3] {
        assert_eq!(keys(line), expected.split_whitespace().map(ToOwned::to_owned).collect());
    }
    assert_eq!(
        keys(&lines[1]["Builds"][0]),
        ["commit", "disable", "timeout", "versionCode", "versionName"]
            .map(ToOwned::to_owned)
            .into()
    );
    assert_eq!(keys(&lines[3]), ["error", "id"].map(ToOwned::to_owned).into());
    assert_snapshot!(run.stdout);
    assert_snapshot!("apps_for_people", sandbox.run(&["apps"]).ends(0).seen());
}

#[test]
fn json_is_one_document() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    for arguments in [&["check"][..], &["generate"], &["check", "--config", "none"]] {
        let run = sandbox.run(&[arguments, &["--format", "json"]].concat());
        assert_eq!(run.stderr, "");
        let document: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(document["version"], 1);
        assert!(document["findings"].is_array());
    }
    fs::remove_file(sandbox.path("fdroiddata/metadata/org.example.a.yml")).unwrap();
    let run = sandbox.run(&["generate", "--format", "json"]).ends(4);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(document["vanishing"].as_str().unwrap().contains("would vanish"));
    // Where nobody can tell, nothing is written either.
    let old = sandbox.path("generated/masters/main/pollers.py");
    fs::write(&old, b"\xff").unwrap();
    let said = sandbox.run(&["generate"]).ends(4).stderr;
    assert!(said.contains("so nobody can tell which pollers would vanish"), "{said}");
    assert_eq!(fs::read(old).unwrap(), b"\xff");
}

#[test]
fn help_and_completions() {
    let here = Path::new(PROJECT);
    let names = [
        "",
        "generate",
        "check",
        "apps",
        "diff",
        "plan",
        "apply",
        "rollback",
        "watch",
        "explain",
        "graph",
        "capacity",
        "schedule",
        "schema",
        "init",
        "man",
        "completions",
    ];
    for name in names {
        let run = Run::new(
            here,
            &[&[name][..], &["--help"]]
                .concat()
                .into_iter()
                .filter(|w| !w.is_empty())
                .collect::<Vec<_>>(),
        )
        .ends(0);
        assert!(
            run.stdout.contains("Exit codes:") && run.stderr.is_empty(),
            "{name}: {}",
            run.stdout
        );
    }
    for (shell, checker) in [("bash", "bash"), ("zsh", ""), ("fish", "")] {
        let script = Run::new(here, &["completions", shell]).ends(0).stdout;
        assert!(script.contains("accept-vanishing"));
        if !checker.is_empty() {
            pipe(checker, &["-n"], &script);
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let ids: Vec<String> = (0..2_000).map(|n| format!("org.example.a{n}")).collect();
    let sandbox = Sandbox::new(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    for arguments in [
        &["apps"][..],
        &["apps", "--format", "json"],
        &["completions", "bash"],
        &["schema"],
        &["--help"],
    ] {
        let mut child = sandbox
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::with_capacity(1, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("error"), "{arguments:?}: {said}");
    }
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    for arguments in [&["check"][..], &["apps"], &["schema"], &["--help"], &["check", "--help"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let run = Run::of(sandbox.command(arguments).stdout(full).stderr(Stdio::piped())).ends(1);
        let wanted = "error: the result cannot be written: No space left on device";
        assert!(run.stderr.contains(wanted), "{arguments:?}: {}", run.seen());
    }
}

#[test]
fn colour_is_for_terminals() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.put("fdroiddata/metadata/org.example.x.yml", "a: [\n");
    for arguments in [&["check"][..], &["apps"], &["generate"], &["--help"], &["nonsense"]] {
        let run = sandbox.run(arguments);
        assert!(!run.stdout.contains('\u{1b}') && !run.stderr.contains('\u{1b}'), "{}", run.seen());
    }
}

#[test]
fn a_description_may_have_any_name() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.put("a b'c.toml", DESCRIPTION.replace("local = {}", "lokal = {}"));
    let run = sandbox.run(&["check", "--config", "a b'c.toml"]).ends(1);
    assert!(run.stderr.contains("lokal = {}") && run.stderr.contains("did you mean `local`?"));
}

#[test]
fn a_tree_that_names_a_file_twice_gives_one_poller() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.commit();
    // No git makes such a tree by itself, but any git keeps one.
    let script = r"
        blob=$(git rev-parse HEAD:metadata/org.example.a.yml)
        entry() { printf '100644 blob %s\torg.example.a.yml\n' $blob; }
        metadata=$( (entry; entry) | git mktree)
        root=$(printf '040000 tree %s\tmetadata\n' $metadata | git mktree)
        git update-ref refs/heads/twice $(git commit-tree -m twice $root)
    ";
    let made = std::process::Command::new("sh")
        .args(["-euc", script])
        .current_dir(sandbox.path("fdroiddata"))
        .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
        .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@example.org")])
        .status()
        .unwrap();
    assert!(made.success());
    let run = sandbox.run(&["apps", "--rev", "twice", "--format", "json"]).ends(0);
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.seen());
}

#[test]
fn an_app_is_explained() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.app("org.example.b", &["UpdateCheckMode: None"]);
    let run = sandbox.run(&["explain", "org.example.a"]).ends(0);
    assert!(run.stdout.starts_with("org.example.a\n  active    "), "{}", run.stdout);
    assert!(run.stdout.contains("  news      any new or moved tag\n"));
    assert!(run.stdout.contains("  tag       `v1.2` would start that\n"));
    let run = sandbox.run(&["explain", "org.example.b"]).ends(0);
    let expected = "org.example.b\n  inactive  no update check (metadata/org.example.b.yml:";
    assert!(run.stdout.starts_with(expected), "{}", run.stdout);
    let run = sandbox.run(&["explain", "org.example.aa"]).ends(1);
    assert!(run.stderr.contains("did you mean `org.example.a`?"));
    let run = sandbox.run(&["explain", "--format", "json", "org.example.a"]).ends(0);
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&told["active"], &told["poller"]["tag-is-news"]), (&json!(true), &json!(true)));
    let next = told["poller"]["next-poll"].as_u64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!((1..=21_600).contains(&(next - now.as_secs() + 1)));
}

#[test]
fn what_is_paused_is_told_of_an_app() {
    let sandbox = Sandbox::new(&["org.example.a", "org.example.b"]);
    let explain = ["explain", "org.example.b", "--basedirs", "."];
    assert!(!sandbox.run(&explain).ends(0).stdout.contains("paused"));
    fs::create_dir(sandbox.path("main")).unwrap();
    sandbox.run(&["pause", "--app", "org.example.a", "--reason", "its owner asks"]).ends(0);
    assert!(!sandbox.run(&explain).ends(0).stdout.contains("paused"));
    sandbox.run(&["pause", "--app", "org.example.b", "--reason", "its\u{1b} owner"]).ends(0);
    sandbox.run(&["pause", "--all", "--reason", "the disk is full"]).ends(0);
    let said = sandbox.run(&explain).ends(0).stdout;
    let expected = "  paused    on `main`: app org.example.b: its\\u{1b} owner\n  paused    on `main`: \
                    everything: the disk is full\n";
    assert!(said.ends_with(expected), "{said}");
    let run =
        sandbox.run(&["explain", "org.example.b", "--basedirs", ".", "--format=json"]).ends(0);
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(told["paused"][1]["reason"], "the disk is full");
}

#[test]
fn every_code_is_explained() {
    let sandbox = Sandbox::new(&[]);
    for code in fdroid_bb::finding::Code::ALL {
        let run = sandbox.run(&["explain", code.as_str()]).ends(0);
        assert!(run.stdout.starts_with(&format!("{} (", code.as_str())));
        assert_eq!(run.stdout.lines().count(), 3);
        assert!(run.stdout.lines().skip(1).all(|line| line.ends_with('.')), "{}", run.stdout);
    }
}

#[test]
fn the_documents_show_the_shipped_pipelines() {
    let project = Path::new(PROJECT);
    let description =
        fdroid_bb::compile::description(&project.join("fdroid-bb.toml"), None).unwrap();
    let graph = fdroid_bb::graph::Graph::new(&description.pipeline);
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(project.join(document)).unwrap();
        let drawn = format!("```mermaid\n{}```\n", graph.mermaid());
        assert!(text.contains(&drawn), "{document} is old: put in what `fdroid-bb graph` prints");
    }
    // The same, as Graphviz reads it.
    let (dot, mermaid) = (graph.dot(), graph.mermaid());
    let nodes: Vec<&str> = dot.lines().filter(|line| line.ends_with(']')).skip(1).collect();
    assert!(nodes.iter().all(|line| line.matches('"').count() == 4), "{nodes:?}");
    let labels = |text: &str| -> Vec<String> {
        let quoted = text.lines().filter_map(|line| line.split('"').nth(1));
        quoted.map(str::to_owned).collect()
    };
    assert_eq!(labels(&dot), labels(&mermaid));
    assert_eq!(dot.matches(" -> ").count(), mermaid.matches(" --> ").count());
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
    if Command::new("dot").arg("-V").output().is_ok() {
        let plain = pipe("dot", &["-Tplain"], &dot);
        assert_eq!(plain.matches("\nnode ").count(), nodes.len());
    }
}

#[test]
fn the_capacity_is_told() {
    let sandbox = Sandbox::new(&["org.example.a", "org.example.b"]);
    let run = sandbox.run(&["capacity"]).ends(0);
    assert!(
        run.stdout.starts_with("polls     0.0 a minute: 2 repositories of 2 apps\n"),
        "{}",
        run.stdout
    );
    let run_text = run.stdout;
    let run = sandbox.run(&["capacity", "--format", "json"]).ends(0);
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(told["apps"], 2);
    // Each is checked once a week.
    assert!((told["checks-per-day"].as_f64().unwrap() - 2.0 / 7.0).abs() < 1e-9);
    assert_eq!(told["workers"][0]["builders"][0]["checks"], told["checks-per-day"]);
    let said = "          and 0.3 checks a day when nothing else waits: none is late if one takes ";
    assert!(run_text.contains(said), "{run_text}");
    assert!((told["polls-per-minute"].as_f64().unwrap() - 2.0 / 360.0).abs() < 1e-9);
}

/// A sandbox with findings on several files, some in lines of their own and some on whole files.
fn with_findings() -> Sandbox {
    let sandbox = Sandbox::new(&["org.example.a"]);
    for name in ["b", "c", "d", "e", "f", "g", "h"] {
        sandbox.app(&format!("org.example.{name}"), &["UpdateCheckMode: Tags ^(?!x)"]);
    }
    sandbox.app("org.example.i", &["Unknown: <&\">'"]);
    fs::write(sandbox.path("fdroiddata/metadata/org.example.ä.yml"), "Repo: x\n").unwrap();
    sandbox
}

#[test]
fn findings_of_one_kind_are_grouped() {
    let run = with_findings().run(&["check"]).ends(0);
    assert_eq!(run.stderr.matches("warning[tag-pattern-not-linear]: the pattern").count(), 5);
    let rest = "warning[tag-pattern-not-linear]: 2 more of this kind: \
                metadata/org.example.g.yml:3:18, metadata/org.example.h.yml:3:18";
    assert!(run.stderr.contains(rest), "{}", run.stderr);
}

#[test]
fn reports_are_what_their_readers_expect() {
    let sandbox = with_findings();
    let reports = ["--report=codequality=q.json", "--report=sarif=s.sarif", "--report=junit=j.xml"];
    sandbox.run(&[&["check"][..], &reports].concat()).ends(0);
    let read = |name: &str| fs::read_to_string(sandbox.path(name)).unwrap();

    // Every field of it is known to types that were made from the schema.
    let text: Value = serde_json::from_str(&read("s.sarif")).unwrap();
    let sarif: serde_sarif::sarif::Sarif = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(serde_json::to_value(&sarif).unwrap(), text);
    let results = sarif.runs[0].results.as_ref().unwrap();
    assert_eq!(results.len(), 9);
    assert!(read("s.sarif").contains("metadata/org.example.%C3%A4.yml"));

    let issues: Vec<Value> = serde_json::from_str(&read("q.json")).unwrap();
    assert_eq!(issues.len(), 9);
    let mut prints = BTreeSet::new();
    for issue in &issues {
        let keys: Vec<&str> = issue.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["check_name", "description", "fingerprint", "location", "severity"];
        assert_eq!(keys, expected);
        assert!(issue["location"]["lines"]["begin"].as_u64().unwrap() >= 1);
        assert_eq!(issue["severity"], "minor");
        assert!(prints.insert(issue["fingerprint"].as_str().unwrap().to_owned()));
    }

    let junit = quick_junit::Report::deserialize_from_str(&read("j.xml")).unwrap();
    assert_eq!((junit.tests, junit.failures, junit.test_suites.len()), (9, 9, 3));

    // Without findings they are there as well.
    let clean = Sandbox::new(&["org.example.a"]);
    clean.run(&[&["check"][..], &reports].concat()).ends(0);
    assert_eq!(fs::read_to_string(clean.path("q.json")).unwrap().trim(), "[]");
    // Of an invalid description too.
    fs::write(clean.path("fdroid-bb.toml"), "x = 1\n").unwrap();
    clean.run(&[&["check"][..], &reports].concat()).ends(1);
    let issues: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(clean.path("q.json")).unwrap()).unwrap();
    assert!(issues.iter().any(|issue| issue["severity"] == "critical"));
    for wrong in ["--report=pdf=x", "--report=sarif", "--report=sarif="] {
        clean.run(&["check", wrong]).ends(64);
    }
}

#[test]
fn only_new_findings_fail() {
    let sandbox = with_findings();
    let deny = ["check", "--deny-warnings", "--baseline", "known.json"];
    let run = sandbox.run(&deny).ends(1);
    assert!(run.stderr.contains("help: write one with `--update-baseline`"));
    sandbox.run(&[&deny[..], &["--update-baseline"]].concat()).ends(0);
    let run = sandbox.run(&deny).ends(0);
    assert!(run.stdout.contains("findings  none"), "{}", run.stdout);
    // The same finding on another line is no new one.
    sandbox.app("org.example.b", &["Summary: x", "UpdateCheckMode: Tags ^(?!x)"]);
    sandbox.run(&deny).ends(0);
    sandbox.run(&["check", "--strict", "--baseline", "known.json"]).ends(0);
    sandbox.app("org.example.b", &["UpdateCheckMode: Tags ^(?!y)"]);
    let run = sandbox.run(&deny).ends(3);
    assert_eq!(run.stderr.matches("warning[").count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("1 finding is no longer found of `known.json`"), "{}", run.stderr);
    fs::write(sandbox.path("known.json"), "{}").unwrap();
    assert!(sandbox.run(&deny).ends(1).stderr.contains("is no baseline"));
}

#[test]
fn sets_trees_and_revisions_are_compared() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.commit();
    sandbox.run(&["generate", "--out", "old"]).ends(0);
    sandbox.app("org.example.b", &["UpdateCheckMode: Tags"]);
    sandbox.commit();
    sandbox.run(&["generate", "--out", "new"]).ends(0);
    let first_line = |old: &str, new: &str| {
        let run = sandbox.run(&["diff", old, new]).ends(0);
        run.stdout.lines().next().unwrap().to_owned()
    };
    let expected = "+1 ~0 −0, safe to reconfigure";
    assert_eq!(first_line("old", "new"), expected);
    assert_eq!(first_line("old/masters", "new/masters"), expected);
    assert_eq!(first_line("HEAD~1", "HEAD"), expected);
    assert_eq!(first_line("HEAD~1", "new"), expected);
    assert_eq!(first_line("HEAD", "fdroiddata"), "no changes");
    assert_eq!(first_line("new", "old"), "+0 ~0 −1, safe to reconfigure");

    let run = sandbox.run(&["plan", "--out", "nothing"]).ends(0);
    assert!(run.stdout.contains("poller org.example.a of main: starts with"), "{}", run.stdout);
    assert!(!sandbox.path("nothing").exists());

    let run = sandbox.run(&["diff", "HEAD", "no-such-thing"]).ends(1);
    assert!(run.stderr.contains("`no-such-thing` is no commit"), "{}", run.stderr);
}
