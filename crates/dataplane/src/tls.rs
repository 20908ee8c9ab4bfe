//! Ports with TLS: what a client asks for decides who answers it.
//!
//! ```text
//!   first bytes ─┬─ ClientHello ─ chain by server name ─┬─ passed through ─▶ tcp::carry
//!                │   (perhaps asked for by PostgreSQL)  ├─ ended here ──┬──▶ connection::run
//!                │                                      │               └──▶ tcp::carry (PostgreSQL)
//!                │                                      └─ none ─ alert `unrecognized_name`
//!                └─ anything else ─ see [`clear`]
//! ```
//!
//! Each state has a time limit and ends with the worker; each end leaves one log line, except that of a
//! client that said nothing: load balancers knock like that to see whether a port is open.

pub(crate) mod alert;
mod clear;
pub mod client_hello;
mod first;
pub(crate) mod handshake;
mod refuse;

use std::sync::Arc;

use bytes::BytesMut;
use portcullis_snapshot::FilterChain;
use portcullis_snapshot::listener::{ChainService, ChainTls};
use portcullis_snapshot::tls::ServerTls;
use portcullis_telemetry::metrics::DropReason;
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use crate::connection::{self, Accepted, Serving, TlsSession};
use crate::stream::Stream;
use crate::tcp::{self, Payload, Way};
use alert::Alert;
use client_hello::ClientHello;
use first::{Failure, First, Negotiation, Postgres};
use handshake::{Inside, POSTGRESQL};

/// Sorts a connection into its chain by what the client sends first; what serves it then, if anything does.
///
/// Begins with what is in `ahead`. Dropping the future closes the connection.
pub(crate) async fn sort(accepted: Accepted, mut stream: TcpStream, mut ahead: BytesMut) -> Option<Serving> {
    let postgres = if accepted.listener.carries_bytes { Postgres::Served } else { Postgres::NotServed };
    let deadline = accepted.started_at + accepted.worker.config.limits.peek_timeout;
    let reading = timeout_at(deadline, first::read(&mut stream, &mut ahead, postgres));
    let first = tokio::select! {
        first = reading => first,
        () = accepted.worker.drain.closed() => return None,
    };
    match first {
        Ok(Ok(First::Tls(hello, negotiation))) => {
            by_name(accepted, Hello { stream, ahead, hello, negotiation }).await
        }
        Ok(Ok(other)) => clear::serve(accepted, stream, ahead, other).await,
        // A client of the plain chain may have stopped after bytes that only began like another protocol.
        Ok(Err(Failure::Gone(_))) | Err(_) if clear::may_go_on(&accepted.listener, &ahead) => {
            clear::serve(accepted, stream, ahead, First::Other).await
        }
        Ok(Err(failure)) => {
            refuse::first(accepted, stream, &failure).await;
            None
        }
        Err(_) => {
            refuse::late(accepted, stream, ahead.len()).await;
            None
        }
    }
}

/// A client's hello, read and not answered.
struct Hello {
    stream: TcpStream,
    /// The bytes read: the hello, and perhaps early data.
    ahead: BytesMut,
    hello: Box<ClientHello>,
    negotiation: Negotiation,
}

impl Hello {
    fn is_postgres(&self) -> bool {
        self.negotiation == Negotiation::Asked || self.hello.offers_alpn(POSTGRESQL)
    }
}

/// Chooses the chain: exact name, longest wildcard, any (routing as Envoy's filter chain match).
async fn by_name(accepted: Accepted, client: Hello) -> Option<Serving> {
    let chains = &accepted.listener.tls;
    let chain = match client.hello.server_name() {
        Some(name) => chains.find(name),
        None => chains.any(),
    };
    let Some(chain) = chain.cloned() else {
        refuse::name(accepted, client).await;
        return None;
    };
    let told = match (&chain.tls, &chain.service) {
        (ChainTls::Unavailable { reason }, _) => {
            (DropReason::CertificateUnavailable, Alert::InternalError, reason.to_string())
        }
        (_, ChainService::Http(_)) if client.negotiation == Negotiation::Asked => {
            let why = "this server takes HTTP, not PostgreSQL".to_owned();
            (DropReason::PostgresNoRoute, Alert::NoApplicationProtocol, why)
        }
        (ChainTls::None, _) => return pass_through(accepted, client, &chain),
        (ChainTls::Terminate(tls), _) => {
            let tls = Arc::clone(tls);
            return terminate(accepted, client, chain, tls).await;
        }
    };
    refuse::chain(accepted, client, &chain, told).await;
    None
}

/// Sends the hello on as it came: the server behind ends TLS.
fn pass_through(accepted: Accepted, client: Hello, chain: &Arc<FilterChain>) -> Option<Serving> {
    let payload = match client.negotiation {
        Negotiation::Asked => Payload::PostgresTls,
        Negotiation::Direct if client.is_postgres() => Payload::PostgresDirect,
        Negotiation::Direct => Payload::Bytes,
    };
    let passed_name = client.hello.server_name().map(Arc::from);
    let connection = accepted.sorted(Arc::clone(chain), None);
    match &chain.service {
        ChainService::Tcp(route) => {
            let way = Way { route: Arc::clone(route), payload, passed_name };
            Some(tcp::carrying(connection, way, Stream::Tcp(client.stream), client.ahead))
        }
        // HTTP cannot be routed without being decrypted; the compiler makes no such chain.
        ChainService::Http(_) | ChainService::Nothing => {
            tcp::no_route(&connection);
            None
        }
    }
}

/// Ends TLS here, and gives what is inside to the chain's service.
async fn terminate(
    accepted: Accepted,
    client: Hello,
    chain: Arc<FilterChain>,
    tls: Arc<ServerTls>,
) -> Option<Serving> {
    let inside = if matches!(chain.service, ChainService::Http(_)) { Inside::Http } else { Inside::Bytes };
    let asked = client.negotiation == Negotiation::Asked;
    let Hello { stream, ahead, hello, .. } = client;
    let limit = accepted.worker.config.limits.handshake_timeout;
    let handshake = timeout(limit, handshake::accept(&tls, &hello, inside, stream, ahead));
    let outcome = tokio::select! {
        outcome = handshake => outcome,
        () = accepted.worker.drain.closed() => return None,
    };
    match outcome {
        Ok(Ok((stream, session))) => decrypted(accepted, &chain, (Stream::TlsServer(stream), session), asked),
        Ok(Err((error, stream))) => {
            refuse::handshake(accepted, stream, &chain, &hello, &error).await;
            None
        }
        Err(_) => {
            refuse::slow_handshake(&accepted, &chain, &hello);
            None
        }
    }
}

fn decrypted(
    accepted: Accepted,
    chain: &Arc<FilterChain>,
    (stream, session): (Stream, TlsSession),
    asked: bool,
) -> Option<Serving> {
    let connection = accepted.sorted(Arc::clone(chain), Some(session));
    match &chain.service {
        ChainService::Tcp(route) if asked => {
            let way = Way { route: Arc::clone(route), payload: Payload::PostgresClear, passed_name: None };
            Some(tcp::carrying(connection, way, stream, BytesMut::new()))
        }
        _ => connection::service(connection, stream, BytesMut::new()),
    }
}
