//! `Service`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::map::Map;
use crate::wire::IntOrString;

/// The spec of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// The ports.
    #[serde(default)]
    pub ports: Vec<ServicePort>,
    /// Labels of the Pods behind the Service.
    #[serde(default)]
    pub selector: Map<String>,
    /// The virtual address; `None` for a headless Service.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<Box<str>>,
    /// The virtual addresses, one for each family.
    #[serde(default, rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// ClusterIP, NodePort, LoadBalancer or ExternalName.
    #[serde(rename = "type")]
    pub kind: Option<Box<str>>,
    /// Further addresses at which nodes take traffic for the Service.
    #[serde(default, rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// None or ClientIP.
    pub session_affinity: Option<Box<str>>,
    /// Settings of the session affinity.
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// Deprecated: the address the load balancer should take.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: Option<Box<str>>,
    /// Client address blocks the load balancer lets through.
    #[serde(default)]
    pub load_balancer_source_ranges: Vec<String>,
    /// The name an ExternalName Service stands for.
    pub external_name: Option<Box<str>>,
    /// Cluster or Local: whether traffic from outside stays on the node it reached.
    pub external_traffic_policy: Option<Box<str>>,
    /// The node port of the load balancer's health check.
    pub health_check_node_port: Option<i32>,
    /// Whether endpoints that are not ready count as ready.
    pub publish_not_ready_addresses: Option<bool>,
    /// IPv4 and IPv6, in order of preference.
    #[serde(default)]
    pub ip_families: Vec<String>,
    /// SingleStack, PreferDualStack or RequireDualStack.
    pub ip_family_policy: Option<Box<str>>,
    /// Whether node ports are taken for a LoadBalancer.
    pub allocate_load_balancer_node_ports: Option<bool>,
    /// Which load balancer implementation is meant.
    pub load_balancer_class: Option<Box<str>>,
    /// Cluster or Local: whether traffic from inside stays on its node.
    pub internal_traffic_policy: Option<Box<str>>,
    /// A preference for near endpoints.
    pub traffic_distribution: Option<Box<str>>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// A name, unique in the Service. Its part before the first `-` may tell the protocol.
    pub name: Option<Box<str>>,
    /// TCP, UDP or SCTP. Absent: TCP.
    pub protocol: Option<Box<str>>,
    /// What is spoken on the port; wins over the name.
    pub app_protocol: Option<Box<str>>,
    /// The port number.
    pub port: i32,
    /// The number or name of the port at the Pods. Absent: `port`.
    pub target_port: Option<IntOrString>,
    /// The port on every node.
    pub node_port: Option<i32>,
}

/// Settings of a Service's session affinity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub struct SessionAffinityConfig {
    /// Settings of affinity by client address.
    #[serde(rename = "clientIP")]
    pub client_ip: Option<ClientIpConfig>,
}

/// Settings of affinity by client address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientIpConfig {
    /// How long it lasts, in seconds.
    pub timeout_seconds: Option<i32>,
}
