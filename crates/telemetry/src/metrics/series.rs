//! The numbers, and the tables through which a shard shows them to the renderer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::flags::Flags;

/// Upper bounds of the buckets of all three histograms, as printed in `le`; `+Inf` follows.
pub const BUCKETS: [&str; 19] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000",
    "60000", "300000", "600000", "1800000", "3600000",
];

/// The same as whole numbers: what is counted are whole milliseconds and bytes, so 0.5 is 0.
const BOUNDS: [u64; 19] = [
    0, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000,
    1_800_000, 3_600_000,
];

/// A number with one writer and any number of readers: adding needs no read-modify-write.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram over [`BUCKETS`].
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// Not cumulative; the last one is above every bound.
    buckets: [Counter; BOUNDS.len() + 1],
    sum: Counter,
}

impl Histogram {
    pub(super) fn record(&self, value: u64) {
        let bucket = BOUNDS.partition_point(|&bound| bound < value);
        self.buckets[bucket].add(1);
        self.sum.add(value);
    }

    pub(super) fn add_to(&self, total: &mut HistogramTotal) {
        for (into, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *into += bucket.value();
        }
        total.sum = total.sum.wrapping_add(self.sum.value());
    }
}

/// A histogram summed over shards.
#[derive(Debug, Default, Clone)]
pub(super) struct HistogramTotal {
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    pub(super) sum: u64,
}

/// What tells one HTTP series from another in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RequestKey {
    pub(super) peer: u32,
    pub(super) code: u16,
    pub(super) grpc: bool,
    pub(super) grpc_status: Option<u16>,
    pub(super) flags: Flags,
}

/// What tells one TCP series from another in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TcpKey {
    pub(super) peer: u32,
    pub(super) flags: Flags,
}

/// The four HTTP families of one label set; the histograms' count is the requests' total.
#[derive(Debug, Default)]
pub(super) struct RequestSeries {
    pub(super) duration: Histogram,
    pub(super) request_bytes: Histogram,
    pub(super) response_bytes: Histogram,
}

/// The two message families of one label set.
#[derive(Debug, Default)]
pub(super) struct MessageSeries {
    pub(super) request: Counter,
    pub(super) response: Counter,
}

/// The four TCP families of one label set.
#[derive(Debug, Default)]
pub(super) struct TcpSeries {
    pub(super) opened: Counter,
    pub(super) closed: Counter,
    pub(super) sent: Counter,
    pub(super) received: Counter,
}

/// Connections of one listener. Active ones are the difference.
#[derive(Debug, Default)]
pub(super) struct ListenerSeries {
    pub(super) opened: Counter,
    pub(super) closed: Counter,
}

/// Connections and waiting requests of one cluster.
#[derive(Debug, Default)]
pub(super) struct PoolSeries {
    pub(super) opened: Counter,
    pub(super) closed: Counter,
    pub(super) failed: Counter,
    pub(super) queued: Counter,
    pub(super) dequeued: Counter,
}

/// HTTP requests in progress.
#[derive(Debug, Default)]
pub(super) struct ActiveSeries {
    pub(super) started: Counter,
    pub(super) ended: Counter,
}

/// A series with its labels, in two halves because the first one is shared by many.
#[derive(Debug)]
pub(super) struct Labelled<T> {
    pub(super) head: Arc<str>,
    pub(super) tail: Arc<str>,
    pub(super) series: Arc<T>,
}

impl<T> Clone for Labelled<T> {
    fn clone(&self) -> Self {
        let Self { head, tail, series } = self;
        Self { head: Arc::clone(head), tail: Arc::clone(tail), series: Arc::clone(series) }
    }
}

/// A list that its shard only appends to and the renderer only reads.
#[derive(Debug)]
pub(super) struct Registered<T>(Mutex<Vec<Labelled<T>>>);

impl<T> Default for Registered<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T: Default> Registered<T> {
    /// A new series, from now on rendered.
    pub(super) fn register(&self, head: Arc<str>, tail: Arc<str>) -> Arc<T> {
        let series = Arc::new(T::default());
        let labelled = Labelled { head, tail, series: Arc::clone(&series) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(labelled);
        series
    }

    /// Calls `see` for each, holding the lock for a few at a time only: a worker that meets a new
    /// label set never waits for a whole page.
    pub(super) fn each(&self, mut see: impl FnMut(&Labelled<T>)) {
        let mut seen = 0;
        loop {
            let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let few: Vec<_> = held.iter().skip(seen).take(AT_A_TIME).cloned().collect();
            drop(held);
            if few.is_empty() {
                return;
            }
            seen += few.len();
            few.iter().for_each(&mut see);
        }
    }
}

/// How many entries of a list are copied under its lock.
const AT_A_TIME: usize = 64;

/// Everything one shard counts.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) requests: Registered<RequestSeries>,
    pub(super) messages: Registered<MessageSeries>,
    pub(super) tcp: Registered<TcpSeries>,
    pub(super) listeners: Registered<ListenerSeries>,
    pub(super) pools: Registered<PoolSeries>,
    pub(super) active: ActiveSeries,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_what_is_printed() {
        for (text, bound) in BUCKETS.iter().zip(BOUNDS) {
            let printed: f64 = text.parse().unwrap();
            assert!((printed - bound as f64).abs() <= 0.5, "{text} {bound}");
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 5, 6, 3_600_000, 3_600_001] {
            histogram.record(value);
        }
        let mut total = HistogramTotal::default();
        histogram.add_to(&mut total);
        assert_eq!(total.buckets[..4], [1, 1, 2, 1]);
        assert_eq!(total.buckets[18..], [1, 1]);
        assert_eq!(total.sum, 7_200_015);
    }
}
