//! One reading of the clock for all that one event leads to.
//!
//! A worker does what an event asks for in microseconds, and asks the time a dozen times on the way: when the request came,
//! since when a connection is idle, how long the upstream took. One reading serves them all, for as long as the task that
//! the event woke is at work. Outside of such a task, each question is a reading.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use tokio::time::Instant;

/// What has been read since the task was woken; `None` outside of one.
type Readings = Option<(Option<Instant>, Option<SystemTime>)>;

thread_local! {
    static READINGS: Cell<Readings> = const { Cell::new(None) };
}

/// The monotonic time at which the task at work was woken, or now.
pub(crate) fn now() -> Instant {
    match READINGS.get() {
        Some((Some(at), _)) => at,
        None => Instant::now(),
        Some((None, wall)) => {
            let at = Instant::now();
            READINGS.set(Some((Some(at), wall)));
            at
        }
    }
}

/// The time of day at which the task at work was woken, or now.
pub(crate) fn wall() -> SystemTime {
    match READINGS.get() {
        Some((_, Some(at))) => at,
        None => SystemTime::now(),
        Some((now, None)) => {
            let at = SystemTime::now();
            READINGS.set(Some((now, Some(at))));
            at
        }
    }
}

/// Has the clocks read again: another request begins, or much has been done since the last reading.
pub(crate) fn forget() {
    if READINGS.get().is_some() {
        READINGS.set(Some((None, None)));
    }
}

/// A task that reads each clock at most once whenever it is woken.
pub(crate) struct Steady<F>(F);

/// Has `task` read each clock at most once whenever it is woken.
pub(crate) fn steady<F: Future + Unpin>(task: F) -> Steady<F> {
    Steady(task)
}

impl<F: Future + Unpin> Future for Steady<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        /// Ends the task's turn, even if it panics.
        struct Turn;
        impl Drop for Turn {
            fn drop(&mut self) {
                READINGS.set(None);
            }
        }
        READINGS.set(Some((None, None)));
        let _turn = Turn;
        Pin::new(&mut self.0).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_one_time_and_the_next_another() {
        let mut turns = Vec::new();
        let task = std::future::poll_fn(|_| {
            let (first, second) = (now(), now());
            assert_eq!((first, wall()), (second, wall()));
            turns.push(first);
            if turns.len() < 2 { Poll::Pending } else { Poll::Ready(()) }
        });
        let mut task = std::pin::pin!(steady(task));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(task.as_mut().poll(&mut cx).is_pending());
        assert!(READINGS.get().is_none(), "nothing is kept between two turns");
        assert!(task.as_mut().poll(&mut cx).is_ready());
        assert!(turns[0] < turns[1]);
    }

    #[test]
    fn what_is_forgotten_is_read_again() {
        let task = std::future::poll_fn(|_| {
            let before = now();
            forget();
            assert!(before < now());
            Poll::Ready(())
        });
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::pin!(steady(task)).poll(&mut cx).is_ready());
    }
}
