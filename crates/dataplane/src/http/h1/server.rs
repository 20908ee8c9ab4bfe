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

use bytes::{Buf, Bytes, BytesMut};
use portcullis_snapshot::Headers;
use tokio::time::{Instant, sleep_until, timeout};

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
use crate::http::exchange::{self, Arrival, Finished};
use crate::http::message::{Follows, Request, Responder as AnyResponder, Response};
use crate::http::upgrade;
use crate::http::{LINGER, LINGER_BYTES};
use crate::stream::Stream;

/// How long a connection that is not needed any more waits all the same: a client that has just had an answer may have sent
/// its next request, and would lose it. The answer to that one says that it is the last.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// Empty lines tolerated before a request line (RFC 9112 §2.2).
const MAX_LEADING_LINES: usize = 2;

/// Serves requests until the connection ends.
pub(crate) async fn serve(connection: Rc<Connection>, stream: Stream, ahead: BytesMut) {
    let (mut reader, mut writer) = split(stream, ahead);
    let mut left = connection.worker.config.limits.max_requests.map(NonZeroU64::get);
    // Both are waited for between requests, and entered once for all of these waits.
    let (mut alarm, mut unneeded, mut ending) = (Alarm::default(), pin!(connection.unneeded()), false);
    loop {
        reader.rest();
        writer.rest();
        let waits = Waits { alarm: &mut alarm, unneeded: unneeded.as_mut(), ending: &mut ending };
        let arrived = match next_head(&connection, &mut reader, waits).await {
            Ok(Some(arrived)) => arrived,
            Ok(None) => break,
            Err((error, arrival)) => {
                Box::pin(exchange::refuse(&connection, error, arrival, &mut writer)).await;
                Box::pin(linger(&mut reader, &mut writer)).await;
                return;
            }
        };
        let (head, arrival) = arrived;
        let mut responder = Responder::new(Rc::clone(&connection), writer, &head);
        left = left.map(|left| left.saturating_sub(1));
        if left == Some(0) {
            responder.close_after();
        }
        let expects_body = head.framing != Framing::Empty;
        let scheme = if connection.tls.is_some() { "https" } else { "http" };
        let request = match accept(head, scheme) {
            Ok(request) => request,
            Err(error) => {
                let mut writer = responder.writer;
                Box::pin(exchange::refuse(&connection, error, arrival, &mut writer)).await;
                Box::pin(linger(&mut reader, &mut writer)).await;
                return;
            }
        };
        let framing = request.1;
        let body = Body::H1 { reader, decoder: Decoder::new(framing) };
        let finished =
            Box::pin(exchange::run(&connection, request.0, body, AnyResponder::H1(responder), arrival)).await;
        let (body, sink) = match finished {
            Finished::Done { body, sink } => (body, sink),
            Finished::Upgraded { body, sink, upstream, record } => {
                if let (Body::H1 { reader, .. }, Sink::H1 { writer, .. }) = (body, sink) {
                    let (stream, early) = join(reader, writer);
                    Box::pin(upgrade::splice(&connection, stream, early, upstream, record)).await;
                }
                return;
            }
            Finished::Left | Finished::Broken => return,
        };
        let (Body::H1 { reader: same, decoder }, Sink::H1 { writer: same_writer, body: sent }) = (body, sink)
        else {
            return;
        };
        (reader, writer) = (same, same_writer);
        let reusable = sent.is_complete() && sent.keeps_alive() && decoder.is_done();
        if !reusable {
            if expects_body || !reader.buffer.is_empty() {
                Box::pin(linger(&mut reader, &mut writer)).await;
            } else {
                let _ = writer.shutdown().await;
            }
            return;
        }
    }
    let _ = writer.shutdown().await;
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
        let deadline = arrival.at + bounds.head;
        let filled = tokio::select! {
            biased;
            filled = reader.fill() => filled,
            () = sleep_until(deadline) => return Err((ClientError::HeaderTimeout, arrival)),
            () = connection.worker.drain.closed() => return Ok(None),
        };
        match filled {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
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

/// What `Connection` may not name: upstreams rely on these (CVE-2024-45410).
const TRUSTED: [&[u8]; 3] = [b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"];

/// Whether `Connection` names Host, which is then none.
///
/// # Errors
/// When it names what it may not.
fn names_host(headers: &Headers) -> Result<bool, HeadError> {
    let mut host = false;
    for token in headers.all("connection").flat_map(|value| value.split(|&byte| byte == b',')) {
        let token = token.trim_ascii();
        if TRUSTED.iter().any(|name| token.eq_ignore_ascii_case(name)) {
            return Err(HeadError::Malformed);
        }
        host |= token.eq_ignore_ascii_case(b"host");
    }
    Ok(host)
}

/// Checks what the grammar leaves open and settles authority, target and upgrade.
fn accept(head: RequestHead, scheme: &str) -> Result<(Request, Framing), ClientError> {
    let RequestHead { method, target, version, host, user_agent, mut headers, framing, wire } = head;
    if headers.all("host").nth(1).is_some() {
        return Err(ClientError::Head(HeadError::Malformed));
    }
    headers.remove("host");
    let host = if names_host(&headers)? { None } else { host };
    if &method[..] == b"CONNECT" {
        // Its target is a host and port (RFC 9112 §3.2.3).
        let malformed = target.first() == Some(&b'/');
        return Err(if malformed { HeadError::Malformed.into() } else { ClientError::Connect });
    }
    if &target[..] == b"*" && &method[..] != b"OPTIONS" {
        return Err(ClientError::Head(HeadError::Malformed));
    }
    let (authority, target) = match absolute(&target)? {
        Some(absolute) if absolute.scheme == "https" && scheme != "https" => {
            return Err(ClientError::HttpsInClear);
        }
        Some(absolute) => (absolute.authority, absolute.target),
        // HTTP/1.0 need not name it; whether such a request is served at all is decided behind this.
        None if version == Version::Http10 => (host.unwrap_or_default(), target),
        None => (host.ok_or(ClientError::MissingHost)?, target),
    };
    if !authority.iter().all(|&byte| is_authority_byte(byte)) {
        return Err(ClientError::Head(HeadError::Malformed));
    }
    let upgrade = upgrade::requested(&mut headers, framing)?;
    let has_body = framing != Framing::Empty || upgrade.is_some();
    let scheme = None;
    let request = Request {
        method,
        target,
        authority,
        scheme,
        version,
        headers,
        user_agent,
        has_body,
        wire,
        upgrade,
        counted: None,
    };
    Ok((request, framing))
}

/// Authority and origin form of an absolute-form target (RFC 9112 §3.2.2); its authority replaces
/// Host. Other schemes than http and https are refused.
fn absolute(target: &Bytes) -> Result<Option<Absolute>, ClientError> {
    if target[0] == b'/' || &target[..] == b"*" {
        return Ok(None);
    }
    let lower = target[..target.len().min(8)].to_ascii_lowercase();
    let (scheme, start) = match &lower[..] {
        start if start.starts_with(b"http://") => ("http", 7),
        start if start.starts_with(b"https://") => ("https", 8),
        _ => return Err(ClientError::Head(HeadError::Malformed)),
    };
    let end = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let end = end.map_or(target.len(), |length| start + length);
    if end == start {
        return Err(ClientError::Head(HeadError::Malformed));
    }
    let rest = match target.get(end) {
        None => Bytes::from_static(b"/"),
        Some(b'/') => target.slice(end..),
        Some(_) => [b"/", &target[end..]].concat().into(),
    };
    Ok(Some(Absolute { scheme, authority: target.slice(start..end), target: rest }))
}

/// A target in absolute form, taken apart.
struct Absolute {
    scheme: &'static str,
    authority: Bytes,
    /// In origin form.
    target: Bytes,
}

/// Bytes of a host and port (RFC 3986 §3.2.2), user information excluded.
pub(crate) fn is_authority_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// Ends a connection whose peer may still be sending: the answer would be lost in a reset if the
/// socket closed with bytes unread.
async fn linger(reader: &mut Reader, writer: &mut Writer) {
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

    fn accepted(text: &str) -> Result<Request, ClientError> {
        let head = head::request(BytesMut::from(text)).expect("well-formed");
        accept(head, "https").map(|(request, _)| request)
    }

    #[test]
    fn absolute_form_names_the_host() {
        for (line, authority, target) in [
            ("GET http://b.com/x?y HTTP/1.1", "b.com", "/x?y"),
            ("GET HTTP://b.com HTTP/1.1", "b.com", "/"),
            ("GET https://b.com:8443?q HTTP/1.1", "b.com:8443", "/?q"),
            ("GET /x HTTP/1.1", "a.com", "/x"),
        ] {
            let request = accepted(&format!("{line}\r\nHost: a.com\r\n\r\n")).expect("accepted");
            assert_eq!(
                (&request.authority[..], &request.target[..]),
                (authority.as_bytes(), target.as_bytes()),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_refused_in_clear() {
        for (line, expected) in [
            ("GET https://a.com/ HTTP/1.1", Some(ClientError::HttpsInClear)),
            ("CONNECT a.com:443 HTTP/1.1", Some(ClientError::Connect)),
            ("GET / HTTP/1.1", Some(ClientError::MissingHost)),
            ("GET / HTTP/1.0", None),
        ] {
            let head = head::request(BytesMut::from(&*format!("{line}\r\n\r\n"))).expect("well-formed");
            assert_eq!(accept(head, "http").err(), expected, "{line}");
        }
    }

    #[test]
    fn refused_targets_and_hosts() {
        for text in [
            "GET ftp://b.com/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        ] {
            assert!(accepted(text).is_err(), "{text:?}");
        }
    }

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
