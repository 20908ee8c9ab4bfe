//! Limits on connections and requests, and the ejection of endpoints that fail.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::schema::constraints;
use crate::wire::Duration;

/// Limits on connections and requests.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionPoolSettings {
    /// Settings of HTTP and TCP connections alike.
    pub tcp: Option<TcpSettings>,
    /// Settings of HTTP connections.
    pub http: Option<HttpSettings>,
}

/// Settings of connections.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpSettings {
    /// The most connections to the service. Absent: 2^32-1.
    pub max_connections: Option<i32>,
    /// The time limit for opening a connection, at least 1 ms. Absent: 10 s.
    #[schemars(transform = constraints::at_least_1ms)]
    pub connect_timeout: Option<Duration>,
    /// TCP keep-alive probes.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// The longest life of a connection, at least 1 ms. Absent: no limit.
    #[schemars(transform = constraints::at_least_1ms)]
    pub max_connection_duration: Option<Duration>,
    /// How long a TCP connection may be silent; zero means for ever. Absent: 1 h.
    pub idle_timeout: Option<Duration>,
}

/// TCP keep-alive probes.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpKeepalive {
    /// How many probes may stay unanswered. Absent: the system's setting.
    pub probes: Option<u32>,
    /// How long a connection is silent before the first probe. Absent: the system's setting.
    #[schemars(transform = constraints::at_least_1ms)]
    pub time: Option<Duration>,
    /// The time between probes. Absent: the system's setting.
    #[schemars(transform = constraints::at_least_1ms)]
    pub interval: Option<Duration>,
}

/// Settings of HTTP connections.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpSettings {
    /// The most requests that wait for a connection. Absent: 2^32-1.
    pub http1_max_pending_requests: Option<i32>,
    /// The most requests in flight, whatever the HTTP version. Absent: 2^32-1.
    pub http2_max_requests: Option<i32>,
    /// The most requests on one connection; 0 is no limit, 1 switches keep-alive off. Absent: no limit.
    pub max_requests_per_connection: Option<i32>,
    /// The most retries in flight. Absent: 2^32-1.
    pub max_retries: Option<i32>,
    /// How long a connection without requests is kept. Absent: 1 h.
    #[schemars(transform = constraints::at_least_1ms)]
    pub idle_timeout: Option<Duration>,
    /// Whether HTTP/1.1 is raised to HTTP/2 towards the service.
    pub h2_upgrade_policy: Option<H2UpgradePolicy>,
    /// Speak to the service in the client's HTTP version. Excludes `h2UpgradePolicy: UPGRADE`.
    pub use_client_protocol: Option<bool>,
    /// The most streams on one HTTP/2 connection. Absent: 2^31-1.
    pub max_concurrent_streams: Option<i32>,
    /// HTTP/2 PING frames that keep connections alive.
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

/// HTTP/2 PING frames that keep connections alive.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Http2KeepAlive {
    /// The time between PING frames.
    #[schemars(transform = constraints::at_least_1ms)]
    pub interval: Option<Duration>,
    /// How long to wait for the answer to a PING frame.
    #[schemars(transform = constraints::at_least_1ms)]
    pub timeout: Option<Duration>,
}

/// Whether HTTP/1.1 is raised to HTTP/2 towards a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    /// As the mesh says.
    Default,
    /// No.
    DoNotUpgrade,
    /// Yes.
    Upgrade,
}

/// When an endpoint that fails is left alone for a while.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// Deprecated: use `consecutiveGatewayErrors` or `consecutive5xxErrors`.
    pub consecutive_errors: Option<i32>,
    /// Count failures of the connection apart from answers of the endpoint.
    pub split_external_local_origin_errors: Option<bool>,
    /// Local failures in a row before ejection, when counted apart. Absent: 5.
    #[schemars(extend("nullable" = true))]
    pub consecutive_local_origin_failures: Option<u32>,
    /// Answers 502, 503 or 504 in a row before ejection; 0 or absent: off.
    #[schemars(extend("nullable" = true))]
    pub consecutive_gateway_errors: Option<u32>,
    /// Answers 5xx in a row before ejection; 0: off. Absent: 5.
    #[schemars(extend("nullable" = true))]
    #[serde(rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<u32>,
    /// The time between sweeps. Absent: 10 s.
    #[schemars(transform = constraints::at_least_1ms)]
    pub interval: Option<Duration>,
    /// The shortest ejection; multiplied by the number of ejections so far. Absent: 30 s.
    #[schemars(transform = constraints::at_least_1ms)]
    pub base_ejection_time: Option<Duration>,
    /// The most endpoints ejected at a time, in percent. Absent: 10.
    pub max_ejection_percent: Option<i32>,
    /// The share of healthy endpoints, in percent, below which health is ignored. Absent: 0.
    pub min_health_percent: Option<i32>,
    /// Status codes, 100 to 599, that count as errors in place of 5xx.
    #[schemars(transform = constraints::statuses)]
    #[serde(default)]
    pub outlier_detection_http_error_codes: Vec<u32>,
}
