//! How findings and results are said, to people and to machines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use fdroid_bb::compile::{Metadata, Record};
use fdroid_bb::finding::{ALIKE, Code, Finding, Place, Severity};
use fdroid_bb::resolve::apps::{Poller, Watch};
use fdroid_bb::text::count;

/// How many places of warnings that are not shown with their lines are told.
const PLACES: usize = 20;

/// Says each finding with the line it points at.
pub fn findings(out: &mut dyn Write, findings: &[Finding]) -> io::Result<()> {
    // A terminal is written to in one go.
    let mut text = Vec::new();
    write_findings(&mut text, findings)?;
    out.write_all(&text)
}

fn write_findings(out: &mut Vec<u8>, findings: &[Finding]) -> io::Result<()> {
    // The writer drops colours where there is no terminal.
    let renderer = Renderer::styled();
    // Other findings must not show a secret that stands on their line.
    let secret = findings.iter().filter(|finding| finding.code == Code::LiteralSecret);
    let secret: BTreeSet<_> = secret.filter_map(|finding| line_of(&finding.place)).collect();
    let mut alike: BTreeMap<Code, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        // Errors are fixed one by one.
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
        let shown = line_of(place).is_some_and(|line| !secret.contains(&line));
        let excerpt = finding.excerpt.as_ref().filter(|_| shown);
        let group = if let (Some(excerpt), Some(span)) = (excerpt, place.span) {
            title.element(
                Snippet::source(&excerpt.text)
                    .line_start(span.line as usize)
                    .path(&place.file)
                    .annotation(AnnotationKind::Primary.span(excerpt.marked.clone())),
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
    pub fn of(apps: &Metadata) -> Self {
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
        Watch::GitTags { .. } | Watch::GitTagsAndHead | Watch::GitBranch { .. } => "git",
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
