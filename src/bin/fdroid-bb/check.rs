//! The command `check`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use fdroid_bb::finding::Finding;
use fdroid_bb::text::count;

use crate::Exit;
use crate::cli::{Format, Inputs, Strictness};
use crate::generate::{invalid, say_result};
use crate::input::{self, Read};
use crate::report;
use crate::reports::{Baseline, Report};

/// What `check` was asked for.
pub struct Options {
    pub strictness: Strictness,
    pub reports: Vec<Report>,
    pub baseline: Option<PathBuf>,
    pub update_baseline: bool,
    pub format: Format,
}

/// Says what is wrong with the input, and what it amounts to.
pub fn check(
    inputs: &Inputs,
    options: &Options,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let started = Instant::now();
    let format = options.format;
    let mut read = match input::read(inputs) {
        Ok(read) => read,
        Err(findings) => {
            return match write_reports(options, &findings, err)? {
                Some(exit) => Ok(exit),
                None => invalid(&findings, format, out, err),
            };
        }
    };
    if let Some(exit) = leave_known(options, &mut read, err)? {
        return Ok(exit);
    }
    let exit = input::exit(&read.findings, &options.strictness, &read.apps);
    if format == Format::Text {
        report::findings(err, &read.findings)?;
    }
    if let Some(exit) = write_reports(options, &read.findings, err)? {
        return Ok(exit);
    }
    say_result(&read, None, started, format, out)?;
    Ok(exit)
}

/// Takes the findings out that the baseline knows; how the command ends if that cannot be.
fn leave_known(
    options: &Options,
    read: &mut Read,
    err: &mut dyn Write,
) -> io::Result<Option<Exit>> {
    let Some(file) = &options.baseline else { return Ok(None) };
    let shown = file.display();
    if options.update_baseline {
        if let Err(error) = Baseline::of(&read.findings).write(file) {
            writeln!(err, "error: `{shown}` cannot be written: {error}")?;
            writeln!(err, "help: give another file with `--baseline FILE`")?;
            return Ok(Some(Exit::Invalid));
        }
        writeln!(err, "baseline  {shown}: {}", count(read.findings.len(), "finding"))?;
    }
    let baseline = match Baseline::read(file) {
        Ok(baseline) => baseline,
        Err(error) => {
            writeln!(err, "error: `{shown}` is no baseline: {error}")?;
            writeln!(err, "help: write one with `--update-baseline`")?;
            return Ok(Some(Exit::Invalid));
        }
    };
    let mut known = baseline.known();
    read.description.findings.retain(|finding| known.is_new(finding));
    read.apps.findings.retain(|finding| known.is_new(finding));
    read.findings = read.description.findings.iter().chain(&read.apps.findings).cloned().collect();
    let gone = known.left();
    if gone > 0 {
        writeln!(
            err,
            "note: {} no longer found of `{shown}`; `--update-baseline` forgets them\n",
            if gone == 1 { "1 finding is".to_owned() } else { format!("{gone} findings are") },
        )?;
    }
    Ok(None)
}

fn write_reports(
    options: &Options,
    findings: &[Finding],
    err: &mut dyn Write,
) -> io::Result<Option<Exit>> {
    for report in &options.reports {
        if let Err(error) = report.write(findings) {
            writeln!(err, "error: `{}` cannot be written: {error}", report.file().display())?;
            writeln!(err, "help: give another file with `--report`")?;
            return Ok(Some(Exit::Invalid));
        }
    }
    Ok(None)
}
