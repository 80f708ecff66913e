//! The characters a file of fdroiddata may hold, and how hostile text is shown in a message.

/// The most characters of the input that a message repeats.
const SHOWN: usize = 80;

/// `text` fit for a message: control, bidirectional and other invisible characters escaped, cut to
/// about 80 characters.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN {
            out.push('…');
            break;
        }
        match c {
            '`' | '\'' | '"' => out.push(c),
            _ if is_bidi(c) => out.extend(c.escape_unicode()),
            _ => out.extend(c.escape_debug()),
        }
    }
    out
}

/// Whether `c` changes the direction in which the text around it is displayed.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether `c` may stand in a file of fdroiddata.
///
/// ruamel.yaml's `Reader.NON_PRINTABLE` names what is refused. U+0085, U+2028 and U+2029, which
/// ruamel takes for line breaks in some places and not in others, and a byte order mark after the
/// start of the file are refused here besides.
#[must_use]
pub(crate) fn is_allowed(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | ' '..='~' => true,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => c >= '\u{a0}',
    }
}

/// `text` in single quotes, as YAML writes it; in double quotes where it holds what single quotes
/// cannot.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("'{}'", shown(text).replace('\'', "''"))
}
