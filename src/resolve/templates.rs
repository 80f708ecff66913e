//! Texts with properties in them.

use std::collections::BTreeMap;

use super::context::Context;
use super::properties::BUILDBOT_PROPERTIES;
use crate::config::{Builder, EnvName, Name, Path, PropertyType, TextOrSecret};
use crate::finding::Code;
use crate::pipeline::Variable;
use crate::template::Template;
use crate::text::shown;

/// Properties that Buildbot makes itself, in no way that a sender of changes chooses.
const OWN_PROPERTIES: &[&str] = &["buildername", "buildnumber", "got_revision", "workername"];

/// Reads the templates of one builder.
pub(super) struct Templates<'c, 'a, 't> {
    pub(super) context: &'c mut Context<'a, 't>,
    pub(super) builder: &'c Builder,
}

impl Templates<'_, '_, '_> {
    pub(super) fn one(&mut self, path: &Path, text: &str) -> Option<Template> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(what) => {
                let message = format!("`{}` {what}", shown(text));
                let help = "write `{name}` for a property, `{{` and `}}` for braces";
                self.context.at_value(Code::ConfigValue, path, message, help);
                return None;
            }
        };
        let declared = self.builder.properties.keys().map(Name::as_str);
        let known: Vec<&str> = declared.chain(BUILDBOT_PROPERTIES.iter().copied()).collect();
        for name in template.properties() {
            if !known.contains(&name) {
                let known = known.iter().copied();
                self.context.unknown(path, false, "property", name, known);
            }
        }
        Some(template)
    }

    /// A template whose properties are all of a type that leaves no room for surprises: no spaces,
    /// no `..` and, of what Buildbot gives, nothing that a sender of changes has written.
    pub(super) fn safe(&mut self, path: &Path, text: &str) -> Option<Template> {
        let template = self.one(path, text)?;
        for name in template.properties() {
            let declared = self.builder.properties.iter().find(|(known, _)| known.as_str() == name);
            let is_free = match declared {
                Some((_, property)) => property.r#type == PropertyType::Text,
                None => BUILDBOT_PROPERTIES.contains(&name) && !OWN_PROPERTIES.contains(&name),
            };
            if is_free {
                let message =
                    format!("`{}` may hold any text, which cannot stand here", shown(name));
                let help =
                    "declare it in the builder with another type, such as `word` or `branch`";
                self.context.at_value(Code::ConfigValue, path, message, help);
            }
        }
        Some(template)
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
                TextOrSecret::Text(text) => {
                    self.safe(&path.key(name.as_str()), text).map(Variable::Text)
                }
            };
            resolved.extend(value.map(|value| (name.clone(), value)));
        }
        resolved
    }

    pub(super) fn all(&mut self, path: &Path, texts: &[String]) -> Option<Vec<Template>> {
        let read: Vec<_> =
            texts.iter().enumerate().map(|(i, text)| self.one(&path.index(i), text)).collect();
        read.into_iter().collect()
    }

    pub(super) fn copy(
        &mut self,
        path: &Path,
        from: &str,
        to: &str,
    ) -> Option<(Template, Template)> {
        let from = self.one(&path.key("from"), from);
        let to = self.one(&path.key("to"), to);
        from.zip(to)
    }
}
