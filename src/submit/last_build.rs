//! How a build ended, and why, as a master tells it (`templates/fdroid_bb/queueing/last_build.py`).

use serde::{Deserialize, Serialize};

/// What became of the newest request for a version of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBuild {
    /// `APPID:VERSIONCODE`.
    pub build: String,
    /// The number of the request.
    pub request: u64,
    /// Whether it is over.
    pub ended: bool,
    /// Whether it was built.
    pub well: bool,
    /// What its newest build says of itself.
    #[serde(default)]
    pub status: String,
    /// The step that failed.
    pub step: Option<String>,
    /// What that step said was wrong, or its last words.
    #[serde(default)]
    pub lines: Vec<String>,
    /// The page of the build, below the master's.
    pub page: Option<String>,
}
