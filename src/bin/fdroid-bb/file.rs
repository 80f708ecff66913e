//! Files that are written whole or not at all.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file under another name and then gives it its own, so that nobody reads half of it and
/// a full disk or Ctrl-C leaves the old one. What is no regular file, such as `/dev/stdout`, is
/// written to as it is.
///
/// With `permissions` it has just these; without, those of the old one, or what the umask leaves.
pub fn replace(file: &Path, text: &str, permissions: Option<u32>) -> io::Result<()> {
    // A link goes on leading to the file.
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let old = fs::metadata(file).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        return fs::write(file, text);
    }
    let exact = permissions.map(Permissions::from_mode).or(old.map(|old| old.permissions()));
    let staged = stage(folder_of(file), text)?;
    if let Some(exact) = exact {
        staged.as_file().set_permissions(exact)?;
    }
    staged.persist(file)?;
    Ok(())
}

/// The same for a file that must not be there yet.
pub fn create(file: &Path, text: &str) -> io::Result<()> {
    stage(folder_of(file), text)?.persist_noclobber(file)?;
    Ok(())
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

fn stage(folder: &Path, text: &str) -> io::Result<NamedTempFile> {
    let mut staged =
        tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
    staged.write_all(text.as_bytes())?;
    Ok(staged)
}
