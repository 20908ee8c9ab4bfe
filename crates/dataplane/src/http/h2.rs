//! HTTP/2 as a server: each stream of a connection is an exchange.

pub(crate) mod convert;
pub(crate) mod frames;
mod resets;
mod turn;

use std::future::{Future, poll_fn};
use std::num::NonZeroU64;
use std::pin::Pin;
use std::rc::Rc;

use ::h2::server::{Builder, SendResponse};
use ::h2::{Reason, RecvStream};
use bytes::{Bytes, BytesMut};
use portcullis_telemetry::metrics::DropReason;
use tokio::time::{Instant, sleep_until, timeout};

use crate::clock;
use crate::connection::Connection;
use crate::filter::forwarded;
use crate::http::LINGER;
use crate::http::body::Body;
use crate::http::exchange::{self, Arrival, Finished};
use crate::http::h1::accept::is_authority_byte;
use crate::http::h1::head::{MAX_HEAD, MAX_HEADERS, Version, content_length, is_method};
use crate::http::message::{Request, Responder};
use crate::stream::{Replay, Stream};
use frames::{Counted, Counts};
use resets::Resets;
use turn::Turn;

/// Receive window of a stream, in bytes: what one slow upstream can make the gateway hold for it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Receive window of a connection, in bytes.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What the HTTP/2 implementation reads of a header list, in bytes. Above our own bound, so that the
/// refusal is ours: a reset, as Istio's gateway answers.
const MAX_HEADER_LIST: u32 = 2 * MAX_HEAD as u32;
/// Response bytes buffered for one stream.
const SEND_BUFFER: usize = 256 * 1024;

/// Serves streams until the connection ends.
pub(crate) async fn serve(connection: Rc<Connection>, stream: Stream, ahead: BytesMut) {
    let bounds = connection.bounds();
    let settings = builder(&connection);
    let (stream, gate) = Turn::new(Replay { ahead: ahead.freeze(), inner: stream });
    let handshake = settings.handshake::<_, Bytes>(stream);
    let mut streams = match timeout(bounds.head, handshake).await {
        Ok(Ok(streams)) => streams,
        Ok(Err(error)) => {
            tracing::debug!(%error, peer = %connection.peer, "HTTP/2 handshake failed");
            return;
        }
        Err(_) => return,
    };
    gate.begin();
    // What comes before the first request that is measured, nobody asks for.
    if connection.is_measured() {
        gate.counts.begin();
    }
    let drain = &connection.worker.drain;
    let mut going = false;
    let mut waited = false;
    let mut left = connection.worker.config.limits.max_requests.map(NonZeroU64::get);
    let resets = Rc::<Resets>::default();
    loop {
        if resets.are_too_many() {
            connection.worker.shard.dropped(DropReason::RapidReset);
            streams.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            // Says so, and waits for nothing else: the tasks of its streams end with it.
            let _ = timeout(LINGER, poll_fn(|cx| streams.poll_closed(cx))).await;
            return;
        }
        let bounds = connection.bounds();
        let old = bounds.takes_requests_until;
        let accept = poll_fn(|cx| {
            // Those that were accepted before the wait have run.
            if waited {
                gate.next_turn();
            }
            let accepted = streams.poll_accept(cx);
            waited = accepted.is_pending();
            accepted
        });
        let accepted = tokio::select! {
            biased;
            accepted = timeout(bounds.idle, accept) => accepted,
            () = sleep_until(old.unwrap_or_else(Instant::now)), if old.is_some() && !going => {
                going = true;
                streams.graceful_shutdown();
                continue;
            }
            () = connection.unneeded(), if !going => {
                // GOAWAY; streams in progress finish, the client opens others elsewhere.
                going = true;
                streams.graceful_shutdown();
                continue;
            }
            () = drain.closed(), if going => return,
        };
        match accepted {
            Ok(Some(Ok((request, respond)))) => {
                let (connection, resets) = (Rc::clone(&connection), Rc::clone(&resets));
                let counts = Rc::clone(&gate.counts);
                let task = Box::pin(run((connection, resets, counts), request, respond));
                tokio::task::spawn_local(clock::steady(task));
                left = left.map(|left| left.saturating_sub(1));
                if left == Some(0) && !going {
                    going = true;
                    streams.graceful_shutdown();
                }
            }
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, peer = %connection.peer, "HTTP/2 connection failed");
                return;
            }
            Ok(None) => return,
            // No new stream for a long time: a connection without any goes away.
            Err(_) if !going && !streams.has_streams() => {
                going = true;
                streams.graceful_shutdown();
            }
            Err(_) => {}
        }
    }
}

/// What a connection is told of the gateway's limits.
fn builder(connection: &Connection) -> Builder {
    let limits = &connection.worker.config.limits;
    let pinned = connection.worker.pin();
    let said = &pinned.snapshot.settings.connections;
    let mut settings = Builder::new();
    settings
        .initial_window_size(said.stream_window.unwrap_or(STREAM_WINDOW))
        .initial_connection_window_size(said.connection_window.unwrap_or(CONNECTION_WINDOW))
        .max_concurrent_streams(said.streams.unwrap_or(limits.max_streams))
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(said.buffer.map_or(SEND_BUFFER, |bytes| SEND_BUFFER.min(bytes as usize)));
    settings
}

type Shared = (Rc<Connection>, Rc<Resets>, Rc<Counts>);

/// Serves a stream, in a task of its own.
async fn run(shared: Shared, request: ::http::Request<RecvStream>, respond: SendResponse<Bytes>) {
    let arrival = Arrival::now();
    // What a request is made of is put together where nothing waits, and takes no room here. But not before the task
    // runs: a snapshot must be gone by at once, or one that is newer may have taken its upstreams over.
    let Some(exchange) = begin(&shared, arrival, request, respond) else { return };
    if let Finished::Left = exchange.await {
        shared.1.taken_back(clock::now() - arrival.at);
    }
}

/// The exchange of a stream; none if it breaks the rules, which its client is told.
fn begin(
    (connection, resets, counts): &Shared,
    arrival: Arrival,
    request: ::http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<Pin<Box<impl Future<Output = Finished> + use<>>>> {
    resets.opened();
    let (parts, stream) = request.into_parts();
    let has_body = !stream.is_end_stream();
    let accepted = accept(&parts, has_body).and_then(|mut request| {
        let rule = connection.worker.pin().snapshot.settings.connections.underscores;
        // As Envoy does: a stream that breaks the rule is reset.
        let named = forwarded::underscores(&mut request.headers, rule);
        request.counted = Some(Counted::new(Rc::clone(counts), respond.stream_id().as_u32()));
        named.map(|()| request).map_err(|_| Reason::PROTOCOL_ERROR)
    });
    let request = match accepted {
        Ok(request) => request,
        Err(reason) => {
            let mut record = exchange::Record::open(connection, arrival);
            record.refused_stream();
            respond.send_reset(reason);
            return None;
        }
    };
    let body = if has_body { Body::H2 { stream, credit: 0 } } else { Body::Empty };
    Some(Box::pin(exchange::run(connection, request, body, Responder::H2(respond), arrival)))
}

/// Whether a method may go on: any token, as in Istio's gateway. What an upstream that does not tell letters apart would
/// take for a HEAD or a CONNECT has another meaning there than here, and may not.
fn may_be_sent(method: &[u8]) -> bool {
    is_method(method) || [&b"HEAD"[..], b"CONNECT"].iter().all(|known| !method.eq_ignore_ascii_case(known))
}

/// Checks what the HTTP/2 implementation leaves open (RFC 9113 §8.2, §8.3).
fn accept(parts: &::http::request::Parts, has_body: bool) -> Result<Request, Reason> {
    if parts.headers.len() > MAX_HEADERS {
        return Err(Reason::INTERNAL_ERROR);
    }
    let method = Bytes::copy_from_slice(parts.method.as_str().as_bytes());
    if !may_be_sent(&method) {
        return Err(Reason::PROTOCOL_ERROR);
    }
    let mut headers = convert::headers(&parts.headers);
    let wire = headers.size(4);
    if wire > MAX_HEAD {
        return Err(Reason::INTERNAL_ERROR);
    }
    let host = headers.first_owned("host");
    let authority = match (parts.uri.authority(), host) {
        (Some(authority), Some(host)) if authority.as_str().as_bytes() != &host[..] => {
            return Err(Reason::PROTOCOL_ERROR);
        }
        (Some(authority), _) => Bytes::copy_from_slice(authority.as_str().as_bytes()),
        (None, Some(host)) => host,
        (None, None) => return Err(Reason::PROTOCOL_ERROR),
    };
    if headers.all("host").count() > 1 || !authority.iter().all(|&byte| is_authority_byte(byte)) {
        return Err(Reason::PROTOCOL_ERROR);
    }
    headers.remove("host");
    let target = match parts.uri.path_and_query() {
        Some(target) => Bytes::copy_from_slice(target.as_str().as_bytes()),
        // It names a host and port, and no route leads to one (RFC 9113 §8.5).
        None if parts.method == ::http::Method::CONNECT => Bytes::new(),
        None => return Err(Reason::PROTOCOL_ERROR),
    };
    // As for HTTP/1: what stands beyond ASCII unescaped, each upstream reads in its own way.
    if !target.is_ascii() {
        return Err(Reason::PROTOCOL_ERROR);
    }
    // The HTTP/2 implementation compares the first value with the body; an upstream may read another one.
    if content_length(&headers).is_err() {
        return Err(Reason::PROTOCOL_ERROR);
    }
    if headers.iter().any(|field| convert::is_connection_specific(field.name)) {
        return Err(Reason::PROTOCOL_ERROR);
    }
    let scheme = match parts.uri.scheme_str() {
        Some("http") => Some("http"),
        Some("https") => Some("https"),
        _ => None,
    };
    let version = Version::Http2;
    let user_agent = headers.first_owned("user-agent");
    Ok(Request {
        method,
        target,
        authority,
        scheme,
        version,
        headers,
        user_agent,
        has_body,
        wire,
        upgrade: None,
        counted: None,
    })
}
