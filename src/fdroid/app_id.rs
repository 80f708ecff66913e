//! Application ids.

use std::fmt;

use serde::Serialize;

/// An application id that fdroidserver accepts: a Java package name, or a SHA-256 sum
/// (`common.is_valid_package_name`). ASCII letters, digits, `_` and `.` only, so it is safe as a
/// file name, a Buildbot name and a command's argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct AppId(String);

impl AppId {
    /// `name` as an application id, or `None` when it is not one.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let package = name.split('.').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        let sum = !name.is_empty() && name.chars().all(|c| c.is_ascii_hexdigit());
        (package || sum).then(|| Self(name.to_owned()))
    }

    /// An id that was found to be one before, and that was kept.
    pub(crate) fn known(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
