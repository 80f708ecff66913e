//! The fast path: a scanner of lines for the shape that `fdroid rewritemeta` writes.
//!
//! It takes only what it can prove and gives `None` for anything else, which the full parser
//! ([`super::yaml`]) then judges. Where it gives an app, the full parser gives the same app, places
//! and warnings: `parse::agree` states this and the tests and the fuzz target hold it to it.
//!
//! The shape: fields at column 0, their lists and the builds at column 2, flags at column 4, their
//! lists and mappings at column 6; every key known and written once; no tab, comment, anchor, tag or
//! flow collection but `{}`. Scalars are single- or multi-line, plain, quoted or block ones. What
//! they are worth is decided where the full parser decides it, in [`super::scalar`] and
//! [`super::fields`].

use std::borrow::Cow;

use memchr::memchr;

use super::field::{self, Type, field_type, flag_type};
use super::fields::{BuildDraft, Draft};
use super::line::{End, end_of_double, end_of_single, is_clean, is_plain, split_key};
use super::problem::Problem;
use super::scalar::Value;
use super::yaml::{Data, Node, Scalar};
use super::{App, AppId};
use crate::finding::Span;

/// The app that `text` describes and what is to be warned of, where `text` has the shape.
#[must_use]
pub fn read(id: &AppId, text: &str) -> Option<(App, Vec<Problem>)> {
    if !text.ends_with('\n') || !is_clean(text) {
        return None;
    }
    let mut scanner = Scanner { text, line: Line::default(), next: 0, number: 0, at_end: false };
    let mut draft = Draft::new(id.clone());
    scanner.advance()?;
    scanner.app(&mut draft)?;
    let (app, warnings) = draft.finish();
    Some((app.ok()?, warnings))
}

/// One line that is not empty.
#[derive(Clone, Copy, Default)]
struct Line<'a> {
    /// The spaces before its first other character.
    indent: usize,
    /// What follows them; never empty.
    rest: &'a str,
    /// Its number, from 1.
    number: u32,
    /// Whether empty lines stand before it.
    gap: bool,
}

/// A scalar, or that there is one which nobody needs.
enum Found<'a> {
    /// A scalar with its value.
    Node(Node<'a>),
    /// A text that was skipped.
    Text,
}

struct Scanner<'a> {
    text: &'a str,
    /// The current line; meaningless at the end.
    line: Line<'a>,
    /// Where the next line begins.
    next: usize,
    /// The number of the line before `next`.
    number: u32,
    at_end: bool,
}

impl<'a> Scanner<'a> {
    /// Goes to the next line that is not empty.
    fn advance(&mut self) -> Option<()> {
        let mut gap = false;
        loop {
            let Some(raw) = self.take_line() else {
                self.at_end = true;
                return Some(());
            };
            if raw.is_empty() {
                gap = true;
                continue;
            }
            let indent = raw.bytes().take_while(|b| *b == b' ').count();
            let rest = &raw[indent..];
            self.line = Line { indent, rest, number: self.number, gap };
            // A line of spaces only is left to the full parser.
            return (!rest.is_empty()).then_some(());
        }
    }

    fn take_line(&mut self) -> Option<&'a str> {
        let from = self.next;
        let length = memchr(b'\n', &self.text.as_bytes()[from..])?;
        self.next = from + length + 1;
        self.number += 1;
        Some(&self.text[from..from + length])
    }

    /// Whether the current line is indented by `indent` or more.
    fn reaches(&self, indent: usize) -> bool {
        !self.at_end && self.line.indent >= indent
    }

    fn app(&mut self, draft: &mut Draft) -> Option<()> {
        let mut seen = 0_u64;
        while !self.at_end {
            let (name, value) = split_key(self.at(0)?)?;
            once(&mut seen, field::field_index(name)?)?;
            let Some(value) = value else {
                self.advance()?;
                self.field_block(draft, name)?;
                continue;
            };
            let wanted = field::is_wanted_field(name);
            match self.scalar(name.len() + 2, value, 0, wanted)? {
                Found::Node(node) => {
                    // The text of no other field can be wrong.
                    if wanted || !is_text(&node) {
                        draft.field(name, node).ok()?;
                    }
                }
                Found::Text => (!wanted).then_some(())?,
            }
        }
        Some(())
    }

    /// What stands below `name:`.
    fn field_block(&mut self, draft: &mut Draft, name: &str) -> Option<()> {
        let is_list = self.at(2)?.starts_with("- ");
        match field_type(name) {
            Type::Builds if is_list => self.builds(draft),
            Type::List if is_list && field::is_wanted_field(name) => {
                let span = Span { line: self.line.number, column: 3, length: 1 };
                let mut items = Vec::new();
                self.list(2, Some(&mut items))?;
                draft.field(name, Node { data: Data::List(items), span }).ok()
            }
            Type::List | Type::TextMap if is_list => self.list(2, None),
            Type::TextMap => self.map(2, 1),
            _ => None,
        }
    }

    fn builds(&mut self, draft: &mut Draft) -> Option<()> {
        while self.reaches(1) {
            let mut first = Some(self.at(2)?.strip_prefix("- ")?);
            let mut build = BuildDraft::new(Span::default());
            let mut seen = 0_u64;
            while let Some(rest) = first.take().or_else(|| self.at(4)) {
                let (name, value) = split_key(rest)?;
                once(&mut seen, field::flag_index(name)?)?;
                self.flag(draft, &mut build, name, value)?;
            }
            draft.build(build).ok()?;
        }
        Some(())
    }

    /// What the current line says, where it is indented by exactly `indent`.
    fn at(&self, indent: usize) -> Option<&'a str> {
        (!self.at_end && self.line.indent == indent).then_some(self.line.rest)
    }

    fn flag(
        &mut self,
        draft: &mut Draft,
        build: &mut BuildDraft,
        name: &'a str,
        value: Option<&'a str>,
    ) -> Option<()> {
        let wanted = field::is_wanted_flag(name);
        let Some(value) = value else {
            self.advance()?;
            let is_list = self.at(6)?.starts_with("- ");
            return match flag_type(name) {
                Type::List | Type::TextMap if is_list => self.list(6, None),
                Type::TextMap => self.map(6, 1),
                _ => None,
            };
        };
        match self.scalar(4 + name.len() + 2, value, 4, wanted)? {
            Found::Node(node) => {
                if wanted || !is_text(&node) {
                    draft.flag(build, name, &node).ok()?;
                }
                Some(())
            }
            Found::Text => (!wanted).then_some(()),
        }
    }

    /// A list whose dashes stand at column `indent`.
    fn list(&mut self, indent: usize, mut items: Option<&mut Vec<Node<'a>>>) -> Option<()> {
        while let Some(rest) = self.at(indent) {
            let value = rest.strip_prefix("- ")?;
            match (self.scalar(indent + 2, value, indent, items.is_some())?, &mut items) {
                (Found::Node(node), Some(items)) => items.push(node),
                (Found::Text, Some(_)) => return None,
                (Found::Node(node), None) => is_sound(&node).then_some(())?,
                (Found::Text, None) => {}
            }
        }
        (!self.reaches(indent)).then_some(())
    }

    /// A mapping of names to texts, or one level down to further mappings; its keys stand at column
    /// `indent`.
    fn map(&mut self, indent: usize, levels: usize) -> Option<()> {
        let mut seen: Vec<&str> = Vec::new();
        while let Some(rest) = self.at(indent) {
            let (name, value) = split_key(rest)?;
            let plain = matches!(Value::plain(Cow::Borrowed(name)), Ok(Value::Str(_)));
            if !plain || seen.len() > 32 || seen.contains(&name) {
                return None;
            }
            seen.push(name);
            let Some(value) = value else {
                self.advance()?;
                if levels == 0 || self.at(indent + 2).is_none() {
                    return None;
                }
                self.map(indent + 2, levels - 1)?;
                continue;
            };
            if value == "{}" {
                self.advance()?;
            } else if let Found::Node(node) =
                self.scalar(indent + name.len() + 2, value, indent, false)?
            {
                is_sound(&node).then_some(())?;
            }
        }
        (!self.reaches(indent)).then_some(())
    }

    /// The scalar that begins with `value` at `column` (from 0) of the current line, below something
    /// at column `parent`; then goes to the line after it. The value of a `wanted` scalar is told.
    /// An empty `value` stands on the next line.
    fn scalar(
        &mut self,
        mut column: usize,
        mut value: &'a str,
        parent: usize,
        wanted: bool,
    ) -> Option<Found<'a>> {
        if value.is_empty() {
            // What is too long for a line begins on the next one.
            self.advance()?;
            if !self.reaches(parent + 1) || self.line.gap || self.line.rest.starts_with(['|', '>'])
            {
                return None;
            }
            (column, value) = (self.line.indent, self.line.rest);
        }
        let number = self.line.number;
        let span =
            |length: usize| Span { line: number, column: column as u32 + 1, length: length as u32 };
        let text = |text: Cow<'a, str>, span: Span| {
            let scalar = Scalar { value: Value::Str(text), written: None };
            Found::Node(Node { data: Data::Scalar(scalar), span })
        };
        let bytes = value.as_bytes();
        match bytes[0] {
            b' ' | b'&' | b'*' | b'!' | b'%' | b'@' | b'`' | b'#' | b',' | b'[' | b']' | b'{'
            | b'}' | b'?' => None,
            b'-' | b':' if bytes.get(1).is_none_or(|b| *b == b' ') => None,
            b'|' | b'>' => self.block(value, parent, wanted),
            b'\'' => {
                let span = span(value.chars().count());
                match end_of_single(bytes, 1) {
                    Some(end) if end + 1 == value.len() => {
                        self.advance()?;
                        let inner = &value[1..end];
                        let doubled = memchr(b'\'', inner.as_bytes()).is_some();
                        let inner =
                            if doubled { inner.replace("''", "'").into() } else { inner.into() };
                        Some(text(inner, span))
                    }
                    Some(_) => None,
                    None => self.single(parent, wanted),
                }
            }
            b'"' => {
                let span = span(value.chars().count());
                match end_of_double(bytes, 1)? {
                    End::At(end) if end + 1 == value.len() => {
                        self.advance()?;
                        if memchr(b'\\', &bytes[..end]).is_some() {
                            return (!wanted).then_some(Found::Text);
                        }
                        Some(text(value[1..end].into(), span))
                    }
                    End::At(_) => None,
                    End::Open => self.double(parent, wanted),
                }
            }
            _ => {
                is_plain(value).then_some(())?;
                let span = span(if value.is_ascii() { value.len() } else { value.chars().count() });
                self.advance()?;
                if self.reaches(parent + 1) {
                    // Of scalars with spaces, only a time is no text.
                    let time = bytes[0].is_ascii_digit() && bytes.get(4) == Some(&b'-');
                    return if time { None } else { self.plain(value, parent, wanted, span) };
                }
                if value.ends_with(' ') {
                    return None;
                }
                let read = Value::plain(Cow::Borrowed(value)).ok()?;
                let written = (!matches!(read, Value::Str(_) | Value::Null)).then(|| value.into());
                let scalar = Scalar { value: read, written };
                Some(Found::Node(Node { data: Data::Scalar(scalar), span }))
            }
        }
    }

    /// The further lines of a plain scalar.
    fn plain(
        &mut self,
        first: &'a str,
        parent: usize,
        wanted: bool,
        span: Span,
    ) -> Option<Found<'a>> {
        let mut value = wanted.then(|| first.trim_end_matches(' ').to_owned());
        while self.reaches(parent + 1) {
            let rest = self.line.rest;
            let dash = rest == "-" || rest.starts_with("- ") || rest.starts_with("? ");
            if dash || rest.starts_with('#') || !is_plain(rest) || (wanted && self.line.gap) {
                return None;
            }
            if let Some(value) = &mut value {
                value.push(' ');
                value.push_str(rest.trim_end_matches(' '));
            }
            self.advance()?;
        }
        let Some(value) = value else { return Some(Found::Text) };
        let scalar = Scalar { value: Value::Str(value.into()), written: None };
        Some(Found::Node(Node { data: Data::Scalar(scalar), span: Span { length: 0, ..span } }))
    }

    /// The further lines of a scalar in single quotes.
    fn single(&mut self, parent: usize, wanted: bool) -> Option<Found<'a>> {
        loop {
            self.advance()?;
            if wanted || !self.reaches(parent + 1) {
                return None;
            }
            let rest = self.line.rest.as_bytes();
            if let Some(end) = end_of_single(rest, 0) {
                self.closed(end, rest.len())?;
                return Some(Found::Text);
            }
        }
    }

    /// The further lines of a scalar in double quotes.
    fn double(&mut self, parent: usize, wanted: bool) -> Option<Found<'a>> {
        loop {
            self.advance()?;
            if wanted || !self.reaches(parent + 1) {
                return None;
            }
            let rest = self.line.rest.as_bytes();
            if let End::At(end) = end_of_double(rest, 0)? {
                self.closed(end, rest.len())?;
                return Some(Found::Text);
            }
        }
    }

    /// Goes past the line that a closing quote at `end` must end.
    fn closed(&mut self, end: usize, length: usize) -> Option<()> {
        (end + 1 == length).then_some(())?;
        self.advance()
    }

    /// A block scalar.
    fn block(&mut self, header: &str, parent: usize, wanted: bool) -> Option<Found<'a>> {
        if wanted || !matches!(header, "|" | "|-" | ">" | ">-") {
            return None;
        }
        self.advance()?;
        let indent = self.line.indent;
        if !self.reaches(parent + 1) {
            return None;
        }
        while self.reaches(indent) {
            self.advance()?;
        }
        Some(Found::Text)
    }
}

/// Notes that key `index` stands in a mapping; `None` where it did already.
fn once(seen: &mut u64, index: usize) -> Option<()> {
    let bit = 1 << index;
    let first = *seen & bit == 0;
    *seen |= bit;
    first.then_some(())
}

fn is_text(node: &Node<'_>) -> bool {
    matches!(&node.data, Data::Scalar(Scalar { value: Value::Str(_), .. }))
}

/// Whether fdroidserver can make a text of a scalar, in a list or in a mapping.
fn is_sound(node: &Node<'_>) -> bool {
    match &node.data {
        Data::Scalar(Scalar { value: Value::Str(_), .. }) => true,
        Data::Scalar(scalar) => scalar.value.text().is_ok(),
        _ => false,
    }
}
