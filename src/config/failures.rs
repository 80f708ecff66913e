//! What the failures of builds are told by, in `fdroid-bb.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::{Duration, Name};

/// What becomes of builds that fail. A failure of the infrastructure is repeated, and is not blamed
/// on the app: a lost worker, one that does not start, and what a rule says. Any other failure is
/// one of the source, and the build says in one line which step failed and why.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Failures {
    /// How long to wait before the first repetition, the second and the third; there are no more
    /// than are given.
    #[serde(default)]
    #[schemars(length(max = 3))]
    pub repeat: Vec<Duration>,
    /// What tells a failure of the infrastructure, by what to call it; `-` stands for a space.
    #[serde(default)]
    pub infrastructure: BTreeMap<Name, FailureRule>,
    /// What tells why the source fails: of all that match, what comes first in the log.
    #[serde(default)]
    pub source: BTreeMap<Name, FailureRule>,
}

/// What is looked for in the log of the step that failed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FailureRule {
    /// A regular expression as Python's, of what can be matched in linear time, which is looked
    /// for in the last lines. `^` and `$` match at lines. The reason is its group `(?P<reason>…)`,
    /// or the line.
    #[schemars(length(min = 1))]
    pub pattern: String,
    /// The steps it is for; all if not given.
    #[serde(default)]
    pub steps: Vec<String>,
}
