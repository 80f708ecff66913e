//! The little of a file that decides what polls its source.

use serde::{Deserialize, Serialize};

use super::{App, Marks, Srclib};

/// What of an app decides whether it is polled, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline<'a> {
    /// As [`App::repo`].
    pub repo: Option<&'a str>,
    /// As [`App::repo_type`].
    pub repo_type: Option<&'a str>,
    /// As [`App::disabled`].
    pub disabled: Option<&'a str>,
    /// As [`App::update_check_mode`].
    pub update_check_mode: Option<&'a str>,
    /// As [`App::archive_policy`].
    pub archive_policy: Option<i128>,
    /// Where these stand.
    pub marks: Marks,
}

impl<'a> From<&'a App> for Outline<'a> {
    fn from(app: &'a App) -> Self {
        Self {
            repo: app.repo.as_deref(),
            repo_type: app.repo_type.as_deref(),
            disabled: app.disabled.as_deref(),
            update_check_mode: app.update_check_mode.as_deref(),
            archive_policy: app.archive_policy,
            marks: app.marks,
        }
    }
}

/// What of a srclib decides where the source of its apps is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrclibOutline<'a> {
    /// As [`Srclib::repo`].
    pub repo: &'a str,
    /// As [`Srclib::repo_type`].
    pub repo_type: &'a str,
    /// Where these stand.
    pub marks: Marks,
}

impl<'a> From<&'a Srclib> for SrclibOutline<'a> {
    fn from(srclib: &'a Srclib) -> Self {
        Self { repo: &srclib.repo, repo_type: &srclib.repo_type, marks: srclib.marks }
    }
}

impl From<&SrclibOutline<'_>> for Srclib {
    fn from(outline: &SrclibOutline<'_>) -> Self {
        Self {
            repo: outline.repo.to_owned(),
            repo_type: outline.repo_type.to_owned(),
            marks: outline.marks,
        }
    }
}
