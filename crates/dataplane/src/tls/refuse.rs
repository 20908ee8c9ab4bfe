//! Connections that no chain takes: the client is told in its own protocol, the log why.
//!
//! Istio's gateway closes without a word where no chain matches; an alert says the same and lets the
//! client's user see the cause.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use portcullis_snapshot::{FilterChain, Listener};
use portcullis_telemetry::metrics::DropReason;
use portcullis_telemetry::{Details, Flag};
use tokio::net::TcpStream;

use super::Hello;
use super::alert::Alert;
use super::client_hello::{ClientHello, ServerName};
use super::first::Failure;
use crate::connection::Accepted;
use crate::tcp::{Ending, farewell};

/// Host names of a port that a log line shows at most.
const MAX_HOSTS_SHOWN: usize = 8;

/// A client whose first bytes make no sense.
pub(super) async fn first(accepted: Accepted, mut stream: TcpStream, failure: &Failure) {
    if let Failure::Gone(0) = failure {
        return;
    }
    let mut ending = Ending::unsorted(&accepted);
    ending.blame(None, failure.to_string());
    let mut words = None;
    match failure {
        Failure::Gone(_) | Failure::Broken(_) => {
            ending.flag(Flag::DownstreamConnectionTermination);
            ending.record.details = Some(Details::DOWNSTREAM_REMOTE_DISCONNECT);
        }
        Failure::Hello(reason) => {
            words = reason.alert().map(|number| Alert::Other(number).record());
            ending.flag(Flag::NoRouteFound).count(DropReason::ClientHelloRefused);
        }
        Failure::Stuffed => {
            ending.flag(Flag::NoRouteFound).count(DropReason::PostgresStuffed);
        }
        Failure::Unexpected(_) => {
            ending.flag(Flag::NoRouteFound).count(DropReason::PostgresRefused);
        }
    }
    drop(ending);
    farewell::say(&mut stream, words.as_ref().map_or(&[], |words| &words[..])).await;
}

/// A client that did not say what it wants in time, after `received` bytes.
pub(super) async fn late(accepted: Accepted, mut stream: TcpStream, received: usize) {
    let mut ending = Ending::unsorted(&accepted);
    let limit = accepted.worker.config.limits.peek_timeout;
    ending.blame(
        None,
        format!("no complete ClientHello or PostgreSQL packet within {limit:?}, only {received} bytes"),
    );
    ending.count(DropReason::PrefaceTimeout).closed_because("listener_filter_timeout");
    drop(ending);
    farewell::say(&mut stream, &[]).await;
}

/// No chain has the name that the client asked for.
pub(super) async fn name(accepted: Accepted, mut client: Hello) {
    let mut ending = Ending::unsorted(&accepted);
    ending.record.sni = client.hello.server_name().map(Arc::from);
    ending.no_chain(unknown_name(&client.hello, &accepted.listener));
    ending.count(DropReason::NoFilterChain);
    drop(ending);
    farewell::say(&mut client.stream, &Alert::UnrecognizedName.record()).await;
}

/// What was asked for, and which hosts there are.
fn unknown_name(hello: &ClientHello, listener: &Listener) -> String {
    let asked = match &hello.server_name {
        ServerName::Dns(_) => "no server has this host name",
        ServerName::Absent => "no server takes connections without a server name (SNI)",
        ServerName::IpLiteral => "no server takes connections whose server name is an IP address",
    };
    format!("{asked}; hosts of port {}: {}", listener.port, hosts(listener))
}

/// The hosts of a port's TLS chains: sorted when all are shown, else some of them.
fn hosts(listener: &Listener) -> String {
    let mut shown: Vec<String> = listener.tls.patterns().take(MAX_HOSTS_SHOWN).collect();
    shown.sort_unstable();
    let mut text = shown.join(" ");
    let more = listener.tls.len() - shown.len();
    match (shown.len(), more) {
        (0, _) => text.push_str("none"),
        (_, 0) => {}
        (_, more) => write!(text, " and {more} more").expect("a string takes all"),
    }
    text
}

/// Neither TLS nor PostgreSQL, and nothing else is served here.
pub(super) async fn plaintext(accepted: Accepted, mut stream: TcpStream, words: &[u8], why: &'static str) {
    let mut ending = Ending::unsorted(&accepted);
    ending.no_chain(why);
    ending.count(if words.is_empty() { DropReason::NoFilterChain } else { DropReason::PostgresNoRoute });
    drop(ending);
    farewell::say(&mut stream, words).await;
}

/// The chain of this name cannot serve the client.
pub(super) async fn chain(
    accepted: Accepted,
    mut client: Hello,
    chain: &FilterChain,
    (count, alert, why): (DropReason, Alert, String),
) {
    let mut ending = Ending::unsorted(&accepted);
    ending.record.sni = client.hello.server_name().map(Arc::from);
    ending.flag(Flag::NoRouteFound).blame(Some(&chain.origin), why).count(count);
    drop(ending);
    farewell::say(&mut client.stream, &alert.record()).await;
}

/// The handshake failed; the client has had its alert.
pub(super) async fn handshake(
    accepted: Accepted,
    mut stream: TcpStream,
    chain: &FilterChain,
    hello: &ClientHello,
    error: &io::Error,
) {
    let mut ending = handshake_ending(&accepted, chain, hello, format!("TLS handshake failed: {error}"));
    let left = matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    );
    ending.flag(if left { Flag::DownstreamConnectionTermination } else { Flag::NoRouteFound });
    ending.count(DropReason::HandshakeFailed);
    drop(ending);
    farewell::say(&mut stream, &[]).await;
}

/// The handshake did not end in time; dropping its future has closed the connection.
pub(super) fn slow_handshake(accepted: &Accepted, chain: &FilterChain, hello: &ClientHello) {
    let limit = accepted.worker.config.limits.handshake_timeout;
    let why = format!("TLS handshake not finished within {limit:?}");
    let mut ending = handshake_ending(accepted, chain, hello, why);
    ending.flag(Flag::NoRouteFound).count(DropReason::HandshakeTimeout);
    ending.closed_because("transport_socket_timeout");
}

fn handshake_ending(accepted: &Accepted, chain: &FilterChain, hello: &ClientHello, why: String) -> Ending {
    let mut ending = Ending::unsorted(accepted);
    ending.record.sni = hello.server_name().map(Arc::from);
    ending.blame(Some(&chain.origin), why);
    ending
}
