//! A cluster's limits as one pool meets them: leave to open connections, and the queue of those without.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_snapshot::FastMap;
use portcullis_telemetry::metrics::PoolMetrics;
use portcullis_traffic::breaker::{Breaker, Permit, Resource};
use tokio::sync::Notify;

use super::Key;
use crate::error::UpstreamError;

/// The connections of a pool, counted, and who waits for one.
pub(super) struct Slots {
    metrics: PoolMetrics,
    /// Connections open or being opened.
    open: RefCell<FastMap<Key, u32>>,
    /// Where requests wait for a connection of a key to come free.
    queues: RefCell<FastMap<Key, Rc<Notify>>>,
    /// Requests that wait in any of them.
    waiting: Cell<u32>,
}

impl Slots {
    pub(super) fn new(metrics: PoolMetrics) -> Rc<Self> {
        let (open, queues) = (RefCell::default(), RefCell::default());
        Rc::new(Self { metrics, open, queues, waiting: Cell::new(0) })
    }

    /// Leave to open a connection: as far as the cluster's limit goes, and beyond it where this pool has none for
    /// the key, so that nobody waits for what could never come free (as in Envoy).
    pub(super) fn take(self: &Rc<Self>, key: &Key, breaker: &Arc<Breaker>) -> Option<Slot> {
        let permit = match breaker.try_acquire(Resource::Connections) {
            Some(permit) => permit,
            None if self.open.borrow().contains_key(key) => return None,
            None => breaker.acquire(Resource::Connections),
        };
        *self.open.borrow_mut().entry(key.clone()).or_default() += 1;
        Some(Slot { _permit: permit, slots: Rc::clone(self), key: key.clone(), opened: None })
    }

    /// A place among those without a connection; it is held until there is one.
    ///
    /// # Errors
    /// [`UpstreamError::Overflow`] when `http1MaxPendingRequests` are there already.
    pub(super) fn queue(self: &Rc<Self>, breaker: &Arc<Breaker>) -> Result<Queued, UpstreamError> {
        let permit = breaker.try_acquire(Resource::Pending).ok_or(UpstreamError::Overflow)?;
        self.metrics.queued();
        Ok(Queued { _permit: permit, slots: Rc::clone(self) })
    }

    /// Tells one of those who wait that a connection, or a share of one, has come free.
    pub(super) fn freed(&self, key: &Key) {
        if self.waiting.get() > 0
            && let Some(queue) = self.queues.borrow().get(key)
        {
            queue.notify_one();
        }
    }

    /// Tells one of those who wait for each key: the cluster's limit has room again.
    fn closed(&self) {
        if self.waiting.get() > 0 {
            self.queues.borrow().values().for_each(|queue| queue.notify_one());
        }
    }
}

/// A connection's share of the cluster's limit; whoever waits at the limit is told when it ends.
pub(crate) struct Slot {
    _permit: Permit,
    slots: Rc<Slots>,
    key: Key,
    /// When the connection was opened; it is counted from then on.
    opened: Option<Instant>,
}

impl Slot {
    /// Whether the connection is older than `limit`.
    pub(super) fn is_older(&self, limit: Option<Duration>) -> bool {
        limit.is_some_and(|limit| self.opened.is_some_and(|opened| opened.elapsed() >= limit))
    }

    /// Counts how the attempt to open the connection came out.
    pub(super) fn tried<T>(&mut self, connected: &Result<T, UpstreamError>) {
        match connected {
            Ok(_) => {
                self.opened = Some(Instant::now());
                self.slots.metrics.opened();
            }
            Err(_) => self.slots.metrics.failed(),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.opened.is_some() {
            self.slots.metrics.closed();
        }
        let mut open = self.slots.open.borrow_mut();
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
        drop(open);
        self.slots.closed();
    }
}

/// A request without a connection, in the cluster's limit and metrics.
pub(super) struct Queued {
    _permit: Permit,
    slots: Rc<Slots>,
}

impl Queued {
    /// Waits until something may have come free for `key`. Dropping the future lets another one be told.
    pub(super) async fn wait(&self, key: &Key) {
        let queue = Rc::clone(self.slots.queues.borrow_mut().entry(key.clone()).or_default());
        let _waiting = Waiting::enter(&self.slots, key);
        queue.notified().await;
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.slots.metrics.dequeued();
    }
}

/// Counts one who waits.
struct Waiting<'a> {
    slots: &'a Slots,
    key: &'a Key,
}

impl<'a> Waiting<'a> {
    fn enter(slots: &'a Slots, key: &'a Key) -> Self {
        slots.waiting.set(slots.waiting.get() + 1);
        Self { slots, key }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.slots.waiting.set(self.slots.waiting.get() - 1);
        // Endpoints come and go; a queue nobody stands in is not kept for them. The one who waits holds it, too.
        let mut queues = self.slots.queues.borrow_mut();
        if queues.get(self.key).is_some_and(|queue| Rc::strong_count(queue) <= 2) {
            queues.remove(self.key);
        }
    }
}
