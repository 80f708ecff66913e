//! Services: reporters, and what the runtime adds to each master.

use super::{failures, names, object, secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{Gitlab, Http, Mail, MailAddress, Name, Path};
use crate::pipeline::{Master, Pipeline};

/// One object for each reporter, and the one that tells which configuration the master runs.
pub(super) fn services(pipeline: &Pipeline, name: &Name, master: &Master) -> Vec<Object> {
    let path = Path::root("masters").key(name.as_str());
    let live = Call::new("Live").arg(Expr::name("__file__"));
    let output = master.settings.output.clone().unwrap_or_else(|| default_output(name));
    let output = Call::new("Output").arg(Expr::from(output).at(path.key("output")));
    let mut objects = vec![
        object(path.clone(), "fdroid-bb", live),
        object(path.clone(), "output", output),
        object(path.clone(), "pauses", Call::new("Pauses")),
        object(path.key("keep"), "retention", retention(&path.key("keep"), master)),
    ];
    objects.extend(pipeline.failures.as_ref().map(failures::service));
    for (name, reporter) in &master.reporters {
        let path = Path::root("reporters").key(name.as_str());
        let call = |class: &'static str| {
            Call::new(class).kwarg("name", name.as_str()).kwarg_at(
                "builders",
                path.key("builders"),
                names(&reporter.builders),
            )
        };
        let mail = reporter.mail.as_ref().map(|it| mail(&path.key("mail"), call, it));
        let gitlab = reporter.gitlab.as_ref().map(|it| gitlab(&path.key("gitlab"), call, it));
        let http = reporter.http.as_ref().map(|it| http(&path.key("http"), call, it));
        let calls = mail.into_iter().chain(gitlab).chain(http);
        objects.extend(calls.map(|call| object(path.clone(), name.as_str(), call)));
    }
    objects
}

fn retention(path: &Path, master: &Master) -> Call {
    let keep = &master.settings.keep;
    let own = master.builders.iter().filter_map(|(name, builder)| {
        let path = Path::root("builders").key(name.as_str()).key("keep");
        Some((name.as_str(), Expr::from(builder.keep.as_ref()?.as_secs()).at(path)))
    });
    let own: Vec<(&str, Expr)> = own.collect();
    Call::new("Retention")
        .kwarg_at("logs", path.key("logs"), keep.logs.as_secs())
        .kwarg_at("builds", path.key("builds"), keep.builds.as_secs())
        .kwarg_opt("builders", (!own.is_empty()).then(|| Expr::dict(own)))
}

/// Beside the master's own folder, and the same for no two masters.
fn default_output(name: &Name) -> String {
    format!("../public/{}", name.as_str())
}

fn mail(path: &Path, call: impl Fn(&'static str) -> Call, mail: &Mail) -> Expr {
    let password = mail.password.as_ref().map(secret);
    call("FailureMail")
        .kwarg_at("fromaddr", path.key("from"), mail.from.as_str())
        .kwarg_at("recipients", path.key("to"), Expr::list(mail.to.iter().map(MailAddress::as_str)))
        .kwarg_at("relayhost", path.key("relay"), mail.relay.as_str())
        .kwarg_at("smtpPort", path.key("port"), i64::from(mail.port))
        .kwarg_opt_at("useTls", path.key("tls"), mail.tls.then_some(true))
        .kwarg_opt_at("smtpUser", path.key("user"), mail.user.as_deref())
        .kwarg_opt_at("smtpPassword", path.key("password"), password)
        .at(path.clone())
}

fn http(path: &Path, call: impl Fn(&'static str) -> Call, http: &Http) -> Expr {
    let names = path.key("headers");
    let headers = http.headers.iter();
    let headers =
        headers.map(|(name, value)| (name.as_str(), secret(value).at(names.key(name.as_str()))));
    let headers = (!http.headers.is_empty()).then(|| Expr::dict(headers));
    call("HttpStatus")
        .kwarg_at("url", path.key("url"), http.url.url().as_str())
        .kwarg_opt_at("headers", names.clone(), headers)
        .at(path.clone())
}

fn gitlab(path: &Path, call: impl Fn(&'static str) -> Call, gitlab: &Gitlab) -> Expr {
    call("CommitStatus")
        .kwarg_at("project", path.key("project"), gitlab.project.url().as_str())
        .kwarg_at("token", path.key("token"), secret(&gitlab.token))
        .at(path.clone())
}
