//! What was decided on an app, and what was found, as the cache keeps it.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::fdroid::Marks;
use crate::finding::{Code, Excerpt, Finding, Place, Span};
use crate::remote::RemoteUrl;
use crate::resolve::apps::{Poller, Reason, Watch};

/// The most findings of one file that are kept. A file with more is read again each time.
const MOST_FINDINGS: usize = 20;

/// What was decided on an app.
#[derive(Debug, Serialize, Deserialize)]
pub struct Decision<'a> {
    /// Its poller, or why it has none; what is wrong with its file if that was not read.
    #[serde(borrow)]
    pub outcome: Result<(Marks, Result<KnownPoller<'a>, Reason>), KnownFinding<'a>>,
    /// What was found.
    #[serde(borrow)]
    pub findings: Vec<KnownFinding<'a>>,
}

/// Whether so many findings of one file are kept.
#[must_use]
pub fn keeps(findings: &[Finding]) -> bool {
    findings.len() <= MOST_FINDINGS
}

/// A [`Finding`] on one file, borrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFinding<'a> {
    code: Code,
    message: &'a str,
    help: &'a str,
    span: Option<Span>,
    #[serde(borrow)]
    excerpt: Option<(&'a str, Range<usize>)>,
}

impl<'a> From<&'a Finding> for KnownFinding<'a> {
    fn from(finding: &'a Finding) -> Self {
        let excerpt = finding.excerpt.as_ref();
        Self {
            code: finding.code,
            message: &finding.message,
            help: &finding.help,
            span: finding.place.span,
            excerpt: excerpt.map(|excerpt| (excerpt.text.as_str(), excerpt.marked.clone())),
        }
    }
}

impl KnownFinding<'_> {
    /// The same, on the file at `path`.
    #[must_use]
    pub fn on(&self, path: &str) -> Finding {
        let place = Place { file: path.to_owned(), span: self.span };
        let excerpt = self.excerpt.as_ref();
        let excerpt = excerpt
            .map(|(text, marked)| Excerpt { text: (*text).to_owned(), marked: marked.clone() })
            .map(Box::new);
        Finding { excerpt, ..Finding::new(self.code, place, self.message, self.help) }
    }
}

/// A [`Poller`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPoller<'a> {
    url: &'a str,
    srclib: Option<&'a str>,
    watch: KnownWatch<'a>,
    interval: i64,
    check_interval: i64,
}

/// A [`Watch`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum KnownWatch<'a> {
    GitTags(&'a str),
    GitTagsAndHead,
    GitBranch(Option<&'a str>),
    Hg(Option<&'a str>),
    Svn,
}

impl<'a> From<&'a Poller> for KnownPoller<'a> {
    fn from(poller: &'a Poller) -> Self {
        let watch = match &poller.watch {
            Watch::GitTags { tags } => KnownWatch::GitTags(tags),
            Watch::GitTagsAndHead => KnownWatch::GitTagsAndHead,
            Watch::GitBranch { branch } => KnownWatch::GitBranch(branch.as_deref()),
            Watch::Hg { branch } => KnownWatch::Hg(branch.as_deref()),
            Watch::Svn => KnownWatch::Svn,
        };
        let (interval, check_interval) = (poller.interval, poller.check_interval);
        let (url, srclib) = (poller.url.as_str(), poller.srclib.as_deref());
        Self { url, srclib, watch, interval, check_interval }
    }
}

impl From<&KnownPoller<'_>> for Poller {
    fn from(known: &KnownPoller<'_>) -> Self {
        let branch = |name: Option<&str>| name.map(ToOwned::to_owned);
        let watch = match known.watch {
            KnownWatch::GitTags(tags) => Watch::GitTags { tags: tags.to_owned() },
            KnownWatch::GitTagsAndHead => Watch::GitTagsAndHead,
            KnownWatch::GitBranch(name) => Watch::GitBranch { branch: branch(name) },
            KnownWatch::Hg(name) => Watch::Hg { branch: branch(name) },
            KnownWatch::Svn => Watch::Svn,
        };
        let url = RemoteUrl::known(known.url.to_owned());
        let (interval, check_interval) = (known.interval, known.check_interval);
        let srclib = known.srclib.map(ToOwned::to_owned);
        Self { url, srclib, watch, interval, check_interval }
    }
}
