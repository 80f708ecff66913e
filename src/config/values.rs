//! The small languages inside the strings of `fdroid-bb.toml`: names, durations, sizes,
//! addresses. Each type checks its text once; the schema carries the same rule to editors.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// Declares a checked text: a newtype over what `parse` gives, its schema, and how serde reads it.
macro_rules! text {
    (
        $(#[doc = $doc:literal])+
        $type:ident($inner:ty) = $format:literal, $pattern:literal, $example:literal, $parse:expr
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type($inner);

        impl $type {
            /// The schema's `format`, by which [`check_format`] knows the type.
            const FORMAT: &str = $format;
        }

        impl FromStr for $type {
            type Err = &'static str;

            fn from_str(text: &str) -> Result<Self, &'static str> {
                let parse: fn(&str) -> Option<$inner> = $parse;
                parse(text).map($type).ok_or(concat!("a ", $format, ", as in `", $example, "`"))
            }
        }

        impl TryFrom<String> for $type {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, &'static str> {
                text.parse()
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "format": $format,
                    "pattern": $pattern,
                    "description": concat!($($doc),+).trim(),
                    "examples": [$example],
                })
            }
        }
    };
}

fn plain(text: &str, first: fn(char) -> bool, rest: fn(char) -> bool, most: usize) -> bool {
    text.len() <= most && text.starts_with(first) && text.chars().all(rest)
}

fn seconds(text: &str) -> Option<StdDuration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number = number.parse::<u64>().ok().filter(|n| (1..=999_999).contains(n))?;
    Some(StdDuration::from_secs(number * unit))
}

fn mebibytes(text: &str) -> Option<u64> {
    let (number, unit) =
        [("MiB", 1), ("GiB", 1_024)].iter().find_map(|(u, n)| Some((text.strip_suffix(u)?, n)))?;
    let number = number.parse::<u64>().ok().filter(|n| (1..=999_999).contains(n))?;
    text.starts_with(|c: char| c.is_ascii_digit()).then_some(number * unit)
}

fn hour_and_minute(text: &str) -> Option<(u8, u8)> {
    let (hour, minute) = text.split_once(':')?;
    let two = |s: &str, most| {
        (s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit()))
            .then(|| s.parse().ok())?
            .filter(|n: &u8| *n <= most)
    };
    Some((two(hour, 23)?, two(minute, 59)?))
}

fn http_url(text: &str) -> Option<url::Url> {
    let url = url::Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && url.query().is_none()
        && url.fragment().is_none()
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    plain.then_some(url)
}

fn engine_host(text: &str) -> Option<String> {
    let rest = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    let fits = match text.split_once("://")? {
        ("unix", path) => {
            plain(path, |c| c == '/', |c| c.is_ascii_alphanumeric() || "_./-".contains(c), 100)
                && path.len() > 1
        }
        ("tcp", address) => address.rsplit_once(':').is_some_and(|(host, port)| {
            plain(host, |c| c.is_ascii_alphanumeric(), rest, 253)
                && port.parse::<u16>().is_ok_and(|port| port != 0)
        }),
        _ => false,
    };
    fits.then(|| text.to_owned())
}

fn words_and_slashes(text: &str) -> Option<String> {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    text.split('/').all(|part| plain(part, first, rest, 100)).then(|| text.to_owned())
}

/// An address as browsers write it, or one with braces in a path of plain characters.
fn repo_url(text: &str) -> Option<String> {
    if !text.contains(['{', '}']) {
        return http_url(text).map(|url| url.as_str().to_owned());
    }
    let (_, rest) = text.split_once("://")?;
    let (host, path) = rest.split_once('/')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._~/+:{}-".contains(c);
    let fits = !host.contains(['{', '}', '@']) && path.chars().all(is_plain);
    let parts = path.split('/').all(|part| part != "." && part != "..");
    http_url(&text.replace(['{', '}'], "")).filter(|_| fits && parts).map(|_| text.to_owned())
}

text! {
    /// The name of something this file defines: letters, digits, `-` and `_`, at most 40.
    Name(String) = "name", "^[A-Za-z][A-Za-z0-9_-]{0,39}$", "fdroid-build",
    |t| plain(t, |c| c.is_ascii_alphabetic(), |c| c.is_ascii_alphanumeric() || "-_".contains(c), 40)
        .then(|| t.to_owned())
}
text! {
    /// The name of an environment variable.
    EnvName(String) = "variable name", "^[A-Za-z_][A-Za-z0-9_]{0,99}$", "ANDROID_HOME",
    |t| plain(t, |c| c.is_ascii_alphabetic() || c == '_', |c| c.is_ascii_alphanumeric() || c == '_', 100)
        .then(|| t.to_owned())
}
text! {
    /// A name of Vagrant's, of a provider or of one of its settings.
    VagrantName(String) = "Vagrant name", "^[a-z][a-z0-9_]{0,99}$", "cpu_mode",
    |t| plain(t, |c| c.is_ascii_lowercase(), |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_', 100)
        .then(|| t.to_owned())
}
text! {
    /// The name of a secret: a file in the master's `secrets` folder.
    SecretName(String) = "secret name", "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$", "web-admin",
    |t| plain(t, |c| c.is_ascii_alphanumeric(), |c| c.is_ascii_alphanumeric() || "-_.".contains(c), 100)
        .then(|| t.to_owned())
}
text! {
    /// Who runs this and how to reach them: what the comment of a header `User-Agent` can hold.
    Operator(String) = "name and contact without brackets and quotes",
    "^[A-Za-z0-9][A-Za-z0-9 ,;:/@._+~-]{0,199}$", "F-Droid, team@f-droid.org",
    |t| plain(t, |c| c.is_ascii_alphanumeric(), |c| c.is_ascii_alphanumeric() || " ,;:/@._+~-".contains(c), 200)
        .then(|| t.to_owned())
}
text! {
    /// A length of time: a whole number above zero and a unit, `s`, `min`, `h` or `d`.
    Duration(StdDuration) = "length of time", "^0*[1-9][0-9]*(s|min|h|d)$", "6h", seconds
}
text! {
    /// An amount of memory: a whole number above zero and a unit, `MiB` or `GiB`.
    Size(u64) = "size", "^0*[1-9][0-9]*(MiB|GiB)$", "8GiB", mebibytes
}
text! {
    /// An address to listen on and a port; `[::1]:8010` for IPv6.
    Listen(SocketAddr) = "listening address", "^(\\[[0-9a-fA-F:.]+\\]|[0-9]{1,3}([.][0-9]{1,3}){3}):[0-9]{1,5}$",
    "127.0.0.1:8010", |t| t.parse().ok().filter(|a: &SocketAddr| a.port() != 0)
}
text! {
    /// A time of day in the master's time zone.
    TimeOfDay((u8, u8)) = "time of day", "^([01][0-9]|2[0-3]):[0-5][0-9]$", "02:30", hour_and_minute
}
text! {
    /// The address of a web page, without query or fragment.
    WebUrl(url::Url) = "web address", "^https?://[^\\s?#]+$", "https://build.f-droid.org/", http_url
}
text! {
    /// The address of a git repository. `{name}` in its path stands for a property.
    RepoUrl(String) = "repository address", "^https?://[^\\s?#{}/]+(/[^\\s?#]*)?$",
    "https://gitlab.com/fdroid/fdroiddata.git", repo_url
}
text! {
    /// A folder below another one: no `..`, no space, nothing that begins with a dot or dash.
    Folder(String) = "folder",
    "^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$", "libs/one",
    words_and_slashes
}
text! {
    /// Where a Docker engine listens.
    EngineHost(String) = "Docker address",
"^(unix:///[A-Za-z0-9_./-]+|tcp://[A-Za-z0-9][A-Za-z0-9.-]*:[0-9]{1,5})$",
    "tcp://docker.example.org:2376", engine_host
}
text! {
    /// A user of a forge, or a group with its whole path.
    Account(String) = "user or group", "^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$",
    "fdroid/admins", words_and_slashes
}
text! {
    /// A pattern for paths of files: `*` stands for any characters but `/`, `**` for any at all.
    FilePattern(String) = "file pattern", "^[A-Za-z0-9_.*?+/-]{1,200}$", "metadata/*.yml",
    |t| ((1..=200).contains(&t.len())
        && t.chars().all(|c| c.is_ascii_alphanumeric() || "_.*?+/-".contains(c)))
        .then(|| t.to_owned())
}
text! {
    /// The name of a branch, by git's rules.
    Branch(String) = "branch", "^[^-/\\s~^:?*\\[\\\\][^\\s~^:?*\\[\\\\]*$", "master",
    |t| (!t.starts_with('-') && git2::Reference::is_valid_name(&format!("refs/heads/{t}")))
        .then(|| t.to_owned())
}
text! {
    /// One mailbox without a name, as mail servers take it; nothing that could be a second header.
    MailAddress(String) = "mail address", "^[!#-'*+\\--9=?A-Z^-~]+@[!#-'*+\\--9=?A-Z^-~]+$",
    "admin@example.org",
    |t| {
        let plain = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"@".contains(c);
        let is_part = |part: &str| !part.is_empty() && part.chars().all(plain);
        t.split_once('@').is_some_and(|(user, host)| is_part(user) && is_part(host)).then(|| t.to_owned())
    }
}
text! {
    /// The absolute path of a file in a folder.
    AbsoluteFile(String) = "absolute path of a file in a folder", "^(/[^/\\s]+){2,}$", "/run/fdroid/passwd",
    |t| {
        let mut parts = t.split('/');
        let starts = parts.next() == Some("");
        let parts: Vec<&str> = parts.collect();
        let is_part = |part: &&str| !part.is_empty() && !part.contains(char::is_whitespace);
        (starts && parts.len() >= 2 && parts.iter().all(is_part)).then(|| t.to_owned())
    }
}
text! {
    /// A pattern for application ids or host names, in which `*` stands for any characters.
    Glob(glob::Pattern) = "pattern", "^[A-Za-z0-9_.*?-]+$", "org.fdroid.*",
    |t| t.chars().all(|c| c.is_ascii_alphanumeric() || "_.*?-".contains(c))
        .then(|| glob::Pattern::new(t).ok())?.filter(|_| !t.is_empty())
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that stands in this program.
    pub(super) fn fixed(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

impl RepoUrl {
    /// The address, with braces around properties.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl EngineHost {
    /// An address that stands in this program.
    pub(super) fn fixed(host: &'static str) -> Self {
        Self(host.to_owned())
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Account {
    /// The name, or the path with `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FilePattern {
    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Folder {
    /// The folder, with `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MailAddress {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AbsoluteFile {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl EnvName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl VagrantName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that stands in this program.
    pub(super) fn fixed(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

impl SecretName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Operator {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Duration {
    /// The length in whole seconds, at least 1.
    #[must_use]
    pub fn as_secs(&self) -> i64 {
        self.0.as_secs().cast_signed()
    }

    /// A whole number of hours, for defaults.
    #[must_use]
    pub(super) fn from_hours(hours: u64) -> Self {
        Self(StdDuration::from_secs(hours * 3_600))
    }

    /// A whole number of minutes, for defaults.
    #[must_use]
    pub(super) fn from_minutes(minutes: u64) -> Self {
        Self(StdDuration::from_secs(minutes * 60))
    }
}

impl Size {
    /// A whole number of MiB, for defaults.
    #[must_use]
    pub(super) fn from_mib(amount: u64) -> Self {
        Self(amount)
    }

    /// The amount in MiB, at least 1.
    #[must_use]
    pub(crate) fn as_mib(&self) -> i64 {
        self.0.cast_signed()
    }
}

impl Listen {
    /// A port on the loopback address, for defaults.
    #[must_use]
    pub(super) fn loopback(port: u16) -> Self {
        Self(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The address and port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.0
    }
}

impl TimeOfDay {
    /// The hour, 0 to 23, and the minute, 0 to 59.
    #[must_use]
    pub(crate) fn hour_and_minute(&self) -> (u8, u8) {
        self.0
    }
}

impl WebUrl {
    /// The address.
    #[must_use]
    pub fn url(&self) -> &url::Url {
        &self.0
    }
}

impl Branch {
    /// A name that stands in this program.
    pub(super) fn fixed(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Glob {
    /// Whether `text` matches, letters of either case being alike.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let options = glob::MatchOptions { case_sensitive: false, ..Default::default() };
        self.0.matches_with(text, options)
    }
}

/// Checks `text` against the type whose schema has `format`. The error says what is expected.
///
/// # Errors
/// When the text is not of that type.
pub(super) fn check_format(format: &str, text: &str) -> Result<(), &'static str> {
    fn check<T: FromStr>(text: &str) -> Result<(), T::Err> {
        text.parse::<T>().map(drop)
    }
    let zero =
        text.starts_with('0') && text.trim_start_matches('0').starts_with(char::is_alphabetic);
    match format {
        Duration::FORMAT if zero => Err("a length of time above zero, as in `6h`"),
        Size::FORMAT if zero => Err("a size above zero, as in `8GiB`"),
        Name::FORMAT => check::<Name>(text),
        EnvName::FORMAT => check::<EnvName>(text),
        VagrantName::FORMAT => check::<VagrantName>(text),
        SecretName::FORMAT => check::<SecretName>(text),
        Duration::FORMAT => check::<Duration>(text),
        Size::FORMAT => check::<Size>(text),
        Listen::FORMAT => check::<Listen>(text),
        TimeOfDay::FORMAT => check::<TimeOfDay>(text),
        WebUrl::FORMAT => check::<WebUrl>(text),
        RepoUrl::FORMAT => check::<RepoUrl>(text),
        EngineHost::FORMAT => check::<EngineHost>(text),
        Account::FORMAT => check::<Account>(text),
        FilePattern::FORMAT => check::<FilePattern>(text),
        Folder::FORMAT => check::<Folder>(text),
        Branch::FORMAT => check::<Branch>(text),
        Glob::FORMAT => check::<Glob>(text),
        Operator::FORMAT => check::<Operator>(text),
        MailAddress::FORMAT => check::<MailAddress>(text),
        AbsoluteFile::FORMAT => check::<AbsoluteFile>(text),
        _ => Ok(()),
    }
}

/// Whether `text`, of the type whose schema has `format`, is an address with a user in it.
pub(super) fn holds_credentials(format: &str, text: &str) -> bool {
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    [WebUrl::FORMAT, RepoUrl::FORMAT].contains(&format) && authority.contains('@')
}
