//! Times in header values: `START_TIME(%Y-%m-%dT%H:%M:%S.%3f)` and its like.

use std::fmt;
use std::time::SystemTime;

use crate::calendar::Moment;

/// How a time is written: `strftime`'s specifiers, and those that Envoy and Abseil add for fractions and zones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeFormat {
    text: Box<str>,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// `%x` and its like.
    Field(char),
    /// `%3f`: so many digits of the second's fraction.
    Fraction(u8),
    /// `%E3S`: seconds with so many digits of their fraction; without a number as many as there are.
    Seconds(Option<u8>),
    /// `+00:00` or `+00:00:00`; times are told in UTC.
    Zone(&'static str),
}

/// Specifiers without number or prefix.
const FIELDS: &str = "YmdHMSyejaAbBhpPIklZzscDFTRrxXCuwUWVGgf";
/// Most digits of a fraction: nanoseconds.
const MAX_DIGITS: u8 = 9;

impl TimeFormat {
    /// Reads a format; what is no specifier stands for itself, as in Envoy. `None` where a specifier is one that only
    /// the system's own `strftime` knows.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            let (piece, length) = specifier(&rest[1..])?;
            match piece {
                Some(piece) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
                    }
                    pieces.push(piece);
                }
                None if rest[1..].starts_with('%') => literal.push('%'),
                None => literal.push_str(&rest[..=length]),
            }
            rest = &rest[1 + length..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        Some(Self { text: text.into(), pieces })
    }

    /// Appends `time` in UTC.
    pub fn write(&self, time: SystemTime, out: &mut Vec<u8>) {
        let moment = Moment::of(time);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Field(field) => write_field(*field, &moment, out),
                Piece::Fraction(digits) => fraction(&moment, *digits, out),
                Piece::Zone(zone) => out.extend_from_slice(zone.as_bytes()),
                Piece::Seconds(digits) => {
                    two(moment.second, out);
                    seconds_fraction(&moment, *digits, out);
                }
            }
        }
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// What stands behind a percent sign, and how many bytes of it: a specifier, or `None` for text.
fn specifier(rest: &str) -> Option<(Option<Piece>, usize)> {
    let mut chars = rest.chars();
    let Some(first) = chars.next() else { return Some((None, 0)) };
    let second = chars.next();
    Some(match (first, second) {
        ('%', _) => (None, 1),
        ('1'..='9', Some('f')) => (first.to_digit(10).map(|digits| Piece::Fraction(digits as u8)), 2),
        // The digit is Envoy's own leftover: seconds have no fraction.
        ('1'..='9', Some('s')) => (Some(Piece::Field('s')), 2),
        ('E', Some(_)) => extended(&rest[1..]).map_or((None, 1), |(piece, length)| (Some(piece), length + 1)),
        (':', Some('z')) => (Some(Piece::Zone("+00:00")), 2),
        ('-' | '_' | '^' | '#' | '0'..='9' | 'O' | ':', Some(_)) => return None,
        (field, _) if FIELDS.contains(field) => (Some(Piece::Field(field)), 1),
        ('t', _) => (Some(Piece::Text("\t".into())), 1),
        (other, _) => (None, other.len_utf8()),
    })
}

/// Abseil's `%E…`.
fn extended(rest: &str) -> Option<(Piece, usize)> {
    for (text, piece) in [
        ("*S", Piece::Seconds(None)),
        ("z", Piece::Zone("+00:00")),
        ("*z", Piece::Zone("+00:00:00")),
        ("4Y", Piece::Field('Y')),
        ("T", Piece::Text("T".into())),
        ("*f", Piece::Field('f')),
    ] {
        if rest.starts_with(text) {
            return Some((piece, text.len()));
        }
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let count = rest[..digits].parse::<u8>().ok()?.min(MAX_DIGITS);
    match rest.as_bytes().get(digits)? {
        b'S' => Some((Piece::Seconds(Some(count)), digits + 1)),
        b'f' => Some((Piece::Fraction(count), digits + 1)),
        _ => None,
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn write_field(field: char, moment: &Moment, out: &mut Vec<u8>) {
    let twelve = (moment.hour + 11) % 12 + 1;
    match field {
        'Y' => number(moment.year, 4, b'0', out),
        'C' => two(moment.year / 100, out),
        'y' => two(moment.year % 100, out),
        'm' => two(moment.month, out),
        'd' => two(moment.day, out),
        'e' => number(moment.day, 2, b' ', out),
        'H' => two(moment.hour, out),
        'k' => number(moment.hour, 2, b' ', out),
        'I' => two(twelve, out),
        'l' => number(twelve, 2, b' ', out),
        'M' => two(moment.minute, out),
        'S' => two(moment.second, out),
        'f' => fraction(moment, MAX_DIGITS, out),
        's' => number(moment.unix, 1, b'0', out),
        'j' => number(moment.day_of_year() + 1, 3, b'0', out),
        'a' => out.extend_from_slice(&weekday(moment).as_bytes()[..3]),
        'A' => out.extend_from_slice(weekday(moment).as_bytes()),
        'b' | 'h' => out.extend_from_slice(&month(moment).as_bytes()[..3]),
        'B' => out.extend_from_slice(month(moment).as_bytes()),
        'p' => out.extend_from_slice(if moment.hour < 12 { b"AM" } else { b"PM" }),
        'P' => out.extend_from_slice(if moment.hour < 12 { b"am" } else { b"pm" }),
        'Z' => out.extend_from_slice(b"UTC"),
        'z' => out.extend_from_slice(b"+0000"),
        'u' => number((moment.weekday() + 6) % 7 + 1, 1, b'0', out),
        'w' => number(moment.weekday(), 1, b'0', out),
        'U' => two((moment.day_of_year() + 7 - moment.weekday()) / 7, out),
        'W' => two((moment.day_of_year() + 7 - (moment.weekday() + 6) % 7) / 7, out),
        'V' => two(moment.iso_week().1, out),
        'G' => number(moment.iso_week().0, 4, b'0', out),
        'g' => two(moment.iso_week().0 % 100, out),
        _ => fields(composed(field), moment, out),
    }
}

/// What a specifier that stands for several is made of.
fn composed(field: char) -> &'static str {
    match field {
        'c' => "a b e T Y",
        'D' | 'x' => "m/d/y",
        'F' => "Y-m-d",
        'T' | 'X' => "H:M:S",
        'R' => "H:M",
        'r' => "I:M:S p",
        _ => "",
    }
}

/// Writes specifiers with what separates them.
fn fields(composed: &str, moment: &Moment, out: &mut Vec<u8>) {
    for char in composed.chars() {
        if char.is_ascii_alphabetic() {
            write_field(char, moment, out);
        } else {
            out.push(char as u8);
        }
    }
}

fn weekday(moment: &Moment) -> &'static str {
    WEEKDAYS[moment.weekday() as usize % 7]
}

fn month(moment: &Moment) -> &'static str {
    MONTHS[(moment.month as usize).saturating_sub(1) % 12]
}

fn two(value: u64, out: &mut Vec<u8>) {
    number(value, 2, b'0', out);
}

fn number(value: u64, width: usize, fill: u8, out: &mut Vec<u8>) {
    let text = value.to_string();
    out.extend(std::iter::repeat_n(fill, width.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

/// The first `digits` of the second's fraction.
fn fraction(moment: &Moment, digits: u8, out: &mut Vec<u8>) {
    let text = format!("{:09}", moment.nanos);
    out.extend_from_slice(&text.as_bytes()[..usize::from(digits.min(MAX_DIGITS))]);
}

fn seconds_fraction(moment: &Moment, digits: Option<u8>, out: &mut Vec<u8>) {
    let text = format!(".{:09}", moment.nanos);
    match digits {
        Some(0) => {}
        Some(digits) => out.extend_from_slice(&text.as_bytes()[..=usize::from(digits.min(MAX_DIGITS))]),
        None => out.extend_from_slice(text.trim_end_matches('0').trim_end_matches('.').as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn written(format: &str) -> String {
        // Sat Nov 28 07:02:57.820579 2026.
        let time = UNIX_EPOCH + Duration::from_micros(1_795_849_377_820_579);
        let mut out = Vec::new();
        TimeFormat::parse(format).expect("parses").write(time, &mut out);
        String::from_utf8(out).expect("text")
    }

    /// As Istio's gateway wrote that moment.
    #[test]
    fn as_the_reference_writes_them() {
        for (format, expected) in [
            ("%s.%3f", "1795849377.820"),
            ("%3s|%6s", "1795849377|1795849377"),
            ("%f|%1f|%6f|%9f", "820579000|8|820579|820579000"),
            ("%Y-%m-%dT%H:%M:%E3SZ", "2026-11-28T07:02:57.820Z"),
            ("%E*S|%E6S|%E0S|%E3f", "57.820579|57.820579|57|820"),
            ("%z|%Ez|%E*z|%:z|%E4Y|%ET", "+0000|+00:00|+00:00:00|+00:00|2026|T"),
            (
                "%c|%D|%F|%T|%j|%e|%p|%y|%Z",
                "Sat Nov 28 07:02:57 2026|11/28/26|2026-11-28|07:02:57|332|28|AM|26|UTC",
            ),
            ("%h|%U|%W|%V|%u|%w|%G|%g|%C|%I|%k|%l|%P", "Nov|47|47|48|6|6|2026|26|20|07| 7| 7|am"),
            ("%r|%R|%x|%X|%a|%A|%b|%B", "07:02:57 AM|07:02|11/28/26|07:02:57|Sat|Saturday|Nov|November"),
            ("100%%|%L|%Q|%E|%|plain|%", "100%|%L|%Q|%E|%|plain|%"),
            ("€%Y", "€2026"),
        ] {
            assert_eq!(written(format), expected, "{format}");
        }
    }

    #[test]
    fn what_only_the_system_knows_is_not_guessed() {
        for format in ["%-d", "%_d", "%^a", "%#a", "%0f", "%10f", "%Od", "%::z"] {
            assert_eq!(TimeFormat::parse(format), None, "{format}");
        }
    }

    #[test]
    fn any_text_is_read_or_refused() {
        proptest::proptest!(|(text in "\\PC*")| {
            if let Some(format) = TimeFormat::parse(&text) {
                format.write(UNIX_EPOCH, &mut Vec::new());
                assert_eq!(format.to_string(), text);
            }
        });
    }
}
