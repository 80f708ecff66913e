//! Settings of a master: names, addresses, database, web pages and who may do what.

use std::collections::BTreeMap;

use super::{object, secret, text_or_secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{Account, Allow, Listen, Login, Name, Path, View, Web};
use crate::pipeline::Master;

/// A role that no user can have, for no name holds a parenthesis.
const NOBODY: &str = "(nobody)";

/// Keys of `BuildmasterConfig` with a single value; `path` is that of the master.
pub(super) fn settings(path: &Path, master: &Master) -> Vec<Object> {
    let settings = &master.settings;
    let mut out = Vec::new();
    let mut set = |name, expr: Expr| out.push(object(path.clone(), name, expr));
    let url = Expr::from(settings.url.url().as_str()).at(path.key("url"));
    let title_url = match &settings.title_url {
        Some(own) => own.url().as_str().into(),
        None => url.clone(),
    };
    set("title", Expr::from(settings.title.as_str()).at(path.key("title")));
    set("titleURL", title_url.at(path.key("title-url")));
    set("buildbotURL", url);
    // Left out, Buildbot tells its makers which versions and plugins are used here.
    set("buildbotNetUsageData", Expr::None);
    // Buildbot's own rule would merge requests for two versions of an app into one build.
    set("collapseRequests", false.into());
    set("select_next_worker", Expr::name("next_worker"));
    let most = Expr::from(settings.max_output.as_mib() << 20).at(path.key("max-output"));
    set("logMaxSize", most);
    let database = text_or_secret(&settings.database).at(path.key("database"));
    set("db", Expr::dict([("db_url", database)]));
    let port = Expr::from(endpoint(&settings.worker_listen)).at(path.key("worker-listen"));
    set("protocols", Expr::dict([("pb", Expr::dict([("port", port)]))]));
    if master.uses_secrets() {
        // Relative to the master's own folder, from wherever the file is checked.
        let folder = Call::new("Path").arg(Expr::name("BASEDIR")).arg(settings.secrets.as_str());
        let folder = Call::new("str").arg(folder).at(path.key("secrets"));
        let secrets = Call::new("secrets.SecretInAFile").arg(folder);
        set("secretsProviders", Expr::list([secrets]));
    }
    set("www", www(&path.key("web"), &settings.web));
    out
}

/// A Twisted endpoint (<https://docs.twisted.org/en/stable/core/howto/endpoints.html>), in which
/// `:` separates and `\:` is a colon.
pub(super) fn endpoint(listen: &Listen) -> String {
    let addr = listen.addr();
    let interface = addr.ip().to_string().replace(':', r"\:");
    let protocol = if addr.is_ipv6() { "tcp6" } else { "tcp" };
    format!("{protocol}:{}:interface={interface}", addr.port())
}

fn www(path: &Path, web: &Web) -> Expr {
    let views = path.key("views");
    let plugins = web.views.iter().map(|view| {
        let (name, options) = match view {
            View::Console => ("console_view", Expr::Dict(Vec::new())),
            View::Grid => ("grid_view", Expr::Dict(Vec::new())),
            View::Waterfall => ("waterfall_view", Expr::Dict(Vec::new())),
            View::Dashboard => ("wsgi_dashboards", Expr::list([dashboard()])),
        };
        (name, options.at(views.clone()))
    });
    let mut out: Vec<(&str, Expr)> = vec![
        ("port", Expr::from(endpoint(&web.listen)).at(path.key("listen"))),
        ("plugins", Expr::dict(plugins).at(views.clone())),
    ];
    // Left out, Buildbot asks a service on the internet for a picture of each author.
    out.push(("avatar_methods", Expr::List(Vec::new())));
    if let Some(ping) = web.proxy.as_ref().and_then(|proxy| proxy.ping_interval.as_ref()) {
        let ping = Expr::from(ping.as_secs()).at(path.key("proxy").key("ping-interval"));
        out.push(("ws_ping_interval", ping));
    }
    out.extend(auth(path, web).map(|auth| ("auth", auth)));
    out.push(("authz", authz(path, web).into()));
    Expr::dict(out)
}

/// Its place in the menu of the web pages.
fn dashboard() -> Expr {
    Expr::dict([
        ("name", Expr::from("apps")),
        ("caption", "Apps".into()),
        ("app", Expr::name("dashboard")),
        ("order", 1.into()),
        ("icon", "FaTable".into()),
    ])
}

fn auth(path: &Path, web: &Web) -> Option<Expr> {
    if let Some(header) = web.proxy.as_ref().and_then(|proxy| proxy.user_header.as_ref()) {
        let call = Call::new("util.RemoteUserAuth")
            .kwarg("header", header.as_str())
            .kwarg("headerRegex", r"\A(?P<username>[A-Za-z0-9._@-]+)\Z");
        return Some(call.at(path.key("proxy").key("user-header")));
    }
    if let Some(login) = &web.login {
        return self::login(&path.key("login"), login);
    }
    let users = path.key("users");
    let passwords: Vec<(&str, Expr)> = web
        .users
        .iter()
        .filter_map(|(name, user)| {
            let password = secret(user.password.as_ref()?);
            Some((name.as_str(), password.at(users.key(name.as_str()).key("password"))))
        })
        .collect();
    (!passwords.is_empty()).then(|| Call::new("SecretAuth").arg(Expr::dict(passwords)).at(users))
}

fn login(path: &Path, login: &Login) -> Option<Expr> {
    let (class, key, forge, usual) = match (&login.gitlab, &login.github) {
        (Some(forge), _) => ("GitLabLogin", "gitlab", forge, Some("https://gitlab.com/")),
        (None, Some(forge)) => ("GitHubLogin", "github", forge, None),
        (None, None) => return None,
    };
    let groups: BTreeMap<&Account, Path> = login
        .grants
        .iter()
        .enumerate()
        .flat_map(|(i, grant)| {
            let path = path.key("grants").index(i).key("groups");
            grant.groups.iter().map(move |group| (group, path.clone()))
        })
        .collect();
    let is_empty = groups.is_empty();
    let groups = groups.into_iter().map(|(group, path)| Expr::from(group.as_str()).at(path));
    let groups = (!is_empty).then(|| Expr::List(groups.collect()));
    let path = path.key(key);
    let url = forge.url.as_ref().map(|url| url.url().as_str()).or(usual);
    let call = Call::new(class)
        .kwarg_opt_at("url", path.key("url"), url)
        .kwarg_at("client_id", path.key("client-id"), forge.client_id.as_str())
        .kwarg_at("client_secret", path.key("client-secret"), secret(&forge.client_secret))
        .kwarg_opt("groups", groups);
    Some(call.at(path))
}

/// Who has which roles.
fn roles(path: &Path, web: &Web) -> Vec<Expr> {
    let mut roles: Vec<Expr> = web
        .users
        .iter()
        .filter(|(_, user)| !user.roles.is_empty())
        .map(|(name, user)| {
            Call::new("util.RolesFromUsername")
                .kwarg("roles", Expr::list(user.roles.iter().map(Name::as_str)))
                .kwarg("usernames", Expr::list([name.as_str()]))
                .at(path.key("users").key(name.as_str()).key("roles"))
        })
        .collect();
    let grants = path.key("login").key("grants");
    for (i, grant) in web.login.iter().flat_map(|login| &login.grants).enumerate() {
        let path = grants.index(i);
        let mut give = |class: &'static str, argument: &'static str, key, accounts: &[Account]| {
            if !accounts.is_empty() {
                let accounts = Expr::list(accounts.iter().map(Account::as_str));
                let call = Call::new(class)
                    .kwarg_at("roles", path.key("roles"), super::names(&grant.roles))
                    .kwarg_at(argument, path.key(key), accounts);
                roles.push(call.at(path.clone()));
            }
        };
        give("util.RolesFromUsername", "usernames", "users", &grant.users);
        give("RolesFromMembership", "groups", "groups", &grant.groups);
    }
    roles
}

/// Rules in the order Buildbot tries them; the first that knows an action decides on it.
fn authz(path: &Path, web: &Web) -> Call {
    let Allow { view, force, stop, manage } = &web.allow;
    let mut rules = Vec::new();
    // Any one of the roles will do: only the last says no.
    let mut allow = |class: &'static str, key: &'static str, roles: &[Name]| {
        let origin = path.key("allow").key(key);
        for (i, role) in roles.iter().enumerate() {
            let ask_next = (i + 1 < roles.len()).then_some(false);
            let rule = Call::new(class).kwarg("role", role.as_str());
            rules.push(rule.kwarg_opt("defaultDeny", ask_next).at(origin.clone()));
        }
        if roles.is_empty() {
            rules.push(Call::new(class).kwarg("role", NOBODY).at(origin));
        }
    };
    allow("util.ForceBuildEndpointMatcher", "force", force);
    allow("util.RebuildBuildEndpointMatcher", "force", force);
    allow("util.StopBuildEndpointMatcher", "stop", stop);
    allow("util.AnyControlEndpointMatcher", "manage", manage);
    if let Some(view) = view {
        allow("util.AnyEndpointMatcher", "view", view);
    }
    Call::new("util.Authz")
        .kwarg("allowRules", Expr::list(rules))
        .kwarg("roleMatchers", Expr::List(roles(path, web)))
}
