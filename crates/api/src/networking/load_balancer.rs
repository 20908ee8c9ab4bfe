//! How an endpoint is picked.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::map::Map;
use crate::schema::constraints;
use crate::wire::Duration;

/// How an endpoint is picked. `simple` and `consistentHash` exclude each other.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = constraints::load_balancer)]
pub struct LoadBalancerSettings {
    /// A standard algorithm.
    pub simple: Option<SimpleLb>,
    /// Affinity by a hash of the request.
    pub consistent_hash: Option<ConsistentHash>,
    /// Shares by the load that endpoints report.
    pub backend_utilization: Option<BackendUtilization>,
    /// Preference for near endpoints, in place of the mesh's setting.
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// Preference for endpoints of the proxy's own zone.
    pub zone_aware_lb_setting: Option<ZoneAwareLbSetting>,
    /// Deprecated: how long a new endpoint's share grows. Use `warmup`.
    #[schemars(transform = constraints::at_least_1ms)]
    pub warmup_duration_secs: Option<Duration>,
    /// How a new endpoint's share grows.
    pub warmup: Option<Warmup>,
}

/// A standard algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLb {
    /// The default, LEAST_REQUEST.
    Unspecified,
    /// Deprecated name of LEAST_REQUEST.
    LeastConn,
    /// Any endpoint with equal chance.
    Random,
    /// The address the client wanted. Without meaning at a gateway.
    Passthrough,
    /// One after the other.
    RoundRobin,
    /// Of two random endpoints the one with fewer requests in flight.
    LeastRequest,
}

/// Shares by the load that endpoints report.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendUtilization {
    /// The metrics of a report that count; the highest wins. Absent: the application's own utilization.
    #[serde(default)]
    pub metric_names_for_computing_utilization: Vec<String>,
    /// How much errors count against an endpoint, in percent. Absent: 0.
    pub error_utilization_penalty_percent: Option<u32>,
    /// The time between changes of the shares.
    pub weight_update_period: Option<Duration>,
    /// How long an endpoint must have reported before its share changes.
    pub weight_stabilization_period: Option<Duration>,
    /// How long a share lasts without a new report.
    pub weight_expiration_period: Option<Duration>,
}

/// Affinity by a hash of the request: one source of the hash and one algorithm.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = constraints::consistent_hash)]
pub struct ConsistentHash {
    /// Hash the value of this request header.
    pub http_header_name: Option<String>,
    /// Hash the value of this cookie.
    pub http_cookie: Option<HttpCookie>,
    /// Hash the client's address.
    pub use_source_ip: Option<bool>,
    /// Hash the value of this query parameter.
    pub http_query_parameter_name: Option<String>,
    /// The ring algorithm.
    pub ring_hash: Option<RingHash>,
    /// The Maglev algorithm.
    pub maglev: Option<Maglev>,
    /// Deprecated: the least number of points on the ring. Use `ringHash.minimumRingSize`.
    pub minimum_ring_size: Option<u64>,
}

/// A cookie that carries the affinity.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpCookie {
    /// The cookie's name.
    pub name: String,
    /// The path of a cookie made by the proxy.
    pub path: Option<String>,
    /// The lifetime of a cookie made by the proxy; zero makes a session cookie. Absent: no cookie is made.
    pub ttl: Option<Duration>,
    /// Further attributes of a cookie made by the proxy.
    #[serde(default)]
    pub attributes: Vec<HttpCookieAttribute>,
}

/// An attribute of a cookie.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpCookieAttribute {
    /// The attribute's name.
    pub name: String,
    /// The attribute's value. Absent: the name stands alone.
    pub value: Option<String>,
}

/// The ring algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RingHash {
    /// The least number of points on the ring. Absent: 1024.
    pub minimum_ring_size: Option<u64>,
}

/// The Maglev algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Maglev {
    /// The size of the table, a prime number. Absent: 65537.
    pub table_size: Option<u64>,
}

/// Preference for near endpoints. `distribute`, `failover` and `failoverPriority` exclude each other in part.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalityLbSetting {
    /// Fixed shares of the traffic from one locality to others.
    #[serde(default)]
    pub distribute: Vec<LocalityDistribute>,
    /// Which region takes over when another one fails.
    #[serde(default)]
    pub failover: Vec<LocalityFailover>,
    /// Labels by which endpoints are ranked, the most important first.
    #[serde(default)]
    pub failover_priority: Vec<String>,
    /// Whether the preference is on. Absent: as the mesh says.
    #[schemars(extend("nullable" = true))]
    pub enabled: Option<bool>,
}

/// Fixed shares of the traffic from one locality.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalityDistribute {
    /// The locality of the proxy, `region/zone/subzone`; `*` may end it.
    pub from: Option<String>,
    /// Localities of endpoints with their shares in percent, 100 in all.
    #[serde(default)]
    pub to: Map<u32>,
}

/// Which region takes over from another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalityFailover {
    /// The region that fails.
    pub from: Option<String>,
    /// The region that takes over.
    pub to: Option<String>,
}

/// Preference for endpoints of the proxy's own zone.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZoneAwareLbSetting {
    /// Which region takes over when another one fails.
    #[serde(default)]
    pub failover: Vec<LocalityFailover>,
    /// Labels by which endpoints are ranked, the most important first.
    #[serde(default)]
    pub failover_priority: Vec<String>,
    /// Whether the preference is on. Absent: as the mesh says.
    #[schemars(extend("nullable" = true))]
    pub enabled: Option<bool>,
    /// The number of endpoints below which zones are not looked at.
    #[schemars(transform = constraints::positive)]
    #[schemars(extend("nullable" = true))]
    pub min_cluster_size: Option<u64>,
}

/// How a new endpoint's share grows.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Warmup {
    /// How long it grows.
    #[schemars(transform = constraints::at_least_1ms)]
    pub duration: Duration,
    /// The share in percent (0.0 to 100.0) it starts from. Absent: 10.
    #[schemars(transform = constraints::percent)]
    #[schemars(extend("nullable" = true))]
    pub minimum_percent: Option<f64>,
    /// How fast it grows at the start; 1.0 is linear. Absent: 1.0.
    #[schemars(transform = constraints::not_negative)]
    #[schemars(extend("nullable" = true))]
    pub aggression: Option<f64>,
}
