//! The stage `lower`: from F-Droid's terms to Buildbot's. What comes out is all that `render`
//! needs to know.

mod failures;
mod forms;
mod machines;
mod pollers;
mod reporters;
mod settings;
mod steps;
mod triggers;

pub(crate) use pollers::poller_origin;
pub use pollers::{PollerOrigin, poller};

use crate::buildbot::python::{Call, Expr, Name as PythonName};
use crate::buildbot::{Master, Object};
use crate::config::{self, Access, LockScope, Name, Path, Scalar, Secret, Sharing, TextOrSecret};
use crate::pipeline::{self, Pipeline};
use crate::template::{Part, Template};

/// Every master of the pipeline, in order of their names, but for the pollers of apps.
#[must_use]
pub fn lower(pipeline: &Pipeline) -> Vec<Master> {
    let masters = pipeline.masters.iter();
    masters.map(|(name, master)| lower_master(pipeline, name, master)).collect()
}

fn lower_master(pipeline: &Pipeline, name: &Name, master: &pipeline::Master) -> Master {
    Master {
        name: name.as_str().to_owned(),
        settings: settings::settings(&Path::root("masters").key(name.as_str()), master),
        locks: master
            .locks
            .iter()
            .map(|(name, lock)| (variable(name), lower_lock(master, name, lock)))
            .collect(),
        workers: machines::workers(name, master),
        builders: steps::builders(pipeline, master),
        schedulers: triggers::schedulers(pipeline, master),
        change_sources: triggers::change_sources(pipeline, name, master),
        services: reporters::services(pipeline, name, master),
        poller_functions: pollers::functions(pipeline, master),
        extra: master.extra.clone(),
    }
}

fn lower_lock(master: &pipeline::Master, name: &Name, lock: &config::Lock) -> Object {
    let path = Path::root("locks").key(name.as_str());
    let class = match lock.scope {
        LockScope::Master => "util.MasterLock",
        LockScope::Worker => "util.WorkerLock",
    };
    // Buildbot counts max_holders in any case; this many are never at work.
    let max_holders = i64::from(lock.max_holders.unwrap_or(10_000));
    let call = Call::new(class).arg(name.as_str()).kwarg_at(
        "maxCount",
        path.key("max-holders"),
        max_holders,
    );
    // It is there for those who use it.
    let mut origins = vec![path.clone()];
    for (builder, content) in &master.builders {
        let builder = Path::root("builders").key(builder.as_str());
        let steps = content.steps.iter().map(|step| (step.origin.clone(), &step.locks));
        let all = std::iter::once((builder, &content.locks)).chain(steps);
        let users = all.filter(|(_, locks)| locks.contains_key(name));
        origins.extend(users.map(|(path, _)| path.key("locks").key(name.as_str())));
    }
    Object { name: name.as_str().to_owned(), expr: call.at(path.key("scope")), origins }
}

/// The keys that have schedulers wait for `trigger`: what it is, and that they start something.
fn waiting(master: &pipeline::Master, trigger: &config::Trigger) -> Vec<Path> {
    let waiting = master.schedulers.iter().filter(|(_, scheduler)| scheduler.on == *trigger);
    waiting
        .flat_map(|(name, _)| {
            let path = Path::root("schedulers").key(name.as_str());
            [path.key("on"), path.key("builders")]
        })
        .collect()
}

/// The variable that holds a lock.
fn variable(lock: &Name) -> PythonName {
    let name = format!("{}_lock", lock.as_str().replace('-', "_"));
    PythonName::parse(&name).unwrap_or_else(|| "lock".into())
}

/// `[repo_lock.access("exclusive"), …]`, or nothing. `path` is that of the locks.
fn locks<'a>(path: &Path, locks: impl IntoIterator<Item = (&'a Name, &'a Access)>) -> Option<Expr> {
    let locks: Vec<Expr> = locks
        .into_iter()
        .filter_map(|(name, access)| {
            let (access, share) = match access {
                Access::Word(Sharing::Exclusive) => ("exclusive", None),
                Access::Word(Sharing::Shared) => ("counting", None),
                Access::Share(share) => ("counting", Some(i64::from(*share))),
            };
            let method = PythonName::parse(&format!("{}.access", variable(name).as_str()))?;
            let call = Call::new(method).arg(access).kwarg_opt("count", share);
            Some(call.at(path.key(name.as_str())))
        })
        .collect();
    (!locks.is_empty()).then_some(Expr::List(locks))
}

/// An object that is there for the key at `origin`.
fn object(origin: Path, name: impl Into<String>, expr: impl Into<Expr>) -> Object {
    Object { name: name.into(), expr: expr.into(), origins: vec![origin] }
}

fn secret(secret: &Secret) -> Expr {
    Call::new("util.Secret").arg(secret.secret.as_str()).into()
}

fn text_or_secret(value: &TextOrSecret) -> Expr {
    match value {
        TextOrSecret::Text(text) => text.as_str().into(),
        TextOrSecret::Secret(name) => secret(name),
    }
}

fn scalar(value: &Scalar) -> Expr {
    match value {
        Scalar::Bool(value) => Expr::Bool(*value),
        Scalar::Int(value) => Expr::Int(*value),
        Scalar::Text(value) => value.as_str().into(),
    }
}

/// A text as it is, or one that Buildbot puts properties into.
fn interpolate(template: &Template) -> Expr {
    if let [Part::Text(text)] = template.parts() {
        return text.as_str().into();
    }
    let format: String = template
        .parts()
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.replace('%', "%%"),
            // `:-` gives an empty text where a property is missing.
            Part::Property(name) => format!("%(prop:{name}:-)s"),
        })
        .collect();
    Call::new("util.Interpolate").arg(format).into()
}

/// The names as Python texts.
fn names(names: &[Name]) -> Expr {
    Expr::list(names.iter().map(Name::as_str))
}
