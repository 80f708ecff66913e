//! Metrics for Prometheus, in a file for the text file collector of its node exporter.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fdroid_bb::finding::Severity;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::Exit;
use crate::file;
use crate::input::Read;
use crate::report::Totals;

/// How all names begin.
const PREFIX: &str = "fdroid_bb";

/// What is kept from run to run: names, and what they mean.
const SUCCEEDED: (&str, &str) =
    ("last_success_timestamp_seconds", "When the masters last ran what was asked");
const FETCHED: (&str, &str) =
    ("last_fetch_success_timestamp_seconds", "When watch last fetched fdroiddata");

/// The collector runs as another user.
const PUBLIC: u32 = 0o644;

type Number = Gauge<f64, AtomicU64>;
type Numbers = Family<Vec<(&'static str, String)>, Number>;

/// What a run has compiled.
pub struct Compiled {
    pub read: Read,
    /// The pollers of each master.
    pub pollers: BTreeMap<String, usize>,
}

/// Writes what became of a run. Of what it does not know, only the last successes are kept.
pub fn write(
    file: &Path,
    compiled: Option<&Compiled>,
    exit: Exit,
    took: Duration,
) -> io::Result<()> {
    let mut registry = Registry::with_prefix(PREFIX);
    let mut number = |name: &str, help: &str, value: f64| {
        let gauge = Number::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let now = now();
    number("last_run_timestamp_seconds", "When the configuration was last applied, or tried", now);
    number("last_run_seconds", "How long that took", took.as_secs_f64());
    number(
        "last_run_exit_code",
        "How it ended, as the exit codes of fdroid-bb",
        f64::from(exit as u8),
    );
    let success = if exit == Exit::Clean { Some(now) } else { known(file, SUCCEEDED.0) };
    for ((name, help), value) in [(SUCCEEDED, success), (FETCHED, known(file, FETCHED.0))] {
        if let Some(value) = value {
            number(name, help, value);
        }
    }
    if let Some(Compiled { read, pollers }) = compiled {
        let of_masters = Numbers::default();
        for (master, number) in pollers {
            of_masters.get_or_create(&vec![("master", master.clone())]).set(*number as f64);
        }
        registry.register("pollers", "Pollers of each master", of_masters);
        let totals = Totals::of(&read.apps);
        let apps = Numbers::default();
        let broken = totals.quarantined;
        let inactive = totals.apps - totals.active() - broken;
        for (state, number) in
            [("active", totals.active()), ("inactive", inactive), ("broken", broken)]
        {
            let labels = vec![("state", state.to_owned())];
            apps.get_or_create(&labels).set(number as f64);
        }
        registry.register("apps", "Apps of fdroiddata; the active ones have a poller", apps);
        let findings = Numbers::default();
        for (name, severity) in [("error", Severity::Error), ("warning", Severity::Warning)] {
            let number = read.findings.iter().filter(|f| f.severity == severity).count();
            findings.get_or_create(&vec![("severity", name.to_owned())]).set(number as f64);
        }
        registry.register("findings", "Findings on metadata and the description", findings);
    }
    let mut text = String::new();
    encode(&mut text, &registry).map_err(io::Error::other)?;
    file::replace(file, &text, Some(PUBLIC))
}

/// Notes that fdroiddata has just been fetched; all else stays as it is.
pub fn fetched(file: &Path) -> io::Result<()> {
    let old = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        old => old?,
    };
    let mut registry = Registry::with_prefix(PREFIX);
    let gauge = Number::default();
    gauge.set(now());
    registry.register(FETCHED.0, FETCHED.1, gauge);
    let mut text: String = old
        .split_inclusive('\n')
        .filter(|line| !line.contains(FETCHED.0) && line.trim_end() != "# EOF")
        .collect();
    encode(&mut text, &registry).map_err(io::Error::other)?;
    file::replace(file, &text, Some(PUBLIC))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The value that the file has of a metric. What cannot be read is not known.
fn known(file: &Path, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = |line: &str| {
        Some(line.strip_prefix(PREFIX)?.strip_prefix('_')?.strip_prefix(name)?.trim().to_owned())
    };
    text.lines().find_map(value)?.parse().ok()
}
