//! Route tests: requests with what is expected of them, written beside the resources.
//!
//! A document of `kind: RouteTest` is no resource: [`load()`](crate::load()) passes over it, and
//! [`route_tests`](crate::load::route_tests) reads nothing else. Everything in an expectation is compared, what is left
//! out is not.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::map::Map;
use crate::networking::Headers;
use crate::schema::constraints;

/// The group of documents that are Portcullis's own.
pub(crate) const GROUP: &str = "portcullis.dev";

/// The kind of a document with route tests.
pub(crate) const KIND: &str = "RouteTest";

/// The versions of the format.
pub(crate) const VERSIONS: [&str; 1] = ["v1alpha1"];

/// One document.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteTest {
    /// `metadata.name`, or nothing.
    pub name: String,
    /// The text's name: a path.
    pub source: Arc<str>,
    /// Its cases, each with the line it begins on.
    pub cases: Vec<(u32, RouteCase)>,
}

/// `spec`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteTestSpec {
    /// The cases.
    #[schemars(transform = constraints::not_empty)]
    pub(crate) cases: Vec<RouteCase>,
}

/// A request, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteCase {
    /// What the case shows. Absent: its request.
    pub name: Option<String>,
    /// What arrives, as `explain` takes it: `GET https://host/path`, `TLS host:port`, `postgres://host`, `tcp://:port`.
    pub request: String,
    /// Request headers; `host` replaces the URL's.
    #[serde(default)]
    pub headers: Map<String>,
    /// The port it arrives at, where it is not the URL's.
    #[schemars(transform = constraints::port)]
    pub port: Option<u16>,
    /// What is expected.
    pub expect: Expectation,
}

/// What is expected of a request.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = constraints::expectation)]
pub struct Expectation {
    /// The only destination.
    pub destination: Option<ExpectedDestination>,
    /// All destinations with their shares, in any order.
    pub weights: Option<Vec<ExpectedWeight>>,
    /// An answer that sends the client elsewhere.
    pub redirect: Option<ExpectedRedirect>,
    /// A fixed answer of the rule.
    pub response: Option<ExpectedResponse>,
    /// An answer of the gateway itself: no rule matches (404), no such service (503), a path that is refused (400).
    pub error: Option<ExpectedError>,
    /// The connection is refused: port not open, server name unknown, nothing routed, no such service.
    pub refused: Option<bool>,
    /// The rule that wins, or the beginning of where it stands: `VirtualService default/shop http[0]`.
    pub rule: Option<String>,
    /// The name of the rule, as the access log has it.
    pub rule_name: Option<String>,
    /// The Gateway or server that takes the connection: `Gateway istio-system/public servers[1]`.
    pub server: Option<String>,
    /// What happens to TLS.
    pub tls: Option<ExpectedTls>,
    /// The path the backend sees.
    pub path: Option<String>,
    /// The host the backend sees.
    pub authority: Option<String>,
    /// Changes to headers that must be among those that are made.
    pub headers: Option<Headers>,
}

/// A destination; only what is written is compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedDestination {
    /// The service: its whole name, or `name`, `name.namespace` or `name.namespace.svc` of a Kubernetes Service.
    pub host: String,
    /// Its port.
    #[schemars(transform = constraints::port)]
    pub port: Option<u16>,
    /// Its subset; an empty one is none.
    pub subset: Option<String>,
}

/// A destination with its share.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedWeight {
    /// As in a destination.
    pub host: String,
    /// As in a destination.
    #[schemars(transform = constraints::port)]
    pub port: Option<u16>,
    /// As in a destination.
    pub subset: Option<String>,
    /// Its share in percent.
    #[schemars(transform = constraints::percent)]
    pub weight: u32,
}

/// A redirect; only what is written is compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedRedirect {
    /// The status code.
    pub status: Option<u16>,
    /// The whole `location`.
    pub location: Option<String>,
}

/// A fixed answer; only what is written is compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedResponse {
    /// The status code.
    pub status: Option<u16>,
    /// The whole body.
    pub body: Option<String>,
}

/// An answer of the gateway itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedError {
    /// The status code.
    pub status: u16,
}

/// What happens to TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExpectedTls {
    /// There is none.
    Plaintext,
    /// It ends at the gateway.
    Terminated,
    /// It, or the TCP connection, goes through to the backend.
    PassedThrough,
}
