//! Which builds are still to be made.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use crate::fdroid::{App, Build};

/// How long a build may take whose metadata says nothing, in seconds: fdroidserver's own.
pub const DEFAULT_TIMEOUT: i128 = 7_200;

/// The folders of a repository that hold what was built.
const FOLDERS: &[&str] = &["unsigned", "repo", "archive"];

/// What is built already: names of files without their ending, `APPID_VERSIONCODE`.
#[derive(Debug, Default)]
pub struct Built(BTreeSet<String>);

impl Built {
    /// Looks into the folders of a repository of `fdroid`. One that is missing holds nothing.
    ///
    /// # Errors
    /// When the repository is no folder, or one of its folders cannot be listed.
    pub fn read(repository: &Path) -> io::Result<Self> {
        fs::read_dir(repository)?;
        let mut built = BTreeSet::new();
        for folder in FOLDERS {
            let entries = match fs::read_dir(repository.join(folder)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let name = entry?.file_name();
                let Some(name) = name.to_str() else { continue };
                // fdroidserver's `get_release_filename`: an entry's `output` may end otherwise than
                // in `.apk`. What lies beside it has one ending more, or is a log.
                match name.rsplit_once('.') {
                    Some((stem, ending)) if ending != "log" => drop(built.insert(stem.to_owned())),
                    _ => {}
                }
            }
        }
        Ok(Self(built))
    }

    fn has(&self, app: &App, build: &Build) -> bool {
        self.0.contains(&format!("{}_{}", app.id.as_str(), build.version_code))
    }
}

/// The builds of an app's current version that are enabled and not built. Several, where a version
/// is built for each kind of processor.
pub fn pending<'a>(app: &'a App, built: &'a Built) -> impl Iterator<Item = &'a Build> {
    let enabled = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    let current = |build: &Build| {
        let name = app.current_version.as_deref().filter(|name| !name.is_empty());
        app.current_version_code == Some(build.version_code)
            || (name.is_some() && name == build.version_name.as_deref())
    };
    // An app that keeps no version is an archived one; fdroidserver's `schedule_buildcycle` too
    // leaves it out.
    let wanted = enabled(&app.disabled) && app.archive_policy != Some(0);
    app.builds
        .iter()
        .filter(move |build| wanted && enabled(&build.disable) && current(build))
        .filter(|build| !built.has(app, build))
}

/// How long a build may take, in seconds.
#[must_use]
pub fn timeout(build: &Build) -> i128 {
    // fdroidserver's `schedule_buildcycle` takes 0 for nothing said too.
    build.timeout.filter(|seconds| *seconds > 0).unwrap_or(DEFAULT_TIMEOUT)
}
