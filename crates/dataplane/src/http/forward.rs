//! Forwarding: pick a destination, try endpoints, stream both ways, hold the deadlines.
//!
//! ```text
//!   prepare ─► try ─► connection ─► request out ─► response head ─► relay ─► done
//!               ▲                        │               │
//!               └── wait ◄── retry? ◄────┴───────────────┘
//! ```

mod attempt;
mod prepare;
mod relay;
mod replay;
mod timers;

use std::sync::Arc;
use std::time::Duration;

use portcullis_snapshot::action::{Action, Destination, Forward, Target};
use portcullis_telemetry::flags::Flag;
use portcullis_telemetry::record::Reason;
use portcullis_traffic::breaker::Resource;
use portcullis_traffic::retry::{self, Decision, Outcome, ResponseFacts};

use crate::error::{Error, RouteError, UpstreamError};
use crate::http::body::Body;
use crate::http::exchange::{Exchange, Finished};
use crate::http::message::Responder;
use crate::http::reply;
use crate::upstream::registry::{Picked, Upstream};
use attempt::{Attempt, Failure};
use replay::Replay;
use timers::Timers;

/// Dead connections a request may come upon before they count as failures of the upstream.
const MAX_STALE: u32 = 8;

/// Forwards a request whose route says so.
pub(crate) async fn run(mut exchange: Box<Exchange>, body: Body, responder: Responder) -> Finished {
    let Some(matched) = exchange.matched.clone() else { return Finished::Broken };
    let Action::Forward(forward) = &matched.route().action else { return Finished::Broken };
    let destination = forward.destinations.pick(exchange.worker().roll());
    let id = match &destination.target {
        Target::Cluster(id) => *id,
        Target::Unknown(name) => {
            let object = Some(matched.route().origin.to_string().into());
            exchange.record.inner.reason = Some(Reason { object, why: format!("no cluster {name}").into() });
            let reply = reply::answer(&RouteError::ClusterNotFound.into(), false);
            return reply::send(exchange, reply, body, responder).await;
        }
    };
    let upstream = exchange.worker().upstream(&exchange.scope.pinned, id);
    let cluster = Arc::clone(exchange.scope.pinned.snapshot.cluster(id));
    exchange.record.inner.cluster = Some(Arc::clone(&cluster));
    let timeout = prepare::request(&mut exchange, forward, destination);
    let limit = exchange.worker().config.limits.retry_buffer;
    let body = Replay::new(body, if forward.retry.attempts > 0 { limit } else { 0 });
    Journey { exchange, forward, destination, upstream, timeout, retries: 0, stale: 0 }
        .travel(body, responder)
        .await
}

/// A request on its way to an upstream, through as many tries as it takes.
struct Journey<'a> {
    exchange: Box<Exchange>,
    forward: &'a Forward,
    destination: &'a Destination,
    upstream: std::rc::Rc<Upstream>,
    timeout: Option<Duration>,
    retries: u32,
    /// Kept connections that turned out to be dead.
    stale: u32,
}

impl Journey<'_> {
    async fn travel(mut self, mut body: Replay, mut responder: Responder) -> Finished {
        let breaker = Arc::clone(self.upstream.breaker());
        let Some(_admitted) = breaker.try_acquire(Resource::Requests) else {
            return self.fail(UpstreamError::Overflow, false, body, responder).await;
        };
        let mut timers = Timers::new(self.timeout, self.forward.retry.per_try_timeout);
        let mut tried = portcullis_traffic::Tried::under(&self.forward.retry);
        let mut retry_permit = None;
        loop {
            let pending = match self.pick(&mut tried) {
                Ok(pending) => pending,
                Err(error) => return self.fail(error, false, body, responder).await,
            };
            timers.start_try();
            self.exchange.record.inner.endpoint = Some(Arc::clone(pending.endpoint()));
            let attempt = Attempt { upstream: &self.upstream, number: self.retries + 1 };
            let answered = attempt.run(&mut self.exchange, &pending, body, &mut responder, &mut timers).await;
            let (outcome, error) = match answered {
                Ok(answer) => {
                    pending.observe_status(answer.head.status);
                    let outcome = self.judge(&answer.head);
                    if !self.may_retry(outcome, answer.upload.source.can_rewind()) {
                        drop(retry_permit);
                        return relay::run(self, answer, pending, responder, timers).await;
                    }
                    body = answer.upload.source;
                    (outcome, UpstreamError::Terminated)
                }
                Err(Failure::Gone) => {
                    self.exchange.record.client_left();
                    return Finished::Broken;
                }
                Err(Failure::Client(error, body)) => {
                    let reply = reply::answer(&error.into(), false);
                    return reply::send(self.exchange, reply, body.into_live(), responder).await;
                }
                Err(Failure::Upstream { error, replay, outcome, stale }) => {
                    body = replay;
                    // The upstream closed a kept connection while the request was on its way: that
                    // says nothing about the endpoint and uses up no attempt. A refused stream is an
                    // attempt as long as the policy has one to give, as recorded.
                    let policy = &self.forward.retry;
                    let counts = outcome == Outcome::RefusedStream
                        && retry::retriable(policy, outcome)
                        && self.retries < policy.attempts;
                    if stale && !counts && body.can_rewind() && self.stale < MAX_STALE {
                        self.stale += 1;
                        body.rewind();
                        continue;
                    }
                    pending.observe_failure(&error);
                    (outcome, error)
                }
            };
            drop(pending);
            if timers.is_over() {
                return self.fail(UpstreamError::Timeout, false, body, responder).await;
            }
            let decision = self
                .exchange
                .worker()
                .with_dice(|dice| retry::decide(&self.forward.retry, self.retries, outcome, dice));
            match decision {
                Decision::Retry { wait } if body.can_rewind() => {
                    drop(retry_permit.take());
                    let Some(permit) = breaker.try_acquire(Resource::Retries) else {
                        return self.fail(UpstreamError::Overflow, false, body, responder).await;
                    };
                    retry_permit = Some(permit);
                    self.retries += 1;
                    body.rewind();
                    if !timers.wait(wait).await {
                        return self.fail(UpstreamError::Timeout, false, body, responder).await;
                    }
                }
                Decision::Retry { .. } => return self.fail(error, false, body, responder).await,
                Decision::GiveUp { exhausted } => return self.fail(error, exhausted, body, responder).await,
            }
        }
    }

    fn pick(&mut self, tried: &mut portcullis_traffic::Tried) -> Result<Picked, UpstreamError> {
        let hash = prepare::hash(&mut self.exchange, &self.forward.hash);
        self.upstream.pick(self.exchange.worker(), hash, tried)
    }

    /// What a response means to the retry policy.
    fn judge(&self, head: &crate::http::message::Response) -> Outcome {
        let grpc_status = head.headers.first_str("grpc-status").and_then(|status| status.parse().ok());
        let rate_limited = head.headers.contains("x-envoy-ratelimited");
        Outcome::Response(ResponseFacts { status: head.status, grpc_status, rate_limited })
    }

    /// Whether a response is thrown away for another try; one that is not goes to the client.
    fn may_retry(&mut self, outcome: Outcome, can_rewind: bool) -> bool {
        if !retry::retriable(&self.forward.retry, outcome) {
            return false;
        }
        if self.retries >= self.forward.retry.attempts {
            self.exchange.record.inner.flags.set(Flag::UpstreamRetryLimitExceeded);
            return false;
        }
        can_rewind && self.forward.retry.attempts > 0
    }

    /// Answers with the failure of the last try.
    async fn fail(
        mut self,
        error: UpstreamError,
        exhausted: bool,
        body: Replay,
        responder: Responder,
    ) -> Finished {
        if exhausted {
            self.exchange.record.inner.flags.set(Flag::UpstreamRetryLimitExceeded);
        }
        let failure = error.transport_failure().map(|text| text.to_owned().into());
        self.exchange.record.inner.upstream_transport_failure_reason = failure;
        if error == UpstreamError::NoHealthyEndpoint {
            let why = "no healthy endpoint".into();
            let object = self.exchange.record.inner.cluster.as_ref().map(|cluster| Arc::clone(&cluster.name));
            self.exchange.record.inner.reason = Some(Reason { object, why });
            self.exchange.record.inner.endpoint = None;
        }
        let reply = reply::answer(&Error::Upstream(error), self.retries > 0);
        reply::send(self.exchange, reply, body.into_live(), responder).await
    }
}
