//! How long things took, in a few hundred numbers whatever their count.

use std::time::Duration;

/// Steps per doubling; a quantile is at most one step, 1/16, too high.
const STEPS: u64 = 16;
/// Enough for 2^40 µs, some twelve days.
const BUCKETS: usize = 38 * STEPS as usize;

/// Durations by size.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, longest: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one in.
    pub(crate) fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros).min(BUCKETS - 1)] += 1;
        self.total += 1;
        self.longest = self.longest.max(took);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// The longest.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// What this share of them, from 0 to 1, does not exceed; zero when there are none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(upper(bucket as u64)).min(self.longest);
            }
        }
        self.longest
    }
}

/// The first 16 buckets hold one number each; then every doubling has 16.
fn bucket(micros: u64) -> usize {
    let shift = u64::from(micros.max(STEPS).ilog2() - STEPS.ilog2());
    (shift * STEPS + (micros >> shift)) as usize
}

/// The largest number of a bucket.
fn upper(bucket: u64) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    ((bucket - shift * STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_its_bucket() {
        for micros in (0..5_000).chain([65_535, 65_536, 1 << 39]) {
            let bucket = bucket(micros) as u64;
            assert!(upper(bucket) >= micros, "{micros}");
            assert!(bucket == 0 || upper(bucket - 1) < micros, "{micros}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        (1..=1000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let near = |share: f64, expected: f64| {
            let found = histogram.quantile(share).as_micros() as f64;
            assert!(found >= expected && found <= expected * (1.0 + 1.0 / 16.0), "{share}: {found}");
        };
        near(0.5, 500.0);
        near(0.99, 990.0);
        assert_eq!(histogram.quantile(1.0), histogram.longest());
        assert_eq!(histogram.count(), 1000);
    }
}
