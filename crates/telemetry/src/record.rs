//! What is known about a request or a connection when it ends.
//!
//! A record is a plain struct that the data plane fills as it goes; building one allocates nothing:
//! texts are slices of the message's own buffer (`Bytes`) or shared with the configuration (`Arc`).
//! `None` is printed as `-` (TEXT) or `null` (JSON).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::Endpoint;

use crate::details::Details;
use crate::flags::Flags;

/// One HTTP request (one stream of HTTP/2), from its first byte to the last one sent.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// When its first byte arrived.
    pub started: SystemTime,
    /// From the first byte received to the last byte sent downstream.
    pub duration: Duration,
    /// From the first byte received to the first response byte from the upstream.
    pub first_byte: Option<Duration>,
    /// `:method`.
    pub method: Option<Bytes>,
    /// Path with query as the client sent it, before any rewrite.
    pub path: Option<Bytes>,
    /// HTTP version spoken by the client.
    pub protocol: Option<Protocol>,
    /// `:authority`.
    pub authority: Option<Bytes>,
    /// Status sent; 0 when none ever was.
    pub response_code: u16,
    /// Why it ended this way.
    pub flags: Flags,
    /// Who decided on the answer.
    pub details: Option<Details>,
    /// Why the connection under it was closed by the gateway.
    pub connection_termination_details: Option<Cow<'static, str>>,
    /// What connecting or TLS towards the upstream said.
    pub upstream_transport_failure_reason: Option<Cow<'static, str>>,
    /// Bytes of request body received.
    pub bytes_received: u64,
    /// Bytes of response body sent.
    pub bytes_sent: u64,
    /// Bytes of request header and body received, for `istio_request_bytes`.
    pub wire_received: u64,
    /// Bytes of response header and body sent, for `istio_response_bytes`.
    pub wire_sent: u64,
    /// `x-envoy-upstream-service-time` of the response, in milliseconds.
    pub upstream_service_time: Option<u64>,
    /// `x-forwarded-for` as sent upstream.
    pub x_forwarded_for: Option<Bytes>,
    /// `user-agent`.
    pub user_agent: Option<Bytes>,
    /// `x-request-id` as sent upstream.
    pub request_id: Option<Bytes>,
    /// The cluster chosen by the route.
    pub cluster: Option<Arc<Cluster>>,
    /// The endpoint tried last.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Own address of the upstream connection.
    pub upstream_local_address: Option<SocketAddr>,
    /// Own address of the downstream connection.
    pub downstream_local_address: Option<SocketAddr>,
    /// The trusted client; port 0 when it came from `x-forwarded-for`.
    pub downstream_remote_address: Option<SocketAddr>,
    /// SNI of the downstream connection.
    pub sni: Option<Arc<str>>,
    /// Name of the route; an empty one counts as none.
    pub route_name: Option<Arc<str>>,
    /// Whether the request's content type is gRPC.
    pub grpc: bool,
    /// `grpc-status` sent.
    pub grpc_status: Option<u16>,
    /// gRPC messages from the client, not counted by [`Shard::record_messages`] yet.
    ///
    /// [`Shard::record_messages`]: crate::metrics::Shard::record_messages
    pub request_messages: u64,
    /// gRPC messages to the client, not counted yet.
    pub response_messages: u64,
    /// Which object is to blame for a 404 or a 503. Portcullis only: JSON key `portcullis_reason`,
    /// left out when `None`.
    pub reason: Option<Box<Reason>>,
}

impl RequestRecord {
    /// An empty record of a request that began at `started`.
    #[must_use]
    pub const fn new(started: SystemTime) -> Self {
        Self {
            started,
            duration: Duration::ZERO,
            first_byte: None,
            method: None,
            path: None,
            protocol: None,
            authority: None,
            response_code: 0,
            flags: Flags::NONE,
            details: None,
            connection_termination_details: None,
            upstream_transport_failure_reason: None,
            bytes_received: 0,
            bytes_sent: 0,
            wire_received: 0,
            wire_sent: 0,
            upstream_service_time: None,
            x_forwarded_for: None,
            user_agent: None,
            request_id: None,
            cluster: None,
            endpoint: None,
            upstream_local_address: None,
            downstream_local_address: None,
            downstream_remote_address: None,
            sni: None,
            route_name: None,
            grpc: false,
            grpc_status: None,
            request_messages: 0,
            response_messages: 0,
            reason: None,
        }
    }
}

/// One TCP session or TLS passthrough connection, or a connection that no filter chain took.
#[derive(Debug, Clone)]
pub struct TcpRecord {
    /// When it was accepted.
    pub started: SystemTime,
    /// Until it was closed.
    pub duration: Duration,
    /// Why it ended this way.
    pub flags: Flags,
    /// `filter_chain_not_found`, or nothing.
    pub details: Option<Details>,
    /// Why the gateway closed it.
    pub connection_termination_details: Option<Cow<'static, str>>,
    /// What connecting or TLS towards the upstream said.
    pub upstream_transport_failure_reason: Option<Cow<'static, str>>,
    /// Bytes from the client.
    pub bytes_received: u64,
    /// Bytes to the client.
    pub bytes_sent: u64,
    /// The cluster chosen by the route.
    pub cluster: Option<Arc<Cluster>>,
    /// The endpoint tried last.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Own address of the upstream connection.
    pub upstream_local_address: Option<SocketAddr>,
    /// Own address of the downstream connection.
    pub downstream_local_address: Option<SocketAddr>,
    /// The client.
    pub downstream_remote_address: Option<SocketAddr>,
    /// SNI of the connection.
    pub sni: Option<Arc<str>>,
    /// Name of the route; an empty one counts as none.
    pub route_name: Option<Arc<str>>,
    /// Which object is to blame.
    pub reason: Option<Reason>,
}

impl TcpRecord {
    /// An empty record of a connection accepted at `started`.
    #[must_use]
    pub const fn new(started: SystemTime) -> Self {
        Self {
            started,
            duration: Duration::ZERO,
            flags: Flags::NONE,
            details: None,
            connection_termination_details: None,
            upstream_transport_failure_reason: None,
            bytes_received: 0,
            bytes_sent: 0,
            cluster: None,
            endpoint: None,
            upstream_local_address: None,
            downstream_local_address: None,
            downstream_remote_address: None,
            sni: None,
            route_name: None,
            reason: None,
        }
    }
}

/// HTTP version of the downstream side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`
    Http11,
    /// `HTTP/2`
    Http2,
    /// `HTTP/3`
    Http3,
}

impl Protocol {
    /// As logged.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

/// Which object led to a refusal, and how: logged as `<object>: <why>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// `VirtualService default/app http[0]`, `Gateway istio-system/gw servers[1]`, …; `None` when no
    /// object is to blame.
    pub object: Option<Arc<str>>,
    /// In a few words.
    pub why: Cow<'static, str>,
}
