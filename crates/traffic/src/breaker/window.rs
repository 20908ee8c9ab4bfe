//! How many requests began within the last interval (`retryBudget.budgetInterval`): a ring of counters, each for a
//! tenth of it, that all workers add to without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Parts of an interval: what has begun is forgotten a part at a time (as Envoy does).
const PARTS: u64 = 10;

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Nanoseconds of a part; 0: nothing is counted.
    part: AtomicU64,
    born: OnceLock<Instant>,
    /// By number of the part modulo their count: its number in the upper half, how many began in it in the lower.
    counters: [AtomicU64; PARTS as usize + 1],
}

impl Window {
    /// Counts over another interval from now on; `None`: not at all.
    pub(super) fn set_interval(&self, interval: Option<Duration>) {
        let part = interval.map_or(0, |interval| {
            u64::try_from(interval.as_nanos() / u128::from(PARTS)).unwrap_or(u64::MAX).max(1)
        });
        if self.part.load(Ordering::Relaxed) != part {
            self.part.store(part, Ordering::Relaxed);
        }
    }

    /// Whether anything is counted.
    pub(super) fn is_open(&self) -> bool {
        self.part.load(Ordering::Relaxed) != 0
    }

    /// One has begun.
    pub(super) fn note(&self, now: Instant) {
        let number = self.number(now);
        let add = |held: u64| {
            let (of, count) = (held >> 32, held & COUNT);
            // Another worker may have gone on to the next round already: this one is too late to count.
            let count = if of == number & COUNT { (count + 1).min(COUNT) } else { 1 };
            Some(((number & COUNT) << 32) | count)
        };
        let counter = &self.counters[slot(number)];
        let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// How many have begun within the interval that ends at `now`, the oldest part of it whole.
    pub(super) fn begun(&self, now: Instant) -> u64 {
        let newest = self.number(now);
        let held = (newest.saturating_sub(PARTS)..=newest).map(|number| {
            let held = self.counters[slot(number)].load(Ordering::Relaxed);
            if held >> 32 == number & COUNT { held & COUNT } else { 0 }
        });
        held.sum()
    }

    fn number(&self, now: Instant) -> u64 {
        let born = *self.born.get_or_init(|| now);
        let age = now.saturating_duration_since(born).as_nanos();
        let part = u128::from(self.part.load(Ordering::Relaxed).max(1));
        u64::try_from(age / part).unwrap_or(u64::MAX)
    }
}

/// The lower half of a counter.
const COUNT: u64 = u32::MAX as u64;

fn slot(number: u64) -> usize {
    usize::try_from(number % (PARTS + 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever comes when: all that began within the interval counts, and nothing that is a part older.
        #[test]
        fn what_counts_lies_within_the_interval(steps in proptest::collection::vec(0u64..400, 1..80)) {
            let window = Window::default();
            window.set_interval(Some(Duration::from_millis(1000)));
            let start = Instant::now();
            let mut at = 0;
            let mut begun: Vec<u64> = Vec::new();
            for step in steps {
                at += step;
                begun.push(at);
                window.note(start + Duration::from_millis(at));
                let within = |age| begun.iter().filter(|begun| at - **begun <= age).count() as u64;
                let counted = window.begun(start + Duration::from_millis(at));
                prop_assert!((within(1000)..=within(1100)).contains(&counted), "{counted} of {begun:?}");
            }
        }
    }
}
