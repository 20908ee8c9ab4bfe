//! The two halves of an HTTP/1 connection, used by one task.
//!
//! Reading a request body while writing a response needs both directions at once. Both halves share
//! the stream through a `RefCell` that is only borrowed inside a poll, never across an await, so no
//! lock is needed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::stream::Stream;
use crate::tcp::pump::Raw as _;

/// Most bytes of one read.
const READ_SIZE: usize = 16 * 1024;
/// Room made for content that flows over a plain socket.
const FLOW_SIZE: usize = 64 * 1024;
/// A buffer with more room than this is given back when its connection has nothing to read or write.
const KEPT_ROOM: usize = 2 * 1024;
/// Buffered bytes beyond which a writer flushes before taking more.
pub(crate) const FLUSH_AT: usize = 32 * 1024;
/// Pieces at least this long are written from where they are instead of being copied.
const COPY_BELOW: usize = 4 * 1024;

type Shared = Rc<RefCell<Stream>>;

thread_local! {
    /// Where bytes are read to that nobody knows the number of. Borrowed within a read only.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into());
}

/// The reading half with its buffer. It is handed about in a box, as [`Writer`] is.
pub(crate) struct Reader {
    stream: Shared,
    /// Whether the last read brought as much as it could.
    flows: bool,
    /// Bytes read and not yet consumed.
    pub(crate) buffer: BytesMut,
    /// Bytes read so far.
    read: u64,
}

/// The writing half with what waits to be written: `front`, then `chunk`, then `tail`.
///
/// On the heap: it changes hands with every request, and is as long as all else that does.
pub(crate) struct Writer(Box<Waiting>);

struct Waiting {
    stream: Shared,
    front: BytesMut,
    /// A long piece, written without a copy.
    chunk: Bytes,
    tail: BytesMut,
    /// Bytes that the system has taken so far.
    written: u64,
}

/// Splits a stream; `ahead` are bytes read from it already.
pub(crate) fn split(stream: Stream, ahead: BytesMut) -> (Box<Reader>, Writer) {
    let shared = Rc::new(RefCell::new(stream));
    let reader = Reader { stream: Rc::clone(&shared), flows: false, read: ahead.len() as u64, buffer: ahead };
    let (front, chunk, tail) = (BytesMut::new(), Bytes::new(), BytesMut::new());
    (Box::new(reader), Writer(Box::new(Waiting { stream: shared, front, chunk, tail, written: 0 })))
}

/// Puts the halves together again: the stream and the bytes read ahead.
///
/// # Panics
/// Never: both halves of one connection are given, and nothing else holds the stream.
pub(crate) fn join(reader: Reader, writer: Writer) -> (Stream, BytesMut) {
    drop(writer);
    let stream = Rc::try_unwrap(reader.stream).unwrap_or_else(|_| unreachable!("two halves make one stream"));
    (stream.into_inner(), reader.buffer)
}

impl Reader {
    /// Reads more bytes into the buffer; `Ok(0)` is the end of the stream. While it waits, no memory is held for what
    /// may come: most connections wait most of the time.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut read))?;
            self.buffer.extend_from_slice(read.filled());
            self.read += read.filled().len() as u64;
            self.flows = read.filled().len() == READ_SIZE;
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// As [`poll_fill`](Self::poll_fill), for content: once it flows, it is read where it stays.
    pub(crate) fn poll_fill_content(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.flows {
            return self.poll_fill(cx);
        }
        let mut stream = self.stream.borrow_mut();
        if self.buffer.capacity() - self.buffer.len() < READ_SIZE / 4 {
            // TLS gives no more than a record at once, and wants its memory blank.
            self.buffer.reserve(if stream.raw().is_some() { FLOW_SIZE } else { READ_SIZE });
        }
        let read = poll_read_buf(Pin::new(&mut *stream), cx, &mut self.buffer);
        match &read {
            Poll::Ready(Ok(count)) => self.read += *count as u64,
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.flows = false;
                if self.buffer.is_empty() {
                    self.buffer = BytesMut::new();
                }
            }
        }
        read
    }

    /// Takes a head of so many bytes off the buffer.
    pub(crate) fn take_head(&mut self, length: usize) -> BytesMut {
        // Nearly always that is all there is.
        if length == self.buffer.len() {
            std::mem::take(&mut self.buffer)
        } else {
            self.buffer.split_to(length)
        }
    }

    /// Gives memory back that an idle connection needs none of.
    pub(crate) fn rest(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_ROOM {
            self.buffer = BytesMut::new();
        }
    }

    /// Bytes read so far, consumed or not.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// As [`poll_fill`](Self::poll_fill). Dropping the future loses nothing.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Looks at the stream below.
    pub(crate) fn with_stream<T>(&self, look: impl FnOnce(&mut Stream) -> T) -> T {
        look(&mut self.stream.borrow_mut())
    }
}

impl Writer {
    /// Where message heads are put together: behind everything that waits.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        if self.takes_chunk() { &mut self.0.front } else { &mut self.0.tail }
    }

    /// Whether nothing waits behind `front`. A tail may be left over from a write that ended with the
    /// chunk: what comes now belongs behind it.
    fn takes_chunk(&self) -> bool {
        self.0.chunk.is_empty() && self.0.tail.is_empty()
    }

    /// Bytes that wait to be written.
    pub(crate) fn pending(&self) -> usize {
        self.0.front.len() + self.0.chunk.len() + self.0.tail.len()
    }

    /// Bytes given to it so far, written or not.
    pub(crate) fn given(&self) -> u64 {
        self.0.written + self.pending() as u64
    }

    /// Takes `bytes` behind what waits; a long piece is kept as it is when there is none yet.
    pub(crate) fn put(&mut self, bytes: Bytes) {
        if bytes.len() >= COPY_BELOW && self.takes_chunk() {
            self.0.chunk = bytes;
        } else {
            self.buffer().put_slice(&bytes);
        }
    }

    /// Gives memory back that an idle connection needs none of.
    pub(crate) fn rest(&mut self) {
        for part in [&mut self.0.front, &mut self.0.tail] {
            if part.is_empty() && part.capacity() > KEPT_ROOM {
                *part = BytesMut::new();
            }
        }
    }

    /// Ready when there is room for another piece.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pending() < FLUSH_AT { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    /// Hands everything to the system.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shared = Rc::clone(&self.0.stream);
        let mut stream = shared.borrow_mut();
        while !self.0.front.is_empty() || !self.0.chunk.is_empty() || !self.0.tail.is_empty() {
            let stream = Pin::new(&mut *stream);
            let written = if self.0.chunk.is_empty() && self.0.tail.is_empty() {
                ready!(stream.poll_write(cx, &self.0.front))?
            } else {
                let slices = [&self.0.front[..], &self.0.chunk, &self.0.tail].map(io::IoSlice::new);
                // A first slice without bytes would be all that a plain write looks at.
                let from = slices.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
                ready!(stream.poll_write_vectored(cx, &slices[from..]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.consume(written);
        }
        // Plain sockets have nothing below to flush; TLS may hold back a record.
        match &mut *stream {
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
            stream => Pin::new(stream).poll_flush(cx),
        }
    }

    fn consume(&mut self, mut written: usize) {
        self.0.written += written as u64;
        // Nearly always: a short message, taken at once.
        if written == self.0.front.len() && self.takes_chunk() {
            self.0.front.clear();
            return;
        }
        for part in [&mut self.0.front as &mut dyn Buf, &mut self.0.chunk, &mut self.0.tail] {
            let taken = written.min(part.remaining());
            part.advance(taken);
            written -= taken;
        }
    }

    /// As [`poll_flush`](Self::poll_flush). Dropping the future loses nothing.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Flushes and ends the writing direction.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown(cx)).await
    }

    /// As [`shutdown`](Self::shutdown).
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;
    use tokio::net::UnixStream;

    use super::*;

    /// Takes up to `most` bytes of what has arrived.
    fn take(peer: &UnixStream, most: usize, taken: &mut Vec<u8>) {
        let mut buffer = vec![0; most];
        if let Ok(count) = peer.try_read(&mut buffer) {
            taken.extend_from_slice(&buffer[..count]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Bytes leave in the order they were given, wherever the system stops taking them.
        #[test]
        fn order_survives_backpressure(
            pieces in proptest::collection::vec((0usize..40_000, 1usize..70_000), 1..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("runtime");
            runtime.block_on(async {
                let (stream, peer) = UnixStream::pair().expect("pair");
                socket2::SockRef::from(&stream).set_send_buffer_size(4096).expect("small");
                let (_reader, mut writer) = split(Stream::Unix(stream), BytesMut::new());
                let (mut given, mut taken) = (Vec::new(), Vec::new());
                let mut cx = Context::from_waker(Waker::noop());
                for (number, (length, most)) in pieces.into_iter().enumerate() {
                    // As often as not the flush stops in the middle, and more is given behind it.
                    let _ = writer.poll_flush(&mut cx);
                    let head = format!("[{number}]");
                    writer.buffer().put_slice(head.as_bytes());
                    let body = vec![u8::try_from(number % 251).expect("small"); length];
                    writer.put(body.clone().into());
                    writer.buffer().put_slice(b"\r\n");
                    given.extend([head.as_bytes(), &body, b"\r\n"].concat());
                    while writer.poll_ready(&mut cx).is_pending() {
                        tokio::task::yield_now().await;
                        take(&peer, most, &mut taken);
                    }
                }
                while writer.poll_flush(&mut cx).is_pending() || taken.len() < given.len() {
                    tokio::task::yield_now().await;
                    take(&peer, 65_536, &mut taken);
                }
                assert!(given == taken, "{} bytes given, other {} taken", given.len(), taken.len());
            });
        }
    }
}
