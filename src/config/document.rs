//! A TOML file with the places of everything in it.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error as TomlError};

use crate::finding::{Code, Finding, Place, Span};
use crate::text::count;

/// The most findings that one gate makes on one description. Whoever has mended so many runs the
/// check again.
pub const MOST_FINDINGS: usize = 1_000;

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

/// A TOML file, parsed, with the places of its keys and values.
#[derive(Debug)]
pub struct Document<'t> {
    file: &'t str,
    text: &'t str,
    /// Byte offsets at which lines start.
    lines: Vec<usize>,
    root: Spanned<DeValue<'t>>,
}

impl<'t> Document<'t> {
    /// Parses `text`; `file` is the path that findings name.
    ///
    /// # Errors
    /// The first error in the text that is no TOML, and all duplicate keys before it.
    pub fn parse(file: &'t str, text: &'t str) -> Result<Self, Vec<Finding>> {
        let lines =
            std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        let (table, errors) = DeTable::parse_recoverable(text);
        let root = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
        let document = Self { file, text, lines, root };
        if errors.is_empty() {
            return Ok(document);
        }
        Err(document.syntax_errors(errors))
    }

    /// All duplicate keys up to the first error of another kind, and that one. The parser goes on
    /// after an error as well as it can, so one missing bracket is followed by hundreds.
    fn syntax_errors(&self, mut errors: Vec<TomlError>) -> Vec<Finding> {
        let is_duplicate = |error: &TomlError| error.message().contains("duplicate key");
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        let first = errors.iter().position(|error| !is_duplicate(error));
        let more = first.map_or(0, |first| errors.len() - first - 1);
        let told = errors.iter().take(errors.len() - more);
        told.map(|error| {
            let place = error.span().map_or_else(|| Place::file(self.file), |s| self.place_of(s));
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

    /// The path that findings name.
    #[must_use]
    pub fn file(&self) -> &str {
        self.file
    }

    /// The value of the whole file.
    #[must_use]
    pub fn root(&self) -> &Spanned<DeValue<'t>> {
        &self.root
    }

    /// The place of a stretch of bytes of the text, cut at the end of its first line.
    #[must_use]
    pub fn place_of(&self, bytes: Range<usize>) -> Place {
        let line = self.lines.partition_point(|&start| start <= bytes.start).saturating_sub(1);
        let start = self.lines.get(line).copied().unwrap_or_default();
        let before = self.text.get(start..bytes.start).unwrap_or_default();
        let inside = self.text.get(bytes).unwrap_or_default().lines().next().unwrap_or_default();
        let span = Span {
            line: line as u32 + 1,
            column: before.chars().count() as u32 + 1,
            length: inside.chars().count() as u32,
        };
        Place::at(self.file, span)
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
