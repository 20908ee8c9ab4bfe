//! `EndpointSlice` and the older `Endpoints`: which addresses are behind a Service.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::map::Map;

/// The fields of an EndpointSlice. The Service it belongs to is named by the label `kubernetes.io/service-name`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSliceBody {
    /// IPv4, IPv6 or FQDN.
    pub address_type: String,
    /// The endpoints.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// The ports that every endpoint has.
    #[serde(default)]
    pub ports: Vec<EndpointPort>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its addresses; more than one has no meaning yet.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// How it is.
    #[serde(default)]
    pub conditions: EndpointConditions,
    /// Its host name.
    pub hostname: Option<Box<str>>,
    /// The object behind it, mostly a Pod.
    pub target_ref: Option<Box<ObjectReference>>,
    /// Deprecated: topology labels.
    #[serde(default)]
    pub deprecated_topology: Map<String>,
    /// The node it runs on.
    pub node_name: Option<Box<str>>,
    /// The zone it is in.
    pub zone: Option<Box<str>>,
    /// Which consumers should use it.
    pub hints: Option<Box<EndpointHints>>,
}

/// How an endpoint is. What is absent counts as true for `ready` and `serving`, as false for `terminating`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointConditions {
    /// It should get traffic.
    pub ready: Option<bool>,
    /// It answers, even if it is about to end.
    pub serving: Option<bool>,
    /// It is about to end.
    pub terminating: Option<bool>,
}

/// Which consumers should use an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointHints {
    /// Those in these zones.
    #[serde(default)]
    pub for_zones: Vec<ForName>,
    /// Those on these nodes.
    #[serde(default)]
    pub for_nodes: Vec<ForName>,
}

/// A zone or node, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub struct ForName {
    /// The name.
    pub name: String,
}

/// A port of an EndpointSlice or Endpoints object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPort {
    /// The name of the Service's port. Absent: the Service's only, unnamed port.
    pub name: Option<Box<str>>,
    /// TCP, UDP or SCTP. Absent: TCP.
    pub protocol: Option<Box<str>>,
    /// The port number at the endpoints. Absent: all ports.
    pub port: Option<i32>,
    /// What is spoken on the port.
    pub app_protocol: Option<Box<str>>,
}

/// A reference to another object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// The object's API version.
    pub api_version: Option<Box<str>>,
    /// The object's kind.
    pub kind: Option<Box<str>>,
    /// The object's namespace.
    pub namespace: Option<Box<str>>,
    /// The object's name.
    pub name: Option<Box<str>>,
    /// The object's identity.
    pub uid: Option<Box<str>>,
    /// The version of the object that was seen.
    pub resource_version: Option<Box<str>>,
    /// A part of the object.
    pub field_path: Option<Box<str>>,
}

/// The fields of an Endpoints object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointsBody {
    /// Addresses that share their ports.
    #[serde(default)]
    pub subsets: Vec<EndpointSubset>,
}

/// Addresses that share their ports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSubset {
    /// Addresses that should get traffic.
    #[serde(default)]
    pub addresses: Vec<EndpointAddress>,
    /// Addresses that should not get traffic yet.
    #[serde(default)]
    pub not_ready_addresses: Vec<EndpointAddress>,
    /// The ports that every address has.
    #[serde(default)]
    pub ports: Vec<EndpointPort>,
}

/// One address of an Endpoints object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointAddress {
    /// The address.
    pub ip: String,
    /// The host name.
    pub hostname: Option<Box<str>>,
    /// The node it is on.
    pub node_name: Option<Box<str>>,
    /// The object behind it, mostly a Pod.
    pub target_ref: Option<Box<ObjectReference>>,
}
