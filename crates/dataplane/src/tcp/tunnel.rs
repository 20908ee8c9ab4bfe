//! Tunnels through another proxy: a connection's bytes in the bodies of a request and its response (`tunnel` of a
//! DestinationRule, Envoy's `tunneling_config`).
//!
//! ```text
//!   HTTP/1  CONNECT host:port ─ 2xx ─ bytes          POST / ─ 2xx ─ chunks both ways
//!   HTTP/2  either on a stream of its own connection ─ DATA both ways
//! ```
//!
//! Any answer but 2xx is a failure to connect, as in Envoy.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::{Address, UpstreamProtocol};
use portcullis_snapshot::listener::{Tunnel, TunnelMethod};
use portcullis_snapshot::tls::UpstreamTls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::UpstreamError;
use crate::http::body::{Body, H2Sink, Sink, Source as _};
use crate::http::h1::body::{Decoder, Frame};
use crate::http::h1::encode::BodyWriter;
use crate::http::h1::head::{self, Framing, ResponseHead, Scan};
use crate::http::h1::io::{Reader, split};
use crate::stream::Stream;
use crate::upstream::connect::{self, Purpose};
use crate::upstream::introduce::Ends;

/// Informational answers taken before the final one.
const MAX_INTERIM: usize = 8;

/// The bytes of a tunnel, as a stream.
pub(crate) struct Tunnelled {
    body: Body,
    sink: Sink,
    /// What has come and has not been read.
    piece: Bytes,
    ended: bool,
    /// Own address of the connection below.
    pub(crate) local: Option<SocketAddr>,
}

/// Connects to the proxy at `address`, in TLS if its cluster has it, and opens the tunnel.
///
/// Dropping the future drops a half-open connection.
///
/// # Errors
/// [`UpstreamError::Connect`] with the reason.
pub(super) async fn open(
    tunnel: &Tunnel,
    cluster: &Cluster,
    address: &Address,
    client: Ends,
) -> Result<Stream, UpstreamError> {
    let http2 = cluster.protocol == UpstreamProtocol::Http2;
    let mut stream = connect::plain(cluster, address, Some(client)).await?;
    if let Some(tls) = &cluster.tls {
        // As for bytes: a route without a Host knows no name to expect.
        let tls = if http2 { &offering_http2(tls) } else { &**tls };
        stream = connect::secure((tls, Purpose::Bytes), stream, address, None).await?.stream;
    }
    let local = stream.local_address();
    let (body, sink) = match http2 {
        true => over_h2(tunnel, stream, cluster.tls.is_some()).await?,
        false => over_h1(tunnel, stream).await?,
    };
    Ok(Stream::Tunnel(Box::new(Tunnelled { body, sink, piece: Bytes::new(), ended: false, local })))
}

/// TLS for bytes that offers HTTP/2 all the same.
fn offering_http2(tls: &UpstreamTls) -> UpstreamTls {
    let mut opaque = (*tls.opaque).clone();
    opaque.alpn_protocols = vec![b"h2".to_vec()];
    UpstreamTls { opaque: Arc::new(opaque), ..tls.clone() }
}

async fn over_h1(tunnel: &Tunnel, stream: Stream) -> Result<(Body, Sink), UpstreamError> {
    let (mut reader, mut writer) = split(stream, BytesMut::new());
    let authority = &tunnel.authority;
    let head = match tunnel.method {
        TunnelMethod::Connect => format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n"),
        TunnelMethod::Post => {
            format!("POST / HTTP/1.1\r\nhost: {authority}\r\ntransfer-encoding: chunked\r\n\r\n")
        }
    };
    writer.put(head.into());
    writer.flush().await.map_err(|error| failed(&error))?;
    let answer = answer(&mut reader).await?;
    accept(answer.status)?;
    let (up, down) = match tunnel.method {
        // Whatever its fields say, a tunnel begins behind the head (RFC 9110 §9.3.6).
        TunnelMethod::Connect => (Framing::UntilClose, Framing::UntilClose),
        TunnelMethod::Post => {
            let down = head::response_framing(&answer, false).map_err(|error| failed(&error))?;
            (Framing::Chunked, down)
        }
    };
    let body = Body::H1 { reader, decoder: Decoder::new(down) };
    Ok((body, Sink::H1 { writer, body: BodyWriter::new(up, false) }))
}

/// The final answer's head.
async fn answer(reader: &mut Reader) -> Result<ResponseHead, UpstreamError> {
    let mut scan = Scan::default();
    let mut interim = 0;
    loop {
        if let Some(end) = scan.end(&reader.buffer).map_err(|error| failed(&error))? {
            let head = head::response(&reader.buffer.split_to(end)).map_err(|error| failed(&error))?;
            if !(100..200).contains(&head.status) {
                return Ok(head);
            }
            interim += 1;
            if interim > MAX_INTERIM || head.status == 101 {
                return Err(refused(head.status));
            }
            scan = Scan::default();
            continue;
        }
        match reader.fill().await {
            Ok(0) => return Err(UpstreamError::Connect("the proxy closed the connection".into())),
            Ok(_) => {}
            Err(error) => return Err(failed(&error)),
        }
    }
}

async fn over_h2(tunnel: &Tunnel, stream: Stream, tls: bool) -> Result<(Body, Sink), UpstreamError> {
    let (mut sender, connection) = ::h2::client::handshake(stream).await.map_err(|error| failed(&error))?;
    // It ends with its only stream, when the last handle on it is gone.
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a tunnel's connection failed");
        }
    });
    poll_fn(|cx| sender.poll_ready(cx)).await.map_err(|error| failed(&error))?;
    let (response, stream) =
        sender.send_request(request(tunnel, tls)?, false).map_err(|error| failed(&error))?;
    let response = response.await.map_err(|error| failed(&error))?;
    accept(response.status().as_u16())?;
    let body = Body::H2 { stream: response.into_body(), credit: 0 };
    Ok((body, Sink::H2(H2Sink::new(stream, false))))
}

fn request(tunnel: &Tunnel, tls: bool) -> Result<::http::Request<()>, UpstreamError> {
    let uri = ::http::Uri::builder().authority(&*tunnel.authority);
    let (method, uri) = match tunnel.method {
        TunnelMethod::Connect => (::http::Method::CONNECT, uri),
        TunnelMethod::Post => {
            let scheme = if tls { "https" } else { "http" };
            (::http::Method::POST, uri.scheme(scheme).path_and_query("/"))
        }
    };
    let mut request = ::http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri.build().map_err(|error| failed(&error))?;
    Ok(request)
}

fn accept(status: u16) -> Result<(), UpstreamError> {
    if (200..300).contains(&status) { Ok(()) } else { Err(refused(status)) }
}

fn refused(status: u16) -> UpstreamError {
    UpstreamError::Connect(format!("the proxy answered {status}").into())
}

fn failed(error: &impl std::fmt::Display) -> UpstreamError {
    UpstreamError::Connect(format!("tunnel: {error}").into())
}

impl AsyncRead for Tunnelled {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.piece.is_empty() {
            match ready!(this.body.poll_frame(cx)) {
                Some(Ok(Frame::Data(piece))) => this.piece = piece,
                Some(Ok(Frame::Trailers(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let length = this.piece.len().min(buffer.remaining());
        buffer.put_slice(&this.piece.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnelled {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sink = &mut self.get_mut().sink;
        ready!(sink.poll_ready(cx))?;
        sink.data(Bytes::copy_from_slice(bytes), false)?;
        // What is not taken at once waits in the sink, which then is not ready for more.
        match sink.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().sink.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ended {
            // What waits has its place before the end.
            ready!(this.sink.poll_flush(cx))?;
            this.sink.finish(None)?;
            this.ended = true;
        }
        ready!(this.sink.poll_flush(cx))?;
        match &mut this.sink {
            // Without framing, the end of the bytes is that of the connection's.
            Sink::H1 { writer, body } if !body.is_complete() => writer.poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}
