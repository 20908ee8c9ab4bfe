//! The calendar: days of the Unix epoch as dates, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds of the last day that four digits can name, 9999-12-31; later times count as this.
const LAST_SECOND: u64 = 253_402_300_799;

/// A moment as a calendar and a clock show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970.
    pub unix: u64,
    /// 1970 to 9999.
    pub year: u64,
    /// From 1.
    pub month: u64,
    /// From 1.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    /// Nanoseconds of the second.
    pub nanos: u32,
}

impl Moment {
    /// `time` in UTC; one before 1970 counts as 1970.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix = since.as_secs().min(LAST_SECOND);
        let (year, month, day) = civil(unix / 86_400);
        let clock = unix % 86_400;
        Self {
            unix,
            year,
            month,
            day,
            hour: clock / 3600,
            minute: clock / 60 % 60,
            second: clock % 60,
            nanos: since.subsec_nanos(),
        }
    }

    /// 0 for Sunday.
    #[must_use]
    pub const fn weekday(&self) -> u64 {
        // 1970-01-01 was a Thursday.
        (self.unix / 86_400 + 4) % 7
    }

    /// Day of the year, from 0.
    #[must_use]
    pub const fn day_of_year(&self) -> u64 {
        const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap = self.month > 2 && is_leap(self.year);
        BEFORE[(self.month as usize - 1) % 12] + self.day - 1 + leap as u64
    }

    /// The year and week of ISO 8601, whose weeks begin on Monday and belong to the year of their Thursday.
    #[must_use]
    pub const fn iso_week(&self) -> (u64, u64) {
        let from_monday = (self.weekday() + 6) % 7;
        // The Thursday of this week, counted from the first day of the year; it may lie in a neighbour.
        let thursday = (self.day_of_year() + 3).checked_sub(from_monday);
        let length = 365 + is_leap(self.year) as u64;
        match thursday {
            None => {
                let before = self.year - 1;
                (before, (self.day_of_year() + 3 + 365 + is_leap(before) as u64 - from_monday) / 7 + 1)
            }
            Some(thursday) if thursday >= length => (self.year + 1, 1),
            Some(thursday) => (self.year, thursday / 7 + 1),
        }
    }
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Year, month and day of a day since 1970-01-01. Years are counted from March, so that the leap
/// day is a year's last; an era is the 146,097 days after which the calendar repeats.
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn moment(unix: u64) -> Moment {
        Moment::of(UNIX_EPOCH + Duration::from_secs(unix))
    }

    #[test]
    fn days_of_the_week_and_the_year() {
        // Checked against `date -u -d @… '+%F %u %j %G-%V'`.
        for (unix, day, weekday, of_year, week) in [
            (0, (1970, 1, 1), 4, 0, (1970, 1)),
            (951_782_400, (2000, 2, 29), 2, 59, (2000, 9)),
            (1_104_537_600, (2005, 1, 1), 6, 0, (2004, 53)),
            (1_230_681_600, (2008, 12, 31), 3, 365, (2009, 1)),
            (1_293_840_000, (2011, 1, 1), 6, 0, (2010, 52)),
            (1_795_849_377, (2026, 11, 28), 6, 331, (2026, 48)),
        ] {
            let moment = moment(unix);
            assert_eq!((moment.year, moment.month, moment.day), day, "{unix}");
            assert_eq!((moment.weekday(), moment.day_of_year(), moment.iso_week()), (weekday, of_year, week));
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

    #[test]
    fn the_last_second() {
        let moment = moment(u64::MAX >> 2);
        assert_eq!((moment.year, moment.month, moment.day, moment.hour), (9999, 12, 31, 23));
    }
}
