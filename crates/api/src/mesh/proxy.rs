//! `ProxyConfig`: settings of every proxy of the mesh.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::RemoteService;
use crate::map::Map;
use crate::wire::Duration;

/// Settings of every proxy.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyConfig {
    /// Where the proxy keeps its generated configuration.
    pub config_path: Option<String>,
    /// The proxy's binary.
    pub binary_path: Option<String>,
    /// The name of the service the proxy belongs to.
    pub service_cluster: Option<String>,
    /// How the service is named in traces.
    pub tracing_service_name: Option<String>,
    /// How long connections may go on when a listener closes. Absent: 45 s.
    pub drain_duration: Option<Duration>,
    /// The address of the control plane.
    pub discovery_address: Option<String>,
    /// Deprecated: the delay between polls of the control plane.
    pub discovery_refresh_delay: Option<Duration>,
    /// Deprecated: the address of a Zipkin collector.
    pub zipkin_address: Option<String>,
    /// The address of a statsd collector.
    pub statsd_udp_address: Option<String>,
    /// Deprecated: the address of a metrics service.
    pub envoy_metrics_service_address: Option<String>,
    /// The proxy's administration port.
    pub proxy_admin_port: Option<i32>,
    /// Deprecated: the zone of the proxy.
    pub availability_zone: Option<String>,
    /// How proxies authenticate to the control plane.
    pub control_plane_auth_policy: Option<String>,
    /// A file that replaces the generated configuration.
    pub custom_config_file: Option<String>,
    /// The greatest length of a statistic's name.
    pub stat_name_length: Option<i32>,
    /// The number of worker threads; 0 is one for each core.
    pub concurrency: Option<i32>,
    /// The template of the proxy's first configuration.
    pub proxy_bootstrap_template_path: Option<String>,
    /// How traffic is redirected to a sidecar.
    pub interception_mode: Option<String>,
    /// Settings of tracing.
    pub tracing: Option<Value>,
    /// Deprecated: settings of secret discovery.
    pub sds: Option<Value>,
    /// A service that takes access logs.
    pub envoy_access_log_service: Option<RemoteService>,
    /// A service that takes metrics.
    pub envoy_metrics_service: Option<RemoteService>,
    /// Environment variables of the proxy.
    #[serde(default)]
    pub proxy_metadata: Map<String>,
    /// Feature flags of the proxy.
    #[serde(default)]
    pub runtime_values: Map<String>,
    /// The port of the readiness probe. Absent: 15020.
    pub status_port: Option<i32>,
    /// Labels that may appear in statistics.
    #[serde(default)]
    pub extra_stat_tags: Vec<String>,
    /// What stands in front of the gateway.
    pub gateway_topology: Option<GatewayTopology>,
    /// How long a proxy that ends goes on serving. Absent: 5 s.
    pub termination_drain_duration: Option<Duration>,
    /// The identity of the mesh.
    pub mesh_id: Option<String>,
    /// The readiness probe of a virtual machine's workload.
    pub readiness_probe: Option<Value>,
    /// Which of the proxy's statistics are kept.
    pub proxy_stats_matcher: Option<Value>,
    /// Whether the application waits for its proxy.
    pub hold_application_until_proxy_starts: Option<bool>,
    /// Further authorities, in PEM.
    #[serde(default)]
    pub ca_certificates_pem: Vec<String>,
    /// Which image of the proxy is used.
    pub image: Option<Value>,
    /// Hardware that holds private keys.
    pub private_key_provider: Option<Value>,
    /// Which headers the proxy adds to requests and responses.
    pub proxy_headers: Option<ProxyHeaders>,
    /// How often access logs are flushed.
    pub file_flush_interval: Option<Duration>,
    /// How many KiB of access log are gathered before a flush.
    pub file_flush_min_size_kb: Option<u32>,
    /// Whether metrics are served compressed.
    pub stats_compression: Option<bool>,
    /// Limits on connections and streams.
    pub connection_settings: Option<ConnectionSettings>,
}

/// What stands in front of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayTopology {
    /// How many proxies in front are trusted to have written `x-forwarded-for`. Absent: 0.
    pub num_trusted_proxies: Option<u32>,
    /// What becomes of `x-forwarded-client-cert`. Absent: SANITIZE.
    pub forward_client_cert_details: Option<ForwardClientCertDetails>,
    /// Set, even if empty: clients send a PROXY protocol header.
    pub proxy_protocol: Option<ProxyProtocolConfiguration>,
}

/// That clients send a PROXY protocol header; it has no settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub struct ProxyProtocolConfiguration {}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ForwardClientCertDetails {
    /// The default.
    Undefined,
    /// It is removed.
    Sanitize,
    /// It is kept if the client spoke mutual TLS.
    ForwardOnly,
    /// The client's certificate is appended if the client spoke mutual TLS.
    AppendForward,
    /// It is replaced by the client's certificate if the client spoke mutual TLS.
    SanitizeSet,
    /// It is kept whatever the client spoke.
    AlwaysForwardOnly,
}

/// Which headers the proxy adds.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyHeaders {
    /// What becomes of `x-forwarded-client-cert`.
    pub forwarded_client_cert: Option<ForwardClientCertDetails>,
    /// What of a client certificate goes into `x-forwarded-client-cert`.
    pub set_current_client_cert_details: Option<SetCurrentClientCertDetails>,
    /// `x-request-id`.
    pub request_id: Option<Switch>,
    /// `server`.
    pub server: Option<ServerHeader>,
    /// `x-envoy-attempt-count`.
    pub attempt_count: Option<Switch>,
    /// Headers such as `x-envoy-upstream-service-time`.
    pub envoy_debug_headers: Option<Switch>,
    /// Headers by which proxies of a mesh know one another.
    pub metadata_exchange_headers: Option<Value>,
    /// Whether the case of HTTP/1.1 header names is kept.
    #[serde(rename = "preserveHttp1HeaderCase")]
    pub preserve_http1_header_case: Option<bool>,
    /// `x-forwarded-host`.
    pub x_forwarded_host: Option<Toggle>,
    /// `x-forwarded-port`.
    pub x_forwarded_port: Option<Toggle>,
}

/// A header that is on unless switched off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub struct Switch {
    /// Whether it is off.
    pub disabled: Option<bool>,
}

/// A header that is off unless switched on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub struct Toggle {
    /// Whether it is on.
    pub enabled: Option<bool>,
}

/// The header `server`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub struct ServerHeader {
    /// Whether it is off.
    pub disabled: Option<bool>,
    /// Its value. Absent: `istio-envoy`.
    pub value: Option<String>,
}

/// What of a client certificate goes into `x-forwarded-client-cert`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub struct SetCurrentClientCertDetails {
    /// The subject. Absent: yes.
    pub subject: Option<bool>,
    /// The certificate in PEM.
    pub cert: Option<bool>,
    /// The chain in PEM.
    pub chain: Option<bool>,
    /// DNS names. Absent: yes.
    pub dns: Option<bool>,
    /// URIs. Absent: yes.
    pub uri: Option<bool>,
}

/// Limits on connections and streams.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionSettings {
    /// A set of defaults.
    pub profile: Option<ConnectionProfile>,
    /// Bytes buffered on a client's connection.
    pub listener_per_connection_buffer_limit_bytes: Option<i32>,
    /// Bytes buffered on a connection to a service.
    pub cluster_per_connection_buffer_limit_bytes: Option<i32>,
    /// How long a client's connection may be without requests.
    pub http_idle_timeout: Option<Duration>,
    /// The longest life of a client's connection.
    pub http_max_connection_duration: Option<Duration>,
    /// How long a connection that is closed may go on.
    pub http_drain_timeout: Option<Duration>,
    /// The time limit for receiving a whole request.
    pub http_request_timeout: Option<Duration>,
    /// The time limit for receiving a request's headers.
    pub http_request_headers_timeout: Option<Duration>,
    /// How long a request may be silent.
    pub http_stream_idle_timeout: Option<Duration>,
    /// The longest life of a request.
    pub http_max_stream_duration: Option<Duration>,
    /// Streams on one HTTP/2 connection.
    pub http_max_concurrent_streams: Option<i32>,
    /// The initial window of an HTTP/2 stream, in bytes.
    #[serde(rename = "http2InitialStreamWindowSize")]
    pub http2_initial_stream_window_size: Option<i32>,
    /// The initial window of an HTTP/2 connection, in bytes.
    #[serde(rename = "http2InitialConnectionWindowSize")]
    pub http2_initial_connection_window_size: Option<i32>,
    /// What becomes of header names with underscores.
    pub http_headers_with_underscores_action: Option<UnderscoresAction>,
    /// Whether neighbouring slashes of a path become one.
    pub http_merge_slashes: Option<bool>,
    /// What becomes of paths with escaped slashes.
    pub http_path_with_escaped_slashes_action: Option<EscapedSlashesAction>,
    /// Connections to one listener.
    pub listener_connection_limit: Option<i32>,
    /// Connections to all listeners.
    pub global_downstream_connection_limit: Option<i32>,
}

/// A set of defaults for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionProfile {
    /// For trusted clients.
    Sidecar,
    /// For untrusted clients.
    Edge,
}

/// What becomes of header names with underscores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum UnderscoresAction {
    /// The default.
    #[serde(rename = "HEADERS_WITH_UNDERSCORES_UNSPECIFIED")]
    Unspecified,
    /// They pass.
    #[serde(rename = "HEADERS_WITH_UNDERSCORES_ALLOW")]
    Allow,
    /// The request is refused.
    #[serde(rename = "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST")]
    RejectRequest,
    /// The header is removed.
    #[serde(rename = "HEADERS_WITH_UNDERSCORES_DROP_HEADER")]
    DropHeader,
}

/// What becomes of paths with escaped slashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EscapedSlashesAction {
    /// The default.
    #[serde(rename = "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED")]
    Unspecified,
    /// They pass.
    KeepUnchanged,
    /// The request is refused.
    RejectRequest,
    /// The client is redirected to the decoded path.
    UnescapeAndRedirect,
    /// The decoded path is used.
    UnescapeAndForward,
}
