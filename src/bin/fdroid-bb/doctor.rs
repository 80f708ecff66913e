//! The command `doctor`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use fdroid_bb::compile::{self, Record};
use fdroid_bb::fdroid::{App, Build};
use fdroid_bb::pipeline::Pipeline;
use fdroid_bb::submit::examples::examples;
use fdroid_bb::submit::last_build::LastBuild;
use fdroid_bb::submit::{Change, SubmitError};
use fdroid_bb::text::{shown, visible};

use crate::Exit;
use crate::cli::{Doctor, Inputs};
use crate::input::Read;
use crate::report;
use crate::schedule;
use crate::target::{Stop, Target};

/// Which schedulers take the builds.
const CATEGORY: &str = "build";

/// The remedy where none is known.
const LOG: &str = "look at the master's log";

/// How often the master is asked: soon at first, then less and less often.
const LOOK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What a message of a master's is about, and the remedy.
const REMEDIES: &[(&str, &str)] = &[
    (
        "Vagrant has no box",
        "as the master's user, `vagrant box add`; recipes/buildserver/make.sh makes F-Droid's",
    ),
    (
        "has no image",
        "`docker build` it on that machine; recipes/checkupdates/Dockerfile is F-Droid's",
    ),
    (
        "no Docker engine answers",
        "`systemctl start docker`, and let the master's user reach its socket",
    ),
    ("there is no `vagrant`", "`apt-get install vagrant`, or put it into the master's PATH"),
    ("there is no `virsh`", "`apt-get install libvirt-clients`"),
    (
        "libvirt does not answer",
        "`systemctl start libvirtd`, and add the master's user to the group `libvirt`",
    ),
    ("paused", "`fdroid-bb resume`"),
];

/// Says whether the master that builds can build and, if asked to, has it build a few apps.
pub fn doctor(
    inputs: &Inputs,
    what: &Doctor,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let examined = if what.build {
        schedule::read(inputs)
            .map(|read| examine(&read.description.pipeline, Some(&read), what, out))
    } else {
        compile::description(&inputs.config, inputs.overlay.as_deref())
            .map(|found| examine(&found.pipeline, None, what, out))
    };
    match examined {
        Ok(Ok(result)) => result,
        Ok(Err(Stop(message, help, exit))) => {
            writeln!(err, "error: {message}\nhelp: {help}")?;
            Ok(exit)
        }
        Err(findings) => {
            report::findings(err, &findings)?;
            Ok(Exit::Invalid)
        }
    }
}

/// A build that is tried, and what it is an example of.
struct Trial<'r> {
    key: String,
    what: &'static str,
    app: &'r App,
    build: &'r Build,
}

/// Has builds made if there is what to `read` them from.
fn examine(
    pipeline: &Pipeline,
    read: Option<&Read>,
    what: &Doctor,
    out: &mut dyn Write,
) -> Result<io::Result<Exit>, Stop> {
    let target = Target::of(pipeline, what.master.as_deref(), what.password_file.as_deref())?;
    let trials = read.map(|read| trials(read, what)).transpose()?.unwrap_or_default();
    let keys: Vec<String> = trials.iter().map(|trial| trial.key.clone()).collect();
    let failed = |error: SubmitError| target.failed(&error, LOG);
    let mut connection = target.connect()?.map_err(failed)?;
    let (before, problems) = connection.last_builds(CATEGORY, &keys).map_err(failed)?;
    if let Err(error) = say_problems(out, &target, &problems) {
        return Ok(Err(error));
    }
    if !problems.is_empty() || trials.is_empty() {
        return Ok(Ok(if problems.is_empty() { Exit::Clean } else { Exit::Failed }));
    }
    let is_under_way = |trial: &&Trial<'_>| before.get(&trial.key).is_some_and(|old| !old.ended);
    let (_, new): (Vec<&Trial<'_>>, Vec<_>) = trials.iter().partition(is_under_way);
    let commit = read.and_then(|read| read.tree.commit.as_deref());
    let change =
        |trial: &&Trial<'_>| schedule::change(pipeline, commit, CATEGORY, trial.app, trial.build);
    let changes: Vec<Change> = new.iter().map(change).collect();
    connection.submit(&changes, &mut |_| {}).map_err(failed)?;
    drop(connection);
    let asked = Asked { target: &target, keys: &keys, before: &before };
    let after = asked.wait(Duration::from_secs(what.limit), out)?;
    Ok(say_ends(out, &target, &trials, &after))
}

/// The builds that are named or else, of each shape, the simplest.
fn trials<'r>(read: &'r Read, what: &Doctor) -> Result<Vec<Trial<'r>>, Stop> {
    let apps = read.apps.records.iter().filter_map(|record| match record {
        Record::App { app, .. } => app.as_deref(),
        Record::Quarantined { .. } => None,
    });
    let trial = |what, app: &'r App, build: &'r Build| Trial {
        key: format!("{}:{}", app.id, build.version_code),
        what,
        app,
        build,
    };
    if what.app.is_empty() {
        let examples = examples(&read.tree, apps);
        if examples.is_empty() {
            let help = "name builds with `--app APPID:CODE`";
            return Err(Stop::new("no app of fdroiddata is built by gradle", help));
        }
        let trials =
            examples.into_iter().map(|(shape, (app, build))| trial(shape.as_str(), app, build));
        return Ok(trials.collect());
    }
    let apps: BTreeMap<&str, &App> = apps.map(|app| (app.id.as_str(), app)).collect();
    let named = what.app.iter().map(|(id, code)| {
        let app = apps.get(id.as_str());
        let found = app.and_then(|app| {
            let is_it = |build: &&Build| build.version_code == i128::from(*code);
            Some(trial("named", app, app.builds.iter().find(is_it)?))
        });
        let help = "`fdroid-bb apps --format json` has all builds";
        found.ok_or_else(|| Stop::new(format!("fdroiddata has no build `{id}:{code}`"), help))
    });
    named.collect()
}

fn say_problems(out: &mut dyn Write, target: &Target<'_>, problems: &[String]) -> io::Result<()> {
    writeln!(out, "good  the master `{}` listens at {}", target.name, target.address)?;
    for problem in problems {
        writeln!(out, "bad   {}", visible(problem))?;
        if let Some((_, help)) = REMEDIES.iter().find(|(about, _)| problem.contains(about)) {
            writeln!(out, "  help: {help}")?;
        }
    }
    Ok(())
}

/// Builds that the master was asked for.
struct Asked<'a> {
    target: &'a Target<'a>,
    keys: &'a [String],
    /// What was known of them before.
    before: &'a BTreeMap<String, LastBuild>,
}

impl Asked<'_> {
    /// Waits until all have ended, and tells what happens; or what there is when the time is over.
    fn wait(
        &self,
        limit: Duration,
        out: &mut dyn Write,
    ) -> Result<BTreeMap<String, LastBuild>, Stop> {
        let (end, mut look) = (Instant::now() + limit, LOOK.0);
        let mut told: BTreeMap<String, String> = BTreeMap::new();
        loop {
            let failed = |error: SubmitError| self.target.failed(&error, LOG);
            let mut connection = self.target.connect()?.map_err(failed)?;
            let (mut known, _) = connection.last_builds(CATEGORY, self.keys).map_err(failed)?;
            known.retain(|key, last| self.is_new(key, last));
            for (key, last) in &known {
                let status = if last.ended { "ended" } else { last.status.as_str() };
                let status = if status.is_empty() { "waits for a worker" } else { status };
                if told.insert(key.clone(), status.to_owned()).as_deref() != Some(status) {
                    // A reader who has gone away does not end the builds.
                    let _ = writeln!(out, "      {key}: {}", visible(status));
                    let _ = out.flush();
                }
            }
            let is_over = known.len() == self.keys.len() && known.values().all(|build| build.ended);
            if is_over || Instant::now() > end {
                return Ok(known);
            }
            thread::sleep(look);
            look = (look * 2).min(LOOK.1);
        }
    }

    /// Whether it is what was asked for, and not an earlier build.
    fn is_new(&self, key: &str, last: &LastBuild) -> bool {
        let old = self.before.get(key);
        old.is_none_or(|old| !old.ended || old.request < last.request)
    }
}

fn say_ends(
    out: &mut dyn Write,
    target: &Target<'_>,
    trials: &[Trial<'_>],
    after: &BTreeMap<String, LastBuild>,
) -> io::Result<Exit> {
    let mut good = 0;
    for Trial { key, what, .. } in trials {
        let Some(last) = after.get(key).filter(|last| last.ended) else {
            writeln!(out, "bad   {key} ({what}): it has not ended in time")?;
            writeln!(out, "  help: see {}, or wait longer with `--limit`", target.page(""))?;
            continue;
        };
        if last.well {
            good += 1;
            writeln!(out, "good  {key} ({what})")?;
            continue;
        }
        let step = last.step.as_deref().map(|step| format!("at `{}`: ", shown(step)));
        let status = visible(&last.status);
        writeln!(out, "bad   {key} ({what}): {}{status}", step.unwrap_or_default())?;
        last.lines.iter().try_for_each(|line| writeln!(out, "  {}", visible(line)))?;
        writeln!(out, "  page: {}", target.page(last.page.as_deref().unwrap_or_default()))?;
    }
    writeln!(out, "{good} good, {} bad", trials.len() - good)?;
    Ok(if good == trials.len() { Exit::Clean } else { Exit::Failed })
}
