//! Values of `%OPERATOR%`s in header operations.

mod attributes;
mod measured;
mod plain;
mod query;
mod tls;

use std::borrow::Cow;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_snapshot::action::{Action, Target};
use portcullis_snapshot::expression::Value;
use portcullis_snapshot::template::{Context, GrpcForm, MetadataOf, Moment, Operator, TimeFormat, Which};
use portcullis_snapshot::{Cluster, metadata};
use portcullis_telemetry::access_log::Timestamps;

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
        let start = out.len();
        self.write_value(operator, out);
        // Certificates and the like are foreign text: no part of it may end a header line (RFC 9110 §5.5).
        if out[start..].iter().any(|byte| is_forbidden(*byte)) {
            let clean: Vec<u8> = out.drain(start..).filter(|byte| !is_forbidden(*byte)).collect();
            out.extend_from_slice(&clean);
        }
    }
}

impl Facts<'_> {
    fn write_value(&self, operator: &Operator, out: &mut Vec<u8>) {
        match operator {
            Operator::Request { name, alternative, max } => {
                let value =
                    self.request_header(name).or_else(|| self.request_header(alternative.as_deref()?));
                put(out, value.as_deref(), *max);
            }
            Operator::Response { name, alternative, max } => {
                let value =
                    self.response_header(name).or_else(|| self.response_header(alternative.as_deref()?));
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
            Operator::DecodedQuery => {
                let query =
                    self.target(Which::Now).and_then(|target| portcullis_snapshot::path::split(target).1);
                out.extend(query.map(query::printable).unwrap_or_default());
            }
            Operator::Span { points, unit } => self.span(*points, *unit, out),
            Operator::QueryParameter { name, max } => {
                let value = self.target(Which::Now).and_then(|target| query::parameter(target, name));
                put(out, value.as_deref(), *max);
            }
            Operator::Time { moment, format } => self.time(*moment, format.as_ref(), out),
            Operator::Block { address, bits } => {
                if let Some(address) = self.address(*address) {
                    block(address.ip(), *bits, out);
                }
            }
            Operator::ServerName { host_first } => self.server_name(*host_first, out),
            Operator::Metadata { of, path } => {
                if let Some(noted) = self.metadata(*of) {
                    metadata::write(&noted, path, out);
                }
            }
            Operator::Expression { expression, max, .. } => {
                let start = out.len();
                if let Some(value) = expression.evaluate(self) {
                    value.write(out);
                }
                out.truncate(max.map_or(usize::MAX, |max| start.saturating_add(max)));
            }
            Operator::GrpcStatus(form) => self.grpc_status(*form, out),
            Operator::Environment(_) => out.push(b'-'),
            Operator::Zero(_) => out.push(b'0'),
            Operator::Valueless(_) => {}
            Operator::Plain(operator) => self.plain(*operator, out),
        }
    }

    fn target(&self, which: Which) -> Option<&str> {
        let request = &self.exchange.request;
        let original = request.headers.first_str("x-envoy-original-path");
        match which {
            Which::Now => Some(text_of(&request.target)),
            Which::Original => original,
            Which::OriginalOrNow => original.or(Some(text_of(&request.target))),
        }
    }

    /// A request header; of several of one name the first, as in Envoy.
    fn request_header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let exchange = self.exchange;
        match exchange.request.headers.first(name) {
            Some(value) => Some(Cow::Borrowed(value)),
            // Pseudo-headers, and the host.
            None => exchange.view().header(name).map(|value| Cow::Owned(value.to_vec())),
        }
    }

    /// A response header, likewise.
    fn response_header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let response = self.response?;
        match name {
            ":status" => Some(Cow::Owned(response.status.to_string().into_bytes())),
            // As in `Response::bare`.
            name if self.upstream_status == 0 && name != "location" => None,
            name => response.headers.first(name).map(Cow::Borrowed),
        }
    }

    /// A fact of the response, as far as that has been made; 0 where there is none.
    fn of_answer<T: Default>(&self, fact: impl FnOnce(&Response) -> T) -> T {
        match self.response {
            Some(response) if self.upstream_status == 0 => fact(&response.bare()),
            Some(response) => fact(response),
            None => T::default(),
        }
    }

    fn time(&self, moment: Moment, format: Option<&TimeFormat>, out: &mut Vec<u8>) {
        let record = &self.exchange.record;
        let time = match moment {
            Moment::Start | Moment::StartLocal => Some(record.inner.started),
            Moment::Emit | Moment::EmitLocal => Some(record.inner.started + record.elapsed()),
            Moment::DownstreamPeerStart => self.client_certificate().map(|peer| peer.start),
            Moment::DownstreamPeerEnd => self.client_certificate().map(|peer| peer.end),
            Moment::UpstreamPeerStart => self.upstream_certificate().map(|peer| peer.start),
            Moment::UpstreamPeerEnd => self.upstream_certificate().map(|peer| peer.end),
        };
        let Some(time) = time else { return };
        match format {
            Some(format) => format.write(time, out),
            None => {
                Timestamps::default().write(time, out);
                if moment.is_local() {
                    out.pop();
                    out.extend_from_slice(b"+0000");
                }
            }
        }
    }

    /// The server name of TLS or the request's host with its port, whichever is asked for first and there.
    fn server_name(&self, host_first: bool, out: &mut Vec<u8>) {
        let sni = self.exchange.connection.server_name().map(|name| name.as_bytes());
        let host = Some(&self.exchange.request.authority[..]).filter(|host| !host.is_empty());
        let value = if host_first { host.or(sni) } else { sni.or(host) };
        put(out, value, None);
    }

    /// The cluster that the request goes to, or would have gone to.
    fn cluster(&self) -> Option<&Arc<Cluster>> {
        let chosen = self.exchange.record.inner.cluster.as_ref();
        chosen.or_else(|| {
            let Action::Forward(forward) = &self.exchange.matched.as_ref()?.route().action else {
                return None;
            };
            match &forward.destinations.pick(self.exchange.draw()).target {
                Target::Cluster(id) => self.exchange.scope.pinned.snapshot.clusters.get(*id),
                Target::Unknown(_) => None,
            }
        })
    }

    /// What Istio notes of what a request met.
    fn metadata(&self, of: MetadataOf) -> Option<Value<'static>> {
        match of {
            MetadataOf::Route => Some(metadata::of_route(&self.exchange.matched.as_ref()?.route().origin)),
            MetadataOf::Cluster => Some(metadata::of_cluster(self.cluster()?)),
            MetadataOf::Endpoint => {
                Some(metadata::of_endpoint(self.exchange.record.inner.endpoint.as_ref()?))
            }
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
}

fn put(out: &mut Vec<u8>, value: Option<&[u8]>, max: Option<usize>) {
    if let Some(value) = value {
        out.extend_from_slice(&value[..value.len().min(max.unwrap_or(usize::MAX))]);
    }
}

fn is_forbidden(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// Appends the block of `bits` that an address lies in, as `10.1.0.0/16`.
fn block(address: IpAddr, bits: u8, out: &mut Vec<u8>) {
    let (base, bits) = match address {
        IpAddr::V4(address) => {
            let bits = bits.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            (IpAddr::V4((address.to_bits() & mask).into()), bits)
        }
        IpAddr::V6(address) => {
            let bits = bits.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            (IpAddr::V6((address.to_bits() & mask).into()), bits)
        }
    };
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{base}/{bits}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks() {
        for (address, bits, expected) in [
            ("127.1.2.3", 16, "127.1.0.0/16"),
            ("127.1.2.3", 0, "0.0.0.0/0"),
            ("127.1.2.3", 33, "127.1.2.3/32"),
            ("2001:db8::1", 32, "2001:db8::/32"),
        ] {
            let mut out = Vec::new();
            block(address.parse().expect("an address"), bits, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
