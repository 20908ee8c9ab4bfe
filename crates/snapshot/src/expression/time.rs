//! Moments and lengths of time in expressions.

use crate::calendar::civil;

pub(super) const SECOND: i128 = 1_000_000_000;
const MINUTE: i128 = 60 * SECOND;
const HOUR: i128 = 60 * MINUTE;
const DAY: i128 = 24 * HOUR;

/// The longest time that protobuf knows, some ten thousand years.
const LONGEST: i128 = 315_576_000_000 * SECOND;
/// The beginning of the year 0, before which no moment lies.
const FIRST: i128 = -719_528 * DAY;

/// Years in days, five times what the calendar repeats after: so many before 1970 there was no moment yet.
const SHIFT: (i128, i128) = (2_000, 5 * 146_097);

/// A length of time, unless it is too long.
pub(super) fn duration(nanos: i128) -> Option<i128> {
    (-LONGEST..=LONGEST).contains(&nanos).then_some(nanos)
}

/// A moment, unless it is too far away.
pub(super) fn moment(nanos: i128) -> Option<i128> {
    (FIRST..=LONGEST).contains(&nanos).then_some(nanos)
}

/// `1h30m`, `-1.5s`, `0`.
pub(super) fn parse_duration(text: &str) -> Option<i128> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if text == "0" {
        return Some(0);
    }
    let (mut total, mut rest) = (0i128, text);
    while !rest.is_empty() || total == 0 && text.is_empty() {
        let number = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at(number);
        let length = behind.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, behind) = behind.split_at(length.unwrap_or(behind.len()));
        let unit = match unit {
            "h" => HOUR,
            "m" => MINUTE,
            "s" => SECOND,
            "ms" => 1_000_000,
            "us" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        total = duration(total.checked_add(amount(number, unit)?)?)?;
        rest = behind;
    }
    Some(if negative { -total } else { total })
}

/// A decimal number of units.
fn amount(number: &str, unit: i128) -> Option<i128> {
    /// Digits of a fraction that matter: a nanosecond of an hour.
    const DIGITS: usize = 13;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(DIGITS)];
    let read =
        |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u64>().ok().map(i128::from) };
    let scale = 10i128.pow(u32::try_from(fraction.len()).ok()?);
    Some(read(whole)? * unit + read(fraction)? * unit / scale)
}

/// As Abseil writes it: the largest units there are, a fraction on the last one.
pub(super) fn duration_text(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.abs();
    let small = [(1, "ns"), (1_000, "us"), (1_000_000, "ms")];
    if nanos == 0 {
        return "0".to_owned();
    }
    if nanos < SECOND {
        let (unit, name) = small.into_iter().rfind(|(unit, _)| nanos >= *unit).unwrap_or(small[0]);
        return format!("{sign}{}{name}", decimal(nanos, unit));
    }
    let mut out = sign.to_owned();
    for (amount, name) in [(nanos / HOUR, 'h'), (nanos / MINUTE % 60, 'm')] {
        if amount > 0 {
            out.push_str(&format!("{amount}{name}"));
        }
    }
    if nanos % MINUTE > 0 {
        out.push_str(&format!("{}s", decimal(nanos % MINUTE, SECOND)));
    }
    out
}

fn decimal(nanos: i128, unit: i128) -> String {
    let width = unit.ilog10() as usize;
    let fraction = format!("{:0width$}", nanos % unit);
    let fraction = if width == 0 { "" } else { fraction.trim_end_matches('0') };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction}", nanos / unit)
}

/// Whether `text` is a time zone that is known: an offset, or UTC itself.
pub(super) fn zone(text: &str) -> Option<i128> {
    if text == "UTC" {
        return Some(0);
    }
    let (negative, clock) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (hours, minutes) = clock.split_once(':')?;
    let offset = i128::from(two(hours, 23)?) * HOUR + i128::from(two(minutes, 59)?) * MINUTE;
    Some(if negative { -offset } else { offset })
}

/// Two digits.
fn two(digits: &str, most: u8) -> Option<u8> {
    let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|value| is_number && *value <= most)
}

/// A moment as RFC 3339 writes it.
pub(super) fn parse_time(text: &str) -> Option<i128> {
    let (date, clock) = text.split_once(['T', 't'])?;
    let mut date = date.split('-');
    let (year, month, day) = (date.next()?, two(date.next()?, 12)?, two(date.next()?, 31)?);
    let is_year = year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    let year: i64 = year.parse().ok().filter(|_| is_year && date.next().is_none())?;
    let days = days_of(year, i64::from(month), i64::from(day))?;
    let zone_at = clock.find(['Z', 'z', '+', '-'])?;
    let (clock, offset) = clock.split_at(zone_at);
    let offset = if matches!(offset, "Z" | "z") { 0 } else { zone(offset)? };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.split(':');
    let (hour, minute) = (two(clock.next()?, 23)?, two(clock.next()?, 59)?);
    // A leap second is the first of the next minute.
    let second = two(clock.next()?, 60)?;
    if clock.next().is_some() || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: i128 = format!("{fraction:0<9}")[..9].parse().ok()?;
    let clock = i128::from(hour) * HOUR + i128::from(minute) * MINUTE + i128::from(second) * SECOND + nanos;
    moment(i128::from(days) * DAY + clock - offset)
}

/// Days from 1970 to a date, if there is such a date.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    // Years are counted from March here, so that the leap day is a year's last.
    let shifted = if month > 2 { year } else { year - 1 };
    let month_from_march = (month + 9) % 12;
    let leaps = shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400);
    let days = shifted * 365 + leaps + (153 * month_from_march + 2) / 5 + day - 1 - 719_468;
    let date = Clock::of(i128::from(days) * DAY);
    (date.year == i128::from(year) && date.month == month as u64 && date.day == day as u64).then_some(days)
}

/// A moment as a calendar and a clock show it.
pub(super) struct Clock {
    pub(super) year: i128,
    /// From 1.
    pub(super) month: u64,
    /// From 1.
    pub(super) day: u64,
    /// Nanoseconds of the day.
    of_day: i128,
    days: i128,
}

impl Clock {
    pub(super) fn of(nanos: i128) -> Self {
        let (days, of_day) = (nanos.div_euclid(DAY), nanos.rem_euclid(DAY));
        let (year, month, day) = civil(u64::try_from(days + SHIFT.1).unwrap_or(0));
        Self { year: i128::from(year) - SHIFT.0, month, day, of_day, days }
    }

    pub(super) const fn hour(&self) -> i128 {
        self.of_day / HOUR
    }

    pub(super) const fn minute(&self) -> i128 {
        self.of_day / MINUTE % 60
    }

    pub(super) const fn second(&self) -> i128 {
        self.of_day / SECOND % 60
    }

    pub(super) const fn nanos(&self) -> i128 {
        self.of_day % SECOND
    }

    /// 0 for Sunday.
    pub(super) const fn weekday(&self) -> i128 {
        // 1970-01-01 was a Thursday.
        (self.days + 4).rem_euclid(7)
    }

    /// From 0.
    pub(super) fn day_of_year(&self) -> i128 {
        let first = i64::try_from(self.year).ok().and_then(|year| days_of(year, 1, 1));
        self.days - first.map_or(self.days, i128::from)
    }
}

/// As Abseil writes it in full.
pub(super) fn time_text(nanos: i128) -> String {
    let clock = Clock::of(nanos);
    format!(
        "{}-{:02}-{:02}T{:02}:{:02}:{:0>2}+00:00",
        clock.year,
        clock.month,
        clock.day,
        clock.hour(),
        clock.minute(),
        seconds(&clock),
    )
}

fn seconds(clock: &Clock) -> String {
    let second = clock.second() * SECOND + clock.nanos();
    let text = decimal(second, SECOND);
    if second < 10 * SECOND { format!("0{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As recorded.
    #[test]
    fn lengths_of_time() {
        for (text, expected) in [
            ("1s", Some("1s")),
            ("1.5s", Some("1.5s")),
            ("90m", Some("1h30m")),
            ("1h30m5s", Some("1h30m5s")),
            ("-1.5h", Some("-1h30m")),
            ("100ms", Some("100ms")),
            ("1us", Some("1us")),
            ("1ns", Some("1ns")),
            ("0", Some("0")),
            (".5s", Some("500ms")),
            ("5.s", Some("5s")),
            ("1.5h1.5m", Some("1h31m30s")),
            ("+1s", Some("1s")),
            ("1000000h", Some("1000000h")),
            ("0.0000000001s", Some("0")),
            ("1234567ns", Some("1.234567ms")),
            ("1234567890ns", Some("1.23456789s")),
            ("59.999999999s", Some("59.999999999s")),
            ("-0.5ms", Some("-500us")),
            ("24h", Some("24h")),
            ("100000000h", None),
            ("1", None),
            ("1d", None),
            ("1h 1s", None),
            ("x", None),
            ("", None),
            ("-", None),
            (".s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse_duration(text).map(duration_text).as_deref(), expected, "{text}");
        }
    }

    /// As recorded.
    #[test]
    fn moments() {
        for (text, expected) in [
            ("2020-01-01T00:00:00Z", Some("2020-01-01T00:00:00+00:00")),
            ("2020-01-01t00:00:00z", Some("2020-01-01T00:00:00+00:00")),
            ("2020-01-01T00:00:00.123456789+01:00", Some("2019-12-31T23:00:00.123456789+00:00")),
            ("2020-01-01T00:00:00.5Z", Some("2020-01-01T00:00:00.5+00:00")),
            ("2020-01-01T00:00:00.1234567891Z", Some("2020-01-01T00:00:00.123456789+00:00")),
            ("2020-01-01T00:00:60Z", Some("2020-01-01T00:01:00+00:00")),
            ("9999-12-31T23:59:59Z", Some("9999-12-31T23:59:59+00:00")),
            ("0001-01-01T00:00:00Z", Some("1-01-01T00:00:00+00:00")),
            ("0000-01-01T00:00:00Z", Some("0-01-01T00:00:00+00:00")),
            ("2020-02-29T12:00:00Z", Some("2020-02-29T12:00:00+00:00")),
            ("2020-02-30T00:00:00Z", None),
            ("2020-00-01T00:00:00Z", None),
            ("2020-01-01 00:00:00Z", None),
            ("2020-01-01", None),
            ("2020-01-01T00:00:00", None),
            ("nope", None),
        ] {
            assert_eq!(parse_time(text).map(time_text).as_deref(), expected, "{text}");
        }
        assert_eq!(time_text(253_402_300_800 * SECOND), "10000-01-01T00:00:00+00:00");
    }

    #[test]
    fn any_text_is_a_time_or_none() {
        proptest::proptest!(|(text in "[0-9TZhmsnu:.+-]{0,40}|\\PC{0,20}")| {
            parse_duration(&text).map(duration_text);
            parse_time(&text).map(time_text);
            zone(&text);
        });
    }

    #[test]
    fn days_of_a_year() {
        let day = |text| Clock::of(parse_time(text).expect("a time")).day_of_year();
        assert_eq!(day("2020-01-01T00:00:00Z"), 0);
        assert_eq!(day("2020-12-31T23:00:00Z"), 365);
        assert_eq!(day("1900-03-01T00:00:00Z"), 59);
    }
}
