//! The library's modules import only what the layers allow, and nothing in a circle.
//!
//! What is read are tokens, so that paths in macros count and those in comments and texts do not.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like the tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter::Peekable;
use std::path::Path;

use proc_macro2::token_stream::IntoIter;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The modules of the crate, each with what it imports, all of which stands above it.
const LAYERS: &[(&str, &str)] = &[
    // What knows nothing of F-Droid.
    ("text", ""),
    ("process", "text"),
    ("finding", ""),
    ("pattern", ""),
    ("remote", ""),
    ("template", ""),
    // Vocabularies, and the stages before `lower`, none of which knows Buildbot.
    ("fdroid", "finding"),
    ("load", "finding process text"),
    ("parse", "fdroid finding"),
    ("config", "finding remote text"),
    ("pipeline", "config remote template"),
    ("resolve", "config fdroid finding pattern pipeline remote template text"),
    ("polls", "fdroid resolve"),
    ("graph", "config pipeline"),
    // Buildbot's vocabulary, and the stages that have it.
    ("buildbot", "config"),
    ("lower", "buildbot config fdroid pipeline resolve template"),
    ("render", "buildbot pipeline"),
    ("write", ""),
    ("model", "buildbot config pipeline render write"),
    // All stages in a row, and what is done with that.
    ("cache", "fdroid finding remote resolve write"),
    (
        "compile",
        "buildbot cache config fdroid finding load lower model parse pipeline polls render resolve \
         text write",
    ),
    (
        "diff",
        "buildbot compile config fdroid finding load lower model pipeline render resolve text write",
    ),
    ("apply", "diff model pipeline process render text write"),
    ("submit", "fdroid finding load parse process text"),
    ("publish", "fdroid parse process text"),
    ("verified", "fdroid"),
    ("update", "fdroid load parse process text"),
    ("shadow", "fdroid publish update"),
];

/// Folders whose files import each other, but in no circle.
const WITHOUT_CIRCLES: &[&str] = &["config", "fdroid", "resolve"];

type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn modules_import_what_their_layer_allows_and_nothing_else() {
    let mut found = Imports::new();
    for (module, text) in sources("src") {
        let top = module.split('/').next().unwrap().to_owned();
        let used = found.entry(top.clone()).or_default();
        let names = paths(&text).into_iter().map(|path| absolute(&module, path)[0].clone());
        used.extend(names.filter(|name| *name != top));
    }
    let mut wrong = Vec::new();
    let mut above = BTreeSet::new();
    for (module, allowed) in LAYERS {
        let allowed: BTreeSet<String> = allowed.split_whitespace().map(str::to_owned).collect();
        let used = found.remove(*module).unwrap_or_default();
        let list = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>().join(", ");
        let more = list(used.difference(&allowed).collect());
        let fewer = list(allowed.difference(&used).collect());
        let below = list(allowed.difference(&above).collect());
        let says = [("may not import", more), ("no longer imports", fewer), ("is above", below)];
        let says = says.iter().filter(|(_, names)| !names.is_empty());
        wrong.extend(says.map(|(what, names)| format!("`{module}` {what} {names}")));
        above.insert((*module).to_owned());
    }
    wrong.extend(found.keys().map(|module| format!("`{module}` has no layer")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_of_a_folder_import_each_other_in_a_circle() {
    for folder in WITHOUT_CIRCLES {
        let mut left = imports_inside(folder);
        assert!(left.values().any(|names| !names.is_empty()), "{folder}: no imports were found");
        // Whoever imports nothing that is left is in no circle.
        loop {
            let names: BTreeSet<String> = left.keys().cloned().collect();
            let before = left.len();
            left.retain(|_, used| used.intersection(&names).next().is_some());
            if left.len() == before {
                break;
            }
        }
        assert!(left.is_empty(), "{folder} has a circle among these: {left:#?}");
    }
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let text = r#"
        //! [`not this`](crate::comment::At)
        use crate::a::{self, b::C, d};
        use super::{e, f as g};
        fn h() { let _ = format!("crate::text::X {}", crate::i::j(self.k)); machines::resolve(); }
        #[cfg(test)]
        mod tests { use super::not_this; }
    "#;
    let found: Vec<String> = paths(text).iter().map(|path| path.join("::")).collect();
    let wanted = [
        "crate::a::self",
        "crate::a::b::C",
        "crate::a::d",
        "super::e",
        "super::f",
        "crate::i::j",
        "machines::resolve",
    ];
    assert_eq!(found, wanted);
}

/// Each file of the library below `folder`, as the path of its module, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.unwrap();
        let name = entry.path().strip_prefix(&root).unwrap().to_str().unwrap();
        let Some(name) = name.strip_suffix(".rs") else { continue };
        if name != "lib" && !name.starts_with("bin/") {
            let name = name.strip_suffix("/mod").unwrap_or(name).to_owned();
            found.push((name, fs::read_to_string(entry.path()).unwrap()));
        }
    }
    found
}

/// What each file in a folder imports of that folder; the folder itself is `mod`.
fn imports_inside(folder: &str) -> Imports {
    let texts = sources(&format!("src/{folder}"));
    let child = |module: &str| module.strip_prefix(&format!("{folder}/")).map(str::to_owned);
    // Where each name that the folder gives on is defined.
    let mut homes = BTreeMap::new();
    for (module, text) in &texts {
        let Some(child) = child(module) else { continue };
        homes.insert(child.clone(), child.clone());
        for name in defined(text.parse().unwrap()) {
            homes.entry(name).or_insert_with(|| child.clone());
        }
    }
    let mut found = Imports::new();
    for (module, text) in &texts {
        let me = child(module).unwrap_or_else(|| "mod".to_owned());
        let used = found.entry(me.clone()).or_default();
        for path in paths(text) {
            let path = absolute(module, path);
            if path[0] != *folder || path.len() < 2 {
                continue;
            }
            let home = homes.get(&path[1]).cloned().unwrap_or_else(|| "mod".to_owned());
            if home != me {
                used.insert(home);
            }
        }
    }
    found
}

/// The names of the items that stand in a file itself.
fn defined(tokens: TokenStream) -> Vec<String> {
    let words: Vec<String> = tokens.into_iter().map(|token| token.to_string()).collect();
    let kinds = ["struct", "enum", "fn", "const", "static", "type", "trait"];
    words.windows(2).filter(|pair| kinds.contains(&&*pair[0])).map(|pair| pair[1].clone()).collect()
}

/// A path without `crate`, `super` and `self`, as seen from a module. One that starts with another
/// name stays in the module: what `use` brought counts there, and `mod.rs` declares what it names.
fn absolute(module: &str, path: Vec<String>) -> Vec<String> {
    let mut base: Vec<String> = module.split('/').map(str::to_owned).collect();
    for name in path {
        match name.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => base.push(name),
        }
    }
    base
}

/// All paths of two names or more in a text, but for those of its tests.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    collect(text.parse().unwrap(), &mut found);
    found
}

fn collect(tokens: TokenStream, found: &mut Vec<Vec<String>>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut of_tests = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(name) if name == "mod" && of_tests => {
                of_tests = false;
                tokens.by_ref().take(2).for_each(drop);
            }
            TokenTree::Ident(name) => path(vec![name.to_string()], &mut tokens, found),
            TokenTree::Group(group) => {
                of_tests |= group.stream().to_string() == "cfg (test)";
                collect(group.stream(), found);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The rest of a path that has begun, with each of what its braces hold.
fn path(mut names: Vec<String>, tokens: &mut Peekable<IntoIter>, found: &mut Vec<Vec<String>>) {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ':');
    while tokens.next_if(is_colon).is_some() {
        if tokens.next_if(is_colon).is_none() {
            // A type follows, or a value.
            break;
        }
        match tokens.peek() {
            Some(TokenTree::Ident(name)) => {
                names.push(name.to_string());
                tokens.next();
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let mut inside = group.stream().into_iter().peekable();
                tokens.next();
                while let Some(token) = inside.next() {
                    match token {
                        TokenTree::Ident(name) if name == "as" => drop(inside.next()),
                        TokenTree::Ident(name) => {
                            path([&*names, &[name.to_string()]].concat(), &mut inside, found);
                        }
                        _ => {}
                    }
                }
                return;
            }
            _ => break,
        }
    }
    if names.len() > 1 {
        found.push(names);
    }
}
