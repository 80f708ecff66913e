//! Descriptions and metadata as they are written, and what they compile to.

use std::fs;
use std::path::Path;

use fdroid_bb::compile::{self, Detail};
use fdroid_bb::config::Sources;
use fdroid_bb::diff::{ByName, Causes, Diff};
use fdroid_bb::load::Tree;
use fdroid_bb::model::Model;
use fdroid_bb::write::OutputSet;

/// Metadata: names, each with what stands in its file. A name with a `/` is a path.
pub type Metadata<'a> = &'a [(&'a str, &'a str)];

/// A description and metadata, with the set that they compile to.
pub struct State {
    pub description: compile::Description,
    pub apps: compile::Metadata,
    pub set: OutputSet,
}

/// Compiles both. `NAME` in metadata is the name.
pub fn state(description: &str, metadata: Metadata<'_>) -> State {
    let sources = Sources::of_text("fdroid-bb.toml", description).unwrap();
    of_sources(sources, metadata)
}

/// The same of a description of several files.
pub fn of_sources(sources: Sources, metadata: Metadata<'_>) -> State {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("metadata")).unwrap();
    for (name, text) in metadata {
        let path = if name.contains('/') { (*name).to_owned() } else { format!("metadata/{name}") };
        let file = folder.path().join(format!("{path}.yml"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text.replace("NAME", name)).unwrap();
    }
    let description = compile::describe(sources).unwrap();
    let tree = Tree::open(Path::new(folder.path()), None).unwrap();
    let apps = compile::apps(&description, &tree, Detail::Whole, &|_, _| ()).unwrap();
    let files = compile::output(&description.pipeline, &apps.pollers()).unwrap();
    State { description, apps, set: set(files) }
}

/// A set of `files`.
pub fn set(files: impl IntoIterator<Item = (String, String)>) -> OutputSet {
    let mut set = OutputSet::new();
    for (path, text) in files {
        set.insert(path, text).unwrap();
    }
    set
}

/// What differs between two states of fdroiddata.
pub fn difference(old: &State, new: &State) -> Diff {
    let causes = Causes {
        places: Some(&new.description.pipeline.places),
        old: Some(ByName::new(&old.apps)),
        new: Some(ByName::new(&new.apps)),
    };
    Diff::new((&old.set, &Model::read(&old.set)), (&new.set, &Model::read(&new.set)), &causes)
}

/// What `plan` says of a new state, for which only the old set is known.
pub fn planned(old: &State, new: &State) -> Diff {
    let places = Some(&new.description.pipeline.places);
    let causes = Causes { places, old: None, new: Some(ByName::new(&new.apps)) };
    Diff::new((&old.set, &Model::read(&old.set)), (&new.set, &Model::read(&new.set)), &causes)
}
