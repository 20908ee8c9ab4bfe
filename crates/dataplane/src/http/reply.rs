//! Answers the gateway makes itself: one place turns every failure into status, body, flags and
//! details, as Istio's gateway words them.

use std::rc::Rc;

use bytes::Bytes;
use portcullis_snapshot::Headers;
use portcullis_telemetry::details::Details;
use portcullis_telemetry::flags::Flag;

use crate::error::{ClientError, Error, RouteError, UpstreamError};
use crate::filter::{cors, grpc_web, headers as operations};
use crate::http::body::{Body, Pump, Sink, Source as _};
use crate::http::exchange::{Exchange, Finished};
use crate::http::h1::body::BodyError;
use crate::http::h1::head::HeadError;
use crate::http::message::{Follows, Responder, Response};

/// An answer of the gateway's own.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) headers: Headers,
    pub(crate) details: Details,
    pub(crate) flag: Option<Flag>,
    /// Whether the operations of the matched route leave it alone (preflights).
    pub(crate) untouched: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Bytes>, details: Details) -> Self {
        Self { status, body: body.into(), headers: Headers::default(), details, flag: None, untouched: false }
    }

    pub(crate) fn with_flag(mut self, flag: Flag) -> Self {
        self.flag = Some(flag);
        self
    }

    pub(crate) fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The response head: own headers, then what every local reply carries.
    pub(crate) fn head(&self, server: Option<&Bytes>, date: &Bytes) -> Response {
        let mut headers = self.headers.clone();
        if !self.body.is_empty() {
            let length = itoa::Buffer::new().format(self.body.len()).to_owned();
            headers.append("content-length", length);
            headers.append("content-type", "text/plain");
        }
        headers.append("date", date.clone());
        if let Some(server) = server {
            headers.append("server", server.clone());
        }
        Response { status: self.status, headers }
    }
}

/// The answer to a failure. Exhaustive: a new failure does not compile without its answer.
pub(crate) fn answer(error: &Error, retried: bool) -> Reply {
    match error {
        Error::Client(error) => client_error(*error),
        Error::Route(error) => match error {
            RouteError::NotFound => {
                Reply::new(404, "", Details::ROUTE_NOT_FOUND).with_flag(Flag::NoRouteFound)
            }
            RouteError::ClusterNotFound => {
                Reply::new(503, "", Details::CLUSTER_NOT_FOUND).with_flag(Flag::NoClusterFound)
            }
            RouteError::Misdirected => {
                Reply::new(421, "", Details::new("misdirected_request")).with_flag(Flag::NoRouteFound)
            }
        },
        Error::Upstream(error) => upstream_error(error, retried),
    }
}

/// The answer to a client's mistake.
pub(crate) fn client_error(error: ClientError) -> Reply {
    let protocol_error = |status, body: &'static str, details| {
        Reply::new(status, body, details).with_flag(Flag::DownstreamProtocolError)
    };
    match error {
        ClientError::Head(error) => match error {
            HeadError::Malformed | HeadError::ContentLength => {
                protocol_error(400, "Bad Request", Details::HTTP1_CODEC_ERROR)
            }
            HeadError::Version => Reply::new(426, "Upgrade Required", Details::LOW_VERSION),
            HeadError::TooLarge => {
                protocol_error(431, "Request Header Fields Too Large", Details::HTTP1_HEADERS_TOO_LARGE)
            }
            HeadError::TooMany => {
                protocol_error(431, "Request Header Fields Too Large", Details::HTTP1_TOO_MANY_HEADERS)
            }
            HeadError::ContentLengthAndChunked => {
                protocol_error(400, "Bad Request", Details::HTTP1_CONTENT_LENGTH_AND_CHUNKED_NOT_ALLOWED)
            }
            HeadError::TransferEncoding => {
                protocol_error(501, "Not Implemented", Details::HTTP1_INVALID_TRANSFER_ENCODING)
            }
        },
        ClientError::Connect => Reply::new(404, "", Details::ROUTE_NOT_FOUND).with_flag(Flag::NoRouteFound),
        ClientError::HttpsInClear => Reply::new(403, "Forbidden", Details::new("invalid_scheme")),
        ClientError::LowVersion => Reply::new(426, "Upgrade Required", Details::LOW_VERSION),
        ClientError::MissingHost => Reply::new(400, "", Details::MISSING_HOST_HEADER),
        ClientError::BadPath => Reply::new(400, "", Details::PATH_NORMALIZATION_FAILED),
        ClientError::UpgradeRefused => Reply::new(403, "", Details::UPGRADE_FAILED),
        ClientError::HeaderTimeout => {
            Reply::new(408, "request header timeout", Details::REQUEST_HEADER_TIMEOUT)
        }
        ClientError::Body => protocol_error(400, "Bad Request", Details::HTTP1_CODEC_ERROR),
        ClientError::GrpcWebText => Reply::new(
            400,
            "Bad gRPC-web request, invalid base64 data.",
            Details::new("grpc_base_64_decode_failed"),
        ),
        ClientError::Underscore => {
            protocol_error(400, "Bad Request", Details::new("http1.unexpected_underscore"))
        }
        ClientError::RequestTimeout => Reply::new(408, "request timeout", Details::REQUEST_OVERALL_TIMEOUT),
        ClientError::StreamIdle { whole } => {
            Reply::new(out_of_time(whole), "stream timeout", Details::STREAM_IDLE_TIMEOUT)
                .with_flag(Flag::StreamIdleTimeout)
        }
        ClientError::StreamLife { whole } => {
            Reply::new(out_of_time(whole), "downstream duration timeout", Details::MAX_DURATION_TIMEOUT)
        }
    }
}

/// Who is late: the upstream with its response, or the client with its request.
fn out_of_time(whole: bool) -> u16 {
    if whole { 504 } else { 408 }
}

fn upstream_error(error: &UpstreamError, retried: bool) -> Reply {
    let timeout = |details| {
        Reply::new(504, "upstream request timeout", details).with_flag(Flag::UpstreamRequestTimeout)
    };
    match error {
        UpstreamError::NoHealthyEndpoint => {
            Reply::new(503, "no healthy upstream", Details::NO_HEALTHY_UPSTREAM)
                .with_flag(Flag::NoHealthyUpstream)
        }
        UpstreamError::Timeout => timeout(Details::RESPONSE_TIMEOUT),
        UpstreamError::PerTryTimeout => timeout(Details::UPSTREAM_PER_TRY_TIMEOUT),
        UpstreamError::Connect(_)
        | UpstreamError::ConnectTimeout
        | UpstreamError::Terminated
        | UpstreamError::RemoteReset
        | UpstreamError::RefusedStream
        | UpstreamError::Protocol
        | UpstreamError::Overflow => reset(error, retried),
    }
}

fn reset(error: &UpstreamError, retried: bool) -> Reply {
    let Some(reason) = error.reset_reason() else {
        return Reply::new(503, "", Details::NO_HEALTHY_UPSTREAM);
    };
    let retried = if retried { "retried and the latest " } else { "" };
    let body = format!(
        "upstream connect error or disconnect/reset before headers. {retried}reset reason: {}",
        reason.text()
    );
    let status = if *error == UpstreamError::Protocol { 502 } else { 503 };
    let details = Details::reset_before_response(reason, error.transport_failure());
    let reply = Reply::new(status, body, details).with_flag(reason.flag());
    if *error == UpstreamError::Overflow { reply.with_header("x-envoy-overloaded", "true") } else { reply }
}

/// Sends a reply of the gateway's own. Response operations of the matched route apply to it; a
/// gRPC client gets it as a gRPC status.
pub(crate) async fn send(
    mut exchange: Box<Exchange>,
    mut reply: Reply,
    body: Body,
    mut responder: Responder,
) -> Finished {
    if let Some(measure) = &mut exchange.measure {
        measure.note_received(&body);
    }
    let record = &mut exchange.record.inner;
    record.details = Some(reply.details.clone());
    if let Some(flag) = reply.flag {
        record.flags.set(flag);
    }
    let is_grpc = record.grpc && exchange.grpc_web.is_none() && !reply.untouched;
    let pinned = Rc::clone(&exchange.scope.pinned);
    let own = &pinned.snapshot.settings.own_headers;
    if !own.debug {
        reply.headers.remove("x-envoy-overloaded");
    }
    let server = own.server.as_ref();
    let mut response = reply.head(server, &exchange.worker().date());
    if !reply.untouched {
        // Operations see the answer as it is, whatever form the client gets it in.
        operations::on_response(&exchange, &mut response);
        if is_grpc {
            to_grpc(&mut response, &reply.body, exchange.request.is_head());
            reply.body = Bytes::new();
            exchange.record.inner.grpc_status =
                response.headers.first_str("grpc-status").and_then(|text| text.parse().ok());
        }
        settle_content(&mut response, &reply.body, is_grpc);
        cors::on_response(&exchange, &mut response);
    }
    if let Some(forms) = exchange.grpc_web
        && grpc_web::on_response(forms, &mut response)
        && !reply.body.is_empty()
    {
        grpc_web::explain(&mut response, &reply.body);
        reply.body = Bytes::new();
    }
    overwrite_own(&mut response, server, &exchange.worker().date());
    // The rest of the request would have to be read before the connection could be used again.
    // A 400 says that the two sides may not agree on what was sent, and who was told to upgrade has nothing more to
    // say in that version: nothing more is read either.
    // Behind an upgrade that was not granted may stand the other protocol.
    let left = exchange.request.upgrade.is_some() || exchange.request.has_body && !body.is_end();
    if (left || matches!(reply.status, 400 | 426))
        && let Responder::H1(responder) = &mut responder
    {
        responder.close_after();
    }
    let sent = if exchange.request.is_head() { Bytes::new() } else { reply.body };
    exchange.record.inner.response_code = response.status;
    exchange.record.inner.bytes_sent = sent.len() as u64;
    exchange.record.inner.wire_sent = head_size(&response) + sent.len() as u64;
    exchange.record.settled = true;
    let follows = if sent.is_empty() { Follows::Nothing } else { Follows::Body };
    let Ok(sink) = responder.start(&response, follows) else { return Finished::Broken };
    let (mut sent, mut pump) = (Fixed(Some(sent)), Pump::new(sink));
    if std::future::poll_fn(|cx| pump.poll(&mut sent, cx)).await.is_err() {
        return Finished::Broken;
    }
    let mut sink = pump.sink;
    if left && let Sink::H2(sink) = &mut sink {
        // The response is complete; the client need not send the rest (RFC 9113 §8.1).
        sink.reset(::h2::Reason::NO_ERROR);
    }
    Finished::Done { body, sink }
}

/// The length of the gateway's own body is not for a route to say, nor that it has no type, or one without a body.
fn settle_content(response: &mut Response, body: &Bytes, is_grpc: bool) {
    if !body.is_empty() {
        response.headers.set("content-length", itoa::Buffer::new().format(body.len()));
        if !response.headers.contains("content-type") {
            response.headers.append("content-type", "text/plain");
        }
    } else {
        response.headers.remove("content-length");
        if !is_grpc {
            response.headers.remove("content-type");
        }
    }
}

/// `server` and `date` are the gateway's own, whatever the route's operations said; without a name of its own the
/// gateway leaves `server` alone.
pub(crate) fn overwrite_own(response: &mut Response, server: Option<&Bytes>, date: &Bytes) {
    if let Some(server) = server {
        response.headers.set("server", server.clone());
    }
    if !response.headers.contains("date") {
        response.headers.append("date", date.clone());
    }
}

/// Bytes of a response head as HTTP/1 would write it.
pub(crate) fn head_size(response: &Response) -> u64 {
    (response.headers.size(4) + 19) as u64
}

/// gRPC over HTTP: status 200, trailers only, the HTTP status mapped (gRPC "HTTP to gRPC Status
/// Code Mapping").
fn to_grpc(response: &mut Response, body: &Bytes, to_head: bool) {
    response.headers.set("content-type", "application/grpc");
    // An injected fault has named its status already.
    if response.headers.first("grpc-status").is_some() {
        return;
    }
    response.headers.append("grpc-status", grpc_code(response.status));
    if !body.is_empty() && !to_head {
        response.headers.append("grpc-message", percent_encoded(body));
    }
    response.status = 200;
}

/// The gRPC status that stands for an HTTP status (gRPC "HTTP to gRPC Status Code Mapping").
pub(crate) fn grpc_code(status: u16) -> &'static str {
    match status {
        400 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        429 | 502 | 503 | 504 => "14",
        _ => "2",
    }
}

/// `grpc-message` is percent-encoded outside printable ASCII (gRPC over HTTP/2, "Responses").
pub(crate) fn percent_encoded(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A body that is at hand.
pub(crate) struct Fixed(pub(crate) Option<Bytes>);

impl crate::http::body::Source for Fixed {
    fn poll_frame(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<crate::http::h1::body::Frame, BodyError>>> {
        let piece = self.0.take().filter(|bytes| !bytes.is_empty());
        std::task::Poll::Ready(piece.map(|bytes| Ok(crate::http::h1::body::Frame::Data(bytes))))
    }

    fn is_end(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_worded_like_the_reference() {
        let refused = UpstreamError::Connect("delayed connect error: Connection refused".into());
        let reply = answer(&refused.into(), true);
        assert_eq!(reply.status, 503);
        assert_eq!(
            reply.body,
            "upstream connect error or disconnect/reset before headers. \
             retried and the latest reset reason: remote connection failure"
        );
        let reply = answer(&UpstreamError::Terminated.into(), false);
        assert_eq!(
            reply.body,
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
        );
        assert_eq!(answer(&UpstreamError::Protocol.into(), false).status, 502);
    }

    #[test]
    fn grpc_gets_trailers_only() {
        for (to_head, message) in [(false, Some("no healthy%0Aupstream")), (true, None)] {
            let mut response = Response { status: 503, headers: portcullis_snapshot::Headers::default() };
            response.headers.append("content-type", "text/plain");
            to_grpc(&mut response, &Bytes::from_static(b"no healthy\nupstream"), to_head);
            assert_eq!(response.status, 200);
            let told =
                ["content-type", "grpc-status", "grpc-message"].map(|name| response.headers.first_str(name));
            assert_eq!(told, [Some("application/grpc"), Some("14"), message]);
        }
    }
}
