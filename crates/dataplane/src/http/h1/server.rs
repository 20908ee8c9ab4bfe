//! The server side of an HTTP/1 connection: heads in, exchanges, heads out, keep-alive.
//!
//! ```text
//!   Idle ──first byte──► Head ──complete──► Exchange ──body read, reply sent──► Idle
//!    │ idle time, drain    │ too slow, malformed    │ anything left over
//!    ▼                     ▼                        ▼
//!   close               error reply, close       linger, close
//! ```

use std::future::{Future, poll_fn};
use std::io;
use std::num::NonZeroU64;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use portcullis_snapshot::Headers;
use tokio::time::{Instant, sleep_until, timeout};

use super::accept::accept;
use super::alarm::Alarm;
use super::body::Decoder;
use super::encode::{self, BodyWriter};
use super::head::{self, Framing, HeadError, RequestHead, Scan, Version};
use super::io::{Reader, Writer, join, split};
use super::lenient;
use crate::clock;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::http::body::{Body, Sink};
use crate::http::exchange::{self, Arrival, Finished, Record};
use crate::http::message::{Follows, Responder as AnyResponder, Response};
use crate::http::upgrade;
use crate::http::{LINGER, LINGER_BYTES};
use crate::stream::Stream;

/// How long a connection that is not needed any more waits all the same: a client that has just had an answer may have sent
/// its next request, and would lose it. The answer to that one says that it is the last.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// Empty lines tolerated before a request line (RFC 9112 §2.2).
const MAX_LEADING_LINES: usize = 2;

/// Serves requests until the connection ends.
///
/// What a request and its response are made of is put together and taken apart in [`begin`] and [`rest_of`], which do not
/// wait: whatever stands here as well as in them would take room in every connection for as long as it lives.
pub(crate) async fn serve(connection: Rc<Connection>, stream: Stream, ahead: BytesMut) {
    let (mut reader, mut writer) = split(stream, ahead);
    let mut left = connection.worker.config.limits.max_requests.map(NonZeroU64::get);
    // Both are waited for between requests, and entered once for all of these waits.
    let (mut alarm, mut unneeded, mut ending) = (Alarm::default(), pin!(connection.unneeded()), false);
    loop {
        reader.rest();
        writer.rest();
        let waits = Waits { alarm: &mut alarm, unneeded: unneeded.as_mut(), ending: &mut ending };
        let arrived = next_head(&connection, &mut reader, waits).await;
        let rest = match begin(&connection, arrived, (reader, writer), &mut left) {
            Begun::Exchange { exchange, expects_body } => rest_of(exchange.await, expects_body),
            Begun::Ended(rest) => rest,
        };
        match rest {
            Rest::Open(halves) => (reader, writer) = halves,
            Rest::Refused(refused) => return Box::pin(refuse(&connection, refused)).await,
            Rest::Linger(mut halves) => return Box::pin(linger(&mut halves)).await,
            Rest::Shut(mut writer) => {
                let _ = writer.shutdown().await;
                return;
            }
            Rest::Upgraded(upgraded) => return Box::pin(tunnel(&connection, upgraded)).await,
            Rest::Gone => return,
        }
    }
}

type Halves = (Box<Reader>, Writer);

/// What follows on the wait for a request.
enum Begun<F> {
    /// A request, on the heap: it takes more memory than all else of a connection.
    Exchange { exchange: Pin<Box<F>>, expects_body: bool },
    /// Nothing more.
    Ended(Rest),
}

/// What is left of a connection when a request is over, or none has come.
enum Rest {
    /// It takes another request.
    Open(Halves),
    Refused(Box<Refused>),
    /// It ends, and its client may still be sending.
    Linger(Box<Halves>),
    /// It ends.
    Shut(Writer),
    Upgraded(Box<Upgraded>),
    /// It has ended already.
    Gone,
}

/// What is no request, and whom to tell.
struct Refused {
    error: ClientError,
    arrival: Arrival,
    halves: Halves,
}

/// Both sides of what has become a tunnel.
struct Upgraded {
    halves: Halves,
    upstream: Stream,
    record: Box<Record>,
}

/// What has arrived, as an exchange; `left` are the requests that the connection may carry from here on.
fn begin(
    connection: &Rc<Connection>,
    arrived: Result<Option<Arrived>, (ClientError, Arrival)>,
    (reader, writer): Halves,
    left: &mut Option<u64>,
) -> Begun<impl Future<Output = Finished> + use<>> {
    let refused =
        |error, arrival, halves| Begun::Ended(Rest::Refused(Box::new(Refused { error, arrival, halves })));
    let (head, arrival) = match arrived {
        Ok(Some(arrived)) => arrived,
        Ok(None) => return Begun::Ended(Rest::Shut(writer)),
        Err((error, arrival)) => return refused(error, arrival, (reader, writer)),
    };
    let mut responder = Responder::new(Rc::clone(connection), writer, &head);
    *left = left.map(|left| left.saturating_sub(1));
    if *left == Some(0) {
        responder.close_after();
    }
    let expects_body = head.framing != Framing::Empty;
    let scheme = if connection.tls.is_some() { "https" } else { "http" };
    let (request, framing) = match accept(head, scheme) {
        Ok(accepted) => accepted,
        Err(error) => return refused(error, arrival, (reader, responder.writer)),
    };
    let body = Body::H1 { reader, decoder: Decoder::new(framing) };
    let exchange = exchange::run(connection, request, body, AnyResponder::H1(responder), arrival);
    Begun::Exchange { exchange: Box::pin(exchange), expects_body }
}

/// What an exchange leaves of its connection.
fn rest_of(finished: Finished, expects_body: bool) -> Rest {
    match finished {
        Finished::Done { body: Body::H1 { reader, decoder }, sink: Sink::H1 { writer, body: sent } } => {
            if sent.is_complete() && sent.keeps_alive() && decoder.is_done() {
                Rest::Open((reader, writer))
            } else if expects_body || !reader.buffer.is_empty() {
                Rest::Linger(Box::new((reader, writer)))
            } else {
                Rest::Shut(writer)
            }
        }
        Finished::Upgraded {
            body: Body::H1 { reader, .. },
            sink: Sink::H1 { writer, .. },
            upstream,
            record,
        } => Rest::Upgraded(Box::new(Upgraded { halves: (reader, writer), upstream, record })),
        Finished::Done { .. } | Finished::Upgraded { .. } | Finished::Left | Finished::Broken => Rest::Gone,
    }
}

/// Says why, and ends the connection.
async fn refuse(connection: &Connection, refused: Box<Refused>) {
    let Refused { error, arrival, mut halves } = *refused;
    exchange::refuse(connection, error, arrival, &mut halves.1).await;
    linger(&mut halves).await;
}

/// Carries what both sides now speak.
async fn tunnel(connection: &Rc<Connection>, upgraded: Box<Upgraded>) {
    let Upgraded { halves: (reader, writer), upstream, record } = *upgraded;
    let (stream, early) = join(*reader, writer);
    upgrade::splice(connection, stream, early, upstream, record).await;
}

type Arrived = (RequestHead, Arrival);

/// What ends a connection between two requests.
struct Waits<'a, U> {
    alarm: &'a mut Alarm,
    unneeded: Pin<&'a mut U>,
    /// Whether that has come.
    ending: &'a mut bool,
}

/// Waits for the next request head; `None` when the connection ends between requests.
async fn next_head<U: Future<Output = ()>>(
    connection: &Connection,
    reader: &mut Reader,
    waits: Waits<'_, U>,
) -> Result<Option<Arrived>, (ClientError, Arrival)> {
    let bounds = connection.bounds();
    if reader.buffer.is_empty() && !wait_idle(reader, waits, clock::now() + bounds.wait()).await {
        return Ok(None);
    }
    let arrival = Arrival::now();
    let refused = |error: HeadError| (ClientError::Head(error), arrival);
    let lenient = connection.worker.config.compat.lenient_http1;
    let mut scan = Scan::default();
    let mut leading = 0;
    loop {
        while leading < MAX_LEADING_LINES
            && let Some(length) = empty_line(&reader.buffer, lenient)
        {
            reader.buffer.advance(length);
            leading += 1;
        }
        // What cannot become a request line is refused at once, not when it times out.
        if reader.buffer.first().is_some_and(|byte| !byte.is_ascii_uppercase() && *byte != b'\r') {
            return Err(refused(HeadError::Malformed));
        }
        let end = if lenient { scan.lenient_end(&reader.buffer) } else { scan.end(&reader.buffer) };
        if let Some(end) = end.map_err(refused)? {
            let head = reader.take_head(end);
            let spellings = bounds.keeps_case.then(|| head::spellings(&head));
            let parsed = if lenient { repaired(&head) } else { head::request(head) };
            let mut head = parsed.map_err(refused)?;
            if let Some(spellings) = spellings {
                head.headers.spell_as(spellings);
            }
            return Ok(Some((head, arrival)));
        }
        // On the heap: a head that comes in pieces is rare.
        match Box::pin(next_piece(connection, reader, arrival.at + bounds.head)).await {
            Piece::Some => {}
            Piece::Late => return Err((ClientError::HeaderTimeout, arrival)),
            Piece::None => return Ok(None),
        }
    }
}

/// What has come of a head that has begun.
enum Piece {
    Some,
    /// Nothing in time.
    Late,
    /// Nothing, and nothing will.
    None,
}

/// Waits for more of a head until `deadline`.
async fn next_piece(connection: &Connection, reader: &mut Reader, deadline: Instant) -> Piece {
    tokio::select! {
        biased;
        filled = reader.fill() => if matches!(filled, Ok(1..)) { Piece::Some } else { Piece::None },
        () = sleep_until(deadline) => Piece::Late,
        () = connection.worker.drain.closed() => Piece::None,
    }
}

/// Length of the empty line at the start of `buffer`.
fn empty_line(buffer: &[u8], lenient: bool) -> Option<usize> {
    match buffer {
        [b'\r', b'\n', ..] => Some(2),
        [b'\n', ..] if lenient => Some(1),
        _ => None,
    }
}

/// Parses a head that may need repair.
fn repaired(head: &[u8]) -> Result<RequestHead, HeadError> {
    let mut parsed = head::request(lenient::canonical(head)?)?;
    parsed.wire = head.len();
    Ok(parsed)
}

/// Waits for the first byte of a request; false when the connection should end instead.
async fn wait_idle<U: Future<Output = ()>>(
    reader: &mut Reader,
    mut waits: Waits<'_, U>,
    until: Instant,
) -> bool {
    let begun = clock::now();
    poll_fn(|cx| {
        // A request that has come already is served, draining or not.
        if let Poll::Ready(filled) = reader.poll_fill(cx) {
            return Poll::Ready(matches!(filled, Ok(1..)));
        }
        *waits.ending = *waits.ending || waits.unneeded.as_mut().poll(cx).is_ready();
        let until = if *waits.ending { until.min(begun + UNDER_WAY) } else { until };
        waits.alarm.poll(until, cx).map(|()| false)
    })
    .await
}

/// Whether the client wants to send another request on this connection (RFC 9112 §9.3).
fn wants_keep_alive(head: &RequestHead) -> bool {
    let mut keep_alive = head.version == Version::Http11;
    for value in head.headers.all("connection") {
        for token in value.split(|&byte| byte == b',') {
            let token = token.trim_ascii();
            if token.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keep_alive
}

/// Ends a connection whose peer may still be sending: the answer would be lost in a reset if the
/// socket closed with bytes unread.
async fn linger((reader, writer): &mut Halves) {
    if writer.shutdown().await.is_err() {
        return;
    }
    let swallow = async {
        let mut swallowed = reader.buffer.len();
        while swallowed < LINGER_BYTES {
            reader.buffer.clear();
            match reader.fill().await {
                Ok(0) | Err(_) => return,
                Ok(count) => swallowed += count,
            }
        }
    };
    let _ = timeout(LINGER, swallow).await;
}

/// Writes the response of one request.
pub(crate) struct Responder {
    connection: Rc<Connection>,
    writer: Writer,
    version: Version,
    to_head: bool,
    keep_alive: bool,
}

impl Responder {
    fn new(connection: Rc<Connection>, writer: Writer, head: &RequestHead) -> Self {
        let to_head = &head.method[..] == b"HEAD";
        Self { connection, writer, version: head.version, to_head, keep_alive: wants_keep_alive(head) }
    }

    /// Has the connection closed behind this response.
    pub(crate) fn close_after(&mut self) {
        self.keep_alive = false;
    }

    pub(crate) fn informational(&mut self, status: u16, headers: &Headers) {
        if self.version != Version::Http10 {
            encode::response(self.writer.buffer(), status, headers);
            encode::end(self.writer.buffer());
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_flush(cx)
    }

    /// Writes the head into the buffer; the body decides when it is flushed.
    pub(crate) fn start(mut self, response: &Response, follows: Follows) -> Sink {
        let announced = announced_length(&response.headers);
        let bodiless = self.to_head || matches!(response.status, 101 | 204 | 304);
        let framing = match (bodiless, announced, follows) {
            (true, ..) => Framing::Empty,
            (false, Some(0), _) => Framing::Empty,
            (false, Some(length), _) => Framing::Length(length),
            (false, None, Follows::Nothing) => Framing::Empty,
            (false, None, Follows::Body) if self.version == Version::Http10 => Framing::UntilClose,
            (false, None, Follows::Body) => Framing::Chunked,
        };
        let out = self.writer.buffer();
        let headers = &response.headers;
        encode::response(out, response.status, headers);
        if announced.is_none() {
            match framing {
                // The answer to HEAD shows how the same answer to GET would be framed.
                Framing::Empty
                    if self.to_head && response.status >= 200 && !matches!(response.status, 204 | 304) =>
                {
                    encode::framing(out, headers, Framing::Chunked);
                }
                Framing::Empty if !bodiless => encode::framing(out, headers, Framing::Length(0)),
                other => encode::framing(out, headers, other),
            }
        }
        let draining = self.connection.worker.drain.is_draining() || self.connection.is_old();
        let keep_alive = self.keep_alive && framing != Framing::UntilClose && !draining;
        if response.status != 101 {
            if !keep_alive {
                encode::line(out, headers, b"connection", b"close");
            } else if self.version == Version::Http10 {
                encode::line(out, headers, b"connection", b"keep-alive");
            }
        }
        encode::end(out);
        Sink::H1 { writer: self.writer, body: BodyWriter::new(framing, keep_alive) }
    }
}

fn announced_length(headers: &Headers) -> Option<u64> {
    headers.first_str("content-length").and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            assert_eq!(
                wants_keep_alive(&head::request(BytesMut::from(text)).expect("parses")),
                expected,
                "{text:?}"
            );
        }
    }
}
