//! The one policy for the URLs of source repositories, which strangers write into fdroiddata.
//!
//! A URL that passes is a plain remote on the public internet, and every reader of it agrees on
//! that: the parser of git, of hg, of svn, of curl and of browsers. Whatever any of them could
//! read otherwise is refused instead of being interpreted. The policy judges text and looks up
//! nothing: a public name whose owner lets it resolve to a private address passes, so a master
//! belongs in a network that does not route pollers to its own services.

mod address;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use address::special;

/// The length of the longest URL that is accepted, in bytes. The corpus's longest has 79.
pub const MAX_LENGTH: usize = 1024;

/// How much of a hostile text a message repeats, in characters.
const MAX_SHOWN: usize = 80;

/// The last labels of names that the public DNS does not answer for, but that a resolver, a hosts
/// file or a search domain may: RFC 6761, 6762, 8375, 9476, ICANN's list of collisions, and the
/// habits of routers.
const LOCAL_NAMES: &[&str] = &[
    "alt",
    "arpa",
    "corp",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "test",
];

/// A scheme by which a source may be fetched.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// HTTP with TLS, the only one unless the policy is widened.
    Https,
    /// HTTP without TLS, which anyone on the way can change.
    Http,
    /// git's own protocol, which anyone on the way can change.
    Git,
}

impl Scheme {
    /// Every scheme that a policy can name.
    pub const ALL: &[Self] = &[Self::Https, Self::Http, Self::Git];

    /// The scheme as it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Git => "git",
        }
    }
}

impl FromStr for Scheme {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let found = Self::ALL.iter().find(|scheme| scheme.as_str() == text);
        found.copied().ok_or_else(|| RuleError::Scheme(text.to_owned()))
    }
}

/// Hosts that a policy lets pass although they are not public.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostRule {
    /// Exactly this name, in lower case: `git.internal`.
    Name(String),
    /// The addresses of this network: `127.0.0.0/8`, `::1/128`.
    Net(IpNet),
}

impl FromStr for HostRule {
    type Err = RuleError;

    /// Reads the exact name of a host, an address, or a network in CIDR notation.
    fn from_str(text: &str) -> Result<Self, RuleError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address.into()));
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::Net(net.trunc()));
        }
        let name = text.to_ascii_lowercase();
        if is_host_name(&name) {
            return Ok(Self::Name(name));
        }
        Err(RuleError::Host(text.to_owned()))
    }
}

/// Why a text is no part of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No scheme that a policy can name.
    #[error("`{}` is no scheme that can be allowed; these are: `https`, `http`, `git`", shown(.0))]
    Scheme(String),
    /// Neither a name nor an address nor a network.
    #[error("`{}` is neither the name of a host nor an address nor a network", shown(.0))]
    Host(String),
}

/// A URL that the policy has found to be a plain remote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct RemoteUrl {
    text: String,
    /// The host in lower case, where that is not how it was written.
    lower: Option<String>,
}

impl RemoteUrl {
    /// A URL that a policy has found to be one, now or before.
    pub(crate) fn known(text: String) -> Self {
        let host = written_host(&text);
        let lower = host.bytes().any(|b| b.is_ascii_uppercase()).then(|| host.to_ascii_lowercase());
        Self { text, lower }
    }

    /// The URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host in lower case, without the port; an IPv6 address in its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.lower.as_deref().unwrap_or_else(|| written_host(&self.text))
    }
}

/// The host of a URL that has passed, as it was written.
fn written_host(text: &str) -> &str {
    let after_scheme = text.find(':').and_then(|colon| text.get(colon + "://".len()..));
    let authority = after_scheme.unwrap_or_default().split('/').next().unwrap_or_default();
    // The colons of an IPv6 address are in its brackets.
    let end = authority.find(']').map_or_else(|| authority.find(':'), |at| Some(at + 1));
    authority.get(..end.unwrap_or(authority.len())).unwrap_or(authority)
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<RemoteUrl> for String {
    fn from(url: RemoteUrl) -> Self {
        url.text
    }
}

/// Why a text is refused as a URL of a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRemote {
    /// There is no text.
    #[error("the URL is empty")]
    Empty,
    /// More than [`MAX_LENGTH`] bytes.
    #[error("the URL has {0} bytes, more than {MAX_LENGTH}")]
    TooLong(usize),
    /// A leading dash: git, hg and svn would read an option.
    #[error("`{}` starts with a dash and would be read as an option", shown(.0))]
    Option(String),
    /// `ext::` and its like: git would start a program.
    #[error("`{}` names a transport of git's", shown(.0))]
    Transport(String),
    /// A character that a plain URL does not hold.
    #[error("the URL holds {}", described(*.0))]
    Character(char),
    /// A path on the machine that reads it.
    #[error("`{}` is a local path", shown(.0))]
    LocalPath(String),
    /// `user@host:path`, which git reads as ssh.
    #[error("`{}` is an address for ssh", shown(.0))]
    ScpLike(String),
    /// A scheme that the policy does not allow.
    #[error("the scheme `{}` is not allowed", shown(.0))]
    Scheme(String),
    /// A user name or a password, which the message does not repeat.
    #[error("the URL carries credentials")]
    Credentials,
    /// No host.
    #[error("the URL has no host")]
    NoHost,
    /// A host that is neither a full name nor an address.
    #[error("`{}` is no valid name of a host", shown(.0))]
    Host(String),
    /// A name of a local network.
    #[error("`{}` is a name of a local network", shown(.0))]
    LocalName(String),
    /// An address that is not public.
    #[error("`{}` is {what}", shown(.host))]
    Address {
        /// The address as it was written.
        host: String,
        /// What it is instead of a public one.
        what: &'static str,
    },
    /// A port that is no plain number from 1 to 65535.
    #[error("`{}` is no port", shown(.0))]
    Port(String),
    /// Text that its readers do not agree on.
    #[error("`{}` can be read in more than one way", shown(.0))]
    Ambiguous(String),
}

impl BadRemote {
    /// What the author of the metadata, or whoever runs the master, can do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Empty
            | Self::TooLong(_)
            | Self::Option(_)
            | Self::Transport(_)
            | Self::LocalPath(_)
            | Self::ScpLike(_)
            | Self::NoHost => "give the public `https://` URL of the repository",
            Self::Character(_) => {
                "write the URL in letters, digits and `-._~/+` alone; a `?`, `#` or `%` part is not allowed"
            }
            Self::Scheme(_) => {
                "use `https`, or allow the scheme in the policy if it is one of `http` and `git`"
            }
            Self::Credentials => "remove them, and change them: metadata is public",
            Self::Host(_) => "give the full public name of the host, without a dot at its end",
            Self::LocalName(_) | Self::Address { .. } => {
                "give a public host, or allow this one in the policy"
            }
            Self::Port(_) => "give a number from 1 to 65535, or leave out the colon and the port",
            Self::Ambiguous(_) => {
                "write addresses in full, without leading zeros, and paths without `.` and `..`"
            }
        }
        .to_owned()
    }
}

/// What source URLs from metadata are held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePolicy {
    /// The schemes that pass.
    pub schemes: BTreeSet<Scheme>,
    /// The hosts that pass although they are not public. They widen that one check; how a host
    /// may be written stays the same.
    pub allow_hosts: Vec<HostRule>,
}

impl Default for RemotePolicy {
    /// `https` to public hosts.
    fn default() -> Self {
        Self { schemes: BTreeSet::from([Scheme::Https]), allow_hosts: Vec::new() }
    }
}

impl RemotePolicy {
    /// `text` as a URL that git, hg and svn read as one and the same plain remote:
    /// `scheme://host[:port][/path]`.
    ///
    /// # Errors
    ///
    /// The first reason for which it is none, or for which the policy does not allow it.
    pub fn check(&self, text: &str) -> Result<RemoteUrl, BadRemote> {
        let rest = self.after_scheme(text)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(BadRemote::Credentials);
        }
        if let Some(c) = path.chars().find(|c| "@:[]".contains(*c)) {
            return Err(BadRemote::Character(c));
        }
        let (host, port) = split_port(authority)?;
        if host.is_empty() {
            return Err(BadRemote::NoHost);
        }
        if !host.starts_with('[') && !is_host_name(host) && !is_numeric_host(host) {
            return Err(BadRemote::Host(host.to_owned()));
        }
        // All that is left to check is independent of the scheme, and the standard reads numbers
        // as addresses only after one that it knows as special.
        let url =
            Url::parse(&format!("https://{rest}")).map_err(|_| BadRemote::Host(host.to_owned()))?;
        let lower = host.to_ascii_lowercase();
        let same_port = url.port_or_known_default() == Some(port.unwrap_or(443));
        let same_path = url.path() == if path.is_empty() { "/" } else { path };
        if url.host_str() != Some(&lower) || !same_port {
            // Name the address that hides in the text, if there is one: that is worse.
            return Err(self
                .refused_address(&url, host)
                .unwrap_or_else(|| BadRemote::Ambiguous(authority.to_owned())));
        }
        if !same_path {
            return Err(BadRemote::Ambiguous(path.to_owned()));
        }
        match url.host() {
            Some(Host::Domain(name)) if is_host_name(name) => self.check_name(name)?,
            Some(Host::Domain(_)) | None => return Err(BadRemote::Host(host.to_owned())),
            Some(_) => {
                if let Some(refusal) = self.refused_address(&url, host) {
                    return Err(refusal);
                }
            }
        }
        Ok(RemoteUrl::known(text.to_owned()))
    }

    /// What follows `scheme://`, if all of `text` is made of the characters of a plain URL.
    fn after_scheme<'a>(&self, text: &'a str) -> Result<&'a str, BadRemote> {
        if text.is_empty() {
            return Err(BadRemote::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(BadRemote::TooLong(text.len()));
        }
        if text.starts_with('-') {
            return Err(BadRemote::Option(text.to_owned()));
        }
        let word = text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
        let (scheme, rest) = text.split_at(word.unwrap_or(text.len()));
        if rest.starts_with("::") {
            return Err(BadRemote::Transport(text.to_owned()));
        }
        // A subset of what RFC 3986 allows; `%` is not in it, nor what shells and templates read.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/+:@[]".contains(c);
        if let Some(c) = text.chars().find(|&c| !plain(c)) {
            return Err(BadRemote::Character(c));
        }
        let Some(rest) = rest.strip_prefix("://") else {
            let before_path = text.split('/').next().unwrap_or_default();
            return Err(if before_path.contains(':') {
                BadRemote::ScpLike(text.to_owned())
            } else {
                BadRemote::LocalPath(text.to_owned())
            });
        };
        // Schemes are compared as they stand: `HTTPS://` makes git look for `git-remote-HTTPS`.
        if self.schemes.iter().any(|known| known.as_str() == scheme) {
            Ok(rest)
        } else {
            Err(BadRemote::Scheme(scheme.to_owned()))
        }
    }

    /// Refuses names that only a local resolver answers for.
    fn check_name(&self, name: &str) -> Result<(), BadRemote> {
        let allowed =
            self.allow_hosts.iter().any(|rule| matches!(rule, HostRule::Name(n) if n == name));
        let local = match name.rsplit_once('.') {
            Some((_, last)) => LOCAL_NAMES.contains(&last),
            None => true,
        };
        if local && !allowed { Err(BadRemote::LocalName(name.to_owned())) } else { Ok(()) }
    }

    /// Why the address that `url` names, written as `host`, is refused, if it is.
    fn refused_address(&self, url: &Url, host: &str) -> Option<BadRemote> {
        let address = match url.host()? {
            Host::Domain(_) => return None,
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
        };
        let allowed = self
            .allow_hosts
            .iter()
            .any(|rule| matches!(rule, HostRule::Net(net) if net.contains(&address)));
        let what = if allowed { None } else { special(address) };
        what.map(|what| BadRemote::Address { host: host.to_owned(), what })
    }
}

/// The host and the port of an authority without credentials.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), BadRemote> {
    let after_host = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(after_host);
    if port.is_empty() {
        return Ok((host, None));
    }
    let number = port
        .strip_prefix(':')
        .filter(|port| !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit()));
    match number.and_then(|number| number.parse().ok()) {
        Some(number) => Ok((host, Some(number))),
        None => Err(BadRemote::Port(port.to_owned())),
    }
}

/// Whether `name` is the name of a host by RFC 1123: labels of letters, digits and inner dashes,
/// the last of which starts with a letter, so that no reader takes the name for an address. No dot
/// at the end.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.split('.').all(label)
        && last.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Whether some reader may take `host` for an IPv4 address; what it is, the URL standard decides.
fn is_numeric_host(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    last.starts_with(|c: char| c.is_ascii_digit())
}

/// `text` as it may stand in a message: printable ASCII, cut after [`MAX_SHOWN`] characters.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= MAX_SHOWN {
            out.push_str("...");
            break;
        }
        match c {
            '`' => out.extend(c.escape_unicode()),
            '\'' | '"' => out.push(c),
            _ => out.extend(c.escape_default()),
        }
    }
    out
}

/// What `c` is, in words that a reader can see.
fn described(c: char) -> String {
    let kind = match c {
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "a mark of text direction"
        }
        '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => {
            "an invisible character"
        }
        '\u{85}' | '\u{2028}' | '\u{2029}' => "a line separator",
        _ if c.is_control() => "a control character",
        _ if c.is_whitespace() => "a space",
        '`' => "a backtick",
        '!'..='~' => return format!("the character `{c}`"),
        _ => "a character outside of ASCII",
    };
    format!("{kind}, U+{:04X}", u32::from(c))
}
