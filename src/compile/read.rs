//! What becomes of one file: from what an earlier run knew, or by reading it.

use std::collections::BTreeMap;

use super::{Detail, Record};
use crate::cache::{self, Blob, Decision, Kept, KnownFinding, KnownPoller};
use crate::fdroid::AppId;
use crate::fdroid::outline::Outline;
use crate::finding::{Code, Finding, Place, quote};
use crate::load::{self, File, Reader};
use crate::parse;
use crate::resolve::apps::Resolver;
use crate::text::shown;

/// What an earlier run has decided on a file.
pub(super) fn known_record(
    file: &File,
    decision: Decision<'_>,
    findings: &mut Vec<Finding>,
) -> Record {
    let path = || file.path();
    findings.extend(decision.findings.iter().map(|finding| finding.on(&path())));
    match decision.outcome {
        Ok((marks, poller)) => {
            let poller = poller.map(|poller| (&poller).into());
            Record::App { id: AppId::known(file.stem()), marks, app: None, poller }
        }
        Err(error) => {
            Record::Quarantined { stem: file.stem().to_owned(), error: error.on(&path()) }
        }
    }
}

/// What became of one file.
pub(super) struct Read {
    pub(super) record: Record,
    pub(super) findings: Vec<Finding>,
    /// Its blob, if it was read and is to be kept.
    pub(super) blob: Option<Blob>,
    /// What the cache is to keep of what was read, as it was written.
    pub(super) outline: Option<Vec<u8>>,
    /// Whether it says something of the file's content, which is the same next time.
    lasting: bool,
}

/// What the cache is to keep of a file.
pub(super) struct Fresh {
    pub(super) blob: Blob,
    /// `None` where it is kept already, or not wanted.
    pub(super) outline: Option<Vec<u8>>,
    pub(super) decision: Option<Vec<u8>>,
}

impl Fresh {
    /// The same as the cache takes it; `old` is what that has.
    pub(super) fn kept<'f>(
        fresh: &'f BTreeMap<usize, Self>,
        files: &'f [File],
        old: &[Option<&Kept<'f>>],
    ) -> Vec<Kept<'f>> {
        let kept = |(&i, fresh): (&usize, &'f Self)| {
            let before = old.get(i).copied().flatten().and_then(|kept| kept.outline);
            let outline = fresh.outline.as_deref().or(before);
            let decision = fresh.decision.as_deref();
            Some(Kept::new(files.get(i)?.stem(), &fresh.blob, outline, decision))
        };
        fresh.iter().filter_map(kept).collect()
    }
}

impl Read {
    /// What follows from what an earlier run has read; `None` where there is something to find, for
    /// which its text is needed.
    pub(super) fn known(
        resolver: &Resolver<'_>,
        file: &File,
        outline: &Outline<'_>,
    ) -> Option<Self> {
        let id = AppId::known(file.stem());
        let (poller, findings) = resolver.resolve(&id, outline, "");
        let record = Record::App { id, marks: outline.marks, app: None, poller };
        let known = Self { record, findings, blob: None, outline: None, lasting: true };
        known.findings.is_empty().then_some(known)
    }

    /// What the cache is to keep of the decision, as it is written.
    pub(super) fn kept_decision(&self) -> Option<Vec<u8>> {
        let outcome = match &self.record {
            Record::App { marks, poller, .. } => {
                Ok((*marks, poller.as_ref().map(KnownPoller::from).map_err(|reason| *reason)))
            }
            Record::Quarantined { error, .. } => Err(KnownFinding::from(error)),
        };
        let findings = self.findings.iter().map(KnownFinding::from).collect();
        let keep = self.lasting && cache::keeps(&self.findings);
        keep.then(|| cache::written(&Decision { outcome, findings })).flatten()
    }

    pub(super) fn new(
        resolver: &Resolver<'_>,
        reader: &Reader<'_>,
        file: &File,
        detail: Detail<'_>,
    ) -> Self {
        let unread = |error: Finding| {
            let findings = vec![error.clone()];
            let record = Record::Quarantined { stem: file.stem().to_owned(), error };
            Self { record, findings, blob: None, outline: None, lasting: false }
        };
        let path = file.path();
        let Some(id) = AppId::new(file.stem()) else {
            let message = format!("`{}` is no application id", shown(file.stem()));
            let help = "name the file as the app is named: letters, digits, `_` and `.` only";
            let place = Place::file(shown(&path));
            return unread(Finding::new(Code::AppIdInvalid, place, message, help));
        };
        let bytes = match reader.read(file) {
            Ok(bytes) => bytes,
            Err(error) => return unread(error),
        };
        let parsed = parse::app(id.clone(), &path, &bytes);
        let mut findings = parsed.findings;
        let resolved = parsed.app.map(|app| {
            let (poller, found) = resolver.resolve(&id, &Outline::from(&app), &path);
            findings.extend(found);
            (app, poller)
        });
        findings.extend(resolved.as_ref().err().cloned());
        if !findings.is_empty() {
            quote(&mut findings, &String::from_utf8_lossy(&bytes));
        }
        let keeps = matches!(detail, Detail::Pollers(Some(_)));
        let blob = keeps.then(|| file.blob().or_else(|| load::blob_of(&bytes))).flatten();
        let mut outline = None;
        let record = match resolved {
            Ok((app, poller)) => {
                if keeps && findings.is_empty() {
                    outline = cache::written(&Outline::from(&app));
                }
                let marks = app.marks;
                let app = matches!(detail, Detail::Whole).then(|| Box::new(app));
                Record::App { id, marks, app, poller }
            }
            Err(error) => {
                // With its excerpt.
                let error = findings.last().cloned().unwrap_or(error);
                Record::Quarantined { stem: file.stem().to_owned(), error }
            }
        };
        Self { record, findings, blob, outline, lasting: true }
    }
}
