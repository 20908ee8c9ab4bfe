//! One try: a connection, the request out, the response head in.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use portcullis_snapshot::Cluster;
use portcullis_traffic::breaker::{Permit, Resource};
use tokio::time::Instant;

use super::head::{Head, HeadSource};
use super::timers::Expired;
use super::wire::{self, h2_error, h2_request, is_going_away, is_idempotent, write_head};
use super::{Journey, prepare, race};
use crate::error::{ClientError, UpstreamError};
use crate::http::body::{Body, H2Sink, Pump, PumpError, Sink, Source as _};
use crate::http::exchange::Exchange;
use crate::http::h1::body::{BodyError, Decoder};
use crate::http::h1::encode::BodyWriter;
use crate::http::h1::head::{self, Framing, Scan};
use crate::http::measure::Try;
use crate::http::message::Response;
use crate::upstream::pool::{H1Connection, H2Lease, Kept, Lease, Pool, Standing, Wanted};
use crate::upstream::registry::Picked;

/// What the informational answers to one request may come to, in bytes, each counted as [`INTERIM_COST`] more than its
/// fields: a client that reads slowly does not hold them back, and they are kept until it has read them.
const MAX_INTERIM: usize = 256 * 1024;
/// What an informational answer costs beside its fields, in bytes.
const INTERIM_COST: usize = 128;

/// A response head, with both directions as they stand. On the heap where it is made: it is passed on three times.
pub(super) struct Answer {
    pub(super) head: Response,
    /// The request body on its way; may still be going.
    pub(super) upload: Pump,
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
pub(super) enum Lost {
    /// The client has gone.
    Gone,
    /// The client's body is not what it announced, or took too long.
    Client(ClientError),
    /// The upstream failed.
    Upstream(UpstreamError),
}

impl From<Expired> for Lost {
    fn from(expired: Expired) -> Self {
        match expired {
            Expired::Client(error) => Self::Client(error),
            Expired::Upstream(error) => Self::Upstream(error),
        }
    }
}

/// A try without an answer.
pub(super) struct Failure {
    pub(super) lost: Lost,
    /// Whether some of the request may have reached the upstream.
    pub(super) sent: bool,
    /// Whether a kept connection turned out to be dead: the try does not count.
    pub(super) stale: bool,
}

impl Journey<'_> {
    /// Runs a try. Dropping the future gives up the connection.
    pub(super) async fn attempt(&mut self, pending: &Picked) -> Result<Box<Answer>, Failure> {
        if self.body.live.is_end() {
            self.timers.request_sent();
        }
        let asked = self.exchange.measure.as_ref().map(|_| Instant::now());
        self.timers.queued();
        let leased = match self.lease_at_once(pending) {
            Some(lease) => Ok(lease),
            // On the heap: opening one takes more memory than all else that a request does.
            None => Box::pin(self.lease(pending)).await,
        };
        if let Some(attempt) = self.exchange.measured_try() {
            *attempt = attempt.next(asked.map(|asked| asked.elapsed()));
        }
        let admitted = leased.and_then(|lease| self.admit(lease, pending));
        match admitted.map_err(|lost| Failure { lost, sent: false, stale: false })? {
            (Lease::H1(connection), admitted) => self.over_h1(connection, admitted).await,
            (Lease::H2(lease), admitted) => self.over_h2(lease, admitted).await,
        }
    }

    fn lease_at_once(&self, pending: &Picked) -> Option<Lease> {
        let cluster = self.upstream.cluster();
        self.upstream.lease_at_once(&cluster, &wanted(&self.exchange, &cluster, pending, self.stale > 0))
    }

    /// A connection, when there is one.
    async fn lease(&mut self, pending: &Picked) -> Result<Lease, Lost> {
        let Self { exchange, body, responder, timers, upstream, stale, .. } = self;
        let cluster = upstream.cluster();
        let wanted = wanted(exchange, &cluster, pending, *stale > 0);
        let mut leasing = pin!(upstream.lease(&cluster, wanted));
        poll_fn(|cx| {
            if let Poll::Ready(lease) = leasing.as_mut().poll(cx) {
                return Poll::Ready(lease.map_err(Lost::Upstream));
            }
            if body.live.poll_gone(cx).is_ready() || responder.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Lost::Gone));
            }
            timers.poll(cx).map(|expired| Err(expired.into()))
        })
        .await
    }

    /// Leave to use a connection.
    fn admit(&mut self, lease: Lease, pending: &Picked) -> Result<(Lease, Permit), Lost> {
        self.timers.leased();
        // A connection was there, new or kept: failures to connect do not follow one another any more.
        pending.observe(portcullis_traffic::Observation::Connected);
        // Counted from here on, as in Envoy: who waits for a connection is no request in progress yet.
        match self.upstream.breaker().try_acquire(Resource::Requests) {
            Some(admitted) => {
                self.upstream.breaker().note_request(std::time::Instant::now);
                Ok((lease, admitted))
            }
            None => {
                self.upstream.put_unused(lease);
                Err(Lost::Upstream(UpstreamError::Overflow))
            }
        }
    }

    fn over_h1(
        &mut self,
        connection: H1Connection,
        admitted: Permit,
    ) -> impl Future<Output = Result<Box<Answer>, Failure>> {
        let H1Connection { reader, mut writer, standing } = connection;
        let exchange = &mut self.exchange;
        exchange.reached(&standing.link);
        let marks = exchange.measure.as_ref().map(|_| Box::new(Try::begin(&reader, &writer)));
        let framing = write_head(&exchange.request, writer.buffer());
        if let (Some(measure), Some(marks)) = (&mut exchange.measure, &marks) {
            measure.attempt.opened = standing.kept.is_none();
            measure.attempt.note_head(&exchange.request, **marks, &writer);
        }
        let unsent = writer.pending();
        let upload = Pump::new(Sink::H1 { writer, body: BodyWriter::new(framing, true) });
        let keeps_case = exchange.scope.pinned.snapshot.settings.header_case;
        let source = HeadSource::H1 { reader, scan: Scan::default(), fresh: true, reset: false, keeps_case };
        let mut waiting = Waiting::new(upload, source);
        async move {
            let head = waiting.head(self).await;
            if let (Some(attempt), Some(marks), HeadSource::H1 { reader, .. }) =
                (self.exchange.measured_try(), marks, &waiting.source)
            {
                attempt.note_moved(*marks, reader, &waiting.upload.sink);
            }
            match head {
                Ok(head) => self.answered_in_h1(waiting, head, standing, admitted),
                Err(lost) => {
                    let stale = match standing.kept {
                        Some(kept) if matches!(lost, Lost::Upstream(UpstreamError::Terminated)) => {
                            Box::pin(waiting.has_raced(self, kept, &standing, unsent)).await
                        }
                        _ => false,
                    };
                    Err(waiting.failure(lost, stale))
                }
            }
        }
    }

    fn answered_in_h1(
        &mut self,
        waiting: Waiting,
        head: Head,
        standing: Box<Standing>,
        admitted: Permit,
    ) -> Result<Box<Answer>, Failure> {
        let HeadSource::H1 { reader, .. } = waiting.source else {
            unreachable!("an HTTP/1 head has an HTTP/1 source")
        };
        let Head::H1(head) = head else { unreachable!("an HTTP/1 source gives final HTTP/1 heads") };
        let framing = head::response_framing(&head, self.exchange.request.is_head())
            .map_err(|_| UpstreamError::Protocol)
            .map_err(|error| Failure { lost: Lost::Upstream(error), sent: true, stale: false })?;
        let content = Body::H1 { reader, decoder: Decoder::new(framing) };
        let reusable = framing != Framing::UntilClose && wire::keeps_alive(&head);
        let head = Response { status: head.status, headers: head.headers };
        if let Some(attempt) = self.exchange.measured_try() {
            attempt.note_answer(&head, false, content.is_end());
        }
        let carrier = Carrier::H1 { standing, reusable };
        Ok(Box::new(Answer { head, upload: waiting.upload, content, carrier, admitted }))
    }

    async fn over_h2(&mut self, lease: H2Lease, admitted: Permit) -> Result<Box<Answer>, Failure> {
        self.exchange.reached(lease.link());
        let mut sender = lease.sender();
        let ready = poll_fn(|cx| sender.poll_ready(cx)).await;
        let exchange = &mut self.exchange;
        let ended = !exchange.request.has_body;
        let sent = match (ready, h2_request(&exchange.request, exchange.scheme)) {
            (Ok(()), Some(request)) => sender.send_request(request, ended),
            (Ok(()), None) => {
                return Err(Failure { lost: Lost::Client(ClientError::BadPath), sent: false, stale: false });
            }
            (Err(error), _) => Err(error),
        };
        let (response, stream) = match sent {
            Ok(sent) => sent,
            // The connection went away before the request was on it: another one is opened.
            Err(error) => {
                Pool::retire(&lease);
                return Err(Failure { lost: Lost::Upstream(h2_error(&error)), sent: false, stale: true });
            }
        };
        if let Some(measure) = &mut exchange.measure {
            measure.attempt.opened = lease.first;
            let stream = response.stream_id().as_u32();
            measure.attempt.note_stream(&exchange.request, exchange.scheme, lease.link(), stream);
        }
        let untold = lease.is_untold();
        let upload = Pump::new(Sink::H2(H2Sink::new(stream, ended)));
        let mut waiting = Waiting::new(upload, HeadSource::H2(Box::new(response)));
        let (head, content) = match waiting.head(self).await {
            Ok(Head::H2(head, content)) => (head, content),
            Ok(_) => unreachable!("an HTTP/2 source gives final HTTP/2 heads"),
            Err(lost) => {
                if matches!(lost, Lost::Upstream(UpstreamError::Terminated)) {
                    Pool::retire(&lease);
                }
                // Not processed, for certain: the connection had not said how many streams it takes, or
                // it is going away (RFC 9113 §8.7). Neither says anything about the endpoint.
                let refused = matches!(lost, Lost::Upstream(UpstreamError::RefusedStream));
                let stale = refused && (untold || is_going_away(&mut sender).await);
                return Err(waiting.failure(lost, stale));
            }
        };
        if let Some(attempt) = self.exchange.measured_try() {
            attempt.note_answer(&head, true, content.is_end());
        }
        let carrier = Carrier::H2 { _lease: lease };
        Ok(Box::new(Answer { head, upload: waiting.upload, content, carrier, admitted }))
    }
}

/// What a try asks of the pool.
fn wanted<'a>(exchange: &'a Exchange, cluster: &Cluster, pending: &'a Picked, fresh: bool) -> Wanted<'a> {
    // An upgrade is HTTP/1.1's. Over HTTP/2 it would be a CONNECT that few servers take (RFC 8441), and without it
    // a plain request that nobody meant.
    let request = &exchange.request;
    let http2 = wire::speaks_http2(cluster, request.version) && request.upgrade.is_none();
    Wanted {
        address: &pending.endpoint().address,
        http2,
        host: prepare::server_name(request),
        // Only who wants to know is told who asks: for the others all clients share their connections.
        client: cluster.transport.proxy_protocol.map(|_| exchange.connection.ends()),
        fresh,
        counted: exchange.measure.is_some(),
    }
}

/// Sends the request body and waits for the response head at the same time.
struct Waiting {
    upload: Pump,
    source: HeadSource,
    /// Whether the upstream takes no more of the request; its answer may still come.
    refused: bool,
    /// What informational answers have come to.
    interim: usize,
}

impl Waiting {
    fn new(upload: Pump, source: HeadSource) -> Self {
        Self { upload, source, refused: false, interim: 0 }
    }

    /// The final response head; informational ones go to the client on the way.
    async fn head(&mut self, journey: &mut Journey<'_>) -> Result<Head, Lost> {
        loop {
            match poll_fn(|cx| self.poll(journey, cx)).await? {
                Head::Interim(status, headers) => {
                    // The client acts on it: there is no way back to another try.
                    journey.body.forbid_rewind();
                    self.interim += headers.size(4) + INTERIM_COST;
                    if self.interim > MAX_INTERIM {
                        return Err(Lost::Upstream(UpstreamError::Protocol));
                    }
                    if journey.responder.informational(status, &headers).is_err() {
                        return Err(Lost::Gone);
                    }
                }
                head => return Ok(head),
            }
        }
    }

    fn poll(&mut self, journey: &mut Journey<'_>, cx: &mut Context<'_>) -> Poll<Result<Head, Lost>> {
        let Journey { body, responder, timers, .. } = journey;
        if !self.refused && !self.upload.is_done() {
            match self.upload.poll(body, cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => timers.request_sent(),
                Poll::Ready(Err(PumpError::Source(error))) => {
                    // What was good of the request goes out, as it would have, had the rest come later:
                    // its head and what has come of its body, which then breaks off.
                    let _ = self.upload.sink.poll_flush(cx);
                    return Poll::Ready(Err(client_fault(&error)));
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
        let gone = body.live.poll_gone(cx).is_ready() || responder.poll_reset(cx).is_ready();
        if gone || self.interim > 0 && matches!(responder.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Err(Lost::Gone));
        }
        if let Some(error) = failed {
            return Poll::Ready(Err(Lost::Upstream(error)));
        }
        timers.note_moved(self.upload.moved);
        timers.poll(cx).map(|expired| Err(expired.into()))
    }

    /// Whether a kept connection that broke without a byte of an answer says nothing about this request: the upstream
    /// had ended it before the request was there (ARCHITECTURE.md, "Races on kept connections").
    async fn has_raced(&self, journey: &Journey<'_>, kept: Kept, standing: &Standing, unsent: usize) -> bool {
        let (HeadSource::H1 { reader, fresh: true, reset, .. }, Sink::H1 { writer, .. }) =
            (&self.source, &self.upload.sink)
        else {
            return false;
        };
        // The system took none of it.
        if self.refused && self.upload.moved == 0 && writer.pending() == unsent {
            return true;
        }
        let idempotent = is_idempotent(&journey.exchange.request.method);
        if idempotent && *reset && race::is_answer_to_sending(kept, &standing.link) {
            return true;
        }
        let bodiless = self.upload.is_done() && self.upload.moved == 0;
        if !idempotent && !bodiless {
            return false;
        }
        let beside = idempotent.then(|| race::Beside { pool: journey.upstream.pool(), standing });
        race::had_ended(reader, beside.filter(|_| race::is_recent(kept))).await
    }

    fn failure(&self, lost: Lost, stale: bool) -> Failure {
        let harmless =
            matches!(lost, Lost::Upstream(UpstreamError::Terminated | UpstreamError::RefusedStream));
        Failure { lost, sent: true, stale: stale && harmless }
    }
}

/// The client broke its body off or broke its framing.
fn client_fault(error: &BodyError) -> Lost {
    match error {
        BodyError::Malformed => Lost::Client(ClientError::Body),
        BodyError::NotBase64 => Lost::Client(ClientError::GrpcWebText),
        _ => Lost::Gone,
    }
}
