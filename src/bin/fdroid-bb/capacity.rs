//! The command `capacity`.

use std::io::{self, Write};

use fdroid_bb::config::{TimeLimit, Trigger};
use fdroid_bb::pipeline::{Builder, Master, Pipeline, Scheduler, Step};
use fdroid_bb::polls::{self, CallRates};
use fdroid_bb::text::count;
use serde::Serialize;
use serde_json::json;

use crate::Exit;
use crate::cli::{Format, Inputs};
use crate::input;
use crate::report::{self, thousands};

/// How many hosts are named.
const HOSTS: usize = 10;

const DAY: i64 = 86_400;

/// What machines of one kind can do, and what is asked of them.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Capacity<'a> {
    master: &'a str,
    worker: &'a str,
    machines: usize,
    builders: Vec<Asked<'a>>,
    /// The share of the machines' time that builds take which come by the clock, if each takes as
    /// long as it may.
    scheduled_share: f64,
}

/// What a builder asks for.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Asked<'a> {
    builder: &'a str,
    /// How long one build may take, in seconds: the limits of its steps.
    longest: i64,
    /// Builds a day that come by the clock.
    scheduled: f64,
    /// Checks a day of apps whose source says nothing new. They give way to all other builds.
    checks: f64,
    /// How many builds a day all machines can do at least, if they do nothing else.
    possible: f64,
}

/// Says how often hosts are asked, and what the workers can do.
pub fn capacity(
    inputs: &Inputs,
    format: Format,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let read = match input::read(inputs) {
        Ok(read) => read,
        Err(findings) => {
            report::findings(err, &findings)?;
            return Ok(Exit::Invalid);
        }
    };
    let pollers = read.apps.pollers();
    let repositories = polls::repositories(&pollers);
    let rates = CallRates::of(&repositories);
    // Checks a day that come with time alone.
    let checks: f64 =
        pollers.iter().map(|(_, p)| DAY as f64 / p.check_interval.max(1) as f64).sum();
    let capacities = capacities(&read.description.pipeline, checks);
    if format == Format::Json {
        let document = json!({
            "polls-per-minute": rates.all,
            "hosts": rates.hosts,
            "repositories": repositories.len(),
            "apps": pollers.len(),
            "checks-per-day": checks,
            "workers": capacities,
        });
        serde_json::to_writer_pretty(&mut *out, &document)?;
        writeln!(out)?;
        return Ok(Exit::Clean);
    }
    let apps = thousands(pollers.len());
    let number = thousands(repositories.len());
    writeln!(out, "polls     {:.1} a minute: {number} repositories of {apps} apps", rates.all)?;
    let busiest = rates.busiest();
    for (host, calls) in busiest.iter().take(HOSTS) {
        writeln!(out, "          {calls:6.2} {host}")?;
    }
    if busiest.len() > HOSTS {
        writeln!(out, "          and {} more hosts", busiest.len() - HOSTS)?;
    }
    writeln!(out, "checks    {checks:.1} a day of apps whose source says nothing new")?;
    for capacity in &capacities {
        let machines = count(capacity.machines, "machine");
        let share = capacity.scheduled_share * 100.0;
        writeln!(out, "workers   {} of {}: {machines}", capacity.worker, capacity.master)?;
        for asked in &capacity.builders {
            let hours = asked.longest as f64 / 3600.0;
            write!(out, "          {}: {hours:.1} h at most, so ", asked.builder)?;
            writeln!(
                out,
                "{:.0} a day at least; {:.1} by the clock",
                asked.possible, asked.scheduled
            )?;
            if asked.checks > 0.0 {
                let minutes = capacity.machines as f64 * DAY as f64 / asked.checks / 60.0;
                writeln!(
                    out,
                    "          and {:.1} checks a day when nothing else waits: none is late if one \
                     takes {minutes:.1} min",
                    asked.checks
                )?;
            }
        }
        writeln!(out, "          builds by the clock take {share:.0} % of their time at most")?;
        if capacity.scheduled_share > 1.0 {
            writeln!(
                err,
                "warning: more builds come by the clock than `{}` can do",
                capacity.worker
            )?;
        }
    }
    Ok(Exit::Clean)
}

fn capacities(pipeline: &Pipeline, checks: f64) -> Vec<Capacity<'_>> {
    let mut capacities = Vec::new();
    for (name, master) in &pipeline.masters {
        for (worker, content) in &master.workers {
            let machines = content.instances.len();
            let runs =
                |builder: &Builder| content.instances.iter().any(|i| builder.workers.contains(i));
            let builders: Vec<Asked<'_>> = master
                .builders
                .iter()
                .filter(|(_, builder)| runs(builder))
                .map(|(name, builder)| {
                    let longest = longest(builder);
                    Asked {
                        builder: name.as_str(),
                        longest,
                        scheduled: scheduled(master, name.as_str(), 0),
                        checks: if is_checked(master, name.as_str()) { checks } else { 0.0 },
                        possible: machines as f64 * DAY as f64 / longest.max(1) as f64,
                    }
                })
                .collect();
            let asked: f64 = builders.iter().map(|b| b.scheduled * b.longest as f64).sum();
            let scheduled_share = asked / (machines as f64 * DAY as f64);
            let (master, worker) = (name.as_str(), worker.as_str());
            capacities.push(Capacity { master, worker, machines, builders, scheduled_share });
        }
    }
    capacities
}

/// How long a build may take, in seconds.
fn longest(builder: &Builder) -> i64 {
    let limit = |limit: &TimeLimit| match limit {
        TimeLimit::Fixed(duration) => duration.as_secs(),
        TimeLimit::FromProperty(limit) => limit.default.as_secs(),
    };
    let attempts = |step: &Step| 1 + step.retry.as_ref().map_or(0, |retry| i64::from(retry.times));
    builder.steps.iter().map(|step| attempts(step) * limit(&step.timeout)).sum()
}

/// Whether a builder checks the apps whose source is polled.
fn is_checked(master: &Master, builder: &str) -> bool {
    let starts = |s: &&Scheduler| s.builders.iter().any(|b| b.as_str() == builder);
    master.schedulers.values().filter(starts).any(|s| s.on == Trigger::AppSource)
}

/// How many builds of a builder come by the clock in a day, those after other builders among them.
fn scheduled(master: &Master, builder: &str, depth: usize) -> f64 {
    // Builders that start each other are refused before.
    if depth > master.builders.len() {
        return 0.0;
    }
    let starts =
        master.schedulers.values().filter(|s| s.builders.iter().any(|b| b.as_str() == builder));
    starts
        .map(|scheduler| match &scheduler.on {
            Trigger::Daily(_) => 1.0,
            Trigger::Weekly(weekly) => weekly.days.len() as f64 / 7.0,
            Trigger::Every(interval) => DAY as f64 / interval.as_secs().max(1) as f64,
            Trigger::After(upstream) => scheduled(master, upstream.as_str(), depth + 1),
            Trigger::AppSource
            | Trigger::Fdroiddata
            | Trigger::Force
            | Trigger::Submitted(_)
            | Trigger::AfterFailure(_) => 0.0,
        })
        .sum()
}
