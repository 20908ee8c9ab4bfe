//! Picks, seen from outside.

mod hashing;
mod steps;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use portcullis_snapshot::cluster::{Address, Balancer, Endpoint, Endpoints, OutlierDetection};
use portcullis_snapshot::health_check::{HealthCheck, Probe};
use portcullis_snapshot::retry::RetryPolicy;
use rand::SeedableRng;

use super::testing::{Dice, address, cluster, endpoint};
use super::*;

const RING: Balancer = Balancer::RingHash { minimum_size: 1024 };
const MAGLEV: Balancer = Balancer::Maglev { table_size: 65_537 };
const ALL: [Balancer; 5] = [Balancer::LeastRequest, Balancer::RoundRobin, Balancer::Random, RING, MAGLEV];

/// As long as changes of health may be held back.
const MERGED: Duration = Duration::from_secs(1);

/// A worker with its dice and a clock that stands still unless moved.
struct Worker {
    state: ClusterState,
    dice: Dice,
    now: Instant,
}

impl Worker {
    fn new(cluster: Cluster) -> Self {
        Self::beside(&Arc::new(cluster), &Registry::default(), Instant::now())
    }

    fn beside(cluster: &Arc<Cluster>, registry: &Registry, now: Instant) -> Self {
        Self { state: ClusterState::new(cluster, registry, now), dice: Dice::seed_from_u64(7), now }
    }

    fn pick(&mut self) -> Result<Pick, NoEndpoint> {
        self.pick_with(None, &Tried::none())
    }

    fn pick_with(&mut self, hash: Option<u64>, tried: &Tried) -> Result<Pick, NoEndpoint> {
        self.state.pick(self.now, &mut self.dice, hash, tried)
    }

    fn picks(&mut self, count: usize) -> HashMap<Address, usize> {
        let mut seen = HashMap::new();
        for _ in 0..count {
            *seen.entry(self.pick().expect("an endpoint").address().clone()).or_default() += 1;
        }
        seen
    }

    fn fail(&self, number: u8, times: u32) {
        let endpoints = self.state.endpoints();
        let state = endpoints.iter().find(|state| *state.address() == address(number)).unwrap();
        for _ in 0..times {
            self.state.observe(state, Observation::Status(503), self.now);
        }
    }
}

/// What a request with Istio's default policy remembers.
fn avoiding() -> Tried {
    Tried::under(&RetryPolicy::istio_default())
}

fn equal(count: u8) -> Vec<Arc<Endpoint>> {
    (1..=count).map(|number| endpoint(number, 1, true)).collect()
}

fn rules() -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: Some(3),
        consecutive_gateway: None,
        consecutive_local: None,
        failure_statuses: None,
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(300),
        max_ejection_percent: 100,
        min_health_percent: 0,
    }
}

fn detecting(balancer: Balancer, endpoints: Vec<Arc<Endpoint>>, rules: OutlierDetection) -> Cluster {
    Cluster { outlier: Some(Arc::new(rules)), ..cluster(balancer, endpoints) }
}

#[test]
fn every_algorithm_uses_every_endpoint() {
    for balancer in ALL {
        let seen = Worker::new(cluster(balancer, equal(3))).picks(3_000);
        for number in 1..=3 {
            let share = seen[&address(number)];
            assert!((800..=1_200).contains(&share), "{balancer:?}: {seen:?}");
        }
    }
}

#[test]
fn round_robin_is_even() {
    let seen = Worker::new(cluster(Balancer::RoundRobin, equal(3))).picks(30);
    assert!(seen.values().all(|&count| count == 10), "{seen:?}");
}

#[test]
fn weights_are_kept_by_every_algorithm_but_random() {
    let weights = [1, 2, 5];
    for balancer in ALL.into_iter().filter(|balancer| *balancer != Balancer::Random) {
        let endpoints = (1..).zip(weights).map(|(number, weight)| endpoint(number, weight, true)).collect();
        let seen = Worker::new(cluster(balancer, endpoints)).picks(8_000);
        for (number, weight) in (1..).zip(weights) {
            let (share, wanted) = (seen[&address(number)] as f64, f64::from(weight) * 1_000.0);
            let tolerance = if matches!(balancer, RING) { 0.2 } else { 0.1 };
            assert!((share - wanted).abs() < wanted * tolerance, "{balancer:?}: {seen:?}");
        }
    }
}

#[test]
fn random_knows_no_weights() {
    let endpoints = vec![endpoint(1, 1, true), endpoint(2, 9, true)];
    let share = Worker::new(cluster(Balancer::Random, endpoints)).picks(4_000)[&address(1)];
    assert!((1_800..=2_200).contains(&share), "{share}");
}

#[test]
fn weighted_turns_are_spread_evenly() {
    let endpoints = vec![endpoint(1, 1, true), endpoint(2, 3, true)];
    let mut worker = Worker::new(cluster(Balancer::RoundRobin, endpoints));
    worker.picks(8);
    for _ in 0..50 {
        assert_eq!(worker.picks(4)[&address(2)], 3);
    }
}

#[test]
fn least_request_prefers_the_less_busy() {
    let mut worker = Worker::new(cluster(Balancer::LeastRequest, equal(4)));
    let busy: Vec<_> = (0..100).map(|_| worker.state.endpoints()[0].begin()).collect();
    // Only when both draws hit it: one in sixteen.
    let share = worker.picks(4_000)[&address(1)];
    assert!((180..=320).contains(&share), "{share}");
    drop(busy);
    let share = worker.picks(4_000)[&address(1)];
    assert!((900..=1_100).contains(&share), "{share}");
}

#[test]
fn weighted_least_request_looks_at_load_too() {
    let endpoints = vec![endpoint(1, 2, true), endpoint(2, 1, true)];
    let mut worker = Worker::new(cluster(Balancer::LeastRequest, endpoints));
    let _busy: Vec<_> = (0..9).map(|_| worker.state.endpoints()[0].begin()).collect();
    // Weights 2 / 10 against 1.
    let share = worker.picks(6_000)[&address(1)];
    assert!((900..=1_100).contains(&share), "{share}");
}

#[test]
fn nothing_to_pick_says_why() {
    for balancer in ALL {
        assert_eq!(Worker::new(cluster(balancer, Vec::new())).pick().err(), Some(NoEndpoint::Empty));
        let sick = vec![endpoint(1, 1, false)];
        assert_eq!(Worker::new(cluster(balancer, sick)).pick().err(), Some(NoEndpoint::Unhealthy));
    }
}

#[test]
fn a_retry_goes_elsewhere() {
    for balancer in ALL {
        let mut worker = Worker::new(cluster(balancer, equal(2)));
        let mut again = 0;
        for key in 0..1_000_u64 {
            let key = crate::hash::of_value(&key.to_le_bytes());
            let mut tried = avoiding();
            let first = worker.pick_with(Some(key), &tried).unwrap();
            tried.push(&first);
            let second = worker.pick_with(Some(key), &tried).unwrap();
            again += usize::from(Rc::ptr_eq(&first, &second));
        }
        // Six draws, each of which may miss one time in two: 16 of 1000.
        assert!(again <= 40, "{balancer:?}: {again}");
    }
}

#[test]
fn when_all_were_tried_one_is_tried_again() {
    for balancer in ALL {
        let mut worker = Worker::new(cluster(balancer, equal(2)));
        let mut tried = avoiding();
        worker.state.endpoints().iter().for_each(|state| tried.push(state));
        assert!(worker.pick_with(Some(1), &tried).is_ok());
    }
}

#[test]
fn tried_is_bounded() {
    let worker = Worker::new(cluster(Balancer::Random, equal(100)));
    let (mut tried, endpoints) = (avoiding(), worker.state.endpoints());
    endpoints.iter().for_each(|state| tried.push(state));
    assert!(tried.contains(&endpoints[99]) && !tried.contains(&endpoints[0]));
    assert!(!tried.is_empty() && Tried::none().is_empty());
}

#[test]
fn a_swap_forgets_nothing() {
    let before = Arc::new(detecting(Balancer::RoundRobin, equal(3), rules()));
    let mut worker = Worker::beside(&before, &Registry::default(), Instant::now());
    let held = worker.state.endpoints()[1].begin();
    let mut tried = avoiding();
    tried.push(&worker.state.endpoints()[1]);
    worker.fail(3, 3);
    let last = worker.pick().unwrap().address().clone();
    let members = vec![endpoint(0, 1, true), endpoint(2, 1, true), endpoint(3, 1, true)];
    let after = Arc::new(detecting(Balancer::RoundRobin, members, rules()));
    worker.state.update(&after, worker.now);
    let states = worker.state.endpoints();
    assert_eq!(states.iter().map(|state| state.active()).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(states.iter().map(|state| state.is_ejected()).collect::<Vec<_>>(), [false, false, true]);
    assert!(tried.contains(&states[1]) && !tried.contains(&states[0]));
    assert!(Arc::ptr_eq(&worker.state.cluster(), &after));
    drop(held);
    assert_eq!(states[1].active(), 0);
    // Two are left in turn; the turn goes on where it was.
    assert_ne!(worker.pick().unwrap().address(), worker.pick().unwrap().address());
    assert!([address(1), address(2)].contains(&last));
}

/// As [`cluster`] with health checks.
fn checked(count: u8, panic_percent: u32) -> Arc<Cluster> {
    let check = HealthCheck {
        probe: Probe::Tcp,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        unhealthy_threshold: NonZeroU32::MIN,
        healthy_threshold: NonZeroU32::MIN,
        port: None,
        panic_percent,
    };
    Arc::new(Cluster { health_check: Some(Arc::new(check)), ..cluster(Balancer::RoundRobin, equal(count)) })
}

#[test]
fn what_fails_its_checks_is_left_alone_until_it_is_well() {
    let registry = Registry::default();
    let before = checked(3, 50);
    let mut worker = Worker::beside(&before, &registry, Instant::now());
    let shared = registry.cluster(&before, Instant::now());
    shared.set_failing(&address(2), true);
    let seen = worker.picks(10);
    assert!(seen.len() == 2 && !seen.contains_key(&address(2)), "{seen:?}");
    assert_eq!(shared.failing(), [address(2)]);
    // A swap forgets nothing.
    worker.state.update(&checked(3, 50), worker.now);
    assert_eq!(worker.picks(10).len(), 2);
    // Below the share that panics, everybody is better than few.
    shared.set_failing(&address(3), true);
    assert_eq!(worker.picks(9).len(), 3);
    shared.set_failing(&address(2), false);
    assert_eq!(worker.picks(10).len(), 2);
    // Nobody looks at verdicts without checks.
    worker.state.update(&Arc::new(cluster(Balancer::RoundRobin, equal(3))), worker.now);
    assert_eq!(worker.picks(9).len(), 3);
}

#[test]
fn where_nobody_panics_the_last_one_may_go() {
    let registry = Registry::default();
    let checked = checked(2, 0);
    let mut worker = Worker::beside(&checked, &registry, Instant::now());
    let shared = registry.cluster(&checked, Instant::now());
    shared.set_failing(&address(1), true);
    shared.set_failing(&address(2), true);
    assert_eq!(worker.pick().unwrap_err(), NoEndpoint::Unhealthy);
    shared.set_failing(&address(2), false);
    assert_eq!(worker.pick().unwrap().address(), &address(2));
}

#[test]
fn weighted_turns_survive_a_change_of_endpoints() {
    let members = |extra: bool| {
        let mut members = vec![endpoint(1, 1, true), endpoint(2, 1_000, true)];
        if extra {
            members.push(endpoint(3, 1_000, true));
        }
        members
    };
    let mut worker = Worker::new(cluster(Balancer::RoundRobin, members(false)));
    worker.picks(5_000);
    // A list that changes all the time must neither starve nor favour the light one.
    let mut light = 0;
    for round in 0..200 {
        worker.state.update(&Arc::new(cluster(Balancer::RoundRobin, members(round % 2 == 0))), worker.now);
        light += worker.picks(100).get(&address(1)).copied().unwrap_or(0);
    }
    assert!((10..=22).contains(&light), "{light}");
}

#[test]
fn an_algorithm_may_change() {
    let mut worker = Worker::new(cluster(RING, equal(3)));
    let members = Arc::clone(&worker.state.cluster().endpoints);
    worker.pick().unwrap();
    for balancer in ALL {
        let next = Cluster { endpoints: Arc::clone(&members), ..cluster(balancer, Vec::new()) };
        worker.state.update(&Arc::new(next), worker.now);
        assert_eq!(worker.picks(300).len(), 3, "{balancer:?}");
    }
}

#[test]
fn all_workers_see_an_ejection_and_its_end() {
    let cluster = Arc::new(detecting(Balancer::RoundRobin, equal(2), rules()));
    let (registry, start) = (Registry::default(), Instant::now());
    let mut here = Worker::beside(&cluster, &registry, start);
    let mut there = Worker::beside(&cluster, &registry, start);
    here.fail(1, 2);
    there.fail(1, 1);
    for worker in [&mut here, &mut there] {
        assert_eq!(worker.picks(10).keys().collect::<Vec<_>>(), [&address(2)]);
    }
    registry.each(|name, shared| {
        assert_eq!((name, shared.ejected()), ("outbound|80||test", vec![address(1)]));
    });
    for worker in [&mut here, &mut there] {
        worker.now = start + Duration::from_secs(30);
        assert_eq!(worker.picks(10).len(), 2);
    }
    registry.retain(|_| false);
    registry.each(|name, _| panic!("{name} should be gone"));
}

#[test]
fn a_worker_that_is_behind_leaves_no_lasting_trace() {
    let version = |count| Arc::new(detecting(Balancer::RoundRobin, equal(count), rules()));
    let (older, newer) = (version(2), version(3));
    let (registry, now) = (Registry::default(), Instant::now());
    let mut ahead = Worker::beside(&newer, &registry, now);
    ahead.fail(3, 3);
    assert_eq!(ahead.picks(12).len(), 2);
    let mut behind = Worker::beside(&older, &registry, now);
    behind.picks(1);
    behind.state.update(&newer, now);
    // The third one's ejection is forgotten, by both.
    assert_eq!((ahead.picks(12).len(), behind.picks(12).len()), (3, 3));
    (ahead.now, behind.now) = (now + MERGED, now + MERGED);
    behind.fail(3, 2);
    ahead.fail(3, 1);
    assert_eq!((ahead.picks(12).len(), behind.picks(12).len()), (2, 2));
}

#[test]
fn detection_switched_off_brings_all_back() {
    let members = Arc::new(Endpoints::alike(equal(2)));
    let with = |outlier| {
        let bare = cluster(Balancer::RoundRobin, Vec::new());
        Arc::new(Cluster { outlier, endpoints: Arc::clone(&members), ..bare })
    };
    let mut worker = Worker::beside(&with(Some(Arc::new(rules()))), &Registry::default(), Instant::now());
    worker.fail(1, 3);
    assert_eq!(worker.picks(10).len(), 1);
    worker.state.update(&with(None), worker.now);
    assert_eq!(worker.picks(10).len(), 2);
    worker.fail(1, 10);
    assert_eq!(worker.picks(10).len(), 2);
}

#[test]
fn panic_uses_the_ejected_but_never_the_unhealthy() {
    for (min_health_percent, used) in [(0, 1), (20, 1), (50, 3)] {
        let mut members = equal(3);
        members.push(endpoint(4, 1, false));
        let rules = OutlierDetection { min_health_percent, ..rules() };
        let mut worker = Worker::new(detecting(Balancer::RoundRobin, members, rules));
        worker.fail(1, 3);
        worker.fail(2, 3);
        worker.picks(1);
        worker.now += MERGED;
        let seen = worker.picks(30);
        assert_eq!(seen.len(), used, "{min_health_percent}: {seen:?}");
        assert!(!seen.contains_key(&address(4)));
    }
}

#[test]
fn ejections_that_come_together_are_shown_together() {
    for balancer in ALL {
        let mut worker = Worker::new(detecting(balancer, equal(3), rules()));
        let start = worker.now;
        for number in 1..=3 {
            worker.fail(number, 3);
            // The first one is left at once, the others serve for a window from when the second one failed.
            assert_eq!(worker.picks(100).len(), 2, "{balancer:?}");
            worker.now += Duration::from_millis(300);
        }
        let second = start + Duration::from_millis(300);
        worker.now = second + MERGED - Duration::from_millis(1);
        assert_eq!(worker.picks(100).len(), 2, "{balancer:?}");
        worker.now = second + MERGED;
        assert_eq!(worker.pick().err(), Some(NoEndpoint::Unhealthy), "{balancer:?}");
        worker.now = start + Duration::from_secs(40);
        assert_eq!(worker.picks(100).len(), 3, "{balancer:?}");
    }
}

#[test]
fn a_return_is_held_back_like_an_ejection() {
    let quick = OutlierDetection {
        interval: Duration::from_millis(100),
        base_ejection: Duration::from_millis(200),
        ..rules()
    };
    let mut worker = Worker::new(detecting(Balancer::RoundRobin, equal(2), quick));
    let start = worker.now;
    worker.fail(1, 3);
    // It comes back after 200 ms, whenever that is noticed, and is shown a window later.
    for (after, used) in [(0, 1), (500, 1), (1_199, 1), (1_200, 2)] {
        worker.now = start + Duration::from_millis(after);
        assert_eq!(worker.picks(10).len(), used, "{after} ms");
    }
}

/// An ejection that is over before anybody looks was shown all the same, and its end a window later.
#[test]
fn the_shortest_ejection_is_seen() {
    let quick = OutlierDetection {
        interval: Duration::from_millis(10),
        base_ejection: Duration::from_millis(10),
        ..rules()
    };
    let mut worker = Worker::new(detecting(Balancer::RoundRobin, equal(2), quick));
    let start = worker.now;
    worker.fail(1, 3);
    for (after, used) in [(100, 1), (1_009, 1), (1_010, 2)] {
        worker.now = start + Duration::from_millis(after);
        assert_eq!(worker.picks(10).len(), used, "{after} ms");
    }
}

#[test]
fn nobody_panics_while_the_healthy_suffice() {
    // 72 % of the members are able to take everything, so even a threshold of 100 % changes nothing.
    for (ejected, used) in [(1, 4), (2, 5)] {
        let rules = OutlierDetection { min_health_percent: 100, ..rules() };
        let mut worker = Worker::new(detecting(Balancer::RoundRobin, equal(5), rules));
        (1..=ejected).for_each(|number| worker.fail(number, 3));
        worker.picks(1);
        worker.now += MERGED;
        assert_eq!(worker.picks(50).len(), used);
    }
}
