//! What the fast path ([`super::fast`]) asks of one line.

use memchr::{memchr, memchr2};

use super::text::is_allowed;

/// Whether `text` has neither tabs nor other control characters, but for line feeds.
#[must_use]
pub(crate) fn is_clean(text: &str) -> bool {
    // Without branches, for the sake of vector instructions.
    let odd = |bytes: &[u8]| {
        let odd = |b: u8| u8::from(!(b' '..=b'~').contains(&b)) & u8::from(b != b'\n');
        bytes.iter().fold(0, |all, b| all | odd(*b)) != 0
    };
    !text.as_bytes().chunks(4096).any(odd)
        || text.chars().all(|c| is_allowed(c) && c != '\t' && c != '\r')
}

/// Splits `key: value` or `key:`, which has no value. The key is of letters, digits, `-` and `_`, and
/// begins with a letter.
#[must_use]
pub(crate) fn split_key(rest: &str) -> Option<(&str, Option<&str>)> {
    let end = rest
        .bytes()
        .take(64)
        .position(|b| !(b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))?;
    let (key, value) = rest.split_at(end);
    if !key.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    match value {
        ":" => Some((key, None)),
        _ => Some((key, Some(value.strip_prefix(": ")?))),
    }
}

/// Whether a line of a plain scalar holds nothing that ends it: `: `, ` #` or a last `:`.
#[must_use]
pub(crate) fn is_plain(line: &str) -> bool {
    let bytes = line.as_bytes();
    let mut from = 0;
    while let Some(at) = memchr2(b':', b'#', &bytes[from..]).map(|at| from + at) {
        let ends = match bytes[at] {
            b':' => bytes.get(at + 1).is_none_or(|b| *b == b' '),
            _ => at > 0 && bytes[at - 1] == b' ',
        };
        if ends {
            return false;
        }
        from = at + 1;
    }
    true
}

/// Where the quote stands that closes a single-quoted line, from `from` on.
#[must_use]
pub(crate) fn end_of_single(line: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + memchr(b'\'', &line[from..])?;
        if line.get(at + 1) != Some(&b'\'') {
            return Some(at);
        }
        from = at + 2;
    }
}

/// What a double-quoted line ends with.
pub enum End {
    /// With the closing quote, which stands here.
    At(usize),
    /// With the line.
    Open,
}

/// Where a double-quoted line ends, from `from` on; `None` for an escape that is rare.
#[must_use]
pub(crate) fn end_of_double(line: &[u8], mut from: usize) -> Option<End> {
    while let Some(at) = memchr2(b'"', b'\\', &line[from..]).map(|at| from + at) {
        if line[at] == b'"' {
            return Some(End::At(at));
        }
        match line.get(at + 1) {
            None => return Some(End::Open),
            Some(b'"' | b'\\' | b' ' | b'n' | b't') => from = at + 2,
            Some(_) => return None,
        }
    }
    Some(End::Open)
}
