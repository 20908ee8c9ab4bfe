//! Circuit breakers: bounds on what a cluster may have in use at once (`connectionPool`).
//!
//! They hold for the whole gateway, so workers share one [`Breaker`] per cluster. Where a limit is
//! Istio's default, none, nothing is counted and no worker touches the other's cache line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_snapshot::cluster::PoolLimits;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// `tcp.maxConnections`.
    Connections,
    /// `http.http1MaxPendingRequests`: requests that wait for a connection.
    Pending,
    /// `http.http2MaxRequests`: requests in progress, any protocol.
    Requests,
    /// `http.maxRetries`: retries in progress.
    Retries,
}

/// Limits and use of one cluster.
#[derive(Debug)]
pub struct Breaker {
    gauges: [Gauge; 4],
}

#[derive(Debug)]
struct Gauge {
    limit: AtomicU32,
    used: AtomicU32,
}

impl Breaker {
    /// Nothing in use.
    #[must_use]
    pub fn new(limits: &PoolLimits) -> Self {
        let gauge = |limit| Gauge { limit: AtomicU32::new(limit), used: AtomicU32::new(0) };
        Self { gauges: by_resource(limits).map(gauge) }
    }

    /// Takes over new limits. What is in use stays; a lower limit only keeps more from coming.
    pub fn update(&self, limits: &PoolLimits) {
        for (gauge, limit) in self.gauges.iter().zip(by_resource(limits)) {
            // Unconditional stores would take the line from readers at every publication.
            if gauge.limit.load(Ordering::Relaxed) != limit {
                gauge.limit.store(limit, Ordering::Relaxed);
            }
        }
    }

    /// One more of `resource`, or `None` at its limit: flag UO, reset reason `overflow`.
    ///
    /// Dropping the permit gives it back.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>, resource: Resource) -> Option<Permit> {
        let gauge = &self.gauges[resource as usize];
        let limit = gauge.limit.load(Ordering::Relaxed);
        if limit == u32::MAX {
            return Some(Permit { counted: None });
        }
        let take = |used: u32| (used < limit).then_some(used + 1);
        gauge.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Permit { counted: Some((Arc::clone(self), resource)) })
    }

    /// How many of `resource` are counted at present; those taken while there was no limit are not.
    #[must_use]
    pub fn used(&self, resource: Resource) -> u32 {
        self.gauges[resource as usize].used.load(Ordering::Relaxed)
    }
}

/// Leave to use one of a resource, until dropped.
#[derive(Debug)]
pub struct Permit {
    counted: Option<(Arc<Breaker>, Resource)>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((breaker, resource)) = &self.counted {
            breaker.gauges[*resource as usize].used.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// In the order of [`Resource`].
fn by_resource(limits: &PoolLimits) -> [u32; 4] {
    [limits.max_connections, limits.max_pending, limits.max_requests, limits.max_retries]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_are_given_back() {
        let limits = PoolLimits { max_requests: 2, ..PoolLimits::default() };
        let breaker = Arc::new(Breaker::new(&limits));
        let first = breaker.try_acquire(Resource::Requests);
        let second = breaker.try_acquire(Resource::Requests);
        assert!(first.is_some() && second.is_some());
        assert!(breaker.try_acquire(Resource::Requests).is_none());
        drop(first);
        assert_eq!(breaker.used(Resource::Requests), 1);
        assert!(breaker.try_acquire(Resource::Requests).is_some());
    }

    #[test]
    fn no_limit_counts_nothing() {
        let breaker = Arc::new(Breaker::new(&PoolLimits::default()));
        let permit = breaker.try_acquire(Resource::Connections);
        assert!(permit.is_some());
        assert_eq!(breaker.used(Resource::Connections), 0);
        breaker.update(&PoolLimits { max_connections: 1, ..PoolLimits::default() });
        drop(permit);
        assert_eq!(breaker.used(Resource::Connections), 0);
    }

    #[test]
    fn a_lower_limit_waits_for_the_old_ones() {
        let limit = |max_retries| PoolLimits { max_retries, ..PoolLimits::default() };
        let breaker = Arc::new(Breaker::new(&limit(3)));
        let held: Vec<_> = (0..3).map(|_| breaker.try_acquire(Resource::Retries).unwrap()).collect();
        breaker.update(&limit(1));
        assert!(breaker.try_acquire(Resource::Retries).is_none());
        drop(held);
        assert!(breaker.try_acquire(Resource::Retries).is_some());
    }
}
