//! What the compiler has to say about its input: one [`Finding`] for each thing, with a stable
//! [`Code`], a place and a remedy. Stages collect findings; only `main.rs` prints them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How many warnings of one kind are shown with their lines.
pub const ALIKE: usize = 5;

/// The most characters of a line that are shown.
const WIDEST: usize = 160;

/// Whether a finding makes the command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The input cannot be compiled as it stands.
    Error,
    /// One app or one part is left out or weaker than asked; the rest is compiled.
    Warning,
}

/// A stretch of one line of a file. Lines and columns count from 1; columns and lengths are in
/// characters.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Span {
    /// The line, from 1.
    pub line: u32,
    /// The first character's column, from 1.
    pub column: u32,
    /// The number of characters; 0 marks a point.
    pub length: u32,
}

impl Span {
    /// The character that follows `before`, which is the start of a file.
    #[must_use]
    pub fn after(before: &str) -> Self {
        let line = before.rfind(['\n', '\r']).map_or(0, |at| at + 1);
        let breaks = before.matches(['\n', '\r']).count() - before.matches("\r\n").count();
        let column = before[line..].chars().count() as u32 + 1;
        Self { line: breaks as u32 + 1, column, length: 1 }
    }
}

/// Where a finding points: a file, and a stretch of it where that is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The path as the user would write it, relative to the input's root.
    pub file: String,
    /// The stretch of the file, or `None` when the file as a whole is meant.
    #[serde(flatten)]
    pub span: Option<Span>,
}

impl Place {
    /// The file as a whole.
    #[must_use]
    pub fn file(file: impl Into<String>) -> Self {
        Self { file: file.into(), span: None }
    }

    /// A stretch of `file`.
    #[must_use]
    pub fn at(file: impl Into<String>, span: Span) -> Self {
        Self { file: file.into(), span: Some(span) }
    }
}

/// One thing the compiler has to say about its input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its kind, which never changes meaning.
    pub code: Code,
    /// Whether it makes the command fail.
    pub severity: Severity,
    /// What is wrong: lower case, no final full stop, names in backticks.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// Where it is.
    pub place: Place,
    /// What stands there, for people.
    #[serde(skip)]
    pub excerpt: Option<Box<Excerpt>>,
}

/// A line of a file, cut to what is worth showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The text, in which nothing moves the cursor or turns the writing round.
    pub text: String,
    /// The bytes of it that are meant.
    pub marked: Range<usize>,
}

impl Excerpt {
    fn new(line: &str, span: Span) -> Self {
        let column = (span.column as usize).saturating_sub(1);
        let skip = if column > WIDEST / 2 { column - WIDEST / 4 } else { 0 };
        let mut text = String::new();
        let (mut start, mut end) = (None, 0);
        for (i, c) in without_logins(line).chars().enumerate().skip(skip).take(WIDEST) {
            if i == column {
                start = Some(text.len());
            }
            // A command to GitHub begins so, wherever it stands in a line of output.
            let is_command = c == '[' && text.ends_with("##");
            let visible = !is_command && (c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric());
            text.push(if visible { c } else { '\u{fffd}' });
            if i < column + (span.length.max(1) as usize) {
                end = text.len();
            }
        }
        let start = start.unwrap_or(text.len());
        Self { text, marked: start..end.max(start) }
    }
}

/// The line with stars for each user and password in a URL; as many characters as before.
fn without_logins(line: &str) -> Cow<'_, str> {
    if !line.contains("://") {
        return line.into();
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'".contains(c));
        let authority = after.get(..end.unwrap_or(after.len())).unwrap_or_default();
        let login = authority.rfind('@').unwrap_or(0);
        out.extend(authority.get(..login).unwrap_or_default().chars().map(|_| '*'));
        rest = after.get(login..).unwrap_or_default();
    }
    out.push_str(rest);
    out.into()
}

/// Gives the findings on one file their excerpts from its `text`: all errors, and as many of the
/// warnings as are [shown](ALIKE).
pub fn quote<'f>(findings: impl IntoIterator<Item = &'f mut Finding>, text: &str) {
    let mut lines: Vec<&str> = Vec::new();
    let mut alike: BTreeMap<Code, usize> = BTreeMap::new();
    for finding in findings {
        let Some(span) = finding.place.span else { continue };
        if lines.is_empty() {
            lines.extend(text.lines());
        }
        if finding.severity == Severity::Warning {
            let known = alike.entry(finding.code).or_default();
            *known += 1;
            if *known > ALIKE {
                continue;
            }
        }
        let line = lines.get((span.line as usize).saturating_sub(1));
        finding.excerpt = line.map(|line| Box::new(Excerpt::new(line, span)));
    }
}

impl Finding {
    /// A finding of `code`, with the severity that the code has.
    #[must_use]
    pub fn new(
        code: Code,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let (message, help) = (message.into(), help.into());
        Self { code, severity: code.severity(), message, help, place, excerpt: None }
    }
}

/// Writes the enum, its kebab-case names and its severities from one table.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $severity:ident, $remedy:literal;)+) => {
        /// The kinds of findings. A code is never reused for another meaning.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl Code {
            /// Every code, in the order of their table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name users see.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii_start(),)+ }
            }

            /// What to do about it.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)+ }
            }

            /// The severity every finding of this code has.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }
        }
    };
}

codes! {
    // The input as a whole.
    /// No fdroiddata where it was said to be.
    TreeMissing = "fdroiddata-missing", Error,
        "Give the root of fdroiddata with `--fdroiddata PATH`, and a commit of it with `--rev REV`.";
    /// A checkout whose commit cannot be told.
    CommitUnknown = "commit-unknown", Warning,
        "Do what git says: trust a repository of another user with `git config --global --add safe.directory PATH`, or make a first commit.";
    /// No pipeline description where it was said to be.
    ConfigMissing = "config-missing", Error,
        "Give the description with `--config FILE`, or write one with `fdroid-bb init`.";

    // Files of fdroiddata. A finding on one app never takes the others down.
    /// A file of `metadata/` whose name is no application id.
    AppIdInvalid = "app-id-invalid", Warning,
        "Name the file as the app is named: letters, digits, `_` and `.`, then `.yml`.";
    /// An application id that differs from another one by capitals alone.
    AppIdsAlike = "app-ids-alike", Warning,
        "Rename one of the two, or find out who means to be taken for whom: to many file systems, and to most people, they are one.";
    /// A file that is larger than any honest one.
    FileTooLarge = "file-too-large", Warning,
        "Take out what does not belong into metadata, or old builds.";
    /// A file that is not UTF-8.
    FileNotUtf8 = "file-not-utf8", Warning,
        "Save the file as UTF-8.";
    /// A symbolic link that leads out of its folder, or nowhere.
    FileSymlink = "file-symlink", Warning,
        "Put the file itself there, or link to a file of the same folder.";
    /// A file that cannot be read.
    FileUnreadable = "file-unreadable", Warning,
        "See its permissions, and that it is a file.";
    /// Text that is no YAML, or YAML that fdroidserver refuses.
    YamlInvalid = "yaml-invalid", Warning,
        "Mend the YAML at the place that is named; `fdroid lint` says more.";
    /// A key that stands twice in one mapping.
    YamlDuplicateKey = "yaml-duplicate-key", Warning,
        "Keep one of the two.";
    /// An anchor, an alias or a merge key.
    YamlAlias = "yaml-alias", Warning,
        "Write out what it stands for: fdroidserver refuses some of them, and nobody needs them.";
    /// Nesting deeper than any honest file.
    YamlTooDeep = "yaml-too-deep", Warning,
        "Take the nesting out: no field of an app has it.";
    /// A field that fdroidserver does not know.
    FieldUnknown = "field-unknown", Warning,
        "Remove it, or fix its name: fdroidserver ignores it.";
    /// A value of the wrong type.
    FieldType = "field-type", Warning,
        "Give a value of the type that is named.";
    /// An unquoted value that fdroidserver changes.
    FieldNeedsQuotes = "field-needs-quotes", Warning,
        "Quote the value: fdroidserver makes another one of it.";
    /// A value that fdroidserver's own check of the field refuses.
    FieldInvalid = "field-invalid", Warning,
        "Give a value that `fdroid lint` accepts.";

    // fdroid-bb.toml by itself.
    /// Text that is no TOML.
    ConfigSyntax = "config-syntax", Error,
        "Mend the TOML; https://toml.io/ describes it.";
    /// A key that means nothing where it stands.
    ConfigUnknownKey = "unknown-key", Error,
        "Mend the key's name or take it out; the schema lists all keys.";
    /// A key that must be there and is not.
    ConfigMissingKey = "missing-key", Error,
        "Add the key.";
    /// A value of the wrong type.
    ConfigType = "wrong-type", Error,
        "Give a value of the type that is named.";
    /// A value of the right type that cannot be.
    ConfigValue = "invalid-value", Error,
        "Give one of the values that are named.";
    /// A secret in plain text.
    LiteralSecret = "literal-secret", Error,
        "Put the secret into a file of the master's folder `secrets`, and name it: `{ secret = \"NAME\" }`. Change the secret that was written down.";
    /// The same thing named or taken twice.
    Duplicate = "duplicate", Error,
        "Keep one of the two, or give it another name.";
    /// A name that refers to nothing.
    UnknownName = "unknown-name", Error,
        "Mend the name, or describe what it names.";
    /// A worker or step of no kind, or of several.
    OneKind = "one-kind", Error,
        "Say what kind it is, once.";
    /// Things of several masters where only one can be.
    MastersMixed = "masters-mixed", Error,
        "Keep to the workers of one master.";
    /// Builders that start each other for ever.
    TriggerCycle = "trigger-cycle", Error,
        "Take out one of the `after`.";
    /// Builds that lack a property they need.
    PropertyMissing = "property-missing", Error,
        "Let the scheduler give the property, or the builder do without: `optional = true`.";
    /// A scheduler for submitted changes on a master that takes none.
    SubmitMissing = "submit-missing", Error,
        "Give the master a `submit`, or the scheduler another `on`.";
    /// A web page that trusts a proxy, open to others than the proxy.
    ProxyBypass = "proxy-bypass", Error,
        "Let the web page listen on loopback only, or do without `user-header`.";
    /// A builder that nothing starts.
    BuilderUnreachable = "builder-unreachable", Warning,
        "Name it in a scheduler, or delete it.";
    /// A worker that no builder uses.
    WorkerUnused = "worker-unused", Warning,
        "Name it in a builder, or delete it.";
    /// A lock that no builder uses.
    LockUnused = "lock-unused", Warning,
        "Name it in a builder, or delete it.";
    /// A master without builders.
    MasterIdle = "master-idle", Warning,
        "Give it workers and builders, or delete it.";
    /// A port for submitted changes that no scheduler waits for.
    SubmitUnused = "submit-unused", Warning,
        "Add a scheduler with `on = { submitted = … }`, or delete the `submit`.";
    /// A rule that no app matches.
    OverrideUnused = "override-unused", Warning,
        "Mend its pattern, or delete it.";
    /// A key that says what is said below it already.
    OverlayUseless = "overlay-useless", Warning,
        "Delete the key, or give it another value.";
    /// A value, list, set or choice that nothing refers to.
    DefinitionUnused = "definition-unused", Warning,
        "Refer to it, or delete it.";
    /// A choice that leaves nothing of something that is needed.
    ChoiceEmpty = "choice-empty", Error,
        "Name something for this alternative, or let what needs it depend on the choice too: `when`.";
    /// A host that would be asked more often than `guard.polls-per-minute` allows.
    PollLoad = "poll-load", Warning,
        "Raise `apps.poll-interval`, or that of the host's apps in `apps.overrides`.";

    // The sources of apps.
    /// A srclib that is missing or broken.
    SrclibMissing = "srclib-missing", Warning,
        "Add or fix the srclib's file, or name another.";
    /// A source URL that is no plain, public address.
    RepoRefused = "repo-refused", Warning,
        "Give a plain `https` URL of a public host, without user, password and options.";
    /// A source that no poller can watch.
    RepoUnpollable = "repo-unpollable", Warning,
        "Set `UpdateCheckMode: None`, or move to a repository that can be watched.";
    /// A tag pattern that no linear-time engine has.
    TagPatternNotLinear = "tag-pattern-not-linear", Warning,
        "Write the pattern without look-around and back-references, or leave it: every tag then counts, and `fdroid checkupdates` still applies it.";
    /// A branch name that git does not allow.
    BranchInvalid = "branch-invalid", Warning,
        "Write `RepoManifest/BRANCH` with a branch of the repository.";
}
