//! Active health checks of a cluster's endpoints.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// How the endpoints of a cluster are asked whether they are well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked, and what is a good answer.
    pub probe: Probe,
    /// From the end of a check to the next one, give or take a tenth.
    pub interval: Duration,
    /// A check not done by then has failed; connecting included.
    pub timeout: Duration,
    /// Failures in a row that take an endpoint out.
    pub unhealthy_threshold: NonZeroU32,
    /// Successes in a row that bring it back.
    pub healthy_threshold: NonZeroU32,
    /// Asked at this port instead of the endpoint's own.
    pub port: Option<u16>,
    /// Below this share of healthy endpoints, 0..=100, all are used; 0 = never.
    pub panic_percent: u32,
}

/// What is asked of an endpoint. TLS and PROXY protocol are spoken as the cluster has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Whether it accepts connections.
    Tcp,
    /// A GET request, in the HTTP version of the cluster.
    Http {
        /// Path and query, beginning with a slash.
        path: Arc<str>,
        /// `Host` header, and the server name in TLS where that follows the host.
        host: Arc<str>,
        /// Good answers.
        statuses: Vec<RangeInclusive<u16>>,
    },
    /// `grpc.health.v1.Health/Check`; good is `SERVING`.
    Grpc {
        /// Service asked about; empty stands for the whole server.
        service: Arc<str>,
        /// `:authority`, and the server name in TLS where that follows the host.
        host: Arc<str>,
    },
}

/// For people: `GET /healthz of shop.test every 10s within 2s, out after 3, back after 2`.
impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.probe {
            Probe::Tcp => f.write_str("connecting")?,
            Probe::Http { path, host, .. } => write!(f, "GET {path} of {host}")?,
            Probe::Grpc { service, host } if service.is_empty() => write!(f, "gRPC health of {host}")?,
            Probe::Grpc { service, host } => write!(f, "gRPC health of {service} at {host}")?,
        }
        if let Some(port) = self.port {
            write!(f, " at port {port}")?;
        }
        let (out, back) = (self.unhealthy_threshold, self.healthy_threshold);
        write!(f, " every {:?} within {:?}, out after {out}, back after {back}", self.interval, self.timeout)
    }
}
