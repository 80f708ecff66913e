//! From an app to what watches its source: whether it is active, what it is cloned from, and what
//! news of it are. The rules are those by which `fdroid checkupdates` looks for versions
//! (fdroidserver's `checkupdates.py`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::{Apps, Duration, PolledMode};
use crate::fdroid::AppId;
use crate::fdroid::outline::Outline;
use crate::fdroid::srclib::Srclib;
use crate::fdroid::update_check::UpdateCheckMode;
use crate::finding::{Code, Finding, Place, Span};
use crate::pattern;
use crate::pipeline::Pipeline;
use crate::remote::RemoteUrl;
use crate::text::shown;

/// The srclibs by name; a broken one is what was found wrong with it.
pub type Srclibs = BTreeMap<String, Result<Srclib, Finding>>;

/// Why an app has no poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It has `Disabled`.
    Disabled,
    /// Its `ArchivePolicy` is 0.
    Archived,
    /// Its `UpdateCheckMode` is none of those that are polled.
    NoUpdateCheck,
    /// An override says so.
    NotPolled,
    /// It names no repository.
    NoRepo,
    /// Its srclib is missing or broken.
    SrclibMissing,
    /// Its URL is refused.
    RepoRefused,
    /// No poller can watch it.
    RepoUnpollable,
    /// Its branch cannot be one.
    BranchInvalid,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "disabled",
            Self::Archived => "archived",
            Self::NoUpdateCheck => "no update check",
            Self::NotPolled => "not polled by an override",
            Self::NoRepo => "no repository",
            Self::SrclibMissing => "srclib missing",
            Self::RepoRefused => "repository refused",
            Self::RepoUnpollable => "cannot be polled",
            Self::BranchInvalid => "branch invalid",
        })
    }
}

/// What watches an app's source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Poller {
    /// Where the source is.
    pub url: RemoteUrl,
    /// The srclib that says so, if it is not the app itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srclib: Option<String>,
    /// What is news.
    #[serde(flatten)]
    pub watch: Watch,
    /// How often it is asked, in seconds.
    pub interval: i64,
    /// How often the app is checked whatever the answer is, in seconds.
    pub check_interval: i64,
}

/// What is news in a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "watch", rename_all = "kebab-case")]
pub enum Watch {
    /// A new or moved tag that matches a pattern of RE2; all of them if it is empty.
    GitTags {
        /// The pattern, anchored at the start only.
        tags: String,
    },
    /// A new or moved tag, or a new commit on the default branch.
    GitTagsAndHead,
    /// A new commit on a branch; on the default branch if none is named.
    GitBranch {
        /// The branch.
        branch: Option<String>,
    },
    /// A new commit in Mercurial, on a branch; on `default` if none is named.
    Hg {
        /// The branch.
        branch: Option<String>,
    },
    /// A new revision below the URL in Subversion.
    Svn,
}

/// Decides on apps by one pipeline description.
pub struct Resolver<'a> {
    pipeline: &'a Pipeline,
    srclibs: &'a Srclibs,
    /// What became of the tag patterns so far, which many apps share: to compile one takes long.
    patterns: Mutex<BTreeMap<String, Result<String, String>>>,
}

/// What is known of one app once its source is resolved.
type Outcome<T> = Result<T, (Reason, Option<Finding>)>;

impl<'a> Resolver<'a> {
    /// A resolver for apps that may name `srclibs`.
    #[must_use]
    pub fn new(pipeline: &'a Pipeline, srclibs: &'a Srclibs) -> Self {
        Self { pipeline, srclibs, patterns: Mutex::default() }
    }

    /// The poller of an app, or why it has none, and what was found on the way.
    pub fn resolve(
        &self,
        id: &AppId,
        app: &Outline<'_>,
        file: &str,
    ) -> (Result<Poller, Reason>, Vec<Finding>) {
        let mut findings = Vec::new();
        let outcome = self.poller(id, app, file, &mut findings);
        let outcome = outcome.map_err(|(reason, finding)| {
            findings.extend(finding);
            reason
        });
        (outcome, findings)
    }

    fn poller(
        &self,
        id: &AppId,
        app: &Outline<'_>,
        file: &str,
        findings: &mut Vec<Finding>,
    ) -> Outcome<Poller> {
        let rule = &self.pipeline.apps;
        if app.disabled.is_some_and(|why| !why.is_empty()) && !rule.disabled {
            return Err((Reason::Disabled, None));
        }
        if app.archive_policy == Some(0) && !rule.archived {
            return Err((Reason::Archived, None));
        }
        let mode = app.update_check_mode.and_then(UpdateCheckMode::parse);
        let mode = mode.unwrap_or(UpdateCheckMode::None);
        let polled = match mode {
            UpdateCheckMode::None | UpdateCheckMode::Static => None,
            UpdateCheckMode::Tags(_) => Some(PolledMode::Tags),
            UpdateCheckMode::RepoManifest(_) => Some(PolledMode::RepoManifest),
            UpdateCheckMode::Http => Some(PolledMode::Http),
        };
        if !polled.is_some_and(|mode| rule.update_check_modes.contains(&mode)) {
            return Err((Reason::NoUpdateCheck, None));
        }
        let check_interval = match mode {
            UpdateCheckMode::Http => &rule.http_check_interval,
            _ => &rule.check_interval,
        };
        let source = self.source(app, file)?;
        let place = |span: Option<Span>| Place { file: file.to_owned(), span };
        let (text, watch) = match source.kind {
            "git" => (source.repo.to_owned(), self.git_watch(app, &mode, file, findings)?),
            "hg" => {
                let branch = match mode {
                    UpdateCheckMode::RepoManifest(branch) => branch,
                    _ => None,
                };
                let branch = branch.map(|name| checked_branch(app, file, name)).transpose()?;
                (source.repo.to_owned(), Watch::Hg { branch })
            }
            "git-svn" => {
                let url = svn_url(source.repo, &mode).map_err(|(message, help)| {
                    let place = place(app.marks.repo);
                    let finding = Finding::new(Code::RepoUnpollable, place, message, help);
                    (Reason::RepoUnpollable, Some(finding))
                })?;
                (url, Watch::Svn)
            }
            other => {
                let finding = Finding::new(
                    Code::RepoUnpollable,
                    place(app.marks.repo_type),
                    format!("no poller can watch a repository of type `{}`", shown(other)),
                    "set `UpdateCheckMode: None`, or move to a git repository",
                );
                return Err((Reason::RepoUnpollable, Some(finding)));
            }
        };
        let url = self.pipeline.remotes.check(&text).map_err(|refusal| {
            let place = place(app.marks.repo);
            let finding =
                Finding::new(Code::RepoRefused, place, refusal.to_string(), refusal.help());
            (Reason::RepoRefused, Some(finding))
        })?;
        let interval = interval(rule, id, url.host()).ok_or((Reason::NotPolled, None))?;
        let srclib = (app.repo_type == Some("srclib")).then(|| app.repo.map(ToOwned::to_owned));
        let (srclib, check_interval) = (srclib.flatten(), check_interval.as_secs());
        Ok(Poller { url, srclib, watch, interval, check_interval })
    }

    /// The repository of an app, its own or its srclib's.
    fn source<'s>(&'s self, app: &Outline<'s>, file: &str) -> Outcome<SourceRepo<'s>> {
        let repo = app.repo.unwrap_or_default();
        let kind = app.repo_type.unwrap_or_default();
        if repo.is_empty() || kind.is_empty() {
            let finding = Finding::new(
                Code::RepoUnpollable,
                Place { file: file.to_owned(), span: app.marks.update_check_mode },
                "there is an update check, but no repository to check",
                "give `RepoType` and `Repo`, or set `UpdateCheckMode: None`",
            );
            return Err((Reason::NoRepo, Some(finding)));
        }
        if kind != "srclib" {
            return Ok(SourceRepo { repo, kind });
        }
        let missing = |message: String, help: &str| {
            let place = Place { file: file.to_owned(), span: app.marks.repo };
            let finding = Finding::new(Code::SrclibMissing, place, message, help);
            (Reason::SrclibMissing, Some(finding))
        };
        let name = shown(repo);
        match self.srclibs.get(repo) {
            Some(Ok(srclib)) if !srclib.repo.is_empty() && srclib.repo_type != "srclib" => {
                Ok(SourceRepo { repo: &srclib.repo, kind: &srclib.repo_type })
            }
            Some(Ok(_)) => Err(missing(
                format!("the srclib `{name}` names no repository"),
                "give `RepoType` and `Repo` in its file",
            )),
            Some(Err(finding)) => Err(missing(
                format!("the srclib `{name}` is broken: {}", finding.message),
                "fix its file",
            )),
            None => Err(missing(
                format!("there is no srclib `{name}`"),
                "add its file to `srclibs`, or give another name",
            )),
        }
    }

    fn git_watch(
        &self,
        app: &Outline<'_>,
        mode: &UpdateCheckMode,
        file: &str,
        findings: &mut Vec<Finding>,
    ) -> Outcome<Watch> {
        match mode {
            UpdateCheckMode::Tags(None) => Ok(Watch::GitTags { tags: String::new() }),
            UpdateCheckMode::Tags(Some(python)) => {
                let tags = self.pattern(python).unwrap_or_else(|what| {
                    findings.push(Finding::new(
                        Code::TagPatternNotLinear,
                        Place { file: file.to_owned(), span: app.marks.update_check_mode },
                        format!("the pattern `{}` {what}, so every tag counts", shown(python)),
                        "write it without, or leave it: `fdroid checkupdates` still applies it",
                    ));
                    String::new()
                });
                Ok(Watch::GitTags { tags })
            }
            UpdateCheckMode::RepoManifest(branch) => {
                let branch =
                    branch.clone().map(|name| checked_branch(app, file, name)).transpose()?;
                Ok(Watch::GitBranch { branch })
            }
            UpdateCheckMode::Http | UpdateCheckMode::None | UpdateCheckMode::Static => {
                Ok(Watch::GitTagsAndHead)
            }
        }
    }

    /// A tag pattern for RE2, or what it has that RE2 has not.
    fn pattern(&self, python: &str) -> Result<String, String> {
        let patterns = || self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = patterns().get(python) {
            return known.clone();
        }
        // Not under the lock, for that would make the other threads wait.
        let new = pattern::to_re2(python);
        patterns().insert(python.to_owned(), new.clone());
        new
    }
}

/// Where a source is, and what it is managed with.
struct SourceRepo<'a> {
    repo: &'a str,
    kind: &'a str,
}

/// A branch by the rules of `git check-ref-format --branch`.
fn checked_branch(app: &Outline<'_>, file: &str, name: String) -> Outcome<String> {
    let plain = name.chars().all(|c| c.is_ascii_graphic() || c.is_alphanumeric());
    if plain
        && !name.starts_with('-')
        && git2::Reference::is_valid_name(&format!("refs/heads/{name}"))
    {
        return Ok(name);
    }
    let finding = Finding::new(
        Code::BranchInvalid,
        Place { file: file.to_owned(), span: app.marks.update_check_mode },
        format!("`{}` cannot be the name of a branch", shown(&name)),
        "write `RepoManifest/BRANCH` with a branch of the repository",
    );
    Err((Reason::BranchInvalid, Some(finding)))
}

/// The folder in Subversion that a `Repo` like `https://…;trunk=trunk;tags=tags` asks to watch
/// (fdroidserver's `vcs_gitsvn`).
fn svn_url(repo: &str, mode: &UpdateCheckMode) -> Result<String, (String, &'static str)> {
    let mut parts = repo.split(';');
    let base = parts.next().unwrap_or_default();
    let (mut trunk, mut tags) = (None, None);
    for part in parts {
        match part.split_once('=') {
            Some(("trunk", path)) => trunk = Some(path),
            Some(("tags", path)) => tags = Some(path),
            Some(("branches", _)) => {}
            _ => {
                let message = format!("`{}` means nothing in a Subversion `Repo`", shown(part));
                return Err((message, "write `;trunk=PATH`, `;tags=PATH` or `;branches=PATH`"));
            }
        }
    }
    let folder = match mode {
        UpdateCheckMode::Tags(_) => tags.ok_or_else(|| {
            let message = "tags are checked, but the `Repo` does not say where they are".to_owned();
            (message, "add `;tags=PATH` to `Repo`, or set `UpdateCheckMode: RepoManifest`")
        })?,
        _ => trunk.unwrap_or_default(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if !folder.chars().all(plain) || folder.split('/').any(|part| part == "..") {
        let message = format!("`{}` is no plain folder", shown(folder));
        return Err((message, "write it relative to the repository"));
    }
    match folder.trim_matches('/') {
        "" => Ok(base.to_owned()),
        folder => Ok(format!("{}/{folder}", base.trim_end_matches('/'))),
    }
}

/// How often an app is polled, or `None` if it is not.
fn interval(rule: &Apps, id: &AppId, host: &str) -> Option<i64> {
    let mut poll = true;
    let mut interval = rule.poll_interval.as_secs();
    for rule in rule.overrides.iter().filter(|rule| {
        (rule.apps.is_empty() || rule.apps.iter().any(|glob| glob.matches(id.as_str())))
            && (rule.hosts.is_empty() || rule.hosts.iter().any(|glob| glob.matches(host)))
    }) {
        poll = rule.poll.unwrap_or(poll);
        interval = rule.poll_interval.as_ref().map_or(interval, Duration::as_secs);
    }
    poll.then_some(interval)
}
