//! The clusters of one worker by name: what was learned about them outlives the snapshots they
//! came from.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_snapshot::cluster::{Address, Endpoint, PoolLimits};
use portcullis_snapshot::{Cluster, FastMap, Snapshot};
pub(crate) use portcullis_traffic::Tried;
use portcullis_traffic::{ActiveRequest, Breaker, ClusterState, Observation, Pick};

use crate::clock;
use crate::error::UpstreamError;
use crate::upstream::pool::{H1Connection, Lease, Pool, Wanted};
use crate::worker::Worker;

/// A cluster as one worker uses it.
pub(crate) struct Upstream {
    state: ClusterState,
    pool: Pool,
    generation: Cell<u64>,
}

/// A request or session on its way to an endpoint; counted as active until it is dropped.
pub(crate) struct Picked {
    upstream: Rc<Upstream>,
    pick: Pick,
    _active: ActiveRequest,
}

impl Upstream {
    /// Picks an endpoint, if possible none that is to be avoided after what was tried before.
    ///
    /// # Errors
    /// [`UpstreamError::NoHealthyEndpoint`].
    pub(crate) fn pick(
        self: &Rc<Self>,
        worker: &Worker,
        hash: Option<u64>,
        tried: &mut Tried,
    ) -> Result<Picked, UpstreamError> {
        let picked = worker.with_dice(|dice| self.state.pick(clock::now().into_std(), dice, hash, tried));
        let pick = picked.map_err(|_| UpstreamError::NoHealthyEndpoint)?;
        tried.push(&pick);
        let active = pick.begin();
        Ok(Picked { upstream: Rc::clone(self), pick, _active: active })
    }

    /// The newest form of the cluster.
    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        self.state.cluster()
    }

    /// The cluster's limits.
    pub(crate) fn breaker(&self) -> &Arc<Breaker> {
        self.state.breaker()
    }

    /// The connections kept to its endpoints.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A connection for one exchange, if there is one.
    pub(crate) fn lease_at_once(&self, cluster: &Cluster, wanted: &Wanted<'_>) -> Option<Lease> {
        self.pool.lease_at_once(cluster, wanted)
    }

    /// A connection for one exchange.
    ///
    /// # Errors
    /// Those of [`Pool::lease`].
    pub(crate) async fn lease(&self, cluster: &Cluster, wanted: Wanted<'_>) -> Result<Lease, UpstreamError> {
        self.pool.lease(cluster, self.breaker(), wanted).await
    }

    /// Takes a connection back that was not used after all.
    pub(crate) fn put_unused(&self, lease: Lease) {
        self.pool.put_unused(lease);
    }

    /// Keeps a connection for another exchange.
    pub(crate) fn put(&self, connection: H1Connection) {
        let limit = self.cluster().pool.max_requests_per_connection;
        if limit.is_none_or(|limit| connection.standing.served + 1 < limit) {
            self.pool.put(connection);
        }
    }
}

impl Picked {
    /// The endpoint picked.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        self.pick.endpoint()
    }

    /// Reports a response.
    pub(crate) fn observe_status(&self, status: u16) {
        self.observe(Observation::Status(status));
    }

    /// Reports a failure before response headers.
    pub(crate) fn observe_failure(&self, error: &UpstreamError) {
        match error {
            UpstreamError::Timeout | UpstreamError::PerTryTimeout => self.observe(Observation::TimedOut),
            UpstreamError::NoHealthyEndpoint | UpstreamError::Overflow => {}
            _ => self.observe(Observation::Failed),
        }
    }

    /// Reports what was seen of the endpoint.
    pub(crate) fn observe(&self, seen: Observation) {
        self.upstream.state.observe(&self.pick, seen, clock::now().into_std());
    }
}

/// Clusters that are swept before others have their turn: a fraction of a millisecond.
const SWEPT_AT_ONCE: usize = 128;

/// The clusters a worker has used.
#[derive(Default)]
pub(crate) struct Registry {
    upstreams: RefCell<FastMap<Arc<str>, Rc<Upstream>>>,
}

impl Registry {
    /// The state of `cluster`, brought up to a snapshot of the given generation. What an older
    /// snapshot says does not undo a newer one.
    pub(crate) fn attach(&self, worker: &Worker, cluster: &Arc<Cluster>, generation: u64) -> Rc<Upstream> {
        let mut upstreams = self.upstreams.borrow_mut();
        if let Some(upstream) = upstreams.get(&cluster.name) {
            if upstream.generation.get() < generation {
                upstream.generation.set(generation);
                upstream.state.update(cluster, Instant::now());
            }
            return Rc::clone(upstream);
        }
        let upstream = Rc::new(Upstream {
            state: ClusterState::new(cluster, &worker.config.learned, Instant::now()),
            pool: Pool::new(worker.shard.pool(&cluster.name)),
            generation: Cell::new(generation),
        });
        upstreams.insert(Arc::clone(&cluster.name), Rc::clone(&upstream));
        upstream
    }

    /// Forgets clusters that the snapshot does not hold any more, idle connections that are too old
    /// and those to endpoints that are gone: some at a time, so that traffic does not wait for thousands.
    ///
    /// When it is dropped, the rest is left to the next one.
    pub(crate) async fn sweep(&self, snapshot: &Snapshot, now: Instant) {
        let names: Vec<Arc<str>> = self.upstreams.borrow().keys().cloned().collect();
        for some in names.chunks(SWEPT_AT_ONCE) {
            self.sweep_some(some, snapshot, now);
            tokio::task::yield_now().await;
        }
    }

    fn sweep_some(&self, names: &[Arc<str>], snapshot: &Snapshot, now: Instant) {
        let mut upstreams = self.upstreams.borrow_mut();
        for name in names {
            let Some(upstream) = upstreams.get(name) else { continue };
            if let Some(cluster) = snapshot.cluster_named(name) {
                let members = &cluster.endpoints.all;
                let keep = |address: &Address| {
                    members.binary_search_by(|endpoint| endpoint.address.cmp(address)).is_ok()
                };
                upstream.pool.sweep(now, &cluster.pool, keep);
                continue;
            }
            upstream.pool.sweep(now, &PoolLimits::default(), |_| false);
            if Rc::strong_count(upstream) == 1 {
                upstreams.remove(name);
            }
        }
    }
}
