//! The deadlines of a forwarded request. Both run from the end of the request, so that a slow
//! upload is not the upstream's fault (routing.md §2.8).

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::UpstreamError;

/// Route timeout and try timeout.
pub(crate) struct Timers {
    route: Option<Duration>,
    each_try: Option<Duration>,
    /// When the request had been sent to its end.
    sent: Option<Instant>,
    /// Since when this try has been waiting for a connection.
    queued: Option<Instant>,
    try_from: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timers {
    pub(crate) fn new(route: Option<Duration>, each_try: Option<Duration>) -> Self {
        // A try that may last as long as everything needs no clock of its own.
        let each_try = each_try.filter(|each| route.is_none_or(|route| *each < route));
        Self { route, each_try, sent: None, queued: None, try_from: Instant::now(), sleep: None }
    }

    /// Another try begins.
    pub(crate) fn start_try(&mut self) {
        self.sleep = None;
        if self.sent.is_some() {
            self.try_from = Instant::now();
        }
    }

    /// The try waits for a connection. That is bounded by the connect timeout and by the route's, not by the
    /// try's own; nothing of the request is read meanwhile, so its end cannot be awaited before time runs.
    pub(crate) fn queued(&mut self) {
        self.queued = Some(Instant::now());
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
            let now = Instant::now();
            self.sent = Some(now);
            self.try_from = now;
            self.sleep = None;
        }
    }

    /// Response headers have come: only the route's timeout goes on.
    pub(crate) fn answered(&mut self) {
        self.each_try = None;
        self.sleep = None;
    }

    /// When the request had been sent to its end.
    pub(crate) fn sent_at(&self) -> Option<Instant> {
        self.sent
    }

    /// How much of the route's time has passed.
    pub(crate) fn elapsed(&self) -> Duration {
        self.sent.map_or(Duration::ZERO, |sent| sent.elapsed())
    }

    /// Whether the route's time is up.
    pub(crate) fn is_over(&self) -> bool {
        self.route_deadline().is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Ready with the timeout that has run out.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<UpstreamError> {
        let Some(deadline) = self.next() else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let over = self.is_over() || self.queued.is_some();
        Poll::Ready(if over { UpstreamError::Timeout } else { UpstreamError::PerTryTimeout })
    }

    /// Waits between two tries; false when the route's time runs out meanwhile.
    pub(crate) async fn wait(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
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
