//! What tells that a file of a checkout is the same without reading it.

use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, StatxFlags, StatxTimestamp, statx};
use serde::{Deserialize, Serialize};

use super::Blob;

/// How long a file must have been left alone before its times tell that it is the same.
const SETTLED: Duration = Duration::from_secs(2);

/// A file of a checkout.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Looked<'a> {
    /// The name of the file without `.yml`.
    pub stem: &'a str,
    /// What it looked like.
    pub look: Look,
    /// Its blob.
    pub blob: Blob,
}

/// What tells that a file is the same, as git takes it for its index: its size, inode and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    size: u64,
    inode: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Look {
    /// What the file `name` of the open folder `folder` looks like, unless it was touched a moment
    /// before `now`.
    #[must_use]
    pub fn of(folder: BorrowedFd<'_>, name: &str, now: SystemTime) -> Option<Self> {
        let stat = statx(folder, name, AtFlags::empty(), StatxFlags::BASIC_STATS).ok()?;
        let time = |time: StatxTimestamp| (time.tv_sec, time.tv_nsec);
        let (modified, changed) = (time(stat.stx_mtime), time(stat.stx_ctime));
        let settled = now.checked_sub(SETTLED)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let settled = i64::try_from(settled.as_secs()).ok()?;
        (modified.0 < settled && changed.0 < settled).then_some(Self {
            size: stat.stx_size,
            inode: stat.stx_ino,
            modified,
            changed,
        })
    }
}
