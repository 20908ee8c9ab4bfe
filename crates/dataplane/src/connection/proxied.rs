//! Connections that come through a load balancer: its PROXY protocol header says who the client is.
//!
//! The header is taken off before anything else looks at the connection, so that every protocol has it alike. It has
//! the time that a ClientHello has, in which both must come.

use bytes::{Buf as _, BytesMut};
use portcullis_snapshot::listener::{ChainService, HeaderDemand, ProxyProtocol};
use portcullis_telemetry::Flag;
use portcullis_telemetry::metrics::DropReason;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::Accepted;
use crate::proxy_protocol::{Addresses, Outcome, Reason, parse};
use crate::tcp::{Ending, farewell};

/// Room for one read: a header and the beginning of what follows.
const READ_SIZE: usize = 1024;

/// Why a connection ends before its client is known.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The peer left, or its connection broke.
    #[error("the peer left after {0} bytes of a PROXY header")]
    Gone(usize),
    /// It begins like a header.
    #[error("{0}")]
    Refused(#[from] Reason),
    /// Something else came first.
    #[error("no PROXY header, which this port requires")]
    Absent,
    /// The header did not come in time.
    #[error("no complete PROXY header in time, only {0} bytes")]
    Late(usize),
}

/// Takes the header off the connection and sets its addresses; bytes behind it are left in `ahead`. `None`: the
/// connection has ended, and what is to be said of it has been logged.
///
/// Dropping the future closes the connection.
pub(super) async fn introduce(
    mut accepted: Accepted,
    mut stream: TcpStream,
    ahead: &mut BytesMut,
    expected: &ProxyProtocol,
) -> Option<(Accepted, TcpStream)> {
    if !expected.trusts(accepted.direct.ip()) {
        return Some((accepted, stream));
    }
    let deadline = accepted.started_at + accepted.worker.config.limits.peek_timeout;
    let read = tokio::select! {
        read = timeout_at(deadline, header(&mut stream, ahead, expected.demand)) => read,
        () = accepted.worker.drain.closed() => return None,
    };
    let failure = match read {
        Ok(Ok(Some(addresses))) => {
            accepted.peer = addresses.source;
            accepted.local = addresses.destination;
            return Some((accepted, stream));
        }
        Ok(Ok(None)) => return Some((accepted, stream)),
        // A client that waits for the server's first word sends no header and nothing else.
        Err(_)
            if ahead.is_empty() && expected.demand == HeaderDemand::Optional && speaks_first(&accepted) =>
        {
            return Some((accepted, stream));
        }
        Ok(Err(failure)) => failure,
        Err(_) => Failure::Late(ahead.len()),
    };
    refuse(&accepted, &failure);
    farewell::say(&mut stream, &[]).await;
    None
}

/// Whether the service behind may be the one that speaks first.
fn speaks_first(accepted: &Accepted) -> bool {
    let plain = accepted.listener.plain.as_ref();
    plain.is_some_and(|chain| matches!(chain.service, ChainService::Tcp(_)))
}

/// Reads until it is clear whether there is a header, and takes it out of `ahead`.
async fn header(
    stream: &mut TcpStream,
    ahead: &mut BytesMut,
    demand: HeaderDemand,
) -> Result<Option<Addresses>, Failure> {
    loop {
        ahead.reserve(READ_SIZE);
        if !matches!(stream.read_buf(ahead).await, Ok(1..)) {
            return Err(Failure::Gone(ahead.len()));
        }
        match parse(ahead) {
            Outcome::NeedMore => {}
            Outcome::Header(header) => {
                ahead.advance(header.len);
                if ahead.is_empty() {
                    // A long header leaves no room behind for as long as the connection lives.
                    *ahead = BytesMut::new();
                }
                return Ok(header.addresses);
            }
            Outcome::Refused(reason) => return Err(reason.into()),
            Outcome::Absent if demand == HeaderDemand::Optional => return Ok(None),
            Outcome::Absent => return Err(Failure::Absent),
        }
    }
}

/// Logs and counts, but for a peer that said nothing: load balancers knock like that.
fn refuse(accepted: &Accepted, failure: &Failure) {
    if let Failure::Gone(0) = failure {
        return;
    }
    let mut ending = Ending::unsorted(accepted);
    ending.blame(None, failure.to_string());
    match failure {
        Failure::Gone(_) => {
            ending.flag(Flag::DownstreamConnectionTermination);
        }
        Failure::Refused(_) | Failure::Absent => {
            ending.flag(Flag::NoRouteFound).count(DropReason::ProxyHeaderRefused);
        }
        Failure::Late(_) => {
            ending.count(DropReason::PrefaceTimeout).closed_because("listener_filter_timeout");
        }
    }
}
