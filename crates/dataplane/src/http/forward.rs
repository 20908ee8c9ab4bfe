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

use std::sync::Arc;
use std::time::Duration;

use portcullis_snapshot::action::{Action, Forward, Target};
use portcullis_telemetry::flags::Flag;
use portcullis_telemetry::record::Reason;
use portcullis_traffic::breaker::Permit;
use portcullis_traffic::retry::{self, Decision, Outcome, ResponseFacts};

use crate::error::{Error, RouteError, UpstreamError};
use crate::filter::grpc_web::Translation;
use crate::http::body::Body;
use crate::http::exchange::{Exchange, Finished};
use crate::http::message::{Responder, Response};
use crate::http::reply;
use crate::upstream::registry::{Picked, Upstream};
use attempt::{Attempt, Failure};
use prepare::Bounds;
use replay::Replay;
use timers::Timers;

pub(crate) use wire::speaks_http2;

/// Dead connections a request may come upon before they count as failures of the upstream.
const MAX_STALE: u32 = 8;

/// Forwards a request whose route says so.
pub(crate) async fn run(mut exchange: Box<Exchange>, body: Body, responder: Responder) -> Finished {
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
    let upstream = exchange.worker().upstream(&exchange.scope.pinned, id);
    let cluster = Arc::clone(exchange.scope.pinned.snapshot.cluster(id));
    exchange.record.inner.cluster = Some(Arc::clone(&cluster));
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
    Journey { exchange, forward, upstream, bounds, retries: 0, stale: 0 }.travel(body, responder).await
}

/// A request on its way to an upstream, through as many tries as it takes.
struct Journey<'a> {
    exchange: Box<Exchange>,
    forward: &'a Forward,
    upstream: std::rc::Rc<Upstream>,
    bounds: Bounds,
    retries: u32,
    /// Kept connections that turned out to be dead.
    stale: u32,
}

impl Journey<'_> {
    async fn travel(mut self, mut body: Replay, mut responder: Responder) -> Finished {
        let limits = &self.exchange.scope.pinned.snapshot.settings.connections;
        let mut timers = Timers::new(self.bounds.whole, self.forward.retry.per_try_timeout)
            .of_stream(limits, self.exchange.record.arrived());
        let mut tried = portcullis_traffic::Tried::under(&self.forward.retry);
        let mut retrying = None;
        let mut mirrored = self.forward.mirrors.is_empty();
        loop {
            let pending = match self.pick(&mut tried) {
                Ok(pending) => pending,
                Err(error) => return Box::pin(self.fail(error, body, responder)).await,
            };
            // Copies are sent once, however many tries the request takes, and only if there is where to send it.
            if !std::mem::replace(&mut mirrored, true) {
                mirror::start(&self.exchange, &self.forward.mirrors, self.bounds.whole, &mut body);
            }
            timers.start_try();
            self.exchange.record.inner.endpoint = Some(Arc::clone(pending.endpoint()));
            self.exchange.link = None;
            let attempt = Attempt { upstream: &self.upstream, fresh: self.stale > 0 };
            let answered = attempt.run(&mut self.exchange, &pending, body, &mut responder, &mut timers).await;
            // The try is over, and with it its share of the retries in progress.
            drop(retrying.take());
            let (permit, wait) = match answered {
                Ok(answer) => {
                    pending.observe_status(self.status_seen(&answer.head));
                    let outcome = self.judge(&answer.head);
                    match self.leave_to_retry(outcome, answer.upload.source.can_rewind()) {
                        Some(leave) => {
                            body = answer.upload.source;
                            leave
                        }
                        None => return relay::run(self, answer, pending, responder, timers).await,
                    }
                }
                Err(Failure::Gone) => {
                    self.exchange.record.client_left();
                    return Finished::Left;
                }
                Err(Failure::Client(error, body)) => {
                    let reply = reply::answer(&error.into(), false);
                    return Box::pin(reply::send(self.exchange, reply, body.into_live(), responder)).await;
                }
                Err(Failure::Upstream { error, replay, outcome, stale }) => {
                    body = replay;
                    if stale && !self.is_attempt(outcome) && body.can_rewind() && self.stale < MAX_STALE {
                        self.stale += 1;
                        body.rewind();
                        continue;
                    }
                    pending.observe_failure(&error);
                    if timers.is_over() || error == UpstreamError::Timeout {
                        return Box::pin(self.fail(UpstreamError::Timeout, body, responder)).await;
                    }
                    match self.leave_to_retry(outcome, body.can_rewind()) {
                        Some(leave) => leave,
                        None => return Box::pin(self.fail(error, body, responder)).await,
                    }
                }
            };
            drop(pending);
            retrying = Some(permit);
            self.retries += 1;
            body.rewind();
            if !timers.wait(wait).await {
                return Box::pin(self.fail(UpstreamError::Timeout, body, responder)).await;
            }
            prepare::count_attempt(&mut self.exchange, self.retries + 1);
            self.bounds.announce(&mut self.exchange, timers.elapsed());
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
    fn leave_to_retry(&mut self, outcome: Outcome, can_rewind: bool) -> Option<(Permit, Duration)> {
        if !can_rewind {
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

    /// What a response means to the retry policy.
    fn judge(&self, head: &Response) -> Outcome {
        let rate_limited = head.headers.contains("x-envoy-ratelimited");
        Outcome::Response(ResponseFacts { status: head.status, grpc_status: grpc_status(head), rate_limited })
    }

    /// Answers with the failure of the last try.
    async fn fail(mut self, error: UpstreamError, body: Replay, responder: Responder) -> Finished {
        let failure = error.transport_failure().map(|text| text.to_owned().into());
        self.exchange.record.inner.upstream_transport_failure_reason = failure;
        if error == UpstreamError::NoHealthyEndpoint {
            let why = "no healthy endpoint".into();
            let object = self.exchange.record.inner.cluster.as_ref().map(|cluster| Arc::clone(&cluster.name));
            self.exchange.record.inner.reason = Some(Box::new(Reason { object, why }));
            self.exchange.record.inner.endpoint = None;
        }
        let reply = reply::answer(&Error::Upstream(error), self.retries > 0);
        let mut body = body.into_live();
        // What has come while it was tried need not be in the way of the next request.
        body.drop_ahead(self.exchange.body_limit());
        Box::pin(reply::send(self.exchange, reply, body, responder)).await
    }
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
