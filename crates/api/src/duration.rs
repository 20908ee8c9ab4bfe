//! Go's duration syntax, in which Istio reads every duration.
//!
//! The grammar is that of Go's `time.ParseDuration`: an optional sign, then one or more decimal numbers, each
//! with an optional fraction and a unit; a bare `0` is the only number that needs no unit.

/// What the syntax looks like, for messages.
pub(crate) const DURATION_SYNTAX: &str = "a duration such as \"5s\", \"1.5s\", \"100ms\" or \"1h30m\"";

/// Units with their length in nanoseconds. A unit stands before any that is its prefix.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The length in nanoseconds, or `None` if the text is not a duration or does not fit.
pub(crate) fn parse_nanos(text: &str) -> Option<i64> {
    let (negative, magnitude) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let nanos = if magnitude == "0" { 0 } else { parse_terms(magnitude)? };
    let nanos = i64::try_from(nanos).ok()?;
    Some(if negative { -nanos } else { nanos })
}

fn parse_terms(mut rest: &str) -> Option<u64> {
    let mut total = 0_u64;
    loop {
        let (nanos, after) = parse_term(rest)?;
        total = total.checked_add(nanos)?;
        if after.is_empty() {
            return Some(total);
        }
        rest = after;
    }
}

/// One number with its unit; gives the rest of the text.
fn parse_term(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let &(unit, scale) = UNITS.iter().find(|(unit, _)| is_unit(rest, unit))?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos = whole.checked_mul(scale)?.checked_add(fraction_nanos(fraction, scale))?;
    Some((nanos, &rest[unit.len()..]))
}

/// Whether the unit at the start of `rest` is exactly this one (`ms` is not `m` followed by something).
fn is_unit(rest: &str, unit: &str) -> bool {
    rest.strip_prefix(unit)
        .is_some_and(|after| after.is_empty() || after.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
}

/// The nanoseconds of a fraction of a unit, cut off below a nanosecond.
fn fraction_nanos(digits: &str, scale: u64) -> u64 {
    // 18 digits fit a u64 and are beyond what an hour in nanoseconds can show.
    let digits = &digits[..digits.len().min(18)];
    let value = digits.parse::<u128>().unwrap_or(0);
    let power = 10_u128.pow(u32::try_from(digits.len()).unwrap_or(0));
    u64::try_from(value * u128::from(scale) / power).unwrap_or(0)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn follows_the_grammar_of_go() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            ("-5s", -5_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("100ms", 100_000_000),
            ("1us", 1_000),
            ("1\u{b5}s", 1_000),
            ("1\u{3bc}s", 1_000),
            ("7ns", 7),
            ("1h30m", 5_400_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("0.0001s", 100_000),
            ("0.33333333333333333333h", 1_200_000_000_000 - 1),
        ] {
            assert_eq!(parse_nanos(text), Some(nanos), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "-",
            "5",
            "s",
            ".s",
            "5 s",
            "5x",
            "5S",
            "1d",
            "5s ",
            " 5s",
            "--5s",
            "1e3s",
            "10000000h",
            "-0.5",
        ] {
            assert_eq!(parse_nanos(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = parse_nanos(&text);
        }

        #[test]
        fn reads_whole_milliseconds(value in 0_i64..9_000_000_000) {
            prop_assert_eq!(parse_nanos(&format!("{value}ms")), Some(value * 1_000_000));
        }
    }
}
