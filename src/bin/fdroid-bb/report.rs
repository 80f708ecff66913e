//! How findings and results are said, to people and to machines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use fdroid_bb::compile::{Apps, Record};
use fdroid_bb::finding::{Code, Finding, Place, Severity, Span};
use fdroid_bb::resolve::apps::{Poller, Watch};
use fdroid_bb::text::count;

/// How many warnings of one kind are shown with their lines; of the rest, the places are told.
const ALIKE: usize = 5;

/// How many places of them are told.
const PLACES: usize = 20;

/// The most characters of a line that are shown.
const WIDEST: usize = 160;

/// Says each finding with the line it points at. `line` gives a line of a file, from 1.
pub fn findings(
    out: &mut dyn Write,
    findings: &[Finding],
    line: &mut dyn FnMut(&str, u32) -> Option<String>,
) -> io::Result<()> {
    // The writer drops colours where there is no terminal.
    let renderer = Renderer::styled();
    // Other findings must not show a secret that stands on their line.
    let secret = findings.iter().filter(|finding| finding.code == Code::LiteralSecret);
    let secret: BTreeSet<_> = secret.filter_map(|finding| line_of(&finding.place)).collect();
    let mut alike: BTreeMap<Code, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        // Errors are to be mended one by one.
        if finding.severity == Severity::Warning {
            let known = alike.entry(finding.code).or_default();
            known.push(finding);
            if known.len() > ALIKE {
                continue;
            }
        }
        let level = level(finding.severity);
        let title = level.primary_title(&finding.message).id(finding.code.as_str());
        let place = &finding.place;
        let excerpt = place
            .span
            .filter(|_| line_of(place).is_some_and(|line| !secret.contains(&line)))
            .and_then(|span| {
                let text = line(&place.file, span.line)?;
                let hidden = finding.code == Code::ConfigSyntax && may_hold_secret(&text);
                (!hidden).then(|| (span, excerpt(&text, span)))
            });
        let group = if let Some((span, (text, range))) = &excerpt {
            title.element(
                Snippet::source(text)
                    .line_start(span.line as usize)
                    .path(&place.file)
                    .annotation(AnnotationKind::Primary.span(range.clone())),
            )
        } else {
            let mut origin = Origin::path(&place.file);
            if let Some(span) = place.span {
                origin = origin.line(span.line as usize).char_column(span.column as usize);
            }
            title.element(origin)
        };
        let report = [group.element(Level::HELP.message(&finding.help))];
        writeln!(out, "{}\n", renderer.render(&report))?;
    }
    for (code, more) in alike {
        let more = more.get(ALIKE..).unwrap_or_default();
        if more.is_empty() {
            continue;
        }
        let places = more.iter().take(PLACES).map(|finding| match finding.place.span {
            Some(span) => format!("{}:{}:{}", finding.place.file, span.line, span.column),
            None => finding.place.file.clone(),
        });
        let mut places: Vec<String> = places.collect();
        if more.len() > PLACES {
            places.push(format!("and {} more", more.len() - PLACES));
        }
        let message = format!("{} more of this kind: {}", more.len(), places.join(", "));
        let title = level(code.severity()).primary_title(&message).id(code.as_str());
        let help = format!("`fdroid-bb explain {}` says what it means", code.as_str());
        writeln!(out, "{}\n", renderer.render(&[title.element(Level::HELP.message(&help))]))?;
    }
    Ok(())
}

fn level(severity: Severity) -> Level<'static> {
    match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    }
}

fn line_of(place: &Place) -> Option<(&str, u32)> {
    Some((&place.file, place.span?.line))
}

/// Whether a line that is no TOML may be meant to hold a secret.
fn may_hold_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    let words = ["passw", "passphrase", "secret", "token", "_key"];
    words.iter().any(|word| line.contains(word)) || (line.contains("://") && line.contains('@'))
}

/// A line cut to what is worth showing, with nothing in it that moves the cursor or turns the
/// writing round, and the bytes of `span` in it.
fn excerpt(line: &str, span: Span) -> (String, std::ops::Range<usize>) {
    let column = (span.column as usize).saturating_sub(1);
    let skip = if column > WIDEST / 2 { column - WIDEST / 4 } else { 0 };
    let mut text = String::new();
    let (mut start, mut end) = (None, 0);
    for (i, c) in line.chars().enumerate().skip(skip).take(WIDEST) {
        if i == column {
            start = Some(text.len());
        }
        let visible = c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
        text.push(if visible { c } else { '\u{fffd}' });
        if i < column + (span.length.max(1) as usize) {
            end = text.len();
        }
    }
    let start = start.unwrap_or(text.len());
    (text, start..end.max(start))
}

/// Counts of findings: `2 errors, 1 warning`.
pub fn tally(findings: &[Finding]) -> String {
    let number = |severity| findings.iter().filter(|f| f.severity == severity).count();
    match (number(Severity::Error), number(Severity::Warning)) {
        (0, 0) => "none".to_owned(),
        (0, warnings) => count(warnings, "warning"),
        (errors, 0) => count(errors, "error"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

/// How many apps there are of each kind.
#[derive(Default)]
pub struct Totals {
    pub apps: usize,
    pub active: BTreeMap<&'static str, usize>,
    pub inactive: BTreeMap<String, usize>,
    pub quarantined: usize,
}

impl Totals {
    pub fn of(apps: &Apps) -> Self {
        let mut totals = Self::default();
        for record in &apps.records {
            totals.apps += 1;
            match record {
                Record::App { poller: Ok(poller), .. } => {
                    *totals.active.entry(kind(poller)).or_default() += 1;
                }
                Record::App { poller: Err(reason), .. } => {
                    *totals.inactive.entry(reason.to_string()).or_default() += 1;
                }
                Record::Quarantined { .. } => totals.quarantined += 1,
            }
        }
        totals
    }

    /// The number of active apps.
    pub fn active(&self) -> usize {
        self.active.values().sum()
    }

    /// `3,924 git, 1 hg`.
    pub fn active_kinds(&self) -> String {
        parts(self.active.iter().map(|(kind, number)| (*kind, *number)))
    }

    /// `1,900 no update check, 600 archived`.
    pub fn inactive_reasons(&self) -> String {
        let mut reasons: Vec<_> = self.inactive.iter().map(|(r, n)| (r.as_str(), *n)).collect();
        if self.quarantined > 0 {
            reasons.push(("quarantined", self.quarantined));
        }
        reasons.sort_by_key(|(reason, number)| (std::cmp::Reverse(*number), *reason));
        parts(reasons.into_iter())
    }
}

fn parts<'a>(parts: impl Iterator<Item = (&'a str, usize)>) -> String {
    parts
        .map(|(what, number)| format!("{} {what}", thousands(number)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The version control system that a poller asks.
pub fn kind(poller: &Poller) -> &'static str {
    match poller.watch {
        Watch::GitTags { .. } | Watch::GitBranch { .. } => "git",
        Watch::Hg { .. } => "hg",
        Watch::Svn => "svn",
    }
}

/// `6509` as `6,509`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
