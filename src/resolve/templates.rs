//! Texts with properties in them.

use std::collections::BTreeMap;

use super::context::Context;
use super::properties::{BUILDBOT_PROPERTIES, SENT_PROPERTIES, usual_type};
use super::shell;
use crate::config::{Builder, EnvName, Name, Path, PropertyUse, TextOrSecret};
use crate::finding::Code;
use crate::pipeline::Variable;
use crate::template::Template;
use crate::text::shown;

/// Reads the templates of one builder.
pub(super) struct Templates<'c, 'a, 't> {
    pub(super) context: &'c mut Context<'a, 't>,
    pub(super) builder: &'c Builder,
}

impl Templates<'_, '_, '_> {
    /// A template that is put in as `place` says: each of its properties is declared, or given by
    /// Buildbot itself, and of a type that may stand there.
    pub(super) fn one(&mut self, path: &Path, text: &str, place: PropertyUse) -> Option<Template> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(what) => {
                let message = format!("`{}` {what}", shown(text));
                let help = "write `{name}` for a property, `{{` and `}}` for braces";
                self.context.at_value(Code::ConfigValue, path, message, help);
                return None;
            }
        };
        for name in template.properties() {
            self.check_property(path, name, place);
        }
        Some(template)
    }

    fn check_property(&mut self, path: &Path, name: &str, place: PropertyUse) {
        let declared = self.builder.properties.iter().find(|(known, _)| known.as_str() == name);
        if let Some((_, property)) = declared {
            if !property.r#type.rule().fits(place) {
                let message =
                    format!("`{}` may hold any text, which cannot stand here", shown(name));
                let help = "declare it with another type, such as `word` or `branch`";
                self.context.at_value(Code::ConfigValue, path, message, help);
            }
        } else if SENT_PROPERTIES.contains(&name) {
            let message = format!("`{name}` is what a sender of changes has written");
            let declaration = format!("properties.{name} = {{ type = \"{}\" }}", usual_type(name));
            let help = format!("declare in the builder what it must be: `{declaration}`");
            self.context.at_value(Code::ConfigValue, path, message, help);
        } else if !BUILDBOT_PROPERTIES.contains(&name) {
            let known = self.builder.properties.keys().map(Name::as_str);
            let own = BUILDBOT_PROPERTIES.iter().copied();
            let known: Vec<&str> =
                known.chain(own.filter(|name| !SENT_PROPERTIES.contains(name))).collect();
            self.context.unknown(path, false, "property", name, known);
        }
    }

    pub(super) fn env(
        &mut self,
        path: &Path,
        env: &BTreeMap<EnvName, TextOrSecret>,
    ) -> BTreeMap<EnvName, Variable> {
        let mut resolved = BTreeMap::new();
        for (name, value) in env {
            let value = match value {
                TextOrSecret::Secret(secret) => Some(Variable::Secret(secret.clone())),
                TextOrSecret::Text(text) => self
                    .one(&path.key(name.as_str()), text, PropertyUse::Environment)
                    .map(Variable::Text),
            };
            resolved.extend(value.map(|value| (name.clone(), value)));
        }
        resolved
    }

    /// The words of a command.
    pub(super) fn words(&mut self, path: &Path, texts: &[String]) -> Option<Vec<Template>> {
        let mut read = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            let path = path.index(i);
            let template = self.one(&path, text, PropertyUse::Argument);
            let code = template.as_ref().and_then(|template| template.properties().next());
            if let (Some(name), Some(program)) = (code, shell::taken_apart_by(texts, i)) {
                let message = format!(
                    "`{}` would be code here, for `{program}` takes this apart",
                    shown(name)
                );
                let help = if program == "ssh" {
                    "let that machine read it from a file, or from its standard input"
                } else {
                    "let the script have it as `\"$0\"` or `\"$1\"`: a word of its own behind it"
                };
                self.context.at_value(Code::ConfigValue, &path, message, help);
            }
            read.push(template);
        }
        read.into_iter().collect()
    }

    pub(super) fn copy(
        &mut self,
        path: &Path,
        from: &str,
        to: &str,
    ) -> Option<(Template, Template)> {
        let from = self.one(&path.key("from"), from, PropertyUse::Path);
        let to = self.one(&path.key("to"), to, PropertyUse::Path);
        from.zip(to)
    }
}
