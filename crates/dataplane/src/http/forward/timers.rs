//! The deadlines of a forwarded request. Both run from the end of the request, so that a slow
//! upload is not the upstream's fault (routing.md §2.8).

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use portcullis_snapshot::settings::ConnectionLimits;

use crate::clock;
use crate::error::{ClientError, UpstreamError};

/// What the time that has run out was given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expired {
    /// The upstream.
    Upstream(UpstreamError),
    /// The client's stream as a whole.
    Client(ClientError),
}

/// Bounds on the client's stream, where there are any (`connectionSettings`).
struct StreamBounds {
    /// When the request must have been sent to its end.
    request: Option<Instant>,
    /// When everything must be over.
    end: Option<Instant>,
    idle: Option<Duration>,
    /// When a byte was last moved, and how many had been by then.
    active: (Instant, u64),
    answered: bool,
}

impl StreamBounds {
    fn new(limits: &ConnectionLimits, arrived: Instant) -> Option<Box<Self>> {
        let ConnectionLimits { request, stream_idle: idle, stream_life, .. } = limits;
        let bounds = Self {
            request: request.map(|limit| arrived + limit),
            end: stream_life.map(|limit| arrived + limit),
            idle: *idle,
            active: (clock::now(), 0),
            answered: false,
        };
        let any = bounds.request.is_some() || bounds.end.is_some() || idle.is_some();
        any.then(|| Box::new(bounds))
    }

    fn next(&self, sent: bool) -> Option<Instant> {
        let request = self.request.filter(|_| !sent && !self.answered);
        let idle = self.idle.map(|idle| self.active.0 + idle);
        [request, self.end, idle].into_iter().flatten().min()
    }

    fn expired(&self, sent: bool, now: Instant) -> Option<ClientError> {
        if self.request.is_some_and(|at| !sent && !self.answered && at <= now) {
            return Some(ClientError::RequestTimeout);
        }
        if self.end.is_some_and(|at| at <= now) {
            return Some(ClientError::StreamLife { whole: sent });
        }
        let idle = self.idle.is_some_and(|idle| self.active.0 + idle <= now);
        idle.then_some(ClientError::StreamIdle { whole: sent })
    }
}

/// Route timeout and try timeout, and those of the client's stream.
pub(crate) struct Timers {
    route: Option<Duration>,
    each_try: Option<Duration>,
    /// When the request had been sent to its end.
    sent: Option<Instant>,
    /// Since when this try has been waiting for a connection.
    queued: Option<Instant>,
    try_from: Instant,
    stream: Option<Box<StreamBounds>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timers {
    pub(crate) fn new(route: Option<Duration>, each_try: Option<Duration>) -> Self {
        // A try that may last as long as everything needs no clock of its own.
        let each_try = each_try.filter(|each| route.is_none_or(|route| *each < route));
        Self { route, each_try, sent: None, queued: None, try_from: clock::now(), stream: None, sleep: None }
    }

    /// With what `limits` say of a stream whose request arrived at `arrived`.
    pub(crate) fn of_stream(mut self, limits: &ConnectionLimits, arrived: Instant) -> Self {
        self.stream = StreamBounds::new(limits, arrived);
        self
    }

    /// So many bytes have been moved altogether, in both directions.
    pub(crate) fn note_moved(&mut self, moved: u64) {
        if let Some(stream) = &mut self.stream
            && stream.active.1 != moved
        {
            stream.active = (clock::now(), moved);
        }
    }

    /// Another try begins.
    pub(crate) fn start_try(&mut self) {
        self.sleep = None;
        if self.sent.is_some() {
            self.try_from = clock::now();
        }
    }

    /// The try waits for a connection. That is bounded by the connect timeout and by the route's, not by the
    /// try's own; nothing of the request is read meanwhile, so its end cannot be awaited before time runs.
    pub(crate) fn queued(&mut self) {
        self.queued = Some(clock::now());
        self.sleep = None;
    }

    /// The try has its connection: its own time begins.
    pub(crate) fn leased(&mut self) {
        self.queued = None;
        self.sleep = None;
        self.start_try();
    }

    /// The request has been sent to its end; the first time, both clocks start.
    pub(crate) fn request_sent(&mut self) {
        if self.sent.is_none() {
            let now = clock::now();
            self.sent = Some(now);
            self.try_from = now;
            self.sleep = None;
        }
    }

    /// Response headers have come: only the route's timeout goes on, and the stream's.
    pub(crate) fn answered(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.answered = true;
            stream.active.0 = clock::now();
        }
        self.each_try = None;
        self.sleep = None;
    }

    /// When the request had been sent to its end.
    pub(crate) fn sent_at(&self) -> Option<Instant> {
        self.sent
    }

    /// How much of the route's time has passed.
    pub(crate) fn elapsed(&self) -> Duration {
        self.sent.map_or(Duration::ZERO, |sent| clock::now() - sent)
    }

    /// Whether the route's time is up.
    pub(crate) fn is_over(&self) -> bool {
        self.route_deadline().is_some_and(|deadline| clock::now() >= deadline)
    }

    /// Ready with the timeout that has run out.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        loop {
            let Some(deadline) = self.next() else { return Poll::Pending };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // What moves meanwhile puts the end of an idle stream off, without a word to the clock.
            if deadline <= sleep.deadline() {
                return Poll::Ready(self.expired());
            }
            self.sleep = None;
        }
    }

    /// What has run out: of two at once, what the client's stream is bound by.
    fn expired(&self) -> Expired {
        let stream = self.stream.as_ref();
        if let Some(error) = stream.and_then(|stream| stream.expired(self.sent.is_some(), clock::now())) {
            return Expired::Client(error);
        }
        let over = self.is_over() || self.queued.is_some();
        Expired::Upstream(if over { UpstreamError::Timeout } else { UpstreamError::PerTryTimeout })
    }

    /// Waits between two tries; false when the route's time runs out meanwhile.
    pub(crate) async fn wait(&self, wait: Duration) -> bool {
        let until = clock::now() + wait;
        match self.route_deadline() {
            Some(deadline) if deadline < until => {
                sleep_until(deadline).await;
                false
            }
            _ => {
                sleep_until(until).await;
                true
            }
        }
    }

    fn route_deadline(&self) -> Option<Instant> {
        Some(self.sent? + self.route?)
    }

    fn next(&self) -> Option<Instant> {
        let stream = self.stream.as_ref().and_then(|stream| stream.next(self.sent.is_some()));
        match (self.next_upstream(), stream) {
            (Some(upstream), Some(stream)) => Some(upstream.min(stream)),
            (upstream, stream) => upstream.or(stream),
        }
    }

    fn next_upstream(&self) -> Option<Instant> {
        if let Some(queued) = self.queued {
            return Some(self.sent.unwrap_or(queued) + self.route?);
        }
        self.sent?;
        let each = self.each_try.map(|each| self.try_from + each);
        match (self.route_deadline(), each) {
            (Some(route), Some(each)) => Some(route.min(each)),
            (route, each) => route.or(each),
        }
    }
}
