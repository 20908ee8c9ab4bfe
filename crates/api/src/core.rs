//! The kinds of Kubernetes itself that routing depends on, reduced to what is written in them.
//!
//! These are types of our own rather than generated bindings for three reasons. A gateway holds one such object per
//! Service, EndpointSlice and Pod of the cluster, and the bindings' types are several times larger; a Secret here
//! cannot show its values in a `Debug`; and all kinds share one path from text to type, with the same findings.
//! Service, EndpointSlice, Endpoints, Secret and ConfigMap have every field of their schema, so that a misspelt one
//! is noticed; Pod and Namespace have only what is used, and unknown fields in them are not judged.

mod endpoints;
mod ingress;
mod secret;
mod service;

use schemars::JsonSchema;
use serde::Deserialize;

pub use endpoints::{
    Endpoint, EndpointAddress, EndpointConditions, EndpointHints, EndpointPort, EndpointSliceBody,
    EndpointSubset, EndpointsBody, ForName, ObjectReference,
};
pub use ingress::{
    IngressBackend, IngressPath, IngressPaths, IngressPort, IngressResource, IngressRule, IngressService,
    IngressSpec, IngressTls,
};
pub use secret::{SecretBody, SecretText};
pub use service::{ClientIpConfig, ServicePort, ServiceSpec, SessionAffinityConfig};

use crate::map::Map;
use crate::wire::Bytes;

/// The fields of a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapBody {
    /// Text by key.
    #[serde(default)]
    pub data: Map<String>,
    /// Bytes by key.
    #[serde(default)]
    pub binary_data: Map<Bytes>,
    /// Whether the API server refuses changes.
    pub immutable: Option<bool>,
}

/// The fields of a Namespace: none beside its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct NamespaceBody {}

/// The fields of a Pod that are used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct PodBody {
    /// Where and as whom it runs.
    pub spec: Option<PodSpec>,
    /// How it is.
    pub status: Option<PodStatus>,
}

/// Where and as whom a Pod runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct PodSpec {
    /// The node it runs on.
    pub node_name: Option<String>,
    /// Its service account.
    pub service_account_name: Option<String>,
    /// Whether it shares the node's network.
    pub host_network: Option<bool>,
}

/// How a Pod is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct PodStatus {
    /// Pending, Running, Succeeded, Failed or Unknown.
    pub phase: Option<String>,
    /// Its address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// Its addresses, one for each family.
    #[serde(default, rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
    /// What is true of it, readiness among others.
    #[serde(default)]
    pub conditions: Vec<PodCondition>,
}

/// Something that is true of a Pod, or not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct PodCondition {
    /// `Ready` and others.
    pub r#type: Option<String>,
    /// True, False or Unknown.
    pub status: Option<String>,
}

/// One address of a Pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub struct PodIp {
    /// The address.
    pub ip: Option<String>,
}
