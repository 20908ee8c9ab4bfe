//! Process-wide behaviour: the parts of Istio's MeshConfig that a gateway obeys on its request path.

use std::time::Duration;

use bytes::Bytes;

/// Mesh settings that requests depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `meshConfig.pathNormalization.normalization`.
    pub path_normalization: PathNormalization,
    /// `gatewayTopology.numTrustedProxies`: how many proxies in front append to X-Forwarded-For.
    pub trusted_proxies: u32,
    /// What becomes of `x-forwarded-client-cert` (`gatewayTopology.forwardClientCertDetails`).
    pub forward_client_cert: ForwardClientCert,
    /// Whether HTTP/1.0 requests are served; otherwise they get 426 (Istio's `PILOT_HTTP10`).
    pub http10: bool,
    /// Which headers the gateway adds (`proxyHeaders`).
    pub own_headers: OwnHeaders,
    /// Whether HTTP/1 header names go on as the peer wrote them (`proxyHeaders.preserveHttp1HeaderCase`), not in lower
    /// case.
    pub header_case: bool,
    /// Bounds on clients (`connectionSettings`).
    pub connections: ConnectionLimits,
    /// What becomes of `%2F` and `%5C` before the path is normalised.
    pub escaped_slashes: EscapedSlashes,
    /// Whether neighbouring slashes become one although the path is not normalised.
    pub merge_slashes_alone: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path_normalization: PathNormalization::Base,
            trusted_proxies: 0,
            forward_client_cert: ForwardClientCert::SanitizeSet,
            http10: false,
            own_headers: OwnHeaders::default(),
            header_case: false,
            connections: ConnectionLimits::default(),
            escaped_slashes: EscapedSlashes::Keep,
            merge_slashes_alone: false,
        }
    }
}

/// The headers a gateway adds by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnHeaders {
    /// `x-request-id`, in place of the client's; otherwise the client's goes on.
    pub request_id: bool,
    /// `x-envoy-attempt-count`.
    pub attempt_count: bool,
    /// What the router adds under `x-envoy-`: times, and what was rewritten.
    pub debug: bool,
    /// `server` of responses; `None`: the upstream's goes on.
    pub server: Option<Bytes>,
    /// A host that is rewritten is appended to `x-forwarded-host`.
    pub forwarded_host: bool,
    /// `x-forwarded-port`.
    pub forwarded_port: bool,
}

impl Default for OwnHeaders {
    fn default() -> Self {
        Self {
            request_id: true,
            attempt_count: true,
            debug: true,
            server: Some(Bytes::from_static(b"istio-envoy")),
            forwarded_host: false,
            forwarded_port: false,
        }
    }
}

/// Bounds on clients' connections and streams. `None` leaves it to the process's own settings, which know no bound on
/// streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connection without a request; zero = never too long.
    pub idle: Option<Duration>,
    /// Life of a connection: afterwards it takes no more requests.
    pub life: Option<Duration>,
    /// How long a connection may stay open idle after that.
    pub drain: Option<Duration>,
    /// From the first byte of a request's head to its last.
    pub head: Option<Duration>,
    /// From the first byte of a request to the last of its body, or to the response.
    pub request: Option<Duration>,
    /// Time without a byte of request or response.
    pub stream_idle: Option<Duration>,
    /// From the first byte of a request to the last of its response.
    pub stream_life: Option<Duration>,
    /// Streams of an HTTP/2 connection.
    pub streams: Option<u32>,
    /// Receive window of an HTTP/2 stream.
    pub stream_window: Option<u32>,
    /// Receive window of an HTTP/2 connection.
    pub connection_window: Option<u32>,
    /// Bytes held for a client: of a request that may be tried again, and of a response it is slow to take.
    pub buffer: Option<u32>,
    /// Connections open at once, all listeners together.
    pub connections: Option<u32>,
    /// Header names with underscores.
    pub underscores: Underscores,
}

/// What becomes of header names with underscores: some servers read them as dashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Underscores {
    /// They pass.
    #[default]
    Allow,
    /// The request is refused.
    Reject,
    /// The header is removed.
    Drop,
}

/// What becomes of slashes and backslashes that are escaped in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They pass.
    Keep,
    /// The request is refused.
    Reject,
    /// The client is sent to the decoded path.
    Redirect,
    /// The decoded path is used.
    Decode,
}

/// Levels of path normalisation, each doing what the one before does and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathNormalization {
    /// The path is taken as it came.
    None,
    /// RFC 3986 §6.2.2: dot segments resolved, `\` read as `/`. Istio's DEFAULT.
    Base,
    /// And `//` merged.
    MergeSlashes,
    /// And `%2F`, `%5C` decoded first.
    DecodeAndMergeSlashes,
}

/// `gatewayTopology.forwardClientCertDetails`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardClientCert {
    /// Always removed.
    Sanitize,
    /// Passed on when the client presented a certificate.
    ForwardOnly,
    /// Own element appended when the client presented a certificate.
    AppendForward,
    /// Removed, then set from the client's certificate: the default at a gateway.
    SanitizeSet,
    /// Passed on always.
    AlwaysForwardOnly,
}
