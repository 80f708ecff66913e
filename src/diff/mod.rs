//! What differs between two configurations, object by object, why, and what it does to a master
//! that runs.

mod cause;
mod effect;
pub mod model;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use crate::buildbot::python::Expr;

pub use cause::{Apps, Cause, Causes, state};
pub use effect::Effect;
use model::{Fields, Key, Kind, Model};
pub use words::Style;

/// The version of the JSON that a difference gives.
pub const FORMAT: u32 = 1;

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
    pub old: Option<Expr>,
    /// What it is; `None` where it is not there.
    pub new: Option<Expr>,
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
}

impl Diff {
    /// What differs between two models. `causes` knows why.
    #[must_use]
    pub fn new(old: &Model, new: &Model, causes: &Causes<'_>) -> Self {
        let missing = |from: &Model, other: &Model| -> BTreeSet<Key> {
            from.objects.keys().filter(|key| !other.objects.contains_key(key)).cloned().collect()
        };
        let (mut gone, mut come) = (missing(old, new), missing(new, old));
        let mut changes = Vec::new();
        for (from, to) in renames(old, &gone, new, &come) {
            changes.push(Change {
                what: What::Renamed { from: from.name.clone() },
                fields: Vec::new(),
                cause: causes.object(&to, &What::Added),
                effect: Effect::of(to.kind, &to.name, &What::Renamed { from: String::new() }, &[]),
                key: to.clone(),
            });
            gone.remove(&from);
            come.remove(&to);
        }
        let mut whole = |keys: BTreeSet<Key>, model: &Model, what: &What| {
            for key in keys {
                let fields = model.objects.get(&key).into_iter().flatten();
                let value = |expr: &Expr, wanted: &What| (what == wanted).then(|| expr.clone());
                let fields: Vec<Field> = fields
                    .filter(|(way, _)| !way.ends_with("[]"))
                    .map(|(way, expr)| Field {
                        way: way.clone(),
                        old: value(expr, &What::Removed),
                        new: value(expr, &What::Added),
                        cause: None,
                    })
                    .collect();
                let (cause, effect) =
                    (causes.object(&key, what), Effect::of(key.kind, &key.name, what, &[]));
                changes.push(Change { key, what: what.clone(), fields, cause, effect });
            }
        };
        whole(gone, old, &What::Removed);
        whole(come, new, &What::Added);
        for (key, now) in &new.objects {
            let Some(before) = old.objects.get(key).filter(|before| *before != now) else {
                continue;
            };
            let mut fields = changed_fields(before, now);
            for field in &mut fields {
                field.cause = causes.field(key, &field.way);
            }
            let what = What::Changed;
            let effect = Effect::of(key.kind, &key.name, &what, &fields);
            changes.push(Change { key: key.clone(), what, fields, cause: None, effect });
        }
        changes.extend(causes.unpolled(old, new));
        changes.sort_by(|a, b| (a.rank(), &a.key).cmp(&(b.rank(), &b.key)));
        Self { changes }
    }

    /// Whether nothing that a master runs differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.iter().all(|change| change.effect == Effect::Nothing)
    }

    /// What only a restart puts into effect.
    pub fn restarts(&self) -> impl Iterator<Item = &Change> {
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

/// The objects that have another name but equal values. Where several have the same values, as
/// apps of one repository do, nobody can tell which became which.
fn renames(
    old: &Model,
    gone: &BTreeSet<Key>,
    new: &Model,
    come: &BTreeSet<Key>,
) -> Vec<(Key, Key)> {
    type Alike<'m> = BTreeMap<(Kind, &'m str, Vec<String>), Vec<&'m Key>>;
    fn alike<'m>(model: &'m Model, keys: &'m BTreeSet<Key>) -> Alike<'m> {
        let mut alike = Alike::new();
        for key in keys.iter().filter(|key| key.kind != Kind::Setting) {
            let fields = model.objects.get(key).into_iter().flatten();
            let lines: Vec<String> = fields.map(|(way, expr)| format!("{way}={expr}")).collect();
            alike.entry((key.kind, &key.master, lines)).or_default().push(key);
        }
        alike
    }
    let come = alike(new, come);
    alike(old, gone)
        .into_iter()
        .filter_map(|(values, from)| match (from.as_slice(), come.get(&values)?.as_slice()) {
            ([from], [to]) => Some(((*from).clone(), (*to).clone())),
            _ => None,
        })
        .collect()
}

fn changed_fields(old: &Fields, new: &Fields) -> Vec<Field> {
    let ways: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    ways.into_iter()
        .filter(|way| old.get(*way) != new.get(*way))
        .filter(|way| !way.ends_with("[]") || is_reordered(old.get(*way), new.get(*way)))
        .map(|way| Field {
            way: way.clone(),
            old: old.get(way).cloned(),
            new: new.get(way).cloned(),
            cause: None,
        })
        .collect()
}

/// Whether two lists have the same elements; if not, these tell the difference themselves.
fn is_reordered(old: Option<&Expr>, new: Option<&Expr>) -> bool {
    let sorted = |expr: Option<&Expr>| match expr {
        Some(Expr::List(items)) => {
            let mut items: Vec<String> = items.iter().map(Expr::one_line).collect();
            items.sort();
            Some(items)
        }
        _ => None,
    };
    sorted(old) == sorted(new)
}
