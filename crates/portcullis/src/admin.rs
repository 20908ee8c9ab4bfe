//! The gateway's own ports: admin pages, metrics, probes. Served on the control runtime, never by a worker.
//!
//! | port | what is there |
//! |---|---|
//! | admin (15000, loopback) | `/`, `/config_dump`, `/clusters`, `/listeners`, `/certs`, `/diagnostics`, `/explain`, `/server_info`, `/ready`, `/stats/prometheus`; POST `/logging`, `/quitquitquit` |
//! | metrics (15020) | `/stats/prometheus`, `/metrics`, `/healthz/ready`; POST `/quitquitquit`, `/drain` from loopback |
//! | stats (15090) | `/stats/prometheus` |
//! | health (15021) | `/healthz/ready` |

mod pages;
mod query;
mod routes;
mod server;

use std::sync::Arc;
use std::time::SystemTime;

use portcullis_control as control;
use portcullis_snapshot::cell::Reader;
use portcullis_telemetry::metrics::Metrics;
use portcullis_traffic::Registry;

pub(crate) use pages::served_certificates;
pub(crate) use server::{Bound, bind};

use crate::life::Life;
use crate::logging::LogLevel;

/// Which of the ports is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// 15000.
    Admin,
    /// 15020.
    Metrics,
    /// 15090.
    Stats,
    /// 15021.
    Health,
}

impl Port {
    /// The flag that moves it.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::Admin => "--admin",
            Self::Metrics => "--metrics",
            Self::Stats => "--stats",
            Self::Health => "--health",
        }
    }
}

/// What the pages show.
pub(crate) struct Admin {
    /// The snapshot in force.
    pub(crate) reader: Reader,
    /// What workers and health checks know of clusters.
    pub(crate) learned: Arc<Registry>,
    /// What the control plane knows of itself.
    pub(crate) control: Arc<control::Status>,
    /// Every metric.
    pub(crate) metrics: Arc<Metrics>,
    /// Readiness and end.
    pub(crate) life: Arc<Life>,
    /// The log level.
    pub(crate) log: LogLevel,
    /// When the process began.
    pub(crate) started: SystemTime,
    /// Number of workers.
    pub(crate) workers: usize,
}
