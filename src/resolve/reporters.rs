//! Who is told of builds: how, and of which.

use std::collections::BTreeMap;

use super::context::Context;
use super::homes::{self, Homes};
use crate::config::{Name, Path};
use crate::finding::Code;
use crate::pipeline::Master;

/// Puts the reporters into the masters of their builders.
pub(super) fn resolve<'a>(
    context: &mut Context<'a, '_>,
    homes: &Homes<'a>,
    masters: &mut BTreeMap<Name, Master>,
) {
    for (name, reporter) in &context.config.reporters {
        let path = Path::root("reporters").key(name.as_str());
        let ways = [reporter.mail.is_some(), reporter.gitlab.is_some(), reporter.http.is_some()];
        if ways.into_iter().filter(|given| *given).count() != 1 {
            let message = format!("the reporter `{}` must tell in one way", name.as_str());
            let help = "give just one of `mail`, `gitlab` and `http`";
            context.at_key(Code::OneKind, &path, message, help);
        }
        if let Some(mail) = &reporter.mail {
            let path = path.key("mail");
            if mail.user.is_some() != mail.password.is_some() {
                context.at_value(
                    Code::ConfigMissingKey,
                    &path,
                    "a mail server asks for both a user and a password, or for neither",
                    "give both `user` and `password`, or none of them",
                );
            }
        }
        let home =
            homes::home_of_builders(context, &path.key("builders"), &reporter.builders, homes);
        if let Some(master) = home.and_then(|home| masters.get_mut(home)) {
            master.reporters.insert(name.clone(), reporter.clone());
        }
    }
}
