//! Priorities and localities, seen from outside.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_snapshot::cluster::{
    Address, Balancer, Endpoint, Endpoints, Group as Place, Layout, OutlierDetection, Warmup,
};
use proptest::prelude::*;
use rand::SeedableRng;

use super::*;
use crate::balance::testing::{Dice, address, cluster, endpoint};
use crate::balance::{ClusterState, NoEndpoint};
use crate::shared::Registry;
use crate::{Observation, hash};

const RING: Balancer = Balancer::RingHash { minimum_size: 1024 };
const MAGLEV: Balancer = Balancer::Maglev { table_size: 65_537 };
const ALL: [Balancer; 5] = [Balancer::LeastRequest, Balancer::RoundRobin, Balancer::Random, RING, MAGLEV];

/// A member: number, weight, healthy; and its group.
type Member = (u8, u32, bool, u32);

/// A cluster of `members` in groups of (priority, weight).
fn grouped(balancer: Balancer, groups: &[(u32, u32)], weighted: bool, members: &[Member]) -> Cluster {
    let groups = groups.iter().map(|&(priority, weight)| Place { priority, weight }).collect();
    let layout = Layout { members: members.iter().map(|member| member.3).collect(), groups, weighted };
    let all: Vec<Arc<Endpoint>> =
        members.iter().map(|&(number, weight, healthy, _)| endpoint(number, weight, healthy)).collect();
    Cluster { endpoints: Arc::new(Endpoints { all, layout: Some(layout) }), ..cluster(balancer, Vec::new()) }
}

/// `healthy` of `count` members from number `first`, in one group.
fn members(first: u8, count: u8, healthy: u8, group: u32) -> Vec<Member> {
    (0..count).map(|at| (first + at, 1, at < healthy, group)).collect()
}

struct Worker {
    state: ClusterState,
    dice: Dice,
    now: Instant,
}

impl Worker {
    fn new(cluster: Cluster) -> Self {
        let now = Instant::now();
        let state = ClusterState::new(&Arc::new(cluster), &Registry::default(), now);
        Self { state, dice: Dice::seed_from_u64(11), now }
    }

    fn pick(&mut self, key: Option<u64>, tried: &Tried) -> Result<Pick, NoEndpoint> {
        self.state.pick(self.now, &mut self.dice, key, tried)
    }

    /// Arrivals by address; keys are spread evenly.
    fn picks(&mut self, count: u64) -> HashMap<Address, u64> {
        let mut seen = HashMap::new();
        for number in 0..count {
            let key = hash::of_value(&number.to_le_bytes());
            let picked = self.pick(Some(key), &Tried::none()).expect("an endpoint");
            *seen.entry(picked.address().clone()).or_default() += 1;
        }
        seen
    }

    /// Percent of `count` picks that go to members in `numbers`.
    fn percent(&mut self, numbers: std::ops::Range<u8>, count: u64) -> u64 {
        let seen = self.picks(count);
        let here: u64 = numbers.filter_map(|number| seen.get(&address(number))).sum();
        here * 100 / count
    }
}

fn near(value: u64, wanted: u64) -> bool {
    value.abs_diff(wanted) <= 3
}

#[test]
fn loads_as_envoy_documents_them() {
    // The table of Envoy's documentation on priority levels.
    for (able, loads) in [
        (&[100, 100][..], &[100, 0][..]),
        (&[100, 0], &[100, 0]),
        (&[70, 70], &[70, 30]),
        (&[35, 100], &[35, 65]),
        (&[0, 100], &[0, 100]),
        (&[35, 35], &[50, 50]),
        (&[0, 0], &[100, 0]),
        (&[20, 20, 10], &[40, 40, 20]),
        (&[10, 20, 3], &[31, 60, 9]),
        (&[], &[]),
    ] {
        assert_eq!(distribute(able), loads, "{able:?}");
    }
}

#[test]
fn the_first_priority_gets_everything_while_it_is_able() {
    for balancer in ALL {
        for (healthy, percent) in [(10, 100), (8, 100), (5, 70), (1, 14), (0, 0)] {
            let mut all = members(1, 10, healthy, 0);
            all.extend(members(101, 10, 10, 1));
            let mut worker = Worker::new(grouped(balancer, &[(0, 10), (1, 10)], false, &all));
            let here = worker.percent(1..11, 4_000);
            assert!(near(here, percent), "{balancer:?}, {healthy} healthy: {here} %");
        }
    }
}

#[test]
fn localities_share_by_weight() {
    for balancer in ALL {
        // Two of a locality with weight 80, six of one with 20, one of one with nothing.
        let mut all = members(1, 2, 2, 0);
        all.extend(members(11, 6, 6, 1));
        all.extend(members(21, 1, 1, 2));
        let mut worker = Worker::new(grouped(balancer, &[(0, 80), (0, 20), (0, 0)], true, &all));
        let (here, nobody) = (worker.percent(1..3, 4_000), worker.percent(21..22, 1_000));
        assert!(here.abs_diff(80) <= 5 && nobody == 0, "{balancer:?}: {here} % and {nobody} %");
    }
}

#[test]
fn a_locality_with_few_healthy_endpoints_gets_less() {
    // Half of the first locality: 1.4 x 0.5 x 50 = 35 against 50.
    let mut all = members(1, 4, 2, 0);
    all.extend(members(11, 4, 4, 1));
    let mut worker = Worker::new(grouped(Balancer::RoundRobin, &[(0, 50), (0, 50)], true, &all));
    let here = worker.percent(1..5, 4_000);
    assert!(near(here, 41), "{here} %");
}

#[test]
fn weights_count_within_a_locality() {
    // RANDOM heeds none.
    for balancer in ALL.into_iter().filter(|balancer| *balancer != Balancer::Random) {
        let all = [(1, 1, true, 0), (2, 3, true, 0), (3, 1, true, 1)];
        let mut worker = Worker::new(grouped(balancer, &[(0, 50), (0, 50)], true, &all));
        let seen = worker.picks(8_000);
        for (number, wanted) in [(1, 1_000), (2, 3_000), (3, 4_000_u64)] {
            let share = seen[&address(number)];
            assert!(share.abs_diff(wanted) * 6 <= wanted, "{balancer:?}: {seen:?}");
        }
    }
}

fn rules(min_health_percent: u32) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: Some(1),
        consecutive_gateway: None,
        consecutive_local: None,
        failure_statuses: None,
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(300),
        max_ejection_percent: 100,
        min_health_percent,
    }
}

#[test]
fn an_ejected_priority_is_left_and_come_back_to() {
    for balancer in ALL {
        let mut all = members(1, 2, 2, 0);
        all.extend(members(11, 2, 2, 1));
        let grouped = grouped(balancer, &[(0, 2), (1, 2)], false, &all);
        let mut worker = Worker::new(Cluster { outlier: Some(Arc::new(rules(0))), ..grouped });
        assert_eq!(worker.percent(1..3, 100), 100);
        for number in 0..2 {
            let endpoint = Rc::clone(&worker.state.endpoints()[number]);
            worker.state.observe(&endpoint, Observation::Status(500), worker.now);
            worker.now += Duration::from_secs(1);
        }
        assert_eq!(worker.percent(1..3, 100), 0, "{balancer:?}");
        worker.now += Duration::from_secs(60);
        worker.picks(1);
        assert_eq!(worker.percent(1..3, 100), 100, "{balancer:?}");
    }
}

#[test]
fn in_total_panic_members_decide() {
    // 1 of 10 and 1 of 30 healthy, threshold 50 %: both panic, and share 25 to 75.
    let mut all: Vec<Member> = members(1, 10, 10, 0);
    all.extend(members(101, 30, 30, 1));
    let grouped = grouped(Balancer::RoundRobin, &[(0, 1), (1, 1)], false, &all);
    let mut worker = Worker::new(Cluster { outlier: Some(Arc::new(rules(50))), ..grouped });
    let endpoints = worker.state.endpoints();
    for (at, endpoint) in endpoints.iter().enumerate() {
        if at != 0 && at != 10 {
            worker.state.observe(endpoint, Observation::Status(500), worker.now);
        }
    }
    worker.picks(1);
    worker.now += Duration::from_secs(1);
    let here = worker.percent(1..11, 4_000);
    assert!(near(here, 25), "{here} %");
    assert_eq!(worker.picks(4_000).len(), 40);
}

#[test]
fn nothing_healthy_is_nothing_to_pick() {
    for balancer in ALL {
        let mut all = members(1, 2, 0, 0);
        all.extend(members(11, 2, 0, 1));
        for weighted in [false, true] {
            let mut worker = Worker::new(grouped(balancer, &[(0, 1), (1, 1)], weighted, &all));
            assert_eq!(worker.pick(None, &Tried::none()).err(), Some(NoEndpoint::Unhealthy));
        }
    }
}

#[test]
fn every_second_attempt_may_change_the_priority() {
    let mut all = members(1, 4, 4, 0);
    all.extend(members(11, 4, 4, 1));
    let policy = RetryPolicy { other_priorities: true, ..RetryPolicy::istio_default() };
    for balancer in [Balancer::LeastRequest, Balancer::RoundRobin, Balancer::Random] {
        let mut worker = Worker::new(grouped(balancer, &[(0, 4), (1, 4)], false, &all));
        let mut tried = Tried::under(&policy);
        let mut tiers = Vec::new();
        for _ in 0..8 {
            let picked = worker.pick(None, &tried).expect("an endpoint");
            tried.push(&picked);
            tiers.push(picked.tier());
        }
        // Two attempts here, two there, then both have been tried and it begins anew.
        assert_eq!(tiers, [0, 0, 1, 1, 0, 0, 1, 1], "{balancer:?}");
    }
}

#[test]
fn new_endpoints_warm_up() {
    let warmup = Warmup { window: Duration::from_secs(100), aggression: 1.0, minimum: 0.1 };
    for balancer in [Balancer::LeastRequest, Balancer::RoundRobin] {
        let with = |count: u8| {
            let all = (1..=count).map(|number| endpoint(number, 1, true)).collect();
            Arc::new(Cluster { warmup: Some(warmup), ..cluster(balancer, all) })
        };
        let start = Instant::now();
        let state = ClusterState::new(&with(2), &Registry::default(), start);
        let mut worker = Worker { state, dice: Dice::seed_from_u64(5), now: start };
        assert!(near(worker.percent(1..2, 2_000), 50), "{balancer:?}");
        worker.now += Duration::from_secs(1_000);
        assert!(near(worker.percent(1..2, 2_000), 50), "{balancer:?}");
        worker.state.update(&with(3), worker.now);
        let added = worker.now;
        // Share of the third: s / (2 + s).
        for (age, percent) in [(0, 5), (5, 5), (50, 20), (99, 33), (101, 33)] {
            worker.now = added + Duration::from_secs(age);
            let here = worker.percent(3..4, 4_000);
            assert!(near(here, percent), "{balancer:?} after {age} s: {here} %");
        }
    }
}

#[test]
fn an_endpoint_that_recovers_warms_up_again() {
    let warmup = Warmup { window: Duration::from_secs(100), aggression: 1.0, minimum: 0.1 };
    let with = |healthy| {
        let all = vec![endpoint(1, 1, true), endpoint(2, 1, healthy)];
        Arc::new(Cluster { warmup: Some(warmup), ..cluster(Balancer::RoundRobin, all) })
    };
    let start = Instant::now();
    let state = ClusterState::new(&with(true), &Registry::default(), start);
    let mut worker = Worker { state, dice: Dice::seed_from_u64(5), now: start };
    worker.now += Duration::from_secs(500);
    for (healthy, percent) in [(true, 50), (false, 0), (true, 9)] {
        worker.state.update(&with(healthy), worker.now);
        let here = worker.percent(2..3, 2_000);
        assert!(near(here, percent), "{healthy}: {here} %");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn loads_are_a_hundred_percent_and_only_for_the_able(able in proptest::collection::vec(0_u32..=100, 1..8)) {
        let loads = distribute(&able);
        prop_assert_eq!(loads.iter().sum::<u32>(), 100);
        if able.iter().any(|able| *able > 0) {
            for (load, able) in loads.iter().zip(&able) {
                prop_assert!(*able > 0 || *load == 0);
            }
        }
        // Every point falls to exactly the tier whose share it is in.
        let mut counts = vec![0; loads.len()];
        (0..100).for_each(|point| counts[tier_at(&loads, point)] += 1);
        prop_assert_eq!(counts, loads);
    }

    #[test]
    fn only_healthy_members_are_picked_and_one_while_there_is_one(
        balancer in proptest::sample::select(&ALL[..3]),
        weighted in any::<bool>(),
        groups in proptest::collection::vec((0_u32..3, 0_u32..4), 1..4),
        spread in proptest::collection::vec((0_usize..4, 1_u32..4, proptest::bool::weighted(0.6)), 1..12),
        keys in proptest::collection::vec(any::<u64>(), 1..30),
    ) {
        let all: Vec<Member> = (1..)
            .zip(&spread)
            .map(|(number, &(group, weight, healthy))| (number, weight, healthy, (group % groups.len()) as u32))
            .collect();
        let mut worker = Worker::new(grouped(balancer, &groups, weighted, &all));
        for key in keys {
            match worker.pick(Some(key), &Tried::none()) {
                Ok(picked) => prop_assert!(picked.endpoint().healthy),
                Err(error) => {
                    prop_assert_eq!(error, NoEndpoint::Unhealthy);
                    prop_assert!(all.iter().all(|member| !member.2));
                }
            }
        }
    }
}
