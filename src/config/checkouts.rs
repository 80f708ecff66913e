//! What builders check out, in `fdroid-bb.toml`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::{Branch, Folder, Name, RepoUrl, SecretName};

/// A git repository to check out. In its address and branch `{name}` stands for a property, but
/// not one of the type `text`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Checkout {
    /// Where it is; fdroiddata if not given.
    pub url: Option<RepoUrl>,
    /// The branch; `master` if not given, and that of `fdroiddata` where there is no `url` either.
    pub branch: Option<Branch>,
    /// Which commit of it.
    #[serde(default)]
    pub revision: Revision,
    /// How many commits are fetched, from the newest on; all of them if not given.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub depth: Option<u32>,
    /// Whether its submodules are checked out too, and theirs.
    #[serde(default)]
    pub submodules: bool,
    /// Who the server is told asks. The password stands on no command line and in no log, and on
    /// the worker only while the step runs.
    pub credentials: Option<Credentials>,
    /// Where to, below the build's own folder: for all checkouts of a builder but the first.
    pub into: Option<Folder>,
}

/// A user of a git server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Credentials {
    /// The user; forges take any for their tokens.
    #[serde(default = "default_user")]
    pub user: Name,
    /// The secret that holds the password or token.
    pub secret: SecretName,
}

/// Which commit is checked out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Revision {
    /// The newest of the branch.
    #[default]
    Latest,
    /// The one that the change names which asked for the build.
    Change,
}

fn default_user() -> Name {
    Name::fixed("oauth2")
}
