//! What one file of `metadata/` says.

use serde::{Deserialize, Serialize};

use super::AppId;
use crate::finding::Span;

/// One app, with the values that fdroidserver's `metadata.parse_metadata` gives its fields.
/// Serialises under fdroidserver's own field names. `None` is fdroidserver's `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct App {
    /// The application id: the file's name without `.yml`.
    #[serde(rename = "id")]
    pub id: AppId,
    /// Where the source is; `""` where absent. A `srclib` app names a file of `srclibs/`.
    pub repo: Option<String>,
    /// `git`, `git-svn`, `svn`, `hg`, `bzr` or `srclib`; `""` where absent.
    pub repo_type: Option<String>,
    /// Why the app is disabled, where it is.
    pub disabled: Option<String>,
    /// How new versions are found, as written; `"None"` where absent.
    pub update_check_mode: Option<String>,
    /// How a new version becomes a build, as written; `"None"` where absent.
    pub auto_update_mode: Option<String>,
    /// How many versions the main repository keeps.
    pub archive_policy: Option<i128>,
    /// The version name recommended to users; `""` where absent.
    pub current_version: Option<String>,
    /// The version code recommended to users.
    pub current_version_code: Option<i128>,
    /// Where `checkupdates` looks for the version.
    pub update_check_data: Option<String>,
    /// The application id to look for, where it differs.
    pub update_check_name: Option<String>,
    /// A pattern of versions to pass over.
    pub update_check_ignore: Option<String>,
    /// How version codes are computed for several builds of one version; empty where absent.
    pub vercode_operation: Option<Vec<String>>,
    /// The builds, in order of their version codes.
    pub builds: Vec<Build>,
    /// Where the fields stand that later findings point at.
    #[serde(skip)]
    pub marks: Marks,
}

/// One entry of `Builds`, as fdroidserver's `metadata.Build` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Build {
    /// The version code.
    pub version_code: i128,
    /// The version name.
    pub version_name: Option<String>,
    /// Why the build is disabled; `""` where it is not.
    pub disable: Option<String>,
    /// How long the build may take, in seconds.
    pub timeout: Option<i128>,
    /// The commit or tag to build.
    pub commit: Option<String>,
}

/// Where an app's fields stand in its file. The whole file where a field is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The value of `Disabled`.
    pub disabled: Option<Span>,
    /// The value of `ArchivePolicy`.
    pub archive_policy: Option<Span>,
    /// The value of `Repo`.
    pub repo: Option<Span>,
    /// The value of `RepoType`.
    pub repo_type: Option<Span>,
    /// The value of `UpdateCheckMode`.
    pub update_check_mode: Option<Span>,
}
