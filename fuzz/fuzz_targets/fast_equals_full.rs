//! Whatever the fast path takes, the full parser reads the same; and neither panics.

#![no_main]

use fdroid_bb::fdroid::AppId;
use fdroid_bb::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(id) = AppId::new("org.example") else { return };
    let _ = parse::agree(&id, bytes);
    let _ = parse::app_full(id, "org.example.yml", bytes);
    let _ = parse::srclib("x.yml", bytes);
});
