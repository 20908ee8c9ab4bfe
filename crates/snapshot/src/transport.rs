//! What is said on a new connection to an upstream before the first byte of the client's, and what keeps it alive.

use std::sync::Arc;
use std::time::Duration;

/// How connections of a cluster are introduced and kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transport {
    /// Version of the PROXY protocol header sent first (`trafficPolicy.proxyProtocol`); `None` = no header.
    pub proxy_protocol: Option<ProxyVersion>,
    /// PINGs on connections of HTTP/2 (`http.http2KeepAlive`); `None` = never.
    pub http2_keepalive: Option<Http2Keepalive>,
}

/// Version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

/// PINGs of HTTP/2 (RFC 9113 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Keepalive {
    /// From one PING to the next; not zero.
    pub interval: Duration,
    /// A PING not answered for so long ends the connection; not zero.
    pub timeout: Duration,
}

/// A tunnel that bytes are carried through (`trafficPolicy.tunnel`): another proxy connects on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// How it is asked for.
    pub method: TunnelMethod,
    /// Where it leads: `host:port`, with brackets around an IPv6 address.
    pub target: Arc<str>,
}

/// How a tunnel is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelMethod {
    /// CONNECT (RFC 9110 §9.3.6).
    Connect,
    /// POST to `/`, with both bodies as the tunnel.
    Post,
}
