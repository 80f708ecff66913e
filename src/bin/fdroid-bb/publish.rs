//! The commands `publish` and `apk`.

use std::io::{self, Write};
use std::path::Path;

use fdroid_bb::publish::{self, Outcome, PATIENCE, Places, PublishError, Publisher};
use fdroid_bb::text::{count, shown, visible};

use crate::Exit;

/// This program, also where its file has been replaced since.
const MYSELF: &str = "/proc/self/exe";

/// Publishes all sets of `built` in the repository that the command is run in.
pub fn publish(built: &Path, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let (mut published, mut dropped, mut refused) = (0, 0, 0);
    let mut written = Ok(());
    let mut tell = |name: &str, outcome: &Outcome, said: &str| {
        let name = shown(name);
        let line = match outcome {
            Outcome::Published => {
                published += 1;
                format!("published {name}")
            }
            Outcome::Dropped(why) => {
                dropped += 1;
                format!("dropped   {name}: {why}")
            }
            Outcome::Refused(why) => {
                refused += 1;
                format!("refused   {name}: {why}")
            }
        };
        let said = said.lines().fold(String::new(), |all, line| all + "  " + &visible(line) + "\n");
        if written.is_ok() {
            written = writeln!(out, "{said}{line}").and_then(|()| out.flush());
        }
    };
    let ended = Places::new(Path::new("."), built).and_then(|places| {
        let (fdroid, reader) = (Path::new("fdroid"), Path::new(MYSELF));
        let tell = &mut tell;
        Publisher { places: &places, fdroid, reader, patience: PATIENCE, tell }.run()
    });
    written?;
    let apps = |number| count(number, "version");
    writeln!(out, "{} published, {dropped} dropped, {refused} refused", apps(published))?;
    if let Err(error) = ended {
        report(err, &error)?;
        return Ok(Exit::Invalid);
    }
    Ok(if refused > 0 { Exit::Partly } else { Exit::Clean })
}

fn report(err: &mut dyn Write, error: &PublishError) -> io::Result<()> {
    writeln!(err, "error: {error}\nhelp: {}", error.help())
}

/// Prints what an APK says it is.
pub fn apk(file: &Path, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let read = publish::confine().map_err(|e| e.to_string()).and_then(|()| publish::read(file));
    match read {
        Ok(found) => {
            serde_json::to_writer(&mut *out, &found)?;
            writeln!(out)?;
            Ok(Exit::Clean)
        }
        Err(why) => {
            writeln!(err, "error: {why}\nhelp: rebuild it, and look at how it was made")?;
            Ok(Exit::Invalid)
        }
    }
}
