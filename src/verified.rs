//! `unsigned/verified.json`: what `fdroid verify` found of all versions, over many machines.
//!
//! fdroidserver adds to it after each verification (`verify.py`, `write_verified_json`). A machine that
//! is made for one verification knows nothing of the others, so what it reports is added here.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Map, Value};

use crate::fdroid::AppId;

/// The longest report that is read, in bytes. It comes from a machine that ran the app's code.
const LONGEST: u64 = 16 << 20;

/// Adds what `unsigned/APP_CODE.apk.json` says was verified to `unsigned/verified.json`, which is
/// replaced in one step. Gives how many reports were new.
///
/// Reports of another app or version count as none, as do those of versions that differ: fdroidserver
/// does not keep these either.
///
/// # Errors
///
/// A file cannot be read or written, or is not what fdroidserver writes.
pub fn add(unsigned: &Path, app: &AppId, code: u64) -> io::Result<usize> {
    let reports = read(&unsigned.join(format!("{app}_{code}.apk.json")))?;
    let path = unsigned.join("verified.json");
    let mut all = if path.exists() { read(&path)? } else { Map::new() };
    let packages = all.entry("packages").or_insert_with(|| Value::Object(Map::new()));
    let known = packages.as_object_mut().ok_or_else(malformed)?;
    let known = known.entry(app.as_str()).or_insert_with(|| Value::Array(Vec::new()));
    let known = known.as_array_mut().ok_or_else(malformed)?;
    let is_new = |report: &&Value| {
        let local = &report["local"];
        report["verified"] == true
            && local["packageName"] == app.as_str()
            && local["versionCode"] == code
            && !known.contains(report)
    };
    let news: Vec<Value> = reports.values().filter(is_new).cloned().collect();
    let count = news.len();
    // The newest first, as fdroidserver has it.
    known.splice(0..0, news.into_iter().rev());
    if count > 0 {
        let mut file = tempfile::Builder::new()
            .prefix(".fdroid-bb-part-")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(unsigned)?;
        file.write_all(Value::Object(all).to_string().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
    }
    Ok(count)
}

fn read(path: &Path) -> io::Result<Map<String, Value>> {
    let mut text = Vec::new();
    let is_report = fs::symlink_metadata(path)?.is_file();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut text)?;
    if !is_report || text.len() as u64 > LONGEST {
        return Err(malformed());
    }
    serde_json::from_slice(&text).map_err(io::Error::from)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not what `fdroid verify` writes")
}
