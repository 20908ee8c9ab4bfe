//! `run`: serves until a signal.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use portcullis_compile::Environment;
use portcullis_control::kubernetes;
use portcullis_dataplane::{Compat, Limits};
use portcullis_telemetry::access_log::Format;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Exit;
use crate::admin::{Admin, Bound, Port, bind};
use crate::args::RunArgs;
use crate::commands::version::VERSION;
use crate::gateway::{self, Gateway, Plan};
use crate::life::Life;
use crate::logging::LogLevel;
use crate::settings::{AccessLog, Ports, Settings};
use crate::{limits, logging};

/// How often it is looked whether every worker serves, until they do.
const READY_POLL: Duration = Duration::from_millis(5);

/// Runs the command.
pub(crate) fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let started = SystemTime::now();
    let settings = Settings::load(args)?;
    let log = logging::start(&settings.log, settings.log_json)?;
    let ports = bind_all(settings.ports)?;
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (drain, finish) = (settings.drain, settings.finish);
    let plan = plan(settings)?;
    serve(&runtime, Serve { plan, ports, log, started, drain, finish, on_ready: Box::new(|| {}) })
}

/// What is served, and how it ends.
pub(crate) struct Serve {
    /// The gateway.
    pub(crate) plan: Plan,
    /// Its own ports, open.
    pub(crate) ports: Vec<Bound>,
    /// The log level.
    pub(crate) log: LogLevel,
    /// When the process began.
    pub(crate) started: SystemTime,
    /// Between a signal to end and the closing of listeners.
    pub(crate) drain: Duration,
    /// How long busy connections may go on after that.
    pub(crate) finish: Duration,
    /// Called once traffic may come.
    pub(crate) on_ready: Box<dyn FnOnce() + Send>,
}

/// Serves until a signal.
///
/// # Errors
/// When the gateway cannot be started.
pub(crate) fn serve(runtime: &Runtime, serve: Serve) -> anyhow::Result<Exit> {
    let Serve { plan, ports, log, started, drain, finish, on_ready } = serve;
    let workers = plan.workers;
    tracing::info!(version = VERSION, workers, "starting");
    let gateway = Gateway::start(plan)?;
    let life = Life::new(gateway.dataplane.status_source());
    let admin = Arc::new(Admin {
        reader: gateway.reader.clone(),
        learned: Arc::clone(&gateway.learned),
        control: Arc::clone(gateway.controller.status()),
        metrics: Arc::clone(&gateway.metrics),
        life: Arc::clone(&life),
        log,
        started,
        workers,
    });
    runtime.block_on(async {
        for port in ports {
            if let Ok(address) = port.address() {
                tracing::info!(port = ?port.port(), %address, "own port open");
            }
            tokio::spawn(port.serve(Arc::clone(&admin)));
        }
        tokio::spawn(tell_ready(Arc::clone(&life), started, on_ready));
        until_end(gateway, &life, drain, finish).await
    })
}

/// Logs the moment from which traffic may come.
async fn tell_ready(life: Arc<Life>, started: SystemTime, on_ready: Box<dyn FnOnce() + Send>) {
    while life.not_ready().is_some() {
        tokio::time::sleep(READY_POLL).await;
    }
    let after = SystemTime::now().duration_since(started).unwrap_or_default();
    let ports = life.dataplane().listeners.len();
    tracing::info!(?after, ports, "ready");
    on_ready();
}

/// Serves until the end is asked for, then ends in order.
async fn until_end(gateway: Gateway, life: &Life, drain: Duration, finish: Duration) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let mut drained = false;
    loop {
        tokio::select! {
            () = life.ended() => break,
            () = life.drained(), if !drained => {
                drained = true;
                gateway.dataplane.drain();
            }
            received = signals.next() => match received {
                Received::End => break,
                Received::Look => gateway.controller.rescan(),
            },
        }
    }
    life.drain();
    gateway.dataplane.drain();
    tracing::info!(delay = ?drain, "draining: not ready any more, connections are marked for closing");
    tokio::select! {
        () = tokio::time::sleep(drain) => {}
        () = signals.end() => return Ok(at_once()),
    }
    tracing::info!(limit = ?finish, "listeners are closed, busy connections finish");
    let stopping = tokio::task::spawn_blocking(move || gateway.stop(finish));
    tokio::select! {
        finished = stopping => {
            tracing::info!(all_finished = finished.unwrap_or(false), "ended");
            Ok(Exit::Fine)
        }
        () = signals.end() => Ok(at_once()),
    }
}

/// The second signal: whoever sends it does not want to wait.
fn at_once() -> Exit {
    tracing::warn!("ended at once by a second signal");
    std::process::exit(1)
}

/// Signals the process answers to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

enum Received {
    End,
    Look,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// The next signal. May be dropped at any time: no signal is lost.
    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::End,
            _ = self.interrupt.recv() => Received::End,
            _ = self.hangup.recv() => Received::Look,
        }
    }

    /// The next signal to end. May be dropped at any time.
    async fn end(&mut self) {
        while let Received::Look = self.next().await {}
    }
}

fn bind_all(ports: Ports) -> anyhow::Result<Vec<Bound>> {
    let open = |(port, address): (Port, Option<SocketAddr>)| address.map(|address| bind(port, address));
    [
        (Port::Admin, ports.admin),
        (Port::Metrics, ports.metrics),
        (Port::Stats, ports.stats),
        (Port::Health, ports.health),
    ]
    .into_iter()
    .filter_map(open)
    .collect()
}

fn plan(settings: Settings) -> anyhow::Result<Plan> {
    let mut environment = Environment::file_mode_default(gateway::tls()?, SystemTime::now());
    settings.workload.apply(&mut environment);
    Ok(Plan {
        limits: peer_limits(&settings),
        compat: Compat { lenient_http1: settings.lenient_http1 },
        cluster: settings.cluster.map(|cluster| kubernetes::Options {
            namespace: environment.workload.namespace.clone(),
            root_namespace: environment.root_namespace.clone(),
            restricted_to: cluster.namespaces,
            context: cluster.context,
            pod: cluster.pod,
            workload: environment.workload.name.clone(),
            write_status: cluster.write_status,
            cache: cluster.cache,
            certificates: cluster.certificates,
        }),
        paths: settings.config,
        settle: settings.settle,
        environment,
        workers: settings.workers,
        access_log: match settings.access_log {
            AccessLog::Json => Some(Format::Json),
            AccessLog::Text => Some(Format::Text),
            AccessLog::Off => None,
        },
        access_log_buffer: settings.access_log_buffer,
        max_series: settings.max_series,
    })
}

fn peer_limits(settings: &Settings) -> Limits {
    let (set, default) = (&settings.limits, Limits::default());
    let seconds = |set: Option<u64>, default| set.map_or(default, Duration::from_secs);
    Limits {
        header_timeout: seconds(set.header_timeout_seconds, default.header_timeout),
        idle_timeout: seconds(set.idle_timeout_seconds, default.idle_timeout),
        peek_timeout: seconds(set.peek_timeout_seconds, default.peek_timeout),
        handshake_timeout: seconds(set.handshake_timeout_seconds, default.handshake_timeout),
        max_streams: set.max_streams.unwrap_or(default.max_streams),
        max_requests: set.max_requests_per_connection.and_then(NonZeroU64::new),
        max_connections: set.max_connections_per_worker.unwrap_or(default.max_connections),
        retry_buffer: set.retry_buffer_bytes.unwrap_or(default.retry_buffer),
    }
}
