//! What a shadow built and found, beside what was published.
//!
//! ```text
//! built/STEM ──Set──┐                                    ┌─▶ same, differs, …
//! index-v2.json ────┼─▶ the published APK? ──apk --against
//! published/*.apk ──┘
//! updates/APP.patch ──▶ version ──▶ CurrentVersion of fdroiddata
//! ```

mod index;
mod updates;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use index::{Index, Published};
pub use updates::{Found, updates};

use crate::publish::{Changed, Difference, Set, differ, sum};

/// What became of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Verdict {
    /// It has other files than the published one, or with other contents: how many, and some.
    Differs {
        /// How many files differ; of what is no APK, the file itself.
        count: usize,
        /// Some of them.
        files: Vec<Changed>,
    },
    /// It cannot be compared.
    Unreadable {
        /// Why.
        why: String,
    },
    /// It was published, and is not there.
    NotBuilt,
    /// The published file is not there to be compared with.
    Missing {
        /// Where it can be had.
        url: String,
    },
    /// No such version is in the index.
    NotPublished,
    /// It is the published one but for the signature.
    Same,
}

impl Verdict {
    /// The worst first.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self {
            Self::Differs { .. } => 0,
            Self::Unreadable { .. } => 1,
            Self::NotBuilt => 2,
            Self::Missing { .. } => 3,
            Self::NotPublished => 4,
            Self::Same => 5,
        }
    }

    /// For people.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Differs { .. } => "differs",
            Self::Unreadable { .. } => "unreadable",
            Self::NotBuilt => "not built",
            Self::Missing { .. } => "not compared",
            Self::NotPublished => "not published",
            Self::Same => "same",
        }
    }
}

/// What is compared.
pub struct Shadow<'a> {
    /// What was published.
    pub index: &'a Index,
    /// A folder of published files.
    pub published: Option<&'a Path>,
    /// This program, which reads APKs.
    pub reader: &'a Path,
}

impl Shadow<'_> {
    /// Compares what is in folders of sets, each called `APPID_VERSIONCODE`; and, with `days`, says
    /// what was published in as many days before the index was made and is in none of them. By name.
    ///
    /// # Errors
    /// When a folder cannot be read, or this program not be started.
    pub fn compare(
        &self,
        built: &[PathBuf],
        days: Option<u32>,
        at: &dyn Fn(usize, usize),
    ) -> io::Result<BTreeMap<String, Verdict>> {
        let mut sets = BTreeMap::new();
        for folder in built {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                // One with a dot before its name is an upload that is not whole.
                if !name.starts_with('.') {
                    sets.insert(name, entry.path());
                }
            }
        }
        let mut verdicts = BTreeMap::new();
        let all = sets.len();
        for (done, (name, folder)) in sets.into_iter().enumerate() {
            at(done, all);
            verdicts.insert(name, self.judge(&folder)?);
        }
        for name in days.into_iter().flat_map(|days| self.index.since(days)) {
            verdicts.entry(name).or_insert(Verdict::NotBuilt);
        }
        Ok(verdicts)
    }

    fn judge(&self, folder: &Path) -> io::Result<Verdict> {
        let set = match Set::read(folder) {
            Ok(set) => set,
            Err(why) => return Ok(Verdict::Unreadable { why }),
        };
        let mut verdict = Verdict::NotPublished;
        for published in self.index.of(&set.version) {
            let next = self.against(&set, published)?;
            if next == Verdict::Same {
                return Ok(next);
            }
            // Of several, what says most.
            if next.rank() < verdict.rank() {
                verdict = next;
            }
        }
        Ok(verdict)
    }

    fn against(&self, set: &Set, published: &Published) -> io::Result<Verdict> {
        let own = sum(&set.output)?;
        if own == published.sha256 {
            return Ok(Verdict::Same);
        }
        if set.ending != "apk" {
            // It is published as it was built.
            return Ok(Verdict::Differs { count: 1, files: Vec::new() });
        }
        let Some(file) = self.file(set, published)? else {
            return Ok(Verdict::Missing { url: self.index.url(published) });
        };
        Ok(match differ(self.reader, &set.output, &file)? {
            Ok(Difference { count: 0, .. }) => Verdict::Same,
            Ok(Difference { count, files }) => Verdict::Differs { count, files },
            Err(why) => Verdict::Unreadable { why },
        })
    }

    /// The published file: in the folder, or the developer's that the build has fetched.
    fn file(&self, set: &Set, published: &Published) -> io::Result<Option<PathBuf>> {
        let there = self.published.map(|folder| folder.join(&published.name));
        for file in there.into_iter().chain(set.binary.clone()).filter(|file| file.is_file()) {
            if sum(&file)? == published.sha256 {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }
}
