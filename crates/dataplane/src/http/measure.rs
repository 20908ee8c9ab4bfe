//! What is counted and timed of a request where header values tell it: bytes on the wire, and when its parts happened.
//!
//! Only requests of a route table that has such a value are measured ([`RouteTable::measured`]); the others hold nothing
//! of this, and nothing is asked of the clock for them.
//!
//! [`RouteTable::measured`]: portcullis_snapshot::RouteTable::measured

use std::rc::Rc;
use std::time::Duration;

use portcullis_snapshot::Headers;
use tokio::time::Instant;

use crate::http::body::{Body, Sink};
use crate::http::h1::head::Version;
use crate::http::h1::io::{Reader, Writer};
use crate::http::h2::frames::{Carried, OnWire};
use crate::http::message::{Request, Response};
use crate::upstream::link::Link;

/// Bytes beside name and value of a header line that Envoy counts of one it reads: colon and line end.
const BESIDE_READ: usize = 3;
/// Bytes of a request line beside method and target: two blanks, the version, the line end.
const BESIDE_TARGET: usize = 12;

/// Bytes of one message on one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Header fields as they stand on the wire.
    pub(crate) headers: u64,
    /// The same before they were compressed.
    pub(crate) decompressed: u64,
    /// Everything.
    pub(crate) wire: u64,
}

impl Sizes {
    fn and(self, other: Self) -> Self {
        Self {
            headers: self.headers + other.headers,
            decompressed: self.decompressed + other.decompressed,
            wire: self.wire + other.wire,
        }
    }
}

/// What is known of a request so far.
pub(crate) struct Measure {
    /// The request on the client's connection.
    received: Sizes,
    /// Where it began among the bytes read from an HTTP/1 connection.
    origin: u64,
    /// How long it took to find its route.
    pub(crate) routed: Option<Duration>,
    /// The current try.
    pub(crate) attempt: Try,
}

/// What is known of a try so far.
#[derive(Default)]
pub(crate) struct Try {
    /// The request on the upstream's connection.
    sent: Sizes,
    /// The response there.
    answered: Sizes,
    /// How long it waited for a connection, whether there was one or not.
    pub(crate) leased: Option<Duration>,
    /// Whether the connection was opened for it.
    pub(crate) opened: bool,
    /// When the request was first sent.
    pub(crate) began: Option<Instant>,
    /// Whether the response consists of a header.
    pub(crate) ended: bool,
    /// What the tries before it came to: request and response.
    before: [Sizes; 2],
    carried: Option<Carried>,
}

/// Where a request begins on an HTTP/1 connection to an upstream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    given: u64,
    read: u64,
}

impl Measure {
    /// Of a request that has just come.
    pub(crate) fn of(request: &Request, body: &Body) -> Self {
        let http1 = request.version != Version::Http2;
        let received = match (&request.counted, http1) {
            (_, true) => {
                let host = Some(request.authority.len()).filter(|length| *length > 0);
                let host = host.map_or(0, |length| "host".len() + length + BESIDE_READ);
                let headers = lines(&request.headers, BESIDE_READ) + host as u64;
                Sizes { headers, decompressed: headers, wire: request.wire as u64 }
            }
            (counted, false) => {
                let decompressed = request_fields(request, "http");
                let plain = OnWire { headers: decompressed, all: decompressed };
                let OnWire { headers, all } =
                    counted.as_ref().and_then(|counted| counted.now()).unwrap_or(plain);
                Sizes { headers, decompressed, wire: all }
            }
        };
        let ahead = |reader: &Reader| reader.read() - reader.buffer.len() as u64;
        let origin = body.reader().map_or(0, |reader| ahead(reader).saturating_sub(request.wire as u64));
        let mut measure = Self { received, origin, routed: None, attempt: Try::default() };
        measure.note_received(body);
        measure
    }

    /// So much of an HTTP/1 request has been read as `body` shows.
    pub(crate) fn note_received(&mut self, body: &Body) {
        if let Some(reader) = body.reader() {
            self.received.wire = reader.read() - self.origin;
        }
    }

    /// The request on the client's connection, as much of it as has come.
    pub(crate) fn received(&self, request: &Request) -> Sizes {
        match request.counted.as_ref().and_then(|counted| counted.now()) {
            Some(OnWire { all, .. }) => Sizes { wire: all, ..self.received },
            None => self.received,
        }
    }
}

impl Try {
    /// The next one, which has waited so long for a connection.
    pub(crate) fn next(&self, waited: Option<Duration>) -> Self {
        Self { leased: waited, before: [self.sent(), self.answered()], ..Self::default() }
    }

    /// The request begins on an HTTP/1 connection.
    pub(crate) fn begin(reader: &Reader, writer: &Writer) -> Marks {
        Marks { given: writer.given(), read: reader.read() - reader.buffer.len() as u64 }
    }

    /// Its head has been written.
    pub(crate) fn note_head(&mut self, request: &Request, marks: Marks, writer: &Writer) {
        self.began = Some(Instant::now());
        let head = writer.given() - marks.given;
        let line = request.method.len() + request.target.len() + BESIDE_TARGET;
        // The request line and the empty line at the end are no header fields.
        let headers = head.saturating_sub(line as u64 + 2);
        self.sent = Sizes { headers, decompressed: headers, wire: head };
    }

    /// So many bytes have gone over an HTTP/1 connection.
    pub(crate) fn note_moved(&mut self, marks: Marks, reader: &Reader, sink: &Sink) {
        if let Sink::H1 { writer, .. } = sink {
            self.sent.wire = writer.given() - marks.given;
        }
        self.answered.wire = reader.read() - marks.read;
    }

    /// The request was given to a stream of HTTP/2.
    pub(crate) fn note_stream(&mut self, request: &Request, scheme: &str, link: &Link, stream: u32) {
        self.began = Some(Instant::now());
        let headers = request_fields(request, scheme);
        self.sent = Sizes { headers, decompressed: headers, wire: headers };
        self.carried = link.counts.as_ref().map(|both| Carried::new(Rc::clone(both), stream));
    }

    /// The header of a response has come, in HTTP/2 or not.
    pub(crate) fn note_answer(&mut self, response: &Response, http2: bool, ended: bool) {
        let fields = lines(&response.headers, if http2 { 0 } else { BESIDE_READ });
        let status = if http2 { status_field(response) } else { 0 };
        self.answered.headers = fields + status;
        self.answered.decompressed = fields + status;
        self.ended = ended;
    }

    /// The request on the upstreams' connections, as much of it as has been sent, in all tries.
    pub(crate) fn sent(&self) -> Sizes {
        self.before[0].and(on_wire(self.sent, self.carried.as_ref().and_then(Carried::sent)))
    }

    /// The responses there, as much of them as has come.
    pub(crate) fn answered(&self) -> Sizes {
        self.before[1].and(on_wire(self.answered, self.carried.as_ref().and_then(Carried::received)))
    }
}

fn on_wire(sizes: Sizes, counted: Option<OnWire>) -> Sizes {
    match counted {
        Some(OnWire { headers, all }) => Sizes { headers, wire: all, ..sizes },
        None => sizes,
    }
}

/// Names and values of a request's header, those included that HTTP/2 has for its first line.
pub(crate) fn request_fields(request: &Request, scheme: &str) -> u64 {
    let scheme = request.scheme.unwrap_or(scheme);
    let pseudo = [
        (":method", request.method.len()),
        (":scheme", scheme.len()),
        (":path", request.target.len()),
        (":authority", request.authority.len()),
    ];
    let pseudo: usize = pseudo.iter().map(|(name, length)| name.len() + length).sum();
    pseudo as u64 + lines(&request.headers, 0)
}

/// Names and values of a response's header, its status included.
pub(crate) fn response_fields(response: &Response) -> u64 {
    status_field(response) + lines(&response.headers, 0)
}

/// `:status` and its three digits.
fn status_field(response: &Response) -> u64 {
    (":status".len() + itoa::Buffer::new().format(response.status).len()) as u64
}

fn lines(headers: &Headers, beside: usize) -> u64 {
    headers.size(beside) as u64
}
