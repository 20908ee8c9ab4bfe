//! What an expression can ask of a request.

use std::borrow::Cow;

use super::value::Value;

/// Gives the values that an expression asks for.
pub trait Attributes {
    /// The value of an attribute, if it has one.
    fn attribute(&self, attribute: Attribute) -> Option<Value<'_>>;

    /// The values of a message's header of this name (lower case), joined by commas.
    fn header(&self, of: Message, name: &str) -> Option<Cow<'_, [u8]>>;

    /// How many header fields a message has.
    fn header_count(&self, of: Message) -> usize;
}

/// A message with header fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// `request.headers`
    Request,
    /// `response.headers`
    Response,
    /// `response.trailers`
    Trailer,
}

/// A name before a dot: a map that is looked up in, and has no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// `request`
    Request,
    /// `response`
    Response,
    /// `source`
    Source,
    /// `destination`
    Destination,
    /// `connection`
    Connection,
    /// `upstream`
    Upstream,
    /// `xds`
    Xds,
}

impl Group {
    const ALL: [(Self, &str); 7] = [
        (Self::Request, "request"),
        (Self::Response, "response"),
        (Self::Source, "source"),
        (Self::Destination, "destination"),
        (Self::Connection, "connection"),
        (Self::Upstream, "upstream"),
        (Self::Xds, "xds"),
    ];

    pub(super) fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(group, name)| (name == text).then_some(group))
    }

    /// As written.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(group, _)| *group == self).map_or("", |(_, name)| name)
    }

    /// Whether it has an attribute that requests are counted or timed for.
    pub(super) const fn is_measured(self) -> bool {
        matches!(self, Self::Upstream)
    }
}

macro_rules! attributes {
    ($($(#[doc = $doc:literal])* $name:ident = $group:ident $text:literal,)*) => {
        /// What is known of a request under a name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Attribute {
            $($(#[doc = $doc])* $name,)*
            /// What filters noted of a request: no filter here does.
            Metadata,
            /// What filters keep for a request: no filter here does.
            FilterState,
            /// The same of the upstream connection.
            UpstreamFilterState,
        }

        impl Attribute {
            /// That of a group by its name.
            pub(super) fn named(group: Group, text: &str) -> Option<Self> {
                match (group, text) {
                    $((Group::$group, $text) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

impl Attribute {
    /// That of no group.
    pub(super) fn alone(text: &str) -> Option<Self> {
        match text {
            "metadata" => Some(Self::Metadata),
            "filter_state" => Some(Self::FilterState),
            "upstream_filter_state" => Some(Self::UpstreamFilterState),
            _ => None,
        }
    }

    /// Whether requests have to be counted or timed on their way for it.
    pub(super) const fn is_measured(self) -> bool {
        matches!(self, Self::UpstreamPoolReadyDuration)
    }

    /// Whether Envoy has a value for it, and this gateway none.
    pub(super) const fn is_unknown_here(self) -> bool {
        matches!(self, Self::XdsNode)
    }
}

attributes! {
    /// Target, query included.
    RequestPath = Request "path",
    /// Target without its query.
    RequestUrlPath = Request "url_path",
    /// Authority.
    RequestHost = Request "host",
    /// `http` or `https`.
    RequestScheme = Request "scheme",
    /// Method.
    RequestMethod = Request "method",
    /// Header fields.
    RequestHeaders = Request "headers",
    /// The header of this name.
    RequestReferer = Request "referer",
    /// `user-agent`
    RequestUserAgent = Request "useragent",
    /// When it began.
    RequestTime = Request "time",
    /// `x-request-id`
    RequestId = Request "id",
    /// `HTTP/1.1`, `HTTP/2`.
    RequestProtocol = Request "protocol",
    /// Query; empty where there is none.
    RequestQuery = Request "query",
    /// How long it took, once it is over.
    RequestDuration = Request "duration",
    /// Bytes of its body as they are announced, else as they have come.
    RequestSize = Request "size",
    /// Bytes of its body that have come, and of its header.
    RequestTotalSize = Request "total_size",
    /// The upstream's status.
    ResponseCode = Response "code",
    /// Why that status was sent.
    ResponseCodeDetails = Response "code_details",
    /// Response flags, a bit each.
    ResponseFlags = Response "flags",
    /// Status of a gRPC call, or what the HTTP status comes to.
    ResponseGrpcStatus = Response "grpc_status",
    /// Header fields.
    ResponseHeaders = Response "headers",
    /// Trailer fields.
    ResponseTrailers = Response "trailers",
    /// Bytes of its body that have been sent.
    ResponseSize = Response "size",
    /// The same with its header.
    ResponseTotalSize = Response "total_size",
    /// How long the upstream took, once the response is over.
    ResponseBackendLatency = Response "backend_latency",
    /// Trusted client address with port.
    SourceAddress = Source "address",
    /// Port of the trusted client.
    SourcePort = Source "port",
    /// Own address of the client's connection, with port.
    DestinationAddress = Destination "address",
    /// Own port of the client's connection.
    DestinationPort = Destination "port",
    /// Number of the client's connection in this process.
    ConnectionId = Connection "id",
    /// Whether the client showed a certificate.
    ConnectionMtls = Connection "mtls",
    /// Server name of TLS; empty where there is none.
    ConnectionRequestedServerName = Connection "requested_server_name",
    /// `TLSv1.2` or `TLSv1.3`.
    ConnectionTlsVersion = Connection "tls_version",
    /// Subject of the certificate shown to the client.
    ConnectionSubjectLocal = Connection "subject_local_certificate",
    /// Subject of the client's certificate.
    ConnectionSubjectPeer = Connection "subject_peer_certificate",
    /// First DNS name of the certificate shown to the client.
    ConnectionDnsSanLocal = Connection "dns_san_local_certificate",
    /// First DNS name of the client's certificate.
    ConnectionDnsSanPeer = Connection "dns_san_peer_certificate",
    /// First URI of the certificate shown to the client.
    ConnectionUriSanLocal = Connection "uri_san_local_certificate",
    /// First URI of the client's certificate.
    ConnectionUriSanPeer = Connection "uri_san_peer_certificate",
    /// Hex SHA-256 of the client's certificate.
    ConnectionPeerDigest = Connection "sha256_peer_certificate_digest",
    /// Why TLS with the client failed: a request that came did not see it fail.
    ConnectionTransportFailureReason = Connection "transport_failure_reason",
    /// Why the client's connection was ended: while it serves, it was not.
    ConnectionTerminationDetails = Connection "termination_details",
    /// Address of the endpoint, with port.
    UpstreamAddress = Upstream "address",
    /// Port of the endpoint.
    UpstreamPort = Upstream "port",
    /// `TLSv1.2` or `TLSv1.3`.
    UpstreamTlsVersion = Upstream "tls_version",
    /// Subject of the certificate shown to the upstream.
    UpstreamSubjectLocal = Upstream "subject_local_certificate",
    /// Subject of the upstream's certificate.
    UpstreamSubjectPeer = Upstream "subject_peer_certificate",
    /// First DNS name of the certificate shown to the upstream.
    UpstreamDnsSanLocal = Upstream "dns_san_local_certificate",
    /// First DNS name of the upstream's certificate.
    UpstreamDnsSanPeer = Upstream "dns_san_peer_certificate",
    /// First URI of the certificate shown to the upstream.
    UpstreamUriSanLocal = Upstream "uri_san_local_certificate",
    /// First URI of the upstream's certificate.
    UpstreamUriSanPeer = Upstream "uri_san_peer_certificate",
    /// Hex SHA-256 of the upstream's certificate.
    UpstreamPeerDigest = Upstream "sha256_peer_certificate_digest",
    /// Own address of the upstream connection.
    UpstreamLocalAddress = Upstream "local_address",
    /// Why no connection to the endpoint came about.
    UpstreamTransportFailureReason = Upstream "transport_failure_reason",
    /// Number of the current try, 0 before the first.
    UpstreamRequestAttemptCount = Upstream "request_attempt_count",
    /// How long the last try waited for a connection.
    UpstreamPoolReadyDuration = Upstream "cx_pool_ready_duration",
    /// Name of the cluster.
    XdsClusterName = Xds "cluster_name",
    /// Name of the route.
    XdsRouteName = Xds "route_name",
    /// Name of the virtual host.
    XdsVirtualHostName = Xds "virtual_host_name",
    /// What Istio notes of the endpoint.
    XdsUpstreamHostMetadata = Xds "upstream_host_metadata",
    /// What Istio notes of the endpoint's place: nothing.
    XdsUpstreamHostLocalityMetadata = Xds "upstream_host_locality_metadata",
    /// What Istio notes of the cluster.
    XdsClusterMetadata = Xds "cluster_metadata",
    /// What Istio notes of the route.
    XdsRouteMetadata = Xds "route_metadata",
    /// What Istio notes of the listener: nothing.
    XdsListenerMetadata = Xds "listener_metadata",
    /// That traffic goes out of the mesh's proxy, as it does through any gateway of Istio's.
    XdsListenerDirection = Xds "listener_direction",
    /// Istio gives a gateway's filter chains no name.
    XdsFilterChainName = Xds "filter_chain_name",
    /// What Envoy knows of itself.
    XdsNode = Xds "node",
}
