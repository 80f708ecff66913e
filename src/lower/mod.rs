//! The stage `lower`: from F-Droid's terms to Buildbot's. What comes out is all that `render`
//! needs to know.

mod machines;
mod pollers;
mod reporters;
mod settings;
mod steps;
mod triggers;

pub use pollers::poller;

use crate::buildbot::python::{Call, Expr, Name as PythonName};
use crate::buildbot::{Master, Object};
use crate::config::{self, Access, LockScope, Name, Scalar, Secret, TextOrSecret};
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
        settings: settings::settings(master),
        locks: master
            .locks
            .iter()
            .map(|(name, lock)| (variable(name), lower_lock(name, lock)))
            .collect(),
        workers: machines::workers(master),
        builders: steps::builders(pipeline, master),
        schedulers: triggers::schedulers(pipeline, master),
        change_sources: triggers::change_sources(pipeline, master),
        services: reporters::services(name, master),
        poller_functions: if master.waits_for(&config::Trigger::AppSource) {
            pollers::functions(pipeline)
        } else {
            Vec::new()
        },
    }
}

fn lower_lock(name: &Name, lock: &config::Lock) -> Expr {
    let class = match lock.scope {
        LockScope::Master => "util.MasterLock",
        LockScope::Worker => "util.WorkerLock",
    };
    // Buildbot counts sharers in any case; this many are never at work.
    let sharers = i64::from(lock.sharers.unwrap_or(10_000));
    Call::new(class).arg(name.as_str()).kwarg("maxCount", sharers).into()
}

/// The variable that holds a lock.
fn variable(lock: &Name) -> PythonName {
    let name = format!("{}_lock", lock.as_str().replace('-', "_"));
    PythonName::parse(&name).unwrap_or_else(|| "lock".into())
}

/// `[repo_lock.access("exclusive"), …]`, or nothing.
fn locks<'a>(locks: impl IntoIterator<Item = (&'a Name, &'a Access)>) -> Option<Expr> {
    let locks: Vec<Expr> = locks
        .into_iter()
        .filter_map(|(name, access)| {
            let access = match access {
                Access::Exclusive => "exclusive",
                Access::Shared => "counting",
            };
            let method = PythonName::parse(&format!("{}.access", variable(name).as_str()))?;
            Some(Call::new(method).arg(access).into())
        })
        .collect();
    (!locks.is_empty()).then_some(Expr::List(locks))
}

fn object(name: impl Into<String>, expr: impl Into<Expr>) -> Object {
    Object { name: name.into(), expr: expr.into() }
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
