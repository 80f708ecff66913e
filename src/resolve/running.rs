//! Whether a step runs, how often, and what it leaves to those after it.

use super::context::Context;
use super::properties::{check_condition, check_property};
use super::step_name::name_of;
use crate::config::{Builder, Path, Step};
use crate::finding::Code;
use crate::pipeline::SetProperty;
use crate::text::shown;

/// The property that the output of the step's command becomes.
pub(super) fn sets(
    context: &mut Context<'_, '_>,
    path: &Path,
    builder: &Builder,
    step: &Step,
) -> Option<SetProperty> {
    let name = step.set_property.as_ref()?;
    check_property(context, &path.key("set-property"), builder, name, None);
    let declared = builder.properties.get(name)?.clone();
    Some(SetProperty { name: name.clone(), declared })
}

/// Complains of conditions that refer to nothing, and of what only a command can have.
pub(super) fn check(context: &mut Context<'_, '_>, path: &Path, builder: &Builder, step: &Step) {
    let keys = [
        ("set-property", step.set_property.is_some()),
        ("retry", step.retry.is_some()),
        ("warn-on", !step.warn_on.is_empty()),
        ("stop-on", !step.stop_on.is_empty()),
    ];
    let is_command = step.run.is_some() || step.run_on_master.is_some();
    for (key, _) in keys.into_iter().filter(|(_, given)| *given && !is_command) {
        context.at_key(
            Code::ConfigValue,
            &path.key(key),
            "this step runs no command",
            "delete it, or move it to a step with `run` or `run-on-master`",
        );
    }
    for (key, condition) in [("only-if", &step.only_if), ("unless", &step.unless)] {
        let Some(condition) = condition else { continue };
        let path = path.key(key);
        check_property(context, &path.key("property"), builder, &condition.property, None);
        if let Some(declared) = builder.properties.get(&condition.property) {
            check_condition(context, &path, declared, condition);
        }
    }
}

/// Complains of a log that is saved before it is there.
pub(super) fn check_saved(
    context: &mut Context<'_, '_>,
    path: &Path,
    builder: &Builder,
    step: &Step,
    saved: &str,
) {
    let config = context.config;
    let names: Vec<String> = builder.steps.iter().map(|step| name_of(config, step)).collect();
    let own = builder.steps.iter().position(|other| std::ptr::eq(other, step)).unwrap_or_default();
    let found: Vec<usize> = (0..names.len()).filter(|i| names[*i] == saved).collect();
    match found.as_slice() {
        [one] if *one < own => {}
        [_] => {
            let message = format!("the step `{}` has not run when this one does", shown(saved));
            context.at_value(Code::ConfigValue, path, message, "put this step after that one");
        }
        [] => context.unknown(path, false, "step", saved, names.iter().map(String::as_str)),
        _ => {
            let message = format!("{} steps are named `{}`", found.len(), shown(saved));
            context.at_value(Code::Duplicate, path, message, "give the one that is meant a `name`");
        }
    }
}
