//! Python as data: expressions that are built as values and laid out as `ruff format` leaves them.
//!
//! Text from outside enters an expression only as [`Expr::Str`], and [`literal`] alone writes
//! that. Names are either written in this program or checked by [`Name::parse`] and
//! [`Ident::parse`].
//!
//! ```
//! use fdroid_bb::buildbot::python::{Call, Expr};
//!
//! let step = Call::new("steps.ShellCommand")
//!     .kwarg("name", "it's built")
//!     .kwarg("command", Expr::list(["fdroid", "build"]));
//! assert_eq!(
//!     Expr::from(step).one_line(),
//!     r#"steps.ShellCommand(name="it's built", command=["fdroid", "build"])"#
//! );
//! ```

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use crate::config::Path;

/// The width of a line, `ruff format`'s default.
pub const LINE_WIDTH: usize = 88;

/// The columns of one level, `ruff format`'s default.
const INDENT: usize = 4;

/// Words that are no identifier (Python 3.13's `keyword.kwlist`), and `__debug__`, which cannot be
/// bound.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "False", "None", "True", "__debug__", "and", "as", "assert", "async", "await", "break", "class",
    "continue", "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if",
    "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try",
    "while", "with", "yield",
];

/// Whether `text` is an ASCII identifier that can be bound.
fn is_ident(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && RESERVED.binary_search(&text).is_err()
}

/// An identifier without dots: the name of a keyword argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ident(Cow<'static, str>);

impl Ident {
    /// `text` as an identifier, or `None` when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_ident(text).then(|| Self(Cow::Owned(text.to_owned())))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Ident {
    /// An identifier that stands in this program.
    fn from(text: &'static str) -> Self {
        debug_assert!(is_ident(text), "{text:?} is no Python identifier");
        Self(Cow::Borrowed(text))
    }
}

/// A variable, or attributes of one: `util.Interpolate`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Cow<'static, str>);

impl Name {
    /// `text` as a name, or `None` when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.split('.').all(is_ident).then(|| Self(Cow::Owned(text.to_owned())))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What must be defined for it: `util` of `util.Interpolate`.
    #[must_use]
    pub fn root(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

impl From<&'static str> for Name {
    /// A name that stands in this program.
    fn from(text: &'static str) -> Self {
        debug_assert!(text.split('.').all(is_ident), "{text:?} is no Python name");
        Self(Cow::Borrowed(text))
    }
}

/// A Python expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Any text.
    Str(String),
    /// A whole number.
    Int(i64),
    /// `True` or `False`.
    Bool(bool),
    /// `None`.
    None,
    /// A variable or an attribute.
    Name(Name),
    /// `[…]`.
    List(Vec<Expr>),
    /// `(…)`.
    Tuple(Vec<Expr>),
    /// `{…}`, in the order given.
    Dict(Vec<(Expr, Expr)>),
    /// A call of a named function or class.
    Call(Call),
    /// An expression that follows from the key at this path of the description. Python does not
    /// see it; several in each other are several keys.
    At(Path, Box<Expr>),
}

/// A call of a named function or class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    function: Name,
    args: Vec<Expr>,
    kwargs: Vec<(Ident, Expr)>,
}

impl Call {
    /// A call of `function` without arguments.
    #[must_use]
    pub fn new(function: impl Into<Name>) -> Self {
        Self { function: function.into(), args: Vec::new(), kwargs: Vec::new() }
    }

    /// What is called, as text.
    #[must_use]
    pub(crate) fn function(&self) -> &str {
        self.function.as_str()
    }

    /// The name of what is called.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.function
    }

    /// The positional arguments.
    #[must_use]
    pub fn args(&self) -> &[Expr] {
        &self.args
    }

    /// The named arguments.
    pub fn kwargs(&self) -> impl Iterator<Item = (&Ident, &Expr)> {
        self.kwargs.iter().map(|(name, value)| (name, value))
    }

    /// Adds a positional argument; they stand before the named ones whatever the order of calls.
    #[must_use]
    pub fn arg(mut self, value: impl Into<Expr>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Adds a positional argument when there is a value for it.
    #[must_use]
    pub(crate) fn arg_opt(self, value: Option<impl Into<Expr>>) -> Self {
        match value {
            Some(value) => self.arg(value),
            None => self,
        }
    }

    /// Adds a named argument. A second one of the same name takes the place of the first, since
    /// Python refuses to see a name twice.
    #[must_use]
    pub fn kwarg(mut self, name: impl Into<Ident>, value: impl Into<Expr>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.kwargs.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.kwargs.push((name, value)),
        }
        self
    }

    /// Adds a named argument that follows from the key at `path`.
    #[must_use]
    pub(crate) fn kwarg_at(
        self,
        name: impl Into<Ident>,
        path: Path,
        value: impl Into<Expr>,
    ) -> Self {
        self.kwarg(name, value.into().at(path))
    }

    /// The same, when there is a value for it.
    #[must_use]
    pub(crate) fn kwarg_opt_at(
        self,
        name: impl Into<Ident>,
        path: Path,
        value: Option<impl Into<Expr>>,
    ) -> Self {
        self.kwarg_opt(name, value.map(|value| value.into().at(path)))
    }

    /// The call, which follows from the key at `path`.
    #[must_use]
    pub fn at(self, path: Path) -> Expr {
        Expr::from(self).at(path)
    }

    /// Adds a named argument when there is a value for it.
    #[must_use]
    pub fn kwarg_opt(self, name: impl Into<Ident>, value: Option<impl Into<Expr>>) -> Self {
        match value {
            Some(value) => self.kwarg(name, value),
            None => self,
        }
    }
}

impl Expr {
    /// A variable or an attribute.
    pub fn name(name: impl Into<Name>) -> Self {
        Self::Name(name.into())
    }

    /// A list.
    pub fn list<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    /// A tuple.
    pub fn tuple<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::Tuple(items.into_iter().map(Into::into).collect())
    }

    /// A dictionary, in the order given.
    pub fn dict<K: Into<Self>, V: Into<Self>>(items: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Dict(items.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// The expression, which follows from the key at `path`.
    #[must_use]
    pub fn at(self, path: Path) -> Self {
        Self::At(path, Box::new(self))
    }

    /// The expression as Python sees it, without where it comes from.
    #[must_use]
    pub fn plain(&self) -> &Self {
        match self {
            Self::At(_, inner) => inner.plain(),
            plain => plain,
        }
    }

    /// The keys of the description that the expression as a whole follows from, if it says so.
    pub fn origins(&self) -> impl Iterator<Item = &Path> {
        let mut rest = self;
        std::iter::from_fn(move || match rest {
            Self::At(path, inner) => {
                rest = inner;
                Some(path)
            }
            _ => None,
        })
    }

    /// The expression on one line, however long.
    #[must_use]
    pub fn one_line(&self) -> String {
        let mut out = String::new();
        self.write_one_line(&mut out);
        out
    }

    /// The expression as `ruff format` lays it out inside brackets: on one line when that fits
    /// into [`LINE_WIDTH`], else one element a line.
    ///
    /// `indent` is the indentation of the line on which the expression starts, `first_column` the
    /// number of characters before it on that line, indentation included, and `rest` the number of
    /// characters that follow its last one before the line may end.
    #[must_use]
    pub fn layout(&self, indent: usize, first_column: usize, rest: usize) -> String {
        let mut out = String::new();
        self.write_layout(&mut out, indent, first_column, rest);
        out
    }

    /// The statement `head` followed by the expression, as `ruff format` leaves it, without the
    /// indentation before it and the newline after it. `head` is Python that stands in this
    /// program, with its last space: `c["title"] = `, `return `, or nothing.
    #[must_use]
    pub fn statement(&self, indent: usize, head: &'static str) -> String {
        self.after(indent, head.to_owned())
    }

    /// The statement that assigns the expression to `target`; see [`Expr::statement`].
    #[must_use]
    pub fn assign(&self, indent: usize, target: &Name) -> String {
        self.after(indent, format!("{} = ", target.as_str()))
    }

    /// Adds to `roots` every variable that the expression reads: `util` of `util.Interpolate`.
    pub fn roots<'a>(&'a self, roots: &mut BTreeSet<&'a str>) {
        match self {
            Self::Str(_) | Self::Int(_) | Self::Bool(_) | Self::None => {}
            Self::At(_, inner) => inner.roots(roots),
            Self::Name(name) => {
                roots.insert(name.root());
            }
            Self::List(items) | Self::Tuple(items) => {
                for item in items {
                    item.roots(roots);
                }
            }
            Self::Dict(items) => {
                for (key, value) in items {
                    key.roots(roots);
                    value.roots(roots);
                }
            }
            Self::Call(Call { function, args, kwargs }) => {
                roots.insert(function.root());
                for value in args.iter().chain(kwargs.iter().map(|(_, value)| value)) {
                    value.roots(roots);
                }
            }
        }
    }

    /// `head` and the expression as one statement. Outside of brackets `ruff format` puts an atom
    /// that is too long into parentheses of its own if it fits into them, and always after a head
    /// that has brackets itself.
    fn after(&self, indent: usize, mut out: String) -> String {
        let column = indent + out.len();
        if self.brackets().is_none() && !out.is_empty() {
            let line = self.one_line();
            let inner = indent + INDENT;
            let wrap = inner + line.len() <= LINE_WIDTH || out.contains('[');
            if column + line.len() > LINE_WIDTH && wrap {
                out.push_str("(\n");
                pad(&mut out, inner);
                out.push_str(&line);
                out.push('\n');
                pad(&mut out, indent);
                out.push(')');
                return out;
            }
        }
        self.write_layout(&mut out, indent, column, 0);
        out
    }

    /// The brackets around what can be laid out one element a line; `None` for the rest.
    fn brackets(&self) -> Option<(char, char)> {
        match self.plain() {
            Self::List(items) => (!items.is_empty()).then_some(('[', ']')),
            Self::Tuple(items) => (!items.is_empty()).then_some(('(', ')')),
            Self::Dict(items) => (!items.is_empty()).then_some(('{', '}')),
            Self::Call(Call { args, kwargs, .. }) => {
                (!args.is_empty() || !kwargs.is_empty()).then_some(('(', ')'))
            }
            _ => None,
        }
    }

    /// Adds the expression to `out`, on one line.
    pub(crate) fn write_one_line(&self, out: &mut String) {
        match self {
            Self::At(_, inner) => inner.write_one_line(out),
            Self::Str(text) => write_literal(out, text),
            Self::Int(number) => {
                // Writing to a `String` cannot fail.
                let _ = write!(out, "{number}");
            }
            Self::Bool(true) => out.push_str("True"),
            Self::Bool(false) => out.push_str("False"),
            Self::None => out.push_str("None"),
            Self::Name(name) => out.push_str(name.as_str()),
            Self::List(items) => {
                out.push('[');
                separated(out, items, |out, item| item.write_one_line(out));
                out.push(']');
            }
            Self::Tuple(items) => {
                out.push('(');
                separated(out, items, |out, item| item.write_one_line(out));
                out.push_str(if items.len() == 1 { ",)" } else { ")" });
            }
            Self::Dict(items) => {
                out.push('{');
                separated(out, items, |out, (key, value)| {
                    key.write_one_line(out);
                    out.push_str(": ");
                    value.write_one_line(out);
                });
                out.push('}');
            }
            Self::Call(Call { function, args, kwargs }) => {
                out.push_str(function.as_str());
                out.push('(');
                separated(out, args, |out, arg| arg.write_one_line(out));
                if !args.is_empty() && !kwargs.is_empty() {
                    out.push_str(", ");
                }
                separated(out, kwargs, |out, (name, value)| {
                    out.push_str(name.as_str());
                    out.push('=');
                    value.write_one_line(out);
                });
                out.push(')');
            }
        }
    }

    fn write_layout(&self, out: &mut String, indent: usize, first_column: usize, rest: usize) {
        let start = out.len();
        self.write_one_line(out);
        let Some((open, close)) = self.brackets() else { return };
        if first_column + (out.len() - start) + rest <= LINE_WIDTH {
            return;
        }
        out.truncate(start);
        if let Self::Call(call) = self.plain() {
            out.push_str(call.function.as_str());
        }
        out.push(open);
        out.push('\n');
        let inner = indent + INDENT;
        match self.plain() {
            Self::List(items) | Self::Tuple(items) => {
                for item in items {
                    item.write_element(out, inner);
                }
            }
            Self::Dict(items) => {
                for (key, value) in items {
                    let line = key.one_line();
                    pad(out, inner);
                    out.push_str(&line);
                    out.push_str(": ");
                    value.write_layout(out, inner, inner + line.len() + 2, 1);
                    out.push_str(",\n");
                }
            }
            Self::Call(Call { args, kwargs, .. }) => {
                for arg in args {
                    arg.write_element(out, inner);
                }
                for (name, value) in kwargs {
                    pad(out, inner);
                    out.push_str(name.as_str());
                    out.push('=');
                    value.write_layout(out, inner, inner + name.as_str().len() + 1, 1);
                    out.push_str(",\n");
                }
            }
            _ => {}
        }
        pad(out, indent);
        out.push(close);
    }
}

impl Expr {
    /// The expression on lines of its own, as one element of brackets.
    fn write_element(&self, out: &mut String, indent: usize) {
        pad(out, indent);
        self.write_layout(out, indent, indent, 1);
        out.push_str(",\n");
    }
}

impl fmt::Display for Expr {
    /// The expression on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one_line())
    }
}

macro_rules! from {
    ($($type:ty, $value:ident => $expr:expr;)+) => {
        $(impl From<$type> for Expr {
            fn from($value: $type) -> Self {
                $expr
            }
        })+
    };
}

from! {
    &str, text => Self::Str(text.to_owned());
    String, text => Self::Str(text);
    &String, text => Self::Str(text.clone());
    i64, number => Self::Int(number);
    i32, number => Self::Int(number.into());
    u16, number => Self::Int(number.into());
    u32, number => Self::Int(number.into());
    bool, value => Self::Bool(value);
    Name, name => Self::Name(name);
    Call, call => Self::Call(call);
}

impl<T: Into<Self>> From<Vec<T>> for Expr {
    fn from(items: Vec<T>) -> Self {
        Self::list(items)
    }
}

/// `text` as a Python string literal: the only way by which text becomes Python.
///
/// The literal is printable ASCII on one line. As `ruff format` does, it has double quotes unless
/// the text holds more of them than single ones, and its escapes are lower-case
/// (<https://docs.python.org/3/reference/lexical_analysis.html#escape-sequences>).
///
/// ```
/// use fdroid_bb::buildbot::python::literal;
///
/// assert_eq!(literal("a\\b\nc"), r#""a\\b\nc""#);
/// assert_eq!(literal(r#"say "é""#), r#"'say "\xe9"'"#);
/// ```
#[must_use]
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_literal(&mut out, text);
    out
}

fn write_literal(out: &mut String, text: &str) {
    let count = |quote| text.bytes().filter(|&b| b == quote).count();
    let quote = if count(b'"') > count(b'\'') { '\'' } else { '"' };
    let plain = |c: char| (' '..='~').contains(&c) && c != '\\' && c != quote;
    out.push(quote);
    let mut rest = text;
    while let Some(at) = rest.find(|c| !plain(c)) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let mut chars = after.chars();
        match chars.next() {
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c @ ' '..='~') => out.extend(['\\', c]),
            Some(c) => {
                // Writing to a `String` cannot fail.
                let _ = match u32::from(c) {
                    code @ ..=0xff => write!(out, "\\x{code:02x}"),
                    code @ ..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push(quote);
}

/// Writes `items` with a comma and a space between them.
fn separated<T>(out: &mut String, items: &[T], mut write: impl FnMut(&mut String, &T)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(out, item);
    }
}

fn pad(out: &mut String, columns: usize) {
    out.extend(std::iter::repeat_n(' ', columns));
}
