//! Settings of a master: names, addresses, database, web pages and who may do what.

use super::{secret, text_or_secret};
use crate::buildbot::python::{Call, Expr};
use crate::config::{Allow, Listen, Name, View, Web};
use crate::pipeline::Master;

/// A role that no user can have, for no name holds a parenthesis.
const NOBODY: &str = "(nobody)";

/// Keys of `BuildmasterConfig` with a single value.
pub(super) fn settings(master: &Master) -> Vec<(&'static str, Expr)> {
    let settings = &master.settings;
    let title_url = settings.title_url.as_ref().unwrap_or(&settings.url);
    let mut out: Vec<(&'static str, Expr)> = vec![
        ("title", settings.title.as_str().into()),
        ("titleURL", title_url.url().as_str().into()),
        ("buildbotURL", settings.url.url().as_str().into()),
        // Left out, Buildbot tells its makers which versions and plugins are used here.
        ("buildbotNetUsageData", Expr::None),
        // Buildbot's own rule would merge requests for two versions of an app into one build.
        ("collapseRequests", false.into()),
        ("db", Expr::dict([("db_url", text_or_secret(&settings.database))])),
        ("protocols", Expr::dict([("pb", Expr::dict([("port", endpoint(&settings.workers))]))])),
    ];
    if master.uses_secrets() {
        // Relative to the master's own folder, from wherever the file is checked.
        let folder = Call::new("Path").arg(Expr::name("BASEDIR")).arg(settings.secrets.as_str());
        let secrets = Call::new("secrets.SecretInAFile").arg(Call::new("str").arg(folder));
        out.push(("secretsProviders", Expr::list([secrets])));
    }
    out.push(("www", www(&settings.web)));
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

fn www(web: &Web) -> Expr {
    let plugins = web.views.iter().map(|view| match view {
        View::Console => ("console_view", Expr::Dict(Vec::new())),
        View::Grid => ("grid_view", Expr::Dict(Vec::new())),
        View::Waterfall => ("waterfall_view", Expr::Dict(Vec::new())),
        View::Dashboard => ("wsgi_dashboards", Expr::list([dashboard()])),
    });
    let mut out: Vec<(&str, Expr)> =
        vec![("port", endpoint(&web.listen).into()), ("plugins", Expr::dict(plugins))];
    // Left out, Buildbot asks a service on the internet for a picture of each author.
    out.push(("avatar_methods", Expr::List(Vec::new())));
    if let Some(ping) = web.proxy.as_ref().and_then(|proxy| proxy.ping_interval.as_ref()) {
        out.push(("ws_ping_interval", ping.as_secs().into()));
    }
    out.extend(auth(web).map(|auth| ("auth", auth)));
    out.push(("authz", authz(web).into()));
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

fn auth(web: &Web) -> Option<Expr> {
    if let Some(header) = web.proxy.as_ref().and_then(|proxy| proxy.user_header.as_ref()) {
        let call = Call::new("util.RemoteUserAuth")
            .kwarg("header", header.as_str())
            .kwarg("headerRegex", r"\A(?P<username>[A-Za-z0-9._@-]+)\Z");
        return Some(call.into());
    }
    let passwords: Vec<(&str, Expr)> = web
        .users
        .iter()
        .filter_map(|(name, user)| Some((name.as_str(), secret(user.password.as_ref()?))))
        .collect();
    (!passwords.is_empty()).then(|| Call::new("SecretAuth").arg(Expr::dict(passwords)).into())
}

/// Rules in the order Buildbot tries them; the first that knows an action decides on it.
fn authz(web: &Web) -> Call {
    let Allow { look, force, stop, manage } = &web.allow;
    let mut rules = Vec::new();
    // Any one of the roles will do: only the last says no.
    let mut allow = |class: &'static str, roles: &[Name]| {
        for (i, role) in roles.iter().enumerate() {
            let ask_next = (i + 1 < roles.len()).then_some(false);
            let rule = Call::new(class).kwarg("role", role.as_str());
            rules.push(rule.kwarg_opt("defaultDeny", ask_next));
        }
        if roles.is_empty() {
            rules.push(Call::new(class).kwarg("role", NOBODY));
        }
    };
    allow("util.ForceBuildEndpointMatcher", force);
    allow("util.RebuildBuildEndpointMatcher", force);
    allow("util.StopBuildEndpointMatcher", stop);
    allow("util.AnyControlEndpointMatcher", manage);
    if let Some(look) = look {
        allow("util.AnyEndpointMatcher", look);
    }
    let roles = web.users.iter().filter(|(_, user)| !user.roles.is_empty()).map(|(name, user)| {
        Call::new("util.RolesFromUsername")
            .kwarg("roles", Expr::list(user.roles.iter().map(Name::as_str)))
            .kwarg("usernames", Expr::list([name.as_str()]))
    });
    Call::new("util.Authz")
        .kwarg("allowRules", Expr::list(rules))
        .kwarg("roleMatchers", Expr::list(roles))
}
