//! The line of a poller, taken apart: its arguments, and what it shares with others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Field, Object};

/// A poller with all that it has: what the function that it calls gives to all, and its own.
pub(super) fn expanded(
    functions: &BTreeMap<(String, String), Object>,
    master: &str,
    call: &str,
) -> Object {
    let (function, arguments) = call.split_once('(').unwrap_or((call, ""));
    let shared = functions.get(&(master.to_owned(), function.to_owned()));
    let mut object = shared.cloned().unwrap_or_default();
    // The first is its name, which it is known by.
    for (i, argument) in split(arguments.strip_suffix(')').unwrap_or(arguments)).enumerate().skip(1)
    {
        let (name, value) = match argument.split_once('=') {
            _ if i == 1 => ("repourl", argument),
            Some(named) => named,
            None => continue,
        };
        let field = Field { value: value_of(value), origins: Vec::new() };
        object.fields.insert(name.to_owned(), field);
    }
    object
}

/// The arguments of a call, as they are written.
fn split(arguments: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(arguments);
    std::iter::from_fn(move || {
        let text = rest?.trim_start();
        let (mut quote, mut escaped) = (None, false);
        let end = text.bytes().position(|byte| {
            match (quote, byte) {
                _ if escaped => escaped = false,
                (Some(_), b'\\') => escaped = true,
                (Some(open), _) if open == byte => quote = None,
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b',') => return true,
                _ => {}
            }
            false
        });
        let (argument, more) = match end {
            Some(end) => (text.get(..end)?, text.get(end + 1..)),
            None => (text, None),
        };
        rest = more;
        Some(argument)
    })
}

/// A text, a number, or yes or no as JSON; what is written in another way as Python.
fn value_of(literal: &str) -> Value {
    let inside = literal.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match (inside, literal) {
        (Some(text), _) if !text.contains('\\') => json!(text),
        (_, "True") => json!(true),
        (_, number) => match number.parse::<i64>() {
            Ok(number) => json!(number),
            Err(_) => json!({ "python": literal }),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::buildbot::python::{Call, Expr};

    #[test]
    fn a_line_is_taken_apart() {
        let call = Call::new("git")
            .arg("org.example.a")
            .arg("https://x")
            .kwarg("tags", "a, b=\"c'")
            .kwarg("head", true)
            .kwarg("pollInterval", 60);
        let object = expanded(&BTreeMap::new(), "main", &Expr::from(call).one_line());
        let fields: Vec<_> =
            object.fields.iter().map(|(name, field)| (name.as_str(), &field.value)).collect();
        assert_eq!(
            fields,
            [
                ("head", &json!(true)),
                ("pollInterval", &json!(60)),
                ("repourl", &json!("https://x")),
                ("tags", &json!({ "python": r#""a, b=\"c'""# })),
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_hides_an_argument(tags: String) {
            let call = Call::new("git").arg("a").arg("u").kwarg("tags", &tags).kwarg("head", true);
            let object = expanded(&BTreeMap::new(), "", &Expr::from(call).one_line());
            prop_assert_eq!(object.fields.len(), 3);
        }

        #[test]
        fn nothing_panics(line: String) {
            let _ = expanded(&BTreeMap::new(), "", &line);
        }
    }
}
