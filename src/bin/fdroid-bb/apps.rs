//! The command `apps`.

use std::io::{self, Write};

use fdroid_bb::compile::Record;
use fdroid_bb::fdroid::App;
use fdroid_bb::finding::Finding;
use fdroid_bb::resolve::apps::{Poller, Reason, Watch};
use fdroid_bb::text::shown;
use serde::Serialize;

use crate::Exit;
use crate::cli::{Inputs, Listing, Strictness};
use crate::input;
use crate::report::{self, Totals, kind, tally, thousands};

/// One line of the listing for machines.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    App {
        #[serde(flatten)]
        app: Option<&'a App>,
        active: bool,
        reason: Option<Reason>,
        poller: Option<&'a Poller>,
    },
    Quarantined {
        id: &'a str,
        error: &'a Finding,
    },
}

/// Lists every app.
pub fn list(
    inputs: &Inputs,
    strictness: &Strictness,
    format: Listing,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let read = match input::read_whole(inputs) {
        Ok(read) => read,
        Err(findings) => {
            report::findings(err, &findings)?;
            return Ok(Exit::Invalid);
        }
    };
    let mut out = io::BufWriter::new(out);
    match format {
        Listing::Json => {
            for record in &read.apps.records {
                serde_json::to_writer(&mut out, &line(record))?;
                writeln!(out)?;
            }
        }
        Listing::Table => table(&mut out, &read.apps.records)?,
    }
    out.flush()?;
    if format == Listing::Table {
        let totals = Totals::of(&read.apps);
        writeln!(
            err,
            "{} apps, {} active; findings: {} (`fdroid-bb check` says which)",
            thousands(totals.apps),
            thousands(totals.active()),
            tally(&read.findings),
        )?;
    }
    Ok(input::exit(&read.findings, strictness, &read.apps))
}

fn line(record: &Record) -> Line<'_> {
    match record {
        Record::App { app, poller, .. } => Line::App {
            app: app.as_deref(),
            active: poller.is_ok(),
            reason: poller.as_ref().err().copied(),
            poller: poller.as_ref().ok(),
        },
        Record::Quarantined { stem, error } => Line::Quarantined { id: stem, error },
    }
}

fn table(out: &mut dyn Write, records: &[Record]) -> io::Result<()> {
    let name = |record: &Record| match record {
        Record::App { id, .. } => id.to_string(),
        Record::Quarantined { stem, .. } => shown(stem),
    };
    let width = records.iter().map(|r| name(r).chars().count()).max().unwrap_or_default().min(60);
    for record in records {
        let name = name(record);
        match record {
            Record::App { poller: Ok(poller), .. } => {
                let watch = match &poller.watch {
                    Watch::GitTags { tags } if tags.is_empty() => "tags".to_owned(),
                    Watch::GitTagsAndHead => "tags and the default branch".to_owned(),
                    Watch::GitTags { tags } => format!("tags {}", shown(tags)),
                    Watch::GitBranch { branch: None } | Watch::Hg { branch: None } => {
                        "default branch".to_owned()
                    }
                    Watch::GitBranch { branch: Some(branch) }
                    | Watch::Hg { branch: Some(branch) } => format!("branch {branch}"),
                    Watch::Svn => "revisions".to_owned(),
                };
                let url = poller.url.as_str();
                writeln!(out, "{name:width$}  active    {} {url} {watch}", kind(poller))?;
            }
            Record::App { poller: Err(reason), .. } => {
                writeln!(out, "{name:width$}  inactive  {reason}")?;
            }
            Record::Quarantined { error, .. } => {
                writeln!(out, "{name:width$}  broken    {}", error.message)?;
            }
        }
    }
    Ok(())
}
