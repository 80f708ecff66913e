//! The apps that the command `schedule` is for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::Path;

use fdroid_bb::compile::Record;
use fdroid_bb::fdroid::App;
use fdroid_bb::text::{nearest, shown};

use crate::cli::Which;
use crate::input::Read;
use crate::target::Stop;

/// The longest list of apps that is read, in bytes.
const LONGEST_LIST: u64 = 4 << 20;

/// The apps that are asked for.
pub fn chosen<'r>(read: &'r Read, which: &Which) -> Result<Vec<&'r App>, Stop> {
    let known: BTreeMap<&str, &Record> =
        read.apps.records.iter().map(|record| (record.name(), record)).collect();
    let everything = which.all || which.merged;
    let names: Vec<String> = if everything {
        known.keys().map(|name| (*name).to_owned()).collect()
    } else if let Some(list) = &which.list {
        listed(list)?
    } else {
        which.apps.clone()
    };
    let mut apps = Vec::new();
    for name in names.iter().map(String::as_str).collect::<BTreeSet<_>>() {
        match known.get(name) {
            Some(Record::App { app, .. }) => apps.extend(app.as_deref()),
            Some(Record::Quarantined { .. }) if everything => {}
            Some(Record::Quarantined { error, .. }) => {
                let message =
                    format!("the metadata of `{}` is broken: {}", shown(name), error.message);
                return Err(Stop::new(message, error.help.clone()));
            }
            None => {
                let names: Vec<&str> = known.keys().copied().collect();
                let help = match nearest(name, &names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`fdroid-bb apps` lists all apps".to_owned(),
                };
                return Err(Stop::new(format!("there is no app `{}`", shown(name)), help));
            }
        }
    }
    Ok(apps)
}

/// The lines of a list, without comments.
fn listed(file: &Path) -> Result<Vec<String>, Stop> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().take(LONGEST_LIST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|f| f.take(LONGEST_LIST + 1).read_to_string(&mut text))
    };
    let read = match read {
        Ok(bytes) if bytes as u64 > LONGEST_LIST => Err(io::ErrorKind::FileTooLarge.into()),
        read => read,
    };
    read.map_err(|error| {
        let message = format!("the list `{}` cannot be read: {error}", file.display());
        Stop::new(message, "give a file with one application id a line, or `-` for stdin")
    })?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    Ok(lines.filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect())
}
