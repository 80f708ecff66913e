//! Signing on another machine: what is signed goes there, and what comes back is checked.
//!
//! ```text
//! here:   built/STEM ──judge──▶ outbox/STEM ╌╌carried╌╌▶ there: fdroid-bb sign
//!         repo/ ◀──ready/STEM◀──same content, same signer── inbox/STEM ◀╌╌carried╌╌┘
//! ```

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::apk::content;
use super::index::INDEX;
use super::parcel::{MANIFEST, Manifest, sum};
use super::set::{Set, Version};
use super::signature::SIGNERS;
use super::{Failed, Outcome, Publisher};

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
        places.put_back()?;
        for name in places.list(&places.inbox)? {
            if name == INDEX {
                continue;
            }
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

    fn send(&mut self, name: &OsStr, there: &BTreeSet<String>) -> Result<(), Failed> {
        let places = self.places;
        let to = places.outbox.join(name);
        let known = match name.to_str() {
            Some(name) if there.contains(name) => Some("the repository or its archive has it"),
            _ => to.exists().then_some("it is in the outbox already"),
        };
        if let Some(why) = known {
            places.remove(&places.built.join(name))?;
            self.tell(name, &Outcome::Dropped(why), "");
            return Ok(());
        }
        let from = places.take(name)?;
        let checked = match Set::read(&from) {
            Ok(set) => self.judge(&set)?.map(|()| set),
            Err(why) => Err(why),
        };
        let packed = match checked {
            Ok(set) => {
                places.remove(&from.join("reason"))?;
                Manifest::of(&from, Some(&set.version)).map_err(|e| places.failed(&from, e))?
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
                places.refuse(&places.taken, name, &why)?;
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
        let manifest = match Manifest::check(&back, Some(&version)).map_err(at)? {
            Ok(manifest) => manifest,
            Err(why) => return Ok(Err(why)),
        };
        // What was sent may have been changed here since.
        let set = match Manifest::check(&sent, Some(&version)).map_err(at)? {
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
            let signed = name.strip_suffix(".asc").unwrap_or(name);
            if signed != output && signed != source && !SIGNERS.contains(&signed) {
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
        let keys = match self.keys_of_apps(&back)? {
            Ok(keys) => keys,
            Err(why) => return Ok(Err(why)),
        };
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
        if let Some(earlier) = self.earlier(&version)? {
            match self.signers(&earlier)? {
                Ok(before) if before == signers => {}
                Ok(_) => {
                    return Ok(Err(format!("{output} has another signer than earlier versions")));
                }
                Err(why) => return Ok(Err(format!("{}: {why}", earlier.display()))),
            }
        }
        // Of a first version, only the machine that has the key can tell.
        let key = keys.get(version.app.as_str());
        let is_key = key.is_some_and(|key| signers == [key.as_str()]);
        if is_key {
            return Ok(Ok(stem));
        }
        Ok(Err(format!("{output} is not signed with the app's key in {}", SIGNERS[1])))
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
}
