//! `VirtualService`: which requests and connections go where.

use schemars::JsonSchema;
use serde::Deserialize;

use super::HttpRoute;
use crate::map::Map;
use crate::wire::PortSelector;

/// The spec of a VirtualService.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServiceSpec {
    /// The host names this resource routes; a name may start with `*.` or be `*`. Empty only for a delegate.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The Gateways it applies to, each `name` or `namespace/name`; `mesh` stands for sidecars. Absent: `mesh` alone.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// Rules for HTTP traffic; the first that matches wins.
    #[serde(default)]
    pub http: Vec<HttpRoute>,
    /// Rules for TLS traffic that is not terminated, by SNI; the first that matches wins.
    #[serde(default)]
    pub tls: Vec<TlsRoute>,
    /// Rules for opaque TCP traffic; the first that matches wins.
    #[serde(default)]
    pub tcp: Vec<TcpRoute>,
    /// The namespaces that see this resource: `.` its own, `*` all, or names. Absent: the mesh default.
    #[serde(default)]
    pub export_to: Vec<String>,
}

/// Where traffic goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// A service of the registry. A name without a dot is completed with the resource's namespace.
    pub host: String,
    /// A subset defined by the service's DestinationRule.
    pub subset: Option<String>,
    /// The port of the service. May be left out where the service has only one.
    pub port: Option<PortSelector>,
}

/// One weighted destination of a TLS or TCP rule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteDestination {
    /// Where the connection goes.
    pub destination: Destination,
    /// Its share of the connections, relative to the rule's other weights.
    pub weight: Option<i32>,
}

/// A rule for TLS connections that are passed through.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsRoute {
    /// Conditions; one that holds is enough.
    #[serde(rename = "match")]
    pub matches: Vec<TlsMatchAttributes>,
    /// The weighted destinations.
    #[serde(default)]
    pub route: Vec<RouteDestination>,
}

/// One condition of a TLS rule: everything set must hold.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsMatchAttributes {
    /// Server names (SNI) to match; a name may start with `*.` or be `*`.
    pub sni_hosts: Vec<String>,
    /// Destination addresses or CIDR blocks. Without meaning at a gateway.
    #[serde(default)]
    pub destination_subnets: Vec<String>,
    /// The port number of the Gateway's server.
    pub port: Option<u32>,
    /// Labels of the workload the rule applies to; at a gateway, its own.
    #[serde(default)]
    pub source_labels: Map<String>,
    /// The Gateways this condition is for, in place of the resource's list.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// The namespace of the workload the rule applies to; at a gateway, its own.
    pub source_namespace: Option<String>,
}

/// A rule for opaque TCP connections.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpRoute {
    /// Conditions; one that holds is enough. Empty: every connection.
    #[serde(default, rename = "match")]
    pub matches: Vec<L4MatchAttributes>,
    /// The weighted destinations.
    #[serde(default)]
    pub route: Vec<RouteDestination>,
}

/// One condition of a TCP rule: everything set must hold.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct L4MatchAttributes {
    /// Destination addresses or CIDR blocks. Without meaning at a gateway.
    #[serde(default)]
    pub destination_subnets: Vec<String>,
    /// The port number of the Gateway's server.
    pub port: Option<u32>,
    /// The client's address or CIDR block. Not implemented by Istio.
    pub source_subnet: Option<String>,
    /// Labels of the workload the rule applies to; at a gateway, its own.
    #[serde(default)]
    pub source_labels: Map<String>,
    /// The Gateways this condition is for, in place of the resource's list.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// The namespace of the workload the rule applies to; at a gateway, its own.
    pub source_namespace: Option<String>,
}
