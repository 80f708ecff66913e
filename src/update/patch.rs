//! A difference of one file of text, as `git diff --full-index` writes it, and nothing else.
//!
//! Whoever wrote it may mean harm, so git does not read it. There is no way here to say that a file
//! is made, removed, renamed, a link or a submodule, and no second file.

use super::BadPatch;
use crate::parse::MAX_BYTES;
use crate::text::shown;

/// The most bytes of a patch: all lines of the largest file, old and new.
pub const LONGEST: usize = 2 * MAX_BYTES;

/// What is said of a line that has no trailing line feed.
const NO_LINE_FEED: &str = "\\ No newline at end of file";

/// The text that a patch of the file `path` makes of `old`. An empty patch changes nothing.
///
/// # Errors
/// A patch of anything else, or of another text.
pub fn apply(patch: &str, path: &str, old: &str) -> Result<String, BadPatch> {
    if patch.len() > LONGEST {
        return BadPatch::new(format!(
            "the patch has {} bytes; at most {LONGEST} are read",
            patch.len()
        ));
    }
    if patch.is_empty() {
        return Ok(old.to_owned());
    }
    let mut lines = patch.split_inclusive('\n').map(|line| line.strip_suffix('\n').unwrap_or(line));
    header(&mut lines, path)?;
    let mut target = Target { old: old.split_inclusive('\n').collect(), at: 0, new: String::new() };
    let mut lines = lines.peekable();
    while let Some(line) = lines.next() {
        let Some(hunk) = Hunk::read(line) else {
            return BadPatch::new(format!(
                "the patch changes more than `{path}`: it goes on with `{}`",
                shown(line)
            ));
        };
        target.hunk(&hunk, &mut lines)?;
    }
    Ok(target.end())
}

/// The four lines before the first hunk.
fn header<'a>(lines: &mut impl Iterator<Item = &'a str>, path: &str) -> Result<(), BadPatch> {
    let mode = |line: &str| {
        let sums = line.strip_prefix("index ").and_then(|rest| rest.strip_suffix(" 100644"));
        let is_sum = |text: &str| text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
        sums.and_then(|sums| sums.split_once("..")).is_some_and(|(a, b)| is_sum(a) && is_sum(b))
    };
    let wanted = [
        format!("diff --git a/{path} b/{path}"),
        "index of a regular file".to_owned(),
        format!("--- a/{path}"),
        format!("+++ b/{path}"),
    ];
    for (number, wanted) in wanted.iter().enumerate() {
        let line = lines.next().unwrap_or_default();
        let fits = if number == 1 { mode(line) } else { line == wanted };
        if !fits {
            let message = match number {
                0 => format!("the patch is not of `{path}`: it begins with `{}`", shown(line)),
                _ => format!("the patch changes more than the text of `{path}`: `{}`", shown(line)),
            };
            return BadPatch::new(message);
        }
    }
    Ok(())
}

/// Where a hunk begins in the old text, in lines from 0, and how many lines it has of both texts.
struct Hunk {
    start: usize,
    old: usize,
    new: usize,
}

impl Hunk {
    fn read(line: &str) -> Option<Self> {
        let (ranges, _) = line.strip_prefix("@@ -")?.split_once(" @@")?;
        let (old, new) = ranges.split_once(" +")?;
        let (start, old) = range(old)?;
        let (_, new) = range(new)?;
        // Of no lines, it tells the line before.
        let start = if old == 0 { start } else { start.checked_sub(1)? };
        Some(Self { start, old, new })
    }
}

fn range(text: &str) -> Option<(usize, usize)> {
    let number = |text: &str| text.parse().ok().filter(|number| *number <= MAX_BYTES);
    match text.split_once(',') {
        Some((start, count)) => Some((number(start)?, number(count)?)),
        None => Some((number(text)?, 1)),
    }
}

struct Target<'a> {
    old: Vec<&'a str>,
    /// The first line of the old text that is not yet in the new one, or gone.
    at: usize,
    new: String,
}

impl<'p> Target<'_> {
    fn hunk(
        &mut self,
        hunk: &Hunk,
        lines: &mut std::iter::Peekable<impl Iterator<Item = &'p str>>,
    ) -> Result<(), BadPatch> {
        let Some(before) = self.old.get(self.at..hunk.start) else {
            return BadPatch::new("the patch goes back, or past the end of the file");
        };
        self.new.extend(before.iter().copied());
        self.at = hunk.start;
        let (mut old, mut new) = (hunk.old, hunk.new);
        while old > 0 || new > 0 {
            let line = lines.next().unwrap_or_default();
            let (is_old, is_new) = match line.as_bytes().first() {
                Some(b' ') => (true, true),
                Some(b'-') => (true, false),
                Some(b'+') => (false, true),
                _ => return BadPatch::new("the patch ends in the middle, or is damaged"),
            };
            let (Some(next_old), Some(next_new)) =
                (old.checked_sub(is_old.into()), new.checked_sub(is_new.into()))
            else {
                return BadPatch::new("the patch has more lines than it says");
            };
            (old, new) = (next_old, next_new);
            let mut text = line[1..].to_owned();
            if lines.next_if_eq(&NO_LINE_FEED).is_none() {
                text.push('\n');
            }
            if is_old {
                if self.old.get(self.at).is_none_or(|line| **line != text) {
                    return BadPatch::new(format!(
                        "the metadata has changed since the check, from line {} on",
                        self.at + 1
                    ));
                }
                self.at += 1;
            }
            if is_new {
                self.new.push_str(&text);
            }
        }
        Ok(())
    }

    fn end(mut self) -> String {
        self.new.extend(self.old[self.at..].iter().copied());
        self.new
    }
}
