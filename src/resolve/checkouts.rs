//! Checkouts: their addresses and branches, and the folders that several of them have.

use super::context::Context;
use super::templates::Templates;
use crate::config::{self, Branch, Builder, Folder, Path, PropertyUse, Revision};
use crate::finding::Code;
use crate::pipeline::Checkout;

/// A checkout whose address and branch hold nothing but what was checked.
pub(super) fn resolve(
    templates: &mut Templates<'_, '_, '_>,
    path: &Path,
    checkout: &config::Checkout,
) -> Option<Checkout> {
    let fdroiddata = &templates.context.config.fdroiddata;
    let (url, branch) = match &checkout.url {
        Some(url) => (url.as_str(), "master"),
        None => (fdroiddata.url.url().as_str(), fdroiddata.branch.as_str()),
    };
    let branch = checkout.branch.as_ref().map_or(branch, Branch::as_str);
    let url = templates.one(&path.key("url"), url, PropertyUse::Url);
    let branch = templates.one(&path.key("branch"), branch, PropertyUse::Branch);
    if checkout.depth.is_some() && checkout.revision == Revision::Change {
        templates.context.at_value(
            Code::ConfigValue,
            &path.key("depth"),
            "the commit that a change names may be older than these",
            "delete it, or check out the newest commit (`revision = \"latest\"`)",
        );
    }
    Some(Checkout {
        url: url?,
        branch: branch?,
        revision: checkout.revision,
        depth: checkout.depth,
        submodules: checkout.submodules,
        credentials: checkout.credentials.clone(),
        into: checkout.into.clone(),
    })
}

/// Complains of checkouts of one builder that would delete each other, and of what else says where
/// a checkout goes.
pub(super) fn check(context: &mut Context<'_, '_>, path: &Path, builder: &Builder) {
    let mut taken: Vec<&str> = Vec::new();
    for (i, step) in builder.steps.iter().enumerate() {
        let Some(checkout) = &step.git else { continue };
        let path = path.key("steps").index(i);
        if step.workdir.is_some() {
            context.at_key(
                Code::ConfigValue,
                &path.key("workdir"),
                "a checkout runs in no folder, it makes one",
                "write `into = \"FOLDER\"` beside its `url`",
            );
        }
        let folder = checkout.into.as_ref().map_or("", Folder::as_str);
        let inside = |other: &&str| format!("{other}/").starts_with(&format!("{folder}/"));
        if taken.iter().any(|other| folder.is_empty() || inside(other)) {
            context.at_value(
                Code::Duplicate,
                &path.key("git"),
                "this checkout would replace an earlier one",
                "give it a folder of its own, `into = \"FOLDER\"`, or put it first",
            );
        }
        taken.push(folder);
    }
}
