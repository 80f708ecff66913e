//! The command line of fdroid-bb: reads arguments, runs one command, says what happened.

mod apply;
mod apps;
mod capacity;
mod check;
mod chosen;
mod cli;
mod compiled;
mod deliver;
mod described;
mod diff;
mod doctor;
mod explain;
mod file;
mod generate;
mod input;
mod merged;
mod metrics;
mod pause;
mod progress;
mod publish;
mod report;
mod reports;
mod schedule;
mod shadow;
mod stream;
mod target;
mod watch;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};

use cli::{Cli, Command, DiffFormat, Drawing, Inputs, Shown};
use fdroid_bb::compile;
use fdroid_bb::fdroid::AppId;
use fdroid_bb::graph::Graph;
use fdroid_bb::text::count;
use fdroid_bb::verified;
use stream::Stream;

/// How much `watch` says of one change, in bytes.
const LONGEST_LOG: usize = 8 << 10;

/// A description to begin with.
const INIT: &str = include_str!("init.toml");

/// How a command ended. The numbers never change meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Clean = 0,
    /// The input is invalid.
    Invalid = 1,
    /// `--check`: the output is not what the input gives.
    Changes = 2,
    /// There are warnings, and they were denied.
    Warnings = 3,
    /// Too many pollers would vanish.
    Guard = 4,
    /// A master did not do what it was asked.
    Failed = 5,
    /// Some of what was asked for was done, and some was refused.
    Partly = 6,
    /// There was nothing to publish.
    Nothing = 7,
    /// Nothing was published, and some of it was refused.
    Refused = 8,
    /// The command line is wrong.
    Usage = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

fn main() -> ExitCode {
    let (mut out, mut err) = (Stream::new(io::stdout()), Stream::new(io::stderr()));
    let ended = match Cli::try_parse() {
        Ok(cli) => run(cli, &mut out, &mut err),
        Err(error) if error.use_stderr() => {
            write!(err, "{}", error.render().ansi()).map(|()| Exit::Usage)
        }
        // What is shown on request.
        Err(shown) => write!(out, "{}", shown.render().ansi()).map(|()| Exit::Clean),
    };
    match ended.and_then(|exit| out.flush().map(|()| exit)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            // If stderr cannot be written either, the exit code has to do.
            let _ = writeln!(err, "error: the result cannot be written: {error}");
            Exit::Invalid.into()
        }
    }
}

fn run(cli: Cli, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let Cli { command, inputs } = cli;
    match command {
        Command::Generate { out: folder, check, accept_vanishing, strictness, format } => {
            let options = generate::Options { folder, check, accept_vanishing, strictness, format };
            generate::generate(&inputs, &options, out, err)
        }
        Command::Check { strictness, report, baseline, update_baseline, format } => {
            let options =
                check::Options { strictness, reports: report, baseline, update_baseline, format };
            check::check(&inputs, &options, out, err)
        }
        Command::Diff { old, new, shown } => diff::diff(&inputs, &old, &new, &shown, out, err),
        Command::Plan { out: folder, output, accept_vanishing, shown } => {
            diff::plan(&inputs, &folder, accept_vanishing, output.as_ref(), &shown, out, err)
        }
        Command::Apply { plan, accept_vanishing, release, metrics, masters, shown } => {
            let options =
                apply::Options { plan, accept_vanishing, release, masters, shown, metrics };
            apply::apply(&inputs, &options, out, err)
        }
        Command::Watch { interval, quiet_time, metrics, masters } => {
            let shown = Shown { format: DiffFormat::Text, limit: Some(LONGEST_LOG) };
            let apply = apply::Options {
                plan: None,
                accept_vanishing: false,
                release: false,
                masters,
                shown,
                metrics,
            };
            let (interval, quiet_time) =
                (Duration::from_secs(interval), Duration::from_secs(quiet_time));
            watch::watch(&inputs, &watch::Watch { apply, interval, quiet_time }, out, err)
        }
        Command::Rollback { number, list, masters } => {
            apply::rollback(number, list, &masters, out, err)
        }
        Command::Apps { strictness, format } => apps::list(&inputs, &strictness, format, out, err),
        Command::Explain { what, name: Some(name), tag: _, basedirs: _, format } => {
            described::explain(&inputs, &what, &name, format, out, err)
        }
        Command::Explain { what, name: None, tag, basedirs, format } => {
            let more = explain::More { tag: tag.as_deref(), basedirs: basedirs.as_deref() };
            explain::explain(&inputs, &what, &more, format, out, err)
        }
        Command::Graph { format } => graph(&inputs, format, out, err),
        Command::Capacity { format } => capacity::capacity(&inputs, format, out, err),
        Command::Schedule(what) => schedule::schedule(&inputs, &what, out, err),
        Command::Doctor(what) => doctor::doctor(&inputs, &what, out, err),
        Command::Publish { built, elsewhere } => publish::publish(&built, elsewhere, out, err),
        Command::Sign { outbox, inbox } => publish::sign(outbox, inbox, out, err),
        Command::SendIndex => publish::index(false, out, err),
        Command::TakeIndex => publish::index(true, out, err),
        Command::Apk { content, against, file } => {
            publish::apk(&file, content, against.as_deref(), out, err)
        }
        Command::ShadowReport(what) => shadow::report(&inputs, &what, out, err),
        Command::Pause { what, reason } => pause::pause(&inputs, &what, Some(&reason), out, err),
        Command::Resume { what } => pause::pause(&inputs, &what, None, out, err),
        Command::Verified { version, reports } => add_report(&reports, &version, out, err),
        Command::DeliverUpdate(what) => deliver::deliver(&inputs, &what, out, err),
        Command::Schema => schema(out),
        Command::Init => init(&inputs, out, err),
        Command::Man { folder } => {
            if let Err(error) = man(&folder) {
                writeln!(err, "error: `{}` cannot be written: {error}", folder.display())?;
                writeln!(err, "help: give another folder")?;
                return Ok(Exit::Invalid);
            }
            Ok(Exit::Clean)
        }
        Command::Completions { shell } => {
            // It panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "fdroid-bb", &mut script);
            out.write_all(&script)?;
            Ok(Exit::Clean)
        }
    }
}

/// Adds the report of one verification to those of all.
fn add_report(
    reports: &Path,
    (app, code): &(AppId, u64),
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let file = reports.join(format!("{app}_{code}.apk.json"));
    match verified::add(reports, app, *code) {
        Ok(new) => {
            writeln!(out, "{}: {} added", file.display(), count(new, "report"))?;
            Ok(Exit::Clean)
        }
        Err(error) => {
            writeln!(err, "error: `{}` cannot be added: {error}", file.display())?;
            writeln!(err, "help: run `fdroid verify --output-json`")?;
            Ok(Exit::Invalid)
        }
    }
}

/// Prints the schema of descriptions.
fn schema(out: &mut dyn Write) -> io::Result<Exit> {
    serde_json::to_writer_pretty(&mut *out, &fdroid_bb::config::editor_schema())?;
    writeln!(out)?;
    Ok(Exit::Clean)
}

/// Draws the pipelines, which needs no metadata.
fn graph(
    inputs: &Inputs,
    format: Drawing,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    match compile::description(&inputs.config, inputs.overlay.as_deref()) {
        Ok(description) => {
            let graph = Graph::new(&description.pipeline);
            let text = match format {
                Drawing::Mermaid => graph.mermaid(),
                Drawing::Dot => graph.dot(),
            };
            write!(out, "{text}")?;
            Ok(Exit::Clean)
        }
        Err(findings) => {
            report::findings(err, &findings)?;
            Ok(Exit::Invalid)
        }
    }
}

/// Writes the manual pages, each whole or not at all.
fn man(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let staged = tempfile::tempdir_in(folder)?;
    clap_mangen::generate_to(Cli::command(), staged.path())?;
    for page in std::fs::read_dir(staged.path())? {
        let page = page?;
        std::fs::rename(page.path(), folder.join(page.file_name()))?;
    }
    Ok(())
}

/// Writes a first description, but never over one that is there.
fn init(inputs: &Inputs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let file = &inputs.config;
    let shown = file.display();
    match file::create(file, INIT) {
        Ok(()) => {
            writeln!(out, "wrote {shown}")?;
            writeln!(out, "next: fdroid-bb check --config {shown} --fdroiddata PATH")?;
            Ok(Exit::Clean)
        }
        Err(error) => {
            writeln!(err, "error: `{shown}` cannot be written: {error}")?;
            writeln!(err, "help: give another file with `--config FILE`")?;
            Ok(Exit::Invalid)
        }
    }
}
