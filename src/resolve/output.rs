//! The folders that other users may read.

use std::path::{Component, Path as FsPath, PathBuf};

use super::context::Context;
use crate::config::Path;
use crate::finding::Code;

/// Complains of output directories that nobody else could enter, or that two masters share.
pub(super) fn check(context: &mut Context<'_, '_>) {
    let config = context.config;
    let mut taken: Vec<(PathBuf, &str)> = Vec::new();
    for (name, master) in &config.masters {
        let Some(output) = &master.output else { continue };
        let path = Path::root("masters").key(name.as_str()).key("output");
        let folder = normal(FsPath::new(output));
        if !lies_outside(&folder) {
            context.at_value(
                Code::ConfigValue,
                &path,
                "the output directory must lie outside the master's own folder, which nobody else may enter",
                format!("write an absolute path, or one such as `../public/{}`", name.as_str()),
            );
            continue;
        }
        let clash =
            taken.iter().find(|(other, _)| other.starts_with(&folder) || folder.starts_with(other));
        if let Some((_, owner)) = clash {
            let message = format!("the master `{owner}` writes there too");
            let help = "give each master an output directory of its own";
            context.at_value(Code::Duplicate, &path, message, help);
        }
        taken.push((folder, name.as_str()));
    }
}

/// Without `.`, and without `..` after a name.
fn normal(path: &FsPath) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            Component::ParentDir if out.has_root() => {}
            _ => out.push(component),
        }
    }
    out
}

/// Whether it cannot hold the folder that a relative path starts from, nor lie in it.
fn lies_outside(normal: &FsPath) -> bool {
    let mut components = normal.components();
    let starts_outside =
        matches!(components.next(), Some(Component::RootDir | Component::ParentDir));
    starts_outside && components.any(|part| matches!(part, Component::Normal(_)))
}
