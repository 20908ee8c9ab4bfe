//! Values of operators without argument.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use portcullis_snapshot::cluster::{Address, Endpoint};
use portcullis_snapshot::template::PlainOperator as Op;
use portcullis_telemetry::flags::Flags;
use portcullis_telemetry::record::Protocol;

use super::Facts;
use super::tls::{cipher, group, joined, version};
use crate::connection::TlsSession;
use crate::connection::peer_certificate::PeerCertificate;
use crate::filter::forwarded::random_uuid;
use crate::upstream::link::Link;

impl Facts<'_> {
    /// Appends the value of `operator`.
    pub(super) fn plain(&self, operator: Op, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = self.write_request(operator, out);
    }

    /// The address that an operator speaks of, with or without its port.
    pub(super) fn address(&self, operator: Op) -> Option<SocketAddr> {
        let exchange = self.exchange;
        match operator {
            Op::DownstreamRemoteAddress
            | Op::DownstreamRemoteAddressWithoutPort
            | Op::DownstreamRemotePort => Some(exchange.client()),
            Op::DownstreamDirectRemoteAddress
            | Op::DownstreamDirectRemoteAddressWithoutPort
            | Op::DownstreamDirectRemotePort => Some(exchange.connection.direct),
            Op::DownstreamLocalAddress
            | Op::DownstreamLocalAddressWithoutPort
            | Op::DownstreamLocalPort
            | Op::DownstreamDirectLocalAddress
            | Op::DownstreamDirectLocalAddressWithoutPort
            | Op::DownstreamDirectLocalPort => Some(exchange.connection.local),
            Op::UpstreamRemoteAddress | Op::UpstreamRemoteAddressWithoutPort | Op::UpstreamRemotePort => {
                self.reached()?.address.inet()
            }
            Op::UpstreamLocalAddress | Op::UpstreamLocalAddressWithoutPort | Op::UpstreamLocalPort => {
                self.link()?.local
            }
            _ => None,
        }
    }

    /// Facts of the client's certificate.
    pub(super) fn client_certificate(&self) -> Option<&PeerCertificate> {
        self.tls()?.peer()
    }

    /// Facts of the upstream's certificate.
    pub(super) fn upstream_certificate(&self) -> Option<&PeerCertificate> {
        self.upstream_tls()?.peer()
    }

    /// What TLS with the client settled.
    pub(super) fn tls(&self) -> Option<&TlsSession> {
        self.exchange.connection.tls.as_ref()
    }

    /// What TLS with the upstream settled.
    pub(super) fn upstream_tls(&self) -> Option<&TlsSession> {
        self.link()?.tls.as_ref()
    }

    /// The upstream connection of the last try; a request has none yet.
    pub(super) fn link(&self) -> Option<&Link> {
        self.exchange.link.as_deref()
    }

    /// When all of the request had been received, since it began.
    pub(super) fn received(&self) -> Option<Duration> {
        if self.exchange.request.has_body { self.sent() } else { Some(Duration::ZERO) }
    }

    /// When all of the request had been sent to the upstream that answers, since it began.
    pub(super) fn sent(&self) -> Option<Duration> {
        let sent = self.exchange.sent.filter(|_| self.upstream_status != 0)?;
        Some(sent.saturating_duration_since(self.exchange.record.arrived()))
    }

    /// The endpoint of the last try.
    fn endpoint(&self) -> Option<&Endpoint> {
        self.exchange.record.inner.endpoint.as_deref()
    }

    /// The endpoint of the last try, if there was a connection to it.
    fn reached(&self) -> Option<&Endpoint> {
        self.link().and_then(|_| self.endpoint())
    }

    /// What is known of the request, its route and its response.
    fn write_request(&self, operator: Op, out: &mut Vec<u8>) -> io::Result<()> {
        let exchange = self.exchange;
        let record = &exchange.record.inner;
        match operator {
            Op::Protocol => show(out, record.protocol.map(Protocol::as_str)),
            Op::RequestedServerName => show(out, exchange.connection.server_name()),
            Op::RouteName => show(out, record.route_name.as_deref()),
            Op::VirtualClusterName => Ok(()),
            Op::ResponseCode => show(out, Some(self.upstream_status)),
            // A header value has no blanks that something behind it might split it at.
            Op::ResponseCodeDetails => {
                show(out, record.details.as_ref().map(|details| details.as_str().replace(' ', "_")))
            }
            Op::ResponseFlags => {
                record.flags.write_short(out);
                Ok(())
            }
            Op::ResponseFlagsLong => long_flags(record.flags, out),
            Op::BytesReceived => show(out, Some(record.bytes_received)),
            Op::BytesSent => show(out, Some(record.bytes_sent)),
            Op::Duration => show(out, Some(exchange.record.elapsed().as_millis())),
            Op::RequestDuration => show(out, self.received().map(|received| received.as_millis())),
            Op::RequestTxDuration => show(out, self.sent().map(|sent| sent.as_millis())),
            Op::ResponseDuration => {
                let first = record.first_byte.filter(|_| self.upstream_status != 0);
                show(out, first.map(|first| first.as_millis()))
            }
            Op::Hostname => show(out, Some(&exchange.worker().config.hostname)),
            Op::ConnectionId => show(out, Some(exchange.connection.number())),
            Op::StreamId => {
                out.extend_from_slice(record.request_id.as_deref().unwrap_or_default());
                Ok(())
            }
            Op::UniqueId => {
                out.extend_from_slice(&exchange.worker().with_dice(random_uuid));
                Ok(())
            }
            Op::DownstreamDetectedCloseType => show(out, Some("Normal")),
            other => self.write_connection(other, out),
        }
    }

    /// What is known of the client's connection.
    fn write_connection(&self, operator: Op, out: &mut Vec<u8>) -> io::Result<()> {
        let address = self.address(operator);
        let (tls, peer) = (self.tls(), self.client_certificate());
        let own = tls.and_then(TlsSession::own);
        match operator {
            Op::DownstreamRemoteAddress
            | Op::DownstreamDirectRemoteAddress
            | Op::DownstreamLocalAddress
            | Op::DownstreamDirectLocalAddress
            | Op::UpstreamLocalAddress => show(out, address),
            Op::DownstreamRemoteAddressWithoutPort
            | Op::DownstreamDirectRemoteAddressWithoutPort
            | Op::DownstreamLocalAddressWithoutPort
            | Op::DownstreamDirectLocalAddressWithoutPort
            | Op::UpstreamRemoteAddressWithoutPort
            | Op::UpstreamLocalAddressWithoutPort => show(out, address.map(|address| address.ip())),
            Op::DownstreamRemotePort
            | Op::DownstreamDirectRemotePort
            | Op::DownstreamLocalPort
            | Op::DownstreamDirectLocalPort
            | Op::UpstreamRemotePort
            | Op::UpstreamLocalPort => show(out, address.map(|address| address.port())),
            Op::DownstreamTlsVersion => show(out, tls.map(|tls| version(tls.version))),
            Op::DownstreamTlsCipher => show(out, tls.map(|tls| cipher(tls.cipher))),
            Op::DownstreamTlsGroup => show(out, tls.and_then(|tls| tls.group).map(group)),
            Op::DownstreamLocalSubject => show(out, own.map(|own| &own.subject)),
            Op::DownstreamLocalUriSan => show(out, Some(joined(own, |own| &own.uris))),
            Op::DownstreamLocalDnsSan => show(out, Some(joined(own, |own| &own.names))),
            Op::DownstreamLocalEmailSan => show(out, Some(joined(own, |own| &own.emails))),
            Op::DownstreamLocalIpSan => show(out, Some(joined(own, |own| &own.addresses))),
            Op::DownstreamPeerSubject => show(out, peer.map(|peer| &peer.subject)),
            Op::DownstreamPeerIssuer => show(out, peer.map(|peer| &peer.issuer)),
            Op::DownstreamPeerSerial => show(out, peer.map(|peer| &peer.serial)),
            Op::DownstreamPeerUriSan => show(out, Some(joined(peer, |peer| &peer.uris))),
            Op::DownstreamPeerDnsSan => show(out, Some(joined(peer, |peer| &peer.names))),
            Op::DownstreamPeerEmailSan => show(out, Some(joined(peer, |peer| &peer.emails))),
            Op::DownstreamPeerIpSan => show(out, Some(joined(peer, |peer| &peer.addresses))),
            Op::DownstreamPeerOtherNameSan => show(out, Some(joined(peer, |peer| &peer.others))),
            Op::DownstreamLocalOtherNameSan => show(out, Some(joined(own, |own| &own.others))),
            Op::DownstreamPeerIssuerFingerprint256 => {
                show(out, tls.and_then(TlsSession::issuer).map(|issuer| &issuer.fingerprint))
            }
            Op::DownstreamPeerIssuerSerial => {
                show(out, tls.and_then(TlsSession::issuer).map(|issuer| &issuer.serial))
            }
            Op::DownstreamPeerCert => show(out, peer.map(PeerCertificate::pem)),
            Op::DownstreamPeerFingerprint256 => show(out, peer.map(|peer| &peer.fingerprint)),
            Op::DownstreamPeerFingerprint1 => show(out, peer.map(|peer| &peer.fingerprint_1)),
            Op::DownstreamPeerChainFingerprints256 => chain(out, tls, |one| one.fingerprint),
            Op::DownstreamPeerChainFingerprints1 => chain(out, tls, |one| one.fingerprint_1),
            Op::DownstreamPeerChainSerials => chain(out, tls, |one| one.serial),
            other => self.write_upstream(other, out),
        }
    }

    /// What is known of the upstream.
    fn write_upstream(&self, operator: Op, out: &mut Vec<u8>) -> io::Result<()> {
        let record = &self.exchange.record.inner;
        let (link, endpoint, reached) = (self.link(), self.endpoint(), self.reached());
        match operator {
            Op::UpstreamProtocol => show(out, self.upstream_protocol()),
            Op::UpstreamHost => show(out, endpoint.map(first_address)),
            Op::UpstreamHostName => show(out, endpoint.map(name)),
            Op::UpstreamHostNameWithoutPort => show(out, endpoint.map(name_without_port)),
            Op::UpstreamRemoteAddress | Op::UpstreamHostsAttempted => show(out, reached.map(first_address)),
            Op::UpstreamHostsAttemptedWithoutPort => show(out, reached.map(address_without_port)),
            Op::UpstreamHostNamesAttempted => show(out, reached.map(name)),
            Op::UpstreamHostNamesAttemptedWithoutPort => show(out, reached.map(name_without_port)),
            Op::UpstreamConnectionId => show(out, Some(link.map_or(0, |link| link.number))),
            Op::UpstreamConnectionIdsAttempted => show(out, link.map(|link| link.number)),
            Op::UpstreamDetectedCloseType => show(out, endpoint.map(|_| "Normal")),
            Op::UpstreamCluster => show(out, self.cluster().map(|cluster| format!("{};", cluster.name))),
            Op::UpstreamClusterRaw => show(out, self.cluster().map(|cluster| &cluster.name)),
            // A header value has no blanks that something behind it might split it at.
            Op::UpstreamTransportFailureReason => {
                let reason = record.upstream_transport_failure_reason.as_deref();
                show(out, reason.map(|reason| reason.replace(' ', "_")))
            }
            // Numbered in the request itself, where a client's own number has been dropped.
            Op::UpstreamRequestAttemptCount => {
                let headers = &self.exchange.request.headers;
                show(out, Some(headers.first_str("x-envoy-attempt-count").unwrap_or("0")))
            }
            other => self.write_upstream_tls(other, out),
        }
    }

    /// The same of TLS with it.
    fn write_upstream_tls(&self, operator: Op, out: &mut Vec<u8>) -> io::Result<()> {
        let (tls, peer) = (self.upstream_tls(), self.upstream_certificate());
        let own = tls.and_then(TlsSession::own);
        match operator {
            Op::UpstreamTlsVersion => show(out, tls.map(|tls| version(tls.version))),
            Op::UpstreamTlsCipher => show(out, tls.map(|tls| cipher(tls.cipher))),
            Op::UpstreamTlsGroup => show(out, tls.and_then(|tls| tls.group).map(group)),
            Op::UpstreamServerName => show(out, tls.and_then(|tls| tls.server_name.as_deref())),
            Op::UpstreamPeerSubject => show(out, peer.map(|peer| &peer.subject)),
            Op::UpstreamPeerIssuer => show(out, peer.map(|peer| &peer.issuer)),
            Op::UpstreamPeerUriSan => show(out, Some(joined(peer, |peer| &peer.uris))),
            Op::UpstreamPeerDnsSan => show(out, Some(joined(peer, |peer| &peer.names))),
            Op::UpstreamPeerIpSan => show(out, Some(joined(peer, |peer| &peer.addresses))),
            Op::UpstreamPeerCert => show(out, peer.map(PeerCertificate::pem)),
            Op::UpstreamLocalUriSan => show(out, Some(joined(own, |own| &own.uris))),
            Op::UpstreamLocalDnsSan => show(out, Some(joined(own, |own| &own.names))),
            Op::UpstreamLocalIpSan => show(out, Some(joined(own, |own| &own.addresses))),
            other => self.write_measured(other, out),
        }
    }
}

/// Appends a value that there may be.
pub(super) fn show(out: &mut Vec<u8>, value: Option<impl Display>) -> io::Result<()> {
    match value {
        Some(value) => write!(out, "{value}"),
        None => Ok(()),
    }
}

/// Appends a fact of every certificate that the client sent.
fn chain(
    out: &mut Vec<u8>,
    tls: Option<&TlsSession>,
    fact: impl Fn(PeerCertificate) -> String,
) -> io::Result<()> {
    let facts = tls.map(|tls| tls.chain().into_iter().map(fact).collect::<Vec<_>>().join(","));
    show(out, facts)
}

/// The address that a host with several is known by.
fn first_address(endpoint: &Endpoint) -> String {
    match &endpoint.address {
        Address::Several(addresses) => addresses.first().map_or_else(String::new, SocketAddr::to_string),
        address => address.to_string(),
    }
}

fn address_without_port(endpoint: &Endpoint) -> String {
    endpoint.address.inet().map_or_else(|| endpoint.address.to_string(), |address| address.ip().to_string())
}

/// The name an endpoint was found by, else its address.
fn name(endpoint: &Endpoint) -> String {
    endpoint.name.as_deref().map_or_else(|| first_address(endpoint), str::to_owned)
}

fn name_without_port(endpoint: &Endpoint) -> String {
    endpoint.name.as_deref().map_or_else(|| address_without_port(endpoint), str::to_owned)
}

fn long_flags(flags: Flags, out: &mut Vec<u8>) -> io::Result<()> {
    if flags.is_empty() {
        out.push(b'-');
    }
    for (at, flag) in flags.iter().enumerate() {
        write!(out, "{}{}", if at > 0 { "," } else { "" }, flag.long())?;
    }
    Ok(())
}
