//! Files whose meaning is not known, compared as text.

use similar::TextDiff;

use crate::model::{MODEL, Model};
use crate::pipeline::RUNTIME;
use crate::render::EXTRA;
use crate::text::visible;
use crate::write::OutputSet;

/// The longest file that is compared, in bytes.
const LARGEST: usize = 4 << 20;

/// The most lines of a difference that are shown.
const MOST_LINES: usize = 200;

/// A file that is compared as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path in the set.
    pub path: String,
    /// Whether somebody has edited it; else the model of its set is not known.
    pub edited: bool,
    /// The unified difference, line by line; what cannot be shown is said in words.
    pub lines: Vec<String>,
}

/// The files to compare as text: those that were edited in either set, code of the site's own, or all
/// that differ where one of them has no model.
pub(super) fn files(old: (&OutputSet, &Model), new: (&OutputSet, &Model)) -> Vec<File> {
    let blind = old.1.unread.is_some() || new.1.unread.is_some();
    let mut paths: Vec<&str> = old.0.edited().chain(new.0.edited()).collect();
    let all = old.0.iter().chain(new.0.iter()).map(|(path, _)| path);
    let is_shown =
        |path: &&str| is_extra(path) || (blind && *path != MODEL && !path.starts_with(RUNTIME));
    paths.extend(all.filter(is_shown));
    paths.sort_unstable();
    paths.dedup();
    let file = |path: &str| {
        let edited = old.0.is_edited(path) || new.0.is_edited(path);
        let lines = lines(path, old.0, new.0);
        (edited || !lines.is_empty()).then(|| File { path: path.to_owned(), edited, lines })
    };
    paths.into_iter().filter_map(file).collect()
}

/// Whether it is code of the site's own.
pub(super) fn is_extra(path: &str) -> bool {
    path.split_once('/').is_some_and(|(_, file)| file == EXTRA)
}

fn lines(path: &str, old: &OutputSet, new: &OutputSet) -> Vec<String> {
    let text = |set: &OutputSet| -> Result<String, &'static str> {
        if !set.iter().any(|(known, _)| known == path) {
            return Ok(String::new());
        }
        let text = set.text(path).ok_or("it is not text")?;
        if text.len() > LARGEST { Err("it is too large to be shown") } else { Ok(text.to_owned()) }
    };
    let (old, new) = match (text(old), text(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(why), _) | (_, Err(why)) => return vec![why.to_owned()],
    };
    let diff = TextDiff::from_lines(&old, &new);
    let unified = diff.unified_diff().context_radius(2).header("old", "new").to_string();
    let mut lines: Vec<String> = unified.lines().map(visible).collect();
    if lines.len() > MOST_LINES {
        let more = lines.len() - MOST_LINES;
        lines.truncate(MOST_LINES);
        lines.push(format!("({more} more lines)"));
    }
    lines
}
