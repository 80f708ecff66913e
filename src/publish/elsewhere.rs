//! Signing on another machine: what is signed goes there, and what comes back is checked.
//!
//! ```text
//! here:   built/STEM ──judge──▶ outbox/STEM ╌╌carried╌╌▶ there: fdroid-bb sign
//!         repo/ ◀──ready/STEM◀──same content, same signer── inbox/STEM ◀╌╌carried╌╌┘
//! ```

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::apk::content;
use super::parcel::{MANIFEST, Manifest, sum};
use super::set::{ENDINGS, Set, Version};
use super::{Failed, Outcome, Publisher};
use crate::process;

/// What `fdroid publish` writes for all apps.
const SIGNERS: [&str; 2] = ["signer-index.jar", "signer-index.json"];

impl Publisher<'_> {
    /// Takes what was signed out of `inbox`, and puts what is to be signed into `outbox`.
    ///
    /// # Errors
    /// When the folders cannot be used, whatever the set.
    pub fn run_elsewhere(&mut self) -> Result<(), Failed> {
        let places = self.places;
        let _lock = places.lock()?;
        for name in places.list(&places.ready)? {
            self.finish(&name)?;
        }
        for name in places.list(&places.inbox)? {
            match self.judge_signed(&name)? {
                Ok(stem) => {
                    places.rename(&places.inbox.join(&stem), &places.ready.join(&stem))?;
                    self.finish(&name)?;
                }
                Err(why) => {
                    places.refuse(&places.inbox, &name, &why)?;
                    self.tell(&name, &Outcome::Refused(why), "");
                }
            }
        }
        let there = places.published()?;
        for name in places.list(&places.built)? {
            self.send(&name, &there)?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        name: &OsStr,
        there: &std::collections::BTreeSet<String>,
    ) -> Result<(), Failed> {
        let places = self.places;
        let (from, to) = (places.built.join(name), places.outbox.join(name));
        let known = match name.to_str() {
            Some(name) if there.contains(name) => Some("the repository or its archive has it"),
            _ => to.exists().then_some("it is in the outbox already"),
        };
        if let Some(why) = known {
            places.remove(&from)?;
            self.tell(name, &Outcome::Dropped(why), "");
            return Ok(());
        }
        let checked = match Set::read(&from) {
            Ok(set) => self.judge(&set)?.map(|()| set),
            Err(why) => Err(why),
        };
        let packed = match checked {
            Ok(set) => {
                places.remove(&from.join("reason"))?;
                Manifest::of(&from, &set.version).map_err(|e| places.failed(&from, e))?
            }
            Err(why) => Err(why),
        };
        match packed {
            Ok(manifest) => {
                places.write(&from.join(MANIFEST), &manifest.text())?;
                places.rename(&from, &to)?;
                self.tell(name, &Outcome::Sent, "");
            }
            Err(why) => {
                places.refuse(&places.built, name, &why)?;
                self.tell(name, &Outcome::Refused(why), "");
            }
        }
        Ok(())
    }

    /// Whether what came back is what was sent, signed by whom it was always signed.
    fn judge_signed(&self, name: &OsStr) -> Result<Result<String, String>, Failed> {
        let places = self.places;
        let (back, sent) = (places.inbox.join(name), places.outbox.join(name));
        let at = |e: io::Error| places.failed(&back, e);
        let Some(version) = name.to_str().and_then(Version::of) else {
            return Ok(Err("its name is not APPID_VERSIONCODE".to_owned()));
        };
        if !sent.is_dir() {
            return Ok(Err("nobody asked for it: the outbox has no such folder".to_owned()));
        }
        let stem = version.stem();
        let manifest = match Manifest::check(&back, &version).map_err(at)? {
            Ok(manifest) => manifest,
            Err(why) => return Ok(Err(why)),
        };
        // What was sent may have been changed here since.
        let set = match Manifest::check(&sent, &version).map_err(at)? {
            Ok(_) => Set::read(&sent),
            Err(why) => Err(why),
        };
        let set = match set {
            Ok(set) => set,
            Err(why) => return Ok(Err(format!("what was sent: {why}"))),
        };
        let output = format!("{stem}.{}", set.ending);
        let source = format!("{stem}_src.tar.gz");
        for name in manifest.files.keys() {
            if *name != output && *name != source && !SIGNERS.contains(&name.as_str()) {
                let name = crate::text::shown(name);
                return Ok(Err(format!("it has a file `{name}`, which nobody asked for")));
            }
        }
        let Some(signed) = manifest.files.get(&output) else {
            return Ok(Err(format!("there is no {output}")));
        };
        let same = |name: &str, file: Option<&PathBuf>| -> Result<bool, Failed> {
            let expected = file.map(|file| sum(file)).transpose().map_err(at)?;
            Ok(manifest.files.get(name) == expected.as_ref())
        };
        if !same(&source, set.source.as_ref())? {
            return Ok(Err(format!("{source} is not what was sent")));
        }
        // The developer's, or an archive that is not signed at all.
        let whole = set.binary.as_ref().or((set.ending != "apk").then_some(&set.output));
        if let Some(whole) = whole {
            let is = *signed == sum(whole).map_err(at)?;
            return Ok(if is { Ok(stem) } else { Err(format!("{output} is not what was sent")) });
        }
        let signed = back.join(&output);
        let read = |file: &Path| content(self.reader, file).map_err(at);
        match (read(&set.output)?, read(&signed)?) {
            (Ok(sent), Ok(back)) if sent == back => {}
            (Err(why), _) | (_, Err(why)) => return Ok(Err(format!("{output}: {why}"))),
            _ => return Ok(Err(format!("{output} has another content than what was sent"))),
        }
        let signers = match self.signers(&signed)? {
            Ok(signers) => signers,
            Err(why) => return Ok(Err(format!("{output}: {why}"))),
        };
        let Some(earlier) = self.earlier(&version)? else { return Ok(Ok(stem)) };
        Ok(match self.signers(&earlier)? {
            Ok(before) if before == signers => Ok(stem),
            Ok(_) => Err(format!("{output} has another signer than earlier versions")),
            Err(why) => Err(format!("{}: {why}", earlier.display())),
        })
    }

    /// Another version of the app that is published.
    fn earlier(&self, version: &Version) -> Result<Option<PathBuf>, Failed> {
        for folder in ["repo", "archive"].map(|name| self.places.repository.join(name)) {
            if !folder.is_dir() {
                continue;
            }
            for name in self.places.list(&folder)? {
                let of = name.to_str().and_then(|name| name.strip_suffix(".apk"));
                if of.and_then(Version::of).is_some_and(|of| of.app == version.app) {
                    return Ok(Some(folder.join(name)));
                }
            }
        }
        Ok(None)
    }

    /// The SHA-256 sums of the certificates of an APK whose signature is good.
    fn signers(&self, apk: &Path) -> Result<Result<Vec<String>, String>, Failed> {
        let mut command = Command::new("apksigner");
        command.args(["verify", "--print-certs"]).arg(apk);
        let (is_good, said) = match process::run(&mut command, self.patience) {
            Ok(ended) => ended,
            Err(error) if error.kind() == ErrorKind::TimedOut => (false, String::new()),
            Err(error) => return Err(self.places.failed(Path::new("apksigner"), error)),
        };
        let sums = said.lines().filter_map(|line| line.split_once("certificate SHA-256 digest: "));
        let sums: Vec<String> = sums.map(|(_, sum)| sum.to_owned()).collect();
        let is_signed = is_good && !sums.is_empty();
        Ok(if is_signed { Ok(sums) } else { Err("its signature is not good".to_owned()) })
    }

    /// The signing machine's part: publishes what is in `outbox` to the repository here, and puts
    /// into `inbox` what goes back.
    ///
    /// # Errors
    /// When the repository or its keys cannot be used, whatever the set.
    pub fn sign(&mut self, outbox: &Path, inbox: &Path) -> Result<(), Failed> {
        let places = self.places;
        let mut taken = Vec::new();
        for name in places.list(outbox)? {
            let from = outbox.join(&name);
            let version = name.to_str().and_then(Version::of);
            let version = version.ok_or_else(|| "its name is not APPID_VERSIONCODE".to_owned());
            let checked = match version {
                Ok(version) => Manifest::check(&from, &version)
                    .map_err(|e| places.failed(&from, e))?
                    .and_then(|_| Set::read(&from)),
                Err(why) => Err(why),
            };
            match checked {
                Ok(set) => {
                    self.take(&from, &name)?;
                    taken.push(set.version);
                }
                Err(why) => self.tell(&name, &Outcome::Refused(why), ""),
            }
        }
        self.run()?;
        for version in taken {
            self.give(&version, inbox)?;
        }
        Ok(())
    }

    /// Copies a set to `built`, whole or not at all.
    fn take(&self, from: &Path, name: &OsStr) -> Result<(), Failed> {
        let places = self.places;
        let to = places.built.join(name);
        let copy = || {
            let staged = tempfile::tempdir_in(&places.work)?;
            for entry in walkdir::WalkDir::new(from).min_depth(1) {
                let entry = entry?;
                let path = entry.path().strip_prefix(from).unwrap_or(entry.path());
                let target = staged.path().join(path);
                if entry.file_type().is_dir() {
                    fs::create_dir(&target)?;
                } else {
                    fs::copy(entry.path(), &target)?;
                }
            }
            places.remove(&to).map_err(io::Error::other)?;
            fs::rename(staged.keep(), &to)
        };
        copy().map_err(|e| places.failed(&to, e))
    }

    /// Puts what was signed into `inbox`, whole or not at all.
    fn give(&self, version: &Version, inbox: &Path) -> Result<(), Failed> {
        let (places, stem) = (self.places, version.stem());
        let (repo, to) = (places.repository.join("repo"), inbox.join(&stem));
        let outputs = ENDINGS.map(|ending| format!("{stem}.{ending}"));
        if to.exists() || !outputs.iter().any(|name| repo.join(name).is_file()) {
            return Ok(());
        }
        let copy = || {
            fs::create_dir_all(inbox)?;
            // Beside it, for it may be on another file system than the repository.
            let staged = tempfile::Builder::new().prefix(".").tempdir_in(inbox)?;
            let source = format!("{stem}_src.tar.gz");
            let names = outputs.iter().map(String::as_str).chain([source.as_str()]);
            for name in names.chain(SIGNERS).filter(|name| repo.join(name).is_file()) {
                fs::copy(repo.join(name), staged.path().join(name))?;
            }
            let manifest = Manifest::of(staged.path(), version)?.map_err(io::Error::other)?;
            fs::write(staged.path().join(MANIFEST), manifest.text())?;
            fs::rename(staged.keep(), &to)
        };
        copy().map_err(|e| places.failed(&to, e))
    }
}
