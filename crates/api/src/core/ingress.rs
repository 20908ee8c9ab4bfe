//! `Ingress`.

use schemars::JsonSchema;
use serde::Deserialize;

/// The spec of an Ingress.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressSpec {
    /// The IngressClass, which names the controller.
    pub ingress_class_name: Option<String>,
    /// Where requests go that no rule takes.
    pub default_backend: Option<IngressBackend>,
    /// Certificates by host.
    #[serde(default)]
    pub tls: Vec<IngressTls>,
    /// Rules by host.
    #[serde(default)]
    pub rules: Vec<IngressRule>,
}

/// The certificate of some hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressTls {
    /// The hosts.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The Secret with certificate and key.
    pub secret_name: Option<String>,
}

/// The paths of one host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressRule {
    /// The host; absent: every one.
    pub host: Option<String>,
    /// Its paths.
    pub http: Option<IngressPaths>,
}

/// Paths with their backends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressPaths {
    /// The paths.
    #[serde(default)]
    pub paths: Vec<IngressPath>,
}

/// A path with its backend.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressPath {
    /// The path; absent: every one.
    pub path: Option<String>,
    /// Exact, Prefix or ImplementationSpecific.
    pub path_type: Option<String>,
    /// Where to.
    pub backend: IngressBackend,
}

/// Where requests go: to a Service, or to an object that some controller knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressBackend {
    /// A Service of the Ingress' namespace.
    pub service: Option<IngressService>,
    /// Another object of that namespace.
    pub resource: Option<IngressResource>,
}

/// A Service as a backend.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressService {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// One of its ports.
    pub port: Option<IngressPort>,
}

/// A port of a Service, by name or by number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressPort {
    /// The name.
    pub name: Option<String>,
    /// The number.
    pub number: Option<i32>,
}

/// An object as a backend.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressResource {
    /// Its API group.
    pub api_group: Option<String>,
    /// Its kind.
    #[serde(default)]
    pub kind: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
}
