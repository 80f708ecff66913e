//! Who is told of builds: how, and of which.

use std::collections::BTreeMap;

use super::context::Context;
use super::graph::{self, Homes};
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
            let addresses = std::iter::once((path.key("from"), &mail.from))
                .chain(mail.to.iter().enumerate().map(|(i, to)| (path.key("to").index(i), to)));
            for (path, address) in addresses.filter(|(_, address)| !is_address(address)) {
                let message = format!("`{}` is no mail address", crate::text::shown(address));
                context.at_value(Code::ConfigValue, &path, message, "write it as `name@host`");
            }
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
            graph::home_of_builders(context, &path.key("builders"), &reporter.builders, homes);
        if let Some(master) = home.and_then(|home| masters.get_mut(home)) {
            master.reporters.insert(name.clone(), reporter.clone());
        }
    }
}

/// One mailbox without a name, as mail servers take it; nothing that could be a second header.
fn is_address(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"".contains(c);
    text.chars().all(plain)
        && text
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
}
