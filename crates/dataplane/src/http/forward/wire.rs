//! Requests in the form of their connection's version, and what its errors mean.

use std::future::poll_fn;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::UpstreamProtocol;
use portcullis_traffic::retry::Outcome;

use crate::error::UpstreamError;
use crate::http::h1::encode;
use crate::http::h1::head::{Framing, ResponseHead, Version};
use crate::http::h2::convert;
use crate::http::message::{Request, text};

/// Writes the request head; gives the framing of its body.
pub(super) fn write_head(request: &Request, out: &mut BytesMut) -> Framing {
    encode::request(out, &request.method, &request.target, &request.authority, &request.headers);
    if request.upgrade.is_some() {
        encode::end(out);
        return Framing::Empty;
    }
    let announced = request.headers.first_str("content-length").and_then(|length| length.parse().ok());
    let framing = match (request.has_body, announced) {
        (true, Some(length)) => Framing::Length(length),
        (true, None) => Framing::Chunked,
        (false, _) => Framing::Empty,
    };
    match framing {
        Framing::Chunked => encode::framing(out, &request.headers, framing),
        // Methods whose meaning expects content say that there is none (RFC 9110 §8.6).
        Framing::Empty if announced.is_none() && !has_no_content(&request.method) => {
            encode::framing(out, &request.headers, Framing::Length(0));
        }
        _ => {}
    }
    encode::end(out);
    framing
}

/// The request for an HTTP/2 stream; `None` when its target or authority cannot stand in one.
pub(super) fn h2_request(request: &Request, scheme: &str) -> Option<::http::Request<()>> {
    let target = ::http::uri::PathAndQuery::from_maybe_shared(request.target.clone()).ok()?;
    let uri =
        ::http::Uri::builder().scheme(scheme).authority(text(&request.authority)).path_and_query(target);
    let mut message = ::http::Request::new(());
    *message.method_mut() = ::http::Method::from_bytes(&request.method).ok()?;
    *message.uri_mut() = uri.build().ok()?;
    *message.version_mut() = ::http::Version::HTTP_2;
    *message.headers_mut() = convert::header_map(&request.headers);
    Some(message)
}

/// Whether a cluster is spoken to in HTTP/2 on behalf of a client of this version.
pub(crate) fn speaks_http2(cluster: &Cluster, client: Version) -> bool {
    match cluster.protocol {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::AsClient => client == Version::Http2,
    }
}

/// Whether a connection takes no more streams.
pub(super) async fn is_going_away(sender: &mut ::h2::client::SendRequest<Bytes>) -> bool {
    poll_fn(|cx| Poll::Ready(matches!(sender.poll_ready(cx), Poll::Ready(Err(_))))).await
}

/// What an error of an HTTP/2 stream or connection says of the upstream.
pub(super) fn h2_error(error: &::h2::Error) -> UpstreamError {
    match error.reason() {
        // Only streams above the last one that the GOAWAY names end with it: they were not processed.
        _ if error.is_go_away() && error.is_remote() => UpstreamError::RefusedStream,
        Some(::h2::Reason::REFUSED_STREAM) => UpstreamError::RefusedStream,
        Some(_) if error.is_reset() && error.is_remote() => UpstreamError::RemoteReset,
        Some(::h2::Reason::PROTOCOL_ERROR) if error.is_library() => UpstreamError::Protocol,
        _ => UpstreamError::Terminated,
    }
}

/// What a failed try means to the retry policy.
pub(super) fn outcome(error: &UpstreamError, request_sent: bool) -> Outcome {
    match error {
        UpstreamError::Connect(_) | UpstreamError::ConnectTimeout => Outcome::ConnectFailure,
        UpstreamError::RefusedStream => Outcome::RefusedStream,
        UpstreamError::PerTryTimeout => Outcome::PerTryTimeout,
        UpstreamError::Overflow => Outcome::Overflow,
        UpstreamError::NoHealthyEndpoint => Outcome::NoEndpoint,
        UpstreamError::Terminated
        | UpstreamError::RemoteReset
        | UpstreamError::Protocol
        | UpstreamError::Timeout => Outcome::Reset { request_sent },
    }
}

/// Whether the upstream keeps the connection open behind this response (RFC 9112 §9.3).
pub(super) fn keeps_alive(head: &ResponseHead) -> bool {
    let has = |wanted: &[u8]| {
        let mut tokens = head.headers.all("connection").flat_map(|value| value.split(|&byte| byte == b','));
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    match head.version {
        Version::Http10 => has(b"keep-alive"),
        _ => !has(b"close"),
    }
}

/// RFC 9110 §9.2.2.
pub(super) fn is_idempotent(method: &Bytes) -> bool {
    matches!(&method[..], b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE" | b"PROPFIND")
}

fn has_no_content(method: &Bytes) -> bool {
    matches!(&method[..], b"GET" | b"HEAD" | b"DELETE" | b"CONNECT" | b"TRACE")
}
