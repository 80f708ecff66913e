//! Texts in which `{name}` stands for a property.

/// A text with properties in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// The value of the property of this name.
    Property(String),
}

impl Template {
    /// Reads a template: `{name}` is a property, `{{` and `}}` are braces.
    ///
    /// # Errors
    /// When a brace stands alone. Says so in words that end a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.next_if_eq(&c).is_some() => plain.push(c),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(c) => name.push(c),
                            None => return Err("has a `{` without its `}`"),
                        }
                    }
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Property(name));
                }
                '}' => return Err("has a `}` without its `{`"),
                c => plain.push(c),
            }
        }
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The path below `folder`.
    #[must_use]
    pub fn below(&self, folder: &str) -> Self {
        let mut parts = self.0.clone();
        match parts.first_mut() {
            Some(Part::Text(text)) => text.insert_str(0, &format!("{folder}/")),
            _ => parts.insert(0, Part::Text(format!("{folder}/"))),
        }
        Self(parts)
    }

    /// The pieces, in order. At least one.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The names of the properties in it.
    pub fn properties(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Property(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, Template};

    #[test]
    fn braces_name_properties_and_double_braces_are_braces() {
        let template = Template::parse("a{{b}}{packageName}:{versionCode}").unwrap();
        assert_eq!(
            template.parts(),
            [
                Part::Text("a{b}".into()),
                Part::Property("packageName".into()),
                Part::Text(":".into()),
                Part::Property("versionCode".into()),
            ]
        );
        assert_eq!(Template::parse("").unwrap().parts(), [Part::Text(String::new())]);
        assert!(Template::parse("a{b").is_err());
        assert!(Template::parse("a}b").is_err());
    }
}
