//! Values of `%OPERATOR%`s in header operations.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::SystemTime;

use portcullis_snapshot::template::{Context, GrpcForm, Operator, PlainOperator, Which};
use portcullis_telemetry::access_log::Timestamps;
use portcullis_telemetry::flags::Flags;
use rustls::{CipherSuite, ProtocolVersion};

use crate::connection::TlsSession;
use crate::connection::peer_certificate::PeerCertificate;
use crate::http::exchange::Exchange;
use crate::http::message::{Response, text as text_of};
use crate::http::reply::grpc_code;

/// The request an operator speaks of, with its response once there is one.
pub(crate) struct Facts<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) response: Option<&'a Response>,
    /// Status that the upstream answered with, 0 as long as it did not.
    pub(crate) upstream_status: u16,
}

impl Context for Facts<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) {
        match operator {
            Operator::Request { name, alternative, max } => {
                let view = self.exchange.view();
                let value = view.header(name).or_else(|| view.header(alternative.as_deref()?));
                put(out, value.as_deref(), *max);
            }
            Operator::Response { name, alternative, max } => {
                let headers = self.response.map(|response| &response.headers);
                let find = |name: &str| match name {
                    ":status" => self.response.map(|response| response.status.to_string().into()),
                    name => headers.and_then(|headers| headers.joined(name)),
                };
                let value = find(name).or_else(|| find(alternative.as_deref()?));
                put(out, value.as_deref(), *max);
            }
            Operator::Path { query, which } => {
                let Some(target) = self.target(*which) else { return };
                let path = portcullis_snapshot::path::split(target).0;
                out.extend_from_slice(if *query { target } else { path }.as_bytes());
            }
            Operator::Query(which) => {
                // Unlike `PATH`, the original query is known without a rewrite too.
                let which = if *which == Which::Original { Which::OriginalOrNow } else { *which };
                let query = self.target(which).and_then(|target| portcullis_snapshot::path::split(target).1);
                put(out, query.map(str::as_bytes), None);
            }
            Operator::QueryParameter { name, max } => {
                let view = self.exchange.view();
                put(out, view.query_parameter(name).map(|value| value.as_bytes()), *max);
            }
            Operator::StartTime => {
                Timestamps::default().write(self.exchange.record.inner.started, out);
            }
            Operator::GrpcStatus(form) => self.grpc_status(*form, out),
            Operator::Environment(_) => out.push(b'-'),
            Operator::Valueless(_) => {}
            Operator::Plain(operator) => self.plain(*operator, out),
        }
    }
}

fn put(out: &mut Vec<u8>, value: Option<&[u8]>, max: Option<usize>) {
    if let Some(value) = value {
        out.extend_from_slice(&value[..value.len().min(max.unwrap_or(usize::MAX))]);
    }
}

impl Facts<'_> {
    fn target(&self, which: Which) -> Option<&str> {
        let request = &self.exchange.request;
        let original = request.headers.first_str("x-envoy-original-path");
        match which {
            Which::Now => Some(text_of(&request.target)),
            Which::Original => original,
            Which::OriginalOrNow => original.or(Some(text_of(&request.target))),
        }
    }

    /// The version spoken to the upstream whose response this is.
    fn upstream_protocol(&self) -> Option<&'static str> {
        let cluster = self.exchange.record.inner.cluster.as_ref().filter(|_| self.upstream_status != 0)?;
        let http2 = crate::http::forward::speaks_http2(cluster, self.exchange.request.version);
        Some(if http2 { "HTTP/2" } else { "HTTP/1.1" })
    }

    /// The status of a gRPC call; one whose answer has none yet counts as its HTTP status does.
    fn grpc_status(&self, form: GrpcForm, out: &mut Vec<u8>) {
        let Some(response) = self.response.filter(|_| self.exchange.record.inner.grpc) else { return };
        let status = match response.headers.first_str("grpc-status") {
            Some(status) => status,
            None if self.upstream_status == 0 => return,
            None => grpc_code(response.status),
        };
        let name = status.parse::<usize>().ok().and_then(|status| GRPC_STATUSES.get(status));
        let written = match (form, name) {
            (GrpcForm::Camel, Some((camel, _))) => camel,
            (GrpcForm::Snake, Some((_, snake))) => snake,
            _ => status,
        };
        out.extend_from_slice(written.as_bytes());
    }

    fn plain(&self, operator: PlainOperator, out: &mut Vec<u8>) {
        use PlainOperator as Op;
        let exchange = self.exchange;
        let (connection, record) = (&exchange.connection, &exchange.record.inner);
        let tls = connection.tls.as_ref();
        let upstream = record.endpoint.as_ref().map(|endpoint| &endpoint.address);
        // Writing to a Vec cannot fail.
        let _ = match operator {
            Op::DownstreamRemoteAddress => write!(out, "{}", exchange.client),
            Op::DownstreamRemoteAddressWithoutPort => write!(out, "{}", exchange.client.ip()),
            Op::DownstreamRemotePort => write!(out, "{}", exchange.client.port()),
            Op::DownstreamDirectRemoteAddress => write!(out, "{}", connection.direct),
            Op::DownstreamDirectRemoteAddressWithoutPort => write!(out, "{}", connection.direct.ip()),
            Op::DownstreamLocalAddress | Op::DownstreamDirectLocalAddress => {
                write!(out, "{}", connection.local)
            }
            Op::DownstreamLocalAddressWithoutPort | Op::DownstreamDirectLocalAddressWithoutPort => {
                write!(out, "{}", connection.local.ip())
            }
            Op::DownstreamLocalPort | Op::DownstreamDirectLocalPort => {
                write!(out, "{}", connection.local.port())
            }
            Op::DownstreamTlsVersion => text(out, tls.map(|tls| version(tls.version))),
            Op::DownstreamTlsCipher => text(out, tls.map(|tls| cipher(tls.cipher))),
            Op::DownstreamPeerSubject => text(out, peer(tls).map(|peer| peer.subject.as_str())),
            Op::DownstreamPeerUriSan => {
                write!(out, "{}", peer(tls).map_or(String::new(), |peer| peer.uris.join(",")))
            }
            Op::DownstreamPeerDnsSan => {
                write!(out, "{}", peer(tls).map_or(String::new(), |peer| peer.names.join(",")))
            }
            Op::DownstreamPeerEmailSan => {
                write!(out, "{}", peer(tls).map_or(String::new(), |peer| peer.emails.join(",")))
            }
            Op::DownstreamPeerIpSan => {
                write!(out, "{}", peer(tls).map_or(String::new(), |peer| peer.addresses.join(",")))
            }
            Op::DownstreamPeerCert => text(out, peer(tls).map(PeerCertificate::pem)),
            Op::DownstreamPeerCertStart => time(out, peer(tls).map(|peer| peer.start)),
            Op::DownstreamPeerCertEnd => time(out, peer(tls).map(|peer| peer.end)),
            Op::DownstreamPeerIssuer => text(out, peer(tls).map(|peer| peer.issuer.as_str())),
            Op::DownstreamPeerSerial => text(out, peer(tls).map(|peer| peer.serial.as_str())),
            Op::DownstreamPeerFingerprint256 => text(out, peer(tls).map(|peer| peer.fingerprint.as_str())),
            Op::DownstreamPeerFingerprint1 => text(out, peer(tls).map(|peer| peer.fingerprint_1.as_str())),
            Op::Protocol => text(out, record.protocol.map(portcullis_telemetry::record::Protocol::as_str)),
            Op::UpstreamProtocol => text(out, self.upstream_protocol()),
            Op::RequestedServerName => text(out, connection.server_name().map(|name| &**name)),
            Op::RouteName => text(out, record.route_name.as_deref()),
            Op::VirtualClusterName => Ok(()),
            Op::ResponseCode => write!(out, "{}", self.upstream_status),
            Op::ResponseCodeDetails => text(out, record.details.as_ref().map(|details| details.as_str())),
            Op::ResponseFlags => {
                record.flags.write_short(out);
                Ok(())
            }
            Op::ResponseFlagsLong => long_flags(record.flags, out),
            Op::UpstreamRemoteAddress | Op::UpstreamHost => match upstream {
                Some(address) => write!(out, "{address}"),
                None => Ok(()),
            },
            Op::UpstreamRemoteAddressWithoutPort => match inet(upstream) {
                Some(address) => write!(out, "{}", address.ip()),
                None => Ok(()),
            },
            Op::UpstreamRemotePort => match inet(upstream) {
                Some(address) => write!(out, "{}", address.port()),
                None => Ok(()),
            },
            Op::UpstreamCluster => match &record.cluster {
                Some(cluster) => write!(out, "{};", cluster.name),
                None => Ok(()),
            },
            Op::UpstreamClusterRaw => text(out, record.cluster.as_ref().map(|cluster| &*cluster.name)),
            // A header value has no blanks that something behind it might split it at.
            Op::UpstreamTransportFailureReason => {
                let reason = record.upstream_transport_failure_reason.as_deref();
                write!(out, "{}", reason.unwrap_or_default().replace(' ', "_"))
            }
            // Numbered in the request itself, where a client's own number has been dropped.
            Op::UpstreamRequestAttemptCount => {
                text(out, Some(exchange.request.headers.first_str("x-envoy-attempt-count").unwrap_or("0")))
            }
            Op::UpstreamLocalAddress => match record.upstream_local_address {
                Some(address) => write!(out, "{address}"),
                None => Ok(()),
            },
            Op::UpstreamLocalAddressWithoutPort => match record.upstream_local_address {
                Some(address) => write!(out, "{}", address.ip()),
                None => Ok(()),
            },
            Op::UpstreamLocalPort => match record.upstream_local_address {
                Some(address) => write!(out, "{}", address.port()),
                None => Ok(()),
            },
            Op::BytesReceived => write!(out, "{}", record.bytes_received),
            Op::BytesSent => write!(out, "{}", record.bytes_sent),
            Op::Duration => write!(out, "{}", exchange.record.elapsed().as_millis()),
            Op::Hostname => text(out, Some(&exchange.worker().config.hostname)),
        };
    }
}

/// Names of the statuses of gRPC by number.
const GRPC_STATUSES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

fn long_flags(flags: Flags, out: &mut Vec<u8>) -> std::io::Result<()> {
    if flags.is_empty() {
        out.push(b'-');
    }
    for (at, flag) in flags.iter().enumerate() {
        write!(out, "{}{}", if at > 0 { "," } else { "" }, flag.long())?;
    }
    Ok(())
}

fn text(out: &mut Vec<u8>, value: Option<&str>) -> std::io::Result<()> {
    out.extend_from_slice(value.unwrap_or("").as_bytes());
    Ok(())
}

fn time(out: &mut Vec<u8>, time: Option<SystemTime>) -> std::io::Result<()> {
    if let Some(time) = time {
        Timestamps::default().write(time, out);
    }
    Ok(())
}

fn peer(tls: Option<&TlsSession>) -> Option<&PeerCertificate> {
    tls.and_then(TlsSession::peer)
}

fn inet(address: Option<&portcullis_snapshot::cluster::Address>) -> Option<SocketAddr> {
    address?.inet()
}

fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "",
    }
}

/// OpenSSL's names, as Istio's gateway prints them.
fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}
