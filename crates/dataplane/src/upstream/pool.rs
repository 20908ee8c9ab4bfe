//! Connections to a cluster's endpoints, kept for reuse by one worker.
//!
//! An idle HTTP/1 connection is a pair of halves in a list, looked after by nobody: whether it is
//! still good is asked when it is taken out. HTTP/2 connections are shared by many streams and
//! driven by a task each (`shared`). Both take their place in the cluster's limits from `slot`.

mod broken;
mod shared;
mod slot;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_snapshot::cluster::{Address, PoolLimits};
use portcullis_snapshot::{Cluster, FastMap};
use portcullis_telemetry::metrics::PoolMetrics;
use portcullis_traffic::breaker::Breaker;

use crate::clock;
use crate::error::UpstreamError;
use crate::http::h1::io::{Reader, Writer, split};
use crate::upstream::connect::{self, Dial, Purpose};
use crate::upstream::introduce::Ends;
use crate::upstream::link::Link;
use broken::Broken;
pub(crate) use shared::H2Lease;
use shared::Shared;
use slot::{Slot, Slots};

/// Most idle HTTP/1 connections kept per endpoint and worker; the oldest goes first.
const MAX_IDLE: usize = 1024;

/// How long a connection that introduced a client is kept idle: nobody else can use it, and the client may have gone.
const INTRODUCED_IDLE: Duration = Duration::from_secs(15);

/// What makes connections interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) address: Address,
    /// Name sent and verified in TLS.
    server_name: Option<Arc<str>>,
    /// Address of the TLS settings: other settings, other connections. Never followed.
    settings: usize,
    /// The client that the upstream was told of: nobody else's requests may follow.
    client: Option<Box<Ends>>,
}

impl Key {
    fn new(cluster: &Cluster, wanted: &Wanted<'_>) -> Self {
        let Wanted { address, host, client, .. } = *wanted;
        let (server_name, settings) = match &cluster.tls {
            None => (None, 0),
            Some(tls) => (connect::server_name(tls, host), Arc::as_ptr(&tls.config).addr()),
        };
        Self { address: address.clone(), server_name, settings, client: client.map(Box::new) }
    }

    /// How a connection of this key is opened, for `host`.
    fn dial<'a>(&'a self, host: Option<&'a str>) -> Dial<'a> {
        Dial { address: &self.address, host, client: self.client.as_deref().copied() }
    }
}

/// An HTTP/1 connection on loan.
pub(crate) struct H1Connection {
    pub(crate) reader: Box<Reader>,
    pub(crate) writer: Writer,
    /// On the heap once for its whole life: a connection changes hands several times a request.
    pub(crate) standing: Box<Standing>,
}

/// What stays with a connection, on loan or idle.
pub(crate) struct Standing {
    key: Key,
    /// How it had been kept before the present request; `None` for a new one.
    pub(crate) kept: Option<Kept>,
    /// Requests sent before the present one.
    pub(crate) served: u32,
    /// What is known of it.
    pub(crate) link: Rc<Link>,
    /// Its share of the cluster's connection limit.
    slot: Slot,
}

/// How a connection had been kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// For how long.
    pub(crate) idle: Duration,
    /// When it was taken out again.
    pub(crate) lent: Instant,
}

/// What a request asks of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The endpoint.
    pub(crate) address: &'a Address,
    /// Whether HTTP/2 is spoken.
    pub(crate) http2: bool,
    /// The name for automatic SNI, without a port or brackets.
    pub(crate) host: Option<&'a str>,
    /// The client's connection, if the upstream is told of it.
    pub(crate) client: Option<Ends>,
    /// Whether kept HTTP/1 connections are passed over.
    pub(crate) fresh: bool,
    /// Whether the bytes of a new connection's streams are counted.
    pub(crate) counted: bool,
}

/// A connection that can carry one exchange.
pub(crate) enum Lease {
    H1(H1Connection),
    H2(H2Lease),
}

struct Idle {
    reader: Box<Reader>,
    writer: Writer,
    since: Instant,
    standing: Box<Standing>,
}

/// The connections of one cluster on one worker.
pub(crate) struct Pool {
    idle: RefCell<FastMap<Key, Vec<Idle>>>,
    shared: Shared,
    slots: Rc<Slots>,
    broken: Broken,
}

impl Pool {
    /// A pool without connections, counted in `metrics`.
    pub(crate) fn new(metrics: PoolMetrics) -> Self {
        let slots = Slots::new(metrics);
        Self { idle: RefCell::default(), shared: Shared::new(&slots), slots, broken: Broken::default() }
    }

    /// A connection that is there: an idle or shared one. Nearly every request gets one, and waits for nothing.
    pub(crate) fn lease_at_once(&self, cluster: &Cluster, wanted: &Wanted<'_>) -> Option<Lease> {
        if wanted.http2 {
            self.shared.share(cluster, &Key::new(cluster, wanted)).map(Lease::H2)
        } else if wanted.fresh {
            None
        } else {
            self.take_idle(cluster, &Key::new(cluster, wanted)).map(Lease::H1)
        }
    }

    /// A connection to `address`: an idle or shared one, else a new one; with `fresh`, an idle HTTP/1 connection
    /// only where no new one may be opened. At the limit of connections, requests wait for one to come free: as
    /// many as `http1MaxPendingRequests` allows, those included for whom one is being opened.
    ///
    /// # Errors
    /// Those of [`connect::open`], and [`UpstreamError::Overflow`] where the queue is full. Dropping the future
    /// drops a half-open connection.
    pub(crate) async fn lease(
        &self,
        cluster: &Cluster,
        breaker: &Arc<Breaker>,
        wanted: Wanted<'_>,
    ) -> Result<Lease, UpstreamError> {
        let key = Key::new(cluster, &wanted);
        if wanted.http2 {
            self.shared.lease(cluster, key, &wanted, breaker).await.map(Lease::H2)
        } else {
            self.lease_h1(cluster, key, &wanted, breaker).await.map(Lease::H1)
        }
    }

    async fn lease_h1(
        &self,
        cluster: &Cluster,
        key: Key,
        wanted: &Wanted<'_>,
        breaker: &Arc<Breaker>,
    ) -> Result<H1Connection, UpstreamError> {
        if !wanted.fresh
            && let Some(connection) = self.take_idle(cluster, &key)
        {
            return Ok(connection);
        }
        let queued = self.slots.queue(breaker)?;
        let mut slot = loop {
            if let Some(slot) = self.slots.take(&key, breaker) {
                break slot;
            }
            if let Some(connection) = self.take_idle(cluster, &key) {
                return Ok(connection);
            }
            queued.wait(&key).await;
        };
        let connected = connect::open(cluster, key.dial(wanted.host), Purpose::Http).await;
        slot.tried(&connected);
        let (stream, link) = Link::of(connected?, None);
        let (reader, writer) = split(stream, BytesMut::new());
        let standing = Box::new(Standing { key, kept: None, served: 0, link, slot });
        Ok(H1Connection { reader, writer, standing })
    }

    /// The most recently used idle connection that is still good.
    fn take_idle(&self, cluster: &Cluster, key: &Key) -> Option<H1Connection> {
        let mut pool = self.idle.borrow_mut();
        let idle = pool.get_mut(key)?;
        while let Some(Idle { reader, writer, since, mut standing }) = idle.pop() {
            let over = standing.slot.is_older(cluster.pool.max_connection_duration);
            if !over && !reader.with_stream(crate::stream::Stream::is_stale) {
                let lent = clock::now().into_std();
                standing.kept = Some(Kept { idle: lent.saturating_duration_since(since), lent });
                return Some(H1Connection { reader, writer, standing });
            }
            drop(standing);
        }
        None
    }

    /// Keeps a connection whose exchange has ended cleanly.
    pub(crate) fn put(&self, mut connection: H1Connection) {
        connection.standing.served = connection.standing.served.saturating_add(1);
        self.keep(connection);
    }

    /// Takes a connection back that was not used after all.
    pub(crate) fn put_unused(&self, lease: Lease) {
        if let Lease::H1(connection) = lease {
            self.keep(connection);
        }
    }

    fn keep(&self, connection: H1Connection) {
        let H1Connection { mut reader, mut writer, standing, .. } = connection;
        reader.rest();
        writer.rest();
        let mut pool = self.idle.borrow_mut();
        let idle = match pool.get_mut(&standing.key) {
            Some(idle) => idle,
            None => pool.entry(standing.key.clone()).or_default(),
        };
        let oldest = (idle.len() == MAX_IDLE).then(|| idle.remove(0));
        self.slots.freed(&standing.key);
        idle.push(Idle { reader, writer, since: clock::now().into_std(), standing });
        drop(pool);
        drop(oldest);
    }

    /// Notes that a kept connection broke over a request. Whether another one to the same endpoint, open at the same
    /// time, had done so just before.
    pub(crate) fn note_broken(&self, standing: &Standing) -> bool {
        self.broken.note(&standing.key.address, &standing.link, clock::now())
    }

    /// Whether another kept connection to the same endpoint, open at the same time, has just broken.
    pub(crate) fn has_broken_beside(&self, standing: &Standing) -> bool {
        self.broken.is_beside(&standing.key.address, &standing.link, clock::now())
    }

    /// Takes an HTTP/2 connection out of use after it refused a stream or went away.
    pub(crate) fn retire(lease: &H2Lease) {
        lease.retire();
    }

    /// Forgets connections that are idle for longer or are older than `limits` allow, and those `keep` does not
    /// want any more.
    pub(crate) fn sweep(&self, now: Instant, limits: &PoolLimits, keep: impl Fn(&Address) -> bool) {
        let fresh = |key: &Key, since: Instant| {
            let own = key.client.as_ref().map(|_| INTRODUCED_IDLE);
            let idle = now.saturating_duration_since(since);
            [limits.idle_timeout, own].into_iter().flatten().all(|limit| idle < limit)
        };
        let age = limits.max_connection_duration;
        self.idle.borrow_mut().retain(|key, idle| {
            let wanted = keep(&key.address);
            idle.retain_mut(|idle| {
                wanted
                    && fresh(key, idle.since)
                    && !idle.standing.slot.is_older(age)
                    && !idle.reader.with_stream(crate::stream::Stream::is_stale)
            });
            !idle.is_empty()
        });
        self.shared.sweep(age, fresh, keep);
        self.broken.sweep(now.into());
    }
}
