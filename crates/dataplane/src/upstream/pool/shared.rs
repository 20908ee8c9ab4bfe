//! HTTP/2 connections: each carries many exchanges, and is driven by a task of its own.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use portcullis_snapshot::cluster::Address;
use portcullis_snapshot::{Cluster, FastMap};
use portcullis_traffic::breaker::Breaker;
use tokio::sync::Notify;

use super::slot::{Slot, Slots};
use super::{Key, Wanted};
use crate::error::UpstreamError;
use crate::http::h2::frames::Counting;
use crate::upstream::connect::{self, Purpose};
use crate::upstream::keepalive;
use crate::upstream::link::Link;

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

/// The HTTP/2 connections of a pool.
pub(super) struct Shared {
    connections: RefCell<FastMap<Key, Vec<Rc<H2Connection>>>>,
    /// Keys for which a connection is being opened; others wait for it.
    opening: RefCell<FastMap<Key, Rc<Notify>>>,
    slots: Rc<Slots>,
}

/// An HTTP/2 connection, shared.
struct H2Connection {
    send: SendRequest<Bytes>,
    key: Key,
    slots: Rc<Slots>,
    /// Streams open on it.
    active: Cell<u32>,
    /// Streams opened on it so far.
    opened: Cell<u32>,
    alive: Rc<Cell<bool>>,
    last_used: Cell<Instant>,
    born: Instant,
    link: Rc<Link>,
}

/// A stream's share of an HTTP/2 connection; given back on drop.
pub(crate) struct H2Lease {
    connection: Rc<H2Connection>,
    /// Whether the connection was opened for this stream.
    pub(crate) first: bool,
}

impl H2Lease {
    pub(crate) fn sender(&self) -> SendRequest<Bytes> {
        self.connection.send.clone()
    }

    /// What is known of the connection.
    pub(crate) fn link(&self) -> &Rc<Link> {
        &self.connection.link
    }

    /// Whether the upstream has not said yet how many streams it takes.
    pub(crate) fn is_untold(&self) -> bool {
        self.connection.send.current_max_send_streams() == UNTOLD_STREAMS
    }

    pub(super) fn retire(&self) {
        self.connection.alive.set(false);
    }
}

impl Drop for H2Lease {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.active.set(connection.active.get() - 1);
        connection.slots.freed(&connection.key);
    }
}

impl Shared {
    pub(super) fn new(slots: &Rc<Slots>) -> Self {
        let (connections, opening) = (RefCell::default(), RefCell::default());
        Self { connections, opening, slots: Rc::clone(slots) }
    }

    /// A share of a connection; a new one is opened when the others have no room and the cluster's limit has.
    pub(super) async fn lease(
        &self,
        cluster: &Cluster,
        key: Key,
        wanted: &Wanted<'_>,
        breaker: &Arc<Breaker>,
    ) -> Result<H2Lease, UpstreamError> {
        if let Some(lease) = self.share(cluster, &key) {
            return Ok(lease);
        }
        let queued = self.slots.queue(breaker)?;
        loop {
            if let Some(lease) = self.share(cluster, &key) {
                return Ok(lease);
            }
            let opening = self.opening.borrow().get(&key).cloned();
            if let Some(opened) = opening {
                opened.notified().await;
            } else if let Some(slot) = self.slots.take(&key, breaker) {
                return self.open(cluster, key, wanted, slot).await;
            } else {
                queued.wait(&key).await;
            }
        }
    }

    /// A share of a connection with room for another stream.
    pub(super) fn share(&self, cluster: &Cluster, key: &Key) -> Option<H2Lease> {
        let mut shared = self.connections.borrow_mut();
        let connections = shared.get_mut(key)?;
        // One that is too old is left to the streams it has.
        let age = cluster.pool.max_connection_duration;
        connections.retain(|connection| connection.alive.get() && !connection.is_older(age));
        let limit = cluster.pool.max_concurrent_streams.unwrap_or(MAX_STREAMS);
        let total = cluster.pool.max_requests_per_connection.unwrap_or(u32::MAX);
        let at = connections.iter().position(|connection| {
            let peer = u32::try_from(connection.send.current_max_send_streams()).unwrap_or(u32::MAX);
            connection.active.get() < limit.min(peer.max(1)) && connection.opened.get() < total
        })?;
        let lease = H2Connection::lease(&connections[at]);
        if connections[at].opened.get() >= total {
            // Its last stream holds it, and closes it.
            connections.swap_remove(at);
        }
        Some(lease)
    }

    async fn open(
        &self,
        cluster: &Cluster,
        key: Key,
        wanted: &Wanted<'_>,
        mut slot: Slot,
    ) -> Result<H2Lease, UpstreamError> {
        let opened = Rc::new(Notify::new());
        self.opening.borrow_mut().insert(key.clone(), Rc::clone(&opened));
        let _done = Opening { pool: self, key: &key, opened };
        let connected = connect::open(cluster, key.dial(wanted.host), Purpose::Http2).await;
        slot.tried(&connected);
        let connected = connected?;
        if cluster.tls.is_some() && !connected.http2 {
            return Err(UpstreamError::Connect("TLS: the upstream does not offer HTTP/2 (ALPN h2)".into()));
        }
        let (stream, link) = Link::of(connected, wanted.counted.then(Rc::default));
        let stream = Counting::new(stream, link.counts.as_ref());
        let mut settings = h2::client::Builder::new();
        settings
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .initial_max_send_streams(UNTOLD_STREAMS)
            .enable_push(false);
        let handshake = settings.handshake::<_, Bytes>(stream).await;
        let (send, mut driver) =
            handshake.map_err(|error| UpstreamError::Connect(error.to_string().into()))?;
        let pings =
            cluster.transport.http2_keepalive.and_then(|keepalive| Some((driver.ping_pong()?, keepalive)));
        let alive = Rc::new(Cell::new(true));
        let connection = Rc::new(H2Connection {
            send,
            key: key.clone(),
            slots: Rc::clone(&self.slots),
            active: Cell::new(0),
            opened: Cell::new(0),
            alive: Rc::clone(&alive),
            last_used: Cell::new(Instant::now()),
            born: Instant::now(),
            link,
        });
        tokio::task::spawn_local(async move {
            if let Err(error) = keepalive::drive(driver, pings).await {
                tracing::debug!(error, "HTTP/2 upstream connection ended");
            }
            alive.set(false);
            drop(slot);
        });
        let lease = H2Connection::lease(&connection);
        if cluster.pool.max_requests_per_connection.is_none_or(|total| total > 1) {
            self.connections.borrow_mut().entry(key.clone()).or_default().push(connection);
        }
        Ok(lease)
    }

    /// Forgets connections older than `age`, and of those without streams the ones that are not `fresh`, or to
    /// addresses that `keep` does not want. What is forgotten ends with its last stream.
    pub(super) fn sweep(
        &self,
        age: Option<Duration>,
        fresh: impl Fn(&Key, Instant) -> bool,
        keep: impl Fn(&Address) -> bool,
    ) {
        self.connections.borrow_mut().retain(|key, connections| {
            let wanted = keep(&key.address);
            connections.retain(|connection| {
                let busy = connection.active.get() > 0;
                connection.alive.get()
                    && !connection.is_older(age)
                    && (busy || (wanted && fresh(key, connection.last_used.get())))
            });
            !connections.is_empty()
        });
    }
}

impl H2Connection {
    fn is_older(&self, limit: Option<Duration>) -> bool {
        limit.is_some_and(|limit| self.born.elapsed() >= limit)
    }

    fn lease(connection: &Rc<Self>) -> H2Lease {
        connection.active.set(connection.active.get() + 1);
        connection.opened.set(connection.opened.get() + 1);
        connection.last_used.set(Instant::now());
        H2Lease { connection: Rc::clone(connection), first: connection.opened.get() == 1 }
    }
}

/// Lets those who wait for a connection go on, however its opening ended.
struct Opening<'a> {
    pool: &'a Shared,
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
