//! The files that a description consists of: a base, the site's own file on top of it, and an
//! overlay on top of that.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::finding::{Code, Finding, Place, Span, quote};
use crate::text::{list, nearest, shown};

/// The largest file of a description that is read, in bytes. F-Droid's own has 15 KB.
pub(crate) const LARGEST_DESCRIPTION: u64 = 1 << 20;

/// The descriptions that are part of this program, by the names that `base` gives them, with the
/// file that findings name and their text.
const SHIPPED: &[(&str, &str, &str)] =
    &[("f-droid", "pipelines/f-droid.toml", include_str!("../../pipelines/f-droid.toml"))];

/// One file of a description.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path that findings name.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// All files of a description, each on top of the one before.
#[derive(Clone, Debug)]
pub struct Sources {
    files: Vec<Source>,
    /// Which of them is the site's own, whose `base` is the one before.
    site: usize,
}

impl Sources {
    /// A description of these texts, whose `base` is the one given.
    #[must_use]
    pub fn new(base: Option<Source>, site: Source, overlay: Option<Source>) -> Self {
        let at = usize::from(base.is_some());
        Self { files: base.into_iter().chain([site]).chain(overlay).collect(), site: at }
    }

    /// A description of one file; a shipped `base` is read, another one is looked for from the
    /// current folder on.
    ///
    /// # Errors
    /// When its `base` cannot be read.
    pub fn of_text(file: &str, text: &str) -> Result<Self, Vec<Finding>> {
        let site = Source { file: file.to_owned(), text: text.to_owned() };
        Self::with_base(site, None).map_err(|finding| vec![finding])
    }

    /// Reads the site's own file, the base that it names, and `overlay`.
    ///
    /// # Errors
    /// A finding for each file that cannot be read.
    pub fn read(config: &Path, overlay: Option<&Path>) -> Result<Self, Vec<Finding>> {
        let help = "give `--config FILE`, or write one with `fdroid-bb init`";
        let site = read(config).map_err(|error| missing(config, &error, help));
        let sources = site.and_then(|site| Self::with_base(site, Some(config)));
        let overlay = overlay.map(|file| {
            read(file).map_err(|error| missing(file, &error, "give another file with `--overlay`"))
        });
        match (sources, overlay.transpose()) {
            (Ok(mut sources), Ok(overlay)) => {
                sources.files.extend(overlay);
                Ok(sources)
            }
            (sources, overlay) => Err(sources.err().into_iter().chain(overlay.err()).collect()),
        }
    }

    /// Every file, the lowest first.
    #[must_use]
    pub fn files(&self) -> &[Source] {
        &self.files
    }

    /// Which of the files is the site's own.
    #[must_use]
    pub fn site(&self) -> usize {
        self.site
    }

    /// Gives findings on these files their excerpts.
    pub fn quote(&self, findings: &mut [Finding]) {
        for source in &self.files {
            let of_file = findings.iter_mut().filter(|finding| finding.place.file == source.file);
            quote(of_file, &source.text);
        }
    }

    /// The file at `path`, relative to the file of this description that names it.
    ///
    /// # Errors
    /// Where it was looked for, and why it cannot be read.
    pub fn beside(&self, named_by: &str, path: &str) -> Result<Source, (PathBuf, io::Error)> {
        let path = Path::new(named_by).with_file_name(path);
        read(&path).map_err(|error| (path, error))
    }

    fn with_base(site: Source, path: Option<&Path>) -> Result<Self, Finding> {
        match base_of(&site.text) {
            None => Ok(Self::new(None, site, None)),
            Some((name, span)) => {
                let base = base(&name, path).map_err(|(message, help)| {
                    let place = Place::at(&site.file, span);
                    let mut finding = [Finding::new(Code::ConfigMissing, place, message, help)];
                    quote(&mut finding, &site.text);
                    let [finding] = finding;
                    finding
                })?;
                Ok(Self::new(Some(base), site, None))
            }
        }
    }
}

/// What a text gives as `base`, if that is a text.
fn base_of(text: &str) -> Option<(String, Span)> {
    let (table, _) = DeTable::parse_recoverable(text);
    let value = table.get_ref().get("base")?;
    let DeValue::String(name) = value.get_ref() else { return None };
    let mut span = Span::after(text.get(..value.span().start)?);
    span.length = value.span().len() as u32;
    Some((name.to_string(), span))
}

/// A shipped description, or the file at a path relative to the one that names it.
fn base(name: &str, site: Option<&Path>) -> Result<Source, (String, String)> {
    if let Some((_, file, text)) = SHIPPED.iter().find(|(shipped, _, _)| *shipped == name) {
        return Ok(Source { file: (*file).to_owned(), text: (*text).to_owned() });
    }
    if !name.contains(['/', '.']) {
        let known: Vec<&str> = SHIPPED.iter().map(|(name, _, _)| *name).collect();
        let help = nearest(name, &known).map_or_else(
            || format!("write {}, or the path of a file, as in `./base.toml`", list(&known)),
            |near| format!("did you mean `{near}`?"),
        );
        return Err((format!("no description `{}` is shipped", shown(name)), help));
    }
    let path = site.and_then(Path::parent).map_or_else(|| PathBuf::from(name), |at| at.join(name));
    read(&path).map_err(|error| {
        let message = format!("the base `{}` cannot be read: {error}", path.display());
        (message, "paths are relative to the file that names them".to_owned())
    })
}

fn missing(file: &Path, error: &io::Error, help: &str) -> Finding {
    let message = format!("the pipeline description cannot be read: {error}");
    Finding::new(Code::ConfigMissing, Place::file(file.display().to_string()), message, help)
}

fn read(file: &Path) -> io::Result<Source> {
    let mut text = String::new();
    File::open(file)?.take(LARGEST_DESCRIPTION + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_DESCRIPTION {
        let message = format!("it has more than {LARGEST_DESCRIPTION} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(Source { file: file.display().to_string(), text })
}
