//! `START_TIME`: UTC with milliseconds, `2026-08-01T12:00:00.123Z`.

use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_snapshot::calendar::Moment;

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
    /// Appends `time`; one before 1970 is printed as 1970, one after 9999 as its last second.
    pub fn write(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        if second != self.second {
            self.second = second;
            self.text = calendar(&Moment::of(time));
        }
        out.extend_from_slice(&self.text);
        let millis = since.subsec_millis();
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
    }
}

fn calendar(moment: &Moment) -> [u8; 19] {
    let Moment { year, month, day, hour, minute, second, .. } = *moment;
    let mut text = *b"0000-00-00T00:00:00";
    let parts = [(0, year / 100), (2, year), (5, month), (8, day), (11, hour), (14, minute), (17, second)];
    for (at, value) in parts {
        let value = u32::try_from(value % 100).unwrap_or_default();
        text[at] = digit(value / 10);
        text[at + 1] = digit(value);
    }
    text
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
}
