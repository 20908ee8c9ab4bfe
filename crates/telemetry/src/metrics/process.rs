//! What is counted or set for the process as a whole.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::cluster::Cluster;
use super::labels::label;
use super::render::family;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// Why something was refused or lost (`portcullis_drops_total{reason}`). A closed set.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum DropReason {
            $($(#[doc = $doc])* $name,)*
        }

        impl DropReason {
            /// Every reason, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The value of the label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

drop_reasons! {
    /// No filter chain takes the connection: no server for its SNI, or none for plaintext.
    NoFilterChain = "no_filter_chain",
    /// The first bytes of a TLS connection are no ClientHello, or too long a one.
    ClientHelloRefused = "client_hello_refused",
    /// The first bytes did not come in time.
    PrefaceTimeout = "preface_timeout",
    /// A PROXY protocol header that is missing or malformed.
    ProxyHeaderRefused = "proxy_header_refused",
    /// A TLS handshake with a client failed.
    HandshakeFailed = "handshake_failed",
    /// A TLS handshake with a client did not end in time.
    HandshakeTimeout = "handshake_timeout",
    /// The certificate of the chain cannot be had.
    CertificateUnavailable = "certificate_unavailable",
    /// No route for a PostgreSQL session.
    PostgresNoRoute = "postgres_no_route",
    /// Bytes behind an SSLRequest before the answer (CVE-2021-23222).
    PostgresStuffed = "postgres_stuffed",
    /// The first bytes of a PostgreSQL client make no sense.
    PostgresRefused = "postgres_refused",
    /// A CancelRequest in clear whose session is not known.
    CancelDropped = "cancel_dropped",
    /// A mirrored copy of a request that could not keep up, or for which there was no room.
    MirrorGivenUp = "mirror_given_up",
    /// An HTTP/2 connection whose client took most of its requests back at once (CVE-2023-44487).
    RapidReset = "rapid_reset",
    /// A request's header did not come in time.
    HeaderTimeout = "header_timeout",
    /// A request that is no valid HTTP.
    RequestRefused = "request_refused",
    /// Access-log lines the writer could not keep up with.
    LogLinesDropped = "log_lines_dropped",
    /// `accept` failed.
    AcceptError = "accept_error",
    /// A connection above the process' bound.
    ConnectionLimit = "connection_limit",
    /// A port could not be bound.
    BindFailed = "bind_failed",
    /// A panic, caught, that cost one connection or request.
    Panicked = "panicked",
}

/// Findings of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagnosticCount {
    /// `IST0101`, `PC0007`, …
    pub code: String,
    /// `error`, `warning`, `info`.
    pub severity: String,
    /// How many.
    pub count: u64,
}

/// The end of a served certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateExpiry {
    /// `namespace/name` of its Secret, or its file.
    pub secret: Arc<str>,
    /// Hex serial number.
    pub serial: String,
    /// End of validity.
    pub not_after: SystemTime,
}

/// Health checks of one cluster's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheckCount {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    /// Checks that passed, so far.
    pub passed: u64,
    /// Checks that failed, so far.
    pub failed: u64,
    /// Endpoints that are out now.
    pub failing: u64,
}

/// Handles for the control side and for rare events. Any thread may use them.
#[derive(Debug)]
pub struct Process {
    version: Box<str>,
    drops: Box<[AtomicU64]>,
    overflow: AtomicU64,
    generation: AtomicU64,
    /// Milliseconds of Unix time; 0 = never.
    published: AtomicU64,
    diagnostics: Mutex<Vec<DiagnosticCount>>,
    certificates: Mutex<Vec<CertificateExpiry>>,
    health_checks: Mutex<Vec<HealthCheckCount>>,
    /// By state; empty where no cluster is followed.
    watches: Mutex<Vec<(&'static str, u64)>>,
    cluster: Arc<Cluster>,
}

impl Process {
    /// Most certificates and most kinds of findings that are shown; the rest is left out.
    pub const MAX_ROWS: usize = 10_000;

    pub(super) fn new(version: &str) -> Self {
        Self {
            version: if version.is_empty() { "unknown" } else { version }.into(),
            drops: DropReason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            overflow: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            published: AtomicU64::new(0),
            diagnostics: Mutex::default(),
            certificates: Mutex::default(),
            health_checks: Mutex::default(),
            watches: Mutex::default(),
            cluster: Arc::default(),
        }
    }

    /// Counts things refused or lost.
    pub fn dropped(&self, reason: DropReason, count: u64) {
        self.drops[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// A configuration was published.
    pub fn config_published(&self, at: SystemTime) {
        self.published.store(unix_millis(at), Ordering::Relaxed);
    }

    /// Every worker serves by this configuration, or by a newer one.
    pub fn config_applied(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// Replaces the findings shown.
    pub fn set_diagnostics(&self, mut counts: Vec<DiagnosticCount>) {
        counts.truncate(Self::MAX_ROWS);
        *self.diagnostics.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// Replaces the certificates shown.
    pub fn set_certificates(&self, mut certificates: Vec<CertificateExpiry>) {
        certificates.truncate(Self::MAX_ROWS);
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = certificates;
    }

    /// Replaces the health checks shown.
    pub fn set_health_checks(&self, mut counts: Vec<HealthCheckCount>) {
        counts.truncate(Self::MAX_ROWS);
        *self.health_checks.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// Replaces the watches of a cluster shown: how many are in which state.
    pub fn set_watches(&self, watches: Vec<(&'static str, u64)>) {
        *self.watches.lock().unwrap_or_else(PoisonError::into_inner) = watches;
    }

    /// What is known of a followed cluster.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// A sample had to be thrown away.
    pub(super) fn overflowed(&self) {
        self.overflow.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn render(&self, now: SystemTime, out: &mut String) {
        family("portcullis_build_info", "gauge", "Version of the gateway; always 1.", out);
        out.push_str("portcullis_build_info{");
        label("version", &self.version, out);
        out.push_str("} 1\n");
        self.render_config(now, out);
        self.cluster.render(now, out);
        self.render_watches(out);
        self.render_diagnostics(out);
        self.render_certificates(now, out);
        self.render_health_checks(out);
        self.render_drops(out);
    }

    fn render_config(&self, now: SystemTime, out: &mut String) {
        let generation = self.generation.load(Ordering::Relaxed);
        gauge(
            "portcullis_config_generation",
            "Number of the configuration in force on every worker.",
            generation,
            out,
        );
        let published = self.published.load(Ordering::Relaxed);
        if published == 0 {
            return;
        }
        gauge(
            "portcullis_config_last_publish_timestamp_seconds",
            "When the configuration in force was published, in Unix time.",
            Seconds(published),
            out,
        );
        gauge(
            "portcullis_config_age_seconds",
            "Time since the configuration in force was published.",
            Seconds(unix_millis(now).saturating_sub(published)),
            out,
        );
    }

    fn render_watches(&self, out: &mut String) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if watches.is_empty() {
            return;
        }
        family("portcullis_cluster_watches", "gauge", "Watches of the cluster's resources, by state.", out);
        for (state, count) in watches.iter() {
            out.push_str("portcullis_cluster_watches{");
            label("state", state, out);
            row(count, out);
        }
    }

    fn render_diagnostics(&self, out: &mut String) {
        let help = "Findings in the configuration in force.";
        family("portcullis_diagnostics", "gauge", help, out);
        for found in self.diagnostics.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            out.push_str("portcullis_diagnostics{");
            label("code", &found.code, out);
            out.push(',');
            label("severity", &found.severity, out);
            row(found.count, out);
        }
    }

    fn render_certificates(&self, now: SystemTime, out: &mut String) {
        let help = "Time until a served certificate expires; negative once it has.";
        family("portcullis_certificate_expiry_seconds", "gauge", help, out);
        for certificate in self.certificates.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            out.push_str("portcullis_certificate_expiry_seconds{");
            label("secret", &certificate.secret, out);
            out.push(',');
            label("serial", &certificate.serial, out);
            match certificate.not_after.duration_since(now) {
                Ok(left) => row(left.as_secs(), out),
                Err(passed) => row(format_args!("-{}", passed.duration().as_secs()), out),
            }
        }
    }

    fn render_health_checks(&self, out: &mut String) {
        let counts = self.health_checks.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.is_empty() {
            return;
        }
        let name = "portcullis_health_checks_total";
        family(name, "counter", "Active health checks of endpoints, by cluster and result.", out);
        for count in counts.iter() {
            for (result, value) in [("passed", count.passed), ("failed", count.failed)] {
                out.push_str("portcullis_health_checks_total{");
                label("cluster", &count.cluster, out);
                out.push(',');
                label("result", result, out);
                row(value, out);
            }
        }
        let name = "portcullis_endpoints_failing";
        family(name, "gauge", "Endpoints that are out because they fail their health checks.", out);
        for count in counts.iter() {
            out.push_str("portcullis_endpoints_failing{");
            label("cluster", &count.cluster, out);
            row(count.failing, out);
        }
    }

    fn render_drops(&self, out: &mut String) {
        family("portcullis_drops_total", "counter", "What was refused or lost, by reason.", out);
        for (reason, count) in DropReason::ALL.iter().zip(&self.drops) {
            out.push_str("portcullis_drops_total{");
            label("reason", reason.as_str(), out);
            row(count.load(Ordering::Relaxed), out);
        }
        let name = "portcullis_metric_series_overflow_total";
        family(name, "counter", "Samples lost because there were too many label sets.", out);
        writeln!(out, "{name} {}", self.overflow.load(Ordering::Relaxed)).expect(STRING);
    }
}

/// Milliseconds printed as seconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

fn gauge(name: &str, help: &str, value: impl std::fmt::Display, out: &mut String) {
    family(name, "gauge", help, out);
    writeln!(out, "{name} {value}").expect(STRING);
}

fn row(value: impl std::fmt::Display, out: &mut String) {
    writeln!(out, "}} {value}").expect(STRING);
}

fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const STRING: &str = "writing to a string cannot fail";
