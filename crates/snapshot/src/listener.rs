//! Listeners and their filter chains: what happens to a new connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::action::Destinations;
use crate::cidr::Cidr;
use crate::cluster::HashPolicy;
use crate::host::HostIndex;
use crate::route::{Origin, RouteTable};
use crate::tls::ServerTls;

/// One open port.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Address to bind; `None` = every address.
    pub bind: Option<IpAddr>,
    /// Port bound.
    pub port: u16,
    /// `0.0.0.0_8080`, as Istio names it.
    pub name: Arc<str>,
    /// Chain for connections that are not TLS.
    pub plain: Option<Arc<FilterChain>>,
    /// Chains for TLS connections by SNI; the `*` entry takes connections without SNI, too.
    pub tls: HostIndex<Arc<FilterChain>>,
    /// Whether some of those chains carries bytes, and so perhaps PostgreSQL. There may be thousands of them, and each
    /// connection asks.
    pub carries_bytes: bool,
    /// What to do with PROXY protocol headers; `None` = nothing, they are bytes like any other.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// That clients of a listener put a PROXY protocol header (version 1 or 2) before everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Whether the header may be missing.
    pub demand: HeaderDemand,
    /// Whose headers are believed; empty = everyone's. What other peers send is not looked at: they are clients
    /// themselves.
    pub trusted: Vec<Cidr>,
}

impl ProxyProtocol {
    /// Whether a header of `peer` is believed.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.is_empty() || self.trusted.iter().any(|range| range.contains(peer))
    }
}

/// Whether a PROXY protocol header may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderDemand {
    /// A connection without one is closed: what `gatewayTopology.proxyProtocol` means.
    Required,
    /// A connection without one is a client's own.
    Optional,
}

impl Listener {
    /// What makes it the same listener across snapshots.
    #[must_use]
    pub fn key(&self) -> ListenerKey {
        ListenerKey { bind: self.bind, port: self.port }
    }
}

/// Identity of a listener across snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerKey {
    /// Address bound; `None` = every address.
    pub bind: Option<IpAddr>,
    /// Port bound.
    pub port: u16,
}

/// What is done with the connections that were sorted into it.
#[derive(Debug, Clone)]
pub struct FilterChain {
    /// Name for logs: Gateway, server and port.
    pub name: Arc<str>,
    /// The Gateway server it comes from, `Gateway istio-system/gw servers[1]`.
    pub origin: Arc<str>,
    /// The port number its Gateway declares (not the one bound).
    pub declared_port: u16,
    /// TLS handling.
    pub tls: ChainTls,
    /// The protocol inside.
    pub service: ChainService,
}

/// TLS handling of a chain.
#[derive(Debug, Clone)]
pub enum ChainTls {
    /// Plaintext, or TLS that is passed through untouched.
    None,
    /// Terminated here.
    Terminate(Arc<ServerTls>),
    /// The certificate cannot be had: handshakes fail, other chains are unaffected.
    Unavailable {
        /// For logs and `explain`, e.g. `secret istio-system/app-cert not found`.
        reason: Arc<str>,
    },
}

/// Protocol carried by a chain.
#[derive(Debug, Clone)]
pub enum ChainService {
    /// HTTP/1.1 and HTTP/2.
    Http(Arc<RouteTable>),
    /// Bytes, to one upstream connection.
    Tcp(Arc<TcpRoute>),
    /// Nowhere to go: the connection is closed (a TLS chain without route).
    Nothing,
}

/// A TCP or TLS route.
#[derive(Debug)]
pub struct TcpRoute {
    /// Where it was written.
    pub origin: Origin,
    /// Where to.
    pub destinations: Destinations,
    /// Time without a byte in either direction; `None` = unbounded.
    pub idle_timeout: Option<Duration>,
    /// Longest life of a connection.
    pub max_duration: Option<Duration>,
    /// Consistent hashing, by source address only.
    pub hash: Vec<HashPolicy>,
    /// The destination is a proxy that the bytes are led through.
    pub tunnel: Option<Tunnel>,
}

/// A way through another proxy (`tunnel` of a DestinationRule).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Host and port it leads to.
    pub authority: Box<str>,
    /// The request that opens it.
    pub method: TunnelMethod,
}

/// How a tunnel is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelMethod {
    /// `CONNECT`.
    Connect,
    /// `POST`, its bodies carry the bytes.
    Post,
}
