//! What stands between the scalars of a YAML document: tabs, and the punctuation of flow
//! collections. saphyr-parser takes more there than ruamel.yaml's scanner does, as YAML 1.2 allows.

use super::problem::Problem;
use crate::finding::{Code, Span};

/// Where a scalar stands, in characters from the start of the text, and how it is written.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Its first character.
    pub start: usize,
    /// One past its last character.
    pub end: usize,
    /// How it is written.
    pub style: Style,
}

/// How a scalar is written, as far as tabs are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In quotes.
    Quoted,
    /// After `|` or `>`.
    Block,
}

/// Refuses what ruamel's scanner refuses outside scalars: tabs but in comments
/// (`scan_to_next_token`), and in flow collections tags and `?`, and a colon that is apart from its
/// key or its value (`check_value`, `check_key`). Slightly stricter than ruamel in flow collections,
/// which real files hardly have.
///
/// # Errors
/// The first such place.
pub fn check(text: &str, scalars: &[Stretch]) -> Result<(), Box<Problem>> {
    if !text.contains(['\t', '[', '{']) {
        return Ok(());
    }
    let chars: Vec<char> = text.chars().collect();
    let mut walk = Walk { chars: &chars, open: Vec::new(), comment: false, last: '\n' };
    let mut at = 0;
    for scalar in scalars {
        let mut end = scalar.end.min(chars.len());
        // saphyr counts the blanks after a quote in.
        while scalar.style == Style::Quoted && end > scalar.start && chars[end - 1].is_whitespace()
        {
            end -= 1;
        }
        walk.gap(at, scalar.start)?;
        walk.scalar(scalar.start, end, scalar.style)?;
        at = end;
    }
    walk.gap(at, chars.len())
}

/// Whether `c` stands between the scalars of a document.
#[must_use]
pub fn any(text: &str, scalars: &[Stretch], c: char) -> bool {
    let mut scalars = scalars.iter().peekable();
    text.chars().enumerate().any(|(at, found)| {
        while scalars.next_if(|scalar| scalar.end <= at).is_some() {}
        found == c && scalars.peek().is_none_or(|scalar| at < scalar.start)
    })
}

/// The problem of a tab.
#[must_use]
pub(crate) fn tab(span: Span) -> Problem {
    let help = "write spaces; in a text, put it into quotes or after `|`";
    Problem::new(Code::YamlInvalid, span, "a tab stands outside quotes", help)
}

struct Walk<'a> {
    chars: &'a [char],
    /// The flow collections that are open, by their brackets.
    open: Vec<char>,
    /// Whether the place is in a comment.
    comment: bool,
    /// The last character that was no blank and in no comment; a line break counts.
    last: char,
}

impl Walk<'_> {
    fn gap(&mut self, from: usize, to: usize) -> Result<(), Box<Problem>> {
        for at in from..to {
            let c = self.chars[at];
            match c {
                '\n' | '\r' => self.comment = false,
                _ if self.comment => continue,
                '#' => self.comment = true,
                '\t' => return Err(tab(self.span(at)).into()),
                '[' | '{' => self.open.push(c),
                ']' | '}' => _ = self.open.pop(),
                ':' | '!' | '?' if !self.open.is_empty() && !self.fits(at, c) => {
                    let message = format!("`{c}` stands here without its key or its value");
                    return Err(self
                        .problem(at, message, "put texts in `[…]` and `{…}` in quotes")
                        .into());
                }
                _ => {}
            }
            if c != ' ' {
                self.last = c;
            }
        }
        Ok(())
    }

    /// Whether punctuation in a flow collection is as ruamel wants it.
    fn fits(&self, at: usize, c: char) -> bool {
        let spaced = matches!(self.chars.get(at + 1), None | Some(' ' | '\n' | '\r'));
        let adjacent = self.open.last() == Some(&'{') && self.last == '"';
        c == ':' && self.last == '"' && (spaced || adjacent)
    }

    fn scalar(&mut self, start: usize, end: usize, style: Style) -> Result<(), Box<Problem>> {
        if start == end {
            return Ok(());
        }
        if !self.open.is_empty() && matches!(self.chars[start], '?' | ':' | '|' | '>' | '-') {
            let message = format!("a text in `[…]` or `{{…}}` begins with `{}`", self.chars[start]);
            return Err(self.problem(start, message, "put it into quotes").into());
        }
        if style == Style::Plain
            && let Some(at) = (start..end).find(|at| self.chars[*at] == '\t')
        {
            return Err(tab(self.span(at)).into());
        }
        self.comment = false;
        // Stands for the end of any scalar but a block one, which ends at the start of a line.
        self.last = if style == Style::Block { '\n' } else { '"' };
        Ok(())
    }

    fn problem(&self, at: usize, message: impl Into<String>, help: &str) -> Problem {
        Problem::new(Code::YamlInvalid, self.span(at), message, help)
    }

    fn span(&self, at: usize) -> Span {
        Span::after(&self.chars[..at].iter().collect::<String>())
    }
}
