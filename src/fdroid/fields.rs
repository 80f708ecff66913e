//! What fdroidserver makes of a file's fields and build flags: `metadata.parse_yaml_metadata` and
//! `post_parse_yaml_metadata`.
//!
//! A [`Draft`] takes the fields one by one, from whichever reader. What fdroidserver raises on is a
//! [`Problem`], and so is what it only warns of but then leaves with the wrong type. Fields and
//! flags that it does not know it warns of and keeps, and so does the draft.

use super::field::{FIELDS, FLAGS, Type, field_index, field_type, flag_index, flag_type};
use super::problem::Problem;
use super::scalar::{Value, python_int};
use super::text::{quoted, shown};
use super::update_check::{REPO_TYPES, UpdateCheckMode};
use super::yaml::{Data, Key, Node, refused};
use super::{App, AppId, Build, Marks};
use crate::finding::{Code, Span};

/// The most warnings that are kept of one file.
const MAX_WARNINGS: usize = 100;

/// A failed draft. Boxed: rare, and larger than what it stands in for.
type Outcome<T = ()> = Result<T, Box<Problem>>;

/// An app in the making.
#[derive(Debug)]
pub struct Draft {
    app: App,
    warnings: Vec<Problem>,
    /// Where `NoSourceSince` says something.
    no_source: Option<Span>,
    /// Whether `AntiFeatures` is there and no mapping after normalisation.
    no_anti_features: bool,
}

impl Draft {
    /// An app without fields, with the defaults of `metadata.App`.
    #[must_use]
    pub fn new(id: AppId) -> Self {
        let app = App {
            id,
            repo: Some(String::new()),
            repo_type: Some(String::new()),
            disabled: None,
            update_check_mode: Some("None".to_owned()),
            auto_update_mode: Some("None".to_owned()),
            archive_policy: None,
            current_version: Some(String::new()),
            current_version_code: None,
            update_check_data: None,
            update_check_name: None,
            update_check_ignore: None,
            vercode_operation: Some(Vec::new()),
            builds: Vec::new(),
            marks: Marks::default(),
        };
        Self { app, warnings: Vec::new(), no_source: None, no_anti_features: false }
    }

    /// Takes a whole file; `None` is an empty one.
    ///
    /// # Errors
    /// A file that is no mapping, or a field that [`Draft::field`] refuses.
    pub fn document(&mut self, root: Option<Node<'_>>) -> Outcome {
        let Some(root) = root else { return Ok(()) };
        match root.data {
            Data::Map(entries) => {
                for (key, node) in entries {
                    self.entry(&key, node)?;
                }
                Ok(())
            }
            // A file of nothing, or of an empty text, is an app without fields.
            Data::Scalar(scalar) if !scalar.value.counts() => Ok(()),
            _ => Err(wrong_type("the file", "a mapping of fields", &root).into()),
        }
    }

    fn entry(&mut self, key: &Key<'_>, node: Node<'_>) -> Outcome {
        let Value::Str(name) = &key.value else {
            return Err(Box::new(Problem::new(
                Code::FieldType,
                key.span,
                format!("the key `{}` is no text", shown(&key.value.python_str())),
                "use the name of a field",
            )));
        };
        if name == "Provides" {
            self.warn(|| unknown("field", name, key.span, "take it out: fdroidserver ignores it"));
            return Ok(());
        }
        if field_index(name).is_none() {
            self.warn(|| unknown("field", name, key.span, &suggestion(name, &FIELDS)));
        }
        self.field(name, node)
    }

    /// Takes one field.
    ///
    /// # Errors
    /// A value that fdroidserver raises on, or leaves with a type that the field does not have.
    pub fn field(&mut self, name: &str, node: Node<'_>) -> Outcome {
        let span = node.span;
        let mark = matches!(&node.data, Data::Scalar(s) if s.value != Value::Null).then_some(span);
        match name {
            "Repo" => {
                self.app.repo = self.text(name, &node)?;
                self.app.marks.repo = mark;
            }
            "RepoType" => {
                self.app.repo_type = self.text(name, &node)?;
                self.app.marks.repo_type = mark;
                check_repo_type(self.app.repo_type.as_deref(), span)?;
            }
            "UpdateCheckMode" => {
                self.app.update_check_mode = self.text(name, &node)?;
                self.app.marks.update_check_mode = mark;
                check_mode(self.app.update_check_mode.as_deref(), span)?;
            }
            "Disabled" => {
                self.app.disabled = self.text(name, &node)?;
                self.app.marks.disabled = mark;
            }
            "AutoUpdateMode" => self.app.auto_update_mode = self.text(name, &node)?,
            "CurrentVersion" => self.app.current_version = self.text(name, &node)?,
            "UpdateCheckData" => self.app.update_check_data = self.text(name, &node)?,
            "UpdateCheckName" => self.app.update_check_name = self.text(name, &node)?,
            "UpdateCheckIgnore" => self.app.update_check_ignore = self.text(name, &node)?,
            "ArchivePolicy" => {
                self.app.archive_policy = int(name, &archive_policy(node))?;
                self.app.marks.archive_policy = mark;
            }
            "CurrentVersionCode" => self.app.current_version_code = int(name, &node)?,
            "VercodeOperation" => self.app.vercode_operation = self.texts(name, &node)?,
            "Builds" => self.builds(node)?,
            "NoSourceSince" => {
                check(name, Type::Text, &node)?;
                self.no_source = node.counts().then_some(span);
            }
            "AntiFeatures" => {
                check(name, Type::TextMap, &node)?;
                self.no_anti_features = !node.counts() && !matches!(node.data, Data::Map(_));
            }
            _ => check(name, field_type(name), &node)?,
        }
        Ok(())
    }

    fn builds(&mut self, node: Node<'_>) -> Outcome {
        let items = match node.data {
            Data::List(items) => items,
            // Python finds nothing to iterate over in these.
            Data::Map(ref entries) if entries.is_empty() => return Ok(()),
            Data::Scalar(ref scalar) if scalar.value == Value::Str("".into()) => return Ok(()),
            _ => return Err(wrong_type("`Builds`", "a list of builds", &node).into()),
        };
        for item in items {
            let span = item.span;
            let Data::Map(entries) = item.data else {
                return Err(wrong_type("a build", "a mapping of flags", &item).into());
            };
            let mut build = BuildDraft::new(span);
            for (key, node) in entries {
                let name = key.value.python_str();
                if !matches!(key.value, Value::Str(_)) || flag_index(&name).is_none() {
                    self.warn(|| {
                        unknown("build flag", &name, key.span, &suggestion(&name, &FLAGS))
                    });
                }
                self.flag(&mut build, &name, &node)?;
            }
            self.build(build)?;
        }
        Ok(())
    }

    /// Takes one flag of a build.
    ///
    /// # Errors
    /// A value that fdroidserver raises on, or leaves with a type that the flag does not have.
    pub(crate) fn flag(&mut self, build: &mut BuildDraft, name: &str, node: &Node<'_>) -> Outcome {
        match name {
            "versionCode" => build.version_code = int(name, node)?,
            "timeout" => build.timeout = int(name, node)?,
            "versionName" => build.version_name = self.text(name, node)?,
            "disable" => build.disable = self.text(name, node)?,
            "commit" => build.commit = self.text(name, node)?,
            _ => check(name, flag_type(name), node)?,
        }
        Ok(())
    }

    /// Takes a finished build.
    ///
    /// # Errors
    /// A build without a version code: fdroidserver sorts by it.
    pub fn build(&mut self, build: BuildDraft) -> Outcome {
        let Some(version_code) = build.version_code else {
            return Err(Box::new(Problem::new(
                Code::FieldType,
                build.span,
                "this build has no `versionCode`",
                "add its `versionCode`",
            )));
        };
        self.app.builds.push(Build {
            version_code,
            version_name: build.version_name,
            disable: build.disable,
            timeout: build.timeout,
            commit: build.commit,
        });
        Ok(())
    }

    /// The app, and what fdroidserver would have warned of.
    ///
    /// # Errors
    /// What fdroidserver raises on once it has all the fields.
    pub fn finish(mut self) -> (Outcome<App>, Vec<Problem>) {
        if let (Some(span), true) = (self.no_source, self.no_anti_features) {
            let problem = Problem::new(
                Code::FieldType,
                span,
                "`NoSourceSince` needs `AntiFeatures` to be a mapping or absent",
                "take the empty `AntiFeatures` out",
            );
            return (Err(Box::new(problem)), self.warnings);
        }
        self.app.builds.sort_by_key(|build| build.version_code);
        (Ok(self.app), self.warnings)
    }

    /// The warnings of a draft that failed.
    #[must_use]
    pub(crate) fn into_warnings(self) -> Vec<Problem> {
        self.warnings
    }

    fn warn(&mut self, warning: impl FnOnce() -> Problem) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning());
        }
    }

    /// A field of type text, with a warning where the text is not what was written.
    fn text(&mut self, name: &str, node: &Node<'_>) -> Outcome<Option<String>> {
        let Data::Scalar(scalar) = &node.data else {
            return Err(wrong_type(&format!("`{name}`"), "a text", node).into());
        };
        if scalar.value == Value::Null {
            return Ok(None);
        }
        let written = scalar.written.as_deref();
        let text = scalar
            .value
            .text()
            .map_err(|refusal| refused(refusal, written.unwrap_or_default(), node.span))?;
        if let Some(written) = written.filter(|written| *written != text) {
            self.warn(|| {
                Problem::new(
                    Code::FieldNeedsQuotes,
                    node.span,
                    format!("fdroidserver reads `{name}` as `{}` here", shown(&text)),
                    format!("if that is not meant, write `{}`", quoted(written)),
                )
            });
        }
        Ok(Some(text.into_owned()))
    }

    /// A field of type list.
    fn texts(&mut self, name: &str, node: &Node<'_>) -> Outcome<Option<Vec<String>>> {
        let Data::List(items) = &node.data else {
            let text = self.text(name, node)?;
            return Ok(text.map(|text| Vec::from_iter((!text.is_empty()).then_some(text))));
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            // Python's `str(None)`.
            texts.push(self.text(name, item)?.unwrap_or_else(|| "None".to_owned()));
        }
        Ok(Some(texts))
    }
}

/// A build in the making, with the defaults of `metadata.Build`.
#[derive(Debug)]
pub struct BuildDraft {
    span: Span,
    version_code: Option<i128>,
    version_name: Option<String>,
    disable: Option<String>,
    timeout: Option<i128>,
    commit: Option<String>,
}

impl BuildDraft {
    /// A build without flags whose entry begins at `span`.
    #[must_use]
    pub fn new(span: Span) -> Self {
        Self {
            span,
            version_code: None,
            version_name: None,
            disable: Some(String::new()),
            timeout: None,
            commit: None,
        }
    }
}

/// Whether fdroidserver can make the value what its field is, for values that no one asks for.
///
/// # Errors
/// What `_normalize_type_*` raises on, and a mapping for a list, of which it only warns.
pub fn check(name: &str, kind: Type, node: &Node<'_>) -> Outcome {
    if !node.counts() {
        return Ok(());
    }
    match (kind, &node.data) {
        (Type::Int, _) => int(name, node).map(|_| ()),
        (Type::List, Data::Map(_)) => Err(wrong_type(&format!("`{name}`"), "a list", node).into()),
        (Type::Text | Type::List | Type::TextMap, Data::Scalar(scalar)) => {
            if kind == Type::TextMap && matches!(scalar.value, Value::Time(_)) {
                return Err(wrong_type(&format!("`{name}`"), "a mapping", node).into());
            }
            check_text(node)
        }
        (Type::List, Data::List(items)) => items.iter().try_for_each(check_text),
        (Type::TextMap, Data::List(items)) => items.iter().try_for_each(|item| match &item.data {
            Data::Map(entries) => match entries.as_slice() {
                [(key, value)] => check_key(key).and_then(|()| check_text(value)),
                _ => Err(wrong_type(&format!("an entry of `{name}`"), "`name: text`", item).into()),
            },
            _ => check_text(item),
        }),
        (Type::TextMap, Data::Map(entries)) => entries.iter().try_for_each(|(key, value)| {
            check_key(key)?;
            if value.truthy() && !matches!(value.data, Data::Map(_)) {
                check_text(value)?;
            }
            Ok(())
        }),
        _ => Ok(()),
    }
}

/// Refuses what `_normalize_type_string` raises on.
fn check_text(node: &Node<'_>) -> Outcome {
    if let Data::Scalar(scalar) = &node.data
        && let Err(refusal) = scalar.value.text()
    {
        return Err(
            refused(refusal, scalar.written.as_deref().unwrap_or_default(), node.span).into()
        );
    }
    Ok(())
}

fn check_key(key: &Key<'_>) -> Outcome {
    match key.value.text() {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refused(refusal, &key.value.python_str(), key.span).into()),
    }
}

/// `_normalize_type_int`; empty is `None`.
fn int(name: &str, node: &Node<'_>) -> Outcome<Option<i128>> {
    if let Data::Scalar(scalar) = &node.data {
        match &scalar.value {
            Value::Null => return Ok(None),
            Value::Int(number) => return Ok(Some(*number)),
            Value::Str(text) => {
                if let Some(number) = python_int(text) {
                    return Ok(Some(number));
                }
            }
            _ => {}
        }
    }
    Err(wrong_type(&format!("`{name}`"), "an integer", node).into())
}

/// `ArchivePolicy: 3 versions` is 3.
fn archive_policy(mut node: Node<'_>) -> Node<'_> {
    if let Data::Scalar(scalar) = &mut node.data
        && let Value::Str(text) = &mut scalar.value
        && let Some((number, _)) = text.split_once(' ')
    {
        *text = number.to_owned().into();
    }
    node
}

fn check_repo_type(value: Option<&str>, span: Span) -> Outcome {
    match value {
        Some(text) if !text.is_empty() && !REPO_TYPES.contains(&text) => {
            Err(Box::new(repo_type_problem(text, span)))
        }
        _ => Ok(()),
    }
}

/// The problem of a `RepoType` that fdroidserver does not know.
#[must_use]
pub(crate) fn repo_type_problem(text: &str, span: Span) -> Problem {
    Problem::new(
        Code::FieldInvalid,
        span,
        format!("`{}` is no `RepoType`", shown(text)),
        format!("use one of `{}`", REPO_TYPES.join("`, `")),
    )
}

fn check_mode(value: Option<&str>, span: Span) -> Outcome {
    let text = value.unwrap_or_default();
    if UpdateCheckMode::parse(text).is_some() {
        return Ok(());
    }
    Err(Box::new(Problem::new(
        Code::FieldInvalid,
        span,
        format!("`{}` is no `UpdateCheckMode`", shown(text)),
        "use `Tags`, `Tags <pattern>`, `RepoManifest`, `RepoManifest/<branch>`, `HTTP`, `Static` \
         or `None`",
    )))
}

fn wrong_type(what: &str, wanted: &str, node: &Node<'_>) -> Problem {
    let found = match &node.data {
        Data::Scalar(scalar) => match (&scalar.written, &scalar.value) {
            (Some(text), _) => format!("`{}`", shown(text)),
            (None, Value::Str(text)) => format!("`{}`", shown(text)),
            _ => node.kind().to_owned(),
        },
        _ => node.kind().to_owned(),
    };
    Problem::new(
        Code::FieldType,
        node.span,
        format!("{what} must be {wanted}, found {found}"),
        format!("write {wanted}"),
    )
}

fn unknown(what: &str, name: &str, span: Span, help: &str) -> Problem {
    Problem::new(
        Code::FieldUnknown,
        span,
        format!("fdroidserver does not know the {what} `{}`", shown(name)),
        help,
    )
}

/// Names the known name that `name` may be a slip for.
fn suggestion(name: &str, known: &[&str]) -> String {
    let short: String = name.chars().take(40).collect();
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(&short, known), *known))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(|| "take it out".to_owned(), |(_, known)| format!("did you mean `{known}`?"))
}
