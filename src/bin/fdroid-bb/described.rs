//! The command `explain KIND NAME`.

use std::io::{self, Write};

use fdroid_bb::config::described::{KINDS, Line, lines, names};
use fdroid_bb::config::{self, Sources, in_words};
use fdroid_bb::finding::{Finding, Place};
use fdroid_bb::text::{remedy, shown};
use serde_json::{Value, json};

use crate::Exit;
use crate::cli::{Format, Inputs};
use crate::report;

/// The column at which origins stand, where the TOML is not longer.
const ORIGIN: usize = 72;

/// Says all that the description says of one thing.
pub fn explain(
    inputs: &Inputs,
    kind: &str,
    name: &str,
    format: Format,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let Some((_, table)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        let known: Vec<&str> = KINDS.iter().map(|(known, _)| *known).collect();
        writeln!(err, "error: there is no kind `{}`", shown(kind))?;
        writeln!(err, "help: {}", remedy("kind", kind, &known))?;
        return Ok(Exit::Usage);
    };
    let sources = match Sources::read(&inputs.config, inputs.overlay.as_deref()) {
        Ok(sources) => sources,
        Err(findings) => return invalid(&findings, err),
    };
    let invalid = |mut findings: Vec<Finding>, err: &mut dyn Write| {
        sources.quote(&mut findings);
        invalid(&findings, err)
    };
    let written = match config::read(&sources) {
        Ok(written) => written,
        Err(findings) => return invalid(findings, err),
    };
    let selection = written.selections().into_iter().next().unwrap_or_default();
    let document = match written.expand(&selection) {
        Ok(document) => document,
        Err(findings) => return invalid(findings, err),
    };
    let lines = lines(&document, table, name);
    if lines.is_empty() {
        let words = if selection.is_empty() { String::new() } else { in_words(&selection) };
        writeln!(err, "error: there is no {kind} `{}` {words}", shown(name))?;
        writeln!(err, "help: {}", remedy(kind, name, &names(&document, table)))?;
        return Ok(Exit::Invalid);
    }
    match format {
        Format::Text => {
            for Line { text, place } in &lines {
                writeln!(out, "{text:<ORIGIN$}  # {}", origin(place))?;
            }
        }
        Format::Json => {
            let lines: Vec<Value> = lines
                .iter()
                .map(|line| json!({ "toml": line.text, "origin": line.place }))
                .collect();
            let document =
                json!({ "kind": kind, "name": name, "choices": selection, "lines": lines });
            serde_json::to_writer_pretty(&mut *out, &document)?;
            writeln!(out)?;
        }
    }
    Ok(Exit::Clean)
}

fn invalid(findings: &[Finding], err: &mut dyn Write) -> io::Result<Exit> {
    report::findings(err, findings)?;
    Ok(Exit::Invalid)
}

fn origin(place: &Place) -> String {
    match place.span {
        Some(span) => format!("{}:{}", place.file, span.line),
        None => place.file.clone(),
    }
}
