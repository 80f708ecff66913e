//! Each key of a description is changed by itself, and `plan` must name its line and no other.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::PROJECT;
use common::state::{Metadata, of_sources, planned};
use fdroid_bb::compile;
use fdroid_bb::config::{Source, Sources};
use fdroid_bb::diff::{Cause, Diff, What};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const METADATA: Metadata<'static> = &[
    ("org.example.tags", "UpdateCheckMode: Tags\nRepoType: git\nRepo: https://git.example.org/a\n"),
    ("org.example.http", "UpdateCheckMode: HTTP\nRepoType: git\nRepo: https://git.example.org/b\n"),
    ("net.example.manifest", "UpdateCheckMode: RepoManifest\nRepoType: hg\nRepo: http://x.org/c\n"),
    (
        "net.example.disabled",
        "Disabled: no\nUpdateCheckMode: Tags\nRepoType: git\nRepo: https://x.org/d\n",
    ),
    (
        "net.example.archived",
        "ArchivePolicy: 0\nUpdateCheckMode: Tags\nRepoType: git\nRepo: https://x.org/e\n",
    ),
    (
        "net.example.internal",
        "UpdateCheckMode: Tags\nRepoType: git\nRepo: https://git.internal/f\n",
    ),
];

/// What a value becomes, by the end of its key's path: where it is one of few, a reference to
/// something else, or bound to another value.
const OTHER_VALUES: &[(&str, &str)] = &[
    (".chosen", r#""another""#),
    ("apps.update-check-modes", r#"["Tags", "HTTP"]"#),
    ("apps.overrides[0].apps", r#"["org.example.t*"]"#),
    ("apps.overrides[0].hosts", r#"["*.example.org"]"#),
    ("remotes.schemes", r#"["https"]"#),
    ("remotes.allow-hosts", r#"["192.0.2.0/24"]"#),
    (".web.views", r#"["grid", "console"]"#),
    ("masters.main.web.users.admin.roles", r#"["admin"]"#),
    (".allow.view", r#"["admin"]"#),
    (".allow.force", r#"["reader"]"#),
    (".allow.stop", r#"["reader"]"#),
    (".allow.manage", r#"["reader"]"#),
    (".provider", r#""virtualbox""#),
    (".warn-on", "[7]"),
    (".stop-on", "[8]"),
    (".pull", r#""missing""#),
    ("workers.spare.master", r#""main""#),
    ("workers.other.master", r#""proxied""#),
    (".scope", r#""worker""#),
    (".scope", r#""master""#),
    ("builders.build.workers[0].worker", r#""other""#),
    ("builders.build.workers[1]", r#""other""#),
    ("builders.build.workers[2]", r#""other""#),
    ("builders.build.workers[3]", r#""other""#),
    ("builders.build.workers[4]", r#""other""#),
    ("builders.index.workers", r#"["container"]"#),
    ("builders.spare.workers", r#"["container"]"#),
    ("builders.left-out.workers", r#"["spare"]"#),
    ("builders.look.workers", r#"["spare"]"#),
    ("builders.seen.workers", r#"["spare"]"#),
    (".extra", r#""other.py""#),
    (".page", r#""packageId""#),
    (".collapse", r#"["packageName"]"#),
    (".channel.choices", r#"["beta"]"#),
    (".channel.default", r#""stable""#),
    (".ref.type", r#""word""#),
    (".docker.host", r#""tcp://192.0.2.9:2375""#),
    (".weekly.at", r#""04:30""#),
    (".on.after-failure", r#""spare""#),
    ("schedulers.otherwise.builders", r#"["spare"]"#),
    ("masters.forge.web.login.grants[0].roles", r#"["admin"]"#),
    (".limit2.type", r#""integer""#),
    (".packageId.type", r#""text""#),
    (".versionCode.type", r#""seconds""#),
    (".type", r#""text""#),
    (".type", r#""word""#),
    (".with-properties[0]", r#""versionCode""#),
    (".with-properties[1].property", r#""limit2""#),
    (".without-properties[0]", r#""note""#),
    (".without-properties[1]", r#""newest""#),
    (".without-properties[2].property", r#""limit2""#),
    ("schedulers.settled.builders", r#"["spare"]"#),
    (".set-property", r#""uuid""#),
    (".only-if.property", r#""uuid""#),
    (".unless.property", r#""note""#),
    (".timeout.property", r#""limit2""#),
    (".revision", r#""latest""#),
    (".on-failure", r#""continue""#),
    (".on-failure", r#""warn""#),
    (".save-log.step", r#""named""#),
    (".locks.disk-io", r#""exclusive""#),
    (".locks.repo", r#""shared""#),
    (".on", r#""force""#),
    (".on.after", r#""spare""#),
    ("schedulers.news.builders", r#"["build", "index"]"#),
    (".properties.commit", r#""abcdef1""#),
    ("schedulers.plain.builders", r#"["index"]"#),
    ("schedulers.button.builders", r#"["build"]"#),
    ("schedulers.submitted.builders", r#"["build", "index"]"#),
    ("schedulers.then.builders", r#"["spare"]"#),
    (".builders", r#"["look", "seen"]"#),
    ("failures.infrastructure.network-away.steps", r#"["save-log"]"#),
    ("failures.source.does-not-compile.steps", r#"["save-log"]"#),
    (".mail.from", r#""c@example.org""#),
    (".mail.to", r#"["c@example.org"]"#),
];

/// What is put into the description first, so that more of its keys can be changed by themselves.
const MORE: &[(&str, &str)] = &[
    (
        r#"versionCode = 1, note = "a \"note\"""#,
        r#"versionCode = 1, note = "note", limit = 60, commit = "abcdef0", uuid = "u", limit2 = 60, packageId = "a.b""#,
    ),
    ("newest = { type = \"word\" }", "newest = { type = \"word\", optional = true }"),
    (
        "properties.note",
        "properties.packageId = { type = \"app-id\", optional = true }\n\
         properties.limit2 = { type = \"seconds\", optional = true }\n\
         properties.note",
    ),
    ("run = [{ value = \"build\" }", "name = \"named\"\nrun = [{ value = \"build\" }"),
    (
        "[schedulers.button]",
        "[workers.other]\nmaster = \"main\"\nlocal = {}\n\n\
         [workers.spare]\nmaster = \"proxied\"\nlocal = {}\n\n\
         [builders.seen]\nworkers = [\"near\"]\nsteps = [{ run = [\"true\"] }]\n\n\
         [builders.spare]\nworkers = [\"far\"]\nsteps = [{ run = [\"true\"] }]\n\n\
         [schedulers.plain]\non = \"app-source\"\nbuilders = [\"spare\"]\n\n\
         [schedulers.button]",
    ),
];

/// Keys that cannot be changed by themselves, or whose change is not told as that of their line, with
/// the reason why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("builders.left-out.steps[0].run", "it is not chosen"),
    ("builders.left-out.workers", "it is not chosen"),
    ("property-sets.of-builds.limit.type", "a time limit must be in seconds"),
    ("builders.build.properties.packageName.type", "a page is for an app-id"),
    ("builders.build.steps[0].name", "`save-log` names it"),
    ("builders.build.steps[5].download.folder", "only files are copied to workers"),
    ("schedulers.button.on", "its builder needs what only a person gives"),
    ("schedulers.news.on", "it says what only one that waits for changes may"),
    ("builders.of-forge.workers", "its master has no other builder"),
    ("builders.of-hub.workers", "its master has no other builder"),
    ("schedulers.metadata.on", "it says what only one that waits for fdroiddata may"),
    ("schedulers.of-forge.on", "nothing else comes to its master"),
    ("schedulers.of-hub.on", "nothing else comes to its master"),
    ("workers.of-forge.master", "its builders are of that master"),
    ("workers.of-hub.master", "its builders are of that master"),
    ("workers.over-tls.master", "its builders are of that master"),
    ("workers.boxes.master", "its builders are of that master"),
    ("workers.clone.master", "its builders are of that master"),
    ("workers.container.master", "its builders are of that master"),
    ("workers.far.master", "its builders are of that master"),
    ("workers.near.master", "its builders are of that master"),
];

/// What the site's own file does not choose of the shipped pipelines, and its `base`, another of
/// which there is not.
const NOT_CHOSEN: &[&str] = &[
    ":base:",
    ":choices.signing.chosen:",
    ":builders.build.steps[4].",
    ":builders.build.steps[7].",
    ":builders.verify.steps[5].",
    ":builders.verify.steps[8].",
    ":builders.publish.steps[1].",
    ":builders.update.steps[1].",
    ":step-lists.judge[",
    ":step-lists.push[",
    ":step-lists.stages[",
    ":values.gather[",
    ":values.gather:",
    ":values.container",
    ":workers.host.",
];

/// What is said of a change that the description does not allow.
const INVALID: &str = "is invalid here";

/// What other keys refer to.
const SHARED: &[&str] = &["values.", "step-lists.", "property-sets."];

/// What refers to something said elsewhere, whose change is told where that is said; or decides by a
/// choice whether something is there, which then comes or goes as a whole.
fn is_told_elsewhere(path: &str) -> bool {
    [".value", ".use", ".of"].iter().any(|end| path.ends_with(end))
        || [".property-sets", ".when."].iter().any(|part| path.contains(part))
}

/// A key of a description that has a value.
struct Leaf {
    path: String,
    line: usize,
    bytes: Range<usize>,
    text: String,
}

fn leaves(text: &str) -> Vec<Leaf> {
    let table = DeTable::parse(text).unwrap();
    let root = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
    let mut leaves = Vec::new();
    collect(text, "", 0, &root, &mut leaves);
    leaves
}

fn collect(text: &str, path: &str, key: usize, value: &Spanned<DeValue<'_>>, out: &mut Vec<Leaf>) {
    match value.get_ref() {
        DeValue::Table(table) if !table.is_empty() => {
            for (name, value) in table {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{}", name.get_ref());
                collect(text, &path, name.span().start, value, out);
            }
        }
        DeValue::Array(list) if list.iter().any(|v| matches!(v.get_ref(), DeValue::Table(_))) => {
            for (i, value) in list.iter().enumerate() {
                collect(text, &format!("{path}[{i}]"), value.span().start, value, out);
            }
        }
        // Nothing that could be another.
        DeValue::Table(_) => {}
        _ => out.push(Leaf {
            path: path.to_owned(),
            line: text[..key].matches('\n').count() + 1,
            bytes: value.span(),
            text: text[value.span()].to_owned(),
        }),
    }
}

/// Another value for a key.
fn other(leaf: &Leaf) -> String {
    let known = OTHER_VALUES.iter().find(|(end, value)| {
        let rest = leaf.path.strip_suffix(end);
        rest.is_some_and(|rest| rest.is_empty() || end.starts_with('.')) && *value != leaf.text
    });
    if let Some((_, value)) = known {
        return (*value).to_owned();
    }
    let text = &leaf.text;
    if let Ok(number) = text.parse::<i64>() {
        return (number + 1).to_string();
    }
    match text.as_str() {
        "true" => return "false".to_owned(),
        "false" => return "true".to_owned(),
        _ => {}
    }
    // A time, a size, an address with a port, a path: the last digit that is there.
    let digit = text.rfind(|c: char| c.is_ascii_digit());
    let is_measure = |unit: &str| text.ends_with(&format!("{unit}\""));
    let has_number = ["min", "s", "h", "d", "GiB", "MiB"].iter().any(|unit| is_measure(unit))
        || leaf.path.ends_with("listen")
        || leaf.path.ends_with("worker-listen")
        || leaf.path.ends_with("daily");
    match digit.filter(|_| has_number) {
        Some(at) => {
            let new = if &text[at..=at] == "1" { "2" } else { "1" };
            format!("{}{new}{}", &text[..at], &text[at + 1..])
        }
        None if text.starts_with('"') && text.ends_with("/\"") => text.replace("/\"", "/x/\""),
        None if text.starts_with('"') => format!("{}x\"", &text[..text.len() - 1]),
        // A list: without its first, or with one more.
        None => match text.split_once(", ") {
            Some((_, rest)) => format!("[{rest}"),
            None => format!("{}x\"]", &text[..text.len() - 2]),
        },
    }
}

fn changed(text: &str, leaf: &Leaf) -> String {
    format!("{}{}{}", &text[..leaf.bytes.start], other(leaf), &text[leaf.bytes.end..])
}

/// What is told wrongly of the change of one key.
fn wrong(file: &str, leaf: &Leaf, diff: &Diff) -> Option<String> {
    let causes: BTreeSet<Option<&Cause>> = diff
        .changes
        .iter()
        .flat_map(|change| match change.what {
            What::Changed => change.fields.iter().map(|field| field.cause.as_ref()).collect(),
            // What comes or goes as a whole has one cause for all that it has.
            _ => vec![change.cause.as_ref()],
        })
        .collect();
    let lines: BTreeSet<String> = causes
        .iter()
        .map(|cause| match cause.and_then(|cause| cause.place.as_ref()) {
            Some(place) => {
                format!("{}:{}", place.file, place.span.map_or(0, |span| span.line))
            }
            None => "nothing".to_owned(),
        })
        .collect();
    let expected = BTreeSet::from([format!("{file}:{}", leaf.line)]);
    let keys: BTreeSet<&str> =
        causes.iter().filter_map(|cause| cause.as_ref()?.key.as_deref()).collect();
    // What is said once is told by the keys that refer to it.
    let is_shared = SHARED.iter().any(|shared| leaf.path.starts_with(shared));
    // Steps have other numbers once step lists are in place.
    let path = leaf.path.split(".steps[").next().unwrap();
    let is_above = |key: &&str| is_shared || path.starts_with(key) || key.starts_with(path);
    (lines != expected || !keys.iter().all(is_above))
        .then(|| format!("{}:{}: {} says {lines:?}, {keys:?}", leaf.line, leaf.path, other(leaf)))
}

/// How many keys of the description in `file`, with `more` put in, can be changed by themselves; the path of each of which
/// `plan` says something wrong, with what that is. A change that is invalid is said as well.
fn all_wrong(
    file: &str,
    more: &[(&str, &str)],
    sources: impl Fn(&str) -> Sources + Sync,
) -> (usize, Vec<(String, String)>) {
    let text = read(file);
    let text = more.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    let (old, mut leaves) = (of_sources(sources(&text), METADATA), leaves(&text));
    leaves.retain(|leaf| !is_told_elsewhere(&leaf.path));
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let tried = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(leaf) = leaves.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let text = changed(&text, leaf);
                    if let Err(findings) = compile::describe(sources(&text)) {
                        let why = &findings[0].message;
                        let wrong = format!("{}: {} {INVALID}: {why}", leaf.path, other(leaf));
                        found.lock().unwrap().push((leaf.path.clone(), wrong));
                        continue;
                    }
                    tried.fetch_add(1, Ordering::Relaxed);
                    let told = planned(&old, &of_sources(sources(&text), METADATA));
                    let wrong = wrong(file, leaf, &told).map(|wrong| (leaf.path.clone(), wrong));
                    found.lock().unwrap().extend(wrong);
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    found.sort();
    (tried.into_inner(), found)
}

#[test]
fn the_change_of_each_key_is_told_with_its_line() {
    let (tried, wrong) = all_wrong("tests/pipeline/all.toml", MORE, |text| {
        Sources::of_text("tests/pipeline/all.toml", text).unwrap()
    });
    let excepted: BTreeSet<&str> = EXCEPTIONS.iter().map(|(path, _)| *path).collect();
    let (needed, unexpected): (Vec<_>, Vec<_>) =
        wrong.into_iter().partition(|(path, _)| excepted.contains(path.as_str()));
    let lines: Vec<String> = unexpected.into_iter().map(|(_, line)| line).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    assert_eq!(needed.len(), excepted.len(), "an exception that is not needed");
    assert!(tried > 150, "{tried}");
}

/// The shipped pipelines, and the site's own file on top of them.
#[test]
fn so_is_that_of_each_key_of_the_shipped_description() {
    let (base, site) = ("pipelines/f-droid.toml", "fdroid-bb.toml");
    let of = |base_text: &str, site_text: &str| {
        let source = |file: &str, text: &str| Source { file: file.into(), text: text.into() };
        Sources::new(Some(source(base, base_text)), source(site, site_text), None)
    };
    let (base_text, site_text) = (read(base), read(site));
    let (tried, mut wrong) = all_wrong(base, &[], |text| of(text, &site_text));
    assert!(tried > 80, "{tried}");
    let (tried, more) = all_wrong(site, &[], |text| of(&base_text, text));
    assert!(tried > 0, "{tried}");
    wrong.extend(more);
    let lines = wrong.into_iter().map(|(_, line)| line);
    // Here it is of no use to know a valid value for each key, and what is not chosen makes no
    // difference.
    let not_chosen = |line: &String| NOT_CHOSEN.iter().any(|path| line.contains(path));
    let lines = lines.filter(|line| !line.contains(INVALID) && !not_chosen(line));
    let lines: Vec<String> = lines.collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(PROJECT).join(file)).unwrap()
}
