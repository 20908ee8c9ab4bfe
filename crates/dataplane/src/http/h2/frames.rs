//! HTTP/2 frames as they go by: where one begins, and how many bytes each stream's take on the wire.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a frame's head (RFC 9113 §4.1).
const HEAD: usize = 9;
/// Frame type of DATA.
const DATA: u8 = 0;
/// Frame type of HEADERS.
pub(crate) const HEADERS: u8 = 1;
/// Frame type of CONTINUATION.
const CONTINUATION: u8 = 9;
/// The flag that no body follows.
pub(crate) const END_STREAM: u8 = 1;
/// Streams of a connection whose bytes are kept; the oldest goes first.
const MAX_COUNTED: usize = 4096;

/// What a frame's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    stream: u32,
    /// Bytes behind the head.
    length: usize,
}

/// Goes from frame to frame of what passes in one direction.
pub(crate) struct Walk {
    head: [u8; HEAD],
    /// Bytes of `head` that have come.
    have: usize,
    /// Bytes until the next frame.
    skip: usize,
}

impl Walk {
    /// A walk whose first frame comes behind so many bytes.
    pub(crate) fn behind(skip: usize) -> Self {
        Self { head: [0; HEAD], have: 0, skip }
    }

    /// Tells the frames whose heads are complete with `bytes`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEAD - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD {
                let [high, middle, low, kind, flags, a, b, c, d] = self.head;
                let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                // The first bit is reserved.
                let stream = u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1);
                tell(Frame { kind, flags, stream, length });
                self.skip = length;
                self.have = 0;
            }
        }
    }
}

/// Bytes of a stream's frames in one direction, heads of frames included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OnWire {
    /// In frames that carry header fields.
    pub(crate) headers: u64,
    /// In these and in those that carry content.
    pub(crate) all: u64,
}

/// What is counted of the streams of a connection in one direction, once somebody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    on: Cell<bool>,
    streams: RefCell<BTreeMap<u32, OnWire>>,
}

impl Counts {
    /// Counts the streams that come from now on.
    pub(crate) fn begin(&self) {
        self.on.set(true);
    }

    /// Adds a frame, if anything is counted.
    pub(crate) fn add(&self, frame: Frame) {
        if !self.on.get() || !matches!(frame.kind, DATA | HEADERS | CONTINUATION) {
            return;
        }
        let bytes = (HEAD + frame.length) as u64;
        let mut streams = self.streams.borrow_mut();
        let counted = match frame.kind {
            // Content of a stream whose header went uncounted would be half the truth.
            DATA => streams.get_mut(&frame.stream),
            _ => Some(streams.entry(frame.stream).or_default()),
        };
        if let Some(counted) = counted {
            counted.all += bytes;
            counted.headers += if frame.kind == DATA { 0 } else { bytes };
        }
        if streams.len() > MAX_COUNTED {
            streams.pop_first();
        }
    }

    /// What a stream has come to, if its header was counted.
    fn of(&self, stream: u32) -> Option<OnWire> {
        self.streams.borrow().get(&stream).copied()
    }

    /// Forgets a stream that is over.
    fn forget(&self, stream: u32) {
        if self.on.get() {
            self.streams.borrow_mut().remove(&stream);
        }
    }
}

/// What is counted of a stream on its way in; forgotten on drop.
#[derive(Debug)]
pub(crate) struct Counted {
    counts: Rc<Counts>,
    stream: u32,
}

impl Counted {
    pub(crate) fn new(counts: Rc<Counts>, stream: u32) -> Self {
        Self { counts, stream }
    }

    /// What it has come to, if its header was counted; counting goes on from here.
    pub(crate) fn now(&self) -> Option<OnWire> {
        self.counts.on.set(true);
        self.counts.of(self.stream)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.forget(self.stream);
    }
}

/// What is counted of a stream on an upstream connection; forgotten on drop.
#[derive(Debug)]
pub(crate) struct Carried {
    both: Rc<BothWays>,
    stream: u32,
}

impl Carried {
    pub(crate) fn new(both: Rc<BothWays>, stream: u32) -> Self {
        Self { both, stream }
    }

    /// Of the request.
    pub(crate) fn sent(&self) -> Option<OnWire> {
        self.both.sent.of(self.stream)
    }

    /// Of the response.
    pub(crate) fn received(&self) -> Option<OnWire> {
        self.both.received.of(self.stream)
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.both.sent.forget(self.stream);
        self.both.received.forget(self.stream);
    }
}

/// What is counted on an upstream connection.
#[derive(Debug, Default)]
pub(crate) struct BothWays {
    sent: Counts,
    received: Counts,
}

/// An upstream connection whose frames are counted, if anybody wants to know.
pub(crate) struct Counting<S> {
    inner: S,
    walks: Option<Box<Walks>>,
}

struct Walks {
    sent: Walk,
    received: Walk,
    both: Rc<BothWays>,
}

impl<S> Counting<S> {
    /// A connection on which nothing has been sent.
    pub(crate) fn new(inner: S, both: Option<&Rc<BothWays>>) -> Self {
        let walks = both.map(|both| {
            both.sent.begin();
            both.received.begin();
            let (sent, received) = (Walk::behind(crate::http::PREFACE.len()), Walk::behind(0));
            Box::new(Walks { sent, received, both: Rc::clone(both) })
        });
        Self { inner, walks }
    }
}

impl Walks {
    /// So many bytes of `slices` have gone out.
    fn note_sent(&mut self, slices: &[io::IoSlice<'_>], mut written: usize) {
        for slice in slices {
            let taken = written.min(slice.len());
            self.sent.feed(&slice[..taken], |frame| self.both.sent.add(frame));
            written -= taken;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        if let Some(Walks { received, both, .. }) = this.walks.as_deref_mut() {
            received.feed(&buffer.filled()[before..], |frame| both.received.add(frame));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
        if let Some(walks) = &mut this.walks {
            walks.note_sent(&[io::IoSlice::new(bytes)], written);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, slices))?;
        if let Some(walks) = &mut this.walks {
            walks.note_sent(slices, written);
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: usize) -> Vec<u8> {
        let length = u8::try_from(payload).expect("short");
        [vec![0, 0, length, kind, flags, 128, 0, 0, stream], vec![1; payload]].concat()
    }

    #[test]
    fn frames_are_seen_however_the_bytes_are_cut() {
        let frames = [frame(4, 0, 0, 6), frame(HEADERS, 5, 1, 20), frame(DATA, 1, 1, 0)].concat();
        let bytes = [vec![b'x'; 24], frames].concat();
        for step in 1..bytes.len() {
            let (mut walk, mut seen) = (Walk::behind(24), Vec::new());
            for piece in bytes.chunks(step) {
                walk.feed(piece, |frame| seen.push((frame.kind, frame.flags, frame.stream, frame.length)));
            }
            assert_eq!(seen, [(4, 0, 0, 6), (1, 5, 1, 20), (0, 1, 1, 0)], "in pieces of {step}");
        }
    }

    #[test]
    fn streams_are_counted_apart_and_not_without_end() {
        let counts = Counts::default();
        let add = |kind, stream, length| counts.add(Frame { kind, flags: 0, stream, length });
        add(HEADERS, 1, 10);
        assert_eq!(counts.of(1), None, "nobody has asked yet");
        counts.begin();
        add(DATA, 1, 10);
        assert_eq!(counts.of(1), None, "its header went uncounted");
        for (kind, stream, length) in [(HEADERS, 3, 10), (CONTINUATION, 3, 1), (HEADERS, 5, 2), (DATA, 3, 5)]
        {
            add(kind, stream, length);
        }
        assert_eq!(counts.of(3), Some(OnWire { headers: 29, all: 43 }));
        assert_eq!(counts.of(5), Some(OnWire { headers: 11, all: 11 }));
        (6..6 + u32::try_from(MAX_COUNTED).expect("small")).for_each(|stream| add(HEADERS, stream, 1));
        assert_eq!(counts.of(3), None, "the oldest goes first");
    }
}
