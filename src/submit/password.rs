//! The password that a master lays down for those that submit on its machine.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::process::geteuid;

/// The most bytes that are read.
const LONGEST: u64 = 4096;

/// Reads it, if nobody else can have put it there.
///
/// # Errors
/// When there is no such file, it is a link, or somebody other than this user and root owns it or
/// can change it.
pub fn read(file: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = open(file, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::LOOP => invalid("it is a link"),
        error => error.into(),
    })?;
    let found = fstat(&opened)?;
    if found.st_uid != 0 && found.st_uid != geteuid().as_raw() {
        return Err(invalid("it belongs to another user"));
    }
    if found.st_mode & 0o022 != 0 {
        return Err(invalid("others can write to it"));
    }
    let mut text = String::new();
    File::from(opened).take(LONGEST + 1).read_to_string(&mut text)?;
    match text.trim() {
        _ if text.len() as u64 > LONGEST => Err(invalid("it is longer than any password")),
        "" => Err(invalid("it is empty")),
        password => Ok(password.to_owned()),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what)
}
