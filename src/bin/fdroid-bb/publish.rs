//! The commands `publish`, `sign`, `send-index`, `take-index` and `apk`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fdroid_bb::publish::{self, Outcome, PATIENCE, Places, PublishError, Publisher};
use fdroid_bb::text::{count, shown, visible};

use crate::Exit;

/// This program, also where its file has been replaced since.
pub const MYSELF: &str = "/proc/self/exe";

/// Where builds leave what is published, seen from the repository.
pub const BUILT: &str = "../built";

/// Where what is published is signed.
enum What {
    /// In this repository.
    Here,
    /// On another machine.
    Elsewhere,
    /// Here, for another machine: its outbox and its inbox.
    Sign(PathBuf, PathBuf),
}

/// Publishes all sets of `built` in the repository that the command is run in; signed here, or
/// elsewhere.
pub fn publish(
    built: &Path,
    elsewhere: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    run(built, &if elsewhere { What::Elsewhere } else { What::Here }, out, err)
}

/// Signs what another machine's outbox has, for its inbox.
pub fn sign(
    outbox: PathBuf,
    inbox: PathBuf,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    // What is published on the way is taken from here.
    run(Path::new(BUILT), &What::Sign(outbox, inbox), out, err)
}

fn run(built: &Path, what: &What, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
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
            Outcome::Signed => format!("signed    {name}"),
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
    Ok(match (published, refused) {
        (0, 0) if !matches!(what, What::Sign(..)) => Exit::Nothing,
        (0, 1..) if !matches!(what, What::Sign(..)) => Exit::Refused,
        (_, 0) => Exit::Clean,
        _ => Exit::Partly,
    })
}

/// Puts the unsigned index into the outbox, or takes a signed one out of the inbox.
pub fn index(takes: bool, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let done = Places::new(Path::new("."), Path::new(BUILT)).and_then(|places| {
        let (fdroid, reader) = (Path::new("fdroid"), Path::new(MYSELF));
        let tell = &mut |_: &str, _: &Outcome, _: &str| {};
        let publisher = Publisher { places: &places, fdroid, reader, patience: PATIENCE, tell };
        if takes { publisher.take_index() } else { publisher.send_index().map(Ok) }
    });
    match done {
        Ok(Ok(())) if takes => writeln!(out, "the repository has a signed index")?,
        Ok(Ok(())) => writeln!(out, "sent      index")?,
        Ok(Err(why)) => {
            writeln!(
                err,
                "error: {why}\nhelp: carry `outbox` to the machine that signs, and back"
            )?;
            return Ok(Exit::Invalid);
        }
        Err(error) => {
            report(err, &error)?;
            return Ok(Exit::Invalid);
        }
    }
    Ok(Exit::Clean)
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
