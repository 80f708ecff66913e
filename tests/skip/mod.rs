//! What a test does that cannot be made here.

use std::io::Write as _;
use std::{env, io};

/// Says that a test is skipped and why, past the harness, which swallows what a passing test
/// prints. With `FDROID_BB_NO_SKIP`, as in CI, the test fails.
pub fn skipped(what: &str) {
    let _ = io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes());
    assert!(env::var_os("FDROID_BB_NO_SKIP").is_none(), "FDROID_BB_NO_SKIP is set: {what}");
}
