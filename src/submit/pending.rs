//! Which builds are still to be made.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use crate::fdroid::{App, Build};

/// How long a build may take whose metadata says nothing, in seconds: fdroidserver's own.
pub(crate) const DEFAULT_TIMEOUT: i128 = 7_200;

/// The folders of a repository that hold what was built.
const FOLDERS: &[&str] = &["unsigned", "repo", "archive"];

/// The folders beside a repository in which each build's files wait to be published, in the order in
/// which they move on, and that of those which cannot be: a folder `APPID_VERSIONCODE` each.
const WAITING: [&str; 3] = ["built", "publishing/taken", "outbox"];
const REFUSED: &str = "refused";

/// What is built already, each as `APPID_VERSIONCODE`.
#[derive(Debug, Default)]
pub struct Built {
    there: BTreeSet<String>,
    refused: BTreeSet<String>,
}

impl Built {
    /// Looks into the folders of a repository of `fdroid` and into those beside it. One that is
    /// missing holds nothing.
    ///
    /// # Errors
    /// When the repository is no folder, or one of its folders cannot be listed.
    pub fn read(repository: &Path) -> io::Result<Self> {
        fs::read_dir(repository)?;
        let beside = |name: &str| names(&repository.join("..").join(name));
        let refused = beside(REFUSED)?.into_iter().collect();
        // In the order in which files move on, so that none is missed.
        let mut built = BTreeSet::new();
        for folder in WAITING {
            built.extend(beside(folder)?);
        }
        for folder in FOLDERS {
            for name in names(&repository.join(folder))? {
                // fdroidserver's `get_release_filename`: an entry's `output` may end otherwise than
                // in `.apk`. What lies beside it has one ending more, or is a log.
                match name.rsplit_once('.') {
                    Some((stem, ending)) if ending != "log" => drop(built.insert(stem.to_owned())),
                    _ => {}
                }
            }
        }
        Ok(Self { there: built, refused })
    }

    /// Whether this build waits to be published, or is.
    #[must_use]
    pub fn has(&self, app: &App, build: &Build) -> bool {
        self.there.contains(&name(app, build))
    }

    /// Whether it could not be published.
    #[must_use]
    pub fn refuses(&self, app: &App, build: &Build) -> bool {
        self.refused.contains(&name(app, build))
    }
}

fn name(app: &App, build: &Build) -> String {
    format!("{}_{}", app.id.as_str(), build.version_code)
}

/// The names in a folder that are text.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}

/// The builds of an app's current version that are enabled and not built. Several, where a version
/// is built for each kind of processor: these have its name and its commit. An old release whose
/// name was never changed has another commit.
pub fn pending<'a>(app: &'a App, built: &'a Built) -> impl Iterator<Item = &'a Build> {
    let enabled = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    let is_current = |build: &&Build| app.current_version_code == Some(build.version_code);
    let of_current = app.builds.iter().find(is_current).and_then(|build| build.commit.as_deref());
    let current = move |build: &Build| {
        let name = app.current_version.as_deref().filter(|name| !name.is_empty());
        is_current(&build)
            || (name.is_some()
                && name == build.version_name.as_deref()
                && of_current.is_some()
                && of_current == build.commit.as_deref())
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
