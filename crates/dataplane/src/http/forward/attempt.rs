//! One try: a connection, the request out, the response head in.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::client::ResponseFuture;
use bytes::Bytes;
use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::UpstreamProtocol;
use portcullis_traffic::retry::Outcome;

use super::prepare;
use super::replay::Replay;
use super::timers::Timers;
use crate::error::{ClientError, UpstreamError};
use crate::http::body::{Body, H2Sink, Pump, PumpError, Sink, Source as _};
use crate::http::exchange::Exchange;
use crate::http::h1::body::Decoder;
use crate::http::h1::encode::{self, BodyWriter};
use crate::http::h1::head::{self, Framing, Scan, Version};
use crate::http::h1::io::Reader;
use crate::http::h2::convert;
use crate::http::message::{Responder, Response, text};
use crate::upstream::pool::{H1Connection, H2Lease, Key, Lease, Pool, Slot};
use crate::upstream::registry::{Picked, Upstream};

/// A kept connection that had been idle for so long may have been closed by the upstream while the
/// request was on its way; a younger one that breaks has broken over this request.
const RACE_IDLE: Duration = Duration::from_millis(250);

/// What a try works with.
pub(super) struct Attempt<'a> {
    pub(super) upstream: &'a Upstream,
    /// From 1.
    pub(super) number: u32,
}

/// A response head, with both directions as they stand.
pub(super) struct Answer {
    pub(super) head: Response,
    /// The request body on its way; may still be going.
    pub(super) upload: Pump<Replay>,
    pub(super) content: Body,
    pub(super) carrier: Carrier,
}

/// What carries the exchange, and what becomes of it afterwards.
pub(super) enum Carrier {
    /// An HTTP/1 connection; its halves are in the upload's sink and in the content.
    H1 {
        key: Key,
        served: u32,
        local: Option<std::net::SocketAddr>,
        slot: Slot,
        /// Whether the response lets the connection be used again.
        reusable: bool,
    },
    /// A share of an HTTP/2 connection, given back when the exchange ends.
    H2 { _lease: H2Lease },
}

/// Why there is no answer.
pub(super) enum Failure {
    /// The client has gone.
    Gone,
    /// The client's body is not what it announced.
    Client(ClientError, Replay),
    /// The upstream failed.
    Upstream {
        error: UpstreamError,
        replay: Replay,
        outcome: Outcome,
        /// Whether a kept connection turned out to be dead: the try does not count.
        stale: bool,
    },
}

impl Attempt<'_> {
    /// Runs the try. Dropping the future gives up the connection.
    pub(super) async fn run(
        self,
        exchange: &mut Exchange,
        pending: &Picked,
        body: Replay,
        responder: &mut Responder,
        timers: &mut Timers,
    ) -> Result<Answer, Failure> {
        let mut body = body;
        if body.live.is_end() {
            timers.request_sent();
        }
        let leased = self.lease(exchange, pending, &mut body, responder, timers).await;
        let lease = match leased {
            Ok(lease) => lease,
            Err(None) => return Err(Failure::Gone),
            Err(Some(error)) => {
                let outcome = outcome(&error, false);
                return Err(Failure::Upstream { error, replay: body, outcome, stale: false });
            }
        };
        exchange
            .request
            .headers
            .set("x-envoy-attempt-count", itoa::Buffer::new().format(self.number).to_owned());
        match lease {
            Lease::H1(connection) => self.over_h1(exchange, *connection, body, responder, timers).await,
            Lease::H2(lease) => self.over_h2(exchange, lease, body, responder, timers).await,
        }
    }

    /// A connection; `Err(None)` when the client left meanwhile.
    async fn lease(
        &self,
        exchange: &Exchange,
        pending: &Picked,
        body: &mut Replay,
        responder: &mut Responder,
        timers: &mut Timers,
    ) -> Result<Lease, Option<UpstreamError>> {
        let cluster = self.upstream.cluster();
        let http2 = speaks_http2(&cluster, exchange.request.version);
        let host = prepare::server_name(exchange);
        let mut leasing = pin!(self.upstream.lease(&cluster, &pending.endpoint().address, http2, host));
        poll_fn(|cx| {
            if let Poll::Ready(lease) = leasing.as_mut().poll(cx) {
                return Poll::Ready(lease.map_err(Some));
            }
            if body.live.poll_gone(cx).is_ready() || responder.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(None));
            }
            timers.poll(cx).map(|error| Err(Some(error)))
        })
        .await
    }

    async fn over_h1(
        self,
        exchange: &mut Exchange,
        connection: H1Connection,
        body: Replay,
        responder: &mut Responder,
        timers: &mut Timers,
    ) -> Result<Answer, Failure> {
        let H1Connection { reader, mut writer, key, served, idle_for, local, slot } = connection;
        exchange.record.inner.upstream_local_address = local;
        let framing = write_head(exchange, writer.buffer());
        let upload = Pump::new(body, Sink::H1 { writer, body: BodyWriter::new(framing, true) });
        let mut waiting = Waiting::new(upload, HeadSource::H1 { reader, scan: Scan::default(), fresh: true });
        let to_head = exchange.request.is_head();
        let head = match waiting.head(responder, timers).await {
            Ok(head) => head,
            Err(event) => {
                let unanswered = matches!(&waiting.source, HeadSource::H1 { fresh: true, .. });
                let raced = idle_for.is_some_and(|idle| idle >= RACE_IDLE || !waiting.upload.is_done());
                let stale = raced && unanswered && is_idempotent(&exchange.request.method);
                return Err(waiting.into_failure(event, stale));
            }
        };
        let HeadSource::H1 { reader, .. } = waiting.source else {
            unreachable!("an HTTP/1 head has an HTTP/1 source")
        };
        let head = match head {
            Head::H1(head) => head,
            Head::H2(..) => unreachable!("an HTTP/1 source gives HTTP/1 heads"),
        };
        let Ok(framing) = head::response_framing(&head, to_head) else {
            let outcome = outcome(&UpstreamError::Protocol, true);
            let replay = waiting.upload.source;
            return Err(Failure::Upstream { error: UpstreamError::Protocol, replay, outcome, stale: false });
        };
        let content = Body::H1 { reader, decoder: Decoder::new(framing) };
        let reusable = framing != Framing::UntilClose && keeps_alive(&head);
        let head = Response { status: head.status, headers: head.headers };
        Ok(Answer {
            head,
            upload: waiting.upload,
            content,
            carrier: Carrier::H1 { key, served, local, slot, reusable },
        })
    }

    async fn over_h2(
        self,
        exchange: &mut Exchange,
        lease: H2Lease,
        body: Replay,
        responder: &mut Responder,
        timers: &mut Timers,
    ) -> Result<Answer, Failure> {
        exchange.record.inner.upstream_local_address = lease.local();
        let Some(request) = h2_request(exchange) else {
            return Err(Failure::Client(ClientError::BadPath, body));
        };
        let ended = !exchange.request.has_body;
        let mut sender = lease.sender();
        let sent = match poll_fn(|cx| sender.poll_ready(cx)).await {
            Ok(()) => sender.send_request(request, ended),
            Err(error) => Err(error),
        };
        let (response, stream) = match sent {
            Ok(sent) => sent,
            // The connection went away before the request was on it: another one is opened.
            Err(error) => {
                Pool::retire(&lease);
                let error = h2_error(&error);
                let outcome = outcome(&error, false);
                return Err(Failure::Upstream { error, replay: body, outcome, stale: true });
            }
        };
        let untold = lease.is_untold();
        let upload = Pump::new(body, Sink::H2(H2Sink::new(stream, ended)));
        let mut waiting = Waiting::new(upload, HeadSource::H2(Box::new(response)));
        let (head, content) = match waiting.head(responder, timers).await {
            Ok(Head::H2(head, content)) => (head, content),
            Ok(Head::H1(_)) => unreachable!("an HTTP/2 source gives HTTP/2 heads"),
            Err(event) => {
                if matches!(event, Event::Upstream(UpstreamError::Terminated)) {
                    Pool::retire(&lease);
                }
                // Not processed, for certain: the connection had not said how many streams it takes, or
                // it is going away (RFC 9113 §8.7). Neither says anything about the endpoint.
                let refused = matches!(event, Event::Upstream(UpstreamError::RefusedStream));
                let stale = refused && (untold || is_going_away(&mut sender).await);
                return Err(waiting.into_failure(event, stale));
            }
        };
        Ok(Answer { head, upload: waiting.upload, content, carrier: Carrier::H2 { _lease: lease } })
    }
}

/// Writes the request head; gives the framing of its body.
fn write_head(exchange: &Exchange, out: &mut bytes::BytesMut) -> Framing {
    let request = &exchange.request;
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
        Framing::Chunked => encode::framing(out, framing),
        // Methods whose meaning expects content say that there is none (RFC 9110 §8.6).
        Framing::Empty if announced.is_none() && !has_no_content(&request.method) => {
            encode::framing(out, Framing::Length(0));
        }
        _ => {}
    }
    encode::end(out);
    framing
}

enum HeadSource {
    H1 {
        reader: Reader,
        scan: Scan,
        /// Whether nothing of a response has come yet.
        fresh: bool,
    },
    H2(Box<ResponseFuture>),
}

enum Head {
    H1(head::ResponseHead),
    H2(Response, Body),
}

/// What ends the wait for a response head.
enum Event {
    Gone,
    Client(ClientError),
    Upstream(UpstreamError),
}

/// Sends the request body and waits for the response head at the same time.
struct Waiting {
    upload: Pump<Replay>,
    source: HeadSource,
    /// Whether the upstream takes no more of the request; its answer may still come.
    refused: bool,
}

impl Waiting {
    fn new(upload: Pump<Replay>, source: HeadSource) -> Self {
        Self { upload, source, refused: false }
    }

    /// The final response head; informational ones go to the client on the way.
    async fn head(&mut self, responder: &mut Responder, timers: &mut Timers) -> Result<Head, Event> {
        loop {
            let head = poll_fn(|cx| self.poll(cx, responder, timers)).await?;
            match head {
                Head::H1(head) if (100..200).contains(&head.status) && head.status != 101 => {
                    if responder.informational(head.status, &head.headers).await.is_err() {
                        return Err(Event::Gone);
                    }
                    if let HeadSource::H1 { scan, .. } = &mut self.source {
                        *scan = Scan::default();
                    }
                }
                head => return Ok(head),
            }
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        responder: &mut Responder,
        timers: &mut Timers,
    ) -> Poll<Result<Head, Event>> {
        if !self.refused && !self.upload.is_done() {
            match self.upload.poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => timers.request_sent(),
                Poll::Ready(Err(PumpError::Source(error))) => {
                    // What was good of the request goes out, as it would have, had the rest come later:
                    // its head and what has come of its body, which then breaks off.
                    let _ = self.upload.sink.poll_flush(cx);
                    return Poll::Ready(Err(client_event(&error)));
                }
                // The upstream may have answered before it stopped reading.
                Poll::Ready(Err(PumpError::Sink(_))) => self.refused = true,
            }
        }
        let gone = self.upload.source.live.poll_gone(cx).is_ready() || responder.poll_reset(cx).is_ready();
        if gone {
            return Poll::Ready(Err(Event::Gone));
        }
        match self.source.poll(cx) {
            Poll::Ready(Ok(head)) => Poll::Ready(Ok(head)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(Event::Upstream(error))),
            Poll::Pending => timers.poll(cx).map(|error| Err(Event::Upstream(error))),
        }
    }

    fn into_failure(self, event: Event, stale: bool) -> Failure {
        let replay = self.upload.source;
        match event {
            Event::Gone => Failure::Gone,
            Event::Client(error) => Failure::Client(error, replay),
            Event::Upstream(error) => {
                let outcome = outcome(&error, true);
                let harmless = matches!(error, UpstreamError::Terminated | UpstreamError::RefusedStream);
                let stale = stale && harmless;
                Failure::Upstream { error, replay, outcome, stale }
            }
        }
    }
}

impl HeadSource {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, UpstreamError>> {
        match self {
            Self::H1 { reader, scan, fresh } => poll_h1_head(reader, scan, fresh, cx).map_ok(Head::H1),
            Self::H2(response) => match ready!(std::pin::Pin::new(response.as_mut()).poll(cx)) {
                Ok(response) => {
                    let (parts, stream) = response.into_parts();
                    let headers = convert::headers(parts.headers);
                    let content =
                        if stream.is_end_stream() { Body::Empty } else { Body::H2 { stream, credit: 0 } };
                    Poll::Ready(Ok(Head::H2(Response { status: parts.status.as_u16(), headers }, content)))
                }
                Err(error) => Poll::Ready(Err(h2_error(&error))),
            },
        }
    }
}

fn poll_h1_head(
    reader: &mut Reader,
    scan: &mut Scan,
    fresh: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Result<head::ResponseHead, UpstreamError>> {
    loop {
        *fresh &= reader.buffer.is_empty();
        match scan.end(&reader.buffer) {
            Ok(Some(end)) => {
                let head = head::response(reader.buffer.split_to(end));
                return Poll::Ready(head.map_err(|_| UpstreamError::Protocol));
            }
            Ok(None) => {}
            Err(_) => return Poll::Ready(Err(UpstreamError::Protocol)),
        }
        match ready!(reader.poll_fill(cx)) {
            Ok(0) | Err(_) => return Poll::Ready(Err(UpstreamError::Terminated)),
            Ok(_) => {}
        }
    }
}

fn speaks_http2(cluster: &Cluster, client: Version) -> bool {
    match cluster.protocol {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::AsClient => client == Version::Http2,
    }
}

fn h2_request(exchange: &Exchange) -> Option<::http::Request<()>> {
    let target = ::http::uri::PathAndQuery::from_maybe_shared(exchange.request.target.clone()).ok()?;
    let uri = ::http::Uri::builder()
        .scheme(exchange.scheme)
        .authority(text(&exchange.request.authority))
        .path_and_query(target);
    let mut request = ::http::Request::new(());
    *request.method_mut() = ::http::Method::from_bytes(&exchange.request.method).ok()?;
    *request.uri_mut() = uri.build().ok()?;
    *request.version_mut() = ::http::Version::HTTP_2;
    *request.headers_mut() = convert::header_map(&exchange.request.headers);
    Some(request)
}

/// The client broke its body off or broke its framing.
fn client_event(error: &crate::http::h1::body::BodyError) -> Event {
    match error {
        crate::http::h1::body::BodyError::Malformed => Event::Client(ClientError::Body),
        _ => Event::Gone,
    }
}

/// Whether a connection takes no more streams.
async fn is_going_away(sender: &mut ::h2::client::SendRequest<Bytes>) -> bool {
    poll_fn(|cx| Poll::Ready(matches!(sender.poll_ready(cx), Poll::Ready(Err(_))))).await
}

fn h2_error(error: &::h2::Error) -> UpstreamError {
    match error.reason() {
        // Only streams above the last one that the GOAWAY names end with it: they were not processed.
        _ if error.is_go_away() && error.is_remote() => UpstreamError::RefusedStream,
        Some(::h2::Reason::REFUSED_STREAM) => UpstreamError::RefusedStream,
        Some(_) if error.is_reset() && error.is_remote() => UpstreamError::RemoteReset,
        Some(::h2::Reason::PROTOCOL_ERROR) if error.is_library() => UpstreamError::Protocol,
        _ => UpstreamError::Terminated,
    }
}

fn outcome(error: &UpstreamError, request_sent: bool) -> Outcome {
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
fn keeps_alive(head: &head::ResponseHead) -> bool {
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
fn is_idempotent(method: &Bytes) -> bool {
    matches!(&method[..], b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE" | b"PROPFIND")
}

fn has_no_content(method: &Bytes) -> bool {
    matches!(&method[..], b"GET" | b"HEAD" | b"DELETE" | b"CONNECT" | b"TRACE")
}
