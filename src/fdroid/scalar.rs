//! The values that fdroidserver's YAML reader gives scalars, and their text.
//!
//! fdroidserver reads with ruamel.yaml 0.17's pure-Python safe loader, set to YAML 1.2
//! (`fdroidserver/_yaml.py`). Which plain scalars are no strings is told by `implicit_resolvers` in
//! ruamel's `resolver.py`, what they become by `SafeConstructor` in its `constructor.py`, and how
//! they become strings again by fdroidserver's `metadata._normalize_type_string`.

use std::borrow::Cow;

use super::timestamp;

/// The most digits that Python turns from text to `int` or back (`sys.get_int_max_str_digits`).
const MAX_INT_DIGITS: usize = 4300;

/// A scalar as Python holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `None`.
    Null,
    /// A `bool`.
    Bool(bool),
    /// An `int`.
    Int(i128),
    /// An `int` too large for 128 bits, as `str` writes it.
    BigInt(String),
    /// A `float`.
    Float(f64),
    /// A `date` or `datetime`, as `str` writes it.
    Time(String),
    /// A `str`.
    Str(Cow<'a, str>),
}

/// Why a scalar has no value or no text: what fdroidserver's reader raises on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadScalar {
    /// `<<` without quotes.
    Merge,
    /// `=` without quotes.
    ValueTag,
    /// What ruamel takes for a number and Python does not.
    Number,
    /// A number of more than 4,300 digits.
    Digits,
    /// A date that no calendar has.
    Date,
    /// A number below zero as text: `_normalize_type_string` takes its logarithm.
    Negative,
}

impl BadScalar {
    /// What is wrong, to follow "`x` ".
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Merge => "without quotes is a merge key",
            Self::ValueTag => "without quotes is a YAML 1.1 default key",
            Self::Number => "looks like a number and is none",
            Self::Digits => "is a number of more than 4,300 digits",
            Self::Date => "looks like a date and is none",
            Self::Negative => "is a negative number without quotes, on which fdroidserver fails",
        }
    }
}

impl<'a> Value<'a> {
    /// The value of a plain scalar (`resolver.implicit_resolvers` for version 1.2, then
    /// `SafeConstructor.construct_yaml_*`).
    ///
    /// # Errors
    /// What ruamel's constructor raises on.
    pub fn plain(text: Cow<'a, str>) -> Result<Self, BadScalar> {
        let number = match text.as_bytes().first() {
            None => return Ok(Self::Null),
            Some(b'-' | b'+' | b'.' | b'0'..=b'9') => number(&text)?,
            Some(b'<') if text == "<<" => return Err(BadScalar::Merge),
            Some(b'=') if text == "=" => return Err(BadScalar::ValueTag),
            _ => match &*text {
                "~" | "null" | "Null" | "NULL" => Some(Value::Null),
                "true" | "True" | "TRUE" => Some(Value::Bool(true)),
                "false" | "False" | "FALSE" => Some(Value::Bool(false)),
                _ => None,
            },
        };
        Ok(number.unwrap_or(Self::Str(text)))
    }

    /// Python's `v or v == 0`: whether `_normalize_type_*` is applied to the value at all.
    #[must_use]
    pub fn counts(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Str(text) => !text.is_empty(),
            _ => true,
        }
    }

    /// Python's `bool(v)`.
    #[must_use]
    pub fn truthy(&self) -> bool {
        match self {
            Self::Null | Self::Bool(false) | Self::Int(0) => false,
            Self::Float(number) => *number != 0.0,
            Self::Str(text) => !text.is_empty(),
            _ => true,
        }
    }

    /// `metadata._normalize_type_string`.
    ///
    /// # Errors
    /// A negative `int`.
    pub fn text(&self) -> Result<Cow<'_, str>, BadScalar> {
        Ok(match self {
            Self::Bool(true) => "true".into(),
            Self::Bool(false) => "false".into(),
            Self::Int(..0) => return Err(BadScalar::Negative),
            Self::BigInt(digits) if digits.starts_with('-') => return Err(BadScalar::Negative),
            Self::BigInt(digits) if digits.parse().is_ok_and(|v: f64| v.log10() > 50.0) => {
                format!("{digits:0>64}").into()
            }
            Self::Float(number) if number.is_nan() => ".nan".into(),
            Self::Float(number) if number.is_infinite() && *number > 0.0 => ".inf".into(),
            Self::Float(number) if number.is_infinite() => "-.inf".into(),
            _ => self.python_str(),
        })
    }

    /// Python's `str(v)`.
    #[must_use]
    pub(crate) fn python_str(&self) -> Cow<'_, str> {
        match self {
            Self::Null => "None".into(),
            Self::Bool(true) => "True".into(),
            Self::Bool(false) => "False".into(),
            Self::Int(number) => number.to_string().into(),
            Self::Float(number) => float_repr(*number).into(),
            Self::BigInt(text) | Self::Time(text) => text.into(),
            Self::Str(text) => Cow::Borrowed(text),
        }
    }

    /// A text that two values share exactly when Python takes them for the same key of a dict.
    #[must_use]
    pub fn key(&self) -> Cow<'_, str> {
        match self {
            Self::Str(text) => Cow::Borrowed(text),
            Self::Bool(truth) => format!("\0{}", u8::from(*truth)).into(),
            Self::Float(number) if *number == 0.0 => "\x000".into(),
            Self::Float(number) if number.is_finite() && number.fract() == 0.0 => {
                format!("\0{number:.0}").into()
            }
            _ => format!("\0{}", self.python_str()).into(),
        }
    }
}

/// The number or time that a plain scalar beginning with a sign, a digit or a full stop is.
fn number<'a>(text: &str) -> Result<Option<Value<'a>>, BadScalar> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let signed = |number: f64| Value::Float(if negative { -number } else { number });
    match digits {
        ".inf" | ".Inf" | ".INF" => return Ok(Some(signed(f64::INFINITY))),
        ".nan" | ".NaN" | ".NAN" if digits.len() == text.len() => {
            return Ok(Some(Value::Float(f64::NAN)));
        }
        _ => {}
    }
    if is_float(digits.as_bytes()) {
        let parsed = digits.replace('_', "").parse().map_err(|_| BadScalar::Number)?;
        return Ok(Some(signed(parsed)));
    }
    if let Some(radix) = int_radix(digits.as_bytes()) {
        return int(negative, &digits.replace('_', ""), radix).map(Some);
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(timestamp::read(text).map_err(|_| BadScalar::Date)?.map(Value::Time));
    }
    Ok(None)
}

/// Whether unsigned text is a float by the first three alternatives of ruamel's pattern.
fn is_float(text: &[u8]) -> bool {
    let run = |from: usize| {
        from + text[from..].iter().take_while(|b| b.is_ascii_digit() || **b == b'_').count()
    };
    let digits_to_end =
        |from: usize| from < text.len() && text[from..].iter().all(u8::is_ascii_digit);
    let sign = |at: usize| matches!(text.get(at), Some(b'-' | b'+'));
    let exponent = |at: usize| matches!(text.get(at), Some(b'e' | b'E'));
    match text.first() {
        Some(b'0'..=b'9') => {
            let whole = run(0);
            let fraction = if text.get(whole) == Some(&b'.') { run(whole + 1) } else { whole };
            (fraction > whole && fraction == text.len())
                || exponent(fraction)
                    && digits_to_end(fraction + 1 + usize::from(sign(fraction + 1)))
        }
        // Here the exponent's sign is no option.
        Some(b'.') => {
            let end = run(1);
            end > 1
                && (end == text.len() || exponent(end) && sign(end + 1) && digits_to_end(end + 2))
        }
        _ => false,
    }
}

/// The radix in which ruamel reads unsigned text as an int, or `None` where it does not.
fn int_radix(text: &[u8]) -> Option<u32> {
    let all = |from: usize, ok: fn(&u8) -> bool| {
        from < text.len() && text[from..].iter().all(|b| *b == b'_' || ok(b))
    };
    match text {
        [b'0', b'b', ..] => all(2, |b| matches!(b, b'0' | b'1')).then_some(2),
        [b'0', b'o', ..] => all(2, |b| matches!(b, b'0'..=b'7')).then_some(8),
        [b'0', b'x', ..] => all(2, u8::is_ascii_hexdigit).then_some(16),
        _ => all(0, u8::is_ascii_digit).then_some(10),
    }
}

/// The int that unsigned `text` without underscores is.
fn int<'a>(negative: bool, text: &str, radix: u32) -> Result<Value<'a>, BadScalar> {
    let digits = if radix == 10 { text } else { &text[2..] };
    if digits.is_empty() {
        return Err(BadScalar::Number);
    }
    if let Ok(number) = i128::from_str_radix(digits, radix) {
        return Ok(Value::Int(if negative { -number } else { number }));
    }
    // No int written with so many digits, in whichever radix, has fewer than 4,300 in the tenth.
    if digits.len() > MAX_INT_DIGITS * 4 || (radix == 10 && digits.len() > MAX_INT_DIGITS) {
        return Err(BadScalar::Digits);
    }
    let decimal = decimal(digits, radix);
    if decimal.len() > MAX_INT_DIGITS {
        return Err(BadScalar::Digits);
    }
    Ok(match (negative, decimal.parse()) {
        (false, Ok(number)) => Value::Int(number),
        (true, Ok(number)) => Value::Int(-number),
        (false, Err(_)) => Value::BigInt(decimal),
        (true, Err(_)) => Value::BigInt(format!("-{decimal}")),
    })
}

/// Digits of `radix` as decimal digits, without leading zeros.
fn decimal(digits: &str, radix: u32) -> String {
    const LIMB: u64 = 1_000_000_000;
    let mut limbs: Vec<u64> = Vec::new();
    for digit in digits.chars().filter_map(|c| c.to_digit(radix)) {
        let mut carry = u64::from(digit);
        for limb in &mut limbs {
            carry += *limb * u64::from(radix);
            *limb = carry % LIMB;
            carry /= LIMB;
        }
        if carry > 0 {
            limbs.push(carry);
        }
    }
    let first = limbs.last().map_or_else(|| "0".to_owned(), u64::to_string);
    limbs.iter().rev().skip(1).fold(first, |out, limb| format!("{out}{limb:09}"))
}

/// Python's `repr(float)`: the shortest digits that read back the same, with an exponent below
/// 1e-4 and from 1e16 on.
fn float_repr(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{number:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Python's `int(text)`, or `None` where it raises or the number has more than 128 bits. Digits
/// other than ASCII's, which Python takes, are not taken.
#[must_use]
pub(crate) fn python_int(text: &str) -> Option<i128> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c));
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let between =
        digits.split('_').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if !between || digits.len() > MAX_INT_DIGITS {
        return None;
    }
    text.replace('_', "").parse().ok()
}
