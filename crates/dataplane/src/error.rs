//! What can go wrong with an exchange, grouped by who is to blame.
//!
//! `http::reply` turns these into status, body and response flags in one match.

use portcullis_telemetry::details::ResetReason;

use crate::http::h1::head::HeadError;

/// Why an exchange did not end with the upstream's answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The client broke the protocol or went away.
    #[error("client: {0}")]
    Client(#[from] ClientError),
    /// No route, or a route that leads nowhere.
    #[error("route: {0}")]
    Route(#[from] RouteError),
    /// The upstream failed.
    #[error("upstream: {0}")]
    Upstream(#[from] UpstreamError),
}

/// The client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    /// The request head cannot be accepted.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// HTTP/1.0 where it is not served.
    #[error("low_version")]
    LowVersion,
    /// CONNECT, which no route takes.
    #[error("route_not_found")]
    Connect,
    /// A target with the scheme of a secured connection, in clear.
    #[error("invalid_scheme")]
    HttpsInClear,
    /// HTTP/1.1 without Host, or with a Host that is no host.
    #[error("missing_host_header")]
    MissingHost,
    /// The target has no path to route by.
    #[error("path_normalization_failed")]
    BadPath,
    /// An upgrade no route allows.
    #[error("upgrade_failed")]
    UpgradeRefused,
    /// The request head did not arrive in time.
    #[error("request_header_timeout")]
    HeaderTimeout,
    /// The request body breaks its framing.
    #[error("http1.codec_error")]
    Body,
    /// The body of a gRPC-Web request in text form is no base64.
    #[error("grpc_base_64_decode_failed")]
    GrpcWebText,
    /// A header name with an underscore, where none are taken.
    #[error("http1.unexpected_underscore")]
    Underscore,
    /// The request did not arrive whole in time.
    #[error("request_overall_timeout")]
    RequestTimeout,
    /// Neither side sent a byte for too long.
    #[error("stream_idle_timeout")]
    StreamIdle {
        /// Whether the request had been sent to its end.
        whole: bool,
    },
    /// Request and response together took too long.
    #[error("max_duration_timeout")]
    StreamLife {
        /// Whether the request had been sent to its end.
        whole: bool,
    },
}

/// The configuration leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    /// No virtual host or no route matches.
    #[error("route_not_found")]
    NotFound,
    /// The route names a cluster that does not exist.
    #[error("cluster_not_found")]
    ClusterNotFound,
    /// Another server of this listener holds that host: the client should open a new connection.
    #[error("misdirected_request")]
    Misdirected,
}

/// The upstream's fault, or that of the way to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// No endpoint may be picked.
    #[error("no_healthy_upstream")]
    NoHealthyEndpoint,
    /// No connection: refused, unreachable, TLS failure.
    #[error("remote connection failure: {0}")]
    Connect(std::sync::Arc<str>),
    /// No connection within the connect timeout.
    #[error("connection timeout")]
    ConnectTimeout,
    /// The connection ended before or during the response.
    #[error("connection termination")]
    Terminated,
    /// HTTP/2 RST_STREAM.
    #[error("remote reset")]
    RemoteReset,
    /// HTTP/2 REFUSED_STREAM: certainly not processed.
    #[error("remote refused stream reset")]
    RefusedStream,
    /// The response breaks the protocol.
    #[error("protocol error")]
    Protocol,
    /// A limit of the cluster is reached.
    #[error("overflow")]
    Overflow,
    /// The route's timeout.
    #[error("response_timeout")]
    Timeout,
    /// The time limit of one try.
    #[error("upstream_per_try_timeout")]
    PerTryTimeout,
}

impl UpstreamError {
    /// Why the exchange broke off, where it was begun with an endpoint.
    pub(crate) fn reset_reason(&self) -> Option<ResetReason> {
        match self {
            Self::Connect(_) => Some(ResetReason::RemoteConnectionFailure),
            Self::ConnectTimeout => Some(ResetReason::ConnectionTimeout),
            Self::Terminated => Some(ResetReason::ConnectionTermination),
            Self::RemoteReset => Some(ResetReason::RemoteReset),
            Self::RefusedStream => Some(ResetReason::RemoteRefusedStreamReset),
            Self::Protocol => Some(ResetReason::ProtocolError),
            Self::Overflow => Some(ResetReason::Overflow),
            Self::NoHealthyEndpoint | Self::Timeout | Self::PerTryTimeout => None,
        }
    }

    /// What the transport said, for the log.
    pub(crate) fn transport_failure(&self) -> Option<&str> {
        match self {
            Self::Connect(text) => Some(text),
            _ => None,
        }
    }
}
