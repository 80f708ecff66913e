//! The files of a description with the places of everything in them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error as TomlError};

use super::sources::Source;
use crate::finding::{Code, Finding, Place, Span};
use crate::text::count;

/// The most findings that one gate makes on one description. Fix those and run the
/// check again.
pub(crate) const MOST_FINDINGS: usize = 1_000;

/// The way to a value of a TOML file, such as `builders.build.steps[1].run`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    /// The way to a key of the file itself.
    #[must_use]
    pub fn root(key: impl Into<String>) -> Self {
        Self::default().key(key)
    }

    /// The way on to a key.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.with(Segment::Key(key.into()))
    }

    /// The way on to an element of a list, from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if i == 0 => write!(f, "{key}")?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The texts of a description's files, laid end to end: a stretch of bytes tells its file too.
#[derive(Debug)]
pub(super) struct Texts<'t> {
    sources: &'t [Source],
    /// Where each text starts.
    starts: Vec<usize>,
    /// Of each text, the byte offsets at which lines start.
    lines: Vec<Vec<usize>>,
}

/// A description, parsed, with the places of its keys and values.
#[derive(Clone, Debug)]
pub struct Document<'t> {
    texts: Arc<Texts<'t>>,
    root: Spanned<DeValue<'t>>,
}

impl<'t> Texts<'t> {
    /// Parses every text.
    ///
    /// # Errors
    /// Of each text that is no TOML the first error, and all duplicate keys before it.
    pub(super) fn parse(
        sources: &'t [Source],
    ) -> Result<(Self, Vec<Spanned<DeValue<'t>>>), Vec<Finding>> {
        let mut starts = Vec::new();
        let mut end = 0;
        for source in sources {
            starts.push(end);
            // One more, so that the end of a text is not the start of the next one.
            end += source.text.len() + 1;
        }
        let lines = sources
            .iter()
            .map(|source| {
                let breaks = source.text.match_indices('\n').map(|(i, _)| i + 1);
                std::iter::once(0).chain(breaks).collect()
            })
            .collect();
        let texts = Self { sources, starts, lines };
        let (mut roots, mut findings) = (Vec::new(), Vec::new());
        for (source, &start) in sources.iter().zip(&texts.starts) {
            let (table, errors) = DeTable::parse_recoverable(&source.text);
            let whole = table.span();
            let root = Spanned::new(whole, DeValue::Table(table.into_inner()));
            roots.push(shift(root, start));
            if !errors.is_empty() {
                findings.extend(texts.syntax_errors(start, errors));
            }
        }
        if findings.is_empty() { Ok((texts, roots)) } else { Err(findings) }
    }

    /// All duplicate keys up to the first error of another kind, and that one. The parser goes on
    /// after an error as well as it can, so one missing bracket is followed by hundreds.
    fn syntax_errors(&self, start: usize, mut errors: Vec<TomlError>) -> Vec<Finding> {
        let is_duplicate = |error: &TomlError| error.message().contains("duplicate key");
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        let first = errors.iter().position(|error| !is_duplicate(error));
        let more = first.map_or(0, |first| errors.len() - first - 1);
        let told = errors.iter().take(errors.len() - more);
        told.map(|error| {
            let span = error.span().unwrap_or_default();
            let place = self.place_of(span.start + start..span.end + start);
            let help = match (is_duplicate(error), more) {
                (true, _) => "keep one of them".to_owned(),
                (false, 0) => "fix the TOML; https://toml.io/ describes it".to_owned(),
                (false, _) => {
                    let more = count(more, "more error");
                    format!("fix this one first; {more} may follow from it")
                }
            };
            Finding::new(Code::ConfigSyntax, place, error.message(), help)
        })
        .collect()
    }

    /// Which file a byte is of, and where in it.
    fn locate(&self, byte: usize) -> (usize, usize) {
        let file = self.starts.partition_point(|&start| start <= byte).saturating_sub(1);
        (file, byte - self.starts.get(file).copied().unwrap_or_default())
    }

    /// The place of a stretch of bytes, cut at the end of its first line.
    pub(super) fn place_of(&self, bytes: Range<usize>) -> Place {
        let (file, from) = self.locate(bytes.start);
        let Some((source, lines)) = self.sources.get(file).zip(self.lines.get(file)) else {
            return Place::file("");
        };
        let bytes = from..from + bytes.len();
        let line = lines.partition_point(|&start| start <= bytes.start).saturating_sub(1);
        let start = lines.get(line).copied().unwrap_or_default();
        let before = source.text.get(start..bytes.start).unwrap_or_default();
        let inside = source.text.get(bytes).unwrap_or_default().lines().next().unwrap_or_default();
        let span = Span {
            line: line as u32 + 1,
            column: before.chars().count() as u32 + 1,
            length: inside.chars().count() as u32,
        };
        Place::at(&source.file, span)
    }

    /// The line that a byte is of.
    pub(super) fn line_of(&self, byte: usize) -> &'t str {
        let (file, at) = self.locate(byte);
        let text = self.sources.get(file).map_or("", |source| source.text.as_str());
        let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
        text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default()
    }

    /// Whether a value is written between braces, and so is one value and not a part of a table.
    pub(super) fn is_inline(&self, value: &Spanned<DeValue<'_>>) -> bool {
        let (file, from) = self.locate(value.span().start);
        let text = self.sources.get(file).map_or("", |source| source.text.as_str());
        text.get(from..).is_some_and(|text| text.starts_with('{'))
    }
}

/// A value whose places start `by` bytes later.
fn shift(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let moved = |span: Range<usize>| span.start + by..span.end + by;
    let span = moved(value.span());
    let inner = match value.into_inner() {
        DeValue::Table(table) => {
            let moved = table.into_iter().map(|(key, value)| {
                let span = moved(key.span());
                (Spanned::new(span, key.into_inner()), shift(value, by))
            });
            DeValue::Table(moved.collect())
        }
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| shift(item, by)).collect())
        }
        other => other,
    };
    Spanned::new(span, inner)
}

impl<'t> Document<'t> {
    /// What `root` holds, which is made of the values of `texts`.
    pub(super) fn new(texts: Arc<Texts<'t>>, root: Spanned<DeValue<'t>>) -> Self {
        Self { texts, root }
    }

    /// The same files with another value.
    pub(super) fn with_root(&self, root: Spanned<DeValue<'t>>) -> Self {
        Self::new(Arc::clone(&self.texts), root)
    }

    /// The description as a whole.
    #[must_use]
    pub fn whole(&self) -> Place {
        self.texts
            .sources
            .last()
            .map_or_else(|| Place::file(""), |source| Place::file(&source.file))
    }

    /// The value of the whole file.
    #[must_use]
    pub fn root(&self) -> &Spanned<DeValue<'t>> {
        &self.root
    }

    /// The place of a stretch of bytes, cut at the end of its first line.
    #[must_use]
    pub(crate) fn place_of(&self, bytes: Range<usize>) -> Place {
        self.texts.place_of(bytes)
    }

    /// The place of the value at `path`, or of what comes nearest on the way to it.
    #[must_use]
    pub fn value(&self, path: &Path) -> Place {
        self.place_of(self.find(path).1)
    }

    /// The place of the key that `path` ends with, or of what comes nearest on the way to it.
    #[must_use]
    pub fn key(&self, path: &Path) -> Place {
        self.place_of(self.find(path).0)
    }

    /// What a segment leads to, with the bytes of its key, or of the element itself.
    fn step<'d>(
        value: &'d Spanned<DeValue<'t>>,
        segment: &Segment,
    ) -> Option<(Range<usize>, &'d Spanned<DeValue<'t>>)> {
        match (segment, value.get_ref()) {
            (Segment::Key(name), DeValue::Table(table)) => {
                table.iter().find(|(k, _)| k.get_ref() == name.as_str()).map(|(k, v)| (k.span(), v))
            }
            (Segment::Index(i), DeValue::Array(list)) => list.get(*i).map(|v| (v.span(), v)),
            _ => None,
        }
    }

    /// The bytes of the last key on the way, and of the value. For an element of a list both are
    /// the element; where the way is lost, both are the last key found.
    fn find(&self, path: &Path) -> (Range<usize>, Range<usize>) {
        let mut value = &self.root;
        let mut key = 0..0;
        for segment in &path.0 {
            let Some((span, found)) = Self::step(value, segment) else {
                return (key.clone(), key);
            };
            (key, value) = (span, found);
        }
        (key, value.span())
    }
}
