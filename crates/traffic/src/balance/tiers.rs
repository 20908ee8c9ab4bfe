//! Localities: which priority gets a request, and which locality within it (`localityLbSetting`,
//! `trafficDistribution`).
//!
//! The rules are Envoy's. A priority is as able as 1.4 times the share of its healthy endpoints, at most
//! wholly; the first one gets as much as it is able to take, the next one of the rest, and so on. So traffic
//! moves on when fewer than 5 of 7 are healthy, and not all at once. Where all together are not able to take
//! everything, it is scaled up, and a priority whose healthy share is below `minHealthPercent` panics: its
//! ejected endpoints are used, too.

use std::rc::Rc;
use std::time::Instant;

use portcullis_snapshot::cluster::{Cluster, Layout};
use portcullis_snapshot::retry::RetryPolicy;
use rand::Rng;

use super::deadline::unit;
use super::endpoint::{EndpointState, Tried};
use super::group::{Group, is_hashing, key};
use super::ring::shares;
use super::{Pick, panic_percent};

/// Percent of its healthy share that a priority is able to take.
const OVERPROVISIONING: usize = 140;

/// The priorities of a cluster.
#[derive(Debug, Default)]
pub(super) struct Tiers {
    tiers: Vec<Tier>,
    /// Percent of the traffic for each; their sum is 100 unless there is none.
    loads: Vec<u32>,
}

#[derive(Debug, Default)]
struct Tier {
    number: u32,
    /// All that may be picked.
    whole: Group,
    /// The same by locality, where localities have weights.
    localities: Vec<Locality>,
    /// Whether the localities' turns have begun.
    begun: bool,
    /// Percent of everything it is able to take.
    able: u32,
}

#[derive(Debug)]
struct Locality {
    group: Group,
    weight: f64,
    /// Of its next turn: earliest deadline first, see [`super::deadline`].
    deadline: f64,
}

impl Tiers {
    /// Works out who may be picked, and how much each priority gets.
    pub(super) fn sort_out(&mut self, cluster: &Cluster, layout: &Layout, all: &[Rc<EndpointState>]) {
        let count = layout.groups.iter().map(|group| group.priority as usize + 1).max().unwrap_or(0);
        self.tiers.resize_with(count, Tier::default);
        let least = panic_percent(cluster);
        let censuses: Vec<_> = (0..count).map(|tier| Census::of(tier, all)).collect();
        let able: Vec<u32> = censuses.iter().map(Census::able).collect();
        let wholly = able.iter().sum::<u32>() >= 100;
        let panics = |census: &Census| !wholly && census.healthy * 100 < least * census.members;
        let all_panic = censuses.iter().all(panics);
        self.loads = match all_panic {
            true => by_members(&censuses),
            false => distribute(&able),
        };
        for ((number, tier), census) in (0..).zip(&mut self.tiers).zip(&censuses) {
            (tier.number, tier.able) = (number, census.able());
            tier.fill(cluster, layout, all, panics(census));
        }
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
        let hashing = is_hashing(cluster);
        let hash = key(cluster, hash, dice);
        // Envoy asks for other priorities only where chance chooses.
        let elsewhere = if hashing { None } else { self.loads_elsewhere(tried) };
        let mut attempt = 0;
        loop {
            let point = if hashing { hash } else { dice.next_u64() };
            let tier = tier_at(elsewhere.as_deref().unwrap_or(&self.loads), point);
            let chosen = self.tiers.get_mut(tier)?.choose(cluster, now, dice, hash, attempt)?;
            if attempt == RetryPolicy::HOST_RESELECTIONS || !tried.contains(&chosen) {
                return Some(chosen);
            }
            attempt += 1;
        }
    }

    /// The loads for a request that shall leave priorities in which it has failed
    /// (`retryRemoteLocalities`); `None`: those of every request.
    fn loads_elsewhere(&self, tried: &Tried) -> Option<Vec<u32>> {
        let attempts = tried.tiers()?;
        let mut without = vec![false; self.tiers.len()];
        let mut since_reset: Vec<u32> = Vec::new();
        let mut loads = None;
        for attempt in attempts {
            since_reset.push(*attempt);
            // Priorities are looked at after every second attempt, as Istio has it.
            if !since_reset.len().is_multiple_of(2) {
                continue;
            }
            for tier in &since_reset {
                if let Some(without) = without.get_mut(*tier as usize) {
                    *without = true;
                }
            }
            let able = |without: &[bool]| -> Vec<u32> {
                let tiers = self.tiers.iter().zip(without);
                tiers.map(|(tier, without)| if *without { 0 } else { tier.able }).collect()
            };
            let mut rest = able(&without);
            if rest.iter().all(|able| *able == 0) {
                // Nothing is left: everything may be tried again.
                without.fill(false);
                since_reset.clear();
                rest = able(&without);
            }
            loads = Some(rest).filter(|rest| rest.iter().any(|able| *able > 0)).map(|rest| distribute(&rest));
        }
        // Behind a reset the first attempts go by the usual loads again.
        loads.filter(|_| since_reset.len() >= 2 || since_reset.is_empty())
    }
}

impl Tier {
    /// Takes over who may be picked; in panic, whoever the configuration does not call unhealthy.
    fn fill(&mut self, cluster: &Cluster, layout: &Layout, all: &[Rc<EndpointState>], panic: bool) {
        let number = self.number;
        let usable = |state: &&Rc<EndpointState>| {
            state.tier() == number && state.endpoint().healthy && (panic || !state.is_out())
        };
        self.localities.clear();
        self.begun = false;
        if !layout.weighted || (panic && !is_hashing(cluster)) {
            self.whole.refill(all.iter().filter(usable));
            return;
        }
        let mut members: Vec<Vec<Rc<EndpointState>>> = vec![Vec::new(); layout.groups.len()];
        let mut counts = vec![0_usize; layout.groups.len()];
        for (state, group) in all.iter().zip(&layout.members) {
            let group = *group as usize;
            counts[group] += 1;
            if usable(&state) {
                members[group].push(Rc::clone(state));
            }
        }
        if is_hashing(cluster) {
            self.fill_shares(layout, &members);
            return;
        }
        self.whole.refill(all.iter().filter(usable));
        for ((group, members), count) in layout.groups.iter().zip(members).zip(counts) {
            if members.is_empty() || group.weight == 0 {
                continue;
            }
            let able = (1.4 * ratio(members.len(), count)).min(1.0);
            let weight = f64::from(group.weight) * able;
            let mut endpoints = Group::default();
            endpoints.refill(members.iter());
            self.localities.push(Locality { group: endpoints, weight, deadline: 0.0 });
        }
    }

    /// For consistent hashing all localities are on one ring, with shares by their weights.
    fn fill_shares(&mut self, layout: &Layout, members: &[Vec<Rc<EndpointState>>]) {
        let own = || layout.groups.iter().zip(members).filter(|(group, _)| group.priority == self.number);
        let total: f64 = own().map(|(group, _)| f64::from(group.weight)).sum();
        let mut points: Vec<(Rc<EndpointState>, f64)> = Vec::new();
        for (group, members) in own().filter(|(group, _)| group.weight > 0) {
            let parts = shares(members, f64::from(group.weight) / total);
            points.extend(members.iter().cloned().zip(parts));
        }
        points.sort_by(|one, other| one.0.address().cmp(other.0.address()));
        let (endpoints, shares) = points.into_iter().unzip();
        self.whole.refill_with_shares(endpoints, shares);
    }

    fn choose(
        &mut self,
        cluster: &Cluster,
        now: Instant,
        dice: &mut impl Rng,
        hash: u64,
        attempt: u32,
    ) -> Option<Pick> {
        if !self.begun {
            self.begun = true;
            // Anywhere within their first period, or all workers would start with the same locality.
            self.localities.iter_mut().for_each(|locality| locality.deadline = unit(dice) / locality.weight);
        }
        let next = self.localities.iter_mut().min_by(|one, other| one.deadline.total_cmp(&other.deadline));
        let Some(locality) = next else { return self.whole.once(cluster, now, dice, hash, attempt) };
        locality.deadline += 1.0 / locality.weight;
        locality.group.once(cluster, now, dice, hash, attempt)
    }
}

/// How many there are in a priority.
struct Census {
    members: usize,
    healthy: usize,
}

impl Census {
    fn of(tier: usize, all: &[Rc<EndpointState>]) -> Self {
        let members = || all.iter().filter(|state| state.tier() as usize == tier);
        let healthy = members().filter(|state| state.endpoint().healthy && !state.is_out()).count();
        Self { members: members().count(), healthy }
    }

    fn able(&self) -> u32 {
        let able = (OVERPROVISIONING * self.healthy).checked_div(self.members).unwrap_or(0);
        u32::try_from(able.min(100)).unwrap_or(100)
    }
}

/// Whether so many of `members` being healthy is enough for everything, so that nobody need panic.
pub(super) fn is_able(healthy: usize, members: usize) -> bool {
    Census { members, healthy }.able() == 100
}

/// Percent of the traffic by what each is able to take; what rounding leaves goes to the first. Where nobody
/// is able to take anything, the first gets it all, in vain.
fn distribute(able: &[u32]) -> Vec<u32> {
    let total = able.iter().sum::<u32>().min(100);
    let Some(first) = able.iter().position(|able| *able > 0) else {
        let mut loads = vec![0; able.len()];
        loads.iter_mut().take(1).for_each(|load| *load = 100);
        return loads;
    };
    let mut rest = 100;
    let mut loads: Vec<u32> = able
        .iter()
        .map(|able| {
            let load = rest.min(able * 100 / total);
            rest -= load;
            load
        })
        .collect();
    loads[first] += rest;
    loads
}

/// Percent of the traffic by the number of members, for when all panic.
fn by_members(censuses: &[Census]) -> Vec<u32> {
    let total: usize = censuses.iter().map(|census| census.members).sum();
    let of = |census: &Census| (100 * census.members).checked_div(total).unwrap_or(0);
    let mut loads: Vec<u32> = censuses.iter().map(|census| u32::try_from(of(census)).unwrap_or(0)).collect();
    let rest = 100 - loads.iter().sum::<u32>().min(100);
    let first = censuses.iter().position(|census| census.members > 0).unwrap_or(0);
    loads.iter_mut().skip(first).take(1).for_each(|load| *load += rest);
    loads
}

/// The priority that a point falls to: of a hundred, each has as many as its load.
fn tier_at(loads: &[u32], point: u64) -> usize {
    let mut left = (point % 100) as u32;
    for (tier, load) in loads.iter().enumerate() {
        if left < *load {
            return tier;
        }
        left -= load;
    }
    0
}

#[expect(clippy::cast_precision_loss, reason = "counts of endpoints stay far below 2^53")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests;
