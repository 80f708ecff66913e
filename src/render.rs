//! The stage `render`: from Buildbot's objects to files. Templates hold the fixed text and no
//! decisions; every expression in them was laid out by [`python`](crate::buildbot::python).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::Serialize;

use crate::buildbot::parse::assignments;
use crate::buildbot::python::{self, Expr};
use crate::buildbot::{Master, Object};
use crate::pipeline::RUNTIME;

/// The file of a master.
pub const MASTER_CFG: &str = "master.cfg";

/// The file of a master's pollers, beside its `master.cfg`.
pub const POLLERS: &str = "pollers.py";

/// The parts of `buildbot.plugins` that expressions use.
const PLUGINS: &[&str] = &["changes", "schedulers", "secrets", "steps", "util", "worker"];

/// The parts of the runtime that `master.cfg` uses, in the order `ruff` sorts them.
const RUNTIME_NAMES: &[&str] = &[
    "AppFactory",
    "AppSourceScheduler",
    "ChangeScheduler",
    "CheckProperties",
    "CommitStatus",
    "Condition",
    "Daily",
    "Download",
    "FailureMail",
    "Live",
    "Output",
    "PatientGit",
    "PropertyIs",
    "Retry",
    "Run",
    "RunOnMaster",
    "SameProperties",
    "SaveLog",
    "SecretAuth",
    "SetProperty",
    "SubmitSource",
    "Upload",
    "UploadFolder",
    "VagrantLatentWorker",
    "build_is_well",
    "dashboard",
];

/// Names the files of the runtime, which are shipped as they are.
macro_rules! runtime_files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../templates/fdroid_bb/", $name))),)+]
    };
}

const RUNTIME_FILES: &[(&str, &str)] = runtime_files![
    "__init__.py",
    "common/__init__.py",
    "common/app_id.py",
    "common/output.py",
    "common/placement.py",
    "common/process.py",
    "machines/__init__.py",
    "machines/startable.py",
    "machines/starts.py",
    "machines/vagrant.py",
    "machines/vagrant_machine.py",
    "machines/vagrantfile.py",
    "master/__init__.py",
    "master/health.py",
    "master/live.py",
    "master/reconfig.py",
    "polling/__init__.py",
    "polling/app_git_poller.py",
    "polling/claims.py",
    "polling/hosts.py",
    "polling/ls_remote.py",
    "polling/other_pollers.py",
    "polling/refs.py",
    "polling/report.py",
    "polling/repository.py",
    "polling/responses.py",
    "polling/slots.py",
    "polling/sources.py",
    "queueing/__init__.py",
    "queueing/daily.py",
    "queueing/due.py",
    "queueing/queue.py",
    "queueing/submit.py",
    "queueing/unheard.py",
    "reporting/__init__.py",
    "reporting/reporters.py",
    "steps/__init__.py",
    "steps/check_properties.py",
    "steps/commands.py",
    "steps/conditions.py",
    "steps/patient_git.py",
    "steps/run.py",
    "steps/save_log.py",
    "steps/supervise.py",
    "steps/transfer.py",
    "steps/upload_folder.py",
    "web/__init__.py",
    "web/app_page.py",
    "web/auth.py",
    "web/dashboard.py",
    "web/rest.py",
];

/// What the template of `master.cfg` is given.
#[derive(Serialize)]
struct MasterView<'a> {
    name: &'a str,
    plugins: Vec<&'a str>,
    runtime: Option<String>,
    uses_basedir: bool,
    settings: Vec<String>,
    locks: Vec<String>,
    workers: String,
    builders: String,
    schedulers: String,
    change_sources: String,
    services: String,
    pollers: Option<&'static str>,
}

/// Every file of the output, by its path, with `/`. `pollers` gives those of the apps that a master
/// polls, in the order of their names.
///
/// # Errors
/// When a template is broken, which is a fault of this program.
pub fn render<P: Iterator<Item = Object>>(
    masters: &[Master],
    mut pollers: impl FnMut(&Master) -> P,
) -> Result<BTreeMap<String, String>, minijinja::Error> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
    templates.set_syntax(syntax.build()?);
    templates.add_template(MASTER_CFG, include_str!("../templates/master.cfg.j2"))?;
    templates.add_template(POLLERS, include_str!("../templates/pollers.py.j2"))?;

    let mut files = BTreeMap::new();
    for (name, text) in RUNTIME_FILES {
        files.insert(format!("{RUNTIME}/{name}"), (*text).to_owned());
    }
    for master in masters {
        let folder = &master.name;
        let text = templates.get_template(MASTER_CFG)?.render(Serde(view(master)))?;
        files.insert(format!("{folder}/{MASTER_CFG}"), text);
        if !master.poller_functions.is_empty() {
            // One text, for thousands of lines take the template engine long.
            let mut lines = String::new();
            for poller in pollers(master) {
                lines.push_str("    ");
                poller.expr.write_one_line(&mut lines);
                lines.push_str(",\n");
            }
            let pollers = Value::from_object(Lines(lines));
            let functions: Vec<String> =
                master.poller_functions.iter().map(|(name, expr)| expr.assign(0, name)).collect();
            let text = templates.get_template(POLLERS)?.render(context! { functions, pollers })?;
            files.insert(format!("{folder}/{POLLERS}"), text);
        }
    }
    Ok(files)
}

/// A text that a template takes as it is, without a copy.
#[derive(Debug)]
struct Lines(String);

impl minijinja::value::Object for Lines {
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The pollers of an earlier output, by the text of its `pollers.py`; none where that was edited
/// into something else.
#[must_use]
pub fn written_pollers(text: &str) -> Vec<Object> {
    let lists = assignments(text, |target| target == "POLLERS").unwrap_or_default();
    let pollers = lists.into_iter().filter_map(|(_, expr)| match expr {
        Expr::List(pollers) => Some(pollers),
        _ => None,
    });
    let name = |expr: &Expr| match expr {
        Expr::Call(call) => match call.args().first() {
            Some(Expr::Str(name)) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    };
    pollers.flatten().filter_map(|expr| Some(Object { name: name(&expr)?, expr })).collect()
}

/// The application ids that the pollers of an earlier output are for, by the text of its
/// `pollers.py`, sorted. Reads what [`render`] wrote, line by line, so that the guard also counts where
/// somebody has edited a line into what [`written_pollers`] does not take.
#[must_use]
pub fn polled_apps(text: &str) -> Vec<&str> {
    let ids = text.lines().filter_map(|line| {
        let (_, rest) = line.strip_prefix("    ")?.split_once('(')?;
        Some(rest.strip_prefix('"')?.split_once('"')?.0)
    });
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn view(master: &Master) -> MasterView<'_> {
    let lists = [
        &master.workers,
        &master.builders,
        &master.schedulers,
        &master.change_sources,
        &master.services,
    ];
    let mut roots = BTreeSet::new();
    master.settings.iter().for_each(|(_, expr)| expr.roots(&mut roots));
    master.locks.iter().for_each(|(_, expr)| expr.roots(&mut roots));
    lists.into_iter().flatten().for_each(|object| object.expr.roots(&mut roots));
    let used = |names: &[&'static str]| -> Vec<&str> {
        names.iter().copied().filter(|name| roots.contains(name)).collect()
    };
    let setting = |(key, expr): &(&'static str, Expr)| assign(key, expr);
    MasterView {
        name: &master.name,
        plugins: used(PLUGINS),
        runtime: import(RUNTIME, &used(RUNTIME_NAMES)),
        uses_basedir: roots.contains("BASEDIR"),
        settings: master.settings.iter().map(setting).collect(),
        locks: master.locks.iter().map(|(name, expr)| expr.assign(0, name)).collect(),
        workers: assign_list("workers", &master.workers),
        builders: assign_list("builders", &master.builders),
        schedulers: assign_list("schedulers", &master.schedulers),
        change_sources: assign_list("change_source", &master.change_sources),
        services: assign_list("services", &master.services),
        pollers: (!master.poller_functions.is_empty()).then_some(POLLERS),
    }
}

/// `from module import …`, over as many lines as it takes; nothing for no names.
fn import(module: &str, names: &[&str]) -> Option<String> {
    let line = format!("from {module} import {}", names.join(", "));
    match names {
        [] => None,
        _ if line.len() <= python::LINE_WIDTH => Some(line),
        _ => Some(format!("from {module} import (\n    {},\n)", names.join(",\n    "))),
    }
}

/// `c["key"] = …`, over as many lines as it takes.
fn assign(key: &str, expr: &Expr) -> String {
    let head = format!("c[\"{key}\"] = ");
    format!("{head}{}", expr.layout(0, head.len(), 0))
}

fn assign_list(key: &str, objects: &[Object]) -> String {
    assign(key, &Expr::List(objects.iter().map(|object| object.expr.clone()).collect()))
}

#[cfg(test)]
mod tests {
    use super::{RUNTIME_FILES, polled_apps};

    #[test]
    fn every_file_of_the_runtime_is_shipped() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/fdroid_bb");
        let mut names: Vec<_> = walkdir::WalkDir::new(folder)
            .into_iter()
            .filter_entry(|entry| entry.file_name() != "__pycache__")
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, RUNTIME_FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    #[test]
    fn the_apps_of_an_earlier_output_are_read_back() {
        let text = "POLLERS = [\n    git(\"a.b\", \"https://x\"),\n    svn(\"c\", \"u\"),\n]\n";
        assert_eq!(polled_apps(text), ["a.b", "c"]);
    }
}
