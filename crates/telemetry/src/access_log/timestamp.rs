//! `START_TIME`: UTC with milliseconds, `2026-08-01T12:00:00.123Z`.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds of the last day that four digits can name, 9999-12-31; later times are printed as this.
const LAST_SECOND: u64 = 253_402_300_799;

/// Formats times, keeping the text of the last second: at a thousand lines a second the calendar
/// is computed once in a thousand lines.
#[derive(Debug)]
pub struct Timestamps {
    second: u64,
    text: [u8; 19],
}

impl Default for Timestamps {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00" }
    }
}

impl Timestamps {
    /// Appends `time`; one before 1970 is printed as 1970.
    pub fn write(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs().min(LAST_SECOND);
        if second != self.second {
            self.second = second;
            self.text = calendar(second);
        }
        out.extend_from_slice(&self.text);
        let millis = since.subsec_millis();
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
    }
}

fn calendar(second: u64) -> [u8; 19] {
    let (days, clock) = (second / 86_400, second % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00";
    let parts = [
        (0, year / 100),
        (2, year),
        (5, month),
        (8, day),
        (11, clock / 3600),
        (14, clock / 60 % 60),
        (17, clock % 60),
    ];
    for (at, value) in parts {
        let value = u32::try_from(value % 100).unwrap_or_default();
        text[at] = digit(value / 10);
        text[at + 1] = digit(value);
    }
    text
}

/// Year, month and day of a day since 1970-01-01. Years are counted from March, so that the leap
/// day is a year's last; an era is the 146,097 days after which the calendar repeats.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_FROM_YEAR_0: u64 = 719_468;
    let days = days + DAYS_FROM_YEAR_0;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn digit(value: u32) -> u8 {
    b'0' + (value % 10) as u8
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_times() {
        let mut timestamps = Timestamps::default();
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_785_585_600_123, "2026-08-01T12:00:00.123Z"),
            (1_785_585_600_456, "2026-08-01T12:00:00.456Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (300_000_000_000_456, "9999-12-31T23:59:59.456Z"),
        ] {
            let mut out = Vec::new();
            timestamps.write(UNIX_EPOCH + Duration::from_millis(millis), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn days_go_on_without_a_gap() {
        let mut last = civil(0);
        for day in 1..200_000 {
            let next = civil(day);
            let follows = next == (last.0, last.1, last.2 + 1)
                || next == (last.0, last.1 + 1, 1)
                || next == (last.0 + 1, 1, 1) && last.1 == 12 && last.2 == 31;
            assert!(follows, "{last:?} then {next:?}");
            last = next;
        }
        assert_eq!(last, (2517, 7, 31));
    }
}
