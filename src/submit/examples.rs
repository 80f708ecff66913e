//! Which builds try out a machine: of each shape the simplest.

use std::collections::BTreeMap;

use super::pending::{Built, pending};
use crate::fdroid::yaml::{self, Data, Node};
use crate::fdroid::{App, Build};
use crate::load::Tree;

/// What a build asks of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Gradle and the Android SDK.
    Gradle,
    /// The source of a library, too.
    Srclib,
    /// The developer's APK, to be compared with.
    Reproducible,
}

impl Shape {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gradle => "gradle",
            Self::Srclib => "srclib",
            Self::Reproducible => "reproducible",
        }
    }
}

/// Of each shape the current build that says least, the first by name; where no app has the
/// shape, none.
pub fn examples<'a>(
    tree: &Tree,
    apps: impl Iterator<Item = &'a App>,
) -> BTreeMap<Shape, (&'a App, &'a Build)> {
    let nothing = Built::default();
    let reader = tree.reader();
    let mut best: BTreeMap<Shape, (usize, &App, i128)> = BTreeMap::new();
    for app in apps {
        let Some(build) = pending(app, &nothing).next() else { continue };
        let text = reader.text(&format!("metadata/{}.yml", app.id)).unwrap_or_default();
        let Some((shape, size)) = shape(&text, build.version_code) else { continue };
        if best.get(&shape).is_none_or(|(least, ..)| size < *least) {
            best.insert(shape, (size, app, build.version_code));
        }
    }
    let build = |app: &'a App, code| app.builds.iter().find(|build| build.version_code == code);
    best.into_iter()
        .filter_map(|(shape, (_, app, code))| Some((shape, (app, build(app, code)?))))
        .collect()
}

/// The shape of a build, and how many flags it has.
fn shape(text: &str, code: i128) -> Option<(Shape, usize)> {
    let root = map(yaml::read(text).ok()??)?;
    let mut of_app = false;
    let mut flags = None;
    for (name, node) in root {
        match (name.as_str(), node.data) {
            ("Binaries", _) => of_app = true,
            ("Builds", Data::List(builds)) => {
                let mut builds = builds.into_iter().filter_map(map);
                flags = builds.find(|build| build.iter().any(|flag| is_code(flag, code)));
            }
            _ => {}
        }
    }
    let flags = flags?;
    let has = |wanted: &str| flags.iter().any(|(name, _)| name == wanted);
    let shape = if !has("gradle") {
        return None;
    } else if of_app || has("binary") {
        Shape::Reproducible
    } else if has("srclibs") {
        Shape::Srclib
    } else {
        Shape::Gradle
    };
    Some((shape, flags.len()))
}

fn is_code((name, node): &(String, Node<'_>), code: i128) -> bool {
    let number = match &node.data {
        Data::Scalar(scalar) => scalar.value.python_str().parse().ok(),
        _ => None,
    };
    name == "versionCode" && number == Some(code)
}

fn map(node: Node<'_>) -> Option<Vec<(String, Node<'_>)>> {
    let Data::Map(entries) = node.data else { return None };
    Some(
        entries
            .into_iter()
            .map(|(key, node)| (key.value.python_str().into_owned(), node))
            .collect(),
    )
}
