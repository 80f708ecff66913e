//! What the command `schedule` does with `--merged`.

use fdroid_bb::compile::Record;
use fdroid_bb::fdroid::{App, Build};
use fdroid_bb::load::Tree;
use fdroid_bb::submit::merged::{self, CURSOR};
use fdroid_bb::submit::pending::Built;

use crate::input::Read;
use crate::target::Stop;

/// Up to where builds were asked for, and now are.
pub struct Merged<'r> {
    old: Option<(String, Tree)>,
    commit: &'r str,
}

impl<'r> Merged<'r> {
    pub fn read(read: &'r Read) -> Result<Self, Stop> {
        let commit = read.tree.commit.as_deref().ok_or_else(|| {
            let message = format!("`{}` is not a git repository", read.fdroiddata.display());
            Stop::new(message, "give a clone of fdroiddata with `--fdroiddata PATH`")
        })?;
        let old = merged::cursor(&read.fdroiddata).map_err(|why| stop(&why))?;
        Ok(Self { old, commit })
    }

    /// The commit, if nothing was asked for before.
    pub fn first(&self) -> Option<&'r str> {
        self.old.is_none().then_some(self.commit)
    }

    /// The builds that are new since, and not made.
    pub fn added(
        &self,
        read: &'r Read,
        apps: &[&'r App],
        built: &Built,
    ) -> Result<Vec<(&'r App, &'r Build)>, Stop> {
        let Some((_, old)) = &self.old else { return Ok(Vec::new()) };
        let added = merged::added(old, &read.tree, apps.iter().copied());
        let added = added.map_err(|finding| Stop::new(finding.message, finding.help))?;
        let builds =
            added.into_iter().flat_map(|(app, builds)| builds.into_iter().map(move |b| (app, b)));
        Ok(builds.filter(|(app, build)| !built.has(app, build)).collect())
    }

    /// Notes that all of them were asked for.
    pub fn advance(&self, read: &Read) -> Result<(), Stop> {
        let broken = read.apps.records.iter().filter_map(|record| match record {
            Record::Quarantined { stem, .. } => Some(stem.as_str()),
            Record::App { .. } => None,
        });
        merged::advance(&read.fdroiddata, self.old.as_ref(), self.commit, broken)
            .map_err(|why| stop(&why))
    }
}

fn stop(why: &str) -> Stop {
    let message = format!("`{CURSOR}` cannot be read or moved: {why}");
    let help = format!("see `git log {CURSOR}`; to begin anew, `git update-ref -d {CURSOR}`");
    Stop::new(message, help)
}
