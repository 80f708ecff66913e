//! Logins with an account of a forge, in `fdroid-bb.toml`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalars::Secret;
use super::values::{Account, Name, WebUrl};

/// Accounts of a forge that may log in. Just one of `gitlab` and `github` says of which.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Login {
    /// A GitLab.
    pub gitlab: Option<Forge>,
    /// GitHub.
    pub github: Option<Forge>,
    /// Who has which roles. Everybody else may log in too, without any.
    #[schemars(length(min = 1))]
    pub grants: Vec<Grant>,
}

/// A forge, and how it knows this master: as an OAuth application whose redirect URL is that of the
/// master with `auth/login`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Forge {
    /// Where it is; the public one if not given.
    pub url: Option<WebUrl>,
    /// The application's id.
    #[schemars(length(min = 1, max = 200))]
    pub client_id: String,
    /// The application's secret.
    pub client_secret: Secret,
}

/// Roles of some accounts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Grant {
    /// Users.
    #[serde(default)]
    pub users: Vec<Account>,
    /// Groups with their whole path, or organisations: all their members.
    #[serde(default)]
    pub groups: Vec<Account>,
    /// The roles, by the names that `allow` uses.
    #[schemars(length(min = 1))]
    pub roles: Vec<Name>,
}
