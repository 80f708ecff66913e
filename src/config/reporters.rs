//! Who is told of builds, in `fdroid-bb.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::choices::When;
use super::scalars::Secret;
use super::values::{MailAddress, Name, WebUrl};

/// Where builds are reported. Just one of `mail`, `gitlab` and `http` says how.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reporter {
    /// The choices under which it is there.
    #[serde(default)]
    pub when: When,
    /// The builders whose builds are told of, all on one master.
    #[schemars(length(min = 1))]
    pub builders: Vec<Name>,
    /// A mail for each new cause of failure: none while the same thing goes on failing.
    pub mail: Option<Mail>,
    /// The state of each build at the commit of fdroiddata that it is for.
    pub gitlab: Option<Gitlab>,
    /// A request for each build that starts or ends, with a JSON document that tells of it.
    pub http: Option<Http>,
}

/// A server that is sent what becomes of builds.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Http {
    /// Where to send it, with `POST`.
    pub url: WebUrl,
    /// Headers that prove who sends it, such as `X-Token`.
    #[serde(default)]
    pub headers: BTreeMap<Name, Secret>,
}

/// Mails, and the server that takes them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mail {
    /// The sender's address.
    pub from: MailAddress,
    /// The addresses of those who get them.
    #[schemars(length(min = 1))]
    pub to: Vec<MailAddress>,
    /// The mail server.
    #[serde(default = "default_relay")]
    #[schemars(length(min = 1))]
    pub relay: String,
    /// Its port.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Whether the connection is encrypted.
    #[serde(default)]
    pub tls: bool,
    /// Who the master is to the mail server; nobody in particular if not given.
    #[schemars(length(min = 1))]
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<Secret>,
}

/// A project of a GitLab.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Gitlab {
    /// The project's page, such as `https://gitlab.com/fdroid/fdroiddata`.
    pub project: WebUrl,
    /// A token with the scope `api`.
    pub token: Secret,
}

fn default_relay() -> String {
    "localhost".to_owned()
}

fn default_port() -> u16 {
    25
}
