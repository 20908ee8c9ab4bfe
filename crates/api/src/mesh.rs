//! `MeshConfig`: Istio's settings for the whole mesh, as far as they reach a gateway.
//!
//! Every top-level field of Istio's MeshConfig and ProxyConfig has its place here, so that a misspelt one is
//! noticed; those that no gateway reads are kept as plain JSON.

mod proxy;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub use proxy::{
    ConnectionProfile, ConnectionSettings, EscapedSlashesAction, ForwardClientCertDetails, GatewayTopology,
    ProxyConfig, ProxyHeaders, ProxyProtocolConfiguration, ServerHeader, SetCurrentClientCertDetails, Switch,
    Toggle, UnderscoresAction,
};

use crate::networking::{
    ClientTlsSettings, ConnectionPoolSettings, HttpRetry, LocalityLbSetting, OutlierDetection, TcpKeepalive,
    ZoneAwareLbSetting,
};
use crate::wire::Duration;

/// Istio's settings for the whole mesh.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshConfig {
    /// The port sidecars take outbound traffic on.
    pub proxy_listen_port: Option<i32>,
    /// The port sidecars take inbound traffic on.
    pub proxy_inbound_listen_port: Option<i32>,
    /// The port sidecars offer as an HTTP proxy.
    pub proxy_http_port: Option<i32>,
    /// The time limit for opening a connection to a service, where no DestinationRule says. Absent: 10 s.
    pub connect_timeout: Option<Duration>,
    /// The idle limit of tunnels between workloads.
    pub hbone_idle_timeout: Option<Duration>,
    /// How long to wait for the first bytes when guessing a protocol.
    pub protocol_detection_timeout: Option<Duration>,
    /// TCP keep-alive probes towards services, where no DestinationRule says.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// The class of the Ingress objects that are read.
    pub ingress_class: Option<String>,
    /// The Service of the gateway that serves Ingress objects.
    pub ingress_service: Option<String>,
    /// Which Ingress objects are read.
    pub ingress_controller_mode: Option<IngressControllerMode>,
    /// The value of the label `istio` of the gateway that serves Ingress objects.
    pub ingress_selector: Option<String>,
    /// Whether requests are traced.
    pub enable_tracing: Option<bool>,
    /// Where access logs are written. Absent or empty: nowhere.
    pub access_log_file: Option<String>,
    /// The format of access logs.
    pub access_log_format: Option<String>,
    /// Whether access logs are text or JSON.
    pub access_log_encoding: Option<AccessLogEncoding>,
    /// Whether access logs are sent to a gRPC service.
    pub enable_envoy_access_log_service: Option<bool>,
    /// Whether connections that no filter chain takes stay unlogged.
    pub disable_envoy_listener_log: Option<bool>,
    /// Settings of every proxy.
    pub default_config: Option<ProxyConfig>,
    /// What sidecars do with traffic to unknown destinations.
    pub outbound_traffic_policy: Option<Value>,
    /// What sidecars do with traffic to ports they do not know.
    pub inbound_traffic_policy: Option<Value>,
    /// Where configuration comes from.
    pub config_sources: Option<Value>,
    /// Whether workloads of the mesh are spoken to in mutual TLS without being told. Absent: yes.
    pub enable_auto_mtls: Option<bool>,
    /// The trust domain. Absent: `cluster.local`.
    pub trust_domain: Option<String>,
    /// Further names of the trust domain.
    #[serde(default)]
    pub trust_domain_aliases: Vec<String>,
    /// Further authorities for workload certificates.
    pub ca_certificates: Option<Value>,
    /// Who sees a Service or ServiceEntry that does not say. Absent: everyone.
    #[serde(default)]
    pub default_service_export_to: Vec<String>,
    /// Who sees a VirtualService that does not say. Absent: everyone.
    #[serde(default)]
    pub default_virtual_service_export_to: Vec<String>,
    /// Who sees a DestinationRule that does not say. Absent: everyone.
    #[serde(default)]
    pub default_destination_rule_export_to: Vec<String>,
    /// The namespace whose resources apply to the whole mesh. Absent: `istio-system`.
    pub root_namespace: Option<String>,
    /// Preference for near endpoints, where no DestinationRule says.
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// Preference for endpoints of the proxy's own zone, where no DestinationRule says.
    pub zone_aware_lb_setting: Option<ZoneAwareLbSetting>,
    /// How often a name is resolved again after a failure. Absent: 60 s.
    pub dns_refresh_rate: Option<Duration>,
    /// Whether HTTP/1.1 is raised to HTTP/2 towards services.
    pub h2_upgrade_policy: Option<MeshH2UpgradePolicy>,
    /// The pattern of statistics' names for inbound traffic.
    pub inbound_cluster_stat_name: Option<String>,
    /// The pattern of statistics' names for outbound traffic.
    pub outbound_cluster_stat_name: Option<String>,
    /// Deprecated: certificates for services of the control plane.
    pub certificates: Option<Value>,
    /// Settings of single services.
    pub service_settings: Option<Value>,
    /// Which services are visible across clusters.
    pub service_scope_configs: Option<Value>,
    /// How far a ServiceEntry is seen, by namespace.
    pub service_entry_visibility: Option<Value>,
    /// Whether metrics of application and proxy are merged.
    pub enable_prometheus_merge: Option<bool>,
    /// Deprecated: whether server certificates are verified by default.
    pub verify_certificate_at_client: Option<bool>,
    /// The certificate authority of the mesh.
    pub ca: Option<Value>,
    /// External services for authorization, tracing, metrics and logs.
    pub extension_providers: Option<Value>,
    /// Which of the extension providers are used by default.
    pub default_providers: Option<Value>,
    /// Which namespaces are looked at.
    pub discovery_selectors: Option<Value>,
    /// How request paths are normalised before they are matched.
    pub path_normalization: Option<PathNormalization>,
    /// When and how often to try again, where no VirtualService says.
    pub default_http_retry_policy: Option<HttpRetry>,
    /// TLS between workloads.
    #[serde(rename = "meshMTLS")]
    pub mesh_mtls: Option<MeshTlsConfig>,
    /// TLS everywhere else.
    pub tls_defaults: Option<MeshTlsConfig>,
    /// Policy towards services, where no DestinationRule says.
    pub default_traffic_policy: Option<DefaultTrafficPolicy>,
}

/// Which Ingress objects are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IngressControllerMode {
    /// The default, STRICT.
    Unspecified,
    /// None.
    Off,
    /// Those of the class and those without any.
    Default,
    /// Those of the class.
    Strict,
}

/// Whether access logs are text or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccessLogEncoding {
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether HTTP/1.1 is raised to HTTP/2 towards services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MeshH2UpgradePolicy {
    /// No.
    DoNotUpgrade,
    /// Yes.
    Upgrade,
}

/// How request paths are normalised.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub struct PathNormalization {
    /// How far. Absent: DEFAULT.
    pub normalization: Option<NormalizationType>,
}

/// How far request paths are normalised; each includes the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NormalizationType {
    /// BASE.
    Default,
    /// Not at all.
    None,
    /// Dot segments are resolved (RFC 3986 §6.2.2.3), backslashes become slashes.
    Base,
    /// Neighbouring slashes become one.
    MergeSlashes,
    /// Escaped slashes are decoded before.
    DecodeAndMergeSlashes,
}

/// Limits on TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshTlsConfig {
    /// The oldest version. Absent: TLS 1.2.
    pub min_protocol_version: Option<crate::networking::TlsVersion>,
    /// The curves offered.
    #[serde(default)]
    pub ecdh_curves: Vec<String>,
    /// The cipher suites offered up to TLS 1.2.
    #[serde(default)]
    pub cipher_suites: Vec<String>,
}

/// Policy towards services, where no DestinationRule says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefaultTrafficPolicy {
    /// Limits on connections and requests.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When an endpoint that fails is left alone for a while.
    pub outlier_detection: Option<OutlierDetection>,
}

/// A service by address, with TLS towards it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteService {
    /// Host and port.
    pub address: Option<String>,
    /// TLS towards it.
    pub tls_settings: Option<ClientTlsSettings>,
    /// TCP keep-alive probes.
    pub tcp_keepalive: Option<TcpKeepalive>,
}
