//! Masters and their web pages in `fdroid-bb.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::login::Login;
use super::scalars::{Secret, TextOrSecret};
use super::values::{AbsoluteFile, Duration, Listen, Name, Size, WebUrl};

/// A Buildbot master.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Master {
    /// The name on its web pages; Buildbot shows no longer ones than this.
    #[schemars(length(min = 1, max = 18))]
    pub title: String,
    /// What its name links to; its own pages if not given.
    pub title_url: Option<WebUrl>,
    /// Where people reach its web pages, with the path prefix that a reverse proxy adds.
    pub url: WebUrl,
    /// Its database: a URL of `sqlalchemy` without a password, or a secret that holds one with it.
    #[serde(default = "default_database")]
    pub database: TextOrSecret,
    /// Where workers connect.
    #[serde(default = "default_worker_listen")]
    pub worker_listen: Listen,
    /// The folder of its secrets, one file each; relative to the master's own folder.
    #[serde(default = "default_secrets")]
    #[schemars(length(min = 1))]
    pub secrets: String,
    /// The folder that other users may read: the repository, saved logs, metrics and status.
    /// Absolute, or relative to the master's own folder, outside of which it lies;
    /// `../public/NAME` if not given.
    #[schemars(length(min = 1))]
    pub output: Option<String>,
    /// A file of Python for what a description cannot say, relative to the file that names it. The
    /// master runs it after all else, with its configuration as `c`. Nothing in it is checked.
    #[schemars(length(min = 1))]
    pub extra: Option<String>,
    /// Where changes are submitted with `buildbot sendchange`.
    pub submit: Option<Submit>,
    /// Its web pages.
    #[serde(default)]
    pub web: Web,
    /// The most that one command on a worker may print; then it is ended, and its build fails.
    #[serde(default = "default_max_output")]
    pub max_output: Size,
    /// How long it keeps what has ended.
    #[serde(default)]
    pub keep: Keep,
}

/// How long a master keeps what has ended, from its end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keep {
    /// The text of logs.
    pub logs: Duration,
    /// Builds, with all that belongs to them, and the changes that led to them. `keep` of a builder
    /// says otherwise for its own builds.
    pub builds: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Self { logs: Duration::from_hours(90 * 24), builds: Duration::from_hours(365 * 24) }
    }
}

/// Where changes are submitted with `buildbot sendchange`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Submit {
    /// The address to listen on.
    #[serde(default = "default_submit")]
    pub listen: Listen,
    /// Who submits.
    pub user: Name,
    /// The password of `user`; if not given, the master makes a new one at each start.
    pub password: Option<Secret>,
    /// Where the master writes the password for those that submit on its own machine, in a folder
    /// that only its user can look into. fdroidserver reads
    /// `/tmp/fdroid-buildbot-sendchange/passwd`, a place that anybody can take first: let that be a
    /// link to a folder of the master's, as `recipes/fdroid-bb.tmpfiles` makes it.
    pub password_file: Option<AbsoluteFile>,
}

/// The web pages of a master.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Web {
    /// The address to listen on. Keep it on loopback and put a reverse proxy before it.
    pub listen: Listen,
    /// The views beside Buildbot's own.
    pub views: Vec<View>,
    /// Who may log in.
    pub users: BTreeMap<Name, User>,
    /// Accounts of a forge that may log in, in place of `users`.
    pub login: Option<Login>,
    /// Which roles may do what. What nobody is allowed to do, nobody can.
    pub allow: Allow,
    /// The reverse proxy before it, if there is one.
    pub proxy: Option<Proxy>,
}

/// A view of builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// Builders as columns, changes as rows.
    Console,
    /// Changes as columns, builders as rows.
    Grid,
    /// Builds along a time line.
    Waterfall,
    /// All apps: what runs, what waits, what fails. It shows itself to everybody, so it cannot be
    /// together with `allow.view`.
    Dashboard,
}

/// Somebody who may log in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// The password; left out where the reverse proxy says who it is (`user-header`).
    pub password: Option<Secret>,
    /// What the user is allowed to do, by the names that `allow` uses.
    #[serde(default)]
    pub roles: Vec<Name>,
}

/// Which roles may do what.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Allow {
    /// Who may see the pages; everybody if not given.
    pub view: Option<Vec<Name>>,
    /// Who may force and repeat builds.
    pub force: Vec<Name>,
    /// Who may stop builds and cancel requests.
    pub stop: Vec<Name>,
    /// Who may do all else: pause workers, switch schedulers.
    pub manage: Vec<Name>,
}

/// A reverse proxy before a master's web pages.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Proxy {
    /// How often an idle websocket is used, so that the proxy does not close it.
    pub ping_interval: Option<Duration>,
    /// The header in which the proxy says who is logged in. The proxy must set it itself.
    pub user_header: Option<Name>,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen: Listen::loopback(8010),
            views: vec![View::Console, View::Grid, View::Waterfall],
            users: BTreeMap::new(),
            login: None,
            allow: Allow::default(),
            proxy: None,
        }
    }
}

fn default_database() -> TextOrSecret {
    TextOrSecret::Text("sqlite:///state.sqlite".to_owned())
}

fn default_worker_listen() -> Listen {
    Listen::loopback(9989)
}

fn default_submit() -> Listen {
    Listen::loopback(9999)
}

fn default_max_output() -> Size {
    Size::from_mib(64)
}

fn default_secrets() -> String {
    "secrets".to_owned()
}
