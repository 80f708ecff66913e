//! What was merged into fdroiddata since builds were asked for last.
//!
//! A reference in the clone says up to where: it survives crashes, is moved by git in one step, and
//! keeps the commit, also one that upstream has rewritten. An app whose metadata is broken stays
//! there as it was, so that its builds are asked for once it can be read again.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::fdroid::{App, Build};
use crate::finding::Finding;
use crate::load::{File, Tree, git};
use crate::text::shown;
use crate::{parse, process};

/// The reference.
pub const CURSOR: &str = "refs/fdroid-bb/requested";

/// How long git may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state of fdroiddata up to which builds were asked for; `None` at first.
///
/// # Errors
/// When git does not answer, or the commit cannot be read.
pub fn cursor(fdroiddata: &Path) -> Result<Option<(String, Tree)>, String> {
    let mut git = git::command(fdroiddata);
    git.args(["for-each-ref", "--format=%(objectname)", CURSOR]);
    let said = run(&mut git)?;
    let commit = said.trim();
    if commit.is_empty() {
        return Ok(None);
    }
    let tree = Tree::open(fdroiddata, Some(commit)).map_err(|finding| finding.message)?;
    Ok(Some((commit.to_owned(), tree)))
}

/// An app as it is now, and the builds of it that are new.
pub type Added<'a> = (&'a App, Vec<&'a Build>);

/// The builds that can be made of `apps`, and could not be in `old`: added, or enabled.
///
/// # Errors
/// When the metadata of `old` cannot be listed.
pub fn added<'a>(
    old: &Tree,
    new: &Tree,
    apps: impl Iterator<Item = &'a App>,
) -> Result<Vec<Added<'a>>, Finding> {
    let (before, now) = (old.metadata()?, new.metadata()?);
    let reader = old.reader();
    let mut out = Vec::new();
    for app in apps {
        let id = app.id.as_str();
        let file = find(&before.files, id);
        if file.is_some_and(|file| find(&now.files, id).is_some_and(|n| n.blob() == file.blob())) {
            continue;
        }
        let known = match file {
            None => BTreeSet::new(),
            Some(file) => {
                let bytes = reader.read(file);
                let parsed = bytes.and_then(|b| parse::app(app.id.clone(), &file.path(), &b).app);
                match parsed {
                    Ok(app) => enabled(&app).map(|build| build.version_code).collect(),
                    // Broken from the first, so nobody knows which of them are new.
                    Err(_) => continue,
                }
            }
        };
        let mut seen = known;
        let new: Vec<_> = enabled(app).filter(|build| seen.insert(build.version_code)).collect();
        if !new.is_empty() {
            out.push((app, new));
        }
    }
    Ok(out)
}

fn find<'f>(files: &'f [File], stem: &str) -> Option<&'f File> {
    files.get(files.binary_search_by(|file| file.stem().cmp(stem)).ok()?)
}

/// The builds that can be made.
fn enabled(app: &App) -> impl Iterator<Item = &Build> {
    let is_empty = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    let app_is_enabled = is_empty(&app.disabled);
    app.builds.iter().filter(move |build| app_is_enabled && is_empty(&build.disable))
}

/// Moves the reference from `old` to `commit`, whose `broken` apps stay as they are in `old`.
///
/// # Errors
/// When git cannot, or somebody else has moved it meanwhile.
pub fn advance<'b>(
    fdroiddata: &Path,
    old: Option<&(String, Tree)>,
    commit: &str,
    broken: impl Iterator<Item = &'b str>,
) -> Result<(), String> {
    let broken: Vec<&str> = broken.filter(|stem| !stem.contains(['\0', '\n', '/'])).collect();
    let target = match old {
        Some((_, tree)) if !broken.is_empty() => keep(fdroiddata, tree, commit, &broken)?,
        _ => commit.to_owned(),
    };
    // All zeros: it must not be there yet.
    let zeros = "0".repeat(commit.len());
    let before = old.map_or(zeros.as_str(), |(commit, _)| commit);
    let mut git = git::command(fdroiddata);
    run(git.args(["update-ref", CURSOR, &target, before])).map(drop)
}

/// A commit as `commit`, but with the `broken` apps of `old`.
fn keep(fdroiddata: &Path, old: &Tree, commit: &str, broken: &[&str]) -> Result<String, String> {
    let files = &old.metadata().map_err(|finding| finding.message)?.files;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let git = |args: &[&str]| {
        let mut git = git::command(fdroiddata);
        git.env("GIT_INDEX_FILE", folder.path().join("index")).args(args);
        run(&mut git).map(|said| said.trim().to_owned())
    };
    git(&["read-tree", commit])?;
    for stem in broken {
        let path = format!("metadata/{stem}.yml");
        match find(files, stem).and_then(File::blob_id) {
            Some(blob) => {
                git(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{path}")])?;
            }
            None => drop(git(&["update-index", "--force-remove", "--", &path])?),
        }
    }
    let tree = git(&["write-tree"])?;
    let says = format!("{commit}, but for apps that are broken there");
    let (name, mail) = ("user.name=fdroid-bb", "user.email=fdroid-bb@localhost");
    git(&["-c", name, "-c", mail, "commit-tree", &tree, "-p", commit, "-m", &says])
}

fn run(git: &mut Command) -> Result<String, String> {
    match process::run(git, PATIENCE) {
        Ok((true, said)) => Ok(said),
        Ok((false, said)) => Err(shown(said.trim())),
        Err(error) => Err(error.to_string()),
    }
}
