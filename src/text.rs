//! Text for people: suggestions, lists of names, and hostile text made safe to show.

/// The one of `known` that `word` was most likely meant to be, if any is near.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), *name))
        .filter(|(distance, name)| *distance <= name.len().max(word.len()) / 3)
        .min()
        .map(|(_, name)| name)
}

/// Whether a line of a description may be meant to hold a secret, and so is better not shown.
#[must_use]
pub(crate) fn may_hold_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    let words = ["passw", "passphrase", "secret", "token", "_key"];
    words.iter().any(|word| line.contains(word)) || (line.contains("://") && line.contains('@'))
}

/// What to do about `name`, which is none of `known`, all of which are `what`s.
#[must_use]
pub fn remedy(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("there are no {} here", plural(what)),
        None => format!("the {} here are {}", plural(what), list(known)),
    }
}

/// Names in backticks, with commas; `nothing` when there is none.
#[must_use]
pub fn list(names: &[&str]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Text from outside, cut to 80 characters, with all that is invisible or misleading escaped.
#[must_use]
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => visible(text.get(..end).unwrap_or_default()) + "…",
        None => visible(text),
    }
}

/// What a program has printed, for people: as it is, but for what acts on a terminal or, in CI, on
/// what reads the output there. GitHub takes a line that begins with `::`, or has `##[` anywhere,
/// for a command.
#[must_use]
pub fn printed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let is_command = line.trim_start().starts_with("::");
        for (at, c) in line.char_indices() {
            let before = line.get(..at).unwrap_or_default();
            let is_mark = (c == ':' && is_command && before.trim_start().is_empty())
                || (c == '[' && before.ends_with("##"));
            let acts = (c.is_control() && c != '\t') || is_direction(c);
            if is_mark || acts { out.extend(c.escape_unicode()) } else { out.push(c) }
        }
    }
    out
}

/// Whether it turns the writing round, or is not seen at all.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// Text from outside with all that is invisible or misleading escaped.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // What is not ASCII and no letter may be wide, or nothing, or turn the writing round.
        // A master quotes names with these.
        if matches!(c, ' ' | '«' | '»') || c.is_ascii_graphic() || c.is_alphanumeric() {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    printed(&out)
}

/// `masters`, `properties`.
#[must_use]
fn plural(noun: &str) -> String {
    match noun.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{noun}s"),
    }
}

/// `1 app`, `2 apps`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::{printed, visible};

    #[test]
    fn what_is_printed_acts_on_nothing() {
        assert_eq!(printed("a\n\tb — «ü» 漢\n"), "a\n\tb — «ü» 漢\n");
        assert_eq!(printed("\u{1b}[2J\r\u{9b}1m\u{202e}x"), "\\u{1b}[2J\\u{d}\\u{9b}1m\\u{202e}x");
        // Commands to what reads CI's output.
        assert_eq!(
            printed("::error::x\n  ::add-mask::y"),
            "\\u{3a}:error::x\n  \\u{3a}:add-mask::y"
        );
        assert_eq!(printed("a ##[error]x"), "a ##\\u{5b}error]x");
        assert_eq!(printed("std::io"), "std::io");
        assert_eq!(visible("::warning::x"), "\\u{3a}:warning::x");
        assert_eq!(visible("##[group]x"), "##\\u{5b}group]x");
    }
}
