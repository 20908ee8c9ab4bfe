//! `DestinationRule`: how traffic to a service is balanced, limited and encrypted.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ConnectionPoolSettings, LoadBalancerSettings, OutlierDetection};
use crate::map::Map;
use crate::schema::constraints;
use crate::wire::{Duration, PortSelector};

/// The spec of a DestinationRule.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRuleSpec {
    /// The service the rule is for; may start with `*.`. A name without a dot is completed with the rule's namespace.
    pub host: String,
    /// The policy for all subsets and ports.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named groups of the service's endpoints.
    #[serde(default)]
    pub subsets: Vec<Subset>,
    /// The namespaces that see this rule: `.` its own, `*` all, or names. Absent: the mesh default.
    #[serde(default)]
    pub export_to: Vec<String>,
    /// The workloads whose traffic the rule shapes. Absent: all that see it.
    pub workload_selector: Option<WorkloadSelector>,
}

/// A choice of workloads by label.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// Labels a workload must carry, all of them.
    #[schemars(transform = constraints::match_labels)]
    #[serde(default)]
    pub match_labels: Map<String>,
}

/// A named group of a service's endpoints.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// The name that destinations refer to.
    pub name: String,
    /// Labels an endpoint must carry, all of them.
    #[serde(default)]
    pub labels: Map<String>,
    /// The policy of this subset; what it leaves out comes from the rule's policy.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// How traffic to a service is treated.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// How an endpoint is picked.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Limits on connections and requests.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When an endpoint that fails is left alone for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the endpoints.
    pub tls: Option<ClientTlsSettings>,
    /// Policies for single ports. A port that is listed inherits nothing from the rule's policy.
    #[schemars(transform = constraints::port_settings)]
    #[serde(default)]
    pub port_level_settings: Vec<PortTrafficPolicy>,
    /// Carry TCP and TLS traffic through a proxy by HTTP CONNECT or POST.
    pub tunnel: Option<TunnelSettings>,
    /// Send a PROXY protocol header to the endpoints.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// A limit on concurrent retries relative to the requests in flight.
    pub retry_budget: Option<RetryBudget>,
}

/// How traffic to one port of a service is treated.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortTrafficPolicy {
    /// The port of the service.
    pub port: Option<PortSelector>,
    /// How an endpoint is picked.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Limits on connections and requests.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When an endpoint that fails is left alone for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the endpoints.
    pub tls: Option<ClientTlsSettings>,
}

/// A tunnel through another proxy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelSettings {
    /// The method that opens the tunnel, CONNECT or POST. Absent: CONNECT.
    pub protocol: Option<String>,
    /// The host the tunnel leads to.
    pub target_host: String,
    /// The port the tunnel leads to.
    pub target_port: u32,
}

/// The PROXY protocol towards the endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProtocol {
    /// The version of the header. Absent: V1.
    pub version: Option<ProxyProtocolVersion>,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum ProxyProtocolVersion {
    /// The text header.
    V1,
    /// The binary header.
    V2,
}

/// A limit on concurrent retries.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// Concurrent retries allowed, in percent (0.0 to 100.0) of the requests in flight. Absent: 20.
    #[schemars(transform = constraints::percent)]
    #[schemars(extend("nullable" = true))]
    pub percent: Option<f64>,
    /// Concurrent retries that are always allowed. Absent: 3.
    pub min_retry_concurrency: Option<u32>,
    /// The window over which requests are counted.
    pub budget_interval: Option<Duration>,
}

/// TLS towards the endpoints.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientTlsSettings {
    /// Whether TLS is spoken and with which certificate. Absent: DISABLE.
    pub mode: Option<ClientTlsMode>,
    /// Path of the file with the client certificate chain.
    pub client_certificate: Option<String>,
    /// Path of the file with the client's private key.
    pub private_key: Option<String>,
    /// Path of the file with the authorities a server certificate must chain to. Absent: the system's.
    pub ca_certificates: Option<String>,
    /// The Secret with authorities and client certificate, in the gateway workload's namespace.
    pub credential_name: Option<String>,
    /// Names of which the server certificate must carry at least one.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
    /// The server name to send. Absent: the request's authority.
    pub sni: Option<String>,
    /// Accept any server certificate.
    #[schemars(extend("nullable" = true))]
    pub insecure_skip_verify: Option<bool>,
    /// Path of the file with the revocation list for server certificates.
    pub ca_crl: Option<String>,
}

/// Whether TLS is spoken to the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    /// No TLS.
    Disable,
    /// TLS without a client certificate.
    Simple,
    /// TLS with a client certificate.
    Mutual,
    /// TLS with the mesh's own certificates.
    IstioMutual,
}
