//! Forwarding: pick a destination, try endpoints, stream both ways, hold the deadlines.
//!
//! ```text
//!   prepare ─► try ─► connection ─► request out ─► response head ─► relay ─► done
//!               ▲                        │               │
//!               └── wait ◄── retry? ◄────┴───────────────┘
//! ```

mod attempt;
mod head;
pub(crate) mod mirror;
mod prepare;
mod race;
mod relay;
mod replay;
mod timers;
mod wire;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_snapshot::ClusterId;
use portcullis_snapshot::action::{Action, Destination, Forward, Target};
use portcullis_telemetry::flags::Flag;
use portcullis_telemetry::record::Reason;
use portcullis_traffic::breaker::Permit;
use portcullis_traffic::retry::{self, Decision, Outcome, ResponseFacts};

use crate::error::{Error, RouteError, UpstreamError};
use crate::filter::grpc_web::Translation;
use crate::http::body::Body;
use crate::http::exchange::{Exchange, Finished};
use crate::http::message::{Responder, Response};
use crate::http::reply::{self, Reply};
use crate::upstream::registry::{Picked, Upstream};
use attempt::{Answer, Failure, Lost};
use prepare::Bounds;
use replay::Replay;
use timers::Timers;

pub(crate) use wire::speaks_http2;

/// Dead connections a request may come upon before they count as failures of the upstream.
const MAX_STALE: u32 = 8;

/// Forwards a request whose route says so.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps its arguments twice, in every request that waits"
)]
pub(crate) fn run(
    mut exchange: Box<Exchange>,
    body: Body,
    responder: Responder,
) -> impl Future<Output = Finished> {
    async move {
        let Some(matched) = exchange.matched.clone() else { return Finished::Broken };
        let Action::Forward(forward) = &matched.route().action else { return Finished::Broken };
        let destination = forward.destinations.pick(exchange.draw());
        let id = match &destination.target {
            Target::Cluster(id) => *id,
            Target::Unknown(name) => {
                let object = Some(matched.route().origin.to_string().into());
                let reason = Reason { object, why: format!("no cluster {name}").into() };
                exchange.record.inner.reason = Some(Box::new(reason));
                let reply = reply::answer(&RouteError::ClusterNotFound.into(), false);
                return Box::pin(reply::send(exchange, reply, body, responder)).await;
            }
        };
        let mut journey = Journey::prepare(exchange, (forward, destination), id, body, responder);
        match journey.travel().await {
            Ok((answer, pending)) => relay::run(journey, answer, pending).await,
            Err(lost) => Box::pin(journey.end(lost)).await,
        }
    }
}

/// A request on its way to an upstream, through as many tries as it takes. On the heap: what the tries and the answer work
/// with stays in its place.
struct Journey<'a> {
    exchange: Box<Exchange>,
    /// The request's body, as the tries take it.
    body: Replay,
    responder: Responder,
    timers: Timers,
    forward: &'a Forward,
    upstream: Rc<Upstream>,
    bounds: Bounds,
    retries: u32,
    /// Kept connections that turned out to be dead.
    stale: u32,
}

impl<'a> Journey<'a> {
    /// Makes the request what the upstream gets.
    fn prepare(
        mut exchange: Box<Exchange>,
        (forward, destination): (&'a Forward, &Destination),
        id: ClusterId,
        body: Body,
        responder: Responder,
    ) -> Box<Self> {
        let upstream = exchange.worker().upstream(&exchange.scope.pinned, id);
        let cluster = Arc::clone(exchange.scope.pinned.snapshot.cluster(id));
        exchange.record.inner.cluster = Some(cluster);
        if let Some(measure) = &mut exchange.measure {
            measure.note_received(&body);
        }
        let bounds = prepare::request(&mut exchange, forward, destination);
        let limit = exchange.body_limit();
        let body = match exchange.grpc_web.and_then(Translation::of_request) {
            Some(translation) => body.translated(translation),
            None => body,
        };
        let body = Replay::new(body, if forward.retry.attempts > 0 { limit } else { 0 }, limit);
        let limits = &exchange.scope.pinned.snapshot.settings.connections;
        let timers = Timers::new(bounds.whole, forward.retry.per_try_timeout)
            .of_stream(limits, exchange.record.arrived());
        Box::new(Self { exchange, body, responder, timers, forward, upstream, bounds, retries: 0, stale: 0 })
    }

    /// Tries until there is an answer for the client, or none to be had.
    async fn travel(&mut self) -> Result<(Box<Answer>, Picked), Lost> {
        let mut tried = portcullis_traffic::Tried::under(&self.forward.retry);
        let mut retrying = None;
        let mut mirrored = self.forward.mirrors.is_empty();
        loop {
            let pending = self.pick(&mut tried).map_err(Lost::Upstream)?;
            // Copies are sent once, however many tries the request takes, and only if there is where to send it.
            if !std::mem::replace(&mut mirrored, true) {
                mirror::start(&self.exchange, &self.forward.mirrors, self.bounds.whole, &mut self.body);
            }
            self.timers.start_try();
            self.exchange.record.inner.endpoint = Some(Arc::clone(pending.endpoint()));
            self.exchange.link = None;
            let answered = self.attempt(&pending).await;
            // The try is over, and with it its share of the retries in progress.
            drop(retrying.take());
            let (permit, wait) = match answered {
                Ok(answer) => {
                    pending.observe_status(self.status_seen(&answer.head));
                    match self.leave_to_retry(judge(&answer.head)) {
                        Some(leave) => leave,
                        None => return Ok((answer, pending)),
                    }
                }
                Err(Failure { lost: Lost::Upstream(error), sent, stale }) => {
                    let outcome = wire::outcome(&error, sent);
                    if stale && !self.is_attempt(outcome) && self.body.can_rewind() && self.stale < MAX_STALE
                    {
                        self.stale += 1;
                        self.body.rewind();
                        continue;
                    }
                    pending.observe_failure(&error);
                    if self.timers.is_over() || error == UpstreamError::Timeout {
                        return Err(Lost::Upstream(UpstreamError::Timeout));
                    }
                    self.leave_to_retry(outcome).ok_or(Lost::Upstream(error))?
                }
                Err(Failure { lost, .. }) => return Err(lost),
            };
            drop(pending);
            retrying = Some(permit);
            self.retries += 1;
            self.body.rewind();
            if !self.timers.wait(wait).await {
                return Err(Lost::Upstream(UpstreamError::Timeout));
            }
            prepare::count_attempt(&mut self.exchange, self.retries + 1);
            self.bounds.announce(&mut self.exchange, self.timers.elapsed());
        }
    }

    /// Whether a failure uses up an attempt although the request certainly was not processed. The upstream
    /// closing a kept connection while the request was on its way does not: that says nothing about the
    /// endpoint. A refused stream is an attempt as long as the policy has one to give, as recorded.
    fn is_attempt(&self, outcome: Outcome) -> bool {
        let policy = &self.forward.retry;
        outcome == Outcome::RefusedStream
            && retry::retriable(policy, outcome)
            && self.retries < policy.attempts
    }

    /// Leave for another try after this one, and how long to wait for it; without it, what this one came to
    /// goes to the client. A limit on retries shows as a flag, not as an answer of its own.
    fn leave_to_retry(&mut self, outcome: Outcome) -> Option<(Permit, Duration)> {
        if !self.body.can_rewind() {
            return None;
        }
        let (policy, retries) = (&self.forward.retry, self.retries);
        let decision = self.exchange.worker().with_dice(|dice| retry::decide(policy, retries, outcome, dice));
        let flags = &mut self.exchange.record.inner.flags;
        match decision {
            Decision::Retry { wait } => {
                let permit = self.upstream.breaker().try_retry(std::time::Instant::now);
                if permit.is_none() {
                    flags.set(Flag::UpstreamOverflow);
                }
                Some((permit?, wait))
            }
            Decision::GiveUp { exhausted } => {
                if exhausted {
                    flags.set(Flag::UpstreamRetryLimitExceeded);
                }
                None
            }
        }
    }

    /// The status that a response counts as with outlier detection: a gRPC status in its head stands for one.
    fn status_seen(&self, head: &Response) -> u16 {
        match grpc_status(head) {
            Some(status) if self.exchange.record.inner.grpc => http_status(status),
            _ => head.status,
        }
    }

    fn pick(&mut self, tried: &mut portcullis_traffic::Tried) -> Result<Picked, UpstreamError> {
        let hash = prepare::hash(&mut self.exchange, &self.forward.hash);
        self.upstream.pick(self.exchange.worker(), hash, tried)
    }

    /// Ends the exchange without an answer of an upstream.
    async fn end(mut self: Box<Self>, lost: Lost) -> Finished {
        let (reply, drops) = match lost {
            Lost::Gone => {
                self.exchange.record.client_left();
                return Finished::Left;
            }
            Lost::Client(error) => (reply::answer(&error.into(), false), 0),
            // What has come while it was tried need not be in the way of the next request.
            Lost::Upstream(error) => (self.failure(error), self.exchange.body_limit()),
        };
        let Self { exchange, body, responder, .. } = *self;
        let mut body = body.into_live();
        if drops > 0 {
            body.drop_ahead(drops);
        }
        reply::send(exchange, reply, body, responder).await
    }

    /// What the failure of the last try is answered with.
    fn failure(&mut self, error: UpstreamError) -> Reply {
        let record = &mut self.exchange.record.inner;
        record.upstream_transport_failure_reason =
            error.transport_failure().map(|text| text.to_owned().into());
        if error == UpstreamError::NoHealthyEndpoint {
            let why = "no healthy endpoint".into();
            let object = record.cluster.as_ref().map(|cluster| Arc::clone(&cluster.name));
            record.reason = Some(Box::new(Reason { object, why }));
            record.endpoint = None;
        }
        reply::answer(&Error::Upstream(error), self.retries > 0)
    }
}

/// What a response means to the retry policy.
fn judge(head: &Response) -> Outcome {
    let rate_limited = head.headers.contains("x-envoy-ratelimited");
    Outcome::Response(ResponseFacts { status: head.status, grpc_status: grpc_status(head), rate_limited })
}

/// `grpc-status` in the head of a response: one that consists of nothing else (gRPC, "Trailers-Only").
fn grpc_status(head: &Response) -> Option<u16> {
    head.headers.first_str("grpc-status").and_then(|status| status.parse().ok())
}

/// The HTTP status that stands for a gRPC status (google.rpc.Code, "HTTP Mapping").
fn http_status(grpc: u16) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
