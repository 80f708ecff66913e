//! The progress bar.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How long work may take before the bar appears.
const DELAY: Duration = Duration::from_secs(1);

/// If this variable is set, the bar appears at once. For tests only: what takes longer than
/// [`DELAY`] on a busy machine takes milliseconds in a test, and no test may depend on the load.
const NO_DELAY: &str = "FDROID_BB_TEST_PROGRESS";

/// A bar on stderr, if that is a terminal and the work takes long. When this is dropped the bar is
/// gone, so messages belong after that.
pub struct Progress {
    what: &'static str,
    started: Instant,
    delay: Duration,
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// Begins; `what` is shown before the bar.
    pub fn new(what: &'static str) -> Self {
        let delay = if std::env::var_os(NO_DELAY).is_some() { Duration::ZERO } else { DELAY };
        Self { what, started: Instant::now(), delay, bar: OnceLock::new() }
    }

    /// Shows, from any thread, how much is done.
    pub fn at(&self, done: usize, total: usize) {
        if self.started.elapsed() < self.delay {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}");
            ProgressBar::new(total as u64)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_prefix(self.what)
        });
        bar.set_position(done as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
