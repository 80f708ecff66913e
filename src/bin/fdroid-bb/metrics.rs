//! Metrics for Prometheus, in a file for the text file collector of its node exporter.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fdroid_bb::finding::Severity;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::Exit;
use crate::input::Read;
use crate::report::Totals;

type Number = Gauge<f64, AtomicU64>;
type Numbers = Family<Vec<(&'static str, String)>, Number>;

/// What a run has compiled.
pub struct Compiled {
    pub read: Read,
    /// The pollers of each master.
    pub pollers: BTreeMap<String, usize>,
}

/// Writes what became of a run. What is not known of a failed one keeps no old value.
pub fn write(
    file: &Path,
    compiled: Option<&Compiled>,
    exit: Exit,
    took: Duration,
) -> io::Result<()> {
    let mut registry = Registry::with_prefix("fdroid_bb");
    let mut number = |name: &str, help: &str, value: f64| {
        let gauge = Number::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    number("last_run_timestamp_seconds", "When the configuration was last applied, or tried", now);
    number("last_run_seconds", "How long that took", took.as_secs_f64());
    number(
        "last_run_exit_code",
        "How it ended, as the exit codes of fdroid-bb",
        f64::from(exit as u8),
    );
    let success = if exit == Exit::Clean { Some(now) } else { last_success(file) };
    if let Some(success) = success {
        number(
            "last_success_timestamp_seconds",
            "When the masters last ran what was asked",
            success,
        );
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
    // The collector must not read half of it.
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let mut staged = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)?;
    staged.write_all(text.as_bytes())?;
    staged.persist(file)?;
    Ok(())
}

/// The last success that the file tells of.
fn last_success(file: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line =
        text.lines().find_map(|l| l.strip_prefix("fdroid_bb_last_success_timestamp_seconds "));
    line?.trim().parse().ok()
}
