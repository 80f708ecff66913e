//! What differs between two configurations, object by object, why, and what it does to a master
//! that runs.

mod cause;
mod effect;
mod files;
mod keys;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use cause::{ByName, Cause, Causes, State, state};
pub use effect::Effect;
pub use files::File;
use keys::Keys;
pub use words::Style;

use crate::model::{self, Fields, Key, Kind, Model, Unread};
use crate::render::POLLERS;
use crate::write::OutputSet;

/// The version of the JSON that a difference gives.
pub(crate) const FORMAT: u32 = 1;

/// What happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other values.
    Changed,
    /// It has another name, and is the same but for that.
    Renamed {
        /// The name it had.
        from: String,
    },
}

/// A value that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its way in the object.
    pub way: String,
    /// What it was; `None` where it was not there.
    pub old: Option<Value>,
    /// What it is; `None` where it is not there.
    pub new: Option<Value>,
    /// What made it differ.
    pub cause: Option<Cause>,
}

/// An object that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which object; by its new name, where it has one.
    pub key: Key,
    /// What happened to it.
    pub what: What,
    /// The values that differ; of a new object all, of one that is gone all that it had.
    pub fields: Vec<Field>,
    /// What made it come or go.
    pub cause: Option<Cause>,
    /// What it does to a master that runs.
    pub effect: Effect,
}

/// All that differs: what is gone first, then what changed, then what is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// The objects.
    pub changes: Vec<Change>,
    /// The files whose meaning is not known, as text.
    pub files: Vec<File>,
    /// Why nothing else of the masters is known, if so: what is wrong with which of the two sets.
    pub blind: Option<(Side, Unread)>,
}

/// One of two sets that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Old,
    /// The second.
    New,
}

impl Diff {
    /// What differs between two sets, each with its model. `causes` knows why.
    #[must_use]
    pub fn new(
        (old_set, old): (&OutputSet, &Model),
        (new_set, new): (&OutputSet, &Model),
        causes: &Causes<'_>,
    ) -> Self {
        let blind = [(Side::Old, &old.unread), (Side::New, &new.unread)];
        let blind = blind.into_iter().find_map(|(side, why)| Some((side, why.clone()?)));
        let edited: BTreeSet<&str> = old_set.edited().chain(new_set.edited()).collect();
        // Nobody knows which pollers an edited file has.
        let is_known = |key: &Key| match key.kind {
            Kind::Runtime => true,
            Kind::Poller => {
                blind.is_none() && !edited.contains(format!("{}/{POLLERS}", key.master).as_str())
            }
            _ => blind.is_none(),
        };
        let keys = |model: &Model| -> BTreeSet<Key> {
            model.keys().filter(|key| is_known(key)).cloned().collect()
        };
        let sides = Sides {
            old,
            new,
            keys: Keys::new(&old.description, &new.description, causes.places),
            causes,
        };
        let mut changes = sides.changes(&keys(old), &keys(new));
        if blind.is_none() {
            changes.extend(causes.unpolled(old, new));
            changes.extend(sides.keys.without_effect(&sides.told(&changes)));
        }
        changes.sort_by(|a, b| (a.rank(), &a.key).cmp(&(b.rank(), &b.key)));
        Self { changes, files: files::files((old_set, old), (new_set, new)), blind }
    }

    /// Whether nothing that a master runs differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.changes.iter().all(|change| change.effect == Effect::Nothing)
    }

    /// What only a restart puts into effect.
    pub(crate) fn restarts(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.effect == Effect::Restart)
    }

    /// The number of objects that are new, that differ and that are gone. Renamed ones differ.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |rank| self.changes.iter().filter(|change| change.rank() == rank).count();
        (count(3), count(1) + count(2), count(0))
    }
}

impl Change {
    fn rank(&self) -> u8 {
        match self.what {
            What::Removed => 0,
            What::Renamed { .. } => 1,
            What::Changed => 2,
            What::Added => 3,
        }
    }
}

/// Two models that are compared.
struct Sides<'a> {
    old: &'a Model,
    new: &'a Model,
    keys: Keys<'a>,
    causes: &'a Causes<'a>,
}

impl Sides<'_> {
    fn changes(&self, old: &BTreeSet<Key>, new: &BTreeSet<Key>) -> Vec<Change> {
        let mut gone: BTreeSet<&Key> = old.difference(new).collect();
        let mut come: BTreeSet<&Key> = new.difference(old).collect();
        let mut changes = Vec::new();
        for (from, to) in self.renames(&gone, &come) {
            changes.push(Change {
                what: What::Renamed { from: from.name.clone() },
                fields: Vec::new(),
                cause: self.object_cause(to, &What::Added),
                effect: Effect::of(to.kind, &to.name, &What::Renamed { from: String::new() }, &[]),
                key: to.clone(),
            });
            gone.remove(from);
            come.remove(to);
        }
        changes.extend(gone.into_iter().map(|key| self.whole(key, What::Removed)));
        changes.extend(come.into_iter().map(|key| self.whole(key, What::Added)));
        changes.extend(old.intersection(new).filter_map(|key| self.changed(key)));
        changes
    }

    /// An object that is new or gone.
    fn whole(&self, key: &Key, what: What) -> Change {
        let is_new = what == What::Added;
        let object = if is_new { self.new.get(key) } else { self.old.get(key) };
        let fields = object.unwrap_or_default().into_owned().fields.into_iter();
        let fields = fields
            .filter(|(way, _)| !way.ends_with("[]"))
            .map(|(way, field)| {
                let (old, new) =
                    if is_new { (None, Some(field.value)) } else { (Some(field.value), None) };
                Field { way, old, new, cause: None }
            })
            .collect();
        let cause = self.object_cause(key, &what);
        let effect = Effect::of(key.kind, &key.name, &what, &[]);
        Change { key: key.clone(), what, fields, cause, effect }
    }

    /// An object that is in both, if it differs.
    fn changed(&self, key: &Key) -> Option<Change> {
        if key.kind == Kind::Poller && self.old.has_same_poller(self.new, key) {
            return None;
        }
        let (before, now) = (self.old.get(key)?, self.new.get(key)?);
        let ways: BTreeSet<&String> = before.fields.keys().chain(now.fields.keys()).collect();
        let fields: Vec<Field> = ways
            .into_iter()
            .filter_map(|way| {
                let (old, new) = (before.fields.get(way), now.fields.get(way));
                let value = |field: Option<&model::Field>| field.map(|f| f.value.clone());
                let (was, is) = (value(old), value(new));
                if was == is || (way.ends_with("[]") && !is_reordered(was.as_ref(), is.as_ref())) {
                    return None;
                }
                let outer = outer(&now.fields, &before.fields, way);
                let all = new.into_iter().chain(old).chain(outer);
                let origins: Vec<&str> =
                    all.flat_map(|field| &field.origins).map(String::as_str).collect();
                let cause = match key.kind {
                    Kind::Poller => self.causes.poller_field(&self.keys, &key.name, way, &origins),
                    _ => self.keys.cause(&origins),
                };
                Some(Field { way: way.clone(), old: was, new: is, cause })
            })
            .collect();
        let what = What::Changed;
        let effect = Effect::of(key.kind, &key.name, &what, &fields);
        (!fields.is_empty()).then(|| Change { key: key.clone(), what, fields, cause: None, effect })
    }

    /// Why an object came or went.
    fn object_cause(&self, key: &Key, what: &What) -> Option<Cause> {
        let objects = [self.new.get(key), self.old.get(key)];
        let origins: Vec<String> =
            objects.into_iter().flatten().flat_map(|object| object.into_owned().origins).collect();
        match key.kind {
            Kind::Runtime => None,
            Kind::Poller => self.causes.poller(&self.keys, &key.name, what, &origins),
            _ => self.keys.whole(&origins),
        }
    }

    /// The objects that have another name but equal values. Where several have the same values, as
    /// apps of one repository do, nobody can tell which became which.
    fn renames<'k>(
        &self,
        gone: &BTreeSet<&'k Key>,
        come: &BTreeSet<&'k Key>,
    ) -> Vec<(&'k Key, &'k Key)> {
        type Alike<'k> = BTreeMap<(Kind, &'k str, Vec<String>), Vec<&'k Key>>;
        fn alike<'k>(model: &Model, keys: &BTreeSet<&'k Key>) -> Alike<'k> {
            let mut alike = Alike::new();
            for key in keys.iter().filter(|key| key.kind != Kind::Setting) {
                let object = model.get(key).unwrap_or_default();
                let fields = object.fields.iter();
                let lines: Vec<String> =
                    fields.map(|(way, field)| format!("{way}={}", field.value)).collect();
                alike.entry((key.kind, key.master.as_str(), lines)).or_default().push(key);
            }
            alike
        }
        let come = alike(self.new, come);
        alike(self.old, gone)
            .into_iter()
            .filter_map(|(values, from)| match (from.as_slice(), come.get(&values)?.as_slice()) {
                ([from], [to]) => Some((*from, *to)),
                _ => None,
            })
            .collect()
    }

    /// The keys of the description that `changes` follow from.
    fn told(&self, changes: &[Change]) -> BTreeSet<String> {
        let mut told = BTreeSet::new();
        for change in changes {
            let causes = change.fields.iter().filter_map(|field| field.cause.as_ref());
            let causes = causes.chain(&change.cause);
            told.extend(causes.filter_map(|cause| cause.key.clone()));
            for model in [self.old, self.new] {
                let key = match &change.what {
                    What::Renamed { from } if std::ptr::eq(model, self.old) => {
                        &Key { name: from.clone(), ..change.key.clone() }
                    }
                    _ => &change.key,
                };
                let Some(object) = model.get(key) else { continue };
                let is_told = |way: &&String| {
                    change.what != What::Changed || change.fields.iter().any(|f| f.way == **way)
                };
                let fields = object.fields.iter().filter(|(way, _)| is_told(way));
                told.extend(fields.flat_map(|(_, field)| field.origins.iter().cloned()));
            }
        }
        told
    }
}

/// What a value is part of, as far as that is another thing now, with all that it has: the class of
/// each call around it, and its name by which the value is told, as `steps[build].name` for
/// `steps[build].command`.
fn outer<'f>(new: &'f Fields, old: &'f Fields, way: &str) -> Vec<&'f model::Field> {
    let ends = way.match_indices(['.', '[', ']']).map(|(at, end)| at + usize::from(end == "]"));
    let around = std::iter::once(0).chain(ends).filter_map(|end| way.get(..end));
    let ways: Vec<String> =
        around.flat_map(|way| [format!("{way}.name"), way.to_owned()]).collect();
    let value = |fields: &Fields, way: &String| fields.get(way).map(|field| field.value.clone());
    let differs = |way: &&String| value(new, way) != value(old, way);
    let ways = ways.iter().rev().filter(differs);
    ways.flat_map(|way| new.get(way).into_iter().chain(old.get(way))).collect()
}

/// Whether two lists have the same elements; if not, these tell the difference themselves.
fn is_reordered(old: Option<&Value>, new: Option<&Value>) -> bool {
    let sorted = |value: Option<&Value>| {
        let mut items: Vec<String> = value?.as_array()?.iter().map(ToString::to_string).collect();
        items.sort();
        Some(items)
    };
    sorted(old) == sorted(new)
}
