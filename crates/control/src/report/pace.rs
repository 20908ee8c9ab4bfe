//! How fast the API server is written to: a budget for all writes, and growing waits for an object that does not stay as
//! it was written.

use std::time::{Duration, Instant};

/// A budget that fills up again with time.
#[derive(Debug)]
pub(crate) struct Pace {
    burst: f64,
    per_second: f64,
    left: f64,
    filled: Instant,
}

impl Pace {
    pub(crate) fn new(burst: u32, per_second: f64, now: Instant) -> Self {
        Self { burst: f64::from(burst), per_second, left: f64::from(burst), filled: now }
    }

    /// Takes one from the budget, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * self.per_second;
        (self.left, self.filled) = ((self.left + gained).min(self.burst), now);
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }

    /// How long until there is one again.
    pub(crate) fn pause(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.left) / self.per_second).max(0.0))
    }
}

/// The wait after the first attempt that did not last.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// When one object may be written again. Whoever else writes the same conditions, a second gateway for one, makes the two of
/// them wait ever longer instead of writing in turns for ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    attempts: u32,
    next: Instant,
}

impl Patience {
    /// After a write at `now`.
    pub(crate) fn after(before: Option<Self>, now: Instant) -> Self {
        let attempts = before.map_or(0, |before| before.attempts + 1);
        let wait = FIRST_WAIT.saturating_mul(1 << attempts.min(16)).min(LONGEST_WAIT);
        Self { attempts, next: now + wait }
    }

    pub(crate) fn next(&self) -> Instant {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_and_fills_again() {
        let start = Instant::now();
        let mut pace = Pace::new(3, 2.0, start);
        assert_eq!((0..5).filter(|_| pace.take(start)).count(), 3);
        assert_eq!(pace.pause(), Duration::from_millis(500));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..5).filter(|_| pace.take(later)).count(), 2);
        let much_later = start + Duration::from_secs(1000);
        assert_eq!((0..9).filter(|_| pace.take(much_later)).count(), 3);
    }

    #[test]
    fn waits_for_a_contested_object_grow_to_a_bound() {
        let start = Instant::now();
        let mut patience = Patience::after(None, start);
        assert_eq!(patience.next(), start + FIRST_WAIT);
        for _ in 0..30 {
            patience = Patience::after(Some(patience), start);
        }
        assert_eq!(patience.next(), start + LONGEST_WAIT);
    }
}
