//! What one worker knows about one endpoint.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_snapshot::cluster::{Address, Endpoint};
use portcullis_snapshot::retry::RetryPolicy;

use crate::outlier::Monitor;

/// An endpoint of the newest snapshot, with what was learned about its address.
#[derive(Debug)]
pub struct EndpointState {
    endpoint: Arc<Endpoint>,
    learned: Rc<Learned>,
    /// Priority of its locality.
    tier: u32,
}

/// Survives as long as the address stays in the cluster.
#[derive(Debug, Default)]
pub(super) struct Learned {
    active: Cell<u32>,
    /// Time of its next turn on the scale of [`super::deadline::Deadlines`]; 0 = never had one.
    pub(super) deadline: Cell<f64>,
    monitor: RefCell<Option<Arc<Monitor>>>,
    /// Whether it fails its health checks.
    pub(super) failing: Cell<bool>,
    /// Since when it is there and healthy; only known where the cluster has a warm-up.
    pub(super) arrived: Cell<Option<Instant>>,
}

impl Learned {
    pub(super) fn watch(&self, monitor: Option<Arc<Monitor>>) {
        *self.monitor.borrow_mut() = monitor;
    }
}

impl EndpointState {
    pub(super) fn new(endpoint: Arc<Endpoint>, learned: Rc<Learned>, tier: u32) -> Self {
        Self { endpoint, learned, tier }
    }

    /// The endpoint as configured.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.endpoint.address
    }

    /// Requests and connections that this worker has in progress there.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.learned.active.get()
    }

    /// Whether outlier detection has put it out.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.monitor().as_ref().is_some_and(|monitor| monitor.is_ejected())
    }

    /// Whether it is to be left alone: ejected, or failing its health checks.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.learned.failing.get() || self.is_ejected()
    }

    /// Counts a request as active until the guard is dropped, also when its future is.
    #[must_use]
    pub fn begin(&self) -> ActiveRequest {
        self.learned.active.set(self.learned.active.get().saturating_add(1));
        ActiveRequest { learned: Rc::clone(&self.learned) }
    }

    pub(super) fn arrived(&self) -> Option<Instant> {
        self.learned.arrived.get()
    }

    pub(super) fn tier(&self) -> u32 {
        self.tier
    }

    pub(super) fn learned(&self) -> &Rc<Learned> {
        &self.learned
    }

    pub(super) fn monitor(&self) -> Ref<'_, Option<Arc<Monitor>>> {
        self.learned.monitor.borrow()
    }

    pub(super) fn weight(&self) -> f64 {
        f64::from(self.endpoint.weight.max(1))
    }

    /// Weight divided by load, as Envoy's least request weighs unequal endpoints
    /// (`active_request_bias` 1.0).
    pub(super) fn weight_by_load(&self) -> f64 {
        self.weight() / (f64::from(self.active()) + 1.0)
    }
}

/// A request or TCP session in progress at an endpoint.
#[derive(Debug)]
pub struct ActiveRequest {
    learned: Rc<Learned>,
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.learned.active.set(self.learned.active.get().saturating_sub(1));
    }
}

/// The endpoints a request has tried so far, and what follows from that. Empty, it holds no memory.
#[derive(Debug, Clone)]
pub struct Tried {
    learned: Vec<Rc<Learned>>,
    /// Priorities of the attempts, where they matter.
    tiers: Vec<u32>,
    avoid: bool,
    leave_tiers: bool,
}

impl Tried {
    /// Most attempts remembered: beyond, the oldest is forgotten.
    pub const MAX: usize = 32;

    /// None yet, and none will be remembered.
    #[must_use]
    pub const fn none() -> Self {
        Self { learned: Vec::new(), tiers: Vec::new(), avoid: false, leave_tiers: false }
    }

    /// None yet; what is remembered of attempts is what `policy` wants avoided.
    #[must_use]
    pub const fn under(policy: &RetryPolicy) -> Self {
        let (avoid, leave_tiers) = (policy.avoid_previous_hosts, policy.other_priorities);
        Self { learned: Vec::new(), tiers: Vec::new(), avoid, leave_tiers }
    }

    /// Remembers an endpoint.
    pub fn push(&mut self, endpoint: &EndpointState) {
        if self.avoid {
            forget_oldest(&mut self.learned);
            self.learned.push(Rc::clone(&endpoint.learned));
        }
        if self.leave_tiers {
            forget_oldest(&mut self.tiers);
            self.tiers.push(endpoint.tier);
        }
    }

    /// Whether an endpoint has been tried, under this or an older snapshot, and is to be avoided.
    #[must_use]
    pub fn contains(&self, endpoint: &EndpointState) -> bool {
        self.learned.iter().any(|tried| Rc::ptr_eq(tried, &endpoint.learned))
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.learned.is_empty() && self.tiers.is_empty()
    }

    /// The priorities tried, where they are to be left.
    pub(super) fn tiers(&self) -> Option<&[u32]> {
        Some(&*self.tiers).filter(|tiers| !tiers.is_empty())
    }
}

fn forget_oldest<T>(list: &mut Vec<T>) {
    if list.len() >= Tried::MAX {
        list.remove(0);
    }
}
