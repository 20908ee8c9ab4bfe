//! A deadline that is put off again and again.
//!
//! A kept connection waits for its next request with a bound, thousands of times a second. To enter each wait with the
//! runtime's timer and to take it out again would cost more than the request's routing. So the timer is left as it is when
//! the deadline moves on, and only asked to ring again when it rings too early.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock;

/// Rings at a time that can be put off at no cost.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once it is `at`.
    pub(super) fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if at < sleep.deadline() {
            sleep.as_mut().reset(at);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if at <= sleep.deadline() || at <= clock::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_when_the_last_deadline_is_due() {
        let start = Instant::now();
        let mut alarm = Alarm::default();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut poll = |seconds| {
            let ready = alarm.poll(after(seconds), &mut Context::from_waker(std::task::Waker::noop()));
            ready.is_ready()
        };
        assert!(!poll(10), "put up");
        assert!(!poll(20), "put off");
        assert!(!poll(15), "brought forward");
        poll_fn(|cx| alarm.poll(after(15), cx)).await;
        assert_eq!(Instant::now(), after(15));
        // It has rung; the next wait is another one.
        poll_fn(|cx| alarm.poll(after(60), cx)).await;
        assert_eq!(Instant::now(), after(60));
        poll_fn(|cx| alarm.poll(after(50), cx)).await;
        assert_eq!(Instant::now(), after(60), "what is past rings at once");
    }
}
