//! Metrics: Istio's families as a gateway reports them, and a small set of our own.
//!
//! Counting is sharded. Each worker owns a [`Shard`] and is the only writer of the numbers in it, so
//! counting a request is a look-up in the shard's own map and a few plain stores: no lock, no
//! read-modify-write, no label text. [`Metrics::render`] adds the shards up, from another thread.
//!
//! # Families of our own
//!
//! | family | type | meaning |
//! |---|---|---|
//! | `portcullis_build_info{version}` | gauge | always 1 |
//! | `portcullis_config_generation` | gauge | number of the configuration in force on every worker |
//! | `portcullis_config_last_publish_timestamp_seconds` | gauge | when it came into force, Unix time |
//! | `portcullis_config_age_seconds` | gauge | time since then |
//! | `portcullis_cluster_watches{state}` | gauge | watches of a Kubernetes cluster: `awaited`, `following`, `failing`, `not_installed`, `forbidden` |
//! | `portcullis_cluster_watch_age_seconds{kind,namespace}` | gauge | time since a watch last heard anything, bookmarks too |
//! | `portcullis_configuration_source{source}` | gauge | 1 for where the configuration comes from: `cluster`, `cache`, `files` |
//! | `portcullis_configuration_age_seconds` | gauge | time since it was last known to be what its source says |
//! | `portcullis_reporting_leader` | gauge | whether this process writes status and events |
//! | `portcullis_reporting_replicas` | gauge | replicas whose state the writer knows |
//! | `portcullis_reporting_writes_total{object,result}` | counter | writes to the cluster: `status`, `event`, `lease`; `done`, `conflict`, `failed`, `dropped` |
//! | `portcullis_diagnostics{code,severity}` | gauge | findings in the configuration in force |
//! | `portcullis_certificate_expiry_seconds{secret,serial}` | gauge | time until a served certificate expires, negative afterwards |
//! | `portcullis_drops_total{reason}` | counter | what was refused or lost, see [`DropReason`] |
//! | `portcullis_downstream_connections_total{listener}` | counter | connections accepted |
//! | `portcullis_downstream_connections_active{listener}` | gauge | connections open |
//! | `portcullis_downstream_requests_active` | gauge | HTTP requests in progress |
//! | `portcullis_upstream_connections_total{cluster}` | counter | connections opened |
//! | `portcullis_upstream_connections_failed_total{cluster}` | counter | connections that could not be opened |
//! | `portcullis_upstream_connections_active{cluster}` | gauge | connections open, idle ones too |
//! | `portcullis_upstream_requests_pending{cluster}` | gauge | requests that wait for a connection |
//! | `portcullis_metric_series_overflow_total` | counter | samples lost to [`Options::max_series`] |
//!
//! # How many series
//!
//! A series lives as long as the process, also when its workload is gone: a counter that vanished
//! and came back would look like a restart. Labels name workloads, not endpoints, so a rollout that
//! replaces every pod of a Deployment adds no series. [`Options::max_series`] bounds the rest.

pub mod cluster;
mod known;
mod labels;
mod process;
mod render;
mod series;
mod shard;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

pub use labels::SourceLabels;
pub use process::{CertificateExpiry, DiagnosticCount, DropReason, HealthCheckCount, Process};
pub use series::BUCKETS;
pub use shard::{ListenerMetrics, PoolMetrics, Shard};

use labels::SourceText;
use series::Table;

/// `Content-Type` of what [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a process may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Version of the gateway, for `istio_build` and `portcullis_build_info`; empty prints `unknown`.
    pub version: String,
    /// Most series a shard makes of each kind (requests, messages, TCP, listeners, pools). Samples
    /// that would need one more are counted in `portcullis_metric_series_overflow_total` and lost.
    pub max_series: usize,
}

impl Options {
    /// Default of [`max_series`](Self::max_series): some 15 MB of numbers and labels when full.
    pub const DEFAULT_MAX_SERIES: usize = 20_000;
}

impl Default for Options {
    fn default() -> Self {
        Self { version: String::new(), max_series: Self::DEFAULT_MAX_SERIES }
    }
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    source: SourceText,
    max_series: usize,
    process: Arc<Process>,
    tables: Mutex<Vec<Arc<Table>>>,
}

impl Metrics {
    /// Metrics of a gateway that calls itself `source`.
    #[must_use]
    pub fn new(source: &SourceLabels, options: &Options) -> Self {
        Self {
            source: SourceText::new(source),
            max_series: options.max_series,
            process: Arc::new(Process::new(&options.version)),
            tables: Mutex::default(),
        }
    }

    /// A shard for one more worker.
    #[must_use]
    pub fn shard(&self) -> Shard {
        let table = Arc::new(Table::default());
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&table));
        Shard::new(self.source.clone(), self.max_series, table, Arc::clone(&self.process))
    }

    /// What the control side sets, and what is counted by the process as a whole.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Appends everything in Prometheus' text format 0.0.4. `now` is the time ages count to.
    ///
    /// Takes locks that a worker only takes when it meets a label set for the first time.
    pub fn render(&self, now: SystemTime, out: &mut String) {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner).clone();
        render::istio(&tables, self.process.version(), out);
        render::workers(&tables, out);
        self.process.render(now, out);
    }
}

#[cfg(test)]
mod tests;
