//! Heads of requests and responses in the form the gateway works with, whatever the version.

use std::io;

use ::h2::server::SendResponse;
use bytes::Bytes;
use portcullis_snapshot::Headers;

use crate::http::body::{H2Sink, Sink};
use crate::http::h1;
use crate::http::h1::head::Version;
use crate::http::h2::convert;
use crate::http::h2::frames::Counted;

/// A request head. Method, target and authority are ASCII: the codecs have checked them.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Bytes,
    /// Origin form: path and query. `*` and authority form are refused before.
    pub(crate) target: Bytes,
    pub(crate) authority: Bytes,
    /// `:scheme`, where the client says one: `http` or `https`. Only matching and redirects go by it.
    pub(crate) scheme: Option<&'static str>,
    pub(crate) version: Version,
    pub(crate) headers: Headers,
    /// `user-agent` as the client sent it.
    pub(crate) user_agent: Option<Bytes>,
    /// Whether a body follows.
    pub(crate) has_body: bool,
    /// Bytes of the head on the wire.
    pub(crate) wire: usize,
    /// The protocol an `Upgrade` asks for.
    pub(crate) upgrade: Option<Bytes>,
    /// Where its bytes are counted on their way in (HTTP/2).
    pub(crate) counted: Option<Counted>,
}

impl Request {
    pub(crate) fn is_head(&self) -> bool {
        &self.method[..] == b"HEAD"
    }

    /// Whether the content type is gRPC (telemetry.md: exactly, or with a subtype).
    pub(crate) fn is_grpc(&self) -> bool {
        self.headers.first("content-type").is_some_and(|value| {
            value
                .strip_prefix(b"application/grpc")
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'+' || rest[0] == b';')
        })
    }
}

/// A response head.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
}

impl Response {
    /// As Envoy has made it when header values are written, where it is an answer of the gateway's own: its status, and
    /// where it leads to.
    pub(crate) fn bare(&self) -> Self {
        let mut headers = Headers::default();
        if let Some(location) = self.headers.first("location") {
            headers.append("location", location);
        }
        Self { status: self.status, headers }
    }
}

/// What follows a response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// Nothing.
    Nothing,
    /// Content; its length is in `content-length` if it is known.
    Body,
}

/// ASCII bytes as text; anything else is the empty text, which matches nothing.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("")
}

/// Where the response of one request goes.
pub(crate) enum Responder {
    /// An HTTP/1 connection.
    H1(h1::server::Responder),
    /// An HTTP/2 stream.
    H2(SendResponse<Bytes>),
}

impl Responder {
    /// Takes a 1xx response ahead of the final one; [`poll_flush`](Self::poll_flush) sends it.
    ///
    /// # Errors
    /// The connection's.
    pub(crate) fn informational(&mut self, status: u16, headers: &Headers) -> io::Result<()> {
        match self {
            Self::H1(responder) => {
                responder.informational(status, headers);
                Ok(())
            }
            Self::H2(stream) => {
                let response = h2_head(status, headers)?;
                stream.send_informational(response).map_err(io::Error::other)
            }
        }
    }

    /// Hands the 1xx responses taken so far to the connection; HTTP/2 does so by itself.
    ///
    /// # Errors
    /// The connection's.
    pub(crate) fn poll_flush(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        match self {
            Self::H1(responder) => responder.poll_flush(cx),
            Self::H2(_) => std::task::Poll::Ready(Ok(())),
        }
    }

    /// Starts the final response; the sink takes its body. HTTP/1 heads wait in the sink's buffer,
    /// so that a short body goes out in the same segment.
    ///
    /// # Errors
    /// The connection's.
    pub(crate) fn start(self, response: &Response, follows: Follows) -> io::Result<Sink> {
        match self {
            Self::H1(responder) => Ok(responder.start(response, follows)),
            Self::H2(mut stream) => {
                let ended = follows == Follows::Nothing;
                let head = h2_head(response.status, &response.headers)?;
                let stream = stream.send_response(head, ended).map_err(io::Error::other)?;
                Ok(Sink::H2(H2Sink::new(stream, ended)))
            }
        }
    }

    /// Ready when the client has given up waiting (HTTP/2 only; HTTP/1 shows it in the body).
    pub(crate) fn poll_reset(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        match self {
            Self::H1(_) => std::task::Poll::Pending,
            Self::H2(stream) => stream.poll_reset(cx).map(|_| ()),
        }
    }
}

fn h2_head(status: u16, headers: &Headers) -> io::Result<::http::Response<()>> {
    let mut response = ::http::Response::new(());
    *response.status_mut() = ::http::StatusCode::from_u16(status).map_err(io::Error::other)?;
    *response.headers_mut() = convert::header_map(headers);
    Ok(response)
}
