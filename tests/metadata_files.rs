//! Handwritten files of `metadata/`, honest and hostile: each file's app, or what is said of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

mod metadata;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fdroid_bb::fdroid::AppId;
use fdroid_bb::finding::{Code, Finding};
use fdroid_bb::parse;

fn id() -> AppId {
    AppId::new("org.example").unwrap()
}

fn shown(finding: &Finding) -> String {
    let place = finding.place.span.map_or_else(String::new, |span| {
        format!(" at {}:{}+{}", span.line, span.column, span.length)
    });
    format!("{}{place}: {}\n  help: {}\n", finding.code.as_str(), finding.message, finding.help)
}

#[test]
fn files() {
    insta::glob!("metadata/*.yml", |path| {
        let bytes = fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let fast = if parse::agree(&id(), &bytes) { "fast" } else { "full" };
        let parsed = parse::app(id(), name, &bytes);
        assert_eq!(parsed, parse::app_full(id(), name, &bytes));
        assert_eq!(parsed.app.is_err(), name.starts_with("err_"), "{parsed:?}");
        let mut out = format!("{fast}\n");
        match &parsed.app {
            Ok(app) => {
                writeln!(out, "{}\n{:?}", serde_json::to_string_pretty(app).unwrap(), app.marks)
            }
            Err(finding) => write!(out, "{}", shown(finding)),
        }
        .unwrap();
        parsed.findings.iter().for_each(|finding| out.push_str(&shown(finding)));
        insta::assert_snapshot!(out);
    });
}

/// The finding for `bytes`, which must be told soon and in few words.
fn refused(bytes: &[u8]) -> Finding {
    let start = Instant::now();
    let finding = parse::app(id(), "x.yml", bytes).app.unwrap_err();
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(10), "{taken:?} for {finding:?}");
    assert!(finding.message.chars().count() < 250, "{finding:?}");
    assert!(!finding.message.chars().any(char::is_control), "{finding:?}");
    finding
}

fn code(bytes: impl AsRef<[u8]>) -> Code {
    refused(bytes.as_ref()).code
}

#[test]
fn a_huge_file_is_refused_unread() {
    let finding = refused(&vec![b'a'; 50_000_000]);
    assert_eq!(finding.code, Code::FileTooLarge);
    assert_eq!(finding.place.span, None);
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", ""), ("[", ""), ("{? ", "")]
    {
        for count in [30, 300, 100_000] {
            let text =
                format!("Name: x\nSummary:\n  {}x{}\n", open.repeat(count), close.repeat(count));
            let code = code(text);
            let fits = matches!(code, Code::YamlTooDeep | Code::YamlInvalid);
            assert!(fits, "{code:?} for {count} of {open:?}");
        }
    }
    assert_eq!(code(format!("Summary: {}{}\n", "[".repeat(25), "]".repeat(25))), Code::YamlTooDeep);
    let mut block = String::from("Summary:\n");
    for depth in 1..1_500 {
        writeln!(block, "{}a:", " ".repeat(depth)).unwrap();
    }
    assert_eq!(code(block), Code::YamlTooDeep);
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut bomb = String::from("Name: &a [x, x, x, x, x, x, x, x, x]\n");
    for (name, last) in ('b'..='z').zip('a'..) {
        let aliases = vec![format!("*{last}"); 9].join(", ");
        writeln!(bomb, "Field{name}: &{name} [{aliases}]").unwrap();
    }
    assert_eq!(code(bomb), Code::YamlAlias);
}

/// Four megabytes of what makes parsers slow.
#[test]
fn no_file_takes_long() {
    const SIZE: usize = if cfg!(debug_assertions) { 200_000 } else { 4_000_000 };
    for unit in [
        "a: [",
        "- ",
        "a,",
        "\"",
        "'",
        "a\n",
        "a: b\n",
        "a ",
        " ",
        "\n",
        "  \n",
        "#",
        "# a\n",
        "[a]: ",
        "{}",
        "a:\n ",
        "\\",
        "!a ",
        "&a ",
        "%a\n",
        "|\n",
        ">\n\n",
        "é",
        "? a\n",
        ": ",
        "---\n",
        "x: |\n  a\n",
    ] {
        for start in [
            "",
            "Summary: ",
            "Summary: [",
            "Summary: \"",
            "Summary: '",
            "Summary: |\n  ",
            "Summary: >\n ",
            "Summary:\n  ",
            "Builds:\n  - ",
        ] {
            let text = format!("{start}{}\n", unit.repeat(SIZE / unit.len() - 10));
            let begin = Instant::now();
            let parsed = parse::app_full(id(), "x.yml", text.as_bytes());
            let taken = begin.elapsed();
            let told = format!(
                "{taken:?} for {start:?} and {unit:?}: {:?}",
                parsed.app.err().map(|f| f.message)
            );
            assert!(taken < Duration::from_secs(10), "{told}");
            assert!(parsed.findings.len() <= 100);
        }
    }
}

#[test]
fn no_mutation_of_bytes_panics() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/metadata");
    for (_, path) in metadata::files(&folder) {
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len().min(600) {
            for new in [0, b'\t', b'"', b'[', b':', 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = new;
                let _ = parse::app_full(id(), "x.yml", &damaged);
            }
        }
    }
}

#[test]
fn a_srclib_is_read_and_checked() {
    let srclib =
        parse::srclib("x.yml", b"RepoType: git\nRepo: https://example.org/x\nSubdir:\n  - a\n")
            .unwrap();
    assert_eq!((&*srclib.repo, &*srclib.repo_type), ("https://example.org/x", "git"));
    assert_eq!(srclib.marks.repo.unwrap().line, 2);
    for (text, code) in [
        ("", Code::FieldType),
        ("Repo: [a]\n", Code::FieldType),
        ("RepoType: cvs\n", Code::FieldInvalid),
        ("RepoTyp: git\n", Code::FieldUnknown),
    ] {
        assert_eq!(parse::srclib("x.yml", text.as_bytes()).unwrap_err().code, code);
    }
}
