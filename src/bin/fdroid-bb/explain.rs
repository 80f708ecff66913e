//! The command `explain`.

use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fdroid_bb::compile::Record;
use fdroid_bb::config::{Name, Trigger};
use fdroid_bb::diff::{self, State};
use fdroid_bb::fdroid::AppId;
use fdroid_bb::finding::{Code, Severity};
use fdroid_bb::pattern;
use fdroid_bb::polls;
use fdroid_bb::resolve::apps::{Poller, Watch};
use fdroid_bb::text::{list, nearest, shown};
use indicatif::HumanDuration;
use serde_json::json;

use crate::Exit;
use crate::cli::{Format, Inputs};
use crate::input::{self, Read};
use crate::pause::{self, Pause};
use crate::report;

/// The tag that is tried if none is asked for.
const TAG: &str = "v1.2";

/// What is asked besides.
pub struct More<'a> {
    /// The tag to try.
    pub tag: Option<&'a str>,
    /// Where masters are whose pauses are told.
    pub basedirs: Option<&'a Path>,
}

/// Explains an app or a code.
pub fn explain(
    inputs: &Inputs,
    what: &str,
    more: &More<'_>,
    format: Format,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    if let Some(code) = Code::ALL.iter().find(|code| code.as_str() == what) {
        return explain_code(*code, format, out);
    }
    let read = match input::read(inputs) {
        Ok(read) => read,
        Err(findings) => {
            report::findings(err, &findings)?;
            return Ok(Exit::Invalid);
        }
    };
    let Some(record) = read.apps.records.iter().find(|record| record.name() == what) else {
        let names: Vec<&str> = read.apps.records.iter().map(Record::name).collect();
        let codes = Code::ALL.iter().map(|code| code.as_str());
        let known: Vec<&str> = names.into_iter().chain(codes).collect();
        writeln!(err, "error: there is no app and no finding `{}`", shown(what))?;
        match nearest(what, &known) {
            Some(near) => writeln!(err, "help: did you mean `{near}`?")?,
            None => writeln!(err, "help: `fdroid-bb apps` lists all apps")?,
        }
        return Ok(Exit::Invalid);
    };
    let found: Vec<_> = read
        .findings
        .iter()
        .filter(|finding| finding.place.file == format!("metadata/{what}.yml"))
        .cloned()
        .collect();
    let told = App::of(&read, record, more);
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &told.json())?;
            writeln!(out)?;
        }
        Format::Text => told.say(out)?,
    }
    report::findings(err, &found)?;
    Ok(Exit::Clean)
}

fn explain_code(code: Code, format: Format, out: &mut dyn Write) -> io::Result<Exit> {
    let (severity, effect) = match code.severity() {
        Severity::Error => ("error", "nothing is compiled"),
        Severity::Warning => ("warning", "the rest is compiled"),
    };
    match format {
        Format::Json => {
            let document = json!({
                "code": code.as_str(),
                "severity": severity,
                "meaning": code.meaning(),
                "remedy": code.remedy(),
            });
            serde_json::to_writer_pretty(&mut *out, &document)?;
            writeln!(out)?;
        }
        Format::Text => {
            writeln!(out, "{} ({severity}: {effect})", code.as_str())?;
            writeln!(out, "  {}", code.meaning())?;
            writeln!(out, "  {}", code.remedy())?;
        }
    }
    Ok(Exit::Clean)
}

/// All that there is to say of an app.
struct App<'a> {
    id: &'a str,
    /// What decides whether it is active.
    state: State,
    poller: Option<Polled<'a>>,
    /// What is paused that concerns its builds, with the master.
    pauses: Vec<(&'a str, Pause)>,
}

/// What there is to say of an active app.
struct Polled<'a> {
    poller: &'a Poller,
    /// Apps whose source is asked by the same call.
    shared: Vec<&'a AppId>,
    /// In Unix time.
    next: i64,
    /// What a change starts: master, scheduler, builders, seconds that it waits for more.
    starts: Vec<(&'a str, &'a str, Vec<&'a str>, Option<i64>)>,
    tag: String,
    /// Whether a new tag of this name is news; `None` where tags are none.
    is_news: Option<bool>,
}

impl<'a> App<'a> {
    fn of(read: &'a Read, record: &'a Record, more: &More<'_>) -> Self {
        let tag = more.tag.unwrap_or(TAG);
        let poller = match record {
            Record::App { id, poller: Ok(poller), .. } => Some(Polled::of(read, id, poller, tag)),
            _ => None,
        };
        let id = record.name();
        let own = format!("app {id}");
        let masters = read.description.pipeline.masters.keys().map(Name::as_str);
        let all = more.basedirs.into_iter().flat_map(|basedirs| {
            let of = |name| pause::paused(&basedirs.join(name)).into_iter().map(move |p| (name, p));
            masters.clone().flat_map(of)
        });
        let concerns =
            |(_, pause): &(_, Pause)| !pause.what.starts_with("app ") || pause.what == own;
        let pauses = all.filter(concerns).collect();
        Self { id, state: diff::state(record), poller, pauses }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "id": self.id,
            "active": self.poller.is_some(),
            "reason": self.state.why,
            "place": self.state.place,
            "paused": self.pauses.iter().map(|(master, pause)| json!({
                "master": master,
                "what": pause.what,
                "reason": pause.reason,
            })).collect::<Vec<_>>(),
            "poller": self.poller.as_ref().map(|polled| json!({
                "source": polled.poller,
                "shared-with": polled.shared,
                "next-poll": polled.next,
                "starts": polled.starts.iter().map(|(master, scheduler, builders, quiet_time)| json!({
                    "master": master,
                    "scheduler": scheduler,
                    "builders": builders,
                    "quiet-time": quiet_time,
                })).collect::<Vec<_>>(),
                "tag": polled.tag,
                "tag-is-news": polled.is_news,
            })),
        })
    }

    fn say(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", shown(self.id))?;
        let place = match &self.state.place.span {
            Some(span) => format!("{}:{}", self.state.place.file, span.line),
            None => self.state.place.file.clone(),
        };
        match &self.poller {
            None => {
                let why = self.state.why.as_deref().unwrap_or("it has no poller");
                writeln!(out, "  inactive  {why} ({place})")?;
            }
            Some(polled) => {
                writeln!(out, "  active    its update check says so ({place})")?;
                polled.say(out)?;
            }
        }
        for (master, pause) in &self.pauses {
            writeln!(out, "  paused    on `{master}`: {}", pause.line())?;
        }
        Ok(())
    }
}

impl<'a> Polled<'a> {
    fn of(read: &'a Read, id: &'a AppId, poller: &'a Poller, tag: &str) -> Self {
        let pollers = read.apps.pollers();
        let own = |repository: &&polls::Repository<'_>| repository.apps.contains(&id);
        let repositories = polls::repositories(&pollers);
        let repository = repositories.iter().find(own);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or_default();
        let (first, interval) = repository.map_or((id, poller.interval), |r| (r.first, r.interval));
        let ids = |name: &AppId| {
            read.apps.records.iter().find_map(|record| match record {
                Record::App { id, .. } if id == name => Some(id),
                _ => None,
            })
        };
        let shared = repository.map(|r| r.apps.iter().filter(|other| **other != id));
        let shared = shared.into_iter().flatten().filter_map(|other| ids(other)).collect();
        let masters = &read.description.pipeline.masters;
        let starts = masters.iter().flat_map(|(master, content)| {
            let waiting = content.schedulers.iter().filter(|(_, s)| s.on == Trigger::AppSource);
            waiting.map(|(name, scheduler)| {
                let builders = scheduler.builders.iter().map(Name::as_str).collect();
                let quiet_time =
                    scheduler.quiet_time.as_ref().map(fdroid_bb::config::Duration::as_secs);
                (master.as_str(), name.as_str(), builders, quiet_time)
            })
        });
        let is_news = match &poller.watch {
            Watch::GitTags { tags } => Some(pattern::matches(tags, tag)),
            Watch::GitTagsAndHead => Some(true),
            _ => None,
        };
        Self {
            poller,
            shared,
            next: polls::next_turn(first, interval, now),
            starts: starts.collect(),
            tag: tag.to_owned(),
            is_news,
        }
    }

    fn say(&self, out: &mut dyn Write) -> io::Result<()> {
        let news = match &self.poller.watch {
            Watch::GitTags { tags } if tags.is_empty() => "any new or moved tag".to_owned(),
            Watch::GitTagsAndHead => {
                "any new or moved tag, or a new commit on the default branch".to_owned()
            }
            Watch::GitTags { tags } => {
                format!("a new or moved tag that matches `{}`", shown(tags))
            }
            Watch::GitBranch { branch: None } => "a new commit on the default branch".to_owned(),
            Watch::Hg { branch: None } => "a new commit on `default`".to_owned(),
            Watch::GitBranch { branch: Some(branch) } | Watch::Hg { branch: Some(branch) } => {
                format!("a new commit on `{branch}`")
            }
            Watch::Svn => "a new revision".to_owned(),
        };
        writeln!(out, "  source    {}", self.poller.url)?;
        writeln!(out, "  news      {news}")?;
        let every = seconds(self.poller.interval);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let wait = seconds(self.next.saturating_sub(i64::try_from(now).unwrap_or_default()));
        let day = self.next.rem_euclid(86_400);
        let (hour, minute, second) = (day / 3600, day / 60 % 60, day % 60);
        writeln!(
            out,
            "  polled    each {every}, next at {hour:02}:{minute:02}:{second:02} UTC, in {wait}"
        )?;
        let check = seconds(self.poller.check_interval);
        writeln!(out, "  checked   each {check} besides, whatever its source says")?;
        if !self.shared.is_empty() {
            let names: Vec<&str> = self.shared.iter().map(|id| id.as_str()).collect();
            writeln!(out, "            by one call with {}", list(&names))?;
        }
        for (master, scheduler, builders, quiet_time) in &self.starts {
            let quiet_time = quiet_time
                .map_or_else(String::new, |s| format!(", once it is quiet for {}", seconds(s)));
            let builders = list(builders);
            writeln!(out, "  starts    {builders} of `{master}`, by `{scheduler}`{quiet_time}")?;
        }
        let tag = shown(&self.tag);
        match self.is_news {
            Some(true) => writeln!(out, "  tag       `{tag}` would start that"),
            Some(false) => {
                writeln!(out, "  tag       `{tag}` would start nothing: it does not match")
            }
            None => {
                writeln!(out, "  tag       `{tag}` would start nothing: tags are not looked at")
            }
        }
    }
}

fn seconds(number: i64) -> String {
    HumanDuration(std::time::Duration::from_secs(number.max(0).unsigned_abs())).to_string()
}
