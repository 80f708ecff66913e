//! What the machine with the keys does for another: it signs what came from there, and gives back
//! what it signed. It works in a repository of its own.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use super::index::{self, INDEX};
use super::parcel::{MANIFEST, Manifest};
use super::set::{ENDINGS, Set, Version};
use super::signature::SIGNERS;
use super::view::View;
use super::{Failed, Outcome, Publisher};

impl Publisher<'_> {
    /// Publishes what is in `outbox` to the repository here, signs the index that is there, and puts
    /// into `inbox` what goes back.
    ///
    /// # Errors
    /// When the repository or its keys cannot be used, whatever the set.
    pub fn sign(&mut self, outbox: &Path, inbox: &Path) -> Result<(), Failed> {
        let places = self.places;
        let mut taken = Vec::new();
        for name in places.list(outbox)? {
            if name == INDEX {
                continue;
            }
            let from = outbox.join(&name);
            let version = name.to_str().and_then(Version::of);
            let version = version.ok_or_else(|| "its name is not APPID_VERSIONCODE".to_owned());
            let checked = match version {
                Ok(version) => Manifest::check(&from, Some(&version))
                    .map_err(|e| places.failed(&from, e))?
                    .and_then(|_| Set::read(&from)),
                Err(why) => Err(why),
            };
            match checked {
                Ok(set) => {
                    self.receive(&from, &name)?;
                    taken.push(set.version);
                }
                Err(why) => self.tell(&name, &Outcome::Refused(why), ""),
            }
        }
        self.run()?;
        for version in taken {
            self.give(&version, inbox)?;
        }
        if fs::symlink_metadata(outbox.join(INDEX)).is_ok() {
            let (outcome, said) = match self.sign_index(&outbox.join(INDEX), inbox)? {
                Ok(said) => (Outcome::Signed, said),
                Err((why, said)) => (Outcome::Refused(why), said),
            };
            self.tell(OsStr::new(INDEX), &outcome, &said);
        }
        Ok(())
    }

    /// Copies a set to `built`, whole or not at all.
    fn receive(&self, from: &Path, name: &OsStr) -> Result<(), Failed> {
        let places = self.places;
        let to = places.built.join(name);
        let copy = || {
            let staged = tempfile::tempdir_in(&places.work)?;
            copy_folder(from, staged.path())?;
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
        let source = format!("{stem}_src.tar.gz");
        let names = outputs.iter().map(String::as_str).chain([source.as_str()]).chain(SIGNERS);
        let names = names.flat_map(|name| [name.to_owned(), format!("{name}.asc")]);
        let names: Vec<String> = names.filter(|name| repo.join(name).is_file()).collect();
        let copy = |staged: &Path| {
            names.iter().try_for_each(|name| fs::copy(repo.join(name), staged.join(name)).map(drop))
        };
        self.pack(&to, Some(version), copy)
    }

    /// Signs an index, with nothing else beside it: what `fdroid` said. Within: why not, and what it
    /// said.
    fn sign_index(
        &self,
        from: &Path,
        inbox: &Path,
    ) -> Result<Result<String, (String, String)>, Failed> {
        let places = self.places;
        let at = |e| places.failed(from, e);
        let checked = Manifest::check(from, None).map_err(at)?;
        let manifest = match checked.and_then(index::check_sent) {
            Ok(manifest) => manifest,
            Err(why) => return Ok(Err((why, String::new()))),
        };
        let _lock = places.lock()?;
        let view = View::new(&places.repository, &places.work).map_err(at)?;
        for name in manifest.files.keys() {
            fs::copy(from.join(name), view.path(name)).map_err(at)?;
        }
        let signed = self.fdroid(&view, &["signindex"])?;
        if signed.is_err() {
            return Ok(signed);
        }
        let sections = index::sections(&manifest);
        let names: Vec<String> = sections.flat_map(index::given).collect();
        self.pack(&inbox.join(INDEX), None, |staged| {
            for name in names.iter().filter(|name| view.path(name).is_file()) {
                let to = staged.join(name);
                fs::create_dir_all(to.parent().unwrap_or(staged))?;
                fs::copy(view.path(name), to)?;
            }
            Ok(())
        })?;
        Ok(signed)
    }

    /// Makes a folder with what `fill` puts into it and a manifest, whole or not at all, in the place
    /// of what is there.
    pub(super) fn pack(
        &self,
        to: &Path,
        version: Option<&Version>,
        fill: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<(), Failed> {
        let beside = to.parent().unwrap_or(to);
        let make = || {
            fs::create_dir_all(beside)?;
            // Beside it, for it may be on another file system than the repository.
            let staged = tempfile::Builder::new().prefix(".").tempdir_in(beside)?;
            fill(staged.path())?;
            let manifest = Manifest::of(staged.path(), version)?.map_err(io::Error::other)?;
            fs::write(staged.path().join(MANIFEST), manifest.text())?;
            self.places.remove(to).map_err(io::Error::other)?;
            fs::rename(staged.keep(), to)
        };
        make().map_err(|e| self.places.failed(to, e))
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(from).min_depth(1) {
        let entry = entry?;
        let path = entry.path().strip_prefix(from).unwrap_or(entry.path());
        if entry.file_type().is_dir() {
            fs::create_dir(to.join(path))?;
        } else {
            fs::copy(entry.path(), to.join(path))?;
        }
    }
    Ok(())
}
