//! The keys of the description that have another value, and which of them made something differ.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde_json::Value;

use super::cause::Cause;
use super::effect::Effect;
use super::{Change, Field, What};
use crate::config::Places;
use crate::model::{Key, Kind};

/// What a description says, by the paths of its keys.
type Said = BTreeMap<String, Value>;

/// What differs between two descriptions.
pub(super) struct Keys<'a> {
    old: &'a Said,
    new: &'a Said,
    changed: BTreeSet<&'a str>,
    /// Where the keys of the new one stand, if that is known.
    places: Option<&'a Places>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(old: &'a Said, new: &'a Said, places: Option<&'a Places>) -> Self {
        let all = old.keys().chain(new.keys());
        let changed = all.filter(|key| old.get(*key) != new.get(*key)).map(String::as_str);
        Self { old, new, changed: changed.collect(), places }
    }

    /// Why an object is there or gone that follows from the keys `origins`: the first of them that
    /// has come or gone as a whole, else as [`cause`](Self::cause).
    pub(super) fn whole(&self, origins: &[String]) -> Option<Cause> {
        let whole = |origin: &&String| has(self.old, origin) != has(self.new, origin);
        match origins.iter().find(whole) {
            Some(origin) => Some(self.at(origin)),
            None => self.cause(origins),
        }
    }

    /// Why a value differs that follows from the keys `origins`, the most specific one first: the
    /// first of them that has another value, or has one below or above it.
    pub(super) fn cause<T: AsRef<str>>(&self, origins: &[T]) -> Option<Cause> {
        let origins = || origins.iter().map(AsRef::as_ref);
        let exact = || origins().find(|origin| self.changed.contains(origin));
        let inside = || {
            origins().find_map(|origin| {
                let first = self.below(origin).next()?;
                let whole = !has(self.old, origin) || !has(self.new, origin);
                Some(if whole { origin } else { first })
            })
        };
        let around = || {
            origins().find_map(|origin| {
                std::iter::successors(parent(origin), |way| parent(way))
                    .find(|way| self.changed.contains(way))
            })
        };
        let key = exact().or_else(inside).or_else(around)?;
        Some(self.at(key))
    }

    /// The changed keys that are `path` or lie below it.
    fn below<'s>(&'s self, path: &'s str) -> impl Iterator<Item = &'s str> {
        let from = self.changed.range(path..);
        from.take_while(move |key| key.starts_with(path)).copied().filter(|key| is_in(key, path))
    }

    /// The choice that was made anew and decides on what `key` is about: on the thing that it is of,
    /// or on one whose name comes or goes in it.
    fn decides<'s>(&'s self, key: &str) -> Option<&'s str> {
        let thing = match key.match_indices('.').nth(1) {
            Some((end, _)) => key.get(..end)?,
            None => key,
        };
        let mut things = vec![thing.to_owned()];
        if let Some((_, kind @ ("builders" | "workers"))) = key.rsplit_once('.') {
            let names = |said: &Said| match said.get(key) {
                Some(Value::Array(names)) => names.clone(),
                _ => Vec::new(),
            };
            let all = [names(self.old), names(self.new)].concat();
            things.extend(all.iter().filter_map(|name| Some(format!("{kind}.{}", name.as_str()?))));
        }
        self.below("choices").find(|choice| {
            let name = choice.strip_prefix("choices.").and_then(|way| way.strip_suffix(".chosen"));
            name.is_some_and(|name| things.iter().any(|thing| self.depends(thing, name)))
        })
    }

    /// Whether a choice decides on a thing or a part of it.
    fn depends(&self, thing: &str, choice: &str) -> bool {
        let when = format!(".when.{choice}");
        [self.old, self.new].iter().any(|said| {
            let from = said.range::<str, _>((Bound::Included(thing), Bound::Unbounded));
            let below = from.take_while(|(key, _)| key.starts_with(thing)).map(|(key, _)| key);
            below.filter(|key| is_in(key, thing)).any(|key| key.ends_with(&when))
        })
    }

    fn at(&self, key: &str) -> Cause {
        let key = self.decides(key).unwrap_or(key);
        let is_there = has(self.new, key);
        // Of a list, the element: it may be one that is said elsewhere.
        let differs = match (self.old.get(key), self.new.get(key)) {
            (Some(Value::Array(old)), Some(Value::Array(new))) => {
                (0..new.len()).find(|i| old.get(*i) != new.get(*i))
            }
            _ => None,
        };
        let place = differs.map_or_else(|| key.to_owned(), |i| format!("{key}[{i}]"));
        Cause {
            place: self.places.map(|places| places.nearest(&place).clone()),
            key: Some(key.to_owned()),
            why: (!is_there).then(|| format!("`{key}` is gone")),
        }
    }

    /// The changed keys that made none of `changes`: nothing that a master runs follows from them.
    /// Those of a list that is told of are not told again, for they may just have moved.
    pub(super) fn without_effect(&self, told: &BTreeSet<String>) -> Vec<Change> {
        if self.old.is_empty() || self.new.is_empty() {
            return Vec::new();
        }
        let lists: BTreeSet<&str> =
            told.iter().filter_map(|key| Some(key.split_once('[')?.0)).collect();
        let is_told = |key: &str| {
            told.iter().any(|told| is_in(key, told))
                || key.split_once('[').is_some_and(|(list, _)| lists.contains(list))
        };
        let left = self.changed.iter().filter(|key| !is_told(key));
        left.map(|key| {
            let (old, new) = (self.old.get(*key), self.new.get(*key));
            let what = match (old, new) {
                (None, _) => What::Added,
                (_, None) => What::Removed,
                _ => What::Changed,
            };
            let (old, new) = (old.cloned(), new.cloned());
            let field = Field { way: "value".to_owned(), old, new, cause: Some(self.at(key)) };
            let (master, name) = (String::new(), (*key).to_owned());
            Change {
                key: Key { kind: Kind::Key, master, name },
                cause: (what != What::Changed).then(|| self.at(key)),
                fields: if what == What::Removed { Vec::new() } else { vec![field] },
                what,
                effect: Effect::Nothing,
            }
        })
        .collect()
    }
}

/// Whether `path` or a key below it is said.
fn has(said: &Said, path: &str) -> bool {
    let from = said.range::<str, _>((Bound::Included(path), Bound::Unbounded));
    from.take_while(|(key, _)| key.starts_with(path)).any(|(key, _)| is_in(key, path))
}

/// Whether `key` is `path` or lies below it.
fn is_in(key: &str, path: &str) -> bool {
    key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn parent(path: &str) -> Option<&str> {
    path.get(..path.rfind(['.', '['])?)
}
