//! One worker: a thread with its own runtime, listeners, pools, metric shard and log buffer.
//!
//! Everything reachable from a [`Worker`] belongs to its thread, so it is shared by `Rc` and
//! changed through cells; nothing on the request path takes a lock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use portcullis_snapshot::cell::Reader;
use portcullis_snapshot::{ClusterId, Snapshot};
use portcullis_telemetry::access_log::LogBuffer;
use portcullis_telemetry::metrics::{ListenerMetrics, Shard};
use portcullis_telemetry::record::{RequestRecord, TcpRecord};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Notify;

use crate::Config;
use crate::clock;
use crate::connection::Scope;
use crate::http::forward::mirror;
use crate::postgres::cancel::Sessions;
use crate::upstream::registry::{Registry, Upstream};

/// Longest time a log line waits in the buffer.
pub(crate) const LOG_FLUSH: Duration = Duration::from_secs(1);

/// The state of one worker.
pub(crate) struct Worker {
    pub(crate) config: Arc<Config>,
    pub(crate) drain: Drain,
    pub(crate) shard: Shard,
    reader: Reader,
    pinned: RefCell<Rc<Pinned>>,
    /// Generation of the last sweep.
    swept: Cell<u64>,
    registry: Registry,
    /// What copies of requests use at present.
    pub(crate) mirrors: mirror::Usage,
    log: RefCell<Option<LogBuffer>>,
    dice: RefCell<SmallRng>,
    date: RefCell<(u64, Bytes)>,
    /// Of connections that ask for nothing any more.
    pub(crate) nowhere: Scope,
    /// PostgreSQL sessions of the process, for cancel requests that name no server.
    pub(crate) sessions: Arc<Sessions>,
    /// Connections open on this worker.
    pub(crate) connections: Cell<usize>,
    open: Arc<AtomicU64>,
}

/// One snapshot as a worker uses it, with the upstream states its clusters lead to.
pub(crate) struct Pinned {
    pub(crate) snapshot: Arc<Snapshot>,
    upstreams: RefCell<Vec<Option<Rc<Upstream>>>>,
}

/// Tells every connection of a worker that the gateway is going away.
#[derive(Default)]
pub(crate) struct Drain {
    draining: Cell<bool>,
    /// Told when draining begins, and when connections may hold a snapshot that is not the newest.
    news: Notify,
    closing: Cell<bool>,
    closed: Notify,
}

impl Worker {
    pub(crate) fn new(
        config: Arc<Config>,
        reader: Reader,
        open: Arc<AtomicU64>,
        sessions: Arc<Sessions>,
    ) -> Rc<Self> {
        let shard = config.metrics.shard();
        let pinned = Rc::new(Pinned::new(reader.current()));
        let log = config.log.map(|format| LogBuffer::new(format, Arc::clone(&config.sink)));
        Rc::new(Self {
            config,
            drain: Drain::default(),
            shard,
            reader,
            pinned: RefCell::new(pinned),
            swept: Cell::new(0),
            nowhere: Scope::nowhere(),
            registry: Registry::default(),
            mirrors: mirror::Usage::default(),
            log: RefCell::new(log),
            dice: RefCell::new(SmallRng::from_rng(&mut rand::rng())),
            date: RefCell::new((u64::MAX, Bytes::new())),
            sessions,
            connections: Cell::new(0),
            open,
        })
    }

    /// The newest snapshot, pinned: it stays whole for as long as the handle is held.
    pub(crate) fn pin(&self) -> Rc<Pinned> {
        let pinned = self.pinned.borrow();
        if pinned.snapshot.generation == self.reader.generation() {
            return Rc::clone(&pinned);
        }
        drop(pinned);
        let fresh = Rc::new(Pinned::new(self.reader.current()));
        *self.pinned.borrow_mut() = Rc::clone(&fresh);
        fresh
    }

    /// The state of a cluster on this worker: pools, balancing, breakers. It outlives snapshots.
    pub(crate) fn upstream(&self, pinned: &Pinned, id: ClusterId) -> Rc<Upstream> {
        if let Some(upstream) = &pinned.upstreams.borrow()[id.index()] {
            return Rc::clone(upstream);
        }
        let upstream = self.registry.attach(self, pinned.snapshot.cluster(id), pinned.snapshot.generation);
        pinned.upstreams.borrow_mut()[id.index()] = Some(Rc::clone(&upstream));
        upstream
    }

    /// Forgets pooled connections that sat idle too long and clusters that are gone, and has idle connections
    /// let go of older snapshots.
    pub(crate) async fn sweep(&self) {
        let pinned = self.pin();
        let snapshot = &pinned.snapshot;
        if self.swept.replace(snapshot.generation) != snapshot.generation {
            self.drain.renew();
            // Every worker does this; the registry is small and locked for a moment only.
            self.config.learned.retain(|name| snapshot.cluster_named(name).is_some());
        }
        self.registry.sweep(snapshot, tokio::time::Instant::now().into_std()).await;
    }

    /// A uniform draw.
    pub(crate) fn roll(&self) -> u64 {
        self.dice.borrow_mut().random()
    }

    /// Lends the dice.
    pub(crate) fn with_dice<T>(&self, use_dice: impl FnOnce(&mut SmallRng) -> T) -> T {
        use_dice(&mut self.dice.borrow_mut())
    }

    /// The value of a `date` header now, formatted once a second (RFC 9110 §5.6.7).
    pub(crate) fn date(&self) -> Bytes {
        let now = clock::wall();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            *date = (second, httpdate::fmt_http_date(now).into());
        }
        date.1.clone()
    }

    /// Counts and logs a finished request.
    pub(crate) fn finish_request(&self, record: &RequestRecord) {
        self.shard.record_request(record);
        if let Some(log) = &mut *self.log.borrow_mut() {
            log.request(record);
        }
    }

    /// Logs a finished TCP connection; its bytes are counted by whoever carries them.
    pub(crate) fn finish_connection(&self, record: &TcpRecord) {
        if let Some(log) = &mut *self.log.borrow_mut() {
            log.tcp(record);
        }
    }

    /// Hands buffered log lines on.
    pub(crate) fn flush_log(&self) {
        if let Some(log) = &mut *self.log.borrow_mut() {
            log.flush();
        }
    }

    /// Connections open on all workers together.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a connection of a listener in for as long as the guard lives.
    pub(crate) fn enter(self: &Rc<Self>, listener: &ListenerMetrics) -> OpenConnection {
        self.connections.set(self.connections.get() + 1);
        self.open.fetch_add(1, Ordering::Relaxed);
        listener.opened();
        OpenConnection { worker: Rc::clone(self), listener: listener.clone() }
    }
}

/// Held by a connection while it is open.
pub(crate) struct OpenConnection {
    worker: Rc<Worker>,
    listener: ListenerMetrics,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.worker.connections.set(self.worker.connections.get() - 1);
        self.worker.open.fetch_sub(1, Ordering::Relaxed);
        self.listener.closed();
    }
}

impl Pinned {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        let upstreams = RefCell::new(vec![None; snapshot.clusters.places()]);
        Self { snapshot, upstreams }
    }
}

impl Drain {
    /// Responses are marked for closing, idle connections close, busy ones finish first.
    pub(crate) fn begin(&self) {
        self.draining.set(true);
        self.news.notify_waiters();
    }

    /// Whatever is still open ends now.
    pub(crate) fn close(&self) {
        self.begin();
        self.closing.set(true);
        self.closed.notify_waiters();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Has idle connections look for the newest snapshot.
    fn renew(&self) {
        self.news.notify_waiters();
    }

    /// Waits until draining begins or a newer snapshot should be looked for.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Waits until connections must end; returns at once when they must.
    pub(crate) async fn closed(&self) {
        while !self.closing.get() {
            self.closed.notified().await;
        }
    }
}
