//! Reads back the Python that [`python`](super::python) writes: expressions of texts, numbers,
//! names, brackets and calls. What else Python has is refused, so nothing is ever run.

use super::python::{Call, Expr, Ident, Name};

/// How deep brackets may stand in each other. What this program writes has less than ten.
const DEEPEST: usize = 100;

/// What is not as this program writes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {expected} is expected here")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What would be right.
    pub expected: &'static str,
}

/// An assignment: what stands before the ` = `, and the expression.
pub type Assignment<'t> = (&'t str, Expr);

/// The assignments of a module whose targets `is_wanted`, in their order. All other statements are
/// passed over.
///
/// # Errors
/// When a wanted assignment has no expression that this program writes.
pub fn assignments(
    text: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Assignment<'_>>, ParseError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let line = rest.lines().next().unwrap_or_default();
        match line.split_once(" = ") {
            Some((target, _)) if is_wanted(target) => {
                let mut parser = Parser { text, at: at + target.len() + " = ".len() };
                let expr = parser.expr(0)?;
                parser.end_of_line()?;
                at = parser.at;
                found.push((target, expr));
            }
            _ => at += line.len() + 1,
        }
    }
    Ok(found)
}

struct Parser<'t> {
    text: &'t str,
    /// The byte that comes next.
    at: usize,
}

impl Parser<'_> {
    fn expected(&self, expected: &'static str) -> ParseError {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        ParseError { line: before.matches('\n').count() + 1, expected }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn end_of_line(&self) -> Result<(), ParseError> {
        match self.peek() {
            None | Some(b'\n') => Ok(()),
            Some(_) => Err(self.expected("the end of the line")),
        }
    }

    fn expr(&mut self, depth: usize) -> Result<Expr, ParseError> {
        if depth > DEEPEST {
            return Err(self.expected("less depth"));
        }
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => Ok(Expr::Str(self.string(quote)?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[') => {
                self.at += 1;
                Ok(Expr::List(self.items(b']', depth)?.0))
            }
            Some(b'(') => {
                self.at += 1;
                let (mut items, comma) = self.items(b')', depth)?;
                match items.pop() {
                    // Parentheses around what is too long for a line.
                    Some(only) if items.is_empty() && !comma => Ok(only),
                    last => Ok(Expr::Tuple(items.into_iter().chain(last).collect())),
                }
            }
            Some(b'{') => {
                self.at += 1;
                self.dict(depth)
            }
            _ => self.name_or_call(depth),
        }
    }

    /// Elements up to `close`, and whether the last has a comma.
    fn items(&mut self, close: u8, depth: usize) -> Result<(Vec<Expr>, bool), ParseError> {
        let mut items = Vec::new();
        let mut comma = true;
        loop {
            self.skip_space();
            if self.take(close) {
                return Ok((items, comma));
            }
            if !comma {
                return Err(self.expected("a comma"));
            }
            items.push(self.expr(depth + 1)?);
            self.skip_space();
            comma = self.take(b',');
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Expr, ParseError> {
        let mut items = Vec::new();
        let mut comma = true;
        loop {
            self.skip_space();
            if self.take(b'}') {
                return Ok(Expr::Dict(items));
            }
            if !comma {
                return Err(self.expected("a comma"));
            }
            let key = self.expr(depth + 1)?;
            if !self.take(b':') {
                return Err(self.expected("a colon"));
            }
            self.skip_space();
            items.push((key, self.expr(depth + 1)?));
            self.skip_space();
            comma = self.take(b',');
        }
    }

    fn number(&mut self) -> Result<Expr, ParseError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())
            + (rest.len() - digits.len());
        let number = rest.get(..length).and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| self.expected("a number"))?;
        self.at += length;
        Ok(Expr::Int(number))
    }

    fn word(&mut self) -> &str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn name_or_call(&mut self, depth: usize) -> Result<Expr, ParseError> {
        let name = match self.word() {
            "True" => return Ok(Expr::Bool(true)),
            "False" => return Ok(Expr::Bool(false)),
            "None" => return Ok(Expr::None),
            word => Name::parse(word),
        };
        let name = name.ok_or_else(|| self.expected("an expression"))?;
        if !self.take(b'(') {
            return Ok(Expr::Name(name));
        }
        let mut call = Call::new(name);
        let mut comma = true;
        loop {
            self.skip_space();
            if self.take(b')') {
                return Ok(Expr::Call(call));
            }
            if !comma {
                return Err(self.expected("a comma"));
            }
            let start = self.at;
            let name = Ident::parse(self.word());
            call = match name {
                Some(name) if self.take(b'=') => call.kwarg(name, self.expr(depth + 1)?),
                _ => {
                    self.at = start;
                    call.arg(self.expr(depth + 1)?)
                }
            };
            self.skip_space();
            comma = self.take(b',');
        }
    }

    fn string(&mut self, quote: u8) -> Result<String, ParseError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = rest.find(['"', '\'', '\\', '\n']).unwrap_or(rest.len());
            out.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'\\') => out.push(self.escape()?),
                Some(byte) if byte == quote => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(other @ (b'"' | b'\'')) => {
                    self.at += 1;
                    out.push(char::from(other));
                }
                _ => return Err(self.expected("the end of the text")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        self.at += 1;
        let kind = self.peek();
        self.at += 1;
        let digits = match kind {
            Some(b'n') => return Ok('\n'),
            Some(b'r') => return Ok('\r'),
            Some(b't') => return Ok('\t'),
            Some(byte @ (b'\\' | b'"' | b'\'')) => return Ok(char::from(byte)),
            Some(b'x') => 2,
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => return Err(self.expected("an escape")),
        };
        let code = self.text.get(self.at..self.at + digits);
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
        let code = code.and_then(char::from_u32).ok_or_else(|| self.expected("an escape"))?;
        self.at += digits;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::assignments;
    use crate::buildbot::python::{Call, Expr};
    use proptest::prelude::*;

    fn expr() -> impl Strategy<Value = Expr> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Expr::Str),
            any::<i64>().prop_map(Expr::Int),
            any::<bool>().prop_map(Expr::Bool),
            Just(Expr::None),
            Just(Expr::name("util.Interpolate")),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..5);
            prop_oneof![
                list.clone().prop_map(Expr::List),
                list.clone().prop_map(Expr::Tuple),
                prop::collection::vec((any::<String>(), inner.clone()), 0..4)
                    .prop_map(|pairs| Expr::dict(pairs.into_iter())),
                (list, prop::option::of(inner.clone()), prop::option::of(inner)).prop_map(
                    |(args, one, two)| {
                        let call = args.into_iter().fold(Call::new("steps.Git"), Call::arg);
                        call.kwarg_opt("name", one).kwarg_opt("timeout", two).into()
                    }
                ),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(first in expr(), second in expr()) {
            let text = format!(
                "import x\n{}\n# c\n{}\n",
                first.assign(0, &"a_lock".into()),
                second.statement(0, "c[\"b\"] = "),
            );
            let found = assignments(&text, |target| target != "x").unwrap();
            prop_assert_eq!(found, vec![("a_lock", first), ("c[\"b\"]", second)]);
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = assignments(&format!("a = {text}"), |_| true);
            let _ = assignments(&text, |_| true);
        }
    }

    #[test]
    fn other_python_is_refused_with_its_line() {
        for (text, line, expected) in [
            ("a = 1\nb = f(\n  x + 1)\n", 3, "a comma"),
            ("a = \"x", 1, "the end of the text"),
            ("a = lambda: 0", 1, "an expression"),
            ("a = [1] + b", 1, "the end of the line"),
            ("a = \"\\q\"", 1, "an escape"),
            ("a = 99999999999999999999", 1, "a number"),
        ] {
            let error = assignments(text, |_| true).unwrap_err();
            assert_eq!((error.line, error.expected), (line, expected), "{text}");
        }
        let deep = format!("a = {}", "[".repeat(10_000));
        assert_eq!(assignments(&deep, |_| true).unwrap_err().expected, "less depth");
    }
}
