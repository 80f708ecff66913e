//! Tag patterns. fdroidserver matches tags with Python's `re.match`; patterns come from strangers,
//! so the master must match them in linear time. `to_re2` turns a Python pattern into one of RE2
//! (<https://github.com/google/re2/wiki/Syntax>) that accepts the same tags, or says that there
//! is none. It knows what it passes on: whatever is not listed here is refused.
//!
//! Three differences remain, all without effect on tags that git allows or people write: `$` does
//! not match before a final line feed, `\B` matches an empty text, and `\d`, `\w`, `\s` and `\b`
//! know ASCII only. `tests/python/test_patterns.py` compares the two on patterns nobody wrote.

use std::iter::Peekable;
use std::str::Chars;

/// The longest pattern that is taken, in bytes. The longest honest one has 60.
const LONGEST: usize = 500;

/// The most that a pattern may repeat something, RE2's own limit.
const MOST_REPEATS: u32 = 1_000;

/// The size a compiled pattern may have, in bytes, nested repeats counted out.
const LARGEST: usize = 1 << 20;

/// `pattern`, written for Python's `re`, as one for RE2.
///
/// # Errors
/// What it holds that RE2 does not have, as the end of a sentence.
pub(crate) fn to_re2(pattern: &str) -> Result<String, String> {
    if pattern.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    let mut translator = Translator { chars: pattern.chars().peekable(), out: String::new() };
    translator.pattern()?;
    let out = translator.out;
    // The same engine family: what it takes, after the translation, RE2 takes too.
    regex::bytes::RegexBuilder::new(&out)
        .unicode(false)
        .size_limit(LARGEST)
        .build()
        .map_err(|_| "is no pattern, or too large a one".to_owned())?;
    Ok(out)
}

/// Whether a pattern of `to_re2` matches a tag from its start; one that is empty matches all.
#[must_use]
pub fn matches(pattern: &str, tag: &str) -> bool {
    let anchored = format!("^(?:{pattern})");
    let pattern = regex::bytes::RegexBuilder::new(&anchored).unicode(false).build();
    pattern.is_ok_and(|pattern| pattern.is_match(tag.as_bytes()))
}

struct Translator<'a> {
    chars: Peekable<Chars<'a>>,
    out: String,
}

impl Translator<'_> {
    fn pattern(&mut self) -> Result<(), String> {
        // Whether something stands here that a quantifier can repeat.
        let mut repeatable = false;
        let mut first = true;
        let mut open = Vec::new();
        while let Some(c) = self.chars.next() {
            match c {
                '\\' => repeatable = self.escape(false)?,
                '[' => {
                    self.class()?;
                    repeatable = true;
                }
                '(' => {
                    repeatable = false;
                    if self.group(first)? {
                        open.push(());
                    }
                }
                ')' => {
                    open.pop().ok_or("has a `)` without its `(`")?;
                    self.out.push(')');
                    repeatable = true;
                }
                '*' | '+' | '?' | '{' => match (c, self.bounds(c)?) {
                    ('{', None) => {
                        self.out.push_str(r"\{");
                        repeatable = true;
                    }
                    (_, bounds) if repeatable => {
                        self.out.push_str(&bounds.unwrap_or_else(|| c.to_string()));
                        self.after_repeat()?;
                        repeatable = false;
                    }
                    _ => return Err(format!("has nothing that its `{c}` could repeat")),
                },
                '|' | '^' | '$' => {
                    self.out.push(c);
                    repeatable = false;
                }
                '.' => {
                    self.out.push('.');
                    repeatable = true;
                }
                c => {
                    self.literal(c);
                    repeatable = true;
                }
            }
            first = false;
        }
        if open.is_empty() { Ok(()) } else { Err("has a `(` without its `)`".to_owned()) }
    }

    /// Writes a character that stands for itself.
    fn literal(&mut self, c: char) {
        if c.is_ascii_punctuation() && c != '_' && !"-/:,;=@!%&~#<>'\"`".contains(c) {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    /// After `\`. Gives whether a quantifier may follow.
    fn escape(&mut self, in_class: bool) -> Result<bool, String> {
        let c = self.chars.next().ok_or("ends in `\\`")?;
        match c {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 't' | 'n' | 'r' | 'f' | 'v' => {
                self.out.extend(['\\', c]);
                Ok(true)
            }
            'b' | 'B' | 'A' if !in_class => {
                self.out.extend(['\\', c]);
                Ok(false)
            }
            'Z' if !in_class => {
                self.out.push_str(r"\z");
                Ok(false)
            }
            c if c.is_ascii_punctuation() && c != '_' => {
                self.out.extend(['\\', c]);
                Ok(true)
            }
            c if c.is_ascii_alphanumeric() => Err(format!("uses `\\{c}`")),
            c => {
                self.literal(c);
                Ok(true)
            }
        }
    }

    /// After `(`. Gives whether a group was opened.
    fn group(&mut self, first: bool) -> Result<bool, String> {
        if self.chars.next_if_eq(&'?').is_none() {
            self.out.push('(');
            return Ok(true);
        }
        match self.chars.next() {
            Some(':') => {
                self.out.push_str("(?:");
                Ok(true)
            }
            Some('P') if self.chars.next_if_eq(&'<').is_some() => {
                self.out.push_str("(?P<");
                while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    self.out.push(c);
                }
                self.chars.next_if_eq(&'>').ok_or("names a group in letters RE2 does not take")?;
                self.out.push('>');
                Ok(true)
            }
            Some('i') if first && self.chars.next_if_eq(&')').is_some() => {
                self.out.push_str("(?i)");
                Ok(false)
            }
            Some('=' | '!') => Err("looks ahead".to_owned()),
            Some('<') => Err("looks behind".to_owned()),
            _ => Err("has a group of a kind RE2 does not have".to_owned()),
        }
    }

    /// After `{`, what stands before the `}` where that is a quantifier; the rest is left alone.
    fn bounds(&mut self, c: char) -> Result<Option<String>, String> {
        if c != '{' {
            return Ok(None);
        }
        let mut ahead = self.chars.clone();
        let inner: String = ahead.by_ref().take_while(|c| *c != '}').collect();
        let (least, most) = inner.split_once(',').unwrap_or((&inner, &inner));
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let closed = self.chars.clone().any(|c| c == '}');
        if !closed || !number(least) || !number(most) || inner.is_empty() {
            return Ok(None);
        }
        // Written anew: RE2 takes neither `{,2}` nor `{02}` for a quantifier.
        let read = |bound: &str| match bound.parse() {
            Ok(bound @ 0..=MOST_REPEATS) => Ok(bound),
            _ if bound.is_empty() => Ok(0),
            _ => Err(format!("repeats more than {MOST_REPEATS} times")),
        };
        let (fewest, limit) = (read(least)?, read(most)?);
        self.chars = ahead;
        Ok(Some(match inner.contains(',') {
            false => format!("{{{fewest}}}"),
            true if most.is_empty() => format!("{{{fewest},}}"),
            true => format!("{{{fewest},{limit}}}"),
        }))
    }

    /// After a quantifier: `?` makes it lazy, `+` possessive; others cannot follow.
    fn after_repeat(&mut self) -> Result<(), String> {
        match self.chars.peek() {
            Some('?') => {
                self.chars.next();
                self.out.push('?');
                Ok(())
            }
            Some('+') => Err("repeats possessively".to_owned()),
            _ => Ok(()),
        }
    }

    /// After `[`, up to the `]`.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.chars.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut empty = true;
        while empty || self.chars.next_if_eq(&']').is_none() {
            let one = self.member()?;
            // Before another member it makes a range of the two; at the end it is itself.
            let mut ahead = self.chars.clone();
            if ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']') {
                self.chars.next();
                self.out.push('-');
                if !(one & self.member()?) {
                    return Err("has a range that does not go from one letter to another".into());
                }
            }
            empty = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// A member of a class. Gives whether it is a single character.
    fn member(&mut self) -> Result<bool, String> {
        match self.chars.next().ok_or("has a `[` without its `]`")? {
            '\\' => {
                let set = self.chars.peek().is_some_and(|c| "dDwWsS".contains(*c));
                self.escape(true)?;
                return Ok(!set);
            }
            c if "[]^&~-".contains(c) => self.out.extend(['\\', c]),
            c => self.out.push(c),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::to_re2;

    #[test]
    fn what_both_have_is_passed_on_as_it_is() {
        for pattern in [
            "",
            r"^v[\d.]+$",
            r"^v\d+(\.\d+){0,2}\(\d+\)$",
            r"^v[0-9]+(?:\.[0-9]+)*$",
            r"version_[\d.]+\+\d+_fdroid",
            "android/*",
            r"(?i)^release-v?\d+",
            "v.*?-fdroid",
        ] {
            assert_eq!(to_re2(pattern).as_deref(), Ok(pattern));
        }
    }

    #[test]
    fn what_python_writes_otherwise_is_rewritten() {
        for (python, re2) in [
            (r"[0-9]+\_[0-9]+", "[0-9]+_[0-9]+"),
            (r"\d{,3}\Z", r"\d{0,3}\z"),
            ("a{x}", r"a\{x\}"),
            ("[[a&&b]", r"[\[a\&\&b]"),
            ("[]a-]", r"[\]a\-]"),
            ("[+--a-c-]", r"[+-\-a-c\-]"),
            ("a{01}b{00,02}", "a{1}b{0,2}"),
        ] {
            assert_eq!(to_re2(python).as_deref(), Ok(re2), "{python}");
        }
    }

    #[test]
    fn what_is_not_linear_or_not_known_is_refused() {
        for pattern in [
            "^((?!alpha|beta).)*$",
            "(?<=v)1",
            r"(a)\1",
            "(?P<n>a)(?P=n)",
            "a++",
            "a**",
            "(?>a)",
            "(?(1)a|b)",
            "*a",
            "(a",
            "a)",
            "[a",
            r"a\",
            r"\u0041",
            r"\pL",
            "(?x)a b",
            "a{1001}",
            "[a--b]",
            r"[a-\d]",
            r"[\d-a]",
            "((((a{100}){100}){100}){100})",
        ] {
            assert!(to_re2(pattern).is_err(), "{pattern}");
        }
        assert!(to_re2(&"a".repeat(501)).is_err());
    }
}
