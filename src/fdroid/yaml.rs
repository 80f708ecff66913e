//! One YAML document as a tree of values with their places, within bounds.
//!
//! The events are saphyr-parser's; what each scalar is worth is [`super::scalar`]'s. The tree holds
//! no anchors, aliases, merge keys or foreign tags, so it is never larger than its text.

use std::borrow::Cow;
use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::gaps::{self, Stretch, Style};
use super::problem::Problem;
use super::scalar::{BadScalar, Value};
use super::text::{quoted, shown};
use crate::finding::{Code, Span};

/// The deepest nesting of lists and mappings. The deepest real file has five.
const MAX_DEPTH: usize = 20;

/// The most values in one file. The largest real file has 30,000.
const MAX_NODES: usize = 300_000;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// The value.
    pub data: Data<'a>,
    /// Its first line, or its first character where it is a list or a mapping.
    pub span: Span,
}

/// The three kinds of values.
#[derive(Clone, Debug)]
pub enum Data<'a> {
    /// Neither a list nor a mapping.
    Scalar(Scalar<'a>),
    /// A list.
    List(Vec<Node<'a>>),
    /// A mapping; its keys differ.
    Map(Vec<(Key<'a>, Node<'a>)>),
}

/// A scalar: its value and, where it is no string, the text it was made from.
#[derive(Clone, Debug)]
pub struct Scalar<'a> {
    /// The value fdroidserver's reader gives it.
    pub value: Value<'a>,
    /// The text as written, where that is a plain scalar which is no string.
    pub written: Option<Box<str>>,
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub struct Key<'a> {
    /// Its value.
    pub value: Value<'a>,
    /// Where it stands.
    pub span: Span,
}

impl Node<'_> {
    /// What the value is, for a message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
            Data::Scalar(scalar) => match scalar.value {
                Value::Null => "nothing",
                Value::Bool(_) => "a boolean",
                Value::Int(_) | Value::BigInt(_) => "an integer",
                Value::Float(_) => "a number with a fraction",
                Value::Time(_) => "a date",
                Value::Str(_) => "a text",
            },
        }
    }

    /// Python's `bool(v)`.
    #[must_use]
    pub fn truthy(&self) -> bool {
        match &self.data {
            Data::Scalar(scalar) => scalar.value.truthy(),
            Data::List(items) => !items.is_empty(),
            Data::Map(entries) => !entries.is_empty(),
        }
    }

    /// Python's `v or v == 0`.
    #[must_use]
    pub fn counts(&self) -> bool {
        match &self.data {
            Data::Scalar(scalar) => scalar.value.counts(),
            _ => self.truthy(),
        }
    }
}

/// The one document of `text`; `None` where it is empty.
///
/// # Errors
/// What ruamel.yaml refuses, and what no honest file needs: anchors, aliases, tags, directives, keys
/// that are no scalars, nesting past 20.
pub fn read(text: &str) -> Result<Option<Node<'_>>, Box<Problem>> {
    prologue(text)?;
    let unterminated = !text.ends_with(['\n', '\r']);
    let end = if unterminated { text.chars().count() } else { usize::MAX };
    let parser = Parser::new_from_str(text);
    let mut reader = Reader { text, parser, nodes: 0, scalars: Vec::new(), end };
    let root = reader.document()?;
    gaps::check(text, &reader.scalars)?;
    Ok(root)
}

/// Whether a document that [`read`] takes has comments between its values.
///
/// # Errors
/// As of [`read`].
pub(crate) fn has_comments(text: &str) -> Result<bool, Box<Problem>> {
    let mut reader = Reader {
        text,
        parser: Parser::new_from_str(text),
        nodes: 0,
        scalars: Vec::new(),
        end: usize::MAX,
    };
    reader.document()?;
    Ok(gaps::any(text, &reader.scalars, '#'))
}

/// Refuses `%YAML` and `%TAG`, which would change what the file says, and an end before the start.
fn prologue(text: &str) -> Result<(), Box<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        match line.trim_start().as_bytes().first() {
            None | Some(b'#') => {}
            Some(b'%' | b'.') if line.starts_with('%') || line.starts_with("...") => {
                let length = line.chars().count() as u32;
                return Err(Box::new(Problem::new(
                    Code::YamlInvalid,
                    Span { line: number, column: 1, length },
                    format!("`{}` stands before the document", shown(line)),
                    "take the line out: metadata is one YAML 1.2 document without directives",
                )));
            }
            Some(_) => break,
        }
    }
    Ok(())
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    nodes: usize,
    /// Where the scalars stand.
    scalars: Vec<Stretch>,
    /// Where the text ends in the middle of a line, in characters.
    end: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, saphyr_parser::Span), Box<Problem>> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Box::new(self.syntax(&error))),
            None => Ok((Event::StreamEnd, saphyr_parser::Span::default())),
        }
    }

    /// saphyr's error as ours. Of tabs it tells where the text with the tab begins.
    fn syntax(&self, error: &ScanError) -> Problem {
        let at = error.marker();
        let tab = self.text.chars().skip(at.index()).position(|c| c == '\t');
        if let (Some(tab), true) = (tab, error.info().contains("tab")) {
            let before: String = self.text.chars().take(at.index() + tab).collect();
            return gaps::tab(Span::after(&before));
        }
        let deep = error.info().contains("recursion");
        Problem::new(
            if deep { Code::YamlTooDeep } else { Code::YamlInvalid },
            Span { line: at.line() as u32, column: at.col() as u32 + 1, length: 0 },
            format!("this is no YAML: {}", shown(error.info())),
            "correct the line, or the quotes and the indentation above it",
        )
    }

    fn document(&mut self) -> Result<Option<Node<'a>>, Box<Problem>> {
        self.next()?;
        let (start, _) = self.next()?;
        if !matches!(start, Event::DocumentStart(_)) {
            return Ok(None);
        }
        let first = self.next()?;
        let root = self.node(first, 0)?;
        self.next()?;
        let (end, span) = self.next()?;
        if end == Event::StreamEnd {
            return Ok(Some(root));
        }
        Err(Box::new(Problem::new(
            Code::YamlInvalid,
            place(span),
            "a second document begins here",
            "keep one document in the file",
        )))
    }

    fn node(
        &mut self,
        (event, span): (Event<'a>, saphyr_parser::Span),
        depth: usize,
    ) -> Result<Node<'a>, Box<Problem>> {
        let span_of = place(span);
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(Box::new(Problem::new(
                Code::YamlTooDeep,
                span_of,
                format!("more than {MAX_DEPTH} levels or {MAX_NODES} values"),
                "write the file as `fdroid rewritemeta` does",
            )));
        }
        match event {
            Event::Scalar(mut text, style, anchor, tag) => {
                refuse_anchor(anchor, span_of)?;
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                let (start, end) = (span.start.index(), span.end.index());
                self.scalars.push(Stretch { start, end, style });
                // ruamel adds no line break that is not there.
                if style == Style::Block && end >= self.end && text.ends_with('\n') {
                    text.to_mut().pop();
                }
                let is_text = is_text_tag(tag.as_deref(), &text, span_of)?;
                let data = Data::Scalar(scalar(text, style, is_text, span_of)?);
                Ok(Node { data, span: span_of })
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_anchor(anchor, span_of)?;
                refuse_tag(tag.as_deref(), span_of)?;
                let mut items = Vec::new();
                loop {
                    let event = self.next()?;
                    if event.0 == Event::SequenceEnd {
                        return Ok(Node { data: Data::List(items), span: span_of });
                    }
                    items.push(self.node(event, depth + 1)?);
                }
            }
            Event::MappingStart(anchor, tag) => {
                refuse_anchor(anchor, span_of)?;
                refuse_tag(tag.as_deref(), span_of)?;
                let mut entries = Vec::new();
                loop {
                    let event = self.next()?;
                    if event.0 == Event::MappingEnd {
                        differ(&entries)?;
                        return Ok(Node { data: Data::Map(entries), span: span_of });
                    }
                    let key = self.key(event, depth + 1)?;
                    let event = self.next()?;
                    entries.push((key, self.node(event, depth + 1)?));
                }
            }
            Event::Alias(_) => Err(alias(span_of).into()),
            _ => Err(Box::new(Problem::new(
                Code::YamlInvalid,
                span_of,
                "a value is missing",
                "write the file as `fdroid rewritemeta` does",
            ))),
        }
    }

    fn key(
        &mut self,
        event: (Event<'a>, saphyr_parser::Span),
        depth: usize,
    ) -> Result<Key<'a>, Box<Problem>> {
        let node = self.node(event, depth)?;
        if let Data::Scalar(scalar) = node.data {
            return Ok(Key { value: scalar.value, span: node.span });
        }
        Err(Box::new(Problem::new(
            Code::YamlInvalid,
            node.span,
            format!("{} stands where a key belongs", node.kind()),
            "put text with `{` or `[` at its start into quotes",
        )))
    }
}

/// A saphyr span as ours: its part on its first line.
fn place(span: saphyr_parser::Span) -> Span {
    let one_line = span.start.line() == span.end.line();
    Span {
        line: span.start.line() as u32,
        column: span.start.col() as u32 + 1,
        length: if one_line { span.len() as u32 } else { 0 },
    }
}

fn scalar(
    text: Cow<'_, str>,
    style: Style,
    is_text: bool,
    span: Span,
) -> Result<Scalar<'_>, Box<Problem>> {
    if is_text || style != Style::Plain {
        return Ok(Scalar { value: Value::Str(text), written: None });
    }
    let value = Value::plain(text.clone()).map_err(|refusal| refused(refusal, &text, span))?;
    let written = match value {
        Value::Str(_) | Value::Null => None,
        _ => Some(text.into()),
    };
    Ok(Scalar { value, written })
}

/// The problem of a plain scalar that has no value, or no text.
#[must_use]
pub fn refused(refusal: BadScalar, text: &str, span: Span) -> Problem {
    let code = match refusal {
        BadScalar::Merge => Code::YamlAlias,
        BadScalar::ValueTag => Code::YamlInvalid,
        _ => Code::FieldType,
    };
    Problem::new(
        code,
        span,
        format!("`{}` {}", shown(text), refusal.why()),
        format!("if it is a text, write `{}`", quoted(text)),
    )
}

fn alias(span: Span) -> Problem {
    Problem::new(
        Code::YamlAlias,
        span,
        "anchors and aliases are not allowed",
        "write the value out; put text that begins with `&` or `*` into quotes",
    )
}

fn refuse_anchor(anchor: usize, span: Span) -> Result<(), Box<Problem>> {
    if anchor == 0 { Ok(()) } else { Err(alias(span).into()) }
}

/// Whether `tag` is `!!str`; no tag is not. On nothing, that too is refused: ruamel and saphyr do not
/// agree on where such a tag ends.
fn is_text_tag(tag: Option<&Tag>, text: &str, span: Span) -> Result<bool, Box<Problem>> {
    let is_str = |tag: &Tag| tag.is_yaml_core_schema() && tag.suffix == "str";
    if !text.is_empty() && tag.is_some_and(is_str) {
        return Ok(true);
    }
    refuse_tag(tag, span)?;
    Ok(false)
}

fn refuse_tag(tag: Option<&Tag>, span: Span) -> Result<(), Box<Problem>> {
    let Some(tag) = tag else { return Ok(()) };
    Err(Box::new(Problem::new(
        Code::YamlInvalid,
        span,
        format!("the tag `{}` is not allowed", shown(&format!("{}{}", tag.handle, tag.suffix))),
        "take the tag out; put text that begins with `!` into quotes",
    )))
}

/// Refuses two equal keys (`BaseConstructor.check_mapping_key`).
fn differ(entries: &[(Key<'_>, Node<'_>)]) -> Result<(), Box<Problem>> {
    let mut seen = HashSet::with_capacity(entries.len());
    for (key, _) in entries {
        if !seen.insert(key.value.key()) {
            return Err(Box::new(Problem::new(
                Code::YamlDuplicateKey,
                key.span,
                format!("`{}` stands twice", shown(&key.value.python_str())),
                "keep one of the two",
            )));
        }
    }
    Ok(())
}
