//! Why an object differs: a key of the description, or the line of an app's metadata.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::effect::Effect;
use super::keys::Keys;
use super::{Change, Field, What};
use crate::compile::{self, Record};
use crate::config::Places;
use crate::fdroid::Marks;
use crate::finding::{Place, Span};
use crate::load::{METADATA, SRCLIBS};
use crate::lower::{PollerOrigin, poller_origin};
use crate::model::{Key, Kind, Model};
use crate::resolve::apps::{Reason, Srclibs};
use crate::text::shown;

/// What made something differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// Where it stands; `None` where only a set is known and not what it was made from.
    pub place: Option<Place>,
    /// The path of the key of the description, if it is one.
    pub key: Option<String>,
    /// What it means, where the place does not say it.
    pub why: Option<String>,
}

/// What causes are looked up in; what is not known is `None`.
#[derive(Debug, Default)]
pub struct Causes<'a> {
    /// Where the keys of the new description stand.
    pub places: Option<&'a Places>,
    /// The old state of fdroiddata.
    pub old: Option<ByName<'a>>,
    /// The new one.
    pub new: Option<ByName<'a>>,
}

/// The files of `metadata/` by their names, and the srclibs.
#[derive(Debug)]
pub struct ByName<'a> {
    records: BTreeMap<&'a str, &'a Record>,
    srclibs: &'a Srclibs,
}

impl<'a> ByName<'a> {
    /// The apps of a state of fdroiddata.
    #[must_use]
    pub fn new(apps: &'a compile::Metadata) -> Self {
        let records = apps.records.iter().map(|record| (record.name(), record)).collect();
        Self { records, srclibs: &apps.srclibs }
    }

    fn poller_srclib(&self, name: &str) -> Option<&str> {
        match self.records.get(name)? {
            Record::App { poller: Ok(poller), .. } => poller.srclib.as_deref(),
            _ => None,
        }
    }
}

impl Causes<'_> {
    /// Why a value of a poller differs. `shared` are the keys of the value that all have.
    pub(super) fn poller_field(
        &self,
        keys: &Keys<'_>,
        name: &str,
        way: &str,
        shared: &[&str],
    ) -> Option<Cause> {
        let origin = poller_origin(way);
        let own = match origin {
            PollerOrigin::Keys(keys) => keys,
            _ => &[],
        };
        let origins: Vec<&str> = own.iter().chain(shared).copied().collect();
        if let Some(cause) = keys.cause(&origins) {
            return Some(cause);
        }
        let new = self.new.as_ref()?;
        let marks = match new.records.get(name)? {
            Record::App { marks, .. } => *marks,
            Record::Quarantined { .. } => return None,
        };
        let own = |span| Some(Cause::of(metadata(name, span), None));
        let srclib = || {
            let srclib = new.poller_srclib(name)?;
            // Another srclib than before is the app's own doing.
            let old = self.old.as_ref().and_then(|old| old.poller_srclib(name));
            let same = self.old.is_none() || old == Some(srclib);
            let marks = new.srclibs.get(srclib).and_then(|read| Some(read.as_ref().ok()?.marks));
            same.then(|| (srclib, marks.unwrap_or_default()))
        };
        match (origin, srclib()) {
            (PollerOrigin::Repo, Some((srclib, marks))) => Some(in_srclib(srclib, marks.repo)),
            (PollerOrigin::RepoType, Some((srclib, marks))) => {
                Some(in_srclib(srclib, marks.repo_type))
            }
            // An exception may be for its host.
            (PollerOrigin::Repo, None) | (PollerOrigin::Keys(["apps.overrides"]), _) => {
                own(marks.repo)
            }
            (PollerOrigin::RepoType, None) => own(marks.repo_type),
            (PollerOrigin::UpdateCheckMode | PollerOrigin::Keys(_), _) => {
                own(marks.update_check_mode)
            }
        }
    }

    /// Why an app's poller came or went. `polls` are the keys that say that apps are polled.
    pub(super) fn poller(
        &self,
        keys: &Keys<'_>,
        name: &str,
        what: &What,
        polls: &[String],
    ) -> Option<Cause> {
        let record = self.new.as_ref().and_then(|new| new.records.get(name));
        let mut rules: Vec<&str> = match (record, what) {
            (Some(Record::App { poller: Err(reason), .. }), _) => rule(*reason).to_vec(),
            (Some(Record::App { marks, .. }), What::Added) => {
                let disabled = marks.disabled.map(|_| "apps.disabled");
                let archived = marks.archive_policy.map(|_| "apps.archived");
                let all = ["apps.update-check-modes", "apps.overrides", "remotes"];
                disabled.into_iter().chain(archived).chain(all).collect()
            }
            _ => Vec::new(),
        };
        rules.extend(polls.iter().map(String::as_str));
        keys.cause(&rules).or_else(|| self.metadata(name, what))
    }

    /// What of an app's metadata made its poller come or go.
    fn metadata(&self, name: &str, what: &What) -> Option<Cause> {
        let new = &self.new.as_ref()?.records;
        let file = |why: &str| Cause::of(metadata(name, None), Some(why.to_owned()));
        match (new.get(name), what) {
            (None, What::Removed) => Some(file("the file is gone")),
            (None, _) => None,
            (Some(record), What::Removed) => Some(state(record).into()),
            (Some(record), _) => match self.old.as_ref().map(|old| old.records.get(name)) {
                // What it was says more than what it is now.
                Some(Some(before)) => {
                    let why = state(before).why.map(|why| format!("it was {why}"));
                    Some(Cause::of(state(record).place, why))
                }
                Some(None) => Some(file("the file is new")),
                None => Some(state(record).into()),
            },
        }
    }

    /// The apps that no poller watches, before or after, and that are in another state.
    pub(super) fn unpolled(&self, old: &Model, new: &Model) -> Vec<Change> {
        let (Some(before), Some(after)) = (&self.old, &self.new) else { return Vec::new() };
        let (before, after) = (&before.records, &after.records);
        let pollers = old.pollers.keys().chain(new.pollers.keys());
        let polled: BTreeSet<&str> = pollers.map(|key| key.name.as_str()).collect();
        let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
        let word = |record: Option<&&Record>| record.and_then(|record| state(record).why);
        names
            .difference(&polled)
            .filter_map(|name| {
                let (was, is) = (before.get(name), after.get(name));
                let (old, new) = (word(was), word(is));
                let what = match (was, is) {
                    (None, _) => What::Added,
                    (_, None) => What::Removed,
                    _ if old == new => return None,
                    _ => What::Changed,
                };
                let field = Field {
                    way: "state".to_owned(),
                    old: old.map(|word| json!(word)),
                    new: new.map(|word| json!(word)),
                    cause: None,
                };
                let place = is.map_or_else(|| metadata(name, None), |record| state(record).place);
                let (master, name) = (String::new(), shown(name));
                Some(Change {
                    cause: Some(Cause::of(place, None)),
                    key: Key { kind: Kind::App, master, name },
                    what,
                    fields: vec![field],
                    effect: Effect::Nothing,
                })
            })
            .collect()
    }
}

impl Cause {
    fn of(place: Place, why: Option<String>) -> Self {
        Self { place: Some(place), key: None, why }
    }
}

/// The keys of the description that an app with this `reason` is not polled by.
fn rule(reason: Reason) -> &'static [&'static str] {
    match reason {
        Reason::Disabled => &["apps.disabled"],
        Reason::Archived => &["apps.archived"],
        Reason::NoUpdateCheck => &["apps.update-check-modes"],
        Reason::NotPolled => &["apps.overrides"],
        Reason::RepoRefused => &["remotes"],
        Reason::NoRepo | Reason::SrclibMissing | Reason::RepoUnpollable | Reason::BranchInvalid => {
            &[]
        }
    }
}

fn metadata(name: &str, span: Option<Span>) -> Place {
    Place { file: format!("{METADATA}/{}.yml", shown(name)), span }
}

fn in_srclib(name: &str, span: Option<Span>) -> Cause {
    Cause::of(Place { file: format!("{SRCLIBS}/{}.yml", shown(name)), span }, None)
}

/// What an app is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The line that says so.
    pub place: Place,
    /// Why no poller watches it; `None` if one does.
    pub why: Option<String>,
}

impl From<State> for Cause {
    fn from(State { place, why }: State) -> Self {
        Self::of(place, why)
    }
}

/// What an app is now, with the line that says so.
#[must_use]
pub fn state(record: &Record) -> State {
    match record {
        Record::Quarantined { error, .. } => {
            State { place: error.place.clone(), why: Some(format!("broken: {}", error.message)) }
        }
        Record::App { id, marks, poller, .. } => {
            let Marks { disabled, archive_policy, update_check_mode, repo, repo_type } = *marks;
            let span = match poller {
                Ok(_) | Err(Reason::NoUpdateCheck | Reason::BranchInvalid) => update_check_mode,
                Err(Reason::Disabled) => disabled,
                Err(Reason::Archived) => archive_policy,
                Err(Reason::RepoUnpollable) => repo_type,
                Err(
                    Reason::NotPolled
                    | Reason::NoRepo
                    | Reason::SrclibMissing
                    | Reason::RepoRefused,
                ) => repo,
            };
            let why = poller.as_ref().err().map(Reason::to_string);
            State { place: metadata(id.as_str(), span), why }
        }
    }
}
