//! The model as `generate` writes it: JSON, with a line for each key and each field, so that a
//! difference can be read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Field, Kind, Model, Object, flatten};
use crate::buildbot::{self, Master};
use crate::config::Places;

/// The version of the format. Another one is refused, not guessed at.
const FORMAT: u32 = 1;

/// The largest file that is read, in bytes. That of F-Droid's own masters has 150 KB.
const LARGEST: usize = 16 << 20;

/// The model of `masters`, as the text of its file.
#[must_use]
pub fn written(places: &Places, masters: &[Master]) -> String {
    let mut out = format!("{{\n\"format\": {FORMAT},\n\"description\": {{\n");
    let keys = places.values().map(|(path, value)| format!("{}: {value}", json(path)));
    out.push_str(&keys.collect::<Vec<_>>().join(",\n"));
    out.push_str("\n},\n\"objects\": [\n");
    let mut first = true;
    for master in masters {
        for (kind, object) in objects(master) {
            if !first {
                out.push_str(",\n");
            }
            first = false;
            write_object(&mut out, kind, &master.name, object);
        }
    }
    out.push_str("\n]\n}\n");
    out
}

/// All that a master has; of its pollers, what they share.
fn objects(master: &Master) -> impl Iterator<Item = (Kind, &buildbot::Object)> {
    let settings = master.settings.iter().map(|object| (Kind::Setting, object));
    let locks = master.locks.iter().map(|(_, object)| (Kind::Lock, object));
    let lists = [
        (Kind::Worker, &master.workers),
        (Kind::Builder, &master.builders),
        (Kind::Scheduler, &master.schedulers),
        (Kind::ChangeSource, &master.change_sources),
        (Kind::Service, &master.services),
    ];
    let lists =
        lists.into_iter().flat_map(|(kind, list)| list.iter().map(move |object| (kind, object)));
    let functions = master.poller_functions.iter().map(|(_, object)| (Kind::Poller, object));
    settings.chain(locks).chain(lists).chain(functions)
}

fn write_object(out: &mut String, kind: Kind, master: &str, object: &buildbot::Object) {
    let Object { origins, fields } = flatten::object(object);
    // Writing to a `String` cannot fail.
    let _ = write!(
        out,
        "{{\"kind\": {}, \"master\": {}, \"name\": {}, \"origins\": {}, \"fields\": {{",
        json(&kind),
        json(master),
        json(&object.name),
        json(&origins),
    );
    for (i, (way, field)) in fields.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(out, "{comma}\n{}: {{\"value\": {}", json(way), field.value);
        if field.origins != origins {
            let _ = write!(out, ", \"origins\": {}", json(&field.origins));
        }
        out.push('}');
    }
    out.push_str("\n}}");
}

/// On one line. What this program writes can be written as JSON.
fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "format")]
    _format: u32,
    description: BTreeMap<String, Value>,
    objects: Vec<FileObject>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileObject {
    kind: Kind,
    master: String,
    name: String,
    origins: Vec<String>,
    fields: BTreeMap<String, FileField>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileField {
    value: Value,
    origins: Option<Vec<String>>,
}

/// The model in a file, without what other files say.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(text: &str) -> Result<Model, String> {
    if text.len() > LARGEST {
        return Err(format!("it has more than {LARGEST} bytes"));
    }
    let damaged = |error: serde_json::Error| error.to_string();
    let Head { format } = serde_json::from_str(text).map_err(damaged)?;
    if format != FORMAT {
        return Err(format!("its format is {format}, not {FORMAT}"));
    }
    let file: File = serde_json::from_str(text).map_err(damaged)?;
    let mut model = Model { description: file.description, ..Model::default() };
    for FileObject { kind, master, name, origins, fields } in file.objects {
        let field = |(way, field): (String, FileField)| {
            let origins = field.origins.unwrap_or_else(|| origins.clone());
            (way, Field { value: field.value, origins })
        };
        let fields = fields.into_iter().map(field).collect();
        let object = Object { origins: origins.clone(), fields };
        if kind == Kind::Poller {
            model.functions.insert((master, name), object);
        } else {
            model.add(kind, &master, &name, object);
        }
    }
    Ok(model)
}
