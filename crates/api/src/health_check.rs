//! Active health checks, which Istio has no field for at a gateway: an annotation of a DestinationRule.
//!
//! ```yaml
//! metadata:
//!   annotations:
//!     portcullis.dev/health-check: |
//!       http: {path: /healthz}
//!       interval: 5s
//! ```

use serde::Deserialize;

use crate::load;
use crate::wire::Duration;

/// The annotation's key.
pub const HEALTH_CHECK: &str = "portcullis.dev/health-check";

/// How the endpoints of a DestinationRule's host are asked whether they are well. Exactly one of `http`, `tcp` and
/// `grpc` says what is asked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheckPolicy {
    /// A GET request.
    pub http: Option<HttpProbe>,
    /// A connection, with the TLS of the cluster if it has some.
    pub tcp: Option<TcpProbe>,
    /// `grpc.health.v1.Health/Check`.
    pub grpc: Option<GrpcProbe>,
    /// From one check to the next; 10s.
    pub interval: Option<Duration>,
    /// For one check, connecting included; 2s.
    pub timeout: Option<Duration>,
    /// Failures in a row that take an endpoint out; 3.
    pub unhealthy_threshold: Option<u32>,
    /// Successes in a row that bring it back; 2.
    pub healthy_threshold: Option<u32>,
    /// Asked in place of the endpoint's own port.
    pub port: Option<u32>,
    /// Below this share of endpoints that are well all are used; that of `outlierDetection`, else 0 = never.
    pub min_health_percent: Option<u32>,
}

/// A GET request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpProbe {
    /// Path and query; `/`.
    pub path: Option<String>,
    /// The `Host` header; the service's host.
    pub host: Option<String>,
    /// Statuses that are good, single (`200`) or from-to (`200-299`); `200-399`.
    #[serde(default)]
    pub statuses: Vec<StatusRange>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpProbe {}

/// gRPC's health checking protocol.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcProbe {
    /// The service asked about; the whole server.
    #[serde(default)]
    pub service: String,
    /// The `:authority`; the service's host.
    pub host: Option<String>,
}

/// One status, or a range of them as text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum StatusRange {
    /// `200`.
    One(u16),
    /// `200-299`.
    Text(String),
}

impl HealthCheckPolicy {
    /// Reads the annotation's text, YAML or JSON.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value = load::value(text)?;
        serde_json::from_value(value).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_can_be_said() {
        let text = "http: {path: /up, host: a.test, statuses: [204, 300-399]}\ninterval: 1s\ntimeout: 500ms\n\
                    unhealthyThreshold: 1\nhealthyThreshold: 4\nport: 81\nminHealthPercent: 20\n";
        let policy = HealthCheckPolicy::parse(text).unwrap();
        let probe = policy.http.unwrap();
        assert_eq!((probe.path.as_deref(), probe.host.as_deref()), (Some("/up"), Some("a.test")));
        assert_eq!(probe.statuses, [StatusRange::One(204), StatusRange::Text("300-399".to_owned())]);
        assert_eq!((policy.port, policy.min_health_percent), (Some(81), Some(20)));
        assert_eq!(policy.timeout.unwrap().text(), "500ms");
        assert!(HealthCheckPolicy::parse(r#"{"tcp": {}}"#).unwrap().tcp.is_some());
        assert_eq!(HealthCheckPolicy::parse("grpc: {service: a.B}").unwrap().grpc.unwrap().service, "a.B");
    }

    #[test]
    fn what_cannot_be_read_is_explained() {
        for (text, expected) in [
            ("http: {paths: /}", "unknown field `paths`"),
            ("interval: soon", "soon"),
            ("tcp: {port: 1}", "unknown field `port`"),
            ("[", "did not find expected"),
            ("", "is empty"),
            ("a: 1\n---\nb: 1\n", "one document"),
        ] {
            let error = HealthCheckPolicy::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
