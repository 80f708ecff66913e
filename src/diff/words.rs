//! A difference in words: for a terminal, for a merge request, for machines.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::effect::Effect;
use super::files::is_extra;
use super::{Cause, Change, Diff, FORMAT, Field, File, Side, What};
use crate::buildbot::python::literal;
use crate::model::Kind;
use crate::text::{count, visible};

/// The longest value that is shown whole, in characters.
const LONGEST: usize = 200;

/// How many objects that differ in the same way are shown one by one.
const FEW: usize = 3;

/// The most names that a group of equal changes spells out.
const NAMES: usize = 10;

/// How a difference is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For a terminal.
    Text,
    /// For a merge request: `CommonMark` as GitLab and GitHub have it.
    Markdown,
}

impl Diff {
    /// All that there is to say in one line: `+3 ~12 −1, safe to reconfigure`.
    #[must_use]
    pub fn summary(&self) -> String {
        let edited = self.files.iter().filter(|file| file.edited).count();
        let mut more = String::new();
        if self.blind.is_some() {
            more.push_str(", not analysed");
        }
        if edited > 0 {
            more = format!("{more}, {} edited by hand", count(edited, "file"));
        }
        if self.changes.is_empty() {
            return format!("no changes{more}");
        }
        let (added, changed, removed) = self.counts();
        let mut causes: Vec<String> = Vec::new();
        for change in self.restarts() {
            let cause = match change.key.kind {
                Kind::Runtime => "the runtime".to_owned(),
                kind => format!("{kind} {} of {}", change.key.name, change.key.master),
            };
            if !causes.contains(&cause) {
                causes.push(cause);
            }
        }
        let verdict = if self.changes.iter().all(|change| change.effect == Effect::Nothing) {
            "nothing to reconfigure".to_owned()
        } else if causes.is_empty() {
            "safe to reconfigure".to_owned()
        } else {
            format!("restart needed: {}", causes.join(", "))
        };
        format!("+{added} ~{changed} −{removed}, {verdict}{more}")
    }

    /// The difference in words, in at most `limit` bytes, if there is one. The first line says
    /// all; what is gone is told object by object, before all else; what does not fit is counted.
    #[must_use]
    pub fn words(&self, style: Style, limit: Option<usize>) -> String {
        let summary = self.summary();
        let mut out = match style {
            Style::Text => format!("{summary}\n"),
            Style::Markdown => format!("**{summary}**\n"),
        };
        let limit = limit.unwrap_or(usize::MAX);
        if let Some((side, why)) = &self.blind {
            let set = match side {
                Side::Old => "old",
                Side::New => "new",
            };
            let help = "what differs is shown as text, and nobody can tell what it does";
            out = format!("{out}\nThe {set} set cannot be analysed: {why}; {help}.\n");
        }
        let mut heading = "";
        let mut left: BTreeMap<&str, usize> = BTreeMap::new();
        for group in self.groups() {
            let Some(first) = group.first() else { continue };
            let title = title(&first.what);
            let mut text = String::new();
            if title != heading {
                let (before, after) = match style {
                    Style::Text => ("\n", "\n"),
                    Style::Markdown => ("\n### ", "\n\n"),
                };
                text.extend([before, title, after]);
            }
            text.push_str(&entry(&group, style));
            if !left.is_empty() || out.len() + text.len() + ROOM > limit {
                *left.entry(title).or_default() += group.len();
            } else {
                out.push_str(&text);
                heading = title;
            }
        }
        for (i, file) in self.files.iter().enumerate() {
            let text = file_words(file, i == 0, style);
            if !left.is_empty() || out.len() + text.len() + ROOM > limit {
                *left.entry("Shown as text").or_default() += 1;
            } else {
                out.push_str(&text);
            }
        }
        if !left.is_empty() {
            let left: Vec<String> =
                left.iter().map(|(title, n)| format!("{n} {}", title.to_lowercase())).collect();
            out.extend(["\nLeft out, for there is no room: ", &left.join(", "), ".\n"]);
        }
        out
    }

    /// The difference for machines.
    #[must_use]
    pub fn json(&self) -> Value {
        let (added, changed, removed) = self.counts();
        json!({
            "format": FORMAT,
            "summary": self.summary(),
            "added": added,
            "changed": changed,
            "removed": removed,
            "restart": self.restarts().next().is_some(),
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
            "not-analysed": self.blind.as_ref().map(|(_, why)| why.to_string()),
            "files": self.files.iter().map(|file| json!({
                "file": file.path,
                "edited": file.edited,
                "diff": file.lines,
            })).collect::<Vec<_>>(),
        })
    }

    /// Changes that are alike, together; those that take something away never are.
    fn groups(&self) -> Vec<Vec<&Change>> {
        let mut groups: Vec<Vec<&Change>> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for change in &self.changes {
            let alike = likeness(change);
            let group = alike.as_ref().and_then(|alike| known.get(alike));
            if let Some(group) = group.and_then(|i| groups.get_mut(*i)) {
                group.push(change);
            } else {
                known.extend(alike.map(|alike| (alike, groups.len())));
                groups.push(vec![change]);
            }
        }
        let few = |group: Vec<_>| match group.len() {
            n if n > FEW => vec![group],
            _ => group.into_iter().map(|change| vec![change]).collect(),
        };
        groups.into_iter().flat_map(few).collect()
    }
}

/// What is kept free for the line that counts what is left out.
const ROOM: usize = 200;

/// A file that is compared as text.
fn file_words(file: &File, is_first: bool, style: Style) -> String {
    let mut out = match (is_first, style) {
        (true, Style::Text) => "\nShown as text\n".to_owned(),
        (true, Style::Markdown) => "\n### Shown as text\n".to_owned(),
        (false, _) => String::new(),
    };
    let why = if file.edited {
        "edited by hand, so what it does is not analysed"
    } else if is_extra(&file.path) {
        "the site's own code, not analysed"
    } else {
        "not analysed"
    };
    let path = code(&file.path, style);
    match style {
        Style::Text => {
            out = format!("{out}  {path}: {why}\n");
            out.extend(file.lines.iter().flat_map(|line| ["      ", line.as_str(), "\n"]));
        }
        Style::Markdown => {
            let longest = file.lines.iter().map(|line| ticks(line)).max().unwrap_or_default();
            let fence = "`".repeat(longest.max(2) + 1);
            out = format!(
                "{out}\n{path}: {why}\n\n{fence}diff\n{}\n{fence}\n",
                file.lines.join("\n")
            );
        }
    }
    out
}

fn title(what: &What) -> &'static str {
    match what {
        What::Removed => "Removed",
        What::Changed => "Changed",
        What::Renamed { .. } => "Renamed",
        What::Added => "Added",
    }
}

/// What changes have in common that are told as one.
fn likeness(change: &Change) -> Option<String> {
    let fields: Vec<String> = match change.what {
        What::Changed => change
            .fields
            .iter()
            .map(|field| format!("{}{:?}{:?}{:?}", field.way, field.old, field.new, key(field)))
            .collect(),
        // What is new is read one by one, but for the runtime's files and apps without pollers.
        What::Added if matches!(change.key.kind, Kind::App | Kind::Runtime) => {
            vec![values(change, "state")]
        }
        _ => return None,
    };
    // Each file of the runtime has a sum of its own, which tells nobody anything.
    let fields = if change.key.kind == Kind::Runtime { Vec::new() } else { fields };
    Some(format!("{:?}{:?}{}{fields:?}", change.what, change.key.kind, change.key.master))
}

/// The key that made a value differ: what does so for many reasons is not alike.
fn key(field: &Field) -> Option<&str> {
    field.cause.as_ref()?.key.as_deref()
}

fn values(change: &Change, way: &str) -> String {
    let field = change.fields.iter().find(|field| field.way == way);
    field.and_then(|field| field.new.as_ref()).map(shown).unwrap_or_default()
}

/// One object, or several that are alike.
fn entry(group: &[&Change], style: Style) -> String {
    let Some(first) = group.first() else { return String::new() };
    let code = |text: &str| code(text, style);
    let names: Vec<String> =
        group.iter().take(NAMES).map(|change| code(&change.key.name)).collect();
    let more = group.len().saturating_sub(NAMES);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let kind = first.key.kind.to_string();
    let kind = if group.len() == 1 { kind } else { count(group.len(), &kind) };
    let of = match first.key.master.as_str() {
        "" => String::new(),
        master => format!(" of {master}"),
    };
    let from = match &first.what {
        What::Renamed { from } => format!(", which was {}", code(from)),
        _ => String::new(),
    };
    let mut line = format!("{kind} {}{more}{from}{of}", names.join(", "));
    let inline = (first.key.kind == Kind::Poller).then(|| poller(first, style)).flatten();
    if let Some(inline) = &inline {
        line.push_str(inline);
    } else if first.effect != Effect::Nothing {
        line.push_str(": ");
        line.push_str(&first.effect.words(first.key.kind));
    }
    if let Some(cause) = first.cause.as_ref().filter(|_| group.len() == 1) {
        line.extend([" (", &because(cause, style), ")"]);
    }
    let (bullet, inner) = match style {
        Style::Text => (format!("  {} ", sign(&first.what)), "      "),
        Style::Markdown => ("- ".to_owned(), "  - "),
    };
    let mut out = format!("{bullet}{line}\n");
    for field in told(first).filter(|_| inline.is_none()) {
        out.push_str(inner);
        let is_shared = |other: &&Change| {
            other.fields.iter().any(|f| f.way == field.way && f.cause == field.cause)
        };
        out.push_str(&value_line(field, group.iter().all(is_shared), style));
        out.push('\n');
    }
    out
}

/// A poller that comes or goes, on one line, for there are many: `: starts with "https://…"`.
fn poller(change: &Change, style: Style) -> Option<String> {
    let (verb, side): (_, fn(&Field) -> &Option<Value>) = match change.what {
        What::Added => ("starts with", |field| &field.new),
        What::Removed => ("stops; it had", |field| &field.old),
        What::Changed | What::Renamed { .. } => return None,
    };
    let value = |way: &str| {
        let field = change.fields.iter().find(|field| field.way == way)?;
        Some(short(side(field).as_ref()?, style))
    };
    let others = ["tags", "branch"].map(|way| value(way).map(|text| format!(", {way} {text}")));
    Some(format!(
        ": {verb} {}{}",
        value("repourl")?,
        others.into_iter().flatten().collect::<String>()
    ))
}

fn sign(what: &What) -> char {
    match what {
        What::Removed => '−',
        What::Changed | What::Renamed { .. } => '~',
        What::Added => '+',
    }
}

/// The values worth telling: of what is gone, none.
fn told(change: &Change) -> impl Iterator<Item = &Field> {
    let nothing = change.key.kind == Kind::Runtime
        || (change.what == What::Removed && change.key.kind != Kind::App);
    change.fields.iter().filter(move |_| !nothing)
}

/// A value as Python has it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => literal(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        Value::Object(_) => python(value).map_or_else(|| value.to_string(), ToOwned::to_owned),
    }
}

/// What JSON has not, as Python.
fn python(value: &Value) -> Option<&str> {
    value.as_object().filter(|object| object.len() == 1)?.get("python")?.as_str()
}

/// A value, cut where it is too long.
fn short(value: &Value, style: Style) -> String {
    let text = shown(value);
    let mut cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    code(&cut, style)
}

fn value_line(field: &Field, with_cause: bool, style: Style) -> String {
    let value = |value: &Value| short(value, style);
    let way = if field.way.is_empty() { "class" } else { &field.way };
    let mut line = match (&field.old, &field.new) {
        (Some(old), Some(new)) => format!("{way}: {} → {}", value(old), value(new)),
        (Some(old), None) => format!("{way}: {} → nothing", value(old)),
        (None, Some(new)) => format!("{way}: {}", value(new)),
        (None, None) => way.to_owned(),
    };
    if let Some(cause) = field.cause.as_ref().filter(|_| with_cause) {
        line.extend([" (", &because(cause, style), ")"]);
    }
    line
}

/// `metadata/org.example.yml:12, disabled`; where no place is known, the key.
fn because(cause: &Cause, style: Style) -> String {
    let place = match (&cause.place, &cause.key) {
        (Some(place), _) => match &place.span {
            Some(span) => Some(format!("{}:{}", place.file, span.line)),
            None => Some(place.file.clone()),
        },
        (None, Some(key)) => Some(key.clone()),
        (None, None) => None,
    };
    let parts =
        [place.map(|place| code(&place, style)), cause.why.as_ref().map(|w| plain(w, style))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Text as it stands: in Markdown between more backticks than it has in a row.
fn code(text: &str, style: Style) -> String {
    let text = visible(text);
    if style == Style::Text {
        return text;
    }
    let longest = ticks(&text);
    let ticks = "`".repeat(longest + 1);
    // A space on both sides is taken away again, and none would join the ticks.
    let space = if longest > 0 || text.is_empty() { " " } else { "" };
    format!("{ticks}{space}{text}{space}{ticks}")
}

/// How many backticks it has in a row.
fn ticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

/// Words that may hold names in backticks, but no other Markdown.
fn plain(text: &str, style: Style) -> String {
    if style == Style::Text { visible(text) } else { code(&text.replace('`', "'"), style) }
}

fn change(change: &Change) -> Value {
    let (what, from) = match &change.what {
        What::Added => ("added", None),
        What::Removed => ("removed", None),
        What::Changed => ("changed", None),
        What::Renamed { from } => ("renamed", Some(from)),
    };
    let master = Some(&change.key.master).filter(|master| !master.is_empty());
    json!({
        "kind": change.key.kind,
        "master": master,
        "name": change.key.name,
        "change": what,
        "from": from,
        "effect": change.effect,
        "cause": change.cause.as_ref().map(cause),
        "fields": change.fields.iter().map(|field| json!({
            "field": if field.way.is_empty() { "class" } else { &field.way },
            "old": field.old.as_ref().map(value),
            "new": field.new.as_ref().map(value),
            "cause": field.cause.as_ref().map(cause),
        })).collect::<Vec<_>>(),
    })
}

fn cause(cause: &Cause) -> Value {
    json!({
        "file": cause.place.as_ref().map(|place| &place.file),
        "line": cause.place.as_ref().and_then(|place| place.span).map(|span| span.line),
        "key": cause.key,
        "why": cause.why,
    })
}

/// A value as JSON has it; what JSON has not, as Python.
fn value(value: &Value) -> Value {
    match python(value) {
        Some(python) => json!(python),
        None => value.clone(),
    }
}
