//! Dates and times as ruamel.yaml reads them and Python writes them.

/// The number that the first `least` to `most` ASCII digits of `text` are, and the rest.
fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    Some((text[..count].parse().ok()?, &text[count..]))
}

/// `str` of the `date` or `datetime` that ruamel makes of a plain scalar (`resolver.py`'s
/// timestamp pattern, then `util.create_timestamp`); `None` where it is none.
///
/// # Errors
/// Where Python's calendar does not have it.
pub fn read(text: &str) -> Result<Option<String>, NoSuchDate> {
    let Some(fields) = Fields::of(text) else { return Ok(None) };
    fields.python_str().map(Some).ok_or(NoSuchDate)
}

/// A date or a time of day that Python's calendar does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchDate;

/// What the pattern of a timestamp captures.
struct Fields<'a> {
    year: i64,
    month: i64,
    day: i64,
    time: Option<Time<'a>>,
}

/// The time of day in a timestamp.
struct Time<'a> {
    hour: i64,
    minute: i64,
    second: i64,
    fraction: &'a str,
    /// The zone's offset in seconds.
    zone: Option<i64>,
}

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (year, rest) = digits(text, 4, 4)?;
        let (month, rest) = digits(rest.strip_prefix('-')?, 1, 2)?;
        let (day, rest) = digits(rest.strip_prefix('-')?, 1, 2)?;
        if rest.is_empty() {
            // A date alone has two digits in each part.
            return (text.len() == 10).then_some(Self { year, month, day, time: None });
        }
        let spaced = rest.trim_start_matches([' ', '\t']);
        let rest = if spaced.len() < rest.len() { spaced } else { rest.strip_prefix(['T', 't'])? };
        let (hour, rest) = digits(rest, 1, 2)?;
        let (minute, rest) = digits(rest.strip_prefix(':')?, 2, 2)?;
        let (second, mut rest) = digits(rest.strip_prefix(':')?, 2, 2)?;
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            let count = after.bytes().take_while(u8::is_ascii_digit).count();
            (fraction, rest) = after.split_at(count);
        }
        let zone = match rest.trim_start_matches([' ', '\t']) {
            "" if rest.is_empty() => None,
            "Z" => None,
            offset => Some(zone(offset)?),
        };
        Some(Self { year, month, day, time: Some(Time { hour, minute, second, fraction, zone }) })
    }

    fn python_str(&self) -> Option<String> {
        let days_in_month = match self.month {
            4 | 6 | 9 | 11 => 30,
            2 if self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0) => 29,
            2 => 28,
            1..=12 => 31,
            _ => return None,
        };
        if self.year == 0 || !(1..=days_in_month).contains(&self.day) {
            return None;
        }
        let Some(time) = &self.time else {
            return Some(format!("{:04}-{:02}-{:02}", self.year, self.month, self.day));
        };
        if time.hour > 23 || time.minute > 59 || time.second > 59 {
            return None;
        }
        let (micros, carry) = time.micros();
        let shift = match time.zone {
            // `create_timestamp` lets the carried second go the zone's way.
            Some(zone) if zone < 0 => zone - carry,
            Some(zone) => zone + carry,
            None => -carry,
        };
        let seconds = days_from_civil(self.year, self.month, self.day) * 86_400
            + time.hour * 3600
            + time.minute * 60
            + time.second
            - shift;
        let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
        if !(1..=9999).contains(&year) {
            return None;
        }
        let of_day = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let micros = if micros > 0 { format!(".{micros:06}") } else { String::new() };
        Some(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{micros}"))
    }
}

impl Time<'_> {
    /// The microseconds, rounded by the seventh digit, and the second that rounding carried.
    fn micros(&self) -> (i64, i64) {
        let kept = &self.fraction[..self.fraction.len().min(6)];
        let mut micros = format!("{kept:0<6}").parse().unwrap_or(0);
        if self.fraction.as_bytes().get(6).is_some_and(|digit| *digit > b'4') {
            micros += 1;
        }
        if micros > 999_999 { (0, 1) } else { (micros, 0) }
    }
}

/// `[-+]h`, `[-+]hh`, `[-+]h:mm` or `[-+]hh:mm` in seconds.
fn zone(text: &str) -> Option<i64> {
    let (hours, rest) = digits(text.strip_prefix(['-', '+'])?, 1, 2)?;
    let minutes = match rest.strip_prefix(':') {
        Some(minutes) => match digits(minutes, 2, 2)? {
            (minutes, "") => minutes,
            _ => return None,
        },
        None if rest.is_empty() => 0,
        None => return None,
    };
    let seconds = hours * 3600 + minutes * 60;
    Some(if text.starts_with('-') { -seconds } else { seconds })
}

/// Days since 1970-01-01 (Howard Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year, month and day of a count of days since 1970-01-01 (`civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let years = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = years + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}
