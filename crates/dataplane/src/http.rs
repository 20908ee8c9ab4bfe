//! HTTP/1.1 and HTTP/2 as a server: from a connection to exchanges.

pub(crate) mod body;
pub(crate) mod exchange;
pub(crate) mod forward;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod measure;
pub(crate) mod message;
pub(crate) mod pipeline;
pub(crate) mod reply;
pub(crate) mod upgrade;

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use portcullis_telemetry::metrics::DropReason;
use tokio::io::AsyncReadExt as _;

use crate::connection::Connection;
use crate::stream::Stream;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of the preface by which a client of HTTP/2 is known, whatever follows: `PRI * HTTP/2`.
const TELLING: usize = 12;
/// How long a connection that is given up is still read, so that its peer is not cut off in the middle.
const LINGER: Duration = Duration::from_secs(1);
/// Most bytes swallowed meanwhile.
const LINGER_BYTES: usize = 1024 * 1024;

/// Serves HTTP on a connection: the version ALPN chose, or, in plaintext and without ALPN, the one
/// the first bytes show.
pub(crate) async fn serve(connection: Rc<Connection>, mut stream: Stream, mut ahead: BytesMut) {
    match connection.tls.as_ref().and_then(|tls| tls.alpn.as_deref()) {
        Some(b"h2") => return Box::pin(h2::serve(connection, stream, ahead)).await,
        Some(_) => return h1::server::serve(connection, stream, ahead).await,
        None => {}
    }
    if ahead.is_empty() && !first_bytes(&connection, &mut stream, &mut ahead).await {
        return;
    }
    // Only a client that starts like the preface is waited for, no longer than for any other head.
    let limit = connection.bounds().head;
    let looks = async {
        while ahead.len() < PREFACE.len() && PREFACE.starts_with(&ahead) {
            match stream.read_buf(&mut ahead).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return false,
            }
        }
        ahead.starts_with(PREFACE)
    };
    let is_http2 = tokio::select! {
        found = tokio::time::timeout(limit, looks) => found.unwrap_or(false),
        () = connection.worker.drain.closed() => return,
    };
    if is_http2 {
        Box::pin(h2::serve(connection, stream, ahead)).await;
    } else if ahead.starts_with(&PREFACE[..TELLING]) && !PREFACE.starts_with(&ahead) {
        // Whoever began like that would not understand an answer in HTTP/1.
        connection.worker.shard.dropped(DropReason::RequestRefused);
        swallow(&mut stream, &mut ahead).await;
    } else {
        h1::server::serve(connection, stream, ahead).await;
    }
}

/// Reads what a peer still says and forgets it, for a moment.
async fn swallow(stream: &mut Stream, buffer: &mut BytesMut) {
    let reading = async {
        let mut left = LINGER_BYTES;
        while left > 0 {
            buffer.clear();
            match stream.read_buf(buffer).await {
                Ok(count @ 1..) => left = left.saturating_sub(count),
                Ok(0) | Err(_) => return,
            }
        }
    };
    // Running out of time is how this ends.
    let _ = tokio::time::timeout(LINGER, reading).await;
}

/// Waits for what a client says first; false when the connection should end instead.
async fn first_bytes(connection: &Connection, stream: &mut Stream, ahead: &mut BytesMut) -> bool {
    let limit = connection.bounds().wait();
    tokio::select! {
        biased;
        read = tokio::time::timeout(limit, stream.read_buf(ahead)) => matches!(read, Ok(Ok(1..))),
        () = connection.unneeded() => false,
    }
}
