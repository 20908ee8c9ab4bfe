//! What expressions in header values ask of a request.

use std::borrow::Cow;
use std::time::UNIX_EPOCH;

use portcullis_snapshot::Headers;
use portcullis_snapshot::expression::{Attribute as Of, Attributes, Message, Value};
use portcullis_snapshot::template::{MetadataOf, PlainOperator as Op};

use super::Facts;
use crate::http::measure::request_fields;
use crate::http::message::text;
use crate::http::reply::grpc_code;

/// Header fields that HTTP/2 has for the first line of a request.
const PSEUDO: usize = 4;
/// The number of Envoy for traffic that leaves: what Istio declares of any gateway's listeners.
const OUTBOUND: i64 = 2;

impl Attributes for Facts<'_> {
    fn attribute(&self, attribute: Of) -> Option<Value<'_>> {
        let exchange = self.exchange;
        let request = &exchange.request;
        Some(match attribute {
            Of::RequestPath => Value::text(text(&request.target)),
            Of::RequestUrlPath => Value::text(exchange.view().path),
            Of::RequestHost => Value::text(text(&request.authority)),
            Of::RequestMethod => Value::text(text(&request.method)),
            Of::RequestQuery => Value::text(exchange.view().query.unwrap_or_default()),
            Of::RequestScheme => Value::Text(self.request_header(":scheme")?),
            Of::RequestReferer => Value::Text(self.request_header("referer")?),
            Of::RequestUserAgent => Value::Text(self.request_header("user-agent")?),
            Of::RequestId => Value::Text(self.request_header("x-request-id")?),
            Of::RequestProtocol => return self.said(Op::Protocol),
            Of::RequestTime => {
                // Envoy's clock of the day knows no less than a microsecond.
                let since = exchange.record.inner.started.duration_since(UNIX_EPOCH).ok()?;
                Value::Time(i128::try_from(since.as_micros()).ok()?.checked_mul(1_000)?)
            }
            Of::RequestSize => {
                let announced =
                    request.headers.first_str("content-length").and_then(|text| text.parse().ok());
                Value::Int(announced.unwrap_or_else(|| number(exchange.record.inner.bytes_received)))
            }
            Of::RequestTotalSize => {
                let header = request_fields(request, exchange.scheme);
                Value::Int(number(exchange.record.inner.bytes_received + header))
            }
            Of::XdsClusterName => return self.said(Op::UpstreamClusterRaw),
            Of::XdsRouteName => return self.said(Op::RouteName),
            Of::XdsVirtualHostName => Value::text(&exchange.matched.as_ref()?.host.name),
            Of::XdsRouteMetadata => return self.metadata(MetadataOf::Route),
            Of::XdsClusterMetadata => return self.metadata(MetadataOf::Cluster),
            Of::XdsUpstreamHostMetadata => return self.metadata(MetadataOf::Endpoint),
            Of::XdsUpstreamHostLocalityMetadata => {
                exchange.record.inner.endpoint.as_ref()?;
                Value::Null
            }
            Of::XdsListenerDirection => Value::Int(OUTBOUND),
            other => return self.response_attribute(other).or_else(|| self.connection_attribute(other)),
        })
    }

    fn header(&self, of: Message, name: &str) -> Option<Cow<'_, [u8]>> {
        match of {
            Message::Request => {
                joined(&self.exchange.request.headers, name).or_else(|| self.request_header(name))
            }
            Message::Response if self.upstream_status == 0 => self.response_header(name),
            Message::Response => joined(&self.response?.headers, name).or_else(|| self.response_header(name)),
            Message::Trailer => None,
        }
    }

    fn header_count(&self, of: Message) -> usize {
        match of {
            Message::Request => PSEUDO + self.exchange.request.headers.len(),
            Message::Response => self.of_answer(|answer| 1 + answer.headers.len()),
            Message::Trailer => 0,
        }
    }
}

impl Facts<'_> {
    fn response_attribute(&self, attribute: Of) -> Option<Value<'_>> {
        let record = &self.exchange.record.inner;
        Some(match attribute {
            Of::ResponseCode if self.upstream_status != 0 => Value::Int(i64::from(self.upstream_status)),
            Of::ResponseCodeDetails => return self.said(Op::ResponseCodeDetails),
            // Each flag has the bit of its place in Envoy's list, which is ours.
            Of::ResponseFlags => {
                Value::Int(record.flags.iter().fold(0, |bits, flag| bits | 1i64.wrapping_shl(flag as u32)))
            }
            Of::ResponseGrpcStatus => {
                let response = self.response.filter(|_| self.upstream_status != 0)?;
                let said = response.headers.first_str("grpc-status");
                Value::Int(said.unwrap_or_else(|| grpc_code(response.status)).parse().ok()?)
            }
            Of::ResponseSize => Value::Int(number(record.bytes_sent)),
            Of::ResponseTotalSize => {
                let header = self.counted(Op::ResponseHeadersBytes).unwrap_or(0);
                Value::Int(header.saturating_add(number(record.bytes_sent)))
            }
            Of::UpstreamAddress => return self.said(Op::UpstreamHost),
            Of::UpstreamPort => Value::Int(i64::from(record.endpoint.as_ref()?.address.inet()?.port())),
            Of::UpstreamTlsVersion => return self.said(Op::UpstreamTlsVersion),
            Of::UpstreamSubjectLocal => return filled(&self.upstream_tls()?.own()?.subject),
            Of::UpstreamDnsSanLocal => return first(&self.upstream_tls()?.own()?.names),
            Of::UpstreamUriSanLocal => return first(&self.upstream_tls()?.own()?.uris),
            Of::UpstreamSubjectPeer => return filled(&self.upstream_certificate()?.subject),
            Of::UpstreamDnsSanPeer => return first(&self.upstream_certificate()?.names),
            Of::UpstreamUriSanPeer => return first(&self.upstream_certificate()?.uris),
            Of::UpstreamPeerDigest => Value::text(&self.upstream_certificate()?.fingerprint),
            Of::UpstreamLocalAddress => return self.said(Op::UpstreamLocalAddress),
            Of::UpstreamTransportFailureReason => {
                return filled(record.upstream_transport_failure_reason.as_deref()?);
            }
            Of::UpstreamRequestAttemptCount => {
                Value::Uint(u64::try_from(self.counted(Op::UpstreamRequestAttemptCount)?).ok()?)
            }
            Of::UpstreamPoolReadyDuration => Value::Duration(i128::try_from(self.leased()?.as_nanos()).ok()?),
            Of::UpstreamFilterState => {
                self.link()?;
                Value::Map(Vec::new())
            }
            _ => return None,
        })
    }

    fn connection_attribute(&self, attribute: Of) -> Option<Value<'_>> {
        let connection = &self.exchange.connection;
        Some(match attribute {
            Of::SourceAddress => return self.said(Op::DownstreamRemoteAddress),
            Of::SourcePort => Value::Int(i64::from(self.exchange.client().port())),
            Of::DestinationAddress => return self.said(Op::DownstreamLocalAddress),
            Of::DestinationPort => Value::Int(i64::from(connection.local.port())),
            Of::ConnectionId => Value::Uint(connection.number()),
            Of::ConnectionMtls => Value::Bool(self.client_certificate().is_some()),
            Of::ConnectionRequestedServerName => {
                Value::Text(connection.server_name().map_or("", |name| name).as_bytes().into())
            }
            Of::ConnectionTlsVersion => return self.said(Op::DownstreamTlsVersion),
            Of::ConnectionSubjectLocal => return filled(&self.tls()?.own()?.subject),
            Of::ConnectionDnsSanLocal => return first(&self.tls()?.own()?.names),
            Of::ConnectionUriSanLocal => return first(&self.tls()?.own()?.uris),
            Of::ConnectionSubjectPeer => return filled(&self.client_certificate()?.subject),
            Of::ConnectionDnsSanPeer => return first(&self.client_certificate()?.names),
            Of::ConnectionUriSanPeer => return first(&self.client_certificate()?.uris),
            Of::ConnectionPeerDigest => Value::text(&self.client_certificate()?.fingerprint),
            _ => return None,
        })
    }

    /// What an operator writes, if it writes anything.
    fn said(&self, operator: Op) -> Option<Value<'_>> {
        let mut out = Vec::new();
        self.plain(operator, &mut out);
        (!out.is_empty()).then_some(Value::Text(Cow::Owned(out)))
    }

    /// The number that an operator writes.
    fn counted(&self, operator: Op) -> Option<i64> {
        let mut out = Vec::new();
        self.plain(operator, &mut out);
        std::str::from_utf8(&out).ok()?.parse().ok()
    }
}

/// The values of a name joined by commas; a single one is not copied.
fn joined<'h>(headers: &'h Headers, name: &str) -> Option<Cow<'h, [u8]>> {
    match headers.all(name).nth(1) {
        Some(_) => headers.joined_owned(name).map(|values| Cow::Owned(values.into())),
        None => headers.first(name).map(Cow::Borrowed),
    }
}

fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn filled(text: &str) -> Option<Value<'_>> {
    Some(text).filter(|text| !text.is_empty()).map(Value::text)
}

/// Of several names, Envoy tells the first.
fn first(names: &[String]) -> Option<Value<'_>> {
    names.first().and_then(|name| filled(name))
}
