//! Properties in braces where none is put in.

use std::collections::BTreeSet;

use toml::de::DeValue;

use super::context::Context;
use super::properties::BUILDBOT_PROPERTIES;
use crate::config::{Name, Path};
use crate::finding::Code;
use crate::template::Template;
use crate::text::shown;

/// Tables whose values stand where they are used as well.
const SHARED: &[&str] = &["values", "step-lists", "property-sets", "choices"];

/// Keys of a step with texts that properties are put into.
const INTERPOLATED: &[&str] =
    &["run", "run-on-master", "workdir", "env", "git", "upload", "download"];

/// Complains of each property in braces that stays as it is.
pub(super) fn check(context: &mut Context<'_, '_>) {
    let declared = context.config.builders.values().flat_map(|builder| builder.properties.keys());
    let known: BTreeSet<&str> =
        declared.map(Name::as_str).chain(BUILDBOT_PROPERTIES.iter().copied()).collect();
    let mut found = Vec::new();
    if let DeValue::Table(tables) = context.document.root().get_ref() {
        for (name, value) in
            tables.iter().filter(|(name, _)| !SHARED.contains(&name.get_ref().as_ref()))
        {
            walk(
                &Path::root(name.get_ref().as_ref()),
                &[name.get_ref()],
                value.get_ref(),
                &known,
                &mut found,
            );
        }
    }
    for (path, name) in found {
        context.at_value(
            Code::ConfigValue,
            &path,
            format!("no property is put in here: `{{{}}}` stays as it is", shown(&name)),
            "delete it; commands, paths, variables and branches can have properties",
        );
    }
}

/// Adds the first property of each text below `path`, which has the keys `way`.
fn walk(
    path: &Path,
    way: &[&str],
    value: &DeValue<'_>,
    known: &BTreeSet<&str>,
    found: &mut Vec<(Path, String)>,
) {
    match value {
        DeValue::Table(table) => {
            for (key, value) in table {
                let way = [way, &[key.get_ref().as_ref()]].concat();
                if !is_interpolated(&way) {
                    walk(&path.key(key.get_ref().as_ref()), &way, value.get_ref(), known, found);
                }
            }
        }
        DeValue::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                walk(&path.index(i), way, value.get_ref(), known, found);
            }
        }
        DeValue::String(text) => {
            let Ok(template) = Template::parse(text) else { return };
            let named = template.properties().find(|name| known.contains(name));
            found.extend(named.map(|name| (path.clone(), name.to_owned())));
        }
        _ => {}
    }
}

/// Whether properties are put into what stands at these keys.
fn is_interpolated(way: &[&str]) -> bool {
    match way {
        ["builders", _, "env"] | ["builders", _, "steps", "save-log", "to"] => true,
        ["builders", _, "steps", key] => INTERPOLATED.contains(key),
        _ => false,
    }
}
