//! What one worker knows about one endpoint.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use portcullis_snapshot::cluster::{Address, Endpoint};

use crate::outlier::Monitor;

/// An endpoint of the newest snapshot, with what was learned about its address.
#[derive(Debug)]
pub struct EndpointState {
    endpoint: Arc<Endpoint>,
    learned: Rc<Learned>,
}

/// Survives as long as the address stays in the cluster.
#[derive(Debug, Default)]
pub(super) struct Learned {
    active: Cell<u32>,
    /// Time of its next turn on the scale of [`super::deadline::Deadlines`]; 0 = never had one.
    pub(super) deadline: Cell<f64>,
    monitor: RefCell<Option<Arc<Monitor>>>,
}

impl Learned {
    pub(super) fn watch(&self, monitor: Option<Arc<Monitor>>) {
        *self.monitor.borrow_mut() = monitor;
    }
}

impl EndpointState {
    pub(super) fn new(endpoint: Arc<Endpoint>, learned: Rc<Learned>) -> Self {
        Self { endpoint, learned }
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

    /// Counts a request as active until the guard is dropped, also when its future is.
    #[must_use]
    pub fn begin(&self) -> ActiveRequest {
        self.learned.active.set(self.learned.active.get().saturating_add(1));
        ActiveRequest { learned: Rc::clone(&self.learned) }
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

/// The endpoints a request has tried so far. Empty, it holds no memory.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    learned: Vec<Rc<Learned>>,
}

impl Tried {
    /// Most endpoints remembered: beyond, the oldest is forgotten.
    pub const MAX: usize = 32;

    /// None yet.
    #[must_use]
    pub const fn none() -> Self {
        Self { learned: Vec::new() }
    }

    /// Remembers an endpoint.
    pub fn push(&mut self, endpoint: &EndpointState) {
        if self.learned.len() >= Self::MAX {
            self.learned.remove(0);
        }
        self.learned.push(Rc::clone(&endpoint.learned));
    }

    /// Whether an endpoint has been tried, under this or an older snapshot.
    #[must_use]
    pub fn contains(&self, endpoint: &EndpointState) -> bool {
        self.learned.iter().any(|tried| Rc::ptr_eq(tried, &endpoint.learned))
    }

    /// Whether none has been tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.learned.is_empty()
    }
}
