//! Services: reporters, and what the runtime adds to each master.

use super::{names, object, secret};
use crate::buildbot::Object;
use crate::buildbot::python::{Call, Expr};
use crate::config::{Gitlab, Mail, Name};
use crate::pipeline::Master;

/// One object for each reporter, and the one that tells which configuration the master runs.
pub(super) fn services(name: &Name, master: &Master) -> Vec<Object> {
    let live = Call::new("Live").arg(Expr::name("__file__"));
    let output = master.settings.output.clone().unwrap_or_else(|| default_output(name));
    let output = Call::new("Output").arg(output);
    let mut objects = vec![object("fdroid-bb", live), object("output", output)];
    for (name, reporter) in &master.reporters {
        let builders = &reporter.builders;
        let mail = reporter.mail.as_ref().map(|it| mail(name, it, builders));
        let gitlab = reporter.gitlab.as_ref().map(|it| gitlab(name, it, builders));
        objects.extend(mail.into_iter().chain(gitlab).map(|call| object(name.as_str(), call)));
    }
    objects
}

/// Beside the master's own folder, and the same for no two masters.
fn default_output(name: &Name) -> String {
    format!("../public/{}", name.as_str())
}

fn mail(name: &Name, mail: &Mail, builders: &[Name]) -> Call {
    Call::new("FailureMail")
        .kwarg("name", name.as_str())
        .kwarg("builders", names(builders))
        .kwarg("fromaddr", mail.from.as_str())
        .kwarg("recipients", Expr::list(mail.to.iter().map(String::as_str)))
        .kwarg("relayhost", mail.relay.as_str())
        .kwarg("smtpPort", i64::from(mail.port))
        .kwarg_opt("useTls", mail.tls.then_some(true))
        .kwarg_opt("smtpUser", mail.user.as_deref())
        .kwarg_opt("smtpPassword", mail.password.as_ref().map(secret))
}

fn gitlab(name: &Name, gitlab: &Gitlab, builders: &[Name]) -> Call {
    Call::new("CommitStatus")
        .kwarg("name", name.as_str())
        .kwarg("builders", names(builders))
        .kwarg("project", gitlab.project.url().as_str())
        .kwarg("token", secret(&gitlab.token))
}
