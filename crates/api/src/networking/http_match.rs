//! The conditions of an HTTP rule.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::map::Map;
use crate::wire::StringMatch;

/// One condition of an HTTP rule: everything set must hold.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatchRequest {
    /// A name, appended to the rule's name in logs.
    pub name: Option<Box<str>>,
    /// The request's path, without the query.
    pub uri: Option<StringMatch>,
    /// The request's scheme.
    pub scheme: Option<Box<StringMatch>>,
    /// The request's method.
    pub method: Option<Box<StringMatch>>,
    /// The request's authority (Host header).
    pub authority: Option<Box<StringMatch>>,
    /// Headers by lower-case name; an empty matcher asks only that the header is present. An absent header never
    /// matches.
    #[serde(default)]
    pub headers: Map<StringMatch>,
    /// The port number of the Gateway's server.
    pub port: Option<u32>,
    /// Labels of the workload the rule applies to; at a gateway, its own.
    #[serde(default)]
    pub source_labels: Map<String>,
    /// The Gateways this condition is for, in place of the resource's list.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// Query parameters by name, compared without decoding.
    #[serde(default)]
    pub query_params: Map<StringMatch>,
    /// Compare an exact or prefix `uri` without regard to case.
    pub ignore_uri_case: Option<bool>,
    /// Headers that must not match; an empty matcher asks that the header is absent.
    #[serde(default)]
    pub without_headers: Map<StringMatch>,
    /// The namespace of the workload the rule applies to; at a gateway, its own.
    pub source_namespace: Option<Box<str>>,
    /// A prefix for statistics of the routes of this condition.
    pub stat_prefix: Option<Box<str>>,
}
