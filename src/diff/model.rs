//! What masters run, as named objects with fields. It is read back from the files of an output
//! set, so that two sets are compared by what Buildbot would make of them, whoever wrote them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::buildbot::parse::{ParseError, assignments};
use crate::buildbot::python::{Call, Expr};
use crate::pipeline::RUNTIME;
use crate::render::{MASTER_CFG, POLLERS};

/// What an object is to Buildbot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A file of the Python that Buildbot lacks, which all masters import.
    Runtime,
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
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runtime => "runtime",
            Self::Setting => "setting",
            Self::Lock => "lock",
            Self::Worker => "worker",
            Self::Builder => "builder",
            Self::Scheduler => "scheduler",
            Self::ChangeSource => "change source",
            Self::Service => "service",
            Self::Poller => "poller",
            Self::App => "app",
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

/// The values of an object, each under its way: `memory`, `steps[fdroid build].command`. What is
/// called stands at the way of the call itself. A way that ends with `[]` has the order of a list.
pub type Fields = BTreeMap<String, Expr>;

/// What masters run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// The objects.
    pub objects: BTreeMap<Key, Fields>,
    /// Names that several objects of a kind have, which Buildbot's `checkconfig` lets pass.
    pub collisions: Vec<Key>,
}

/// A file that is not as this program writes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}`, {error}")]
pub struct ReadError {
    /// The file, relative to the set.
    pub file: String,
    /// What is wrong with it.
    pub error: ParseError,
}

impl Model {
    /// The model of the files of a set, each with its path in it.
    ///
    /// # Errors
    /// When one of them was edited into what this program does not write.
    pub fn read<'f>(files: impl Iterator<Item = (&'f str, &'f str)>) -> Result<Self, ReadError> {
        let mut model = Self::default();
        for (path, text) in files {
            let fail = |error| ReadError { file: path.to_owned(), error };
            match path.split_once('/') {
                Some((RUNTIME, file)) => {
                    let digest = crate::write::digest(text.as_bytes());
                    let fields = Fields::from([("sha256".to_owned(), Expr::from(digest))]);
                    model.add(Kind::Runtime, "", file.to_owned(), fields);
                }
                Some((master, MASTER_CFG)) => model.master(master, text).map_err(fail)?,
                Some((master, POLLERS)) => model.pollers(master, text).map_err(fail)?,
                _ => {}
            }
        }
        Ok(model)
    }

    /// The names of the objects of a kind that a master has.
    pub fn names<'m>(&'m self, kind: Kind, master: &'m str) -> impl Iterator<Item = &'m str> {
        self.objects
            .keys()
            .filter(move |key| key.kind == kind && key.master == master)
            .map(|key| key.name.as_str())
    }

    fn add(&mut self, kind: Kind, master: &str, name: String, fields: Fields) {
        let key = Key { kind, master: master.to_owned(), name };
        if self.objects.insert(key.clone(), fields).is_some() {
            self.collisions.push(key);
        }
    }

    fn master(&mut self, master: &str, text: &str) -> Result<(), ParseError> {
        let wanted = |target: &str| target.ends_with("_lock") || setting(target).is_some();
        for (target, expr) in assignments(text, wanted)? {
            let kind = match setting(target) {
                None => {
                    self.object(Kind::Lock, master, &expr);
                    continue;
                }
                Some("workers") => Kind::Worker,
                Some("builders") => Kind::Builder,
                Some("schedulers") => Kind::Scheduler,
                Some("change_source") => Kind::ChangeSource,
                Some("services") => Kind::Service,
                Some(key) => {
                    let mut fields = Fields::new();
                    flatten("", &expr, &mut fields);
                    self.add(Kind::Setting, master, key.to_owned(), fields);
                    continue;
                }
            };
            if let Expr::List(objects) = &expr {
                for object in objects {
                    self.object(kind, master, object);
                }
            }
        }
        Ok(())
    }

    fn object(&mut self, kind: Kind, master: &str, expr: &Expr) {
        let mut fields = Fields::new();
        flatten("", expr, &mut fields);
        let name = match fields.remove("name") {
            Some(Expr::Str(name)) => name,
            _ => fields.get("").map(Expr::one_line).unwrap_or_default(),
        };
        self.add(kind, master, name, fields);
    }

    /// Each poller with what the function that it calls gives to all.
    fn pollers(&mut self, master: &str, text: &str) -> Result<(), ParseError> {
        let functions = ["git", "hg", "svn"];
        let mut shared: BTreeMap<&str, Call> = BTreeMap::new();
        for (target, expr) in assignments(text, |t| functions.contains(&t) || t == "POLLERS")? {
            match (target, expr) {
                ("POLLERS", Expr::List(pollers)) => {
                    for poller in pollers {
                        let Expr::Call(own) = poller else { continue };
                        let call = match shared.get(own.function()) {
                            Some(partial) => expanded(partial, &own),
                            None => own,
                        };
                        self.object(Kind::Poller, master, &call.into());
                    }
                }
                (function, Expr::Call(partial)) => {
                    shared.insert(function, partial);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The key in `c["key"]`.
fn setting(target: &str) -> Option<&str> {
    target.strip_prefix("c[\"")?.strip_suffix("\"]")
}

/// What `functools.partial` makes of a call: the shared arguments, then its own.
fn expanded(partial: &Call, own: &Call) -> Call {
    let class = match partial.args().first() {
        Some(Expr::Name(class)) => Call::new(class.clone()),
        _ => Call::new("partial"),
    };
    let call = own.args().iter().cloned().fold(class, Call::arg);
    let named = partial.kwargs().chain(own.kwargs());
    named.fold(call, |call, (name, value)| call.kwarg(name.clone(), value.clone()))
}

/// Classes whose call is a value like any other.
const VALUES: &[&str] = &["Path", "str", "util.Interpolate", "util.Property", "util.Secret"];

/// Whether a call is a value like any other; so is the use of a lock.
fn is_value(call: &Call) -> bool {
    VALUES.contains(&call.function()) || call.function().ends_with("_lock.access")
}

/// The names of the positional arguments of a class, as far as this program uses them.
fn positional(class: &str) -> &'static [&'static str] {
    match class {
        "AppGitPoller" | "app_hg_poller" | "app_svn_poller" => &["name", "repourl"],
        "AppFactory" | "util.BuildFactory" => &["steps"],
        "CheckProperties" => &["properties"],
        "util.CodebaseParameter" => &["codebase"],
        _ => &["name", "password"],
    }
}

/// Adds to `fields` the values of `expr`, which stands at `way`.
fn flatten(way: &str, expr: &Expr, fields: &mut Fields) {
    let deeper = |name: &str| {
        if way.is_empty() { name.to_owned() } else { format!("{way}.{name}") }
    };
    match expr {
        Expr::Call(call) if !is_value(call) => {
            fields.insert(way.to_owned(), Expr::Name(call.name().clone()));
            let names = positional(call.function());
            for (i, value) in call.args().iter().enumerate() {
                let number = i.to_string();
                let name = names.get(i).copied().unwrap_or(&number);
                flatten(&deeper(name), value, fields);
            }
            for (name, value) in call.kwargs() {
                // Of a builder, the steps are what it does: they need no longer way.
                let name = name.as_str();
                let way = if name == "factory" { way.to_owned() } else { deeper(name) };
                flatten(&way, value, fields);
            }
        }
        Expr::Dict(items) if !items.is_empty() => {
            for (key, value) in items {
                let key = if let Expr::Str(text) = key { text.clone() } else { key.one_line() };
                flatten(&deeper(&key), value, fields);
            }
        }
        Expr::List(items) if items.iter().any(|item| label(item).is_some()) => {
            let mut labels: Vec<String> = Vec::with_capacity(items.len());
            for item in items {
                let plain = label(item).unwrap_or_default();
                let same = labels.iter().filter(|l| l.split('#').next() == Some(&plain)).count();
                let name = if same == 0 { plain } else { format!("{plain}#{}", same + 1) };
                flatten(&format!("{way}[{name}]"), item, fields);
                labels.push(name);
            }
            fields.insert(format!("{way}[]"), Expr::list(labels));
        }
        value => {
            fields.insert(way.to_owned(), value.clone());
        }
    }
}

/// What a call in a list is known by: its `name`, else its class.
fn label(item: &Expr) -> Option<String> {
    let Expr::Call(call) = item else { return None };
    if is_value(call) {
        return None;
    }
    let name = call.kwargs().find(|(name, _)| name.as_str() == "name").map(|(_, value)| value);
    Some(match name {
        Some(Expr::Str(name)) => name.clone(),
        _ => call.function().to_owned(),
    })
}
