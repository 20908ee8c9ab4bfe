//! A worker's thread: it opens the ports of the newest snapshot, accepts, and drains.
//!
//! Ports are reconciled, never reopened: one that is new is bound, one that is gone stops
//! accepting, one that stays is not touched, whatever changed behind it.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use portcullis_snapshot::cell::Reader;
use portcullis_snapshot::listener::ListenerKey;
use portcullis_telemetry::metrics::{DropReason, ListenerMetrics};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::worker::{LOG_FLUSH, Pinned, Worker};
use crate::{Config, Phase, Shared, connection};

/// Connections waiting in the kernel for a worker.
const BACKLOG: i32 = 4096;
/// Between attempts to open a port that could not be opened.
const BIND_RETRY: Duration = Duration::from_secs(1);
/// Pause after the system refused an accept, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Between sweeps of pooled connections.
const SWEEP: Duration = Duration::from_secs(5);

/// Whether a port is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// Open.
    Open,
    /// Not open, and why; it is tried again every second.
    Failed(String),
}

/// What a worker's thread is started with.
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) reader: Reader,
    pub(crate) shared: Arc<Shared>,
    pub(crate) woken: mpsc::Receiver<()>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// Body of a worker's thread.
pub(crate) fn run(start: Start) {
    let shared = Arc::clone(&start.shared);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(tokio::runtime::LocalOptions::default());
    match runtime {
        Ok(runtime) => runtime.block_on(serve(start)),
        Err(error) => tracing::error!(%error, "a worker has no runtime"),
    }
    shared.running.fetch_sub(1, Ordering::Release);
}

async fn serve(mut start: Start) {
    let shared = &start.shared;
    let (open, sessions) = (Arc::clone(&shared.connections), Arc::clone(&shared.sessions));
    let worker = Worker::new(Arc::clone(&start.config), start.reader, open, sessions);
    let housekeeping = tokio::task::spawn_local(housekeep(Rc::clone(&worker)));
    let mut ports = Ports { index: start.index, shared: start.shared, open: HashMap::new() };
    let mut retry = ports.reconcile(&worker);
    loop {
        let again = async {
            match retry {
                true => tokio::time::sleep(BIND_RETRY).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(()) = start.woken.recv() => retry = ports.reconcile(&worker),
            () = again => retry = ports.reconcile(&worker),
            changed = start.phase.changed() => {
                let phase = if changed.is_ok() { *start.phase.borrow_and_update() } else { Phase::Stop };
                match phase {
                    Phase::Serve => {}
                    Phase::Drain => worker.drain.begin(),
                    Phase::Finish => {
                        worker.drain.begin();
                        ports.close_all();
                        retry = false;
                    }
                    Phase::Stop => break,
                }
            }
        }
        if *start.phase.borrow() >= Phase::Finish {
            ports.close_all();
        }
    }
    ports.close_all();
    worker.drain.close();
    // Connections see the signal and write their last lines before the runtime drops them.
    tokio::task::yield_now().await;
    housekeeping.abort();
    worker.flush_log();
}

/// Flushes the log each second and looks after pools, whatever traffic there is.
async fn housekeep(worker: Rc<Worker>) {
    let mut log = tokio::time::interval(LOG_FLUSH);
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            _ = log.tick() => worker.flush_log(),
            _ = sweep.tick() => worker.sweep().await,
        }
    }
}

/// The ports a worker has open.
struct Ports {
    index: usize,
    shared: Arc<Shared>,
    open: HashMap<ListenerKey, Port>,
}

/// An open port.
struct Port {
    accepting: JoinHandle<()>,
    last: Last,
}

/// The newest snapshot that has a port: it serves those who connect in the moment in which the port goes.
type Last = Rc<RefCell<Rc<Pinned>>>;

impl Ports {
    /// Makes the open ports those of the newest snapshot; tells whether one could not be opened.
    fn reconcile(&mut self, worker: &Rc<Worker>) -> bool {
        let pinned = worker.pin();
        self.open.retain(|key, port| {
            let keep = pinned.snapshot.listener(*key).is_some();
            if keep {
                port.last.replace(Rc::clone(&pinned));
            } else {
                port.accepting.abort();
            }
            keep
        });
        let mut results = BTreeMap::new();
        for listener in &pinned.snapshot.listeners {
            let key = listener.key();
            if let Entry::Vacant(free) = self.open.entry(key) {
                match bind(key) {
                    Ok(socket) => {
                        let metrics = worker.shard.listener(&listener.name);
                        let last = Rc::new(RefCell::new(Rc::clone(&pinned)));
                        let worker = Rc::clone(worker);
                        let queue = Queue { worker, key, metrics, last: Rc::clone(&last), listener: socket };
                        let accepting = tokio::task::spawn_local(accept(queue));
                        free.insert(Port { accepting, last });
                    }
                    Err(error) => {
                        worker.shard.dropped(DropReason::BindFailed);
                        results.insert(key, Bind::Failed(error.to_string()));
                        continue;
                    }
                }
            }
            results.insert(key, Bind::Open);
        }
        let failed = results.values().any(|bind| *bind != Bind::Open);
        self.report(results);
        self.shared.applied[self.index].store(pinned.snapshot.generation, Ordering::Release);
        failed
    }

    fn close_all(&mut self) {
        for (_, port) in self.open.drain() {
            port.accepting.abort();
        }
        self.report(BTreeMap::new());
    }

    fn report(&self, results: BTreeMap<ListenerKey, Bind>) {
        let workers = self.shared.applied.len();
        let mut listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|key, _| results.contains_key(key));
        for (key, bind) in results {
            let binds =
                listeners.entry(key).or_insert_with(|| vec![Bind::Failed("not opened yet".into()); workers]);
            if binds[self.index] != bind
                && let Bind::Failed(error) = &bind
                && error != "not opened yet"
            {
                tracing::error!(port = key.port, error, "port not opened, trying again every second");
            }
            binds[self.index] = bind;
        }
    }
}

fn bind(key: ListenerKey) -> io::Result<TcpListener> {
    match key.bind {
        Some(address) => bind_to(SocketAddr::new(address, key.port)),
        // Dual stack where the system has IPv6, else IPv4 alone.
        None => bind_to(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), key.port)).or_else(|error| {
            match error.raw_os_error() {
                // EAFNOSUPPORT and EADDRNOTAVAIL: there is no IPv6 here.
                Some(97 | 99) => bind_to(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), key.port)),
                _ => Err(error),
            }
        }),
    }
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Answers must not wait for acknowledgements. Connections have it from the socket that they are accepted from, so that
    // none has to be told; failing to say so only costs speed.
    let _ = socket.set_tcp_nodelay(true);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until aborted; then what the kernel has queued already is still served.
async fn accept(queue: Queue) {
    loop {
        if queue.worker.connections.get() >= queue.worker.config.limits.max_connections {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        }
        match queue.listener.accept().await {
            Ok((stream, peer)) => queue.spawn(stream, peer),
            Err(error) => {
                queue.worker.shard.dropped(DropReason::AcceptError);
                if !is_of_one_connection(&error) {
                    tracing::warn!(%error, port = queue.key.port, "connections cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether an accept error only concerns the connection that would have been accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

struct Queue {
    worker: Rc<Worker>,
    key: ListenerKey,
    metrics: ListenerMetrics,
    last: Last,
    listener: TcpListener,
}

impl Queue {
    fn spawn(&self, stream: TcpStream, peer: SocketAddr) {
        let worker = Rc::clone(&self.worker);
        let newest = worker.pin();
        let has_port = newest.snapshot.listener(self.key).is_some();
        let pinned = if has_port { Rc::clone(&newest) } else { Rc::clone(&self.last.borrow()) };
        if newest
            .snapshot
            .settings
            .connections
            .connections
            .is_some_and(|most| worker.open() >= u64::from(most))
        {
            worker.shard.dropped(DropReason::ConnectionLimit);
            return;
        }
        // Counted here and not in its task, which has not run when the next one is accepted.
        let open = worker.enter(&self.metrics);
        tokio::task::spawn_local(connection::serve(
            (worker, pinned),
            open,
            self.key,
            stream,
            canonical(peer),
        ));
    }

    /// A connection that the kernel holds ready. The runtime is passed by: it would have to hear of it first.
    fn take(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, peer) = SockRef::from(&self.listener).accept()?;
        socket.set_nonblocking(true)?;
        let peer = peer.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        Ok((TcpStream::from_std(socket.into())?, peer))
    }
}

impl Drop for Queue {
    /// A connection that waits in the queue of a closing socket would be reset: with `SO_REUSEPORT`
    /// no other socket takes it over.
    fn drop(&mut self) {
        while let Ok((stream, peer)) = self.take() {
            self.spawn(stream, peer);
        }
    }
}

/// IPv4 clients of a dual-stack socket are IPv4 clients.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_send_at_once_as_their_listener_was_told() {
        let listener = bind_to(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect(address));
        let (_client, (stream, _)) = (connected.expect("connected"), accepted.expect("accepted"));
        assert!(stream.nodelay().expect("an option of every socket"));
    }
}
