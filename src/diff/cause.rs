//! Why an object differs: the line of an app's metadata or of the pipeline description.

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::{self, Description, Record};
use crate::config::{Document, Path};
use crate::fdroid::Marks;
use crate::finding::{Place, Span};
use crate::pipeline::Master;
use crate::resolve::apps::Reason;
use crate::text::shown;

use super::effect::Effect;
use super::model::{Key, Kind, Model};
use super::{Change, Field, What};

/// What made something differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// Where it stands.
    pub place: Place,
    /// What it means, where the place does not say it.
    pub why: Option<String>,
}

/// All that causes are looked up in; what is not known is `None`.
#[derive(Debug, Default)]
pub struct Causes<'a> {
    document: Option<(&'a Description, Document<'a>)>,
    old: Option<Apps<'a>>,
    new: Option<Apps<'a>>,
}

/// The files of `metadata/` by their names.
#[derive(Debug)]
pub struct Apps<'a>(BTreeMap<&'a str, &'a Record>);

impl<'a> Apps<'a> {
    /// The apps of a state of fdroiddata.
    #[must_use]
    pub fn new(apps: &'a compile::Apps) -> Self {
        Self(apps.records.iter().map(|record| (record.name(), record)).collect())
    }
}

impl<'a> Causes<'a> {
    /// Causes in a description, and in two states of fdroiddata.
    #[must_use]
    pub fn new(
        description: Option<&'a Description>,
        old: Option<Apps<'a>>,
        new: Option<Apps<'a>>,
    ) -> Self {
        let document = description.and_then(|description| {
            Some((description, Document::parse(&description.file, &description.text).ok()?))
        });
        Self { document, old, new }
    }

    /// Why an object came or went.
    pub(super) fn object(&self, key: &Key, what: &What) -> Option<Cause> {
        match key.kind {
            Kind::Runtime => None,
            Kind::Poller | Kind::App => self.app(&key.name, what),
            _ => self.described(key, ""),
        }
    }

    /// Why a value of an object differs.
    pub(super) fn field(&self, key: &Key, way: &str) -> Option<Cause> {
        if key.kind != Kind::Poller {
            return if key.kind == Kind::Runtime { None } else { self.described(key, way) };
        }
        match way {
            "pollInterval" => return self.place(&Path::root("apps").key("poll-interval")),
            "allow_protocol" => return self.place(&Path::root("remotes").key("schemes")),
            "operator" => return self.place(&Path::root("remotes").key("operator")),
            _ => {}
        }
        let marks = match self.new.as_ref()?.0.get(key.name.as_str())? {
            Record::App { marks, .. } => *marks,
            Record::Quarantined { .. } => return None,
        };
        let span = match way {
            "repourl" => marks.repo,
            "" => marks.repo_type,
            _ => marks.update_check_mode,
        };
        Some(Cause { place: metadata(&key.name, span), why: None })
    }

    /// Why an app's poller came or went.
    fn app(&self, name: &str, what: &What) -> Option<Cause> {
        let new = self.new.as_ref()?;
        let file = |why: &str| Cause { place: metadata(name, None), why: Some(why.to_owned()) };
        match (new.0.get(name), what) {
            (None, What::Removed) => Some(file("the file is gone")),
            (None, _) => None,
            (Some(record), What::Removed) => Some(state(record)),
            (Some(record), _) => match self.old.as_ref().map(|old| old.0.get(name)) {
                // What it was says more than what it is now.
                Some(Some(before)) => {
                    let before = state(before);
                    let why = before.why.map(|why| format!("it was {why}"));
                    Some(Cause { place: state(record).place, why })
                }
                Some(None) => Some(file("the file is new")),
                None => Some(state(record)),
            },
        }
    }

    /// The apps that no poller watches, before or after, and that are in another state.
    pub(super) fn unpolled(&self, old: &Model, new: &Model) -> Vec<Change> {
        let (Some(before), Some(after)) = (&self.old, &self.new) else { return Vec::new() };
        let polled: BTreeSet<&str> = [old, new]
            .iter()
            .flat_map(|model| model.objects.keys())
            .filter(|key| key.kind == Kind::Poller)
            .map(|key| key.name.as_str())
            .collect();
        let names: BTreeSet<&str> = before.0.keys().chain(after.0.keys()).copied().collect();
        let word = |record: Option<&&Record>| record.and_then(|record| state(record).why);
        names
            .difference(&polled)
            .filter_map(|name| {
                let (was, is) = (before.0.get(name), after.0.get(name));
                let (old, new) = (word(was), word(is));
                let what = match (was, is) {
                    (None, _) => What::Added,
                    (_, None) => What::Removed,
                    _ if old == new => return None,
                    _ => What::Changed,
                };
                let field = Field {
                    way: "state".to_owned(),
                    old: old.map(Into::into),
                    new: new.map(Into::into),
                    cause: None,
                };
                let name = shown(name);
                Some(Change {
                    cause: is.map_or_else(
                        || Some(Cause { place: metadata(&name, None), why: None }),
                        |record| Some(Cause { why: None, ..state(record) }),
                    ),
                    key: Key { kind: Kind::App, master: String::new(), name },
                    what,
                    fields: vec![field],
                    effect: Effect::Nothing,
                })
            })
            .collect()
    }

    /// The place in the description that an object, or a value of it, comes from.
    fn described(&self, key: &Key, way: &str) -> Option<Cause> {
        let (description, _) = self.document.as_ref()?;
        let masters = &description.pipeline.masters;
        let (_, master) = masters.iter().find(|(name, _)| name.as_str() == key.master)?;
        let name = key.name.as_str();
        let path = match key.kind {
            Kind::Lock => Path::root("locks").key(name),
            Kind::Scheduler => Path::root("schedulers").key(name),
            Kind::Service => Path::root("reporters").key(name),
            Kind::Builder => step(&Path::root("builders").key(name), master, name, way),
            Kind::Worker => {
                let has = |instances: &[String]| instances.iter().any(|i| i == name);
                let worker = master.workers.iter().find(|(_, w)| has(&w.instances));
                Path::root("workers").key(worker?.0.as_str())
            }
            Kind::ChangeSource if name == "fdroiddata-poller" => Path::root("fdroiddata"),
            Kind::ChangeSource => Path::root("masters").key(&key.master).key("submit"),
            _ => {
                let path = Path::root("masters").key(&key.master);
                if name == "www" { path.key("web") } else { path }
            }
        };
        // The innermost part that has a key of its own.
        let found = way.rsplit(['.', '[']).chain([name]).filter(|field| !field.is_empty());
        let found = found.map(|field| self.nearest(&path, field)).find(|nearer| *nearer != path);
        self.place(&found.unwrap_or(path))
    }

    /// The key below `path` that gives Buildbot's `field` its value, or `path` itself.
    fn nearest(&self, path: &Path, field: &str) -> Path {
        let key = match field {
            "maxTime" | "runtime_timeout" => "timeout",
            "missing_timeout" => "start-timeout",
            "workernames" | "protocols" => "workers",
            "repourl" | "buildbotURL" => "url",
            "branches" => "branch",
            "treeStableTimer" => "settle",
            "builderNames" => "builders",
            "db" | "db_url" => "database",
            "port" => "listen",
            "pollInterval" => "poll-interval",
            "titleURL" => "title-url",
            "plugins" => "views",
            "maxCount" => "sharers",
            "command" => "run",
            other => other,
        };
        let Some((_, document)) = &self.document else { return path.clone() };
        let kinds = ["vagrant", "docker", "libvirt", "remote"].map(|kind| path.key(kind).key(key));
        let mut ways = std::iter::once(path.key(key)).chain(kinds);
        ways.find(|way| document.has(way)).unwrap_or_else(|| path.clone())
    }

    fn place(&self, path: &Path) -> Option<Cause> {
        let (_, document) = self.document.as_ref()?;
        Some(Cause { place: document.key(path), why: None })
    }
}

/// The way on to the step that `way` leads into, if it does.
fn step(builder: &Path, master: &Master, name: &str, way: &str) -> Path {
    let label = way.strip_prefix("steps[").and_then(|rest| rest.split(']').next());
    let builders = &master.builders;
    let steps = builders.iter().find(|(n, _)| n.as_str() == name).map(|(_, b)| &b.steps);
    let found = steps
        .zip(label)
        .and_then(|(steps, label)| steps.iter().position(|step| step.name == label));
    found.map_or(builder.clone(), |i| builder.key("steps").index(i))
}

fn metadata(name: &str, span: Option<Span>) -> Place {
    Place { file: format!("{}/{}.yml", crate::load::METADATA, shown(name)), span }
}

/// What an app is now, with the line that says so; an active one has no `why`.
#[must_use]
pub fn state(record: &Record) -> Cause {
    match record {
        Record::Quarantined { error, .. } => {
            Cause { place: error.place.clone(), why: Some(format!("broken: {}", error.message)) }
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
            Cause { place: metadata(id.as_str(), span), why }
        }
    }
}
