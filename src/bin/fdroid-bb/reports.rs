//! Findings in the formats of other programs, and those that are known already.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use fdroid_bb::finding::{Code, Finding, Severity};
use fdroid_bb::write::digest;
use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::file;

/// A report that is asked for: `KIND=FILE`.
#[derive(Clone, Debug)]
pub struct Report {
    kind: Kind,
    file: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// <https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format>
    CodeQuality,
    /// <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>
    Sarif,
    /// <https://github.com/testmoapp/junitxml>
    Junit,
}

impl FromStr for Report {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, file) = text.split_once('=').unwrap_or((text, ""));
        let kind = match kind {
            "codequality" => Kind::CodeQuality,
            "sarif" => Kind::Sarif,
            "junit" => Kind::Junit,
            _ => return Err("write `codequality=FILE`, `sarif=FILE` or `junit=FILE`".to_owned()),
        };
        if file.is_empty() {
            return Err("the file is missing: write `KIND=FILE`".to_owned());
        }
        Ok(Self { kind, file: file.into() })
    }
}

impl Report {
    /// The file that it is written to.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Writes it.
    pub fn write(&self, findings: &[Finding]) -> io::Result<()> {
        let text = match self.kind {
            Kind::CodeQuality => format!("{:#}\n", codequality(findings)),
            Kind::Sarif => format!("{:#}\n", sarif(findings)),
            Kind::Junit => junit(findings).to_string().map_err(io::Error::other)?,
        };
        file::replace(&self.file, &text, None)
    }
}

/// What stays the same when lines move.
fn fingerprint(finding: &Finding) -> String {
    let text = format!("{}\n{}\n{}", finding.code.as_str(), finding.place.file, finding.message);
    digest(text.as_bytes())
}

/// The lists of other programs take a fingerprint only once.
fn distinct(findings: &[Finding]) -> impl Iterator<Item = (String, &Finding)> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    findings.iter().map(move |finding| {
        let print = fingerprint(finding);
        let again = seen.entry(print.clone()).and_modify(|n| *n += 1).or_insert(0);
        let print = if *again == 0 { print } else { digest(format!("{print}{again}").as_bytes()) };
        (print, finding)
    })
}

fn codequality(findings: &[Finding]) -> Value {
    let issue = |(fingerprint, finding): (String, &Finding)| {
        json!({
            "description": format!("{}: {}", finding.message, finding.help),
            "check_name": finding.code.as_str(),
            "fingerprint": fingerprint,
            "severity": match finding.severity {
                Severity::Error => "critical",
                Severity::Warning => "minor",
            },
            "location": {
                "path": finding.place.file,
                "lines": { "begin": finding.place.span.map_or(1, |span| span.line) },
            },
        })
    };
    distinct(findings).map(issue).collect()
}

fn sarif(findings: &[Finding]) -> Value {
    let used: BTreeSet<&str> = findings.iter().map(|finding| finding.code.as_str()).collect();
    let rules: Vec<Value> = Code::ALL
        .iter()
        .filter(|code| used.contains(code.as_str()))
        .map(|code| {
            json!({
                "id": code.as_str(),
                "shortDescription": { "text": code.meaning() },
                "help": { "text": code.remedy() },
            })
        })
        .collect();
    let result = |(fingerprint, finding): (String, &Finding)| {
        let region = finding.place.span.map(|span| {
            json!({
                "startLine": span.line,
                "startColumn": span.column,
                "endColumn": span.column + span.length,
            })
        });
        let mut physical = json!({ "artifactLocation": { "uri": uri(&finding.place.file) } });
        if let (Some(region), Some(object)) = (region, physical.as_object_mut()) {
            object.insert("region".to_owned(), region);
        }
        json!({
            "ruleId": finding.code.as_str(),
            "level": match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "message": { "text": format!("{}\n{}", finding.message, finding.help) },
            "locations": [{ "physicalLocation": physical }],
            "partialFingerprints": { "finding/v1": fingerprint },
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "fdroid-bb",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": distinct(findings).map(result).collect::<Vec<_>>(),
        }],
    })
}

/// A path as a relative URI.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let part = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    path.bytes().map(part).collect::<Vec<_>>().concat()
}

/// A suite for each code, a failed case for each finding; one good case where there is none.
fn junit(findings: &[Finding]) -> Junit {
    let mut report = Junit::new("fdroid-bb check");
    let mut suites: BTreeMap<&str, TestSuite> = BTreeMap::new();
    for finding in findings {
        let code = finding.code.as_str();
        let place = match finding.place.span {
            Some(span) => format!("{}:{}:{}", finding.place.file, span.line, span.column),
            None => finding.place.file.clone(),
        };
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(finding.message.as_str()).set_type(code);
        status.set_description(format!("{place}: {}\n{}", finding.message, finding.help));
        let mut case = TestCase::new(place, status);
        case.set_classname(finding.place.file.as_str());
        suites.entry(code).or_insert_with(|| TestSuite::new(code)).add_test_case(case);
    }
    if suites.is_empty() {
        let mut suite = TestSuite::new("fdroid-bb");
        suite.add_test_case(TestCase::new("no findings", TestCaseStatus::success()));
        suites.insert("", suite);
    }
    report.add_test_suites(suites.into_values());
    report
}

/// The findings that are known, so that only new ones count.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The version of this format.
    format: u32,
    findings: Vec<KnownFinding>,
}

/// A finding that is known, wherever in its file it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFinding {
    code: String,
    file: String,
    message: String,
}

/// The version of [`Baseline`].
const BASELINE: u32 = 1;

impl KnownFinding {
    fn of(finding: &Finding) -> Self {
        Self {
            code: finding.code.as_str().to_owned(),
            file: finding.place.file.clone(),
            message: finding.message.clone(),
        }
    }
}

impl Baseline {
    /// All findings of today.
    pub fn of(findings: &[Finding]) -> Self {
        let mut findings: Vec<KnownFinding> = findings.iter().map(KnownFinding::of).collect();
        findings.sort();
        Self { format: BASELINE, findings }
    }

    /// The baseline in `file`.
    pub fn read(file: &Path) -> Result<Self, String> {
        let bytes = fs::read(file).map_err(|error| error.to_string())?;
        let baseline: Self = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if baseline.format != BASELINE {
            return Err(format!("its format is {}, not {BASELINE}", baseline.format));
        }
        Ok(baseline)
    }

    /// Writes it to `file`.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        file::replace(file, &(serde_json::to_string_pretty(self)? + "\n"), None)
    }

    /// What is known, to be compared with what is found.
    pub fn known(self) -> KnownLeft {
        let mut left = BTreeMap::new();
        for known in self.findings {
            *left.entry(known).or_default() += 1;
        }
        KnownLeft(left)
    }
}

/// How often each known finding was not found yet.
pub struct KnownLeft(BTreeMap<KnownFinding, usize>);

impl KnownLeft {
    /// Whether a finding is none of those that are left; if not, one less of it is.
    pub fn is_new(&mut self, finding: &Finding) -> bool {
        match self.0.get_mut(&KnownFinding::of(finding)) {
            Some(left @ 1..) => {
                *left -= 1;
                false
            }
            _ => true,
        }
    }

    /// How many were not found.
    pub fn left(&self) -> usize {
        self.0.values().sum()
    }
}
