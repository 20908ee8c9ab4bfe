//! A downstream connection: what is known of it, and the way into its protocol.

pub(crate) mod peer_certificate;
mod proxied;
pub(crate) mod session;

use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use portcullis_snapshot::listener::{ChainService, ChainTls, ListenerKey};
use portcullis_snapshot::{FilterChain, Listener};
use tokio::net::TcpStream;
use tokio::time::Instant;

pub(crate) use crate::connection::session::TlsSession;
use crate::listen::canonical;
use crate::stream::Stream;
use crate::upstream::introduce::Ends;
use crate::worker::{OpenConnection, Pinned, Worker};
use crate::{clock, http, tcp, tls};

/// Facts about a downstream connection, shared by everything that happens on it.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) key: ListenerKey,
    /// The client: the TCP peer, or whom a PROXY protocol header names.
    pub(crate) peer: SocketAddr,
    /// TCP peer.
    pub(crate) direct: SocketAddr,
    /// What the client connected to: the own end, or what a PROXY protocol header names.
    pub(crate) local: SocketAddr,
    pub(crate) tls: Option<TlsSession>,
    pub(crate) started: SystemTime,
    pub(crate) started_at: Instant,
    /// Its number, once somebody has asked for it.
    number: OnceCell<u64>,
    /// Whether the gateway was draining already when it accepted the connection.
    late: bool,
    peer_ip: OnceCell<Bytes>,
    scope: RefCell<Scope>,
    _open: OpenConnection,
}

/// What bounds a client's connection, and what else is settled before a request is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Without a request.
    pub(crate) idle: Duration,
    /// From the first byte of a request head to its last.
    pub(crate) head: Duration,
    /// The response after this is its last.
    pub(crate) takes_requests_until: Option<Instant>,
    /// When it is closed between requests, idle or not.
    pub(crate) ends_idle_at: Option<Instant>,
    /// Whether header names go on as the client writes them.
    pub(crate) keeps_case: bool,
}

impl Bounds {
    /// How long it may wait for a request from now on.
    pub(crate) fn wait(&self) -> Duration {
        let until = self.ends_idle_at.map(|end| end.saturating_duration_since(clock::now()));
        until.map_or(self.idle, |until| until.min(self.idle))
    }
}

/// Envoy's `drain_timeout` where none is set.
const DRAIN: Duration = Duration::from_secs(5);
/// An idle time that nobody lives to see.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// How long a connection that was accepted while draining may take until its first request. Load balancers
/// that have not noticed yet must be served; a spare connection must not hold up the end.
const LATE_FIRST_REQUEST: Duration = Duration::from_secs(1);

/// A snapshot with the chain this connection belongs to in it; the two are only used together.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) pinned: Rc<Pinned>,
    pub(crate) chain: Arc<FilterChain>,
}

impl Scope {
    /// Whether requests may have to be counted or timed.
    pub(crate) fn is_measured(&self) -> bool {
        matches!(&self.chain.service, ChainService::Http(table) if table.measured)
    }

    /// The scope of connections that need none: an empty snapshot, and a chain that leads nowhere.
    pub(crate) fn nowhere() -> Self {
        let chain = FilterChain {
            name: "".into(),
            origin: "".into(),
            declared_port: 0,
            tls: ChainTls::None,
            service: ChainService::Nothing,
        };
        Self { pinned: Rc::new(Pinned::new(Arc::default())), chain: Arc::new(chain) }
    }
}

/// A connection that has been accepted and not yet been sorted into a chain.
pub(crate) struct Accepted {
    pub(crate) worker: Rc<Worker>,
    pub(crate) pinned: Rc<Pinned>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) peer: SocketAddr,
    pub(crate) direct: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) started: SystemTime,
    pub(crate) started_at: Instant,
    open: OpenConnection,
}

/// Serves one accepted connection to its end, by a snapshot that has its listener; `open` counts it from the moment it was accepted.
pub(crate) async fn serve(
    (worker, pinned): (Rc<Worker>, Rc<Pinned>),
    open: OpenConnection,
    key: ListenerKey,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let Some(listener) = pinned.snapshot.listener(key).cloned() else { return };
    let local = stream.local_addr().map_or(peer, canonical);
    let mut stream = stream;
    let mut ahead = BytesMut::new();
    let mut accepted = Accepted {
        open,
        worker,
        pinned,
        listener,
        peer,
        direct: peer,
        local,
        started: SystemTime::now(),
        started_at: Instant::now(),
    };
    if let Some(expected) = accepted.listener.proxy_protocol.clone() {
        // On the heap: most connections have no such header and need no room for reading one.
        let introduced = Box::pin(proxied::introduce(accepted, stream, &mut ahead, &expected)).await;
        match introduced {
            Some(known) => (accepted, stream) = known,
            None => return,
        }
    }
    // Without a TLS chain there is nothing to look for: the first bytes belong to the service.
    let serving = match accepted.listener.plain.clone() {
        Some(chain) if accepted.listener.tls.is_empty() => {
            service(accepted.sorted(chain, None), Stream::Tcp(stream), ahead)
        }
        _ => Box::pin(tls::sort(accepted, stream, ahead)).await,
    };
    if let Some(serving) = serving {
        serving.await;
    }
}

/// What serves a connection to its end, once it is known. On the heap, so that a connection has the memory that its
/// service takes, and none for what it might have become or has been: a handshake, another protocol.
pub(crate) type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// The service of the connection's chain, if it has one; `ahead` has been read from `stream` already.
pub(crate) fn service(connection: Connection, stream: Stream, ahead: BytesMut) -> Option<Serving> {
    let chain = connection.scope().chain;
    match &chain.service {
        // The connection may outlive many generations: nothing below it holds on to this one.
        ChainService::Http(_) => {
            let serving = Box::pin(http::serve(Rc::new(connection), stream, ahead));
            Some(Box::pin(clock::steady(serving)))
        }
        ChainService::Tcp(route) => {
            let way = tcp::way(&connection, Arc::clone(route));
            Some(tcp::carrying(connection, way, stream, ahead))
        }
        ChainService::Nothing => {
            tcp::no_route(&connection);
            None
        }
    }
}

impl Accepted {
    /// The connection, sorted into `chain`.
    pub(crate) fn sorted(self, chain: Arc<FilterChain>, tls: Option<TlsSession>) -> Connection {
        Connection {
            late: self.worker.drain.is_draining(),
            worker: self.worker,
            key: self.listener.key(),
            peer: self.peer,
            direct: self.direct,
            local: self.local,
            tls,
            started: self.started,
            started_at: self.started_at,
            number: OnceCell::new(),
            peer_ip: OnceCell::new(),
            scope: RefCell::new(Scope { pinned: self.pinned, chain }),
            _open: self.open,
        }
    }
}

/// Another number, from 1, for each connection of this process, in either direction, that is asked for one.
pub(crate) fn next_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

impl Connection {
    /// Its number among the connections of this process.
    pub(crate) fn number(&self) -> u64 {
        *self.number.get_or_init(next_number)
    }

    /// Snapshot and chain in force now. A newer snapshot is taken up here, between requests; when
    /// it has no such chain any more the connection goes on under the last one that had.
    pub(crate) fn scope(&self) -> Scope {
        let pinned = self.worker.pin();
        let mut scope = self.scope.borrow_mut();
        if pinned.snapshot.generation != scope.pinned.snapshot.generation {
            let listener = pinned.snapshot.listener(self.key);
            let chain = listener.and_then(|listener| match &self.tls {
                None => listener.plain.as_ref(),
                Some(tls) => match tls.server_name.as_deref() {
                    Some(name) => listener.tls.find(name),
                    None => listener.tls.any(),
                },
            });
            // A chain that now carries another protocol cannot serve what this connection speaks.
            let same_kind = |chain: &&Arc<FilterChain>| {
                matches!(chain.service, ChainService::Http(_))
                    == matches!(scope.chain.service, ChainService::Http(_))
            };
            if let Some(chain) = chain.filter(same_kind) {
                let chain = Arc::clone(chain);
                *scope = Scope { pinned, chain };
            }
        }
        scope.clone()
    }

    /// Whether requests of its chain may have to be counted or timed.
    pub(crate) fn is_measured(&self) -> bool {
        self.scope().is_measured()
    }

    /// The client's address as text, without its port: each of its requests carries it on.
    pub(crate) fn peer_ip_text(&self) -> &Bytes {
        self.peer_ip.get_or_init(|| self.peer.ip().to_string().into())
    }

    /// Snapshot and chain it was sorted by, which it gives up: for a connection that asks for nothing any more,
    /// and would keep them for as long as it lives.
    pub(crate) fn let_go(&self) -> Scope {
        self.scope.replace(self.worker.nowhere.clone())
    }

    /// What bounds the connection now: the newest snapshot's settings over the process's own.
    pub(crate) fn bounds(&self) -> Bounds {
        let own = &self.worker.config.limits;
        let pinned = self.worker.pin();
        let said = &pinned.snapshot.settings.connections;
        let life = said.life.map(|life| self.started_at + life);
        Bounds {
            idle: said.idle.map_or(own.idle_timeout, |idle| if idle.is_zero() { FOREVER } else { idle }),
            head: said.head.unwrap_or(own.header_timeout),
            takes_requests_until: life,
            ends_idle_at: life.map(|end| end + said.drain.unwrap_or(DRAIN)),
            keeps_case: pinned.snapshot.settings.header_case,
        }
    }

    /// Whether it has lived long enough.
    pub(crate) fn is_old(&self) -> bool {
        let life = self.worker.pin().snapshot.settings.connections.life;
        life.is_some_and(|life| clock::now() - self.started_at >= life)
    }

    /// Waits until a connection without requests should end: when draining begins, or, if that had begun
    /// before it was accepted, after the time that its first request has.
    pub(crate) async fn unneeded(&self) {
        if self.late {
            tokio::time::sleep_until(self.started_at + LATE_FIRST_REQUEST).await;
        } else {
            let drain = &self.worker.drain;
            while !drain.is_draining() {
                drain.news().await;
                // A client that is silent for an hour must not keep an hour's snapshots.
                self.scope();
            }
        }
    }

    /// Both ends, as upstreams are told of them.
    pub(crate) fn ends(&self) -> Ends {
        Ends { source: self.peer, destination: self.local }
    }

    /// Server name the client asked for.
    pub(crate) fn server_name(&self) -> Option<&Arc<str>> {
        self.tls.as_ref().and_then(|tls| tls.server_name.as_ref())
    }
}
