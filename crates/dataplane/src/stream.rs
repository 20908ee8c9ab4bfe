//! One byte stream, whatever lies below: TCP, a unix socket, TLS in either role.
//!
//! An enum rather than a type parameter: the rest of the data plane is compiled once, and the
//! match costs nothing beside the system call it leads to.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

use crate::tcp::pump::Raw;
use crate::tcp::tunnel::Tunnelled;

/// A byte stream to a peer.
pub(crate) enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A unix socket upstream.
    Unix(UnixStream),
    /// TLS terminated here.
    TlsServer(Box<server::TlsStream<Replay<TcpStream>>>),
    /// TLS to an upstream.
    TlsClient(Box<client::TlsStream<Box<Stream>>>),
    /// A tunnel through another proxy.
    Tunnel(Box<Tunnelled>),
}

/// A stream whose first bytes were read already and are given again.
pub(crate) struct Replay<S> {
    /// What was read ahead.
    pub(crate) ahead: Bytes,
    /// Where the rest comes from.
    pub(crate) inner: S,
}

impl Stream {
    /// The TCP socket at the bottom, if there is one.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(_) => None,
            Self::TlsServer(stream) => Some(&stream.get_ref().0.inner),
            Self::TlsClient(stream) => stream.get_ref().0.tcp(),
            Self::Tunnel(_) => None,
        }
    }

    /// Own address of the connection.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tunnel(tunnel) => tunnel.local,
            _ => self.tcp().and_then(|stream| stream.local_addr().ok()),
        }
    }

    /// Whether the peer, which owes us nothing now, has sent something or gone away: such a
    /// connection cannot be used for another request. Costs a system call only when the runtime
    /// has seen an event on the socket.
    pub(crate) fn is_stale(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let event = match self.tcp() {
            Some(stream) => stream.poll_read_ready(&mut context).is_ready(),
            None => true,
        };
        if !event {
            return false;
        }
        let mut byte = [0; 1];
        Pin::new(self).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_ready()
    }
}

impl Raw for Stream {
    fn raw(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            _ => None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::TlsServer(stream) => tolerate_missing_close_notify(Pin::new(stream).poll_read(cx, buffer)),
            Self::TlsClient(stream) => tolerate_missing_close_notify(Pin::new(stream).poll_read(cx, buffer)),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

/// A peer that closes TCP without a TLS close_notify ends the stream all the same; message framing
/// tells whether something is missing (RFC 9112 §9.8).
fn tolerate_missing_close_notify(read: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    match ready!(read) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
        other => Poll::Ready(other),
    }
}

macro_rules! on_inner {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::TlsServer($stream) => $call,
            Stream::TlsClient($stream) => $call,
            Stream::Tunnel($stream) => $call,
        }
    };
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_inner!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_inner!(self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Unix(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_inner!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_inner!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.has_remaining() {
            let length = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
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
