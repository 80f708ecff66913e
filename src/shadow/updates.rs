//! What checkupdates found, beside what fdroiddata says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use serde::Serialize;

use crate::fdroid::AppId;
use crate::update::LONGEST;

/// What a patch of `fdroid checkupdates` says of an app, and fdroiddata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The app.
    pub app: String,
    /// The `CurrentVersionCode` that was found.
    pub found: i128,
    /// The one of fdroiddata, if it has the app.
    pub fdroiddata: Option<i128>,
}

/// What the patches in a folder found, in order of their apps. One that changes no
/// `CurrentVersionCode` found nothing.
///
/// # Errors
/// When the folder or a patch cannot be read.
pub fn updates(folder: &Path, current: &BTreeMap<String, i128>) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let app = name.strip_suffix(".patch").filter(|app| AppId::new(app).is_some());
        let Some(app) = app.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) else {
            continue;
        };
        let mut patch = Vec::new();
        File::open(entry.path())?.take(LONGEST as u64).read_to_end(&mut patch)?;
        if let Some(found) = code(&String::from_utf8_lossy(&patch)) {
            let fdroiddata = current.get(app).copied();
            all.push(Found { app: app.to_owned(), found, fdroiddata });
        }
    }
    all.sort_by(|a, b| a.app.cmp(&b.app));
    Ok(all)
}

/// The version code that a patch puts in.
fn code(patch: &str) -> Option<i128> {
    patch.lines().find_map(|line| line.strip_prefix("+CurrentVersionCode:")?.trim().parse().ok())
}
