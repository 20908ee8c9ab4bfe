//! Gathering a burst of changes, so that a hundred writes cost one compilation.
//!
//! Pure: `now` is an argument.

use std::time::{Duration, Instant};

/// How long changes are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettleTimes {
    /// Nothing new for this long ends the burst.
    pub quiet: Duration,
    /// The same after a file that is known to be whole: it was closed, or renamed into place.
    pub quiet_whole: Duration,
    /// The burst ends this long after its first change, however many follow.
    pub longest: Duration,
}

impl SettleTimes {
    /// Long enough for one `kubectl apply`, `git checkout` or `cp -r`, too short for a person to notice.
    pub const DEFAULT: Self = Self {
        quiet: Duration::from_millis(20),
        quiet_whole: Duration::from_millis(4),
        longest: Duration::from_millis(250),
    };
}

/// A burst in progress, or none.
#[derive(Debug)]
pub struct Settle {
    times: SettleTimes,
    burst: Option<Burst>,
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    first: Instant,
    /// When it is quiet enough.
    quiet_at: Instant,
}

impl Settle {
    /// No burst yet.
    #[must_use]
    pub fn new(times: SettleTimes) -> Self {
        Self { times, burst: None }
    }

    /// From now on bursts end this long after their first change.
    pub fn end_after(&mut self, longest: Duration) {
        self.times.longest = longest;
    }

    /// A change was seen at `now`, and others may belong to it.
    pub fn note(&mut self, now: Instant) {
        self.note_until(now, now + self.times.quiet);
    }

    /// A change was seen at `now` that is complete in itself.
    pub fn note_whole(&mut self, now: Instant) {
        self.note_until(now, now + self.times.quiet_whole);
    }

    fn note_until(&mut self, now: Instant, quiet_at: Instant) {
        let burst = self.burst.get_or_insert(Burst { first: now, quiet_at });
        burst.quiet_at = burst.quiet_at.max(quiet_at);
    }

    /// When the burst in progress ends, if nothing else is seen.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.burst.map(|burst| burst.quiet_at.min(burst.first + self.times.longest))
    }

    /// Ends the burst if it is over at `now`, and tells whether it was.
    pub fn finish(&mut self, now: Instant) -> bool {
        let over = self.due().is_some_and(|due| due <= now);
        if over {
            self.burst = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: SettleTimes = SettleTimes {
        quiet: Duration::from_millis(20),
        quiet_whole: Duration::from_millis(5),
        longest: Duration::from_millis(100),
    };

    fn ends_at(changes: &[u64]) -> Option<u64> {
        let start = Instant::now();
        let mut settle = Settle::new(TIMES);
        for &at in changes {
            settle.note(start + Duration::from_millis(at));
        }
        settle.due().map(|due| u64::try_from((due - start).as_millis()).expect("small"))
    }

    #[test]
    fn a_burst_ends_when_quiet_and_at_the_latest_after_its_longest_time() {
        assert_eq!(ends_at(&[]), None);
        assert_eq!(ends_at(&[0]), Some(20));
        assert_eq!(ends_at(&[0, 10, 25]), Some(45));
        assert_eq!(ends_at(&[0, 15, 30, 45, 60, 75, 90]), Some(100));
    }

    #[test]
    fn a_whole_change_waits_less_and_never_shortens_the_wait_of_others() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut settle = Settle::new(TIMES);
        settle.note_whole(start);
        assert_eq!(settle.due(), Some(after(5)));
        settle.note(after(1));
        settle.note_whole(after(2));
        assert_eq!(settle.due(), Some(after(21)));
    }

    #[test]
    fn a_burst_can_be_cut_shorter() {
        let start = Instant::now();
        let mut settle = Settle::new(TIMES);
        settle.end_after(Duration::from_millis(30));
        (0..20).for_each(|turn| settle.note_whole(start + Duration::from_millis(4 * turn)));
        assert_eq!(settle.due(), Some(start + Duration::from_millis(30)));
    }

    #[test]
    fn a_finished_burst_is_over() {
        let start = Instant::now();
        let mut settle = Settle::new(TIMES);
        settle.note(start);
        assert!(!settle.finish(start + Duration::from_millis(19)));
        assert!(settle.finish(start + Duration::from_millis(20)));
        assert!(!settle.finish(start + Duration::from_millis(40)));
        assert_eq!(settle.due(), None);
    }
}
