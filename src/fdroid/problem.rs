//! What is wrong with a file of fdroiddata.

use crate::finding::{Code, Span};

/// What is wrong with a file, before the file's name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of finding.
    pub code: Code,
    /// Where in the file, if at one place.
    pub span: Option<Span>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Problem {
    /// A problem at `span`.
    pub fn new(
        code: Code,
        span: impl Into<Option<Span>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { code, span: span.into(), message: message.into(), help: help.into() }
    }
}
