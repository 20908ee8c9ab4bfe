//! Every traffic socket: listen, TLS, HTTP, TCP, PostgreSQL, upstreams, drain.
//!
//! A [`Dataplane`] runs one worker per core. A worker is a thread with its own runtime, its own
//! `SO_REUSEPORT` listeners, upstream pools, metric shard and log buffer; a connection lives and
//! dies on one worker. What to serve comes from a snapshot cell; the data plane has never heard of
//! Kubernetes or of files.

mod clock;
mod connection;
mod error;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod listen;
pub mod postgres;
pub mod proxy_protocol;
mod stream;
mod tcp;
pub mod tls;
mod upstream;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portcullis_snapshot::cell::Reader;
use portcullis_snapshot::listener::ListenerKey;
use portcullis_telemetry::access_log::{Format, LogSink};
use portcullis_telemetry::metrics::Metrics;
use tokio::sync::{mpsc, watch};

pub use listen::Bind;

/// What a data plane is started with.
pub struct Config {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Access log format; `None` = no access log.
    pub log: Option<Format>,
    /// Where log lines go.
    pub sink: Arc<dyn LogSink>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// What workers learn together about clusters: limits in use, ejections.
    pub learned: Arc<portcullis_traffic::Registry>,
    /// The gateway's host name, for `%HOSTNAME%`.
    pub hostname: String,
    /// Bounds on peers.
    pub limits: Limits,
    /// Where the gateway is to behave as Istio's rather than as it thinks best.
    pub compat: Compat,
}

/// Behaviours of Istio's gateway that are off unless somebody needs them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compat {
    /// Whether heads of HTTP/1 requests are repaired where Istio's gateway repairs them, instead of
    /// being refused. What goes upstream is canonical either way.
    pub lenient_http1: bool,
}

/// Bounds on what a peer may make the gateway wait for or hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the first byte of a request head to its last (slowloris).
    pub header_timeout: Duration,
    /// Keep-alive connection without a request (Istio: 1 h).
    pub idle_timeout: Duration,
    /// From accept to a complete ClientHello, or a complete PostgreSQL preface.
    pub peek_timeout: Duration,
    /// From ClientHello to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// Streams open at once on an HTTP/2 connection.
    pub max_streams: u32,
    /// Requests that a connection carries before it is closed behind the last one; `None` = any number.
    pub max_requests: Option<NonZeroU64>,
    /// Connections open at once on one worker; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Request bytes kept for a retry (Envoy's buffer limit: 1 MiB).
    pub retry_buffer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(3600),
            peek_timeout: Duration::from_secs(15),
            handshake_timeout: Duration::from_secs(15),
            max_streams: 128,
            max_requests: None,
            max_connections: 100_000,
            retry_buffer: 1024 * 1024,
        }
    }
}

/// State of the data plane as the admin port shows it.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Listeners by key; an error says why a port is not open.
    pub listeners: BTreeMap<ListenerKey, Bind>,
    /// Oldest generation that any worker still has to move on from; 0 before the first.
    pub applied_generation: u64,
    /// Downstream connections open.
    pub connections: u64,
}

/// A running data plane.
pub struct Dataplane {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    wakes: Vec<mpsc::Sender<()>>,
    phase: watch::Sender<Phase>,
}

/// What every worker and the owner of the data plane see.
pub(crate) struct Shared {
    listeners: Mutex<BTreeMap<ListenerKey, Vec<Bind>>>,
    applied: Vec<AtomicU64>,
    connections: Arc<AtomicU64>,
    sessions: Arc<postgres::cancel::Sessions>,
    running: AtomicUsize,
}

/// Where the data plane is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving.
    Serve,
    /// Still accepting; every response is marked for closing.
    Drain,
    /// No new connections; busy ones finish.
    Finish,
    /// Everything ends.
    Stop,
}

impl Dataplane {
    /// Starts the workers. They open their listeners as soon as `reader` has a snapshot; call
    /// [`waker`](Self::waker) after each publication.
    ///
    /// # Errors
    /// When a thread or a runtime cannot be made.
    pub fn start(config: Config, reader: &Reader) -> io::Result<Self> {
        let workers = config.workers.max(1);
        let shared = Arc::new(Shared {
            listeners: Mutex::default(),
            applied: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            connections: Arc::default(),
            sessions: Arc::default(),
            running: AtomicUsize::new(workers),
        });
        let config = Arc::new(config);
        let (phase, _) = watch::channel(Phase::Serve);
        let (mut threads, mut wakes) = (Vec::new(), Vec::new());
        for index in 0..workers {
            // One slot: a wake that finds one pending adds nothing.
            let (wake, woken) = mpsc::channel(1);
            let start = listen::Start {
                index,
                config: Arc::clone(&config),
                reader: reader.clone(),
                shared: Arc::clone(&shared),
                woken,
                phase: phase.subscribe(),
            };
            threads.push(
                std::thread::Builder::new()
                    .name(format!("worker-{index}"))
                    .spawn(move || listen::run(start))?,
            );
            wakes.push(wake);
        }
        let (wake, woken) = mpsc::channel(1);
        let health = upstream::health::Start {
            reader: reader.clone(),
            learned: Arc::clone(&config.learned),
            metrics: Arc::clone(&config.metrics),
            woken,
            phase: phase.subscribe(),
        };
        let thread = std::thread::Builder::new().name("health".to_owned());
        threads.push(thread.spawn(move || upstream::health::run(health))?);
        wakes.push(wake);
        Ok(Self { shared, threads, wakes, phase })
    }

    /// A function to call after each publication: every worker looks at the new snapshot.
    pub fn waker(&self) -> impl Fn() + Send + Sync + Clone + 'static {
        let wakes = self.wakes.clone();
        move || {
            for wake in &wakes {
                // A full slot means that the worker is about to look anyway.
                let _ = wake.try_send(());
            }
        }
    }

    /// What is open and served now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// As [`status`](Self::status), for someone who outlives borrows of the data plane.
    pub fn status_source(&self) -> impl Fn() -> Status + Send + Sync + Clone + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.status()
    }

    /// Marks every connection for closing while still accepting: load balancers need time to see
    /// that this gateway is no longer ready.
    pub fn drain(&self) {
        self.advance(Phase::Drain);
    }

    /// Stops accepting, lets busy connections finish for up to `limit`, then ends everything and
    /// joins the workers. Tells whether every connection had finished by itself.
    #[must_use]
    pub fn shutdown(self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        self.advance(Phase::Finish);
        while self.shared.connections.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let finished = self.shared.connections.load(Ordering::Relaxed) == 0;
        self.advance(Phase::Stop);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        finished
    }

    fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let forward = phase > *current;
            if forward {
                *current = phase;
            }
            forward
        });
    }
}

impl Shared {
    fn status(&self) -> Status {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        // A port is only as open as on the worker that has most trouble with it.
        let worst =
            |binds: &Vec<Bind>| binds.iter().find(|bind| **bind != Bind::Open).cloned().unwrap_or(Bind::Open);
        Status {
            listeners: listeners.iter().map(|(key, binds)| (*key, worst(binds))).collect(),
            applied_generation: self
                .applied
                .iter()
                .map(|applied| applied.load(Ordering::Acquire))
                .min()
                .unwrap_or(0),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }
}
