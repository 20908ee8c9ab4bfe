//! Endpoints that differ in weight alone, and the choice among them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use portcullis_snapshot::cluster::{Balancer, Cluster, Warmup};
use portcullis_snapshot::retry::RetryPolicy;
use rand::Rng;

use super::deadline::Deadlines;
use super::endpoint::{EndpointState, Tried};
use super::maglev::Maglev;
use super::ring::{self, Ring};
use super::{Pick, draw};

/// Those that may be picked, and how to choose among them.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// In order of address.
    eligible: Vec<Rc<EndpointState>>,
    /// Shares for consistent hashing; empty: as the weights say.
    shares: Vec<f64>,
    chooser: Chooser,
    /// Turn of the unweighted round robin; `None` before the first pick, which starts anywhere.
    turn: Option<u64>,
    /// While some have not their full weight yet: when the last of them will.
    warm: Option<Instant>,
}

/// What is worked out once per list of eligible endpoints.
#[derive(Debug, Default)]
enum Chooser {
    /// Not worked out yet.
    #[default]
    Unset,
    /// Equal weights: the list itself suffices.
    Uniform,
    /// Unequal weights, in turn (also for least request, as in Envoy).
    Deadlines(Deadlines),
    Ring(Ring),
    Maglev(Maglev),
}

impl Group {
    /// Takes over a new list, in order of address; turns go on where they were.
    pub(super) fn refill<'e>(&mut self, eligible: impl Iterator<Item = &'e Rc<EndpointState>>) {
        self.eligible.clear();
        self.eligible.extend(eligible.cloned());
        self.shares.clear();
        self.forget();
    }

    /// As [`refill`](Self::refill), with shares for consistent hashing.
    pub(super) fn refill_with_shares(&mut self, eligible: Vec<Rc<EndpointState>>, shares: Vec<f64>) {
        debug_assert_eq!(eligible.len(), shares.len());
        (self.eligible, self.shares) = (eligible, shares);
        self.forget();
    }

    /// Works everything out anew at the next pick.
    fn forget(&mut self) {
        self.chooser = Chooser::Unset;
        self.warm = None;
    }

    /// One that was not tried, as far as some draws find one.
    pub(super) fn pick(
        &mut self,
        cluster: &Cluster,
        now: Instant,
        dice: &mut impl Rng,
        hash: Option<u64>,
        tried: &Tried,
    ) -> Option<Pick> {
        if self.eligible.len() <= 1 {
            return self.eligible.first().cloned();
        }
        let hash = key(cluster, hash, dice);
        let mut chosen = self.choose(cluster, now, dice, hash, 0);
        for attempt in 1..=RetryPolicy::HOST_RESELECTIONS {
            if !tried.contains(&self.eligible[chosen]) {
                break;
            }
            chosen = self.choose(cluster, now, dice, hash, attempt);
        }
        Some(Rc::clone(&self.eligible[chosen]))
    }

    /// Any one; `attempt` counts from 0.
    pub(super) fn once(
        &mut self,
        cluster: &Cluster,
        now: Instant,
        dice: &mut impl Rng,
        hash: u64,
        attempt: u32,
    ) -> Option<Pick> {
        if self.eligible.len() <= 1 {
            return self.eligible.first().cloned();
        }
        let chosen = self.choose(cluster, now, dice, hash, attempt);
        Some(Rc::clone(&self.eligible[chosen]))
    }

    fn work_out(&mut self, cluster: &Cluster, now: Instant, dice: &mut impl Rng) {
        let weight = |state: &Rc<EndpointState>| state.endpoint().weight.max(1);
        let by_turns = matches!(cluster.balancer, Balancer::LeastRequest | Balancer::RoundRobin);
        self.warm = cluster.warmup.filter(|_| by_turns).and_then(|warmup| {
            let full = self.eligible.iter().map(|state| state.arrived().unwrap_or(now) + warmup.window);
            full.max().filter(|full| *full > now)
        });
        let first = weight(&self.eligible[0]);
        let equal = self.warm.is_none() && self.eligible.iter().all(|state| weight(state) == first);
        let all = &self.eligible;
        let mut shares = || match self.shares.is_empty() {
            true => ring::shares(all, 1.0).collect(),
            false => std::mem::take(&mut self.shares),
        };
        self.chooser = match cluster.balancer {
            Balancer::RingHash { minimum_size } => Chooser::Ring(Ring::new(all, &shares(), minimum_size)),
            Balancer::Maglev { table_size } => Chooser::Maglev(Maglev::new(all, &shares(), table_size)),
            // RANDOM knows no weights, in Envoy neither.
            Balancer::Random => Chooser::Uniform,
            _ if equal => Chooser::Uniform,
            Balancer::LeastRequest | Balancer::RoundRobin => {
                let weight = |state: &EndpointState| state.weight() * share(cluster, state, now);
                Chooser::Deadlines(Deadlines::new(all, weight, dice))
            }
        };
    }

    /// A position in `eligible`, which is not empty.
    fn choose(
        &mut self,
        cluster: &Cluster,
        now: Instant,
        dice: &mut impl Rng,
        hash: u64,
        attempt: u32,
    ) -> usize {
        if matches!(self.chooser, Chooser::Unset) || self.warm.is_some_and(|full| full <= now) {
            self.work_out(cluster, now, dice);
        }
        let count = self.eligible.len();
        match &mut self.chooser {
            Chooser::Ring(ring) => ring.at(hash, attempt),
            Chooser::Maglev(table) => table.at(hash, attempt),
            Chooser::Deadlines(deadlines) => {
                let share = |state: &EndpointState| match self.warm {
                    Some(_) => share(cluster, state, now),
                    None => 1.0,
                };
                match cluster.balancer {
                    Balancer::LeastRequest => {
                        deadlines.next(&self.eligible, |state| state.weight_by_load() * share(state))
                    }
                    _ => deadlines.next(&self.eligible, |state| state.weight() * share(state)),
                }
            }
            Chooser::Uniform | Chooser::Unset => match cluster.balancer {
                Balancer::RoundRobin => {
                    let turn = self.turn.get_or_insert_with(|| dice.next_u64());
                    *turn = turn.wrapping_add(1);
                    (*turn % count as u64) as usize
                }
                Balancer::LeastRequest => {
                    let (first, second) = (draw(dice, count), draw(dice, count));
                    let busier = self.eligible[first].active() > self.eligible[second].active();
                    if busier { second } else { first }
                }
                _ => draw(dice, count),
            },
        }
    }
}

/// The key of consistent hashing: a random one where the request has none. Others have no use for it.
pub(super) fn key(cluster: &Cluster, hash: Option<u64>, dice: &mut impl Rng) -> u64 {
    match is_hashing(cluster) {
        true => hash.unwrap_or_else(|| dice.next_u64()),
        false => 0,
    }
}

/// Whether the key of a request decides.
pub(super) fn is_hashing(cluster: &Cluster) -> bool {
    matches!(cluster.balancer, Balancer::RingHash { .. } | Balancer::Maglev { .. })
}

/// How much of its weight an endpoint has yet.
fn share(cluster: &Cluster, state: &EndpointState, now: Instant) -> f64 {
    let of = |warmup: &Warmup| {
        let age = state.arrived().map_or(Duration::ZERO, |arrived| now.saturating_duration_since(arrived));
        warmup.share(age)
    };
    cluster.warmup.as_ref().map_or(1.0, of)
}
