//! A patch that was judged, as a commit in fdroiddata or in a fork, with a merge request.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use git2::build::TreeUpdateBuilder;
use git2::{Commit, FileMode, ObjectType, Oid, Repository, Signature};
use url::Url;

use super::{BadPatch, apply, check};
use crate::fdroid::AppId;
use crate::load::git;
use crate::parse;
use crate::process;
use crate::text::visible;

/// How long git may talk to a server.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where the newest commit of fdroiddata and the last one of the app's branch are kept. They are no
/// branches, so nobody who follows branches sees them.
const UPSTREAM: &str = "refs/fdroid-bb/upstream";
const PENDING: &str = "refs/fdroid-bb/pending";

/// Whose commits they are.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// The address, by which the bot's own commits are known.
    pub email: String,
}

/// What to deliver, and where.
pub struct Delivery<'a> {
    /// The app.
    pub app: &'a AppId,
    /// A bare clone of fdroiddata, whose `origin` it is.
    pub repository: &'a Path,
    /// The branch of fdroiddata.
    pub branch: &'a str,
    /// The fork from which a merge is asked for; without one, fdroiddata itself gets the commit.
    pub fork: Option<&'a str>,
    /// The page that says where it comes from.
    pub page: Option<&'a Url>,
    /// Whose commit it is.
    pub identity: &'a Identity,
    /// Only judge the patch.
    pub dry_run: bool,
}

/// What was done. Titles are harmless text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The patch changes nothing.
    Nothing,
    /// The branch of the app has just this already.
    Waiting,
    /// The last commit on the branch of the app is somebody else's.
    Edited,
    /// A commit of this title was pushed; what the server said.
    Pushed(String, String),
    /// The commit would have this title.
    Judged(String),
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The patch is not one of checkupdates.
    #[error(transparent)]
    Refused(#[from] BadPatch),
    /// git, or a server.
    #[error("{0}")]
    Git(String),
}

impl From<git2::Error> for Failed {
    fn from(error: git2::Error) -> Self {
        Self::Git(error.message().to_owned())
    }
}

impl Delivery<'_> {
    /// Judges the patch against the newest fdroiddata, and pushes what it comes to.
    ///
    /// # Errors
    /// A patch that is refused, and what git says.
    pub fn deliver(&self, patch: &[u8]) -> Result<Done, Failed> {
        if patch.is_empty() {
            return Ok(Done::Nothing);
        }
        self.fetch("origin", self.branch, UPSTREAM)?;
        let repository = Repository::open_bare(self.repository)?;
        let upstream = repository.find_reference(UPSTREAM)?.peel_to_commit()?;
        let name = self.branch_of_app();
        let pending = if self.dry_run { None } else { self.pending(&repository)? };
        let is_bots = |commit: &Commit<'_>| {
            let email = self.identity.email.as_str();
            commit.author().email() == Ok(email) && commit.committer().email() == Ok(email)
        };
        if pending.as_ref().is_some_and(|commit| !is_bots(commit)) {
            return Ok(Done::Edited);
        }
        let path = format!("metadata/{}.yml", self.app);
        let old = content(&repository, &upstream, &path)?;
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map(str::to_owned);
            text.map_err(|_| BadPatch("the patch is no text".to_owned()))
        };
        let new = apply(&text(patch)?, &path, &text(&old)?)?;
        let Some(update) = check(self.app, &text(&old)?, &new)? else { return Ok(Done::Nothing) };
        if self.dry_run {
            return Ok(Done::Judged(update.title));
        }
        if let Some(commit) = &pending
            && content(&repository, commit, &path).is_ok_and(|waiting| waiting == new.as_bytes())
        {
            return Ok(Done::Waiting);
        }
        let commit = self.commit(&repository, &upstream, &path, &new, &update.title)?;
        let mut push = git::command(self.repository);
        push.args(["push", "--quiet"]);
        let Some(fork) = self.fork else {
            push.args(["origin", &format!("{commit}:refs/heads/{}", self.branch)]);
            let said = run(&mut push)?;
            return Ok(Done::Pushed(update.title, visible_lines(&said)));
        };
        let before = pending.map(|commit| commit.id().to_string()).unwrap_or_default();
        push.arg(format!("--force-with-lease=refs/heads/{name}:{before}"));
        let page = self.page.map(Url::as_str).unwrap_or_default();
        for option in [
            "create".to_owned(),
            "remove_source_branch".to_owned(),
            format!("title=bot: {}", update.title),
            format!("description=~{name} checkupdates-bot run {page}"),
        ] {
            push.arg(format!("--push-option=merge_request.{option}"));
        }
        if update.needs_build {
            push.arg("--push-option=merge_request.draft");
        }
        push.arg("--").arg(fork).arg(format!("{commit}:refs/heads/{name}"));
        let said = run(&mut push)?;
        Ok(Done::Pushed(update.title, visible_lines(&said)))
    }

    /// As fdroidserver's `push_commits` names it: no branch can end in `.lock`.
    fn branch_of_app(&self) -> String {
        let name = self.app.as_str();
        name.strip_suffix(".lock").map_or_else(|| name.to_owned(), |_| format!("{name}_"))
    }

    fn fetch(&self, from: &str, branch: &str, to: &str) -> Result<(), Failed> {
        let mut fetch = git::command(self.repository);
        fetch.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", from]);
        run(fetch.arg(format!("+refs/heads/{branch}:{to}"))).map(|_| ())
    }

    /// The last commit of the app's branch in the fork, if there is one.
    fn pending<'r>(&self, repository: &'r Repository) -> Result<Option<Commit<'r>>, Failed> {
        let Some(fork) = self.fork else { return Ok(None) };
        let name = self.branch_of_app();
        let reference = format!("refs/heads/{name}");
        let mut ask = git::command(self.repository);
        let listed = run(ask.args(["ls-remote", "--quiet", "--", fork, &reference]))?;
        if !listed.lines().any(|line| line.ends_with(&format!("\t{reference}"))) {
            return Ok(None);
        }
        self.fetch(fork, &name, PENDING)?;
        Ok(Some(repository.find_reference(PENDING)?.peel_to_commit()?))
    }

    /// A commit on top of `parent` that changes this one file.
    fn commit(
        &self,
        repository: &Repository,
        parent: &Commit<'_>,
        path: &str,
        content: &str,
        title: &str,
    ) -> Result<Oid, Failed> {
        let blob = repository.blob(content.as_bytes())?;
        let mut update = TreeUpdateBuilder::new();
        update.upsert(path, blob, FileMode::Blob);
        let tree = update.create_updated(repository, &parent.tree()?)?;
        let tree = repository.find_tree(tree)?;
        let who = Signature::now(&self.identity.name, &self.identity.email)?;
        Ok(repository.commit(None, &who, &who, &format!("{title}\n"), &tree, &[parent])?)
    }
}

/// A file of a commit.
fn content(repository: &Repository, commit: &Commit<'_>, path: &str) -> Result<Vec<u8>, Failed> {
    let none = || BadPatch(format!("fdroiddata has no file `{path}`"));
    let tree = commit.tree()?;
    let entry = tree.get_path(Path::new(path)).map_err(|_| none())?;
    let is_file = entry.kind() == Some(ObjectType::Blob) && entry.filemode() == 0o100_644;
    let blob = repository.find_blob(entry.id())?;
    if !is_file || blob.size() > parse::MAX_BYTES {
        return Err(none().into());
    }
    Ok(blob.content().to_vec())
}

/// Runs git; what it prints.
fn run(command: &mut Command) -> Result<String, Failed> {
    match process::run(command, PATIENCE) {
        Ok((true, said)) => Ok(said),
        Ok((false, said)) => Err(Failed::Git(visible_lines(&said))),
        Err(error) => Err(Failed::Git(format!("git cannot be run: {error}"))),
    }
}

fn visible_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(visible).collect();
    lines.join("\n")
}
