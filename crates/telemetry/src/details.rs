//! Response code details: in one word, which part of the gateway decided on the answer.
//!
//! The strings are those an Istio gateway logs as `response_code_details` (Envoy's
//! `ResponseCodeDetails`); they never hold a space.

use std::borrow::Cow;
use std::fmt;

use crate::flags::Flag;

/// The text of `response_code_details`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Details(Cow<'static, str>);

macro_rules! constants {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        impl Details {
            $($(#[doc = $doc])* pub const $name: Self = Self(Cow::Borrowed($text));)*
        }

        #[cfg(test)]
        const ALL: &[Details] = &[$(Details::$name,)*];
    };
}

constants! {
    /// The upstream answered.
    VIA_UPSTREAM = "via_upstream",
    /// No virtual host or route: 404, NR.
    ROUTE_NOT_FOUND = "route_not_found",
    /// A direct response or a redirect.
    DIRECT_RESPONSE = "direct_response",
    /// The route names an unknown cluster: 503, NC.
    CLUSTER_NOT_FOUND = "cluster_not_found",
    /// No endpoint: 503, UH.
    NO_HEALTHY_UPSTREAM = "no_healthy_upstream",
    /// The route's timeout: 504, UT.
    RESPONSE_TIMEOUT = "response_timeout",
    /// A try's timeout: 504, UT.
    UPSTREAM_PER_TRY_TIMEOUT = "upstream_per_try_timeout",
    /// A try's idle timeout: 504, UT.
    UPSTREAM_PER_TRY_IDLE_TIMEOUT = "upstream_per_try_idle_timeout",
    /// 504 or 408, UMSDR.
    UPSTREAM_MAX_STREAM_DURATION_REACHED = "upstream_max_stream_duration_reached",
    /// 408, or 504 once the request was complete; SI.
    STREAM_IDLE_TIMEOUT = "stream_idle_timeout",
    /// 408.
    REQUEST_OVERALL_TIMEOUT = "request_overall_timeout",
    /// 408.
    REQUEST_HEADER_TIMEOUT = "request_header_timeout",
    /// 408 or 504.
    MAX_DURATION_TIMEOUT = "max_duration_timeout",
    /// 413.
    REQUEST_PAYLOAD_TOO_LARGE = "request_payload_too_large",
    /// 500.
    RESPONSE_PAYLOAD_TOO_LARGE = "response_payload_too_large",
    /// 507.
    REQUEST_PAYLOAD_EXCEEDED_RETRY_BUFFER_LIMIT = "request_payload_exceeded_retry_buffer_limit",
    /// HTTP/1.0 where it is not served: 426.
    LOW_VERSION = "low_version",
    /// 400.
    MISSING_HOST_HEADER = "missing_host_header",
    /// 400.
    MISSING_PATH_REJECTED = "missing_path_rejected",
    /// 400.
    PATH_NORMALIZATION_FAILED = "path_normalization_failed",
    /// An upgrade the route does not allow: 403.
    UPGRADE_FAILED = "upgrade_failed",
    /// 400, DPE.
    HTTP1_CODEC_ERROR = "http1.codec_error",
    /// 431, DPE.
    HTTP1_HEADERS_TOO_LARGE = "http1.headers_too_large",
    /// 431, DPE.
    HTTP1_TOO_MANY_HEADERS = "http1.too_many_headers",
    /// 501, DPE.
    HTTP1_INVALID_TRANSFER_ENCODING = "http1.invalid_transfer_encoding",
    /// 400, DPE.
    HTTP1_CONTENT_LENGTH_AND_CHUNKED_NOT_ALLOWED = "http1.content_length_and_chunked_not_allowed",
    /// 400, DPE.
    HTTP1_INVALID_URL = "http1.invalid_url",
    /// 400, DPE.
    HTTP1_BODY_DISALLOWED = "http1.body_disallowed",
    /// Stream or connection reset, DPE.
    HTTP2_PROTOCOL_ERROR = "http2.violation.of.messaging.rule",
    /// 403, no ALLOW policy matched.
    RBAC_ACCESS_DENIED_NONE = "rbac_access_denied_matched_policy[none]",
    /// UAEX.
    EXT_AUTHZ_DENIED = "ext_authz_denied",
    /// 403, UAEX.
    EXT_AUTHZ_ERROR = "ext_authz_error",
    /// 429, RL.
    LOCAL_RATE_LIMITED = "local_rate_limited",
    /// 429, RL.
    REQUEST_RATE_LIMITED = "request_rate_limited",
    /// 500, RLSE.
    RATE_LIMITER_ERROR = "rate_limiter_error",
    /// FI.
    FAULT_FILTER_ABORT = "fault_filter_abort",
    /// 503, OM.
    OVERLOAD = "overload",
    /// 503, UO.
    MAINTENANCE_MODE = "maintenance_mode",
    /// No filter chain for the connection: closed, NR.
    FILTER_CHAIN_NOT_FOUND = "filter_chain_not_found",
    /// The client closed or reset: DC.
    DOWNSTREAM_REMOTE_DISCONNECT = "downstream_remote_disconnect",
}

impl Details {
    /// Any text; white space becomes `_`, as Envoy prints it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut clean = String::with_capacity(text.len());
        push_clean(&mut clean, text);
        Self(clean.into())
    }

    /// The upstream failed before response headers: `upstream_reset_before_response_started{…}`.
    ///
    /// `transport` is the transport failure, e.g. `delayed connect error: Connection refused`.
    #[must_use]
    pub fn reset_before_response(reason: ResetReason, transport: Option<&str>) -> Self {
        Self::reset("upstream_reset_before_response_started{", reason, transport)
    }

    /// The upstream failed behind response headers: `upstream_reset_after_response_started{…}`.
    #[must_use]
    pub fn reset_after_response(reason: ResetReason, transport: Option<&str>) -> Self {
        Self::reset("upstream_reset_after_response_started{", reason, transport)
    }

    /// The gateway itself ended the exchange: `downstream_local_disconnect(<why>)`.
    #[must_use]
    pub fn downstream_local_disconnect(why: &str) -> Self {
        Self::wrapped("downstream_local_disconnect(", why, ")")
    }

    /// A policy of Istio denied: `rbac_access_denied_matched_policy[ns[N]-policy[P]-rule[I]]`.
    #[must_use]
    pub fn rbac_access_denied(policy: &str) -> Self {
        Self::wrapped("rbac_access_denied_matched_policy[", policy, "]")
    }

    /// A token was refused: `jwt_authn_access_denied{Jwt_is_missing}`.
    #[must_use]
    pub fn jwt_authn_access_denied(why: &str) -> Self {
        Self::wrapped("jwt_authn_access_denied{", why, "}")
    }

    /// A header failed a strict check: 400, IH.
    #[must_use]
    pub fn request_headers_failed_strict_check(name: &str) -> Self {
        Self::wrapped("request_headers_failed_strict_check{", name, "}")
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn reset(opening: &str, reason: ResetReason, transport: Option<&str>) -> Self {
        let mut text = String::with_capacity(96);
        text.push_str(opening);
        push_clean(&mut text, reason.text());
        if let Some(transport) = transport.filter(|transport| !transport.is_empty()) {
            text.push('|');
            push_clean(&mut text, transport);
        }
        text.push('}');
        Self(text.into())
    }

    fn wrapped(opening: &str, inner: &str, closing: &str) -> Self {
        let mut text = String::with_capacity(opening.len() + inner.len() + closing.len());
        text.push_str(opening);
        push_clean(&mut text, inner);
        text.push_str(closing);
        Self(text.into())
    }
}

impl fmt::Display for Details {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Details {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn push_clean(out: &mut String, text: &str) {
    out.extend(text.chars().map(|char| if char.is_whitespace() { '_' } else { char }));
}

/// Why an upstream exchange broke off, as the body of the 503 and the details name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResetReason {
    /// No socket, or no local address.
    LocalConnectionFailure,
    /// Refused, unreachable, or TLS failed.
    RemoteConnectionFailure,
    /// No connection within the connect timeout.
    ConnectionTimeout,
    /// Closed in the middle.
    ConnectionTermination,
    /// The gateway reset the stream.
    LocalReset,
    /// The gateway refused the stream before it was processed.
    LocalRefusedStreamReset,
    /// RST_STREAM.
    RemoteReset,
    /// RST_STREAM with REFUSED_STREAM.
    RemoteRefusedStreamReset,
    /// An error answer to CONNECT.
    ConnectError,
    /// A circuit breaker was at its limit.
    Overflow,
    /// The upstream's bytes are no valid HTTP.
    ProtocolError,
    /// Overload protection.
    OverloadManager,
}

impl ResetReason {
    /// As in the body: `remote connection failure`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::LocalConnectionFailure => "local connection failure",
            Self::RemoteConnectionFailure => "remote connection failure",
            Self::ConnectionTimeout => "connection timeout",
            Self::ConnectionTermination => "connection termination",
            Self::LocalReset => "local reset",
            Self::LocalRefusedStreamReset => "local refused stream reset",
            Self::RemoteReset => "remote reset",
            Self::RemoteRefusedStreamReset => "remote refused stream reset",
            Self::ConnectError => "remote error with CONNECT request",
            Self::Overflow => "overflow",
            Self::ProtocolError => "protocol error",
            Self::OverloadManager => "overload manager reset",
        }
    }

    /// The flag that goes with it.
    #[must_use]
    pub const fn flag(self) -> Flag {
        match self {
            Self::LocalConnectionFailure | Self::RemoteConnectionFailure | Self::ConnectionTimeout => {
                Flag::UpstreamConnectionFailure
            }
            Self::ConnectionTermination => Flag::UpstreamConnectionTermination,
            Self::LocalReset | Self::LocalRefusedStreamReset => Flag::LocalReset,
            Self::RemoteReset | Self::RemoteRefusedStreamReset | Self::ConnectError => {
                Flag::UpstreamRemoteReset
            }
            Self::Overflow => Flag::UpstreamOverflow,
            Self::ProtocolError => Flag::UpstreamProtocolError,
            Self::OverloadManager => Flag::OverloadManagerTerminated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composed_texts() {
        let refused = Some("delayed connect error: Connection refused");
        for (details, text) in [
            (
                Details::reset_before_response(ResetReason::RemoteConnectionFailure, refused),
                "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            ),
            (
                Details::reset_after_response(ResetReason::ConnectionTermination, None),
                "upstream_reset_after_response_started{connection_termination}",
            ),
            (Details::jwt_authn_access_denied("Jwt is missing"), "jwt_authn_access_denied{Jwt_is_missing}"),
            (
                Details::rbac_access_denied("ns[shop]-policy[deny-admin]-rule[0]"),
                "rbac_access_denied_matched_policy[ns[shop]-policy[deny-admin]-rule[0]]",
            ),
            (Details::downstream_local_disconnect("drain"), "downstream_local_disconnect(drain)"),
        ] {
            assert_eq!(details.as_str(), text);
        }
    }

    #[test]
    fn constants_hold_no_space_and_differ() {
        let mut texts: Vec<_> = ALL.iter().map(Details::as_str).collect();
        assert!(texts.iter().all(|text| !text.contains(char::is_whitespace)));
        let count = texts.len();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), count);
    }
}
