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

use super::frames::{Counts, END_STREAM, HEADERS, Walk};
use crate::stream::{Replay, Stream};

/// Bytes before the first frame.
const PREFACE: usize = crate::http::PREFACE.len();

/// Whether this turn may write.
#[derive(Default)]
pub(super) struct Gate {
    held: Cell<bool>,
    /// Whether the turn before was held: then nothing holds back this one, however much is read.
    released: Cell<bool>,
    /// Whether the prefaces have been exchanged.
    begun: Cell<bool>,
    /// Bytes of the streams on their way in.
    pub(super) counts: Rc<Counts>,
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
        (Self { inner, walk: Walk::behind(PREFACE), gate: Rc::clone(&gate), settings: BytesMut::new() }, gate)
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
        let mut begins = false;
        this.walk.feed(&buffer.filled()[before..], |frame| {
            // The head of a request with a body.
            begins |= frame.kind == HEADERS && frame.flags & END_STREAM == 0;
            this.gate.counts.add(frame);
        });
        if begins && !this.gate.released.get() {
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
