//! What a Buildbot master is made of, in Buildbot's own terms: named objects, each one Python
//! expression (<https://docs.buildbot.net/4.3.0/manual/configuration/>).

use super::python::{Expr, Name};
use crate::config::Path;

/// The configuration of one master.
#[derive(Debug)]
pub struct Master {
    /// Its folder in the output.
    pub name: String,
    /// Keys of `BuildmasterConfig` with a single value, in the order they are written.
    pub settings: Vec<Object>,
    /// Locks, each in a variable of its own.
    pub locks: Vec<(Name, Object)>,
    /// `c["workers"]`.
    pub workers: Vec<Object>,
    /// `c["builders"]`.
    pub builders: Vec<Object>,
    /// `c["schedulers"]`.
    pub schedulers: Vec<Object>,
    /// `c["change_source"]`, but for the pollers of apps.
    pub change_sources: Vec<Object>,
    /// Its services, reporters among them.
    pub services: Vec<Object>,
    /// The functions that make the pollers of apps, each a `partial` of what its pollers share; none
    /// if it polls no apps. The pollers themselves are too many to be held here.
    pub poller_functions: Vec<(Name, Object)>,
    /// Python that is run after all of this, as somebody wrote it.
    pub extra: Option<String>,
}

/// A named part of a master.
#[derive(Debug)]
pub struct Object {
    /// The name Buildbot knows it by.
    pub name: String,
    /// The expression that makes it.
    pub expr: Expr,
    /// The keys of the description that it is there for.
    pub origins: Vec<Path>,
}
