//! What is measured, and what many measurements of it come to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// CPU time of the subject for a unit of work, in microseconds.
    CpuUs,
    /// Units of work a second.
    PerSecond,
    /// Microseconds that half of the requests took at most.
    P50Us,
    /// The same for 99 of 100.
    P99Us,
    /// The same for 999 of 1,000.
    P999Us,
    /// Memory, in KiB: of a connection, or of the whole subject.
    MemoryKib,
    /// Per cent of a core.
    CpuPercent,
}

impl Metric {
    /// Its name over a column.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::CpuUs => "CPU µs",
            Self::PerSecond => "a second",
            Self::P50Us => "p50 µs",
            Self::P99Us => "p99 µs",
            Self::P999Us => "p99.9 µs",
            Self::MemoryKib => "memory KiB",
            Self::CpuPercent => "CPU of a core",
        }
    }
}

/// One run's figures.
pub(crate) type Figures = BTreeMap<Metric, f64>;

/// What share of the durations each percentile leaves out.
const PERCENTILES: [(Metric, f64); 3] =
    [(Metric::P50Us, 0.5), (Metric::P99Us, 0.99), (Metric::P999Us, 0.999)];

/// The percentiles of durations, exactly.
pub(crate) fn percentiles(mut durations: Vec<Duration>) -> Figures {
    durations.sort_unstable();
    let at = |share: f64| {
        let rank = (durations.len() as f64 * share).ceil() as usize;
        durations.get(rank.clamp(1, durations.len().max(1)) - 1).copied().unwrap_or_default()
    };
    PERCENTILES.iter().map(|&(metric, share)| (metric, at(share).as_secs_f64() * 1e6)).collect()
}

/// The middle of some values, and how far they are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub lowest: f64,
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The most.
    pub highest: f64,
}

impl Spread {
    /// Nothing when there are no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let (&lowest, &highest) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { lowest, median, highest })
    }

    /// Whether no value of one is among those of the other.
    pub(crate) fn is_apart(&self, other: &Self) -> bool {
        self.highest < other.lowest || other.highest < self.lowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let median = |values: &[f64]| Spread::of(values).map(|spread| spread.median);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let found = percentiles((1..=1000).map(Duration::from_micros).collect());
        let rounded: Vec<f64> = found.values().map(|value| value.round()).collect();
        assert_eq!(rounded, [500.0, 990.0, 999.0]);
        assert_eq!(percentiles(Vec::new())[&Metric::P99Us], 0.0);
    }

    #[test]
    fn spreads_that_touch_are_not_apart() {
        let of = |values: &[f64]| Spread::of(values).unwrap();
        assert!(of(&[1.0, 2.0]).is_apart(&of(&[3.0])));
        assert!(!of(&[1.0, 3.0]).is_apart(&of(&[3.0, 5.0])));
    }
}
