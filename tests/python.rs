//! Python as data, proved against the real Python parser and the real `ruff format`.
#![allow(clippy::expect_used, reason = "helpers of tests may panic like the tests")]

mod skip;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fdroid_bb::buildbot::python::{Call, Expr, Ident, LINE_WIDTH, Name, literal};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

/// Characters on which quoting, escaping, templates and decoders have stumbled.
const AWKWARD: &[&str] = &[
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\\",
    "\\\"",
    "\\n",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\0",
    "\x07",
    "\x0b",
    "\x0c",
    "\x1a",
    "\x1b[31m",
    "\x7f",
    "\u{80}",
    "\u{85}",
    "\u{a0}",
    "\u{ff}",
    "\u{100}",
    "\u{d7ff}",
    "\u{e000}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{10000}",
    "\u{10ffff}",
    "\u{1f600}",
    "\u{200b}",
    "\u{200e}",
    "\u{202e}",
    "\u{2028}",
    "\u{2029}",
    "\u{2066}",
    "\u{feff}",
    "e\u{301}",
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "%(prop:x)s",
    "%s",
    "$(id)",
    "`id`",
    "#",
    "\\N{DASH}",
    "\\x41",
    "\\u0041",
    "\\U00000041",
    "\\101",
    "f\"",
    "import os",
    "; ",
    "${x}",
    "\\\n",
    " ",
    "a",
];

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => select(AWKWARD).prop_map(str::to_owned),
        2 => any::<char>().prop_map(String::from),
        1 => "[ -~]{1,12}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn expr() -> impl Strategy<Value = Expr> {
    let name = prop_oneof![
        select(vec![
            "util.Interpolate",
            "worker.Worker",
            "buildbot.plugins.changes.GitPoller",
            "f"
        ])
        .prop_map(Name::from),
        "[a-z]{1,30}".prop_filter_map("reserved", |text| Name::parse(&format!("m.{text}"))),
    ];
    let leaf = prop_oneof![
        4 => "[ -~]{0,40}".prop_map(Expr::Str),
        1 => "[ -~]{60,100}".prop_map(Expr::Str),
        1 => text().prop_map(Expr::Str),
        1 => any::<i64>().prop_map(Expr::Int),
        1 => any::<bool>().prop_map(Expr::Bool),
        1 => Just(Expr::None),
        1 => name.clone().prop_map(Expr::Name),
    ];
    let key = prop_oneof![
        8 => "[a-z]{0,30}".prop_map(Expr::Str),
        1 => "[ -~]{70,100}".prop_map(Expr::Str),
        1 => any::<i64>().prop_map(Expr::Int),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let items = prop::collection::vec(inner.clone(), 0..6);
        let kwargs = prop::collection::vec(("[a-z]{1,20}", inner.clone()), 0..5);
        prop_oneof![
            2 => items.clone().prop_map(Expr::List),
            1 => items.clone().prop_map(Expr::Tuple),
            2 => prop::collection::vec((key.clone(), inner), 0..5).prop_map(Expr::Dict),
            4 => (name.clone(), items, kwargs).prop_map(|(name, items, kwargs)| {
                let call = items.into_iter().fold(Call::new(name), Call::arg);
                let call = kwargs.into_iter().fold(call, |call, (key, value)| {
                    match Ident::parse(&key) {
                        Some(key) => call.kwarg(key, value),
                        None => call,
                    }
                });
                Expr::Call(call)
            }),
        ]
    })
}

/// `count` values, from a fixed seed so that a failure can be seen again.
fn samples<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let rng = proptest::test_runner::TestRng::deterministic_rng(
        proptest::test_runner::RngAlgorithm::ChaCha,
    );
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

fn python(script: &str, file: &Path) -> Output {
    Command::new("python3")
        .args(["-I", "-S", "-c", script])
        .arg(file)
        .output()
        .expect("python3 is needed for this test")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn every_string_survives_the_python_parser() {
    const SCRIPT: &str = r#"
import ast, json, sys

def strings(node):
    "Every string constant in the order of the source; anything but data is an error."
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    assert isinstance(node, (ast.Call, ast.List, ast.Dict, ast.Tuple)), ast.dump(node)
    if isinstance(node, ast.Call):
        parts = node.args + [kw.value for kw in node.keywords]
    elif isinstance(node, ast.Dict):
        parts = [part for pair in zip(node.keys, node.values) for part in pair]
    else:
        parts = node.elts
    return [text for part in parts for text in strings(part)]

for line in open(sys.argv[1], encoding="ascii", newline="\n"):
    print(json.dumps(strings(ast.parse(line, mode="eval").body)))
"#;
    let mut texts: Vec<String> = AWKWARD.iter().map(|&text| text.to_owned()).collect();
    texts.extend(
        (0..=0x2100)
            .chain(0xd700..=0xe100)
            .chain(0xff00..=0x1_0100)
            .filter_map(|code| Some(format!("<{}>", char::from_u32(code)?))),
    );
    texts.extend(samples(&text(), 20_000));

    let mut source = String::new();
    for text in &texts {
        let line = literal(text);
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line}");
        assert_eq!(Expr::from(text).one_line(), line);
        source.push_str(&line);
        source.push('\n');
    }
    for pair in texts.chunks_exact(2) {
        let nested = Call::new("a.b")
            .arg(&pair[0])
            .kwarg("c", vec![pair[1].clone()])
            .kwarg("d", Expr::dict([(&pair[0], Expr::tuple([&pair[1]]))]));
        source.push_str(&Expr::from(nested).one_line());
        source.push('\n');
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("literals");
    fs::write(&file, source).expect("the literals");

    let found = stdout(&python(SCRIPT, &file));
    let mut found = found
        .lines()
        .map(|line| -> Vec<String> { serde_json::from_str(line).expect("the strings of a line") });
    for text in &texts {
        assert_eq!(found.next().as_ref(), Some(&vec![text.clone()]));
    }
    for pair in texts.chunks_exact(2) {
        let want = [&pair[0], &pair[1], &pair[0], &pair[1]].map(Clone::clone).to_vec();
        assert_eq!(found.next(), Some(want));
    }
    assert_eq!(found.next(), None);
}

/// The `ruff` to test with: `FDROID_BB_RUFF`, or the one on the path.
fn ruff() -> Option<PathBuf> {
    let path = std::env::var_os("FDROID_BB_RUFF").map_or_else(|| "ruff".into(), PathBuf::from);
    let runs = Command::new(&path).arg("--version").output().is_ok_and(|o| o.status.success());
    if !runs {
        skip::skipped("the layout against `ruff format`: no ruff on the path or in FDROID_BB_RUFF");
    }
    runs.then_some(path)
}

#[test]
fn ruff_format_changes_nothing() {
    let Some(ruff) = ruff() else { return };
    let mut exprs = samples(&expr(), 4_000);
    // Widths around the limit, where off-by-one errors live.
    for width in 60..96 {
        let text = "x".repeat(width);
        exprs.push(Expr::from(&text));
        exprs.push(Expr::name(Name::parse(&format!("m.{text}")).expect("a name")));
        exprs.push(Expr::list([&text]));
        exprs.push(Expr::tuple([&text]));
        exprs.push(Expr::dict([("k", &text)]));
        exprs.push(Call::new("f").arg(&text).into());
        exprs.push(Call::new("f").kwarg("k", &text).into());
        exprs.push(Call::new("f").arg(Expr::list([&text])).into());
        exprs.push(Call::new("f").kwarg("k", Call::new("g").arg(&text)).into());
        exprs.push(Call::new("f").kwarg("k", Expr::dict([("k", Expr::list([&text]))])).into());
    }
    let mut source = String::new();
    for expr in &exprs {
        writeln!(source, "{}", expr.assign(0, &"x".into())).expect("a string");
        writeln!(source, "{}", expr.statement(0, "c[\"title\"] = ")).expect("a string");
        write!(source, "x = [\n    {},\n]\n", expr.layout(4, 4, 1)).expect("a string");
        write!(source, "if x:\n    {}\n", expr.statement(4, "value = ")).expect("a string");
        write!(source, "if x:\n    {}\n", expr.statement(4, "c[\"x\"][1] = ")).expect("a string");
        write!(source, "\n\ndef f():\n    {}\n\n\nx = 1\n", expr.statement(4, "return "))
            .expect("a string");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("laid_out.py");
    fs::write(&file, source).expect("the source");
    let output = Command::new(ruff)
        .args(["format", "--isolated", "--no-cache", "--diff"])
        .arg(&file)
        .output()
        .expect("ruff");
    let diff: String =
        String::from_utf8_lossy(&output.stdout).lines().take(80).collect::<Vec<_>>().join("\n");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{diff}\n{errors}");
}

#[test]
fn every_layout_is_the_same_python() {
    const SCRIPT: &str = r#"
import ast, sys
body = ast.parse(open(sys.argv[1], encoding="ascii").read()).body
assert len(body) % 2 == 0
for one, other in zip(body[::2], body[1::2]):
    assert ast.dump(one) == ast.dump(other), (one.lineno, ast.dump(one), ast.dump(other))
print(len(body))
"#;
    let exprs = samples(&expr(), 2_000);
    let mut source = String::new();
    for expr in &exprs {
        let laid_out = expr.assign(0, &"x".into());
        write!(source, "x = {expr}\n{laid_out}\n").expect("a string");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("laid_out.py");
    fs::write(&file, source).expect("the source");
    assert_eq!(stdout(&python(SCRIPT, &file)).trim(), (2 * exprs.len()).to_string());
}

#[test]
fn quotes_are_those_with_fewer_escapes() {
    for (text, want) in [
        ("", r#""""#),
        ("it's", r#""it's""#),
        (r#"a "b""#, r#"'a "b"'"#),
        (r#"'"'"#, r#""'\"'""#),
        (r#""'"#, r#""\"'""#),
        ("\r\n\t\0", r#""\r\n\t\x00""#),
        ("\u{7f}\u{e9}\u{20ac}\u{1f600}", r#""\x7f\xe9\u20ac\U0001f600""#),
        ("{{ x }}{% y %}", r#""{{ x }}{% y %}""#),
    ] {
        assert_eq!(literal(text), want);
    }
}

#[test]
fn a_line_that_fits_is_kept_and_one_that_does_not_is_taken_apart() {
    let call = Expr::from(
        Call::new("worker.Worker")
            .arg("one")
            .kwarg("properties", Expr::dict([("kind", "vagrant")])),
    );
    let line = call.one_line();
    assert_eq!(line, r#"worker.Worker("one", properties={"kind": "vagrant"})"#);
    assert_eq!(call.layout(0, LINE_WIDTH - line.len(), 0), line);
    assert_eq!(
        call.layout(4, LINE_WIDTH - line.len(), 1),
        "worker.Worker(\n        \"one\",\n        properties={\"kind\": \"vagrant\"},\n    )"
    );
    assert_eq!(Expr::List(Vec::new()).layout(0, 200, 0), "[]");
    assert_eq!(Expr::tuple([1]).one_line(), "(1,)");
}

#[test]
fn nothing_from_outside_is_a_name_unless_python_says_so() {
    for text in
        ["", ".", "a.", ".a", "a..b", "1a", "a-b", "a b", "a\n", "é", "ｆ", "class", "a.None"]
    {
        assert_eq!(Name::parse(text), None, "{text:?}");
        assert_eq!(Ident::parse(text), None, "{text:?}");
    }
    assert_eq!(Ident::parse("a.b"), None);
    assert_eq!(Ident::parse("__debug__"), None);
    assert_eq!(Ident::parse("match").as_ref().map(Ident::as_str), Some("match"));
    assert_eq!(Name::parse("a.b_1").as_ref().map(Name::as_str), Some("a.b_1"));
}

#[test]
fn the_roots_are_what_must_be_imported() {
    let expr = Expr::from(
        Call::new("steps.ShellCommand")
            .arg(Call::new("util.Interpolate").arg("util2.x"))
            .kwarg("lock", Name::from("LOCK"))
            .kwarg("env", Expr::dict([(Name::from("a.b"), Name::from("c"))])),
    );
    let mut roots = BTreeSet::new();
    expr.roots(&mut roots);
    assert_eq!(roots.into_iter().collect::<Vec<_>>(), ["LOCK", "a", "c", "steps", "util"]);
}

#[test]
fn a_named_argument_stands_once() {
    let call = Call::new("f").kwarg("a", 1).kwarg("b", 2).kwarg("a", 3).kwarg_opt("c", None::<i64>);
    assert_eq!(Expr::from(call).one_line(), "f(a=3, b=2)");
}
