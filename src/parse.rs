//! The stage `parse`: the bytes of one file of fdroiddata become what fdroidserver makes of them, or
//! a finding. A file that fdroidserver refuses is refused; one that it misreads keeps its value and
//! is warned of.

use crate::fdroid::fields::Draft;
use crate::fdroid::problem::Problem;
use crate::fdroid::text::is_allowed;
use crate::fdroid::yaml;
use crate::fdroid::{App, AppId, Srclib, fast};
use crate::finding::{Code, Finding, Place, Span};

/// The largest file that is read, in bytes. The largest real one has 1.4 MB.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// What one file of `metadata/` came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The app, or why there is none.
    pub app: Result<App, Finding>,
    /// What leaves the app as it is: unknown fields, values that need quotes.
    pub findings: Vec<Finding>,
}

/// The app that `bytes` describe; `path` is the file's name for findings.
#[must_use]
pub fn app(id: AppId, path: &str, bytes: &[u8]) -> Parsed {
    let fast = (bytes.len() <= MAX_BYTES)
        .then(|| std::str::from_utf8(bytes).ok().and_then(|text| fast::read(&id, text)))
        .flatten();
    match fast {
        Some((app, warnings)) => parsed(path, Ok(app), warnings),
        None => app_full(id, path, bytes),
    }
}

/// The same as [`app`], always by the full parser.
#[must_use]
pub fn app_full(id: AppId, path: &str, bytes: &[u8]) -> Parsed {
    let root = match text(bytes).and_then(yaml::read) {
        Ok(root) => root,
        Err(problem) => return parsed(path, Err(problem), Vec::new()),
    };
    let mut draft = Draft::new(id);
    if let Err(problem) = draft.document(root) {
        return parsed(path, Err(problem), draft.into_warnings());
    }
    let (app, warnings) = draft.finish();
    parsed(path, app, warnings)
}

/// The srclib that `bytes` describe; `path` is the file's name for findings.
///
/// # Errors
/// What `metadata.parse_yaml_srclib` refuses.
pub fn srclib(path: &str, bytes: &[u8]) -> Result<Srclib, Finding> {
    text(bytes)
        .and_then(yaml::read)
        .and_then(|root| Srclib::of(root.as_ref()))
        .map_err(|problem| finding(path, *problem))
}

/// Whether the fast path takes `bytes`. Tests and the fuzz target call this.
///
/// # Panics
/// Where the fast path takes what the full parser refuses, or reads it otherwise.
#[must_use]
pub fn agree(id: &AppId, bytes: &[u8]) -> bool {
    let Some((app, warnings)) =
        std::str::from_utf8(bytes).ok().and_then(|text| fast::read(id, text))
    else {
        return false;
    };
    let fast = parsed("", Ok(app), warnings);
    assert_eq!(fast, app_full(id.clone(), "", bytes), "the fast path differs");
    true
}

/// The text of a file, once its size, its encoding and its characters are in order.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Box<Problem>> {
    if bytes.len() > MAX_BYTES {
        return Err(Box::new(Problem::new(
            Code::FileTooLarge,
            None,
            format!("the file has {} bytes; {MAX_BYTES} are read at most", bytes.len()),
            "take old builds out",
        )));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        Problem::new(
            Code::FileNotUtf8,
            Span::after(&valid),
            format!("the byte 0x{:02x} here is not UTF-8", bytes[error.valid_up_to()]),
            "save the file as UTF-8",
        )
    })?;
    let content = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some((at, c)) = content.char_indices().find(|(_, c)| !is_allowed(*c)) {
        return Err(Box::new(Problem::new(
            Code::YamlInvalid,
            Span::after(&content[..at]),
            format!("the character U+{:04X} is not allowed", u32::from(c)),
            "take it out, or write it as an escape in double quotes",
        )));
    }
    Ok(content)
}

fn parsed(path: &str, app: Result<App, Box<Problem>>, warnings: Vec<Problem>) -> Parsed {
    Parsed {
        app: app.map_err(|problem| finding(path, *problem)),
        findings: warnings.into_iter().map(|problem| finding(path, problem)).collect(),
    }
}

fn finding(path: &str, problem: Problem) -> Finding {
    let place = Place { file: path.to_owned(), span: problem.span };
    Finding::new(problem.code, place, problem.message, problem.help)
}
