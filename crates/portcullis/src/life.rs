//! The life of the process: starting, ready, draining; and who may end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_dataplane as dataplane;
use tokio::sync::Notify;

/// Whether the gateway should get traffic, and the wish to end it.
pub(crate) struct Life {
    draining: AtomicBool,
    ending: AtomicBool,
    end: Notify,
    drain: Notify,
    status: Box<dyn Fn() -> dataplane::Status + Send + Sync>,
}

impl Life {
    /// A life whose readiness is read from `status`.
    pub(crate) fn new(status: impl Fn() -> dataplane::Status + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            draining: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            end: Notify::new(),
            drain: Notify::new(),
            status: Box::new(status),
        })
    }

    /// State of the data plane.
    pub(crate) fn dataplane(&self) -> dataplane::Status {
        (self.status)()
    }

    /// Why no traffic should come; `None` when it should.
    ///
    /// A port that cannot be opened does not count as long as another one is open: one bad Gateway must not
    /// take the others from the load balancer.
    pub(crate) fn not_ready(&self) -> Option<&'static str> {
        if self.is_draining() {
            return Some("draining");
        }
        let status = self.dataplane();
        if status.applied_generation == 0 {
            return Some("starting: no configuration is applied yet");
        }
        let open = |bind: &dataplane::Bind| *bind == dataplane::Bind::Open;
        if !status.listeners.is_empty() && !status.listeners.values().any(open) {
            return Some("no port could be opened");
        }
        None
    }

    /// Whether the end is near.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Takes the gateway out of service without ending it.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.drain.notify_one();
    }

    /// Asks for the end of the process, as SIGTERM does.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
        self.end.notify_one();
    }

    /// Waits until the end was asked for. May be dropped and called again at any time.
    pub(crate) async fn ended(&self) {
        while !self.ending.load(Ordering::Relaxed) {
            self.end.notified().await;
        }
    }

    /// Waits until draining was asked for. May be dropped and called again at any time.
    pub(crate) async fn drained(&self) {
        while !self.is_draining() {
            self.drain.notified().await;
        }
    }
}
