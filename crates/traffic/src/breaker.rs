//! Circuit breakers: bounds on what a cluster may have in use at once (`connectionPool`).
//!
//! They hold for the whole gateway, so workers share one [`Breaker`] per cluster. Where a limit is
//! Istio's default, none, nothing is counted and no worker touches the other's cache line.

mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use portcullis_snapshot::cluster::{PoolLimits, RetryBudget};

use window::Window;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// `tcp.maxConnections`.
    Connections,
    /// `http.http1MaxPendingRequests`: requests that wait for a connection.
    Pending,
    /// `http.http2MaxRequests`: requests in progress, any protocol.
    Requests,
    /// `http.maxRetries`, or `retryBudget`: retries in progress.
    Retries,
}

/// Limits and use of one cluster.
#[derive(Debug)]
pub struct Breaker {
    gauges: [Gauge; 4],
    budget: Budget,
}

/// `retryBudget`, as two words that readers may see one of before the other; each makes sense by itself.
#[derive(Debug)]
struct Budget {
    /// Retries that are always allowed; [`NO_BUDGET`] without a budget.
    least: AtomicU32,
    /// Share of the requests in progress, in millionths.
    share: AtomicU32,
    /// The requests begun lately, where those count.
    window: Window,
}

/// There is no budget: `maxRetries` counts.
const NO_BUDGET: u32 = u32::MAX;

impl Budget {
    fn set(&self, budget: Option<RetryBudget>) {
        let (least, share) = budget.map_or((NO_BUDGET, 0), |budget| {
            (budget.min_concurrency.min(NO_BUDGET - 1), budget.share.millionths())
        });
        self.window.set_interval(budget.and_then(|budget| budget.interval));
        for (word, value) in [(&self.least, least), (&self.share, share)] {
            if word.load(Ordering::Relaxed) != value {
                word.store(value, Ordering::Relaxed);
            }
        }
    }

    fn is_set(&self) -> bool {
        self.least.load(Ordering::Relaxed) != NO_BUDGET
    }
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
        let budget =
            Budget { least: AtomicU32::new(NO_BUDGET), share: AtomicU32::new(0), window: Window::default() };
        budget.set(limits.retry_budget);
        Self { gauges: by_resource(limits).map(gauge), budget }
    }

    /// Takes over new limits. What is in use stays; a lower limit only keeps more from coming.
    pub fn update(&self, limits: &PoolLimits) {
        self.budget.set(limits.retry_budget);
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
        self.try_below(resource, self.gauges[resource as usize].limit.load(Ordering::Relaxed))
    }

    /// One more retry, or `None` where the budget or the limit has none to give. `now` is only asked for where the
    /// budget goes by time.
    ///
    /// Dropping the permit gives it back.
    #[must_use]
    pub fn try_retry(self: &Arc<Self>, now: impl FnOnce() -> Instant) -> Option<Permit> {
        let limit = if self.budget.is_set() {
            let counted = match self.budget.window.is_open() {
                true => self.budget.window.begun(now()),
                false => u64::from(self.used(Resource::Requests)) + u64::from(self.used(Resource::Pending)),
            };
            let share = counted * u64::from(self.budget.share.load(Ordering::Relaxed)) / 1_000_000;
            u32::try_from(share).unwrap_or(u32::MAX).max(self.budget.least.load(Ordering::Relaxed))
        } else {
            self.gauges[Resource::Retries as usize].limit.load(Ordering::Relaxed)
        };
        self.try_below(Resource::Retries, limit)
    }

    /// A request has begun. `now` is only asked for where a budget goes by time; it costs one load otherwise.
    pub fn note_request(&self, now: impl FnOnce() -> Instant) {
        if self.budget.window.is_open() {
            self.budget.window.note(now());
        }
    }

    fn try_below(self: &Arc<Self>, resource: Resource, limit: u32) -> Option<Permit> {
        if limit == u32::MAX && !self.is_counted(resource) {
            return Some(Permit { counted: None });
        }
        let take = |used: u32| (used < limit).then_some(used + 1);
        let used = &self.gauges[resource as usize].used;
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Permit { counted: Some((Arc::clone(self), resource)) })
    }

    /// One more of `resource`, whatever its limit.
    #[must_use]
    pub fn acquire(self: &Arc<Self>, resource: Resource) -> Permit {
        self.gauges[resource as usize].used.fetch_add(1, Ordering::Relaxed);
        Permit { counted: Some((Arc::clone(self), resource)) }
    }

    /// Whether the use of `resource` matters although it has no limit: a budget is a share of it.
    fn is_counted(&self, resource: Resource) -> bool {
        matches!(resource, Resource::Requests | Resource::Pending) && self.budget.is_set()
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
    use std::time::Duration;

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
    fn a_budget_is_a_share_of_the_requests_in_progress() {
        let share = portcullis_snapshot::action::Percentage::from_percent(25.0);
        let limits = PoolLimits {
            retry_budget: Some(RetryBudget { share, min_concurrency: 2, interval: None }),
            max_retries: 1,
            ..PoolLimits::default()
        };
        let breaker = Arc::new(Breaker::new(&limits));
        let retries = |most: usize| {
            let held: Vec<_> = (0..most).map_while(|_| breaker.try_retry(Instant::now)).collect();
            held.len()
        };
        assert_eq!(retries(10), 2, "the least counts, maxRetries does not");
        let requests: Vec<_> = (0..19).map(|_| breaker.try_acquire(Resource::Requests).unwrap()).collect();
        assert_eq!(retries(10), 4, "a quarter of 19");
        let waiting = breaker.try_acquire(Resource::Pending);
        assert_eq!(retries(10), 5, "who waits for a connection counts, too");
        drop((requests, waiting));
        breaker.update(&PoolLimits { max_retries: 1, ..PoolLimits::default() });
        assert_eq!(retries(10), 1, "without a budget maxRetries counts again");
    }

    #[test]
    fn a_budget_with_an_interval_counts_what_began_within_it() {
        let share = portcullis_snapshot::action::Percentage::from_percent(50.0);
        let budget = |interval| PoolLimits {
            retry_budget: Some(RetryBudget { share, min_concurrency: 1, interval }),
            ..PoolLimits::default()
        };
        let breaker = Arc::new(Breaker::new(&budget(Some(Duration::from_secs(10)))));
        let start = Instant::now();
        let retries = |seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            let held: Vec<_> = (0..10).map_while(|_| breaker.try_retry(|| now)).collect();
            held.len()
        };
        assert_eq!(retries(0), 1);
        (0..8).for_each(|_| breaker.note_request(|| start));
        assert_eq!((retries(0), retries(9)), (4, 4), "half of 8, over or not");
        assert_eq!(retries(11), 1, "they have expired");
        breaker.update(&budget(None));
        breaker.note_request(|| unreachable!("nobody asks for the time"));
        assert_eq!(retries(0), 1, "nothing is in progress");
    }

    #[test]
    fn beyond_the_limit_is_counted() {
        let limits = PoolLimits { max_connections: 1, ..PoolLimits::default() };
        let breaker = Arc::new(Breaker::new(&limits));
        let first = breaker.try_acquire(Resource::Connections);
        let beyond = breaker.acquire(Resource::Connections);
        assert!(first.is_some() && breaker.try_acquire(Resource::Connections).is_none());
        drop(first);
        assert!(breaker.try_acquire(Resource::Connections).is_none());
        drop(beyond);
        assert!(breaker.try_acquire(Resource::Connections).is_some());
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
