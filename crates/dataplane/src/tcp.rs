//! Connections whose bytes are carried without being understood: TCP, TLS by its server name,
//! PostgreSQL.
//!
//! ```text
//!   draw a destination ─ pick an endpoint ─ connect (PostgreSQL: SSLRequest; TLS origination) ─ pump
//! ```
//!
//! Each step that fails closes the client's connection, in words it understands where it speaks
//! PostgreSQL, and leaves its flag in the one log line that [`Ending`] writes.

mod dial;
mod ending;
pub(crate) mod farewell;
pub(crate) mod pump;
pub(crate) mod tunnel;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use portcullis_snapshot::listener::TcpRoute;
use portcullis_telemetry::Flag;
use tokio::time::Instant;

pub(crate) use ending::Ending;

use crate::connection::{Connection, Serving};
use crate::postgres::session;
use crate::stream::Stream;
use crate::tls::alert::Alert;
use crate::tls::handshake::POSTGRESQL;
use dial::{DialError, Dialled};
use ending::REPORT_INTERVAL;
use pump::{End, Pump};

/// What is carried, as far as it changes how the upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Anything.
    Bytes,
    /// PostgreSQL in TLS that the client began without asking.
    PostgresDirect,
    /// PostgreSQL in TLS that the client asked for: the server is asked, too, before its ClientHello goes on.
    PostgresTls,
    /// PostgreSQL in clear: its TLS ended here, or it never had any.
    PostgresClear,
}

/// A way for a connection's bytes.
pub(crate) struct Way {
    pub(crate) route: Arc<TcpRoute>,
    pub(crate) payload: Payload,
    /// Server name of TLS that is not ended here; else the connection knows it.
    pub(crate) passed_name: Option<Arc<str>>,
}

/// The way of a connection whose TLS, if it had any, ended here.
pub(crate) fn way(connection: &Connection, route: Arc<TcpRoute>) -> Way {
    let alpn = connection.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
    let payload = if alpn == Some(POSTGRESQL) { Payload::PostgresClear } else { Payload::Bytes };
    Way { route, payload, passed_name: None }
}

/// Closes a connection of a chain that leads nowhere.
pub(crate) fn no_route(connection: &Connection) {
    let chain = connection.scope().chain;
    let mut ending = Ending::of(connection);
    ending
        .flag(Flag::NoRouteFound)
        .blame(Some(&chain.origin), "no route of this server takes the connection");
}

/// Carries a connection's bytes to the end, whichever side or limit brings it.
///
/// Dropping the future closes both sides; the log line is written all the same.
pub(crate) fn carrying(connection: Connection, way: Way, stream: Stream, ahead: BytesMut) -> Serving {
    Box::pin(async move { carry(&connection, way, stream, ahead).await })
}

async fn carry(connection: &Connection, way: Way, mut stream: Stream, ahead: BytesMut) {
    let mut ending = Ending::of(connection);
    if way.passed_name.is_some() {
        ending.record.sni.clone_from(&way.passed_name);
    }
    let dialled = tokio::select! {
        dialled = Box::pin(dial::dial(connection, &way, &mut ending)) => dialled,
        () = connection.worker.drain.closed() => return ending.closed_because(SHUTDOWN),
    };
    match dialled {
        Ok(dialled) => {
            ending.opened();
            pump(connection, &way, dialled, ending, (stream, ahead)).await;
        }
        Err(error) => {
            ending.failed(&error, &way.route.origin.object);
            drop(ending);
            Box::pin(farewell::say(&mut stream, &last_words(way.payload, &error))).await;
        }
    }
}

/// What a client is told whose upstream cannot be had; nothing where its protocol is not known.
fn last_words(payload: Payload, error: &DialError) -> Vec<u8> {
    match payload {
        Payload::Bytes => Vec::new(),
        Payload::PostgresClear => session::NO_SERVER.encode(),
        Payload::PostgresDirect | Payload::PostgresTls => {
            let alert = match error {
                DialError::Refused(session::Refusal::NoTls) => Alert::HandshakeFailure,
                _ => Alert::InternalError,
            };
            alert.record().to_vec()
        }
    }
}

/// Moves bytes until an end, counting them every five seconds.
async fn pump(
    connection: &Connection,
    way: &Way,
    dialled: Dialled,
    mut ending: Ending,
    (stream, ahead): (Stream, BytesMut),
) {
    let mut pump = Pump::new(stream, dialled.stream, ahead);
    let expiry = way.route.max_duration.map(|limit| Instant::now() + limit);
    let mut report_at = None;
    loop {
        let idle_at = way.route.idle_timeout.map(|limit| pump.active + limit);
        let wake = [idle_at, expiry, report_at].into_iter().flatten().min();
        let counted = report_at.is_some();
        let moves = poll_fn(|cx| {
            match pump.poll(cx, &mut ending.meter) {
                Poll::Ready(end) => Poll::Ready(Some(end)),
                // Bytes that no counter knows of start the clock of the next report, once.
                Poll::Pending if !counted && ending.unreported() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        tokio::select! {
            biased;
            end = moves => match end {
                Some(end) => return conclude(&mut ending, pump.blame(end, FAREWELL).await),
                None => report_at = Some(Instant::now() + REPORT_INTERVAL),
            },
            () = sleep_until(wake) => {
                let now = Instant::now();
                if report_at.is_some_and(|at| at <= now) {
                    ending.report();
                    report_at = None;
                }
                if expiry.is_some_and(|at| at <= now) {
                    ending.flag(Flag::DurationTimeout);
                    return ending.closed_because(MAX_DURATION);
                }
                if way.route.idle_timeout.is_some_and(|limit| pump.active + limit <= now) {
                    return ending.closed_because(IDLE);
                }
            }
            () = connection.worker.drain.closed() => return ending.closed_because(SHUTDOWN),
        }
    }
}

/// Flags a connection that one side broke off.
fn conclude(ending: &mut Ending, end: End) {
    match end {
        End::Finished => {}
        End::Client => {
            ending.flag(Flag::DownstreamConnectionTermination);
        }
        End::Upstream(error) => {
            ending.flag(Flag::UpstreamConnectionTermination);
            ending.record.upstream_transport_failure_reason = Some(error.to_string().into());
        }
    }
}

/// How long a client whose upstream has reset the connection may take to say that it was done itself. A
/// server that is told goodbye often resets before the client has closed; blaming it would be wrong, and a
/// client that stays learns of the loss only this much later.
const FAREWELL: Duration = Duration::from_millis(100);

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

// As Envoy words why it closed a connection.
const IDLE: &str = "tcp_session_idle_timeout";
const MAX_DURATION: &str = "max_connection_duration_reached";
const SHUTDOWN: &str = "gateway_shutdown";
