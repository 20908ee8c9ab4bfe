//! Connections to a cluster's endpoints, kept for reuse by one worker.
//!
//! An idle HTTP/1 connection is a pair of halves in a list, looked after by nobody: whether it is
//! still good is asked when it is taken out. HTTP/2 connections are shared by many streams and
//! driven by a task each.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::Address;
use portcullis_telemetry::metrics::PoolMetrics;
use portcullis_traffic::breaker::{Breaker, Permit, Resource};
use tokio::sync::Notify;

use crate::error::UpstreamError;
use crate::http::h1::io::{Reader, Writer, split};
use crate::upstream::connect::{self, Connected, Purpose};

/// Most idle HTTP/1 connections kept per endpoint and worker; the oldest goes first.
const MAX_IDLE: usize = 1024;
/// HTTP/2 receive window of a stream towards an upstream, in bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// HTTP/2 receive window of a connection towards an upstream, in bytes.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Largest response header list, in bytes.
const MAX_HEADER_LIST: u32 = 60 * 1024;
/// Streams opened on a connection before its upstream has said how many it takes. One less than the least
/// that RFC 9113 §6.5.2 recommends, and so no number that an upstream would choose.
const UNTOLD_STREAMS: usize = 99;
/// Streams opened on one connection unless the upstream or the DestinationRule allows fewer.
const MAX_STREAMS: u32 = 1024;

/// What makes connections interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) address: Address,
    /// Name sent and verified in TLS.
    server_name: Option<Arc<str>>,
    /// Address of the TLS settings: other settings, other connections. Never followed.
    settings: usize,
}

impl Key {
    pub(crate) fn new(cluster: &Cluster, address: &Address, host: Option<&str>) -> Self {
        let (server_name, settings) = match &cluster.tls {
            None => (None, 0),
            Some(tls) => (connect::server_name(tls, host), Arc::as_ptr(&tls.config).addr()),
        };
        Self { address: address.clone(), server_name, settings }
    }
}

/// An HTTP/1 connection on loan.
pub(crate) struct H1Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) key: Key,
    /// Requests sent before this one.
    pub(crate) served: u32,
    /// How long it had been idle; `None` for a new one.
    pub(crate) idle_for: Option<Duration>,
    /// Own address, asked for once.
    pub(crate) local: Option<SocketAddr>,
    /// Its share of the cluster's connection limit.
    pub(crate) slot: Slot,
}

/// A connection's share of the cluster's limit; whoever waits at the limit is told when it ends.
pub(crate) struct Slot {
    _permit: Permit,
    freed: Rc<Notify>,
    metrics: PoolMetrics,
    /// Whether the connection is open, and counted so.
    open: bool,
}

impl Slot {
    /// Counts how the attempt to open the connection came out.
    fn tried<T>(&mut self, connected: &Result<T, UpstreamError>) {
        match connected {
            Ok(_) => {
                self.open = true;
                self.metrics.opened();
            }
            Err(_) => self.metrics.failed(),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.open {
            self.metrics.closed();
        }
        self.freed.notify_one();
    }
}

/// A request that waits for a connection, in the cluster's limit and metrics.
struct Queued {
    _permit: Permit,
    metrics: PoolMetrics,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.metrics.dequeued();
    }
}

/// An HTTP/2 connection, shared.
pub(crate) struct H2Connection {
    send: SendRequest<Bytes>,
    /// Streams open on it.
    active: Cell<u32>,
    /// Streams opened on it so far.
    opened: Cell<u32>,
    alive: Rc<Cell<bool>>,
    last_used: Cell<Instant>,
    pub(crate) local: Option<SocketAddr>,
}

/// A stream's share of an HTTP/2 connection; given back on drop.
pub(crate) struct H2Lease {
    connection: Rc<H2Connection>,
}

impl H2Lease {
    pub(crate) fn sender(&self) -> SendRequest<Bytes> {
        self.connection.send.clone()
    }

    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.connection.local
    }

    /// Whether the upstream has not said yet how many streams it takes.
    pub(crate) fn is_untold(&self) -> bool {
        self.connection.send.current_max_send_streams() == UNTOLD_STREAMS
    }
}

impl Drop for H2Lease {
    fn drop(&mut self) {
        self.connection.active.set(self.connection.active.get() - 1);
    }
}

/// A connection that can carry one exchange.
pub(crate) enum Lease {
    H1(Box<H1Connection>),
    H2(H2Lease),
}

struct Idle {
    reader: Reader,
    writer: Writer,
    since: Instant,
    served: u32,
    local: Option<SocketAddr>,
    slot: Slot,
}

/// The connections of one cluster on one worker.
pub(crate) struct Pool {
    metrics: PoolMetrics,
    idle: RefCell<HashMap<Key, Vec<Idle>>>,
    shared: RefCell<HashMap<Key, Vec<Rc<H2Connection>>>>,
    /// Keys for which an HTTP/2 connection is being opened; others wait for it.
    opening: RefCell<HashMap<Key, Rc<Notify>>>,
    /// Told when a connection comes free, for requests that wait at the connection limit.
    freed: Rc<Notify>,
}

impl Pool {
    /// A pool without connections, counted in `metrics`.
    pub(crate) fn new(metrics: PoolMetrics) -> Self {
        Self {
            metrics,
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: RefCell::default(),
            freed: Rc::default(),
        }
    }

    /// A connection to `address`: an idle or shared one, else a new one.
    ///
    /// # Errors
    /// Those of [`connect::open`]. Dropping the future drops a half-open connection.
    pub(crate) async fn lease(
        &self,
        cluster: &Cluster,
        address: &Address,
        http2: bool,
        host: Option<&str>,
        breaker: &Arc<Breaker>,
    ) -> Result<Lease, UpstreamError> {
        let key = Key::new(cluster, address, host);
        if http2 {
            self.lease_h2(cluster, key, host, breaker).await
        } else {
            self.lease_h1(cluster, key, host, breaker).await
        }
    }

    async fn lease_h1(
        &self,
        cluster: &Cluster,
        key: Key,
        host: Option<&str>,
        breaker: &Arc<Breaker>,
    ) -> Result<Lease, UpstreamError> {
        let mut slot = match self.idle_or_slot(&key, breaker).await? {
            Ok(connection) => return Ok(Lease::H1(Box::new(connection))),
            Err(slot) => slot,
        };
        let connected = connect::open(cluster, &key.address, host, Purpose::Http).await;
        slot.tried(&connected);
        let Connected { stream, .. } = connected?;
        let local = stream.local_address();
        let (reader, writer) = split(stream, BytesMut::new());
        Ok(Lease::H1(Box::new(H1Connection { reader, writer, key, served: 0, idle_for: None, local, slot })))
    }

    /// The most recently used idle connection that is still good.
    fn take_idle(&self, key: &Key) -> Option<H1Connection> {
        let mut pool = self.idle.borrow_mut();
        let idle = pool.get_mut(key)?;
        while let Some(Idle { reader, writer, since, served, local, slot }) = idle.pop() {
            if !reader.with_stream(crate::stream::Stream::is_stale) {
                let idle_for = Some(since.elapsed());
                return Some(H1Connection {
                    reader,
                    writer,
                    key: key.clone(),
                    served,
                    idle_for,
                    local,
                    slot,
                });
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended cleanly.
    pub(crate) fn put(&self, connection: H1Connection) {
        let H1Connection { reader, writer, key, served, local, slot, .. } = connection;
        let mut pool = self.idle.borrow_mut();
        let idle = pool.entry(key).or_default();
        if idle.len() == MAX_IDLE {
            idle.remove(0);
        }
        idle.push(Idle {
            reader,
            writer,
            since: Instant::now(),
            served: served.saturating_add(1),
            local,
            slot,
        });
        drop(pool);
        self.freed.notify_one();
    }

    /// An idle connection, or leave to open another one. At the limit of connections, requests wait
    /// for one to come free: as many as `http1MaxPendingRequests` allows.
    async fn idle_or_slot(
        &self,
        key: &Key,
        breaker: &Arc<Breaker>,
    ) -> Result<Result<H1Connection, Slot>, UpstreamError> {
        let free = || match self.take_idle(key) {
            Some(connection) => Some(Ok(connection)),
            None => Some(Err(self.slot(breaker)?)),
        };
        if let Some(found) = free() {
            return Ok(found);
        }
        let Some(permit) = breaker.try_acquire(Resource::Pending) else {
            return Err(UpstreamError::Overflow);
        };
        self.metrics.queued();
        let _waiting = Queued { _permit: permit, metrics: self.metrics.clone() };
        loop {
            self.freed.notified().await;
            if let Some(found) = free() {
                return Ok(found);
            }
        }
    }

    fn slot(&self, breaker: &Arc<Breaker>) -> Option<Slot> {
        let permit = breaker.try_acquire(Resource::Connections)?;
        let (freed, metrics) = (Rc::clone(&self.freed), self.metrics.clone());
        Some(Slot { _permit: permit, freed, metrics, open: false })
    }

    async fn lease_h2(
        &self,
        cluster: &Cluster,
        key: Key,
        host: Option<&str>,
        breaker: &Arc<Breaker>,
    ) -> Result<Lease, UpstreamError> {
        loop {
            if let Some(lease) = self.share(cluster, &key) {
                return Ok(Lease::H2(lease));
            }
            let pending = self.opening.borrow().get(&key).cloned();
            match pending {
                Some(opened) => opened.notified().await,
                None => return self.open_h2(cluster, key, host, breaker).await,
            }
        }
    }

    /// A share of an HTTP/2 connection with room for another stream.
    fn share(&self, cluster: &Cluster, key: &Key) -> Option<H2Lease> {
        let mut shared = self.shared.borrow_mut();
        let connections = shared.get_mut(key)?;
        connections.retain(|connection| connection.alive.get());
        let limit = cluster.pool.max_concurrent_streams.unwrap_or(MAX_STREAMS);
        let total = cluster.pool.max_requests_per_connection.unwrap_or(u32::MAX);
        let room = |connection: &&Rc<H2Connection>| {
            let peer = u32::try_from(connection.send.current_max_send_streams()).unwrap_or(u32::MAX);
            connection.active.get() < limit.min(peer.max(1)) && connection.opened.get() < total
        };
        let connection = connections.iter().find(room)?;
        Some(H2Connection::lease(connection))
    }

    async fn open_h2(
        &self,
        cluster: &Cluster,
        key: Key,
        host: Option<&str>,
        breaker: &Arc<Breaker>,
    ) -> Result<Lease, UpstreamError> {
        let mut slot = self.slot(breaker).ok_or(UpstreamError::Overflow)?;
        let opened = Rc::new(Notify::new());
        self.opening.borrow_mut().insert(key.clone(), Rc::clone(&opened));
        let _done = Opening { pool: self, key: &key, opened };
        let connected = connect::open(cluster, &key.address, host, Purpose::Http2).await;
        slot.tried(&connected);
        let Connected { stream, http2 } = connected?;
        if cluster.tls.is_some() && !http2 {
            return Err(UpstreamError::Connect("TLS: the upstream does not offer HTTP/2 (ALPN h2)".into()));
        }
        let local = stream.local_address();
        let mut settings = h2::client::Builder::new();
        settings
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .initial_max_send_streams(UNTOLD_STREAMS)
            .enable_push(false);
        let handshake = settings.handshake::<_, Bytes>(stream).await;
        let (send, driver) = handshake.map_err(|error| UpstreamError::Connect(error.to_string().into()))?;
        let alive = Rc::new(Cell::new(true));
        let connection = Rc::new(H2Connection {
            send,
            active: Cell::new(0),
            opened: Cell::new(0),
            alive: Rc::clone(&alive),
            last_used: Cell::new(Instant::now()),
            local,
        });
        tokio::task::spawn_local(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "HTTP/2 upstream connection ended");
            }
            alive.set(false);
            drop(slot);
        });
        let lease = H2Connection::lease(&connection);
        self.shared.borrow_mut().entry(key.clone()).or_default().push(connection);
        Ok(Lease::H2(lease))
    }

    /// Takes an HTTP/2 connection out of use after it refused a stream or went away.
    pub(crate) fn retire(lease: &H2Lease) {
        lease.connection.alive.set(false);
    }

    /// Forgets connections idle for longer than `limit`, and those `keep` does not want any more.
    pub(crate) fn sweep(&self, now: Instant, limit: Option<Duration>, keep: impl Fn(&Address) -> bool) {
        let fresh = |since: Instant| limit.is_none_or(|limit| now.saturating_duration_since(since) < limit);
        self.idle.borrow_mut().retain(|key, idle| {
            let wanted = keep(&key.address);
            idle.retain_mut(|idle| {
                wanted && fresh(idle.since) && !idle.reader.with_stream(crate::stream::Stream::is_stale)
            });
            !idle.is_empty()
        });
        self.shared.borrow_mut().retain(|key, connections| {
            let wanted = keep(&key.address);
            connections.retain(|connection| {
                let busy = connection.active.get() > 0;
                connection.alive.get() && (busy || (wanted && fresh(connection.last_used.get())))
            });
            !connections.is_empty()
        });
    }
}

impl H2Connection {
    fn lease(connection: &Rc<Self>) -> H2Lease {
        connection.active.set(connection.active.get() + 1);
        connection.opened.set(connection.opened.get() + 1);
        connection.last_used.set(Instant::now());
        H2Lease { connection: Rc::clone(connection) }
    }
}

/// Lets those who wait for a connection go on, however its opening ended.
struct Opening<'a> {
    pool: &'a Pool,
    key: &'a Key,
    opened: Rc<Notify>,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(entry) = self.pool.opening.borrow_mut().entry(self.key.clone())
            && Rc::ptr_eq(entry.get(), &self.opened)
        {
            entry.remove();
        }
        self.opened.notify_waiters();
    }
}
