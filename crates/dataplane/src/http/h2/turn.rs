//! Requests before resets: what a client has sent reaches the exchanges before the connection answers
//! it by itself.
//!
//! The HTTP/2 implementation reads all that has come and then writes. When a request and its broken
//! body come together, it would tell the client of the reset before the request has been seen by
//! anybody; whether an upstream ever hears of the request would depend on how the bytes were cut.
//! Istio's gateway takes frames one by one: the head goes its way, then the body breaks. So a turn
//! that reads the head of a request with a body does not write; the next one does. The gateway's own
//! SETTINGS wait for the first turn, unless the client waits for them: one write instead of two.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::{Replay, Stream};

/// Bytes before the first frame.
const PREFACE: usize = crate::http::PREFACE.len();
/// Bytes of a frame's head (RFC 9113 §4.1).
const FRAME_HEAD: usize = 9;
/// Frame type of HEADERS.
const HEADERS: u8 = 1;
/// The flag that no body follows.
const END_STREAM: u8 = 1;

/// Whether this turn may write.
#[derive(Default)]
pub(super) struct Gate {
    held: Cell<bool>,
    /// Whether the turn before was held: then nothing holds back this one, however much is read.
    released: Cell<bool>,
    /// Whether the prefaces have been exchanged.
    begun: Cell<bool>,
}

impl Gate {
    /// The client's preface has come.
    pub(super) fn begin(&self) {
        self.begun.set(true);
    }

    /// The tasks that were started in the last turn have run.
    pub(super) fn next_turn(&self) {
        if self.held.replace(false) {
            self.released.set(true);
        }
    }
}

/// A connection whose writes wait for the exchanges.
pub(super) struct Turn {
    inner: Replay<Stream>,
    walk: Walk,
    gate: Rc<Gate>,
    /// Our SETTINGS, until there is something else to write or nothing to read.
    settings: BytesMut,
}

impl Turn {
    /// Wraps a connection on which nothing has been read yet.
    pub(super) fn new(inner: Replay<Stream>) -> (Self, Rc<Gate>) {
        let gate = Rc::<Gate>::default();
        let walk = Walk { head: [0; FRAME_HEAD], have: 0, skip: PREFACE };
        (Self { inner, walk, gate: Rc::clone(&gate), settings: BytesMut::new() }, gate)
    }

    /// Ready when writing is allowed and our SETTINGS are out; wakes the task again when it is not.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gate.held.get() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.gate.released.set(false);
        while !self.settings.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.settings))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.settings.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Goes from frame to frame of what is read.
struct Walk {
    head: [u8; FRAME_HEAD],
    /// Bytes of `head` that have come.
    have: usize,
    /// Bytes until the next frame.
    skip: usize,
}

impl Walk {
    /// Whether the head of a request with a body begins in `bytes`.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        let mut begins = false;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(FRAME_HEAD - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == FRAME_HEAD {
                let [high, middle, low, kind, flags, ..] = self.head;
                begins |= kind == HEADERS && flags & END_STREAM == 0;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.have = 0;
            }
        }
        begins
    }
}

impl AsyncRead for Turn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        if read.is_pending() && !this.gate.begun.get() {
            // A client may want our SETTINGS before it says more; it can wait for no flush here.
            ready!(this.poll_turn(cx))?;
            ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        }
        ready!(read)?;
        if this.walk.feed(&buffer.filled()[before..]) && !this.gate.released.get() {
            this.gate.held.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Turn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.gate.begun.get() {
            this.settings.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(this.poll_turn(cx))?;
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.gate.begun.get() {
            let bytes = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            this.settings.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(this.poll_turn(cx))?;
        Pin::new(&mut this.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.gate.begun.get() {
            return Poll::Ready(Ok(()));
        }
        if !this.settings.is_empty() {
            ready!(this.poll_turn(cx))?;
        }
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u8::try_from(payload).expect("short");
        [vec![0, 0, length, kind, flags, 0, 0, 0, 1], vec![1; payload]].concat()
    }

    #[test]
    fn a_request_with_a_body_is_seen_however_the_bytes_are_cut() {
        for (frames, expected) in [
            ([frame(4, 0, 6), frame(1, 5, 20)].concat(), false),
            ([frame(4, 0, 0), frame(1, 4, 20), frame(0, 1, 3)].concat(), true),
            ([frame(0, 1, 40), frame(8, 0, 4)].concat(), false),
        ] {
            let bytes = [vec![b'x'; PREFACE], frames].concat();
            for step in 1..bytes.len() {
                let (mut turn, mut seen) = (Walk { head: [0; 9], have: 0, skip: PREFACE }, false);
                for piece in bytes.chunks(step) {
                    seen |= turn.feed(piece);
                }
                assert_eq!(seen, expected, "in pieces of {step}");
            }
        }
    }
}
