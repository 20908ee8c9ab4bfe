//! Operators without argument.

macro_rules! plain_operators {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// Operators without argument.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum PlainOperator {
            $($(#[doc = $doc])* $name,)*
        }

        impl PlainOperator {
            /// The operator written as `text` between percent signs.
            pub(super) fn named(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// As written between percent signs.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

impl PlainOperator {
    /// Whether requests have to be counted or timed on their way for it.
    pub(super) fn is_measured(self) -> bool {
        matches!(
            self,
            Self::UpstreamConnectionPoolReadyDuration
                | Self::RouteResolutionTimeUs
                | Self::DownstreamHeaderBytesReceived
                | Self::DownstreamDecompressedHeaderBytesReceived
                | Self::DownstreamWireBytesReceived
                | Self::UpstreamHeaderBytesSent
                | Self::UpstreamDecompressedHeaderBytesSent
                | Self::UpstreamWireBytesSent
                | Self::UpstreamHeaderBytesReceived
                | Self::UpstreamDecompressedHeaderBytesReceived
                | Self::UpstreamWireBytesReceived
        )
    }
}

plain_operators! {
    /// Trusted client address with port.
    DownstreamRemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS",
    /// Trusted client address.
    DownstreamRemoteAddressWithoutPort = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Port of the trusted client.
    DownstreamRemotePort = "DOWNSTREAM_REMOTE_PORT",
    /// TCP peer with port.
    DownstreamDirectRemoteAddress = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    /// TCP peer.
    DownstreamDirectRemoteAddressWithoutPort = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Port of the TCP peer.
    DownstreamDirectRemotePort = "DOWNSTREAM_DIRECT_REMOTE_PORT",
    /// Own address of the downstream connection, with port.
    DownstreamLocalAddress = "DOWNSTREAM_LOCAL_ADDRESS",
    /// Own address of the downstream connection.
    DownstreamLocalAddressWithoutPort = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    /// Own port of the downstream connection.
    DownstreamLocalPort = "DOWNSTREAM_LOCAL_PORT",
    /// Own address that the client connected to, with port.
    DownstreamDirectLocalAddress = "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    /// Own address that the client connected to.
    DownstreamDirectLocalAddressWithoutPort = "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    /// Own port that the client connected to.
    DownstreamDirectLocalPort = "DOWNSTREAM_DIRECT_LOCAL_PORT",
    /// `TLSv1.2` or `TLSv1.3`.
    DownstreamTlsVersion = "DOWNSTREAM_TLS_VERSION",
    /// OpenSSL name of the cipher suite.
    DownstreamTlsCipher = "DOWNSTREAM_TLS_CIPHER",
    /// Group of the key exchange, as OpenSSL calls it.
    DownstreamTlsGroup = "DOWNSTREAM_TLS_GROUP",
    /// Subject of the certificate shown to the client, RFC 2253.
    DownstreamLocalSubject = "DOWNSTREAM_LOCAL_SUBJECT",
    /// URI subject alternative names of that certificate, comma-joined.
    DownstreamLocalUriSan = "DOWNSTREAM_LOCAL_URI_SAN",
    /// DNS subject alternative names of that certificate, comma-joined.
    DownstreamLocalDnsSan = "DOWNSTREAM_LOCAL_DNS_SAN",
    /// Email subject alternative names of that certificate, comma-joined.
    DownstreamLocalEmailSan = "DOWNSTREAM_LOCAL_EMAIL_SAN",
    /// IP subject alternative names of that certificate, comma-joined.
    DownstreamLocalIpSan = "DOWNSTREAM_LOCAL_IP_SAN",
    /// Other subject alternative names of that certificate, comma-joined.
    DownstreamLocalOtherNameSan = "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    /// Subject of the client certificate, RFC 2253.
    DownstreamPeerSubject = "DOWNSTREAM_PEER_SUBJECT",
    /// URI subject alternative names of the client certificate, comma-joined.
    DownstreamPeerUriSan = "DOWNSTREAM_PEER_URI_SAN",
    /// DNS subject alternative names of the client certificate, comma-joined.
    DownstreamPeerDnsSan = "DOWNSTREAM_PEER_DNS_SAN",
    /// Email subject alternative names of the client certificate, comma-joined.
    DownstreamPeerEmailSan = "DOWNSTREAM_PEER_EMAIL_SAN",
    /// IP subject alternative names of the client certificate, comma-joined.
    DownstreamPeerIpSan = "DOWNSTREAM_PEER_IP_SAN",
    /// Other subject alternative names of the client certificate, comma-joined.
    DownstreamPeerOtherNameSan = "DOWNSTREAM_PEER_OTHERNAME_SAN",
    /// URL-encoded PEM of the client certificate.
    DownstreamPeerCert = "DOWNSTREAM_PEER_CERT",
    /// Issuer of the client certificate, RFC 2253.
    DownstreamPeerIssuer = "DOWNSTREAM_PEER_ISSUER",
    /// Hex serial number of the client certificate.
    DownstreamPeerSerial = "DOWNSTREAM_PEER_SERIAL",
    /// Hex SHA-256 of the certificate that the client certificate was found to be issued by.
    DownstreamPeerIssuerFingerprint256 = "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
    /// Hex serial number of that certificate.
    DownstreamPeerIssuerSerial = "DOWNSTREAM_PEER_ISSUER_SERIAL",
    /// Hex SHA-256 of the client certificate.
    DownstreamPeerFingerprint256 = "DOWNSTREAM_PEER_FINGERPRINT_256",
    /// Hex SHA-1 of the client certificate.
    DownstreamPeerFingerprint1 = "DOWNSTREAM_PEER_FINGERPRINT_1",
    /// Hex SHA-256 of each certificate that the client sent, comma-joined.
    DownstreamPeerChainFingerprints256 = "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    /// Hex SHA-1 of each certificate that the client sent, comma-joined.
    DownstreamPeerChainFingerprints1 = "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    /// Hex serial number of each certificate that the client sent, comma-joined.
    DownstreamPeerChainSerials = "DOWNSTREAM_PEER_CHAIN_SERIALS",
    /// Number of the downstream connection in this process.
    ConnectionId = "CONNECTION_ID",
    /// Another UUID each time.
    UniqueId = "UNIQUE_ID",
    /// The UUID of the request, which is its `x-request-id`.
    StreamId = "STREAM_ID",
    /// `HTTP/1.1`, `HTTP/2`.
    Protocol = "PROTOCOL",
    /// `HTTP/1.1`, `HTTP/2`, as spoken to the upstream that answered.
    UpstreamProtocol = "UPSTREAM_PROTOCOL",
    /// SNI of the downstream connection.
    RequestedServerName = "REQUESTED_SERVER_NAME",
    /// Name of the route.
    RouteName = "ROUTE_NAME",
    /// Name of the virtual host.
    VirtualClusterName = "VIRTUAL_CLUSTER_NAME",
    /// Status of the upstream's response; 0 before it and in the gateway's own answers.
    ResponseCode = "RESPONSE_CODE",
    /// Why that status was sent.
    ResponseCodeDetails = "RESPONSE_CODE_DETAILS",
    /// Short response flags, `-` when none.
    ResponseFlags = "RESPONSE_FLAGS",
    /// Response flags in words, `-` when none.
    ResponseFlagsLong = "RESPONSE_FLAGS_LONG",
    /// Address of the upstream connection's other end, with port.
    UpstreamRemoteAddress = "UPSTREAM_REMOTE_ADDRESS",
    /// Address of the upstream connection's other end.
    UpstreamRemoteAddressWithoutPort = "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Port of the upstream connection's other end.
    UpstreamRemotePort = "UPSTREAM_REMOTE_PORT",
    /// Address of the endpoint, with port.
    UpstreamHost = "UPSTREAM_HOST",
    /// Name of the endpoint where it was found by one, else its address with port.
    UpstreamHostName = "UPSTREAM_HOST_NAME",
    /// The same without the port.
    UpstreamHostNameWithoutPort = "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    /// Address of the endpoint once there was a connection to it: each try starts anew.
    UpstreamHostsAttempted = "UPSTREAM_HOSTS_ATTEMPTED",
    /// The same without the port.
    UpstreamHostsAttemptedWithoutPort = "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    /// Name of the endpoint once there was a connection to it.
    UpstreamHostNamesAttempted = "UPSTREAM_HOST_NAMES_ATTEMPTED",
    /// The same without the port.
    UpstreamHostNamesAttemptedWithoutPort = "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    /// Number of the upstream connection in this process, 0 before there is one.
    UpstreamConnectionId = "UPSTREAM_CONNECTION_ID",
    /// The same, and nothing before there is one.
    UpstreamConnectionIdsAttempted = "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    /// Name of the cluster as statistics have it: Istio ends it with a semicolon.
    UpstreamCluster = "UPSTREAM_CLUSTER",
    /// Name of the cluster.
    UpstreamClusterRaw = "UPSTREAM_CLUSTER_RAW",
    /// Why no connection to the endpoint came about.
    UpstreamTransportFailureReason = "UPSTREAM_TRANSPORT_FAILURE_REASON",
    /// Number of the current try, 0 before the first.
    UpstreamRequestAttemptCount = "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    /// Own address of the upstream connection.
    UpstreamLocalAddress = "UPSTREAM_LOCAL_ADDRESS",
    /// Own address of the upstream connection, without its port.
    UpstreamLocalAddressWithoutPort = "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    /// Own port of the upstream connection.
    UpstreamLocalPort = "UPSTREAM_LOCAL_PORT",
    /// `TLSv1.2` or `TLSv1.3`, towards the upstream.
    UpstreamTlsVersion = "UPSTREAM_TLS_VERSION",
    /// OpenSSL name of the cipher suite towards the upstream.
    UpstreamTlsCipher = "UPSTREAM_TLS_CIPHER",
    /// Group of the key exchange with the upstream.
    UpstreamTlsGroup = "UPSTREAM_TLS_GROUP",
    /// Server name sent to the upstream.
    UpstreamServerName = "UPSTREAM_SERVER_NAME",
    /// Subject of the upstream's certificate, RFC 2253.
    UpstreamPeerSubject = "UPSTREAM_PEER_SUBJECT",
    /// Issuer of the upstream's certificate, RFC 2253.
    UpstreamPeerIssuer = "UPSTREAM_PEER_ISSUER",
    /// URI subject alternative names of the upstream's certificate, comma-joined.
    UpstreamPeerUriSan = "UPSTREAM_PEER_URI_SAN",
    /// DNS subject alternative names of the upstream's certificate, comma-joined.
    UpstreamPeerDnsSan = "UPSTREAM_PEER_DNS_SAN",
    /// IP subject alternative names of the upstream's certificate, comma-joined.
    UpstreamPeerIpSan = "UPSTREAM_PEER_IP_SAN",
    /// URL-encoded PEM of the upstream's certificate.
    UpstreamPeerCert = "UPSTREAM_PEER_CERT",
    /// URI subject alternative names of the certificate shown to the upstream, comma-joined.
    UpstreamLocalUriSan = "UPSTREAM_LOCAL_URI_SAN",
    /// DNS subject alternative names of the certificate shown to the upstream, comma-joined.
    UpstreamLocalDnsSan = "UPSTREAM_LOCAL_DNS_SAN",
    /// IP subject alternative names of the certificate shown to the upstream, comma-joined.
    UpstreamLocalIpSan = "UPSTREAM_LOCAL_IP_SAN",
    /// Whether the client's connection was ended, and how; as long as it serves requests, it was not.
    DownstreamDetectedCloseType = "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    /// The same of the upstream's.
    UpstreamDetectedCloseType = "UPSTREAM_DETECTED_CLOSE_TYPE",
    /// Milliseconds until the request had been received to its end.
    RequestDuration = "REQUEST_DURATION",
    /// Milliseconds until the request had been sent to its end.
    RequestTxDuration = "REQUEST_TX_DURATION",
    /// Milliseconds until the upstream's answer began.
    ResponseDuration = "RESPONSE_DURATION",
    /// Milliseconds from the beginning of the request to the end of the TLS handshake: it lies before it.
    DownstreamHandshakeDuration = "DOWNSTREAM_HANDSHAKE_DURATION",
    /// Milliseconds for which the last try waited for a connection.
    UpstreamConnectionPoolReadyDuration = "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    /// How often a route was looked for: once.
    RouteResolutionCount = "ROUTE_RESOLUTION_COUNT",
    /// Microseconds that it took to find the route.
    RouteResolutionTimeUs = "ROUTE_RESOLUTION_TIME_US",
    /// Names and values of the request's header as it is now, in bytes.
    RequestHeadersBytes = "REQUEST_HEADERS_BYTES",
    /// Names and values of the response's header as it is now, in bytes.
    ResponseHeadersBytes = "RESPONSE_HEADERS_BYTES",
    /// Header bytes of the request on the client's connection.
    DownstreamHeaderBytesReceived = "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    /// The same before HTTP/2 compressed them.
    DownstreamDecompressedHeaderBytesReceived = "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    /// Bytes of the request on the client's connection, framing included.
    DownstreamWireBytesReceived = "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    /// Header bytes of the request on the upstream's connection.
    UpstreamHeaderBytesSent = "UPSTREAM_HEADER_BYTES_SENT",
    /// The same before HTTP/2 compressed them.
    UpstreamDecompressedHeaderBytesSent = "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    /// Bytes of the request on the upstream's connection, framing included.
    UpstreamWireBytesSent = "UPSTREAM_WIRE_BYTES_SENT",
    /// Header bytes of the response on the upstream's connection.
    UpstreamHeaderBytesReceived = "UPSTREAM_HEADER_BYTES_RECEIVED",
    /// The same before HTTP/2 compressed them.
    UpstreamDecompressedHeaderBytesReceived = "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    /// Bytes of the response that have come on the upstream's connection, framing included.
    UpstreamWireBytesReceived = "UPSTREAM_WIRE_BYTES_RECEIVED",
    /// Bytes of request body received.
    BytesReceived = "BYTES_RECEIVED",
    /// Bytes of response body sent.
    BytesSent = "BYTES_SENT",
    /// Milliseconds since the request began.
    Duration = "DURATION",
    /// The gateway's host name.
    Hostname = "HOSTNAME",
}
