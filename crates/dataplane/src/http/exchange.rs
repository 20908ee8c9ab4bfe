//! One request and its response: the record is opened, one snapshot is pinned, the pipeline runs,
//! and exactly one set of counts and one log line come out, however it ends.

use std::cell::OnceCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use portcullis_snapshot::Route;
use portcullis_snapshot::matcher::RequestView;
use portcullis_telemetry::details::Details;
use portcullis_telemetry::flags::Flag;
use portcullis_telemetry::metrics::DropReason;
use portcullis_telemetry::record::{Protocol, RequestRecord};
use portcullis_traffic::breaker::Permit;
use tokio::time::Instant;

use crate::clock;
use crate::connection::{Connection, Scope};
use crate::error::ClientError;
use crate::filter::{cookie, grpc_web};
use crate::http::body::{Body, Sink};
use crate::http::h1::head::Version;
use crate::http::h1::io::Writer;
use crate::http::measure::{Measure, Try};
use crate::http::message::{Request, Responder, text};
use crate::http::{pipeline, reply};
use crate::stream::Stream;
use crate::upstream::link::Link;
use crate::upstream::registry::Picked;
use crate::worker::Worker;

/// When a request arrived, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) started: SystemTime,
    pub(crate) at: Instant,
}

impl Arrival {
    /// Now, whatever else the task has done since it was woken.
    pub(crate) fn now() -> Self {
        clock::forget();
        Self { started: clock::wall(), at: clock::now() }
    }
}

/// How an exchange ended, and what it gives back.
pub(crate) enum Finished {
    /// The response was sent; the connection decides whether it goes on.
    Done {
        /// The request body, read to its end or not.
        body: Body,
        /// The response's sink.
        sink: Sink,
    },
    /// Both sides now speak another protocol.
    Upgraded {
        /// Holds the downstream reader.
        body: Body,
        /// Holds the downstream writer.
        sink: Sink,
        /// The upstream side.
        upstream: Stream,
        /// Closed when the tunnel ends.
        record: Box<Record>,
    },
    /// The client left before a response began.
    Left,
    /// The response cannot be completed: the connection or stream ends here.
    Broken,
}

/// Everything known about a request on its way. What few requests have is behind a pointer: the allocator is quickest with
/// up to 1,024 bytes.
pub(crate) struct Exchange {
    pub(crate) connection: Rc<Connection>,
    pub(crate) scope: Scope,
    pub(crate) request: Request,
    pub(crate) record: Record,
    /// `http` or `https`, as the client sees it.
    pub(crate) scheme: &'static str,
    /// `Origin` as the client sent it, where the route has a CORS policy.
    pub(crate) origin: Option<Box<Bytes>>,
    /// What consistent hashing goes by, once it is known.
    pub(crate) hash: Option<u64>,
    /// A cookie to set for it.
    pub(crate) cookie: Option<Box<cookie::Generated>>,
    /// What is translated, where the request is gRPC-Web and the port is for it.
    pub(crate) grpc_web: Option<grpc_web::Forms>,
    /// When all of the request had been sent to the upstream that answers.
    pub(crate) sent: Option<Instant>,
    /// The upstream connection of the current try, once there is one.
    pub(crate) link: Option<Rc<Link>>,
    /// The draw that decides among several destinations, once somebody has asked.
    draw: OnceCell<u64>,
    /// What is counted and timed of it, where header values tell that.
    pub(crate) measure: Option<Box<Measure>>,
    /// The route that matched, by virtual host and position: routes live in the pinned snapshot.
    pub(crate) matched: Option<Matched>,
}

/// The matched route.
#[derive(Clone)]
pub(crate) struct Matched {
    pub(crate) host: Arc<portcullis_snapshot::VirtualHost>,
    pub(crate) ordinal: usize,
}

impl Matched {
    pub(crate) fn route(&self) -> &Route {
        &self.host.routes()[self.ordinal]
    }
}

/// A request's record; counted and logged when it is dropped, so that no end is missed.
pub(crate) struct Record {
    worker: Rc<Worker>,
    at: Instant,
    pub(crate) inner: RequestRecord,
    /// Set once the outcome is known; without it, the client left.
    pub(crate) settled: bool,
    /// What a tunnel holds as long as it lasts: its share of the cluster's limit and of the endpoint's requests.
    pub(crate) held: Option<Box<(Permit, Picked)>>,
}

impl Record {
    pub(crate) fn open(connection: &Connection, arrival: Arrival) -> Self {
        let mut inner = RequestRecord::new(arrival.started);
        inner.downstream_local_address = Some(connection.local);
        inner.downstream_remote_address = Some(connection.peer);
        inner.sni = connection.server_name().cloned();
        connection.worker.shard.request_started();
        Self { worker: Rc::clone(&connection.worker), at: arrival.at, inner, settled: false, held: None }
    }

    /// When the request began.
    pub(crate) fn arrived(&self) -> Instant {
        self.at
    }

    /// Time since the request began.
    pub(crate) fn elapsed(&self) -> std::time::Duration {
        clock::now() - self.at
    }

    /// The request breaks HTTP/2's rules: its stream is reset.
    pub(crate) fn refused_stream(&mut self) {
        self.settled = true;
        self.inner.protocol = Some(Protocol::Http2);
        self.inner.flags.set(Flag::DownstreamProtocolError);
        self.inner.details = Some(Details::HTTP2_PROTOCOL_ERROR);
    }

    /// The client ended the exchange.
    pub(crate) fn client_left(&mut self) {
        if !self.settled {
            self.settled = true;
            self.inner.flags.set(Flag::DownstreamConnectionTermination);
            self.inner.details = Some(Details::DOWNSTREAM_REMOTE_DISCONNECT);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.client_left();
        self.inner.duration = self.elapsed();
        self.worker.shard.request_ended();
        self.worker.finish_request(&self.inner);
    }
}

impl Exchange {
    /// There is a connection for the current try.
    pub(crate) fn reached(&mut self, link: &Rc<Link>) {
        self.record.inner.upstream_local_address = link.local;
        self.link = Some(Rc::clone(link));
    }

    /// Most bytes of a body that are held for this request.
    pub(crate) fn body_limit(&self) -> usize {
        let own = self.worker().config.limits.retry_buffer;
        let said = self.scope.pinned.snapshot.settings.connections.buffer;
        said.map_or(own, |bytes| own.min(bytes as usize))
    }

    /// The draw that decides among several destinations: the same for all who ask.
    pub(crate) fn draw(&self) -> u64 {
        *self.draw.get_or_init(|| self.worker().roll())
    }

    /// The current try, where it is measured.
    pub(crate) fn measured_try(&mut self) -> Option<&mut Try> {
        self.measure.as_mut().map(|measure| &mut measure.attempt)
    }

    /// What routing looks at.
    pub(crate) fn view(&self) -> RequestView<'_> {
        let (path, query) = portcullis_snapshot::path::split(text(&self.request.target));
        RequestView {
            method: text(&self.request.method),
            // A client may say what it likes here, so nothing that protects a route goes by it.
            scheme: self.request.scheme.unwrap_or(self.scheme),
            authority: text(&self.request.authority),
            path,
            query,
            headers: &self.request.headers,
        }
    }

    /// The trusted client: the peer, or what X-Forwarded-For says behind trusted proxies.
    pub(crate) fn client(&self) -> SocketAddr {
        self.record.inner.downstream_remote_address.unwrap_or(self.connection.peer)
    }

    /// The worker this exchange runs on.
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.connection.worker
    }
}

/// Runs one exchange from request head to the end of the response.
///
/// The exchange is put together at once: nothing that only leads to it takes room in what waits for its end. It is to be
/// polled in the same turn, too: by the next one a newer snapshot may have taken over the upstreams of the one it goes by.
pub(crate) fn run(
    connection: &Rc<Connection>,
    request: Request,
    body: Body,
    responder: Responder,
    arrival: Arrival,
) -> impl Future<Output = Finished> + use<> {
    let mut record = Record::open(connection, arrival);
    record.inner.method = Some(request.method.clone());
    record.inner.path = Some(request.target.clone());
    record.inner.authority = Some(request.authority.clone());
    record.inner.protocol = Some(protocol(request.version));
    record.inner.wire_received = request.wire as u64;
    record.inner.grpc = request.is_grpc();
    record.inner.user_agent = request.user_agent.clone();
    let scope = connection.scope();
    let exchange = Box::new(Exchange {
        measure: scope.is_measured().then(|| Box::new(Measure::of(&request, &body))),
        scope,
        connection: Rc::clone(connection),
        scheme: if connection.tls.is_some() { "https" } else { "http" },
        request,
        record,
        origin: None,
        hash: None,
        cookie: None,
        grpc_web: None,
        sent: None,
        link: None,
        draw: OnceCell::new(),
        matched: None,
    });
    pipeline::run(exchange, body, responder)
}

/// Answers what never became a request, on an HTTP/1 connection that then ends.
pub(crate) async fn refuse(
    connection: &Connection,
    error: ClientError,
    arrival: Arrival,
    writer: &mut Writer,
) {
    let mut record = Record::open(connection, arrival);
    record.settled = true;
    connection.worker.shard.dropped(match error {
        ClientError::HeaderTimeout => DropReason::HeaderTimeout,
        _ => DropReason::RequestRefused,
    });
    let reply = reply::client_error(error);
    record.inner.protocol = Some(Protocol::Http11);
    record.inner.response_code = reply.status;
    record.inner.details = Some(reply.details.clone());
    if let Some(flag) = reply.flag {
        record.inner.flags.set(flag);
    }
    record.inner.bytes_sent = reply.body.len() as u64;
    let own = connection.scope().pinned;
    let server = own.snapshot.settings.own_headers.server.as_ref();
    let head = reply.head(server, &connection.worker.date());
    let out = writer.buffer();
    crate::http::h1::encode::response(out, head.status, &head.headers);
    if reply.body.is_empty() {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    out.extend_from_slice(b"connection: close\r\n\r\n");
    out.extend_from_slice(&reply.body);
    let _ = writer.flush().await;
}

fn protocol(version: Version) -> Protocol {
    match version {
        Version::Http10 => Protocol::Http10,
        Version::Http11 => Protocol::Http11,
        Version::Http2 => Protocol::Http2,
    }
}

/// Joins a path and a query again.
pub(crate) fn target(path: &str, query: Option<&str>) -> Bytes {
    match query {
        None => Bytes::copy_from_slice(path.as_bytes()),
        Some(query) => [path.as_bytes(), b"?", query.as_bytes()].concat().into(),
    }
}
