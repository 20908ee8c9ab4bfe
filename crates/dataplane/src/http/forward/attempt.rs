//! One try: a connection, the request out, the response head in.

use std::future::poll_fn;
use std::task::{Context, Poll};

use portcullis_traffic::breaker::{Permit, Resource};
use portcullis_traffic::retry::Outcome;
use tokio::time::Instant;

use super::head::{Head, HeadSource};
use super::replay::Replay;
use super::timers::{Expired, Timers};
use super::wire::{self, h2_error, h2_request, is_going_away, is_idempotent, outcome, write_head};
use super::{prepare, race};
use crate::error::{ClientError, UpstreamError};
use crate::http::body::{Body, H2Sink, Pump, PumpError, Sink, Source as _};
use crate::http::exchange::Exchange;
use crate::http::h1::body::Decoder;
use crate::http::h1::encode::BodyWriter;
use crate::http::h1::head::{self, Framing, Scan};
use crate::http::measure::Try;
use crate::http::message::{Responder, Response};
use crate::upstream::link::Link;
use crate::upstream::pool::{H1Connection, H2Lease, Kept, Lease, Pool, Standing, Wanted};
use crate::upstream::registry::{Picked, Upstream};

/// What the informational answers to one request may come to, in bytes, each counted as [`INTERIM_COST`] more than its
/// fields: a client that reads slowly does not hold them back, and they are kept until it has read them.
const MAX_INTERIM: usize = 256 * 1024;
/// What an informational answer costs beside its fields, in bytes.
const INTERIM_COST: usize = 128;

/// What a try works with.
pub(super) struct Attempt<'a> {
    pub(super) upstream: &'a Upstream,
    /// Whether kept connections are passed over: one of them has just turned out to be dead.
    pub(super) fresh: bool,
}

/// A response head, with both directions as they stand. On the heap where it is made: it is passed on three times.
pub(super) struct Answer {
    pub(super) head: Response,
    /// The request body on its way; may still be going.
    pub(super) upload: Pump<Replay>,
    pub(super) content: Body,
    pub(super) carrier: Carrier,
    /// The request's share of the cluster's limit.
    pub(super) admitted: Permit,
}

/// What carries the exchange, and what becomes of it afterwards.
pub(super) enum Carrier {
    /// An HTTP/1 connection; its halves are in the upload's sink and in the content.
    H1 {
        standing: Box<Standing>,
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
    ) -> Result<Box<Answer>, Failure> {
        let mut body = body;
        if body.live.is_end() {
            timers.request_sent();
        }
        let asked = exchange.measure.as_ref().map(|_| Instant::now());
        let leased = self.lease(exchange, pending, &mut body, responder, timers).await;
        if let Some(attempt) = exchange.measured_try() {
            *attempt = attempt.next(asked.map(|asked| asked.elapsed()));
        }
        let (lease, admitted) = match leased {
            Ok(leased) => leased,
            Err(Event::Gone) => return Err(Failure::Gone),
            Err(Event::Client(error)) => return Err(Failure::Client(error, body)),
            Err(Event::Upstream(error)) => {
                let outcome = outcome(&error, false);
                return Err(Failure::Upstream { error, replay: body, outcome, stale: false });
            }
        };
        match lease {
            Lease::H1(connection) => {
                self.over_h1(exchange, (connection, admitted), body, responder, timers).await
            }
            Lease::H2(lease) => self.over_h2(exchange, (lease, admitted), body, responder, timers).await,
        }
    }

    /// A connection, and leave to use it.
    async fn lease(
        &self,
        exchange: &Exchange,
        pending: &Picked,
        body: &mut Replay,
        responder: &mut Responder,
        timers: &mut Timers,
    ) -> Result<(Lease, Permit), Event> {
        let cluster = self.upstream.cluster();
        // An upgrade is HTTP/1.1's. Over HTTP/2 it would be a CONNECT that few servers take (RFC 8441), and without it
        // a plain request that nobody meant.
        let http2 =
            wire::speaks_http2(&cluster, exchange.request.version) && exchange.request.upgrade.is_none();
        let host = prepare::server_name(&exchange.request);
        let address = &pending.endpoint().address;
        timers.queued();
        // Only who wants to know is told who asks: for the others all clients share their connections.
        let client = cluster.transport.proxy_protocol.map(|_| exchange.connection.ends());
        let counted = exchange.measure.is_some();
        let wanted = Wanted { address, http2, host, client, fresh: self.fresh, counted };
        let leased = match self.upstream.lease_at_once(&cluster, &wanted) {
            Some(leased) => leased,
            None => {
                // On the heap: opening one takes more memory than all else that a request does.
                let mut leasing = Box::pin(self.upstream.lease(&cluster, wanted));
                poll_fn(|cx| {
                    if let Poll::Ready(lease) = leasing.as_mut().poll(cx) {
                        return Poll::Ready(lease.map_err(Event::Upstream));
                    }
                    if body.live.poll_gone(cx).is_ready() || responder.poll_reset(cx).is_ready() {
                        return Poll::Ready(Err(Event::Gone));
                    }
                    timers.poll(cx).map(|expired| Err(expired.into()))
                })
                .await?
            }
        };
        timers.leased();
        // A connection was there, new or kept: failures to connect do not follow one another any more.
        pending.observe(portcullis_traffic::Observation::Connected);
        // Counted from here on, as in Envoy: who waits for a connection is no request in progress yet.
        match self.upstream.breaker().try_acquire(Resource::Requests) {
            Some(admitted) => {
                self.upstream.breaker().note_request(std::time::Instant::now);
                Ok((leased, admitted))
            }
            None => {
                self.upstream.put_unused(leased);
                Err(Event::Upstream(UpstreamError::Overflow))
            }
        }
    }

    async fn over_h1(
        self,
        exchange: &mut Exchange,
        (connection, admitted): (H1Connection, Permit),
        body: Replay,
        responder: &mut Responder,
        timers: &mut Timers,
    ) -> Result<Box<Answer>, Failure> {
        let H1Connection { reader, mut writer, kept, standing } = connection;
        exchange.reached(&standing.link);
        let marks = exchange.measure.as_ref().map(|_| Try::begin(&reader, &writer));
        let framing = write_head(&exchange.request, writer.buffer());
        if let (Some(measure), Some(marks)) = (&mut exchange.measure, marks) {
            measure.attempt.opened = kept.is_none();
            measure.attempt.note_head(&exchange.request, marks, &writer);
        }
        let unsent = writer.pending();
        let upload = Pump::new(body, Sink::H1 { writer, body: BodyWriter::new(framing, true) });
        let keeps_case = exchange.scope.pinned.snapshot.settings.header_case;
        let source = HeadSource::H1 { reader, scan: Scan::default(), fresh: true, reset: false, keeps_case };
        let mut waiting = Waiting::new(upload, source);
        let to_head = exchange.request.is_head();
        let head = waiting.head(responder, timers).await;
        if let (Some(attempt), Some(marks), HeadSource::H1 { reader, .. }) =
            (exchange.measured_try(), marks, &waiting.source)
        {
            attempt.note_moved(marks, reader, &waiting.upload.sink);
        }
        let head = match head {
            Ok(head) => head,
            Err(event) => {
                let stale = match kept {
                    Some(kept) if matches!(event, Event::Upstream(UpstreamError::Terminated)) => {
                        let idempotent = is_idempotent(&exchange.request.method);
                        waiting.has_raced(kept, &standing.link, unsent, idempotent).await
                    }
                    _ => false,
                };
                return Err(waiting.into_failure(event, stale));
            }
        };
        let HeadSource::H1 { reader, .. } = waiting.source else {
            unreachable!("an HTTP/1 head has an HTTP/1 source")
        };
        let Head::H1(head) = head else { unreachable!("an HTTP/1 source gives final HTTP/1 heads") };
        let Ok(framing) = head::response_framing(&head, to_head) else {
            let outcome = outcome(&UpstreamError::Protocol, true);
            let replay = waiting.upload.source;
            return Err(Failure::Upstream { error: UpstreamError::Protocol, replay, outcome, stale: false });
        };
        let content = Body::H1 { reader, decoder: Decoder::new(framing) };
        let reusable = framing != Framing::UntilClose && wire::keeps_alive(&head);
        let head = Response { status: head.status, headers: head.headers };
        if let Some(attempt) = exchange.measured_try() {
            attempt.note_answer(&head, false, content.is_end());
        }
        let carrier = Carrier::H1 { standing, reusable };
        Ok(Box::new(Answer { head, upload: waiting.upload, content, carrier, admitted }))
    }

    async fn over_h2(
        self,
        exchange: &mut Exchange,
        (lease, admitted): (H2Lease, Permit),
        body: Replay,
        responder: &mut Responder,
        timers: &mut Timers,
    ) -> Result<Box<Answer>, Failure> {
        exchange.reached(lease.link());
        let Some(request) = h2_request(&exchange.request, exchange.scheme) else {
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
        if let Some(measure) = &mut exchange.measure {
            measure.attempt.opened = lease.first;
            let stream = response.stream_id().as_u32();
            measure.attempt.note_stream(&exchange.request, exchange.scheme, lease.link(), stream);
        }
        let untold = lease.is_untold();
        let upload = Pump::new(body, Sink::H2(H2Sink::new(stream, ended)));
        let mut waiting = Waiting::new(upload, HeadSource::H2(Box::new(response)));
        let (head, content) = match waiting.head(responder, timers).await {
            Ok(Head::H2(head, content)) => (head, content),
            Ok(_) => unreachable!("an HTTP/2 source gives final HTTP/2 heads"),
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
        if let Some(attempt) = exchange.measured_try() {
            attempt.note_answer(&head, true, content.is_end());
        }
        let carrier = Carrier::H2 { _lease: lease };
        Ok(Box::new(Answer { head, upload: waiting.upload, content, carrier, admitted }))
    }
}

/// What ends the wait for a response head.
enum Event {
    Gone,
    Client(ClientError),
    Upstream(UpstreamError),
}

impl From<Expired> for Event {
    fn from(expired: Expired) -> Self {
        match expired {
            Expired::Client(error) => Self::Client(error),
            Expired::Upstream(error) => Self::Upstream(error),
        }
    }
}

/// Sends the request body and waits for the response head at the same time.
struct Waiting {
    upload: Pump<Replay>,
    source: HeadSource,
    /// Whether the upstream takes no more of the request; its answer may still come.
    refused: bool,
    /// What informational answers have come to.
    interim: usize,
}

impl Waiting {
    fn new(upload: Pump<Replay>, source: HeadSource) -> Self {
        Self { upload, source, refused: false, interim: 0 }
    }

    /// The final response head; informational ones go to the client on the way.
    async fn head(&mut self, responder: &mut Responder, timers: &mut Timers) -> Result<Head, Event> {
        loop {
            let head = poll_fn(|cx| self.poll(cx, responder, timers)).await?;
            match head {
                Head::Interim(status, headers) => {
                    // The client acts on it: there is no way back to another try.
                    self.upload.source.forbid_rewind();
                    self.interim += headers.size(4) + INTERIM_COST;
                    if self.interim > MAX_INTERIM {
                        return Err(Event::Upstream(UpstreamError::Protocol));
                    }
                    if responder.informational(status, &headers).is_err() {
                        return Err(Event::Gone);
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
        // An answer goes to the client, who may have gone meanwhile: that shows when it is written.
        let failed = match self.source.poll(cx) {
            Poll::Ready(Ok(head)) => return Poll::Ready(Ok(head)),
            Poll::Ready(Err(error)) => Some(error),
            Poll::Pending => None,
        };
        let gone = self.upload.source.live.poll_gone(cx).is_ready() || responder.poll_reset(cx).is_ready();
        if gone || self.interim > 0 && matches!(responder.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Err(Event::Gone));
        }
        if let Some(error) = failed {
            return Poll::Ready(Err(Event::Upstream(error)));
        }
        timers.note_moved(self.upload.moved);
        timers.poll(cx).map(|expired| Err(expired.into()))
    }

    /// Whether a kept connection that broke without a byte of an answer says nothing about this request: the upstream
    /// had ended it before the request was there (ARCHITECTURE.md, "Races on kept connections").
    async fn has_raced(&self, kept: Kept, link: &Link, unsent: usize, idempotent: bool) -> bool {
        let (HeadSource::H1 { reader, fresh: true, reset, .. }, Sink::H1 { writer, .. }) =
            (&self.source, &self.upload.sink)
        else {
            return false;
        };
        // The system took none of it.
        if self.refused && self.upload.moved == 0 && writer.pending() == unsent {
            return true;
        }
        if idempotent && *reset && race::is_answer_to_sending(kept, link) {
            return true;
        }
        let bodiless = self.upload.is_done() && self.upload.moved == 0;
        (idempotent || bodiless) && race::had_ended(reader).await
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

/// The client broke its body off or broke its framing.
fn client_event(error: &crate::http::h1::body::BodyError) -> Event {
    match error {
        crate::http::h1::body::BodyError::Malformed => Event::Client(ClientError::Body),
        crate::http::h1::body::BodyError::NotBase64 => Event::Client(ClientError::GrpcWebText),
        _ => Event::Gone,
    }
}
