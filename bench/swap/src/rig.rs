//! The gateway under test: data plane, compiler and cell, wired as the binary wires them, and the hand that swaps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use portcullis_api::Severity;
use portcullis_compile::{Environment, TlsEnvironment, compile};
use portcullis_dataplane::{Compat, Config, Dataplane, Limits};
use portcullis_snapshot::cell::{Publisher, cell};
use portcullis_snapshot::listener::ChainService;
use portcullis_snapshot::{FilterChain, Listener, Snapshot};
use portcullis_telemetry::access_log::{Format, LogSink};
use portcullis_telemetry::metrics::{Metrics, Options, SourceLabels};
use rustls::server::ServerSessionMemoryCache;

use crate::configuration::{Configuration, DATABASE};
use crate::histogram::Histogram;

/// How often it is looked whether the workers have moved on: the resolution of that figure.
const LOOK: Duration = Duration::from_micros(100);
/// The longest a generation may take to every worker.
const APPLY_LIMIT: Duration = Duration::from_secs(10);
/// The longest that older snapshots may be held by connections without a request.
const RELEASE_LIMIT: Duration = Duration::from_secs(15);
/// The longest that busy connections may go on at the end.
const END_LIMIT: Duration = Duration::from_secs(10);
/// TLS 1.2 sessions kept.
const SESSIONS: usize = 1024;

/// Wakes the workers; reads how far they are.
type Applied = Box<dyn Fn() -> u64>;

/// The gateway.
pub(crate) struct Rig {
    configuration: Configuration,
    environment: Environment,
    publisher: Publisher,
    dataplane: Dataplane,
    applied: Applied,
    log: Arc<Log>,
    held: Arc<Mutex<Held>>,
    waiting: VecDeque<(u64, Instant)>,
    generation: u64,
    times: Times,
}

/// How long the steps of a swap took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    /// Objects to snapshot.
    pub(crate) compile: Histogram,
    /// From publication until every worker served the generation, or a newer one.
    pub(crate) applied: Histogram,
}

/// What a stopped gateway leaves.
pub(crate) struct Stopped {
    pub(crate) times: Times,
    /// Lines of the access log.
    pub(crate) lines: u64,
    /// Lines by response flags, those without a flag and those of PostgreSQL left out.
    pub(crate) flags: BTreeMap<String, u64>,
    /// Whether every connection had ended by itself.
    pub(crate) by_itself: bool,
}

impl Rig {
    /// Starts the workers and publishes the first generation.
    ///
    /// # Errors
    /// When a thread cannot be made, or the first generation is not served.
    pub(crate) fn start(workers: usize, configuration: Configuration) -> anyhow::Result<Self> {
        let mut environment = Environment::file_mode_default(tls()?, SystemTime::now());
        environment.ports = Some(configuration.port_map());
        let (mut publisher, reader) = cell();
        let log = Arc::new(Log::default());
        let config = Config {
            workers,
            log: Some(Format::Json),
            sink: Arc::clone(&log) as Arc<_>,
            metrics: Arc::new(Metrics::new(&SourceLabels::default(), &Options::default())),
            learned: Arc::default(),
            hostname: "hot-swap".to_owned(),
            limits: Limits::default(),
            compat: Compat::default(),
        };
        let dataplane = Dataplane::start(config, &reader).context("the workers cannot be started")?;
        let waker = dataplane.waker();
        let held = Arc::<Mutex<Held>>::default();
        let seen = Arc::clone(&held);
        publisher.on_publish(Box::new(move |snapshot| {
            waker();
            seen.lock().unwrap_or_else(PoisonError::into_inner).publish(snapshot);
        }));
        let status = dataplane.status_source();
        let applied = Box::new(move || status().applied_generation);
        let mut rig = Self {
            configuration,
            environment,
            publisher,
            dataplane,
            applied,
            log,
            held,
            waiting: VecDeque::new(),
            generation: 0,
            times: Times::default(),
        };
        rig.swap()?;
        rig.settle()?;
        let status = rig.dataplane.status();
        let closed = status.listeners.iter().find(|(_, bind)| **bind != portcullis_dataplane::Bind::Open);
        ensure!(closed.is_none(), "a port is not open: {closed:?}");
        Ok(rig)
    }

    /// What is served.
    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Compiles and publishes the next generation.
    fn swap(&mut self) -> anyhow::Result<()> {
        let objects = self.configuration.objects(self.generation + 1)?;
        let begun = Instant::now();
        let compiled = compile(&objects, &self.environment);
        self.times.compile.record(begun.elapsed());
        let error = compiled.diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error);
        ensure!(error.is_none(), "generation {}: {error:?}", self.generation + 1);
        let published = Instant::now();
        let generation = self.publisher.publish(compiled.snapshot);
        ensure!(generation == self.generation + 1, "the cell counts otherwise: {generation}");
        self.generation = generation;
        self.waiting.push_back((generation, published));
        Ok(())
    }

    /// Swaps `rate` times a second. A swap that comes late is made up for, so that the number is as asked.
    ///
    /// # Errors
    /// When the workers do not follow.
    pub(crate) fn swap_for(&mut self, long: Duration, rate: u32) -> anyhow::Result<u64> {
        let begun = Instant::now();
        let swaps = u64::from(rate) * long.as_millis() as u64 / 1000;
        for turn in 0..swaps {
            let due = begun + Duration::from_secs(turn) / rate;
            self.rest_until(due)?;
            self.swap()?;
        }
        self.settle()?;
        Ok(swaps)
    }

    /// Lets the workers serve what they have.
    pub(crate) fn rest(&self, long: Duration) {
        std::thread::sleep(long);
    }

    /// Forgets what was measured so far.
    pub(crate) fn forget_times(&mut self) {
        self.times = Times::default();
    }

    /// Waits until every worker serves the newest generation.
    fn settle(&mut self) -> anyhow::Result<()> {
        while !self.waiting.is_empty() {
            self.rest_until(Instant::now() + LOOK)?;
        }
        Ok(())
    }

    /// Watches the workers move on until `due`.
    fn rest_until(&mut self, due: Instant) -> anyhow::Result<()> {
        loop {
            let applied = (self.applied)();
            let now = Instant::now();
            while let Some(&(generation, published)) = self.waiting.front() {
                if generation > applied {
                    ensure!(now < published + APPLY_LIMIT, "generation {generation} is not applied");
                    break;
                }
                self.times.applied.record(now - published);
                self.waiting.pop_front();
            }
            if now >= due {
                return Ok(());
            }
            std::thread::sleep(LOOK.min(due - now));
        }
    }

    /// Waits until no more than `most` snapshots are held by anyone, or for long enough, and tells how many are.
    pub(crate) fn await_release(&self, most: usize) -> usize {
        let deadline = Instant::now() + RELEASE_LIMIT;
        loop {
            let alive = self.snapshots_alive();
            if alive <= most || Instant::now() >= deadline {
                return alive;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Generations of which anyone holds something, the newest included.
    fn snapshots_alive(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).count()
    }

    /// Ends the gateway.
    pub(crate) fn stop(self) -> Stopped {
        let by_itself = self.dataplane.shutdown(END_LIMIT);
        let counted = self.log.0.lock().unwrap_or_else(PoisonError::into_inner);
        Stopped { times: self.times, lines: counted.lines, flags: counted.flags.clone(), by_itself }
    }
}

/// What is still held of each generation: the snapshot, or one of the chains with its routes.
#[derive(Default)]
struct Held(Vec<(Weak<Snapshot>, Vec<Weak<FilterChain>>)>);

impl Held {
    fn publish(&mut self, snapshot: &Arc<Snapshot>) {
        self.forget();
        let chains = |listener: &Arc<Listener>| {
            let all = listener.tls.values().chain(&listener.plain);
            all.filter(|chain| matches!(chain.service, ChainService::Http(_)))
                .map(Arc::downgrade)
                .collect::<Vec<_>>()
        };
        self.0.push((Arc::downgrade(snapshot), snapshot.listeners.iter().flat_map(chains).collect()));
    }

    fn count(&mut self) -> usize {
        self.forget();
        self.0.len()
    }

    fn forget(&mut self) {
        self.0.retain(|(snapshot, chains)| {
            snapshot.strong_count() > 0 || chains.iter().any(|chain| chain.strong_count() > 0)
        });
    }
}

fn tls() -> anyhow::Result<TlsEnvironment> {
    Ok(TlsEnvironment {
        ticketer: rustls::crypto::aws_lc_rs::Ticketer::new()?,
        session_store: ServerSessionMemoryCache::new(SESSIONS),
        ..TlsEnvironment::without_resumption()
    })
}

/// Counts lines and their response flags.
#[derive(Default)]
struct Log(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    lines: u64,
    flags: BTreeMap<String, u64>,
}

impl LogSink for Log {
    fn submit(&self, batch: Vec<u8>, lines: u32) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.lines += u64::from(lines);
        for line in String::from_utf8_lossy(&batch).lines() {
            let of = |key: &str| line.split_once(key).and_then(|(_, rest)| rest.split('"').next());
            // psql and its server leave each other with bytes unread: whose reset is seen first is chance.
            let told = of(NAME_KEY) != Some(DATABASE);
            if let Some(flags) = of(FLAGS_KEY).filter(|flags| told && *flags != "-") {
                *counted.flags.entry(flags.to_owned()).or_default() += 1;
            }
        }
    }
}

const FLAGS_KEY: &str = "\"response_flags\":\"";
const NAME_KEY: &str = "\"requested_server_name\":\"";
