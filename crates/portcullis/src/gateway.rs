//! The gateway as a whole: data plane, control plane and own ports, started together and ended in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use portcullis_compile::{Environment, TlsEnvironment};
use portcullis_control::{self as control, Controller, Report, SettleTimes, kubernetes};
use portcullis_dataplane::{Compat, Config, Dataplane, Limits};
use portcullis_snapshot::cell::{self, Publisher, Reader};
use portcullis_telemetry::access_log::Format;
use portcullis_telemetry::metrics::{
    CertificateExpiry, DiagnosticCount, DropReason, Metrics, Options, SourceLabels,
};
use portcullis_traffic::Registry;
use rustls::server::ServerSessionMemoryCache;

use crate::admin::served_certificates;
use crate::commands::version::VERSION;
use crate::log_writer::LogWriter;

/// TLS 1.2 sessions kept for clients that know no tickets.
const SESSIONS: usize = 20_000;

/// What a gateway is started with.
pub(crate) struct Plan {
    /// The cluster to follow.
    pub(crate) cluster: Option<kubernetes::Options>,
    /// Files and folders to follow.
    pub(crate) paths: Vec<PathBuf>,
    /// How changes of them are gathered.
    pub(crate) settle: SettleTimes,
    /// The world as the compiler sees it.
    pub(crate) environment: Environment,
    /// Worker threads.
    pub(crate) workers: usize,
    /// Bounds on peers.
    pub(crate) limits: Limits,
    /// Behaviours of Istio's gateway that were asked for.
    pub(crate) compat: Compat,
    /// Form of the access log; `None` = off.
    pub(crate) access_log: Option<Format>,
    /// Bytes of access log that may wait for standard output.
    pub(crate) access_log_buffer: usize,
    /// Most metric series of each kind in a worker.
    pub(crate) max_series: usize,
}

/// A running gateway.
pub(crate) struct Gateway {
    /// The snapshot in force.
    pub(crate) reader: Reader,
    /// What workers and health checks know of clusters.
    pub(crate) learned: Arc<Registry>,
    /// Every metric.
    pub(crate) metrics: Arc<Metrics>,
    /// What follows the files.
    pub(crate) controller: Controller,
    /// What serves.
    pub(crate) dataplane: Dataplane,
    log: Arc<LogWriter>,
}

impl Gateway {
    /// Starts every thread. The first configuration is read and applied in the background.
    ///
    /// # Errors
    /// When the system refuses a thread, or a path cannot be followed.
    pub(crate) fn start(plan: Plan) -> anyhow::Result<Self> {
        let metrics = metrics(&plan);
        count_panics(&metrics);
        let log = Arc::new(log_writer(&plan, &metrics)?);
        let (mut publisher, reader) = cell::cell();
        let learned = Arc::<Registry>::default();
        let config = Config {
            workers: plan.workers,
            log: plan.access_log,
            sink: Arc::clone(&log) as Arc<_>,
            metrics: Arc::clone(&metrics),
            learned: Arc::clone(&learned),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            limits: plan.limits,
            compat: plan.compat,
        };
        let dataplane = Dataplane::start(config, &reader).context("the workers cannot be started")?;
        let waker = dataplane.waker();
        publisher.on_publish(Box::new(move |_| waker()));
        tell_metrics(&mut publisher, &metrics);
        let status = dataplane.status_source();
        let control = control::Config {
            paths: plan.paths,
            cluster: plan.cluster,
            ties: kubernetes::Ties {
                applied: Arc::new(move || status().applied_generation),
                gauges: Arc::clone(metrics.process().cluster()),
            },
            environment: plan.environment,
            settle: plan.settle,
            on_report: Some(count_notices(&metrics)),
        };
        let controller = Controller::start(control, publisher).context("configuration cannot be followed")?;
        Ok(Self { reader, learned, metrics, controller, dataplane, log })
    }

    /// Closes the listeners, lets busy connections finish for up to `limit`, and writes the last log lines.
    /// Tells whether every connection finished by itself. Blocks.
    pub(crate) fn stop(self, limit: Duration) -> bool {
        // No new configuration opens a port again.
        drop(self.controller);
        let finished = self.dataplane.shutdown(limit);
        self.log.finish();
        finished
    }
}

/// TLS for serving: tickets sealed with keys of this process, the system's authorities for upstreams.
pub(crate) fn tls() -> anyhow::Result<TlsEnvironment> {
    let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().context("no random numbers for TLS tickets")?;
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (_, unusable) = roots.add_parsable_certificates(native.certs);
    for error in &native.errors {
        tracing::debug!(%error, "an authority of the system cannot be read");
    }
    tracing::debug!(authorities = roots.len(), unusable, "system authorities read");
    Ok(TlsEnvironment {
        provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        ticketer,
        session_store: ServerSessionMemoryCache::new(SESSIONS),
        roots: Arc::new(roots),
        ..TlsEnvironment::without_resumption()
    })
}

fn metrics(plan: &Plan) -> Arc<Metrics> {
    let workload = &plan.environment.workload;
    let label = |name: &str| workload.labels.get(name).cloned();
    let app = label("app");
    let canonical = label("service.istio.io/canonical-name")
        .or_else(|| label("app.kubernetes.io/name"))
        .or_else(|| app.clone())
        .unwrap_or_else(|| workload.name.clone());
    let version = label("version");
    let source = SourceLabels {
        workload: workload.name.clone(),
        canonical_service: canonical,
        canonical_revision: label("service.istio.io/canonical-revision")
            .or_else(|| version.clone())
            .unwrap_or_else(|| "latest".to_owned()),
        namespace: workload.namespace.clone(),
        app: app.unwrap_or_default(),
        version: version.unwrap_or_default(),
        ..SourceLabels::default()
    };
    Arc::new(Metrics::new(&source, &Options { version: VERSION.to_owned(), max_series: plan.max_series }))
}

fn log_writer(plan: &Plan, metrics: &Arc<Metrics>) -> anyhow::Result<LogWriter> {
    let process = Arc::clone(metrics.process());
    let on_lost = Box::new(move |lines| process.dropped(DropReason::LogLinesDropped, lines));
    LogWriter::start(std::io::stdout(), plan.access_log_buffer, on_lost)
        .context("the access log cannot be started")
}

/// A panic costs the connection it happened on; it is counted and logged, never silent.
fn count_panics(metrics: &Arc<Metrics>) {
    let process = Arc::clone(metrics.process());
    std::panic::set_hook(Box::new(move |panic| {
        process.dropped(DropReason::Panicked, 1);
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            place,
            "a connection or task panicked: {}",
            panic.payload_as_str().unwrap_or("no message")
        );
    }));
}

/// Certificates and the time follow each publication.
fn tell_metrics(publisher: &mut Publisher, metrics: &Arc<Metrics>) {
    let process = Arc::clone(metrics.process());
    publisher.on_publish(Box::new(move |snapshot| {
        process.config_published(SystemTime::now());
        let expiry = |certificate: &portcullis_snapshot::tls::CertificateInfo| CertificateExpiry {
            secret: Arc::clone(&certificate.source),
            serial: certificate.serial.clone(),
            not_after: certificate.not_after,
        };
        process.set_certificates(served_certificates(snapshot).into_iter().map(expiry).collect());
    }));
}

/// Findings by code, and watches by state, follow each report.
fn count_notices(metrics: &Arc<Metrics>) -> control::OnReport {
    let process = Arc::clone(metrics.process());
    Box::new(move |report: &Report| {
        let mut counts = std::collections::BTreeMap::<_, u64>::new();
        for notice in report.notices.iter() {
            *counts.entry((notice.code, notice.severity)).or_default() += 1;
        }
        let count = |((code, severity), count): ((&str, portcullis_api::Severity), u64)| DiagnosticCount {
            code: code.to_owned(),
            severity: severity.to_string(),
            count,
        };
        process.set_diagnostics(counts.into_iter().map(count).collect());
        process.set_watches(report.watches.iter().map(|(state, count)| (*state, *count)).collect());
    })
}
