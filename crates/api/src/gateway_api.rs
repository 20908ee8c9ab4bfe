//! Of the Gateway API, what cert-manager's solvers write: an HTTPRoute that says where an authority's question is answered.
//!
//! Only HTTPRoutes with the label of a solver are read ([`SOLVER`](crate::cert_manager::SOLVER)), and cert-manager sets
//! these fields and no others. Every other HTTPRoute is of a kind that is not read.

use schemars::JsonSchema;
use serde::Deserialize;

/// The spec of a solver's HTTPRoute.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// What the route belongs to, as the issuer has it.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// The hosts; none: every one.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// The rules.
    #[serde(default)]
    pub rules: Vec<HttpRouteRule>,
}

/// A Gateway, or whatever else a route belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// Its API group; absent: that of the Gateway API.
    pub group: Option<String>,
    /// Its kind; absent: `Gateway`.
    pub kind: Option<String>,
    /// Its namespace; absent: that of the route.
    pub namespace: Option<String>,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// One of its listeners.
    pub section_name: Option<String>,
    /// One of its ports.
    pub port: Option<i32>,
}

/// Requests, and where they go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// What requests are like; one of them is enough.
    #[serde(default)]
    pub matches: Vec<HttpRouteMatch>,
    /// Where they go.
    #[serde(default)]
    pub backend_refs: Vec<HttpBackendRef>,
}

/// What a request is like.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteMatch {
    /// Its path.
    pub path: Option<HttpPathMatch>,
}

/// A path, or paths.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpPathMatch {
    /// Exact, PathPrefix (as when absent) or RegularExpression.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The path.
    pub value: Option<String>,
}

/// A Service that requests go to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpBackendRef {
    /// Its API group; absent: the core group.
    pub group: Option<String>,
    /// Its kind; absent: `Service`.
    pub kind: Option<String>,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its namespace; absent: that of the route.
    pub namespace: Option<String>,
    /// Its port.
    pub port: Option<i32>,
    /// Its share of the requests.
    pub weight: Option<i32>,
}
