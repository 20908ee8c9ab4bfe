//! Bytes moved from socket to socket inside the kernel, for connections that carry many.
//!
//! `splice(2)` hands pages over where a read and a write would copy them twice. It needs a pipe in between, whose two
//! descriptors only a direction with bytes on their way holds: the pipes of a worker are kept and lent again.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Most bytes in a pipe: what Linux makes one for (pipe(7)), and as much as the buffer of a copy.
const ROOM: usize = 64 * 1024;

/// Most pipes of a worker, lent and kept; beyond it, bytes are copied.
const MAX_PIPES: usize = 256;
/// Pipes kept for the next to come.
const MAX_KEPT: usize = 32;

/// What never blocks, and moves pages if they can be moved.
const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

thread_local! {
    static PIPES: RefCell<Pipes> = const { RefCell::new(Pipes { kept: Vec::new(), lent: 0 }) };
}

/// The pipes of a worker.
struct Pipes {
    kept: Vec<Ends>,
    lent: usize,
}

struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// A stream that may be a plain socket.
pub(crate) trait Raw {
    /// The socket, where all it carries is the stream, so that bytes may pass by the stream.
    fn raw(&self) -> Option<&TcpStream>;
}

/// How a direction stands when nothing more can be moved now.
pub(super) enum Filled {
    /// The sender has come to its end.
    End,
    /// The sender broke off.
    Broken(io::Error),
    /// The sockets cannot be spliced: nothing has been taken from the sender.
    Refused,
}

/// A pipe on loan. Dropping it loses what it holds.
pub(super) struct Pipe {
    /// `None` only while it is being given back.
    ends: Option<Ends>,
    held: usize,
}

impl Pipe {
    /// A pipe, if there may be another one.
    pub(super) fn lend() -> Option<Self> {
        PIPES.with_borrow_mut(|pipes| {
            if pipes.lent == MAX_PIPES {
                return None;
            }
            let ends = match pipes.kept.pop() {
                Some(ends) => ends,
                None => {
                    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
                    Ends { reader, writer }
                }
            };
            pipes.lent += 1;
            Some(Self { ends: Some(ends), held: 0 })
        })
    }

    /// Moves what can be moved. Pending with an empty pipe means that the sender has nothing to give.
    ///
    /// # Errors
    /// The receiver's.
    pub(super) fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&TcpStream, &TcpStream),
        (read, written): (&mut u64, &mut u64),
    ) -> Poll<io::Result<Filled>> {
        loop {
            ready!(self.poll_drain(cx, to, written))?;
            // A sender is only asked with the pipe empty: what cannot be taken then is not there.
            if let Err(error) = ready!(from.poll_read_ready(cx)) {
                return Poll::Ready(Ok(Filled::Broken(error)));
            }
            match from.try_io(Interest::READABLE, || self.fill(from)) {
                Ok(0) => return Poll::Ready(Ok(Filled::End)),
                Ok(count) => {
                    self.held = count;
                    *read += count as u64;
                }
                Err(error) if is_again(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    return Poll::Ready(Ok(Filled::Refused));
                }
                Err(error) => return Poll::Ready(Ok(Filled::Broken(error))),
            }
        }
    }

    /// Whether bytes are on their way.
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
        written: &mut u64,
    ) -> Poll<io::Result<()>> {
        while self.held > 0 {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || self.drain(to)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.held = self.held.saturating_sub(count);
                    *written += count as u64;
                }
                Err(error) if is_again(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn fill(&self, from: &TcpStream) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Err(io::ErrorKind::InvalidInput.into()) };
        Ok(splice(from, None, &ends.writer, None, ROOM, FLAGS)?)
    }

    fn drain(&self, to: &TcpStream) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Err(io::ErrorKind::BrokenPipe.into()) };
        Ok(splice(&ends.reader, None, to, None, self.held, FLAGS)?)
    }
}

/// Whether to ask again: not ready after all, or interrupted.
fn is_again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let ends = self.ends.take();
        PIPES.with_borrow_mut(|pipes| {
            pipes.lent = pipes.lent.saturating_sub(1);
            // One that still holds bytes of a connection must never be lent to another.
            if let Some(ends) = ends
                && self.held == 0
                && pipes.kept.len() < MAX_KEPT
            {
                pipes.kept.push(ends);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_holds_bytes_is_not_lent_again() {
        let kept = || PIPES.with_borrow(|pipes| (pipes.kept.len(), pipes.lent));
        let pipe = Pipe::lend().expect("the first one");
        assert_eq!(kept(), (0, 1));
        drop(pipe);
        assert_eq!(kept(), (1, 0));
        let mut pipe = Pipe::lend().expect("the same one");
        pipe.held = 1;
        drop(pipe);
        assert_eq!(kept(), (0, 0));
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let pipes: Vec<_> = std::iter::from_fn(Pipe::lend).collect();
        assert!(pipes.len() == MAX_PIPES || pipes.len() > 16, "or as many as may be open");
        drop(pipes);
        assert!(Pipe::lend().is_some());
        assert!(PIPES.with_borrow(|pipes| pipes.kept.len()) <= MAX_KEPT);
    }
}
