//! What a client sends first, on a port where that decides what happens to it.
//!
//! ```text
//!   read ──┬─ ClientHello ─────────────────────────────────▶ Tls
//!          ├─ GSSENCRequest ─ `N` ─┐ (once)
//!          │   ◀───────────────────┘
//!          ├─ SSLRequest ─ `S` ─ ClientHello, nothing else ─▶ Tls, asked for
//!          ├─ CancelRequest ───────────────────────────────▶ Cancel
//!          ├─ StartupMessage ──────────────────────────────▶ Startup
//!          └─ anything else ───────────────────────────────▶ Other
//! ```
//!
//! Nothing is consumed but the requests that were answered: the caller finds the rest in its buffer.
//! The buffer is bounded by what the two parsers accept before they decide; time is the caller's.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::client_hello::{self, ClientHello};
use crate::postgres::messages::{ENCRYPTION_REFUSED, SSL_ACCEPTED};
use crate::postgres::preface::{self, CancelRequest, Startup};

/// Room for one read: a ClientHello with post-quantum key shares, and more.
const READ_SIZE: usize = 4 * 1024;

/// Whether a PostgreSQL client that asks for TLS may be told yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Postgres {
    /// Some chain of this port carries bytes inside TLS.
    Served,
    /// None does: the question is handed to the caller unanswered.
    NotServed,
}

/// What a client sent first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// A complete ClientHello.
    Tls(Box<ClientHello>, Negotiation),
    /// A PostgreSQL client asks for encryption where it is not served.
    Question,
    /// A PostgreSQL client wants a query stopped.
    Cancel(CancelRequest),
    /// A PostgreSQL client begins a session in clear.
    Startup(Startup),
    /// Something else.
    Other,
}

/// How TLS came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Negotiation {
    /// The client began with it.
    Direct,
    /// A PostgreSQL client asked for it and was answered `S`.
    Asked,
}

/// Why a connection ends before anything is known of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The client left.
    #[error("the client left after {0} bytes")]
    Gone(usize),
    /// The client's connection broke.
    #[error("the client's connection broke: {0}")]
    Broken(#[from] io::Error),
    /// The ClientHello is refused.
    #[error("{0}")]
    Hello(client_hello::Reason),
    /// Bytes behind a request whose answer the client must wait for (CVE-2021-23222).
    #[error("bytes behind an encryption request of PostgreSQL")]
    Stuffed,
    /// No TLS after `S`, or no PostgreSQL after `N`.
    #[error("no {0} after the answer to an encryption request")]
    Unexpected(&'static str),
}

/// Reads until it is clear what the client wants. `buffer` holds what arrived and was not answered; what is in it
/// already comes first.
///
/// Dropping the future leaves in `buffer` what had arrived.
///
/// # Errors
/// See [`Failure`].
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buffer: &mut BytesMut,
    postgres: Postgres,
) -> Result<First, Failure> {
    let mut refused_gss = false;
    let mut unread = !buffer.is_empty();
    loop {
        if !std::mem::take(&mut unread) {
            fill(stream, buffer).await?;
        }
        match preface::parse(buffer) {
            preface::Outcome::NeedMore => {}
            preface::Outcome::Tls => return hello(stream, buffer, Negotiation::Direct).await,
            preface::Outcome::SslRequest | preface::Outcome::GssEncRequest
                if postgres == Postgres::NotServed =>
            {
                return Ok(First::Question);
            }
            preface::Outcome::SslRequest => {
                answer(stream, buffer, SSL_ACCEPTED).await?;
                fill(stream, buffer).await?;
                return hello(stream, buffer, Negotiation::Asked).await;
            }
            preface::Outcome::GssEncRequest if !refused_gss => {
                answer(stream, buffer, ENCRYPTION_REFUSED).await?;
                refused_gss = true;
            }
            preface::Outcome::Cancel(cancel) => return Ok(First::Cancel(cancel)),
            preface::Outcome::Startup(startup) => return Ok(First::Startup(startup)),
            preface::Outcome::GssEncRequest => return Err(Failure::Unexpected("PostgreSQL session")),
            preface::Outcome::NotPostgres if refused_gss => return Err(Failure::Unexpected("PostgreSQL")),
            preface::Outcome::NotPostgres => return Ok(First::Other),
        }
    }
}

/// Answers the request that `buffer` holds, unless something stands behind it.
async fn answer(
    stream: &mut (impl AsyncWrite + Unpin),
    buffer: &mut BytesMut,
    answer: u8,
) -> Result<(), Failure> {
    if buffer.len() > preface::parse(buffer).len() {
        return Err(Failure::Stuffed);
    }
    buffer.clear();
    Ok(stream.write_all(&[answer]).await?)
}

async fn hello(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    negotiation: Negotiation,
) -> Result<First, Failure> {
    let mut parser = client_hello::Parser::default();
    loop {
        match parser.advance(buffer) {
            client_hello::Outcome::Hello(hello) => return Ok(First::Tls(Box::new(hello), negotiation)),
            client_hello::Outcome::Refused(client_hello::Reason::NotTls) => {
                return Err(Failure::Unexpected("ClientHello"));
            }
            client_hello::Outcome::Refused(reason) => return Err(Failure::Hello(reason)),
            client_hello::Outcome::NeedMore => fill(stream, buffer).await?,
        }
    }
}

/// Waits for more bytes.
async fn fill(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Result<(), Failure> {
    buffer.reserve(READ_SIZE);
    match stream.read_buf(buffer).await? {
        0 => Err(Failure::Gone(buffer.len())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
