//! Publishing what was built, app by app.
//!
//! ```text
//! taken/STEM ──Set::read──▶ Set ──judge──▶ view/unsigned ──fdroid publish──▶ view/repo
//!     │                      │ no                              │ no            │ rename
//!     │ there already        ▼                                 ▼               ▼
//!     └──▶ dropped       refused/STEM, `reason` ◀──────────────┘         ready/STEM ──▶ repo/
//! ```
//!
//! A set is taken out of `built`, and stays in `taken` until its end is sure: a process that is killed leaves nothing that the
//! next one does not find. What is in `ready` is published, whatever happens then.

mod apk;
mod axml;
mod difference;
mod elsewhere;
mod index;
mod parcel;
mod place;
mod set;
mod signature;
mod signing;
mod view;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub use apk::{Identity, ask, confine, read, read_content, read_file};
pub use difference::{Changed, Difference, differ, read_difference};
pub use parcel::sum;
pub use place::{Places, PublishError};
pub use set::{Set, Version};
use signature::Keys;
use view::View;

use crate::fdroid::Build;
use crate::parse;
use crate::process;

/// How long fdroidserver may take for one app, if nothing else is said: it compares and signs.
pub const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// The command that compares and signs.
const PUBLISH: [&str; 2] = ["publish", "--error-on-failed"];

/// How an app ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the repository.
    Published,
    /// It is in `outbox`, to be signed elsewhere.
    Sent,
    /// The index is signed, for the other machine.
    Signed,
    /// It was there already.
    Dropped(&'static str),
    /// It is in `refused`, for this reason.
    Refused(String),
}

/// Publishes sets of one repository.
pub struct Publisher<'a> {
    /// Its folders.
    pub places: &'a Places,
    /// The command `fdroid`.
    pub fdroid: &'a Path,
    /// This program, which reads APKs.
    pub reader: &'a Path,
    /// How long fdroidserver may take for one app.
    pub patience: Duration,
    /// Called once for each set with its name, the outcome, and the output of fdroidserver.
    pub tell: &'a mut dyn FnMut(&str, &Outcome, &str),
}

/// A failure that is not a set's.
type Failed = PublishError;

impl Publisher<'_> {
    /// Publishes all sets that are there, in the order of their names.
    ///
    /// # Errors
    /// When the repository or its keys cannot be used, whatever the set.
    pub fn run(&mut self) -> Result<(), Failed> {
        let places = self.places;
        let _lock = places.lock()?;
        View::sweep(&places.work).map_err(|e| places.failed(&places.work, e))?;
        for name in places.list(&places.ready)? {
            self.finish(&name)?;
        }
        places.put_back()?;
        let sets = places.list(&places.built)?;
        if sets.is_empty() {
            return Ok(());
        }
        let there = places.published()?;
        let view = View::new(&places.repository, &places.work)
            .map_err(|e| places.failed(&places.work, e))?;
        // What is wrong for all of them is told before one is looked at, and blamed on none.
        if let Err((_, said)) = self.fdroid(&view, &PUBLISH)? {
            return Err(PublishError::Fdroidserver(said));
        }
        for name in sets {
            self.one(&view, &name, &there)?;
        }
        Ok(())
    }

    fn one(&mut self, view: &View, name: &OsStr, there: &BTreeSet<String>) -> Result<(), Failed> {
        let places = self.places;
        if name.to_str().is_some_and(|name| there.contains(name)) {
            places.remove(&places.built.join(name))?;
            self.tell(name, &Outcome::Dropped("the repository or its archive has it"), "");
            return Ok(());
        }
        let checked = match Set::read(&places.take(name)?) {
            Ok(set) => self.judge(&set)?.map(|()| set),
            Err(why) => Err(why),
        };
        let (reason, said) = match checked {
            Err(reason) => (reason, String::new()),
            Ok(set) => match self.sign_here(view, &set)? {
                Ok(said) => {
                    let stem = set.version.stem();
                    let ready = places.ready.join(&stem);
                    places.rename(&view.path("repo"), &ready)?;
                    places.finish(&stem)?;
                    self.tell(name, &Outcome::Published, &said);
                    return Ok(());
                }
                Err((reason, said)) => (reason, said),
            },
        };
        places.refuse(&places.taken, name, &format!("{reason}\n{said}"))?;
        self.tell(name, &Outcome::Refused(reason), &said);
        Ok(())
    }

    /// What a run that was killed had signed.
    fn finish(&mut self, name: &OsStr) -> Result<(), Failed> {
        // Its name was made from a version.
        self.places.finish(&name.to_string_lossy())?;
        self.tell(name, &Outcome::Published, "");
        Ok(())
    }

    fn tell(&mut self, name: &OsStr, outcome: &Outcome, said: &str) {
        (self.tell)(&name.to_string_lossy(), outcome, said);
    }

    /// Whether it is what it is called, and the metadata wants it.
    fn judge(&self, set: &Set) -> Result<Result<(), String>, Failed> {
        let Version { app, code } = &set.version;
        match self.build(set)? {
            None => return Ok(Err(format!("the metadata of `{app}` has no version {code}"))),
            Some(build) if build.disable.as_deref().is_some_and(|why| !why.is_empty()) => {
                return Ok(Err("the metadata disables this version".to_owned()));
            }
            Some(_) => {}
        }
        if set.ending != "apk" {
            return Ok(Ok(()));
        }
        for file in [Some(&set.output), set.binary.as_ref()].into_iter().flatten() {
            let found = ask(self.reader, file).map_err(|e| self.places.failed(file, e))?;
            let shown = file.file_name().unwrap_or_default().to_string_lossy();
            match found {
                Err(why) => return Ok(Err(format!("{shown}: {why}"))),
                Ok(found) if found.version_code_major != 0 => {
                    // fdroidserver would take it for a smaller version than Android does.
                    return Ok(Err(format!("{shown} has a versionCodeMajor")));
                }
                Ok(Identity { package, version_code, .. })
                    if package != app.as_str() || version_code != *code =>
                {
                    let package = crate::text::shown(&package);
                    return Ok(Err(format!("{shown} says it is `{package}` {version_code}")));
                }
                Ok(_) => {}
            }
        }
        Ok(Ok(()))
    }

    /// What the metadata says of the version.
    fn build(&self, set: &Set) -> Result<Option<Build>, Failed> {
        let Version { app, code } = &set.version;
        let file = self.places.repository.join("metadata").join(format!("{app}.yml"));
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| self.places.failed(&file, e))?,
        };
        let parsed = parse::app(app.clone(), &file.to_string_lossy(), &bytes);
        let builds = parsed.app.map(|app| app.builds).unwrap_or_default();
        Ok(builds.into_iter().find(|build| build.version_code == i128::from(*code)))
    }

    /// Has fdroidserver compare and sign it. The signed files are in the view's `repo` then, as
    /// they will be in the repository's; or why not, and what fdroidserver said.
    fn sign_here(
        &self,
        view: &View,
        set: &Set,
    ) -> Result<Result<String, (String, String)>, Failed> {
        let places = self.places;
        let at = |error| places.failed(&view.path(""), error);
        let (stem, app) = (set.version.stem(), set.version.app.as_str());
        view.clean().map_err(at)?;
        let copies = [
            (Some(&set.output), format!("unsigned/{stem}.{}", set.ending)),
            (set.source.as_ref(), format!("unsigned/{stem}_src.tar.gz")),
            (set.binary.as_ref(), format!("unsigned/binaries/{stem}.binary.{}", set.ending)),
        ];
        for (from, to) in &copies {
            if let Some(from) = from {
                // A copy: what is signed is changed by nobody else, and the set stays as it is.
                fs::copy(from, view.path(to)).map_err(|e| places.failed(from, e))?;
            }
        }
        let which = format!("{app}:{}", set.version.code);
        let publish = [PUBLISH.as_slice(), &[which.as_str()]].concat();
        let ran = view.with(app, || self.fdroid(view, &publish)).map_err(at)?;
        let said = match ran? {
            Ok(said) => said,
            failed => return Ok(failed),
        };
        // It says well of what it did not even look at.
        let mut wanted = vec![format!("{stem}.{}", set.ending)];
        wanted.extend(set.source.is_some().then(|| format!("{stem}_src.tar.gz")));
        for name in &wanted {
            if !view.path("repo").join(name).is_file() {
                return Ok(Err((format!("`fdroid publish` made no {name}"), said)));
            }
        }
        if let Some(log) = &set.log {
            let to = view.path("repo").join(format!("{stem}.log.gz"));
            fs::copy(log, to).map_err(|e| places.failed(log, e))?;
        }
        Ok(Ok(said))
    }

    /// Runs a command of `fdroid` there, and then `gpgsign` where files are signed with GPG too: what
    /// they said. Within: how it failed, and what was said.
    fn fdroid(
        &self,
        view: &View,
        command: &[&str],
    ) -> Result<Result<String, (String, String)>, Failed> {
        let gpg = Keys::read(&self.places.repository)?.gpg.then_some(["gpgsign"].as_slice());
        let mut all = String::new();
        for arguments in [command].into_iter().chain(gpg) {
            let name = format!("`fdroid {}`", arguments.first().unwrap_or(&""));
            let mut command = Command::new(self.fdroid);
            command.args(arguments).current_dir(view.path(""));
            let (is_good, said) = match process::run(&mut command, self.patience) {
                Ok(ended) => ended,
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Ok(Err((format!("{name} did not end in time"), error.to_string())));
                }
                Err(error) => return Err(PublishError::NoFdroid(error)),
            };
            all.push_str(&said);
            if !is_good {
                return Ok(Err((format!("{name} failed"), all)));
            }
        }
        Ok(Ok(all))
    }
}

/// The names that are in a folder, in order.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
