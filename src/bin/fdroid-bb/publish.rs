//! The commands `publish` and `apk`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fdroid_bb::publish::{self, Outcome, PATIENCE, Places, PublishError, Publisher};
use fdroid_bb::text::{count, shown, visible};

use crate::Exit;

/// This program, also where its file has been replaced since.
pub const MYSELF: &str = "/proc/self/exe";

/// Where what is published is signed.
pub enum What {
    /// In this repository.
    Here,
    /// On another machine.
    Elsewhere,
    /// Here, for another machine: its outbox and its inbox.
    Sign(PathBuf, PathBuf),
}

/// Publishes all sets of `built` in the repository that the command is run in.
pub fn publish(
    built: &Path,
    what: &What,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let (mut published, mut sent, mut dropped, mut refused) = (0, 0, 0, 0);
    let mut written = Ok(());
    let mut tell = |name: &str, outcome: &Outcome, said: &str| {
        let name = shown(name);
        let line = match outcome {
            Outcome::Published => {
                published += 1;
                format!("published {name}")
            }
            Outcome::Sent => {
                sent += 1;
                format!("sent      {name}")
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
        let mut publisher = Publisher { places: &places, fdroid, reader, patience: PATIENCE, tell };
        match what {
            What::Here => publisher.run(),
            What::Elsewhere => publisher.run_elsewhere(),
            What::Sign(outbox, inbox) => publisher.sign(outbox, inbox),
        }
    });
    written?;
    let apps = |number| count(number, "version");
    let sent = if sent > 0 { format!("{sent} sent, ") } else { String::new() };
    writeln!(out, "{} published, {sent}{dropped} dropped, {refused} refused", apps(published))?;
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
pub fn apk(
    file: &Path,
    content: bool,
    against: Option<&Path>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let read = publish::confine().map_err(|e| e.to_string()).and_then(|()| {
        if content {
            return publish::read_content(file);
        }
        if let Some(other) = against {
            let difference = publish::read_difference(file, other)?;
            return Ok(serde_json::json!(difference).to_string());
        }
        publish::read(file).map(|found| serde_json::json!(found).to_string())
    });
    match read {
        Ok(said) => {
            writeln!(out, "{said}")?;
            Ok(Exit::Clean)
        }
        Err(why) => {
            writeln!(err, "error: {why}\nhelp: rebuild it, and look at how it was made")?;
            Ok(Exit::Invalid)
        }
    }
}
