//! What masters run, as named objects with fields, and the keys of the description that each comes
//! from. `generate` writes it beside the files of the masters, and two sets are compared by it.
//!
//! The pollers of apps are too many to stand in two files: they are the lines of `pollers.py`.

mod flatten;
mod pollers;
mod written;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pipeline::RUNTIME;
use crate::render::{EXTRA, POLLERS, written_pollers};
use crate::write::{OutputSet, digest};

pub use written::written;

/// The file of the model, in the set.
pub const MODEL: &str = "model.json";

/// What an object is to Buildbot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A file of the Python that Buildbot lacks, which all masters import.
    Runtime,
    /// Python of the site's own, of which nothing is known.
    Extra,
    /// A key of `BuildmasterConfig` with a single value.
    Setting,
    /// A lock.
    Lock,
    /// A worker.
    Worker,
    /// A builder.
    Builder,
    /// A scheduler.
    Scheduler,
    /// What brings changes, but for the pollers of apps.
    ChangeSource,
    /// A service, such as a reporter.
    Service,
    /// What watches the source of an app.
    Poller,
    /// An app of fdroiddata that no poller watches.
    App,
    /// A key of the description from which no object follows.
    Key,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runtime => "runtime",
            Self::Extra => "extra code",
            Self::Setting => "setting",
            Self::Lock => "lock",
            Self::Worker => "worker",
            Self::Builder => "builder",
            Self::Scheduler => "scheduler",
            Self::ChangeSource => "change source",
            Self::Service => "service",
            Self::Poller => "poller",
            Self::App => "app",
            Self::Key => "key",
        })
    }
}

/// Which object is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// Its master; empty for what all masters share.
    pub master: String,
    /// Its name.
    pub name: String,
}

/// A value, and the keys of the description that it follows from; the first is the most specific.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// As JSON has it; what JSON has not, as `{"python": "…"}`.
    pub value: Value,
    /// The paths of the keys.
    pub origins: Vec<String>,
}

/// The values of an object, each under its way: `memory`, `steps[fdroid build].command`. What is
/// called stands at the way of the call itself. A way that ends with `[]` has the order of a list.
pub type Fields = BTreeMap<String, Field>;

/// An object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// The paths of the keys that it is there for.
    pub origins: Vec<String>,
    /// Its values.
    pub fields: Fields,
}

/// What masters run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// The objects, but for pollers.
    pub objects: BTreeMap<Key, Object>,
    /// The pollers, each as the call that makes it.
    pub pollers: BTreeMap<Key, String>,
    /// What the pollers of a master share that one function makes: by the master and the function.
    pub functions: BTreeMap<(String, String), Object>,
    /// Names that several objects of a kind have, which Buildbot's `checkconfig` lets pass.
    pub collisions: Vec<Key>,
    /// What the description says, by the paths of its keys.
    pub description: BTreeMap<String, Value>,
    /// Why there is nothing but the runtime, if so.
    pub unread: Option<Unread>,
}

/// Why the model of a set is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// An earlier version of this program wrote none.
    #[error("it has no `{MODEL}`")]
    Missing,
    /// It is not what was written.
    #[error("its `{MODEL}` was edited by hand")]
    Edited,
    /// It is no model.
    #[error("its `{MODEL}` is damaged: {0}")]
    Damaged(String),
}

impl Model {
    /// The model of a set.
    #[must_use]
    pub fn read(set: &OutputSet) -> Self {
        let mut model = match (set.text(MODEL), set.iter().next()) {
            (_, None) => Self::default(),
            (None, _) => Self::unread(Unread::Missing),
            (Some(_), _) if set.is_edited(MODEL) => Self::unread(Unread::Edited),
            (Some(text), _) => {
                let read = written::read(text);
                read.unwrap_or_else(|error| Self::unread(Unread::Damaged(error)))
            }
        };
        for (path, bytes) in set.iter() {
            match path.split_once('/') {
                Some((RUNTIME, file)) => {
                    let field = Field { value: digest(bytes).into(), origins: Vec::new() };
                    let fields = BTreeMap::from([("sha256".to_owned(), field)]);
                    let object = Object { origins: Vec::new(), fields };
                    model.add(Kind::Runtime, "", file, object);
                }
                Some((master, EXTRA)) if model.unread.is_none() => {
                    let origins = vec![format!("masters.{master}.extra")];
                    let field = Field { value: digest(bytes).into(), origins: origins.clone() };
                    let fields = BTreeMap::from([("sha256".to_owned(), field)]);
                    model.add(Kind::Extra, master, EXTRA, Object { origins, fields });
                }
                Some((master, POLLERS)) if model.unread.is_none() && !set.is_edited(path) => {
                    model.add_pollers(master, set.text(path).unwrap_or_default());
                }
                _ => {}
            }
        }
        model
    }

    fn unread(why: Unread) -> Self {
        Self { unread: Some(why), ..Self::default() }
    }

    /// All that it has.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.keys().chain(self.pollers.keys())
    }

    /// An object by its key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Cow<'_, Object>> {
        match self.pollers.get(key) {
            Some(call) => Some(Cow::Owned(pollers::expanded(&self.functions, &key.master, call))),
            None => self.objects.get(key).map(Cow::Borrowed),
        }
    }

    /// Whether a poller is certainly the same in both.
    #[must_use]
    pub(crate) fn has_same_poller(&self, other: &Self, key: &Key) -> bool {
        self.functions == other.functions && self.pollers.get(key) == other.pollers.get(key)
    }

    /// The names of the objects of a kind that a master has.
    pub fn names<'m>(&'m self, kind: Kind, master: &'m str) -> impl Iterator<Item = &'m str> {
        self.keys()
            .filter(move |key| key.kind == kind && key.master == master)
            .map(|key| key.name.as_str())
    }

    fn add(&mut self, kind: Kind, master: &str, name: &str, object: Object) {
        let key = Key { kind, master: master.to_owned(), name: name.to_owned() };
        if self.objects.insert(key.clone(), object).is_some() {
            self.collisions.push(key);
        }
    }

    fn add_pollers(&mut self, master: &str, text: &str) {
        for (name, call) in written_pollers(text) {
            let key = Key { kind: Kind::Poller, master: master.to_owned(), name: name.to_owned() };
            if self.pollers.insert(key.clone(), call.to_owned()).is_some() {
                self.collisions.push(key);
            }
        }
    }
}
