//! What an HTTP rule does with a request besides forwarding it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Destination;
use crate::map::Map;
use crate::schema::constraints;
use crate::wire::{Bytes, Duration, Percent, StringMatch};

/// An answer by redirect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = constraints::redirect)]
pub struct HttpRedirect {
    /// The path of the new URL, in place of the whole old path.
    pub uri: Option<String>,
    /// What to put in place of the matched prefix of the path. Excludes `uri`.
    pub prefix_rewrite: Option<String>,
    /// The authority of the new URL. Absent: the request's.
    pub authority: Option<String>,
    /// The port of the new URL.
    pub port: Option<u32>,
    /// Where to take the port of the new URL from. Excludes `port`.
    pub derive_port: Option<RedirectPortSelection>,
    /// The scheme of the new URL. Absent: the request's.
    pub scheme: Option<String>,
    /// The status code. Absent: 301.
    pub redirect_code: Option<u32>,
}

/// Where the port of a redirect comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RedirectPortSelection {
    /// 80 for http, 443 for https.
    FromProtocolDefault,
    /// The port the request arrived on.
    FromRequestPort,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectResponse {
    /// The status code.
    pub status: u32,
    /// The body. Absent: none.
    pub body: Option<HttpBody>,
}

/// A body: one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = constraints::body)]
pub struct HttpBody {
    /// The body as text.
    pub string: Option<String>,
    /// The body as base64.
    pub bytes: Option<Bytes>,
}

/// A change of path or authority before forwarding.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRewrite {
    /// What to put in place of the matched prefix, or of the whole path for other kinds of match.
    pub uri: Option<String>,
    /// The new authority.
    pub authority: Option<String>,
    /// A regular expression rewrite of the path. Excludes `uri`.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A rewrite by regular expression.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegexRewrite {
    /// The RE2 expression; every match in the path is replaced.
    #[serde(rename = "match")]
    pub pattern: Option<String>,
    /// The replacement; `\1` to `\9` stand for captured groups.
    pub rewrite: Option<String>,
}

/// When and how often to try again.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRetry {
    /// How many times to try again after the first attempt; 0 switches retries off.
    pub attempts: Option<i32>,
    /// The time limit of each attempt. Absent: the rule's timeout.
    #[schemars(transform = constraints::at_least_1ms)]
    pub per_try_timeout: Option<Duration>,
    /// The conditions, separated by commas: Envoy's names or status codes.
    pub retry_on: Option<String>,
    /// Whether another locality may be tried.
    #[schemars(extend("nullable" = true))]
    pub retry_remote_localities: Option<bool>,
    /// Whether endpoints that failed before are avoided. Absent: yes.
    #[schemars(extend("nullable" = true))]
    pub retry_ignore_previous_hosts: Option<bool>,
    /// The base of the exponential back-off between attempts. Absent: 25 ms.
    #[schemars(transform = constraints::at_least_1ms)]
    pub backoff: Option<Duration>,
}

/// Cross-origin resource sharing.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CorsPolicy {
    /// Deprecated: origins allowed, as exact strings. Use `allowOrigins`.
    #[serde(default)]
    pub allow_origin: Vec<String>,
    /// Origins allowed.
    #[serde(default)]
    pub allow_origins: Vec<StringMatch>,
    /// Methods allowed, for `access-control-allow-methods`.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// Request headers allowed, for `access-control-allow-headers`.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Response headers scripts may read, for `access-control-expose-headers`.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// How long a preflight's answer may be cached, for `access-control-max-age`.
    #[schemars(transform = constraints::at_least_1ms)]
    pub max_age: Option<Duration>,
    /// Whether credentials are allowed, for `access-control-allow-credentials`.
    #[schemars(extend("nullable" = true))]
    pub allow_credentials: Option<bool>,
    /// What happens to a preflight whose origin is not allowed. Absent: FORWARD.
    pub unmatched_preflights: Option<UnmatchedPreflights>,
}

/// What happens to a preflight whose origin is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    /// As FORWARD.
    Unspecified,
    /// It goes to the destination.
    Forward,
    /// It is answered here, without CORS headers.
    Ignore,
}

/// Headers to change, on the way in and on the way back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Headers {
    /// Changes to the request.
    pub request: Option<HeaderOperations>,
    /// Changes to the response.
    pub response: Option<HeaderOperations>,
}

/// Changes to a set of headers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderOperations {
    /// Headers to overwrite.
    #[serde(default)]
    pub set: Map<String>,
    /// Headers to append to what is there.
    #[serde(default)]
    pub add: Map<String>,
    /// Headers to remove.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// Faults to inject.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpFaultInjection {
    /// Hold a share of the requests back for a while.
    pub delay: Option<Delay>,
    /// Answer a share of the requests with an error.
    pub abort: Option<Abort>,
}

/// An injected delay.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = constraints::delay)]
pub struct Delay {
    /// Deprecated: the share of requests in whole percent. Use `percentage`.
    pub percent: Option<i32>,
    /// The length of the delay, at least 1 ms.
    #[schemars(transform = constraints::at_least_1ms)]
    pub fixed_delay: Option<Duration>,
    /// The mean of an exponentially distributed delay. Not implemented by Istio.
    #[schemars(transform = constraints::at_least_1ms)]
    pub exponential_delay: Option<Duration>,
    /// The share of requests that are delayed. Absent: none.
    pub percentage: Option<Percent>,
}

/// An injected error.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = constraints::abort)]
pub struct Abort {
    /// The HTTP status code to answer with.
    pub http_status: Option<i32>,
    /// The gRPC status to answer with, by name.
    pub grpc_status: Option<String>,
    /// An HTTP/2 error. Not implemented by Istio.
    #[serde(rename = "http2Error")]
    pub http2_error: Option<String>,
    /// The share of requests that are aborted. Absent: none.
    pub percentage: Option<Percent>,
}

/// One place to send copies of requests to.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpMirrorPolicy {
    /// Where the copies go.
    pub destination: Destination,
    /// The share of requests to copy. Absent: all.
    pub percentage: Option<Percent>,
}
