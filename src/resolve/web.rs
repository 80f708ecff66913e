//! Addresses, users and what they may do.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use crate::config::{Listen, Master, Name, Path, TextOrSecret, View, Web};
use crate::finding::Code;
use crate::pipeline::RUNTIME;

/// Complains of masters whose web pages, ports and users cannot work or are open to strangers.
pub(super) fn check(context: &mut Context<'_, '_>) {
    let config = context.config;
    let mut taken = BTreeMap::new();
    for (name, master) in &config.masters {
        let path = Path::root("masters").key(name.as_str());
        if name.as_str() == RUNTIME {
            let help = "rename the master";
            let message = format!("the folder `{}` is the runtime's", name.as_str());
            context.at_key(Code::Duplicate, &path, message, help);
        }
        check_users(context, &path, master);
        if let TextOrSecret::Text(url) = &master.database
            && holds_password(url)
        {
            context.at_value(
                Code::LiteralSecret,
                &path.key("database"),
                "`database` holds a secret in plain text",
                "write `{ secret = \"NAME\" }` and put the whole URL into that secret",
            );
        }
        if let Some(submit) = &master.submit
            && submit.password.is_none()
            && submit.password_file.is_none()
        {
            context.at_value(
                Code::ConfigMissingKey,
                &path.key("submit"),
                "nobody would know the password to submit with",
                "give `password-file`, where the master writes it, or `password`, or both",
            );
        }
        let submit = master.submit.as_ref();
        let submit = submit.map(|submit| (path.key("submit").key("listen"), &submit.listen));
        let listens = [
            (path.key("worker-listen"), &master.worker_listen),
            (path.key("web").key("listen"), &master.web.listen),
        ];
        for (path, listen) in listens.into_iter().chain(submit) {
            take(context, &mut taken, &path, name, listen);
        }
    }
}

/// Whether the URL of a database has a password, before its host or in its query.
fn holds_password(url: &str) -> bool {
    let (rest, query) = url.split_once('?').unwrap_or((url, ""));
    let user = rest.rsplit_once('@').map_or("", |(user, _)| user);
    let user = user.split_once("://").map_or(user, |(_, user)| user);
    user.contains(':') || query.to_ascii_lowercase().contains("passw")
}

/// Two services on one port cannot both start. Equal ports on different addresses are fine, but
/// for those that mean every address.
fn take<'a>(
    context: &mut Context<'_, '_>,
    taken: &mut BTreeMap<u16, Vec<(&'a Listen, &'a Name)>>,
    path: &Path,
    master: &'a Name,
    listen: &'a Listen,
) {
    let others = taken.entry(listen.addr().port()).or_default();
    let clash = others.iter().find(|(other, _)| {
        let (a, b) = (other.addr().ip(), listen.addr().ip());
        a == b || a.is_unspecified() || b.is_unspecified()
    });
    if let Some((other, owner)) = clash {
        let message =
            format!("`{}` of the master `{}` is taken already", other.addr(), owner.as_str());
        context.at_value(Code::Duplicate, path, message, "choose another port");
    }
    others.push((listen, master));
}

fn check_users(context: &mut Context<'_, '_>, path: &Path, master: &Master) {
    let path = path.key("web");
    let web = &master.web;
    let dashboard = web.views.iter().position(|view| *view == View::Dashboard);
    if let Some(i) = dashboard.filter(|_| web.allow.view.is_some()) {
        context.at_value(
            Code::ConfigValue,
            &path.key("views").index(i),
            "the dashboard shows itself to everybody, whatever `allow.view` says",
            "delete one of the two",
        );
    }
    let header = web.proxy.as_ref().and_then(|proxy| proxy.user_header.as_ref());
    if header.is_some() && !web.listen.addr().ip().is_loopback() {
        context.at_value(
            Code::ProxyBypass,
            &path.key("listen"),
            "whoever reaches this address can claim to be any user, past the proxy",
            "listen on a loopback address, or delete `user-header`",
        );
    }
    check_login(context, &path, web);
    for (name, user) in &web.users {
        let path = path.key("users").key(name.as_str());
        match (&user.password, header) {
            (None, None) => context.at_key(
                Code::ConfigMissingKey,
                &path,
                format!("the user `{}` has no password", name.as_str()),
                "add `password = { secret = \"NAME\" }`, or let a proxy say who it is \
                 (`proxy.user-header`)",
            ),
            (Some(_), Some(_)) => context.at_value(
                Code::ConfigValue,
                &path.key("password"),
                "the proxy says who a user is, so this password is never asked for",
                "delete it",
            ),
            _ => {}
        }
    }
    let granted = web.login.iter().flat_map(|login| &login.grants).flat_map(|grant| &grant.roles);
    let roles: BTreeSet<&Name> =
        web.users.values().flat_map(|user| &user.roles).chain(granted).collect();
    let allow = &web.allow;
    let asked = [
        ("view", allow.view.as_deref().unwrap_or_default()),
        ("force", &allow.force),
        ("stop", &allow.stop),
        ("manage", &allow.manage),
    ];
    for (what, names) in asked {
        for (i, name) in names.iter().enumerate().filter(|(_, name)| !roles.contains(name)) {
            let path = path.key("allow").key(what).index(i);
            let known = roles.iter().map(|name| name.as_str());
            context.unknown(&path, false, "role", name.as_str(), known);
        }
    }
}

/// Complains of logins that a forge cannot decide on.
fn check_login(context: &mut Context<'_, '_>, path: &Path, web: &Web) {
    let Some(login) = &web.login else { return };
    let path = path.key("login");
    if login.gitlab.is_some() == login.github.is_some() {
        let message = "a login is with the accounts of one forge";
        context.at_value(Code::OneKind, &path, message, "give just one of `gitlab` and `github`");
    }
    let others = [
        ("users", !web.users.is_empty()),
        ("proxy", web.proxy.as_ref().is_some_and(|proxy| proxy.user_header.is_some())),
    ];
    for (key, _) in others.into_iter().filter(|(_, given)| *given) {
        context.at_key(
            Code::ConfigValue,
            &path,
            format!("the forge says who somebody is, and so does `{key}`"),
            "delete one of the two; `grants` says who has which roles",
        );
    }
    for (i, grant) in login.grants.iter().enumerate() {
        if grant.users.is_empty() && grant.groups.is_empty() {
            let path = path.key("grants").index(i);
            let message = "these roles are granted to nobody";
            context.at_value(Code::ConfigMissingKey, &path, message, "add `users` or `groups`");
        }
    }
}
