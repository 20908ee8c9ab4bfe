//! Connecting to the first address of several that answers (RFC 8305 §5).
//!
//! The next address is tried when one has failed, or when [`STAGGER`] has gone by without an answer; whichever
//! connects first is taken and the others are dropped. The caller bounds the whole time.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// How long an address is waited for before the next one is tried beside it (Envoy: 300 ms).
pub(crate) const STAGGER: Duration = Duration::from_millis(300);

/// Most addresses tried: six attempts under way say that it is not the address.
pub(crate) const MAX_ADDRESSES: usize = 6;

/// The first of `addresses` that `connect` connects to.
///
/// Dropping the future drops every attempt.
///
/// # Errors
/// The failure of the first address, which is the preferred one, once all have failed.
pub(crate) async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut attempts = Attempts { running: Vec::new(), failure: None };
    let mut left = addresses.iter().take(MAX_ADDRESSES);
    while let Some(address) = left.next() {
        attempts.running.push((left.len(), Box::pin(connect(*address))));
        let mut patience = pin!(tokio::time::sleep(STAGGER));
        let is_last = left.len() == 0;
        let connected = poll_fn(|cx| match attempts.poll(cx) {
            Poll::Ready(step) => Poll::Ready(step),
            Poll::Pending if is_last => Poll::Pending,
            Poll::Pending => patience.as_mut().poll(cx).map(|()| Step::Next),
        });
        match connected.await {
            Step::Connected(stream) => return Ok(stream),
            Step::Next => {}
        }
        // Several attempts may still be under way when the last address has failed.
        if is_last {
            while !attempts.running.is_empty() {
                if let Step::Connected(stream) = poll_fn(|cx| attempts.poll(cx)).await {
                    return Ok(stream);
                }
            }
        }
    }
    Err(attempts.failure.map_or_else(|| io::Error::other("no address"), |(_, error)| error))
}

struct Attempts<F> {
    /// How many addresses came after it, and the attempt.
    running: Vec<(usize, Pin<Box<F>>)>,
    /// The failure of the earliest address so far.
    failure: Option<(usize, io::Error)>,
}

enum Step<T> {
    Connected(T),
    /// An attempt has failed, or it is time: try another address.
    Next,
}

impl<T, F: Future<Output = io::Result<T>>> Attempts<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step<T>> {
        let mut failed = false;
        let mut connected = None;
        let failure = &mut self.failure;
        self.running.retain_mut(|(after, attempt)| match attempt.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(stream)) => {
                connected.get_or_insert(stream);
                false
            }
            Poll::Ready(Err(error)) => {
                failed = true;
                if failure.as_ref().is_none_or(|(earliest, _)| *after > *earliest) {
                    *failure = Some((*after, error));
                }
                false
            }
        });
        match connected {
            Some(stream) => Poll::Ready(Step::Connected(stream)),
            None if failed => Poll::Ready(Step::Next),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// What each address does: answers or fails after so many milliseconds, or never does either.
    #[derive(Clone, Copy)]
    enum Does {
        Answers(u64),
        Fails(u64),
        Hangs,
    }

    /// Which address is taken (or fails first in the list), when, and when each was tried.
    async fn run(addresses: &[Does]) -> (Result<usize, String>, u64, Vec<u64>) {
        let start = Instant::now();
        let at = || u64::try_from(start.elapsed().as_millis()).expect("small");
        let tried = RefCell::new(Vec::new());
        let list: Vec<SocketAddr> =
            (0..addresses.len()).map(|at| ([127, 0, 0, 1], u16::try_from(at).expect("few")).into()).collect();
        let connect = |address: SocketAddr| {
            tried.borrow_mut().push(at());
            let index = usize::from(address.port());
            let does = addresses[index];
            async move {
                match does {
                    Does::Answers(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Ok(index)
                    }
                    Does::Fails(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Err(io::Error::other(index.to_string()))
                    }
                    Does::Hangs => std::future::pending().await,
                }
            }
        };
        let found = race(&list, connect).await.map_err(|error| error.to_string());
        (found, at(), tried.take())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_answers_is_taken() {
        use Does::{Answers, Fails, Hangs};
        for (addresses, expected) in [
            (&[Answers(10), Answers(0)][..], (Ok(0), 10, vec![0])),
            // A failure is followed at once, silence after a while.
            (&[Fails(10), Answers(5)], (Ok(1), 15, vec![0, 10])),
            (&[Hangs, Answers(5)], (Ok(1), 305, vec![0, 300])),
            (&[Hangs, Hangs, Answers(1)], (Ok(2), 601, vec![0, 300, 600])),
            // What was tried first may still win.
            (&[Answers(320), Answers(50)], (Ok(0), 320, vec![0, 300])),
            (&[Answers(400), Fails(10)], (Ok(0), 400, vec![0, 300])),
            (&[Fails(400), Fails(10), Answers(500)], (Ok(2), 810, vec![0, 300, 310])),
            // The failure told is that of the preferred address.
            (&[Fails(400), Fails(10)], (Err("0".to_owned()), 400, vec![0, 300])),
            (&[], (Err("no address".to_owned()), 0, vec![])),
        ] {
            assert_eq!(run(addresses).await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_tried() {
        let (_, _, tried) = run(&[Does::Fails(0); MAX_ADDRESSES + 3]).await;
        assert_eq!(tried.len(), MAX_ADDRESSES);
    }
}
