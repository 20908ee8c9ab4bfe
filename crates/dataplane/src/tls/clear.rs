//! Clients that do not begin with TLS, on a port that has TLS.
//!
//! | the client sends | the port has a plain TCP server | it has none |
//! |---|---|---|
//! | StartupMessage | taken to it | ErrorResponse: TLS is needed, and how the name routes |
//! | CancelRequest | to the client's sessions, else taken to it | to the client's sessions, else to the only route, else dropped |
//! | SSLRequest, and no chain carries bytes | taken to it | ErrorResponse: not served here |
//! | anything else | taken to it, or to the plain HTTP server | closed |

use std::sync::Arc;

use bytes::BytesMut;
use portcullis_snapshot::action::Target as RouteTarget;
use portcullis_snapshot::listener::{ChainService, TcpRoute};
use portcullis_snapshot::{FilterChain, Listener, Snapshot};
use portcullis_telemetry::metrics::DropReason;
use tokio::net::TcpStream;

use super::first::First;
use super::refuse;
use crate::connection::{self, Accepted, Serving};
use crate::postgres::cancel::{self, MAX_TARGETS, Target};
use crate::postgres::preface::CancelRequest;
use crate::postgres::session::{NOT_SERVED, TLS_NEEDED};
use crate::stream::Stream;
use crate::tcp::{self, Ending, Payload, Way};
use crate::upstream::introduce::Ends;

/// What serves a connection that is not TLS, if anything does.
pub(super) async fn serve(
    accepted: Accepted,
    stream: TcpStream,
    ahead: BytesMut,
    first: First,
) -> Option<Serving> {
    let plain = accepted.listener.plain.clone();
    let plain_bytes = plain.as_ref().is_some_and(|chain| matches!(chain.service, ChainService::Tcp(_)));
    let (words, why) = match first {
        First::Cancel(request) => return cancel(accepted, stream, ahead, request).await,
        First::Startup(_) if plain_bytes => return postgres(accepted, stream, ahead),
        First::Startup(_) if accepted.listener.carries_bytes => {
            (TLS_NEEDED.encode(), "a PostgreSQL session without TLS")
        }
        First::Startup(_) | First::Question if plain.is_none() => {
            (NOT_SERVED.encode(), "a PostgreSQL client on a port for HTTP")
        }
        _ => match plain {
            Some(chain) => {
                return connection::service(accepted.sorted(chain, None), Stream::Tcp(stream), ahead);
            }
            None => (Vec::new(), "no server of this port takes plaintext"),
        },
    };
    refuse::plaintext(accepted, stream, &words, why).await;
    None
}

/// Whether bytes that have not been understood yet may be given to a plain server.
pub(super) fn may_go_on(listener: &Listener, ahead: &[u8]) -> bool {
    let tls = ahead.first() == Some(&super::client_hello::CONTENT_HANDSHAKE);
    listener.plain.is_some() && !ahead.is_empty() && !tls
}

/// Takes a PostgreSQL session in clear to the plain server.
fn postgres(accepted: Accepted, stream: TcpStream, ahead: BytesMut) -> Option<Serving> {
    let chain = accepted.listener.plain.clone()?;
    let connection = accepted.sorted(Arc::clone(&chain), None);
    let ChainService::Tcp(route) = &chain.service else { return None };
    let way = Way { route: Arc::clone(route), payload: Payload::PostgresClear, passed_name: None };
    Some(tcp::carrying(connection, way, Stream::Tcp(stream), ahead))
}

/// Sends a request to cancel to where it can concern someone. The client gets no answer, ever.
async fn cancel(
    accepted: Accepted,
    stream: TcpStream,
    ahead: BytesMut,
    request: CancelRequest,
) -> Option<Serving> {
    let sessions = &accepted.worker.sessions;
    let mut targets = sessions.of(accepted.listener.key(), accepted.peer.ip());
    if targets.is_empty() {
        if let Some(chain) = plain_bytes(&accepted.listener) {
            return connection::service(accepted.sorted(chain, None), Stream::Tcp(stream), ahead);
        }
        targets = only_route(&accepted.listener)
            .map(|route| members(&accepted.pinned.snapshot, &route))
            .unwrap_or_default();
    }
    let mut ending = Ending::unsorted(&accepted);
    ending.meter.received = ahead.len() as u64;
    let process = request.process_id();
    if targets.is_empty() {
        ending.no_chain(format!("a request to cancel process {process} from an address without sessions"));
        ending.count(DropReason::CancelDropped);
        return None;
    }
    let asked = targets.len();
    let client = Ends { source: accepted.peer, destination: accepted.local };
    let taken = tokio::select! {
        taken = cancel::forward(request, targets, client) => taken,
        () = accepted.worker.drain.closed() => 0,
    };
    ending.blame(None, format!("request to cancel process {process}, taken by {taken} of {asked} servers"));
    None
}

fn plain_bytes(listener: &Listener) -> Option<Arc<FilterChain>> {
    let chain = listener.plain.clone();
    chain.filter(|chain| matches!(chain.service, ChainService::Tcp(_)))
}

/// The route of the port's TLS chains, if there is just one.
fn only_route(listener: &Listener) -> Option<Arc<TcpRoute>> {
    let mut routes = listener.tls.values().filter_map(|chain| match &chain.service {
        ChainService::Tcp(route) => Some(route),
        ChainService::Http(_) | ChainService::Nothing => None,
    });
    let only = routes.next()?;
    routes.all(|route| Arc::ptr_eq(route, only)).then(|| Arc::clone(only))
}

/// Every server of a route, up to the bound: only one of them knows the session.
fn members(snapshot: &Snapshot, route: &TcpRoute) -> Vec<Target> {
    let clusters = route.destinations.iter().filter_map(|destination| match destination.target {
        RouteTarget::Cluster(id) => Some(snapshot.cluster(id)),
        RouteTarget::Unknown(_) => None,
    });
    let members = clusters.flat_map(|cluster| {
        let all = cluster.endpoints.all.iter();
        all.map(|endpoint| Target { cluster: Arc::clone(cluster), address: endpoint.address.clone() })
    });
    members.take(MAX_TARGETS).collect()
}
