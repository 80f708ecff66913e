//! The stage `render`: from Buildbot's objects to files. Templates hold the fixed text and no
//! decisions; every expression in them was laid out by [`python`](crate::buildbot::python).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::Serialize;

use crate::buildbot::python::{self, Expr};
use crate::buildbot::{Master, Object};
use crate::pipeline::RUNTIME;

/// The file of a master.
pub(crate) const MASTER_CFG: &str = "master.cfg";

/// The file of a master's pollers, beside its `master.cfg`.
pub const POLLERS: &str = "pollers.py";

/// The file of a master's `extra`, in its folder.
pub(crate) const EXTRA: &str = "extra.py";

/// The parts of `buildbot.plugins` that expressions use.
const PLUGINS: &[&str] = &["changes", "schedulers", "secrets", "steps", "util", "worker"];

/// The parts of the runtime that `master.cfg` uses, in the order `ruff` sorts them.
const RUNTIME_NAMES: &[&str] = &[
    "AppFactory",
    "AppSourceScheduler",
    "ChangeScheduler",
    "ChangedFiles",
    "CheckProperties",
    "CommitStatus",
    "Condition",
    "ContainerWorker",
    "Daily",
    "Download",
    "FailureMail",
    "FailureRule",
    "Failures",
    "GitHubLogin",
    "GitLabLogin",
    "HttpStatus",
    "Live",
    "Output",
    "PatientGit",
    "Pauses",
    "PropertyIs",
    "QuietTriggerable",
    "Retention",
    "Retry",
    "RolesFromMembership",
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
    "app_may_start",
    "build_has_failed",
    "build_is_well",
    "dashboard",
    "next_worker",
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
    "common/blame.py",
    "common/output.py",
    "common/pauses.py",
    "common/placement.py",
    "common/process.py",
    "common/saved.py",
    "common/tie.py",
    "failures/__init__.py",
    "failures/ends.py",
    "failures/held.py",
    "failures/log_end.py",
    "failures/rules.py",
    "failures/service.py",
    "machines/__init__.py",
    "machines/engines.py",
    "machines/startable.py",
    "machines/starts.py",
    "machines/vagrant.py",
    "machines/vagrant_machine.py",
    "machines/vagrantfile.py",
    "master/__init__.py",
    "master/crashed.py",
    "master/health.py",
    "master/live.py",
    "master/plain_log.py",
    "master/reconfig.py",
    "master/retention.py",
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
    "queueing/changed_files.py",
    "queueing/daily.py",
    "queueing/due.py",
    "queueing/known.py",
    "queueing/last_build.py",
    "queueing/missed.py",
    "queueing/pause.py",
    "queueing/queue.py",
    "queueing/quiet.py",
    "queueing/submit.py",
    "queueing/unheard.py",
    "reporting/__init__.py",
    "reporting/http_status.py",
    "reporting/reporters.py",
    "steps/__init__.py",
    "steps/check_properties.py",
    "steps/command_limits.py",
    "steps/commands.py",
    "steps/conditions.py",
    "steps/patient_git.py",
    "steps/property_types.json",
    "steps/run.py",
    "steps/save_log.py",
    "steps/supervise.py",
    "steps/transfer.py",
    "steps/upload_folder.py",
    "web/__init__.py",
    "web/app_page.py",
    "web/auth.py",
    "web/dashboard.py",
    "web/forges.py",
    "web/headers.py",
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
    extra: Option<&'static str>,
}

/// A poller, as one line.
#[derive(Debug)]
pub enum Poller<'a> {
    /// A new one.
    New(Expr),
    /// One of an earlier output, as it was written there.
    Kept(&'a str),
}

/// Every file of the output but its model, by its path, with `/`. `pollers` gives those of the apps
/// that a master polls, in the order of their names.
///
/// # Errors
/// When a template is broken, which is a fault of this program.
pub fn render<'a, P: Iterator<Item = Poller<'a>>>(
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
        if let Some(extra) = &master.extra {
            files.insert(format!("{folder}/{EXTRA}"), extra.clone());
        }
        if !master.poller_functions.is_empty() {
            // One text, for thousands of lines take the template engine long.
            let mut lines = String::new();
            for poller in pollers(master) {
                lines.push_str("    ");
                match poller {
                    Poller::New(call) => call.write_one_line(&mut lines),
                    Poller::Kept(call) => lines.push_str(call),
                }
                lines.push_str(",\n");
            }
            let functions = master.poller_functions.iter();
            let functions: Vec<String> =
                functions.map(|(name, function)| function.expr.assign(0, name)).collect();
            let text = templates
                .get_template(POLLERS)?
                .render(context! { functions, pollers => Value::from_object(Lines(lines)) })?;
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

/// The pollers of an earlier output, by the text of its `pollers.py`: of each the application id and
/// the call. Reads what [`render`] wrote, line by line.
pub(crate) fn written_pollers(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let call = line.strip_prefix("    ")?;
        let (_, rest) = call.split_once("(\"")?;
        Some((rest.split_once('"')?.0, call.strip_suffix(',').unwrap_or(call)))
    })
}

/// The application ids that they are for, sorted.
#[must_use]
pub fn polled_apps(text: &str) -> Vec<&str> {
    let mut ids: Vec<&str> = written_pollers(text).map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn view(master: &Master) -> MasterView<'_> {
    let lists = [
        &master.settings,
        &master.workers,
        &master.builders,
        &master.schedulers,
        &master.change_sources,
        &master.services,
    ];
    let mut roots = BTreeSet::new();
    master.locks.iter().for_each(|(_, lock)| lock.expr.roots(&mut roots));
    lists.into_iter().flatten().for_each(|object| object.expr.roots(&mut roots));
    let used = |names: &[&'static str]| -> Vec<&str> {
        names.iter().copied().filter(|name| roots.contains(name)).collect()
    };
    let setting = |setting: &Object| assign(&setting.name, &setting.expr);
    MasterView {
        name: &master.name,
        plugins: used(PLUGINS),
        runtime: import(RUNTIME, &used(RUNTIME_NAMES)),
        uses_basedir: roots.contains("BASEDIR"),
        settings: master.settings.iter().map(setting).collect(),
        locks: master.locks.iter().map(|(name, lock)| lock.expr.assign(0, name)).collect(),
        workers: assign_list("workers", &master.workers),
        builders: assign_list("builders", &master.builders),
        schedulers: assign_list("schedulers", &master.schedulers),
        change_sources: assign_list("change_source", &master.change_sources),
        services: assign_list("services", &master.services),
        pollers: (!master.poller_functions.is_empty()).then_some(POLLERS),
        extra: master.extra.is_some().then_some(EXTRA),
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
