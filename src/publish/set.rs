//! What a build gave: a folder of files whose names all follow from the app and its version.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::fdroid::AppId;
use crate::text::shown;

/// The endings that `fdroid publish` looks at: what has another one stays in `unsigned`, and is no
/// error.
pub(crate) const ENDINGS: [&str; 2] = ["apk", "zip"];

/// What may lie in a set beside what was built: what this program wrote, and writes anew.
pub(crate) const OURS: [&str; 2] = ["reason", "manifest.json"];

/// One version of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The app.
    pub app: AppId,
    /// Its version code.
    pub code: u32,
}

impl Version {
    /// The version that a folder `APPID_VERSIONCODE` is of.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let (app, code) = name.rsplit_once('_')?;
        let version = Self { app: AppId::new(app)?, code: code.parse().ok()? };
        // Nothing else has the same meaning, such as `a_01` or `a_+1`.
        (version.stem() == name).then_some(version)
    }

    /// How its files are called.
    #[must_use]
    pub fn stem(&self) -> String {
        format!("{}_{}", self.app, self.code)
    }
}

/// The files of a set, each an ordinary one.
#[derive(Debug)]
pub struct Set {
    /// What it is of.
    pub version: Version,
    /// `unsigned/STEM.EXT`.
    pub output: PathBuf,
    /// `apk` or `zip`.
    pub ending: &'static str,
    /// `unsigned/STEM_src.tar.gz`.
    pub source: Option<PathBuf>,
    /// `unsigned/binaries/STEM.binary.EXT`: what the developer published.
    pub binary: Option<PathBuf>,
    /// `repo/STEM.log.gz`.
    pub log: Option<PathBuf>,
}

impl Set {
    /// Looks what is in a folder. Contents are not read.
    ///
    /// # Errors
    /// Why it is no set.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let version = Version::of(name).ok_or("its name is not APPID_VERSIONCODE")?;
        let stem = version.stem();
        let roots = list(folder, |_| true)?;
        let mut set = Self {
            version,
            output: PathBuf::new(),
            ending: "",
            source: None,
            binary: None,
            log: None,
        };
        for name in roots {
            let path = folder.join(&name);
            match name.to_str() {
                Some("unsigned") => set.unsigned(&path, &stem)?,
                Some("repo") => {
                    let log = format!("{stem}.log.gz");
                    for file in list(&path, |name| name == OsStr::new(&log))? {
                        set.log = Some(plain(path.join(file))?);
                    }
                }
                Some(name) if OURS.contains(&name) => drop(plain(path)?),
                _ => return Err(unexpected(&name)),
            }
        }
        if set.ending.is_empty() {
            let looked = ENDINGS.map(|ending| format!("unsigned/{stem}.{ending}"));
            return Err(format!("there is no {}", looked.join(" and no ")));
        }
        Ok(set)
    }

    fn unsigned(&mut self, folder: &Path, stem: &str) -> Result<(), String> {
        for name in list(folder, |_| true)? {
            let path = folder.join(&name);
            let rest = name.to_str().and_then(|name| name.strip_prefix(stem));
            let ending = ENDINGS.iter().find(|it| rest == Some(format!(".{it}").as_str()));
            match (ending, rest) {
                (Some(_), _) if !self.ending.is_empty() => {
                    return Err("it has several outputs".to_owned());
                }
                (Some(ending), _) => {
                    (self.output, self.ending) = (plain(path)?, ending);
                }
                (None, Some("_src.tar.gz")) => self.source = Some(plain(path)?),
                (None, Some(rest)) if rest.starts_with('.') => {
                    return Err(format!(
                        "`fdroid publish` knows no output `{}`, only .apk and .zip",
                        shown(rest)
                    ));
                }
                _ if name == "binaries" => {
                    let is_binary = |name: &OsStr| {
                        ENDINGS.iter().any(|it| name == OsStr::new(&format!("{stem}.binary.{it}")))
                    };
                    for file in list(&path, is_binary)? {
                        self.binary = Some(plain(path.join(file))?);
                    }
                }
                _ => return Err(unexpected(&name)),
            }
        }
        Ok(())
    }
}

/// What is in a real folder, all of it `expected`. It ends at the first that is not, so it does
/// not matter how much there is.
fn list(folder: &Path, expected: impl Fn(&OsStr) -> bool) -> Result<Vec<OsString>, String> {
    let cannot = |error: std::io::Error| format!("`{}` cannot be read: {error}", name_of(folder));
    if !fs::symlink_metadata(folder).map_err(cannot)?.is_dir() {
        return Err(format!("`{}` is no folder", name_of(folder)));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        if !expected(&name) {
            return Err(unexpected(&name));
        }
        if names.len() == MOST {
            return Err(format!("`{}` has more than {MOST} files", name_of(folder)));
        }
        names.push(name);
    }
    names.sort();
    Ok(names)
}

/// The most files that a folder of a set may have.
const MOST: usize = 8;

/// The path, if there is an ordinary file with something in it.
fn plain(path: PathBuf) -> Result<PathBuf, String> {
    let shown = name_of(&path);
    let found = fs::symlink_metadata(&path).map_err(|e| format!("`{shown}`: {e}"))?;
    match (found.is_file(), found.len()) {
        (false, _) => Err(format!("`{shown}` is no ordinary file")),
        (true, 0) => Err(format!("`{shown}` is empty")),
        (true, _) => Ok(path),
    }
}

fn name_of(path: &Path) -> String {
    shown(&path.file_name().unwrap_or_default().to_string_lossy())
}

fn unexpected(name: &OsStr) -> String {
    format!("it has a file `{}`, which is none of a build", shown(&name.to_string_lossy()))
}
