//! A rule for HTTP traffic.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    CorsPolicy, Destination, DirectResponse, Headers, HttpFaultInjection, HttpMatchRequest, HttpMirrorPolicy,
    HttpRedirect, HttpRetry, HttpRewrite,
};
use crate::schema::constraints;
use crate::wire::{Duration, Percent};

// There are many, and most have few of these parts: the rarer ones stand elsewhere in memory.
/// A rule for HTTP traffic.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// A name, shown in access logs.
    pub name: Option<String>,
    /// Conditions; one that holds is enough. Empty: every request.
    #[serde(default, rename = "match")]
    pub matches: Vec<HttpMatchRequest>,
    /// The weighted destinations.
    #[serde(default)]
    pub route: Vec<HttpRouteDestination>,
    /// Answer with a redirect instead of forwarding.
    pub redirect: Option<Box<HttpRedirect>>,
    /// Answer with a fixed response instead of forwarding.
    pub direct_response: Option<Box<DirectResponse>>,
    /// Continue in another VirtualService that has no hosts of its own.
    pub delegate: Option<Box<Delegate>>,
    /// Change path or authority before forwarding.
    pub rewrite: Option<Box<HttpRewrite>>,
    /// The time limit for the whole answer. Absent or zero: none.
    #[schemars(transform = constraints::at_least_1ms)]
    pub timeout: Option<Duration>,
    /// When and how often to try again.
    pub retries: Option<Box<HttpRetry>>,
    /// Delays and aborts to inject.
    pub fault: Option<Box<HttpFaultInjection>>,
    /// Where to send a copy of each request; the answer to the copy is thrown away.
    pub mirror: Option<Box<Destination>>,
    /// Several places to send copies to.
    #[serde(default)]
    pub mirrors: Vec<HttpMirrorPolicy>,
    /// Deprecated: the share of requests to copy, in whole percent. Use `mirrorPercentage`.
    #[schemars(extend("nullable" = true))]
    pub mirror_percent: Option<u32>,
    /// Deprecated: the older spelling of `mirrorPercent`.
    #[serde(rename = "mirror_percent")]
    #[schemars(extend("nullable" = true))]
    pub mirror_percent_snake: Option<u32>,
    /// The share of requests to copy to `mirror`. Absent: all.
    pub mirror_percentage: Option<Percent>,
    /// Cross-origin resource sharing.
    pub cors_policy: Option<Box<CorsPolicy>>,
    /// Headers to change, for all destinations of the rule.
    pub headers: Option<Box<Headers>>,
}

/// Another VirtualService that continues the routing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delegate {
    /// Its name.
    pub name: Option<String>,
    /// Its namespace. Absent: that of the root VirtualService.
    pub namespace: Option<String>,
}

/// One weighted destination of an HTTP rule.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteDestination {
    /// Where the request goes.
    pub destination: Destination,
    /// Its share of the requests, relative to the rule's other weights.
    pub weight: Option<i32>,
    /// Headers to change, for this destination alone.
    pub headers: Option<Box<Headers>>,
}
