//! The command `shadow-report`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use fdroid_bb::compile::Record;
use fdroid_bb::publish::Changed;
use fdroid_bb::shadow::{Found, Index, Shadow, Verdict, updates};
use fdroid_bb::text::{count, shown, visible};
use serde_json::json;

use crate::Exit;
use crate::cli::{Compared, Format, Inputs};
use crate::input;
use crate::progress::Progress;
use crate::publish::MYSELF;
use crate::report;

/// The most versions of one verdict that people are told; machines are told all.
const MOST_LINES: usize = 50;

/// Says how what a shadow built and found compares with what was published.
pub fn report(
    inputs: &Inputs,
    what: &Compared,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let current = match what.updates.as_ref().map(|_| current(inputs)).transpose() {
        Ok(current) => current.unwrap_or_default(),
        Err(findings) => {
            report::findings(err, &findings)?;
            return Ok(Exit::Invalid);
        }
    };
    match compare(what, &current) {
        Ok((verdicts, found)) if what.format == Format::Json => {
            let document = json!({
                "counts": counts(&verdicts), "versions": verdicts, "updates": found,
            });
            serde_json::to_writer_pretty(&mut *out, &document)?;
            writeln!(out)?;
        }
        Ok((verdicts, found)) => say(out, &verdicts, &found)?,
        Err((message, help)) => {
            writeln!(err, "error: {message}\nhelp: {help}")?;
            return Ok(Exit::Invalid);
        }
    }
    Ok(Exit::Clean)
}

type Verdicts = BTreeMap<String, Verdict>;

/// The `CurrentVersionCode` of each app.
fn current(inputs: &Inputs) -> Result<BTreeMap<String, i128>, Vec<fdroid_bb::finding::Finding>> {
    let read = input::read_whole(inputs)?;
    let apps = read.apps.records.iter().filter_map(|record| match record {
        Record::App { app, .. } => app.as_deref(),
        Record::Quarantined { .. } => None,
    });
    Ok(apps.filter_map(|app| Some((app.id.to_string(), app.current_version_code?))).collect())
}

/// All that is compared; or a message, and a remedy.
fn compare(
    what: &Compared,
    current: &BTreeMap<String, i128>,
) -> Result<(Verdicts, Vec<Found>), (String, &'static str)> {
    let at = |path: &Path, error: io::Error| format!("`{}`: {error}", path.display());
    let index = Index::read(&what.index).map_err(|error| {
        (at(&what.index, error), "give the `index-v2.json` of a repository of F-Droid's")
    })?;
    let progress = Progress::new("comparing");
    let published = what.published.as_deref();
    let shadow = Shadow { index: &index, published, reader: Path::new(MYSELF) };
    let verdicts = shadow
        .compare(&what.built, what.days, &|done, all| progress.at(done, all))
        .map_err(|error| {
            let folders = what.built.iter().map(|folder| folder.display().to_string());
            let folders = folders.collect::<Vec<_>>().join("`, `");
            (format!("`{folders}`: {error}"), "give `built` of the master's output directory")
        })?;
    let found = what.updates.as_ref().map(|folder| {
        let help = "give `updates` of the output directory of the master that checks for updates";
        updates(folder, current).map_err(|error| (at(folder, error), help))
    });
    Ok((verdicts, found.transpose()?.unwrap_or_default()))
}

/// How many versions there are of each verdict, the worst first.
fn counts(verdicts: &Verdicts) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for verdict in verdicts.values() {
        *counts.entry(verdict.as_str()).or_default() += 1;
    }
    counts
}

fn say(out: &mut dyn Write, verdicts: &Verdicts, found: &[Found]) -> io::Result<()> {
    let mut groups: BTreeMap<(u8, &str), Vec<(&str, &Verdict)>> = BTreeMap::new();
    for (name, verdict) in verdicts {
        let group = groups.entry((verdict.rank(), verdict.as_str())).or_default();
        group.push((name, verdict));
    }
    let counts = groups.iter().map(|((_, what), group)| format!("{} {what}", group.len()));
    let counts: Vec<String> = counts.collect();
    writeln!(out, "{}: {}", count(verdicts.len(), "version"), counts.join(", "))?;
    say_updates(out, found)?;
    for ((_, what), group) in &groups {
        for (name, verdict) in group.iter().take(MOST_LINES) {
            say_one(out, &shown(name), verdict)?;
        }
        let left = group.len().saturating_sub(MOST_LINES);
        if left > 0 && *what != Verdict::Same.as_str() {
            writeln!(out, "{what:13} {left} more; `--format json` has all")?;
        }
    }
    if verdicts.values().any(|verdict| matches!(verdict, Verdict::Missing { .. })) {
        writeln!(
            out,
            "help: download what was not compared, and give its folder as `--published`"
        )?;
    }
    Ok(())
}

fn say_one(out: &mut dyn Write, name: &str, verdict: &Verdict) -> io::Result<()> {
    let what = verdict.as_str();
    match verdict {
        Verdict::Same => Ok(()),
        Verdict::NotBuilt | Verdict::NotPublished => writeln!(out, "{what:13} {name}"),
        Verdict::Missing { url } => writeln!(out, "{what:13} {name}: {}", visible(url)),
        Verdict::Unreadable { why } => writeln!(out, "{what:13} {name}: {}", visible(why)),
        Verdict::Differs { count: number, files } => {
            writeln!(out, "{what:13} {name}: {}", count(*number, "file"))?;
            for Changed { name, first, second } in files {
                let size = |size: &Option<u64>| match size {
                    Some(bytes) => format!("{bytes} bytes"),
                    None => "none".to_owned(),
                };
                let (built, published) = (size(first), size(second));
                writeln!(out, "  {name}: built {built}, published {published}")?;
            }
            let left = number.saturating_sub(files.len());
            if left > 0 && !files.is_empty() { writeln!(out, "  {left} more") } else { Ok(()) }
        }
    }
}

fn say_updates(out: &mut dyn Write, found: &[Found]) -> io::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let other = found.iter().filter(|update| update.fdroiddata != Some(update.found));
    let other: Vec<&Found> = other.collect();
    let same = found.len() - other.len();
    writeln!(
        out,
        "{}: {same} as in fdroiddata, {} not",
        count(found.len(), "update"),
        other.len()
    )?;
    for Found { app, found, fdroiddata } in other.into_iter().take(MOST_LINES) {
        let has = fdroiddata.map_or("no such app".to_owned(), |code| code.to_string());
        writeln!(out, "update        {app}: found {found}, fdroiddata has {has}")?;
    }
    Ok(())
}
