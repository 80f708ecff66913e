//! The names of steps.

use crate::config::{Config, RepoUrl, Step};

/// The name of a step: what the description gives, or the first two plain words of a command, or what
/// else the step does. Buildbot cuts names at 50.
pub(super) fn name_of(config: &Config, step: &Step) -> String {
    if let Some(name) = &step.name {
        return name.clone();
    }
    let name = if let Some(words) = step.run.as_ref().or(step.run_on_master.as_ref()) {
        let plain = |word: &&String| !word.starts_with('-') && !word.contains(['{', '}']);
        let words: Vec<&str> = words.iter().take(2).filter(plain).map(String::as_str).collect();
        words.join(" ")
    } else if let Some(checkout) = &step.git {
        let url =
            checkout.url.as_ref().map_or(config.fdroiddata.url.url().as_str(), RepoUrl::as_str);
        let path = url.trim_end_matches('/').trim_end_matches(".git");
        let last = path.rsplit('/').next().filter(|last| !last.contains(['{', '}']));
        format!("git {}", last.unwrap_or("checkout"))
    } else {
        let copies = [("upload", step.upload.is_some()), ("download", step.download.is_some())];
        let copy = copies.iter().find_map(|(kind, is_it)| is_it.then_some(*kind));
        copy.unwrap_or("save-log").to_owned()
    };
    name.chars().take(50).collect()
}
