//! From a route to a connected upstream.

use std::sync::Arc;

use portcullis_snapshot::Cluster;
use portcullis_snapshot::action;
use portcullis_snapshot::cluster::{Address, HashPolicy};
use portcullis_snapshot::listener::TcpRoute;
use portcullis_telemetry::metrics::PoolMetrics;
use portcullis_traffic::breaker::{Permit, Resource};
use portcullis_traffic::{Observation, hash};

use super::{Ending, Payload, Way, tunnel};
use crate::connection::Connection;
use crate::error::UpstreamError;
use crate::postgres::cancel::{Registered, Target};
use crate::postgres::session::{Refusal, ask_for_tls};
use crate::stream::Stream;
use crate::upstream::connect::{self, Purpose};
use crate::upstream::introduce::Ends;
use crate::upstream::registry::{Picked, Tried};

/// A connected upstream, with what is given back when it is dropped.
pub(super) struct Dialled {
    pub(super) stream: Stream,
    /// Places under the cluster's limit, in the endpoint's load and in the count of connections, and
    /// the one that leads requests to cancel here.
    _held: (Permit, Picked, Counted, Option<Registered>),
}

/// An open connection in the cluster's metrics.
struct Counted(PoolMetrics);

impl Counted {
    fn new(metrics: PoolMetrics) -> Self {
        metrics.opened();
        Self(metrics)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// Why there is no connection to an upstream.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The route names a cluster that does not exist.
    #[error("no cluster {0}")]
    NoCluster(Arc<str>),
    /// No endpoint, or no connection to it.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// A PostgreSQL server without TLS where TLS is needed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Draws a destination, picks an endpoint and connects to it, once: Istio's gateway tries no second
/// time for bytes either (Envoy: `max_connect_attempts` 1).
///
/// Dropping the future drops a half-open connection.
///
/// # Errors
/// Why there is no connection; what was chosen so far stands in `ending`.
pub(super) async fn dial(
    connection: &Connection,
    way: &Way,
    ending: &mut Ending,
) -> Result<Dialled, DialError> {
    let worker = &connection.worker;
    let id = match &way.route.destinations.pick(worker.roll()).target {
        action::Target::Cluster(id) => *id,
        action::Target::Unknown(name) => return Err(DialError::NoCluster(Arc::clone(name))),
    };
    // A session may outlive many generations: the one that shows its way is not held any longer.
    let upstream = worker.upstream(&connection.let_go().pinned, id);
    let cluster = upstream.cluster();
    ending.record.cluster = Some(Arc::clone(&cluster));
    let permit = upstream.breaker().try_acquire(Resource::Connections).ok_or(UpstreamError::Overflow)?;
    let picked = upstream.pick(worker, hash_key(&way.route, connection), &mut Tried::none())?;
    ending.record.endpoint = Some(Arc::clone(picked.endpoint()));
    let address = &picked.endpoint().address;
    let stream = match within_limit(&cluster, address, (way, connection.ends())).await {
        Ok(stream) => stream,
        Err(error) => {
            picked.observe(Observation::Failed);
            worker.shard.pool(&cluster.name).failed();
            return Err(error);
        }
    };
    picked.observe(Observation::TcpConnected);
    ending.record.upstream_local_address = stream.local_address();
    let counted = Counted::new(worker.shard.pool(&cluster.name));
    let target = Target { cluster, address: address.clone() };
    let registered = match way.payload {
        Payload::Bytes => None,
        _ => worker.sessions.register(connection.key, connection.peer.ip(), target),
    };
    Ok(Dialled { stream, _held: (permit, picked, counted, registered) })
}

/// What consistent hashing goes by: a connection has nothing but its source address.
fn hash_key(route: &TcpRoute, connection: &Connection) -> Option<u64> {
    let by_source = route.hash.contains(&HashPolicy::SourceIp);
    by_source.then(|| hash::of_address(connection.peer.ip()))
}

/// Connects within the cluster's connect timeout, everything included.
async fn within_limit(
    cluster: &Cluster,
    address: &Address,
    whose: (&Way, Ends),
) -> Result<Stream, DialError> {
    let connecting = connect(cluster, address, whose);
    let connected = tokio::time::timeout(cluster.pool.connect_timeout, connecting).await;
    connected.unwrap_or(Err(UpstreamError::ConnectTimeout.into()))
}

async fn connect(
    cluster: &Cluster,
    address: &Address,
    (way, client): (&Way, Ends),
) -> Result<Stream, DialError> {
    if let Some(tunnel) = &way.route.tunnel {
        let mut stream = tunnel::open(tunnel, cluster, address, client).await?;
        // TLS of the cluster is that of the proxy: the server behind it has what the client brings.
        if way.payload == Payload::PostgresTls {
            ask_for_tls(&mut stream).await?;
        }
        return Ok(stream);
    }
    let mut stream = connect::plain(cluster, address, Some(client)).await?;
    let asks = match way.payload {
        Payload::PostgresTls => true,
        // The client's TLS ended here or never was: the server has what its DestinationRule says.
        Payload::PostgresClear => cluster.tls.is_some(),
        Payload::Bytes | Payload::PostgresDirect => false,
    };
    if asks {
        ask_for_tls(&mut stream).await?;
    }
    match &cluster.tls {
        None => Ok(stream),
        Some(tls) => Ok(connect::secure((tls, Purpose::Bytes), stream, address, None).await?.stream),
    }
}
