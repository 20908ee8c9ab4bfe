//! Carries bytes between two streams until both directions have ended.
//!
//! ```text
//!            read            write
//!   client ───────▶ scratch ───────▶ upstream        what cannot be written at once is kept in
//!   client ◀─────── scratch ◀─────── upstream        `unsent`, and nothing is read until it is gone
//! ```
//!
//! Bytes are read into one buffer that all connections of a worker share and are written from
//! there: a connection owns memory only while its receiver is slower than its sender, and at most
//! [`SCRATCH`] bytes in each direction. End of stream is passed on by shutting down the other
//! stream's writing side; the opposite direction stays open.
//!
//! A direction between two plain sockets that has carried [`SPLICE_FROM`] bytes is not read any more: the kernel moves its
//! pages from socket to socket ([`pipe`]).

mod pipe;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

pub(crate) use pipe::Raw;
use pipe::{Filled, Pipe};

/// Bytes read at once, and so the most that waits for a slow receiver.
const SCRATCH: usize = 64 * 1024;

/// Bytes after which a direction is likely to carry many more.
const SPLICE_FROM: u64 = 256 * 1024;

/// Reads that look for the end of a stream that is given up.
const MAX_LAST_READS: usize = 4;

thread_local! {
    /// Borrowed only between a read and the write that follows it, never across a wait.
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

/// Bytes of a connection so far, as its client sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Meter {
    /// From the client.
    pub(crate) received: u64,
    /// To the client.
    pub(crate) sent: u64,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Both directions came to their end.
    Finished,
    /// The client's connection broke; how does not matter to anyone.
    Client,
    /// The upstream's connection broke.
    Upstream(io::Error),
}

/// Two streams and what is on its way between them.
pub(crate) struct Pump<C, U> {
    client: C,
    upstream: U,
    up: Flow,
    down: Flow,
    /// When a byte last moved.
    pub(crate) active: Instant,
}

impl<C: AsyncRead + AsyncWrite + Raw + Unpin, U: AsyncRead + AsyncWrite + Raw + Unpin> Pump<C, U> {
    /// `ahead` has been read from the client already and goes first.
    pub(crate) fn new(client: C, upstream: U, ahead: BytesMut) -> Self {
        let up = Flow { unsent: ahead, ..Flow::default() };
        Self { client, upstream, up, down: Flow::default(), active: Instant::now() }
    }

    /// Moves what can be moved; ready when nothing can move any more. Bytes are added to `meter`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, meter: &mut Meter) -> Poll<End> {
        let before = *meter;
        let mut ignored = 0;
        self.up.last = self.down.state == State::Done;
        let up = self.up.poll(cx, &mut self.client, &mut self.upstream, &mut meter.received, &mut ignored);
        self.down.last = self.up.state == State::Done;
        let down = self.down.poll(cx, &mut self.upstream, &mut self.client, &mut ignored, &mut meter.sent);
        if *meter != before || ignored > 0 {
            self.active = Instant::now();
        }
        // A broken sender ends everything: there is nobody left to answer.
        let end = match (up, down) {
            (Poll::Ready(Err(_)), _) => End::Client,
            (_, Poll::Ready(Err(error))) => End::Upstream(error),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => End::Finished,
            _ => return Poll::Pending,
        };
        // Once a side has said that it is done, it matters to nobody how the connections come down. A reset
        // may overtake the other side's farewell, which is then here already and has not been read.
        let over = match end {
            End::Finished => true,
            End::Upstream(_) => has_ended(cx, &mut self.client),
            End::Client => has_ended(cx, &mut self.upstream),
        };
        Poll::Ready(if over || self.up.finished || self.down.finished { End::Finished } else { end })
    }
}

impl<C: AsyncRead + Unpin, U> Pump<C, U> {
    /// Who is to blame in the end: nobody, when the client closes within `limit` of its upstream's reset.
    pub(crate) async fn blame(&mut self, end: End, limit: Duration) -> End {
        match &end {
            End::Upstream(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            _ => return end,
        }
        let client = &mut self.client;
        let closes = std::future::poll_fn(|cx| {
            SCRATCH_BUFFER.with_borrow_mut(|scratch| {
                loop {
                    let mut buffer = ReadBuf::new(scratch);
                    match ready!(Pin::new(&mut *client).poll_read(cx, &mut buffer)) {
                        Ok(()) if !buffer.filled().is_empty() => {}
                        _ => return Poll::Ready(()),
                    }
                }
            })
        });
        if tokio::time::timeout(limit, closes).await.is_ok() { End::Finished } else { end }
    }
}

/// Whether a stream that is given up has come to its end; what it still held is of no use any more.
fn has_ended(cx: &mut Context<'_>, stream: &mut (impl AsyncRead + Unpin)) -> bool {
    SCRATCH_BUFFER.with_borrow_mut(|scratch| {
        for _ in 0..MAX_LAST_READS {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return true,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) | Poll::Pending => return false,
            }
        }
        false
    })
}

/// One direction.
#[derive(Default)]
struct Flow {
    /// Read and not yet written.
    unsent: BytesMut,
    /// Moves bytes while there are many.
    pipe: Option<Pipe>,
    /// Bytes copied so far, or since splicing was last found not to be possible.
    carried: u64,
    state: State,
    /// Whether the writer may hold bytes back until it is flushed.
    unflushed: bool,
    /// Why the sender's stream broke.
    broken: Option<io::Error>,
    /// Whether the sender's stream came to its end.
    finished: bool,
    /// Whether the opposite direction is over.
    last: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The sender is done; what is left is written, then the receiver's stream is shut down.
    Closing,
    Done,
}

impl Flow {
    /// Ready when this direction is over: with an error when its sender broke off.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Raw + Unpin),
        to: &mut (impl AsyncWrite + Raw + Unpin),
        read: &mut u64,
        written: &mut u64,
    ) -> Poll<io::Result<()>> {
        if self.state != State::Done {
            // A receiver that takes no more ends this direction only: its own last words may still be on
            // their way. If its connection is broken, reading from it will say so.
            let _ = ready!(self.advance(cx, from, to, read, written));
            self.state = State::Done;
            self.unsent = BytesMut::new();
            self.pipe = None;
        }
        Poll::Ready(self.broken.take().map_or(Ok(()), Err))
    }

    /// Errors are the receiver's.
    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Raw + Unpin),
        to: &mut (impl AsyncWrite + Raw + Unpin),
        read: &mut u64,
        written: &mut u64,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.write_unsent(cx, to, written))?;
            if self.carried >= SPLICE_FROM && self.state == State::Open {
                ready!(self.splice(cx, from.raw().zip(to.raw()), read, written))?;
            }
            if self.state == State::Closing {
                // A plain socket says so by itself when it is closed, which is next.
                let tells = self.last && to.raw().is_some();
                return if tells { Poll::Ready(Ok(())) } else { Pin::new(to).poll_shutdown(cx) };
            }
            let moved = SCRATCH_BUFFER.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let outcome = Pin::new(&mut *from).poll_read(cx, &mut buffer);
                self.take(cx, outcome, buffer.filled(), to, (&mut *read, &mut *written))
            })?;
            if moved.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    /// Moves bytes within the kernel; ready when the direction is closing, or when the next bytes have to be copied.
    fn splice(
        &mut self,
        cx: &mut Context<'_>,
        sockets: Option<(&TcpStream, &TcpStream)>,
        read: &mut u64,
        written: &mut u64,
    ) -> Poll<io::Result<()>> {
        let Some(sockets) = sockets else {
            self.carried = 0;
            return Poll::Ready(Ok(()));
        };
        let Some(pipe) = self.pipe.take().or_else(Pipe::lend) else { return Poll::Ready(Ok(())) };
        let pipe = self.pipe.insert(pipe);
        let moved = pipe.poll_move(cx, sockets, (read, written));
        // A connection without bytes on their way holds no pipe.
        if pipe.is_empty() {
            self.pipe = None;
        }
        match ready!(moved)? {
            Filled::End => {
                self.finished = true;
                self.state = State::Closing;
            }
            Filled::Broken(error) => {
                self.broken = Some(error);
                self.state = State::Closing;
            }
            Filled::Refused => self.carried = 0,
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what was read as far as the receiver takes it, and keeps the rest.
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<()>>,
        bytes: &[u8],
        to: &mut (impl AsyncWrite + Unpin),
        (read, written): (&mut u64, &mut u64),
    ) -> io::Result<Poll<()>> {
        match outcome {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Err(error)) => {
                self.broken = Some(error);
                self.state = State::Closing;
            }
            Poll::Ready(Ok(())) if bytes.is_empty() => {
                self.finished = true;
                self.state = State::Closing;
            }
            Poll::Ready(Ok(())) => {
                *read += bytes.len() as u64;
                self.carried += bytes.len() as u64;
                self.unflushed = true;
                let taken = match Pin::new(to).poll_write(cx, bytes)? {
                    Poll::Ready(taken) => taken,
                    Poll::Pending => 0,
                };
                *written += taken as u64;
                self.unsent.extend_from_slice(&bytes[taken..]);
            }
        }
        Ok(Poll::Ready(()))
    }

    fn write_unsent(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        written: &mut u64,
    ) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.unflushed = true;
        while !self.unsent.is_empty() {
            let taken = ready!(Pin::new(&mut *to).poll_write(cx, &self.unsent))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += taken as u64;
            self.unsent.advance(taken);
        }
        // The memory goes back: an idle connection holds none.
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
