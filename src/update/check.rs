//! Whether a new file of metadata differs from the old one as `fdroid checkupdates` may make it
//! differ (`checkupdates.checkupdates_app`), and in nothing else.

use super::normal::{self, Fields, File, Normal};
use super::title::plain;
use super::{BadPatch, title};
use crate::fdroid::{AppId, yaml};
use crate::parse;
use crate::text::{list, shown};

/// The fields that may change.
const FIELDS: [&str; 3] = ["AutoName", "CurrentVersion", "CurrentVersionCode"];

/// The flags in which a new build may differ from the one it is a copy of.
const FLAGS: [&str; 5] = ["versionName", "versionCode", "commit", "disable", "sudo"];

/// The most characters of a text that checkupdates has found.
const LONGEST: usize = 500;

/// A change of an app's metadata that checkupdates may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// What it does, in one line of harmless characters.
    pub title: String,
    /// Whether `CurrentVersion` and its code are all that changes: then a person has to add a build.
    pub needs_build: bool,
}

/// The change that makes `new` of `old`; none where they mean the same.
///
/// # Errors
/// Any other change.
pub fn check(id: &AppId, old: &str, new: &str) -> Result<Option<Update>, BadPatch> {
    let old = read(id, old)?;
    if yaml::has_comments(new).map_err(|problem| BadPatch(problem.message))? {
        return BadPatch::new("it has a comment, and fdroidserver writes none");
    }
    let new = read(id, new)?;
    if let Some(name) = &new.unknown {
        return BadPatch::new(format!(
            "it has `{}`, which fdroidserver does not write",
            shown(name)
        ));
    }
    let changed = differing(&old.fields, &new.fields);
    if let Some(field) = changed.iter().find(|field| !FIELDS.contains(field)) {
        return BadPatch::new(format!(
            "it changes `{field}`; checkupdates may change {}, and add builds",
            list(&FIELDS)
        ));
    }
    for field in FIELDS {
        check_text(field, &new.fields)?;
    }
    let added = added(&old, &new)?;
    let number = |file: &File| file.fields.get("CurrentVersionCode").and_then(Normal::number);
    let (before, now) = (number(&old), number(&new));
    if now < before {
        return BadPatch::new("`CurrentVersionCode` goes back");
    }
    if now == before && changed.contains(&"CurrentVersion") {
        return BadPatch::new("it changes `CurrentVersion` and not `CurrentVersionCode`");
    }
    check_added(&old, &new, &added)?;
    if changed.is_empty() && added.is_empty() {
        return Ok(None);
    }
    Ok(Some(update(id, &new, now > before, &added, &changed)))
}

/// The file, if it is one that fdroidserver reads.
fn read(id: &AppId, text: &str) -> Result<File, BadPatch> {
    let path = format!("metadata/{id}.yml");
    let parsed = parse::app_full(id.clone(), &path, text.as_bytes());
    parsed.app.map_err(|finding| BadPatch(finding.message))?;
    normal::read(text).map_err(|problem| BadPatch(problem.message))
}

fn differing<'a>(old: &'a Fields, new: &'a Fields) -> Vec<&'a str> {
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let other = new.iter().filter(|(name, value)| old.get(*name) != Some(value));
    gone.chain(other.map(|(name, _)| name)).map(String::as_str).collect()
}

/// Refuses what is no short line of text.
fn check_text(name: &str, fields: &Fields) -> Result<(), BadPatch> {
    let is_good = |value: &Normal| {
        value
            .text()
            .is_some_and(|text| text.chars().count() <= LONGEST && !text.contains(char::is_control))
    };
    if fields.get(name).is_none_or(is_good) {
        return Ok(());
    }
    BadPatch::new(format!("`{name}` is not a single line of at most {LONGEST} characters"))
}

/// The builds that only the new file has. All others are as they were.
fn added<'a>(old: &File, new: &'a File) -> Result<Vec<&'a Fields>, BadPatch> {
    let mut left: Vec<&Fields> = old.builds.iter().collect();
    let mut added = Vec::new();
    for build in &new.builds {
        match left.iter().position(|old| *old == build) {
            Some(at) => _ = left.remove(at),
            None => added.push(build),
        }
    }
    match left.first() {
        Some(gone) => {
            BadPatch::new(format!("it changes the build {}", shown(text(gone, "versionCode"))))
        }
        None => Ok(added),
    }
}

fn check_added(old: &File, new: &File, added: &[&Fields]) -> Result<(), BadPatch> {
    let Some(last) = added.iter().filter_map(|build| code(build)).max() else { return Ok(()) };
    if !text(&new.fields, "AutoUpdateMode").starts_with("Version") {
        return BadPatch::new("it adds a build, which `AutoUpdateMode` does not ask for");
    }
    if Some(last) != new.fields.get("CurrentVersionCode").and_then(Normal::number) {
        return BadPatch::new("the last build that it adds is not that of `CurrentVersionCode`");
    }
    let operations = match new.fields.get("VercodeOperation") {
        Some(Normal::List(items)) => items.len(),
        _ => 1,
    };
    let models = &old.builds[old.builds.len().saturating_sub(operations)..];
    for build in added {
        let name = shown(text(build, "versionCode"));
        if old.builds.iter().any(|old| code(old) == code(build)) {
            return BadPatch::new(format!("it adds the build {name} a second time"));
        }
        if !is_commit(text(build, "commit")) {
            return BadPatch::new(format!(
                "`{}` of the build {name} is no commit or tag",
                shown(text(build, "commit"))
            ));
        }
        check_text("versionName", build)?;
        if build.contains_key("disable") {
            return BadPatch::new(format!("the build {name} is disabled"));
        }
        if !models.iter().any(|model| is_copy(build, model)) {
            let near = models.last().map(|model| differing(model, build)).unwrap_or_default();
            let near: Vec<&str> =
                near.into_iter().filter(|flag| !FLAGS[..4].contains(flag)).collect();
            return BadPatch::new(format!(
                "the build {name} is not a copy of an earlier one: it differs in {}",
                list(&near)
            ));
        }
    }
    Ok(())
}

fn code(build: &Fields) -> Option<i128> {
    build.get("versionCode").and_then(Normal::number)
}

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Normal::text).unwrap_or_default()
}

/// Whether `text` can name a commit or tag: a name by git's rules, which no program takes for an
/// option.
fn is_commit(text: &str) -> bool {
    text.len() <= 200
        && !text.starts_with('-')
        && git2::Reference::is_valid_name(&format!("refs/tags/{text}"))
}

/// Whether `build` is `model` but for what checkupdates puts in, and lines of `sudo` that it takes
/// out.
fn is_copy(build: &Fields, model: &Fields) -> bool {
    let same = differing(model, build).iter().all(|flag| FLAGS.contains(flag));
    let lines = |fields: &Fields| match fields.get("sudo") {
        Some(Normal::List(lines)) => lines.clone(),
        _ => Vec::new(),
    };
    let mut all = lines(model).into_iter();
    same && lines(build).iter().all(|line| all.any(|model| model == *line))
}

/// In the words of checkupdates.
fn update(id: &AppId, new: &File, is_newer: bool, added: &[&Fields], changed: &[&str]) -> Update {
    let names = ["Name", "AutoName"].map(|name| title::plain(text(&new.fields, name)));
    let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| id.to_string());
    let version = plain(text(&new.fields, "CurrentVersion"));
    let version = format!("{version} ({})", text(&new.fields, "CurrentVersionCode"));
    let title = if !added.is_empty() {
        format!("Update {name} to {version}")
    } else if is_newer {
        format!("Update CurrentVersion of {name} to {version}")
    } else {
        format!("Set autoname of {name}")
    };
    let needs_build = added.is_empty() && !changed.contains(&"AutoName");
    Update { title, needs_build }
}
