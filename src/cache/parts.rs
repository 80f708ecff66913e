//! A file of the cache: a row of parts, each with its length and sum.

use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a cache of this program begins with: its version, and a sum of its source and crates.
const MAGIC: &str =
    concat!("fdroid-bb ", env!("CARGO_PKG_VERSION"), " ", env!("FDROID_BB_SOURCE"), "\n");

/// What stands before the bytes of a part: their number, and the sum of [`MAGIC`] and them.
const LENGTH: usize = 4;
const SUM: usize = 8;

/// The largest cache that is read, in bytes. That of 6,500 apps has 1 MB.
const LARGEST: u64 = 64 << 20;

/// The bytes as they were kept.
#[must_use]
pub fn written<T: Serialize>(content: &T) -> Option<Vec<u8>> {
    postcard::to_stdvec(content).ok()
}

/// What [`written`] gave.
#[must_use]
pub fn read<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

/// A file of the cache.
#[derive(Debug)]
pub(super) struct Parts {
    file: PathBuf,
    bytes: Vec<u8>,
    /// Where its parts are.
    ranges: Vec<Range<usize>>,
}

impl Parts {
    /// Reads `file` as far as it is whole and of this program.
    pub(super) fn load(file: PathBuf) -> Self {
        let size = fs::metadata(&file).map_or(0, |metadata| metadata.len());
        let bytes = if size > LARGEST { Vec::new() } else { fs::read(&file).unwrap_or_default() };
        let mut ranges = Vec::new();
        let mut at = MAGIC.len();
        while bytes.starts_with(MAGIC.as_bytes()) {
            let Some((length, rest)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk) else {
                break;
            };
            let Some((then, rest)) = rest.split_at_checked(SUM) else { break };
            let Some(content) = rest.get(..u32::from_le_bytes(*length) as usize) else { break };
            if sum(content).as_slice() != then {
                break;
            }
            let start = at + LENGTH + SUM;
            at = start + content.len();
            ranges.push(start..at);
        }
        Self { file, bytes, ranges }
    }

    /// The parts that make sense, the oldest first.
    pub(super) fn read<'b, T: Deserialize<'b>>(&'b self) -> Vec<T> {
        self.ranges.iter().filter_map(|part| read(self.bytes.get(part.clone())?)).collect()
    }

    /// Adds a part; once the added ones have a quarter of the first one's size, `all` takes the
    /// place of them all.
    pub(super) fn add<T: Serialize>(&self, new: &T, all: impl FnOnce() -> T) -> io::Result<()> {
        let new = postcard::to_stdvec(new).map_err(io::Error::other)?;
        let first = self.ranges.first().map_or(0, Range::len);
        let whole = self.ranges.last().is_some_and(|last| last.end == self.bytes.len());
        let added = self.bytes.len().saturating_sub(MAGIC.len() + first) + new.len();
        if whole && added <= first / 4 {
            // One call, which the system does not mix with that of another run.
            return OpenOptions::new().append(true).open(&self.file)?.write_all(&part(&new)?);
        }
        let all = postcard::to_stdvec(&all()).map_err(io::Error::other)?;
        let folder = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut staged = tempfile::NamedTempFile::new_in(folder)?;
        staged.write_all(MAGIC.as_bytes())?;
        staged.write_all(&part(&all)?)?;
        staged.persist(&self.file)?;
        Ok(())
    }
}

/// A part that holds `content`.
fn part(content: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes(), sum(content).as_slice(), content].concat())
}

/// The sum of a part, against accidents. With [`MAGIC`], for another version may add its part to a
/// file of this one; another release of Rust may sum otherwise, and then reads everything again.
fn sum(content: &[u8]) -> [u8; SUM] {
    let mut hasher = DefaultHasher::new();
    hasher.write(MAGIC.as_bytes());
    hasher.write(content);
    hasher.finish().to_le_bytes()
}
