//! Choosing an endpoint.
//!
//! A [`ClusterState`] is one worker's view of one cluster. Like Envoy's workers, ours balance
//! independently: each knows only its own active requests and its own turn, which saves any word
//! between them and costs a little evenness.
//!
//! Whatever the algorithm: an endpoint the configuration calls unhealthy is never picked, an ejected
//! one only in panic (`minHealthPercent`), and an endpoint this request has tried is drawn again up
//! to `RetryPolicy::HOST_RESELECTIONS` times before it is accepted.

mod deadline;
mod endpoint;
mod group;
mod maglev;
mod ring;
mod tiers;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_snapshot::cluster::{Cluster, Endpoints};
use rand::Rng;

use crate::breaker::Breaker;
use crate::outlier::Observation;
use crate::shared::{Registry, SharedCluster};

use endpoint::Learned;
pub use endpoint::{ActiveRequest, EndpointState, Tried};
use group::Group;
use tiers::Tiers;

/// The endpoint chosen.
pub type Pick = Rc<EndpointState>;

/// Why there is nothing to pick: 503, flag UH either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEndpoint {
    /// The cluster has no endpoints.
    Empty,
    /// It has some, all unhealthy or ejected.
    Unhealthy,
}

/// One worker's view of one cluster.
#[derive(Debug)]
pub struct ClusterState {
    shared: Arc<SharedCluster>,
    view: RefCell<View>,
}

impl ClusterState {
    /// The state of a cluster this worker has not used before.
    #[must_use]
    pub fn new(cluster: &Arc<Cluster>, registry: &Registry, now: Instant) -> Self {
        let shared = registry.cluster(cluster, now);
        shared.update(cluster, now);
        let view = View::new(cluster, &shared);
        Self { shared, view: RefCell::new(view) }
    }

    /// Takes over a newer snapshot's version of the cluster. Endpoints that stay, by address, keep
    /// their active requests, their turn and their ejection. Nearly free when nothing changed.
    pub fn update(&self, cluster: &Arc<Cluster>, now: Instant) {
        let mut view = self.view.borrow_mut();
        if Arc::ptr_eq(&view.cluster, cluster) {
            return;
        }
        self.shared.update(cluster, now);
        view.update(cluster, &self.shared);
    }

    /// Chooses an endpoint for a request that has tried those in `tried`.
    ///
    /// `hash` is the key of consistent hashing, see [`crate::hash`]; without one, those algorithms
    /// choose at random, and the others do not look at it.
    ///
    /// # Errors
    /// [`NoEndpoint`] says why there is nothing to choose from.
    pub fn pick(
        &self,
        now: Instant,
        dice: &mut impl Rng,
        hash: Option<u64>,
        tried: &Tried,
    ) -> Result<Pick, NoEndpoint> {
        let mut view = self.view.borrow_mut();
        if view.cluster.outlier.is_some() {
            self.shared.sweep(now);
            view.see_verdicts(&self.shared);
        } else if view.cluster.health_check.is_some() {
            view.see_verdicts(&self.shared);
        }
        view.pick(now, dice, hash, tried)
    }

    /// Reports what was seen of an endpoint, for outlier detection. Nearly free without one.
    pub fn observe(&self, endpoint: &EndpointState, seen: Observation, now: Instant) {
        let view = self.view.borrow();
        if let Some(rules) = &view.cluster.outlier
            && let Some(monitor) = &*endpoint.monitor()
        {
            self.shared.observe(rules, endpoint.address(), monitor, seen, now);
        }
    }

    /// The cluster's limits.
    #[must_use]
    pub fn breaker(&self) -> &Arc<Breaker> {
        self.shared.breaker()
    }

    /// The version of the cluster in use.
    #[must_use]
    pub fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.view.borrow().cluster)
    }

    /// Every endpoint, healthy or not, in order of address.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Rc<EndpointState>> {
        self.view.borrow().all.clone()
    }
}

/// Endpoints and how to choose among them.
#[derive(Debug)]
struct View {
    cluster: Arc<Cluster>,
    /// Value of [`SharedCluster::verdicts`] that `group` was made with.
    verdicts: u64,
    /// In order of address.
    all: Vec<Rc<EndpointState>>,
    /// Those that may be picked, where all are alike.
    group: Group,
    /// Those that may be picked, where localities matter.
    tiers: Option<Box<Tiers>>,
}

impl View {
    fn new(cluster: &Arc<Cluster>, shared: &SharedCluster) -> Self {
        let mut view = Self {
            cluster: Arc::clone(cluster),
            verdicts: 0,
            all: Vec::new(),
            group: Group::default(),
            tiers: None,
        };
        view.replace_endpoints(shared);
        view
    }

    fn update(&mut self, cluster: &Arc<Cluster>, shared: &SharedCluster) {
        let old = std::mem::replace(&mut self.cluster, Arc::clone(cluster));
        let same = Arc::ptr_eq(&old.endpoints, &cluster.endpoints)
            && old.outlier == cluster.outlier
            && old.warmup == cluster.warmup
            && old.health_check == cluster.health_check;
        if !same {
            self.replace_endpoints(shared);
        } else if old.balancer != cluster.balancer {
            self.sort_out();
        }
    }

    /// Both lists are sorted by address, so one walk finds what stays.
    fn replace_endpoints(&mut self, shared: &SharedCluster) {
        self.verdicts = shared.verdicts();
        let Endpoints { all: members, layout } = &*self.cluster.endpoints;
        let monitors = shared.monitors(members.iter().map(|member| &member.address));
        let mut old = std::mem::take(&mut self.all).into_iter().peekable();
        for (position, (member, monitor)) in members.iter().zip(monitors).enumerate() {
            while old.next_if(|state| *state.address() < member.address).is_some() {}
            let learned = match old.peek() {
                Some(state) if *state.address() == member.address => Rc::clone(state.learned()),
                _ => Rc::<Learned>::default(),
            };
            learned.watch(monitor);
            let tier = layout.as_ref().map_or(0, |layout| layout.priority_of(position));
            self.all.push(Rc::new(EndpointState::new(Arc::clone(member), learned, tier)));
        }
        if self.cluster.warmup.is_some() {
            let arrivals = shared.arrivals(members.iter().map(|member| &member.address));
            self.all.iter().zip(arrivals).for_each(|(state, arrived)| state.learned().arrived.set(arrived));
        }
        self.see_failing(shared);
        self.sort_out();
    }

    fn see_failing(&self, shared: &SharedCluster) {
        let addresses = self.all.iter().map(|state| state.address());
        let failing = match self.cluster.health_check {
            Some(_) => shared.are_failing(addresses),
            None => vec![false; self.all.len()],
        };
        self.all.iter().zip(failing).for_each(|(state, failing)| state.learned().failing.set(failing));
    }

    fn see_verdicts(&mut self, shared: &SharedCluster) {
        // Read before looking: a verdict that comes meanwhile makes us look again.
        let verdicts = shared.verdicts();
        if self.verdicts == verdicts {
            return;
        }
        self.verdicts = verdicts;
        // Workers meet a snapshot at different times, and one that is behind may for a moment have
        // taken members from the detector that others have: they look for their monitors again.
        let monitors = shared.monitors(self.all.iter().map(|state| state.address()));
        self.all.iter().zip(monitors).for_each(|(state, monitor)| state.learned().watch(monitor));
        self.see_failing(shared);
        self.sort_out();
    }

    /// Works out who may be picked.
    fn sort_out(&mut self) {
        if let Some(layout) = &self.cluster.endpoints.layout {
            self.tiers.get_or_insert_default().sort_out(&self.cluster, layout, &self.all);
            return;
        }
        self.tiers = None;
        let healthy = || self.all.iter().filter(|state| state.endpoint().healthy);
        let able = || healthy().filter(|state| !state.is_out());
        let least = panic_percent(&self.cluster);
        let (count, members) = (able().count(), self.all.len());
        if count * 100 < least * members && !tiers::is_able(count, members) {
            // Panic: so few are left that the rest would drown; better to use the ejected ones too.
            self.group.refill(healthy());
        } else {
            self.group.refill(able());
        }
    }

    fn pick(
        &mut self,
        now: Instant,
        dice: &mut impl Rng,
        hash: Option<u64>,
        tried: &Tried,
    ) -> Result<Pick, NoEndpoint> {
        let picked = match &mut self.tiers {
            None => self.group.pick(&self.cluster, now, dice, hash, tried),
            Some(tiers) => tiers.pick(&self.cluster, now, dice, hash, tried),
        };
        picked.ok_or(if self.all.is_empty() { NoEndpoint::Empty } else { NoEndpoint::Unhealthy })
    }
}

/// Below this share of members that are in, all are used; 0 = never.
fn panic_percent(cluster: &Cluster) -> usize {
    let checked = cluster.health_check.as_ref().map(|check| check.panic_percent);
    let percent = checked.or(cluster.outlier.as_ref().map(|rules| rules.min_health_percent));
    percent.unwrap_or(0).min(100) as usize
}

/// Uniform in 0..count by multiply-shift: the bias is below count / 2^64.
fn draw(dice: &mut impl Rng, count: usize) -> usize {
    ((u128::from(dice.next_u64()) * count as u128) >> u64::BITS) as usize
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
