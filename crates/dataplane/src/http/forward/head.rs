//! Waiting for a response head, in either version.

use std::future::Future as _;
use std::task::{Context, Poll, ready};

use ::h2::client::ResponseFuture;
use bytes::Buf as _;
use portcullis_snapshot::Headers;

use super::wire::h2_error;
use crate::error::UpstreamError;
use crate::http::body::Body;
use crate::http::h1::head::{self, ResponseHead, Scan};
use crate::http::h1::io::Reader;
use crate::http::h2::convert;
use crate::http::message::Response;

/// Where a response head comes from.
pub(super) enum HeadSource {
    /// An HTTP/1 connection.
    H1 {
        /// Gives its bytes.
        reader: Box<Reader>,
        /// Looks for the end.
        scan: Scan,
        /// Whether nothing of a response has come yet.
        fresh: bool,
        /// Whether the connection was reset rather than ended.
        reset: bool,
        /// Whether header names go on as the upstream writes them.
        keeps_case: bool,
    },
    /// An HTTP/2 stream.
    H2(Box<ResponseFuture>),
}

/// A response head as its version gives it.
pub(super) enum Head {
    /// Informational (1xx, but not 101): others follow.
    Interim(u16, Headers),
    /// Its body follows on the same connection.
    H1(ResponseHead),
    /// With its body.
    H2(Response, Body),
}

impl HeadSource {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, UpstreamError>> {
        match self {
            Self::H1 { reader, scan, fresh, reset, keeps_case } => {
                let head = ready!(poll_h1(reader, scan, (fresh, reset, *keeps_case), cx))?;
                Poll::Ready(Ok(if (100..200).contains(&head.status) && head.status != 101 {
                    *scan = Scan::default();
                    interim(head.status, head.headers)
                } else {
                    Head::H1(head)
                }))
            }
            Self::H2(response) => poll_h2(response, cx),
        }
    }
}

/// An informational head without what frames a body or concerns the connection: it has none (RFC 9110 §8.6, §15.2), and
/// a client that believed it would wait for one.
fn interim(status: u16, mut headers: Headers) -> Head {
    headers.retain(|field| field.name != b"content-length" && !convert::is_connection_specific(field.name));
    Head::Interim(status, headers)
}

fn poll_h2(response: &mut ResponseFuture, cx: &mut Context<'_>) -> Poll<Result<Head, UpstreamError>> {
    // Its errors are those of the response, which tells them again.
    if let Poll::Ready(Some(Ok(head))) = response.poll_informational(cx) {
        let (parts, ()) = head.into_parts();
        // HTTP/2 switches no protocols (RFC 9113 §8.6), and the client has not asked.
        if parts.status == ::http::StatusCode::SWITCHING_PROTOCOLS {
            return Poll::Ready(Err(UpstreamError::Protocol));
        }
        return Poll::Ready(Ok(interim(parts.status.as_u16(), convert::headers(&parts.headers))));
    }
    Poll::Ready(match ready!(std::pin::Pin::new(response).poll(cx)) {
        Ok(response) => {
            let (parts, stream) = response.into_parts();
            let headers = convert::headers(&parts.headers);
            // It goes on into HTTP/1 as it is: two lengths there, or one that is no number, would end in two places.
            if head::content_length(&headers).is_err() {
                return Poll::Ready(Err(UpstreamError::Protocol));
            }
            let content = if stream.is_end_stream() { Body::Empty } else { Body::H2 { stream, credit: 0 } };
            Ok(Head::H2(Response { status: parts.status.as_u16(), headers }, content))
        }
        Err(error) => Err(h2_error(&error)),
    })
}

fn poll_h1(
    reader: &mut Reader,
    scan: &mut Scan,
    (fresh, reset, keeps_case): (&mut bool, &mut bool, bool),
    cx: &mut Context<'_>,
) -> Poll<Result<ResponseHead, UpstreamError>> {
    loop {
        *fresh &= reader.buffer.is_empty();
        match scan.end(&reader.buffer) {
            Ok(Some(end)) => {
                let text = &reader.buffer[..end];
                let spellings = keeps_case.then(|| head::spellings(text));
                let head = head::response(text).map_err(|_| UpstreamError::Protocol);
                reader.buffer.advance(end);
                let mut head = head?;
                if let Some(spellings) = spellings {
                    head.headers.spell_as(spellings);
                }
                return Poll::Ready(Ok(head));
            }
            Ok(None) if begins_a_head(&reader.buffer) => {}
            Ok(None) | Err(_) => return Poll::Ready(Err(UpstreamError::Protocol)),
        }
        match ready!(reader.poll_fill(cx)) {
            Ok(1..) => {}
            ended => {
                *reset = ended.is_err();
                return Poll::Ready(Err(UpstreamError::Terminated));
            }
        }
    }
}

/// Whether a head of HTTP/1 may begin so: an upstream that speaks HTTP/2 alone is known by its first byte, and may send
/// no line ever.
fn begins_a_head(buffer: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/1.";
    let seen = buffer.len().min(START.len());
    buffer[..seen] == START[..seen]
}
