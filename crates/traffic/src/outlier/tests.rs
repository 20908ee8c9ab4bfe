//! The detector: rules one by one, then against a plain model.

use proptest::prelude::*;

use super::*;
use crate::balance::testing::{address, endpoint};

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

fn endpoints(count: u8) -> Endpoints {
    Endpoints::alike((0..count).map(|number| endpoint(number, 1, true)).collect())
}

/// A detector with a clock in seconds.
struct Bench {
    detector: Detector,
    rules: OutlierDetection,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new(rules: OutlierDetection, count: u8) -> Self {
        let start = Instant::now();
        let detector = Detector::new(&rules, &endpoints(count), start);
        Self { detector, rules, start, now: start }
    }

    /// What happens on an observation, as [`crate::shared::SharedCluster`] does it.
    fn see(&mut self, number: u8, seen: Observation) {
        let address = address(number);
        let Some(monitor) = self.detector.monitor(&address) else { return };
        for run in monitor.observe(&self.rules, seen) {
            self.detector.eject(&address, run, self.now);
        }
    }

    fn see_statuses(&mut self, number: u8, statuses: &[u16]) {
        statuses.iter().for_each(|&status| self.see(number, Observation::Status(status)));
    }

    fn at(&mut self, seconds: u64) {
        self.now = self.start + Duration::from_secs(seconds);
        self.detector.sweep(self.now);
    }

    fn is_out(&self, number: u8) -> bool {
        self.detector.ejected().contains(&address(number))
    }
}

#[test]
fn a_run_ejects_and_success_breaks_it() {
    for (statuses, out) in [
        (&[500, 500][..], false),
        (&[500, 500, 500], true),
        (&[500, 503, 599], true),
        (&[500, 500, 200, 500, 500], false),
        (&[500, 500, 404, 500], false),
    ] {
        let mut bench = Bench::new(rules(), 2);
        bench.see_statuses(0, statuses);
        assert_eq!(bench.is_out(0), out, "{statuses:?}");
        assert!(!bench.is_out(1));
    }
}

#[test]
fn gateway_errors_have_a_run_of_their_own() {
    let gateway = OutlierDetection { consecutive_5xx: None, consecutive_gateway: Some(2), ..rules() };
    for (statuses, out) in [
        (&[500, 500, 500][..], false),
        (&[502, 504], true),
        (&[503, 500, 503], false),
        (&[503, 200, 503], false),
    ] {
        let mut bench = Bench::new(gateway.clone(), 1);
        bench.see_statuses(0, statuses);
        assert_eq!(bench.is_out(0), out, "{statuses:?}");
    }
}

#[test]
fn local_failures_count_as_statuses_unless_split() {
    let (both, split) = (rules(), OutlierDetection { consecutive_local: Some(2), ..rules() });
    let failed = Observation::Failed;
    for (rules, seen, out) in [
        (&both, &[failed, failed, failed][..], true),
        (&both, &[failed, Observation::TimedOut, Observation::Status(500)], true),
        (&both, &[failed, failed, Observation::Connected, failed], true),
        (&both, &[failed, failed, Observation::TcpConnected, failed], false),
        (&split, &[failed, Observation::TimedOut], true),
        (&split, &[failed, Observation::Connected, failed], false),
        (&split, &[failed, Observation::Status(503), Observation::Status(503)], false),
        (&split, &[Observation::Status(503), Observation::Status(500), Observation::Status(503)], true),
    ] {
        let mut bench = Bench::new(rules.clone(), 1);
        seen.iter().for_each(|&seen| bench.see(0, seen));
        assert_eq!(bench.is_out(0), out, "{seen:?}");
    }
}

#[test]
fn the_share_of_ejected_endpoints_is_bounded() {
    for (count, percent, out) in [
        (3, 10, 0),
        (9, 10, 0),
        (10, 10, 1),
        (20, 10, 2),
        (2, 50, 1),
        (3, 67, 2),
        (3, 100, 3),
        (1, 100, 1),
        (1, 99, 0),
    ] {
        let mut bench = Bench::new(OutlierDetection { max_ejection_percent: percent, ..rules() }, count);
        (0..count).for_each(|number| bench.see_statuses(number, &[500; 3]));
        assert_eq!(bench.detector.ejected().len(), out, "{percent} % of {count}");
    }
}

#[test]
fn a_run_that_could_not_eject_starts_anew() {
    let mut bench = Bench::new(OutlierDetection { max_ejection_percent: 50, ..rules() }, 2);
    bench.see_statuses(0, &[500; 3]);
    bench.see_statuses(1, &[500; 5]);
    assert!(bench.is_out(0) && !bench.is_out(1));
    bench.at(30);
    bench.see_statuses(1, &[500]);
    assert!(bench.is_out(1) && !bench.is_out(0));
}

#[test]
fn endpoints_come_back_at_sweeps_and_stay_out_longer_each_time() {
    let mut bench = Bench::new(rules(), 1);
    bench.at(5);
    let mut at = 5;
    for ejection in 1..=12_u64 {
        bench.see_statuses(0, &[500; 3]);
        let term = (30 * ejection).min(300);
        let back = (at + term).next_multiple_of(10);
        bench.at(back - 1);
        assert!(bench.is_out(0), "ejection {ejection} at {}", back - 1);
        bench.at(back);
        assert!(!bench.is_out(0), "ejection {ejection} at {back}");
        at = back + 5;
        bench.at(at);
    }
}

#[test]
fn good_times_are_counted_down_sweep_by_sweep() {
    let mut bench = Bench::new(rules(), 1);
    bench.see_statuses(0, &[500; 3]);
    bench.at(30);
    bench.see_statuses(0, &[500; 3]);
    bench.at(90);
    assert!(!bench.is_out(0));
    // Back at 90: the sweeps at 100 and 110 take it to 0, so the next ejection is a first one.
    bench.at(115);
    bench.see_statuses(0, &[500; 3]);
    bench.at(140);
    assert!(bench.is_out(0));
    bench.at(150);
    assert!(!bench.is_out(0));
}

#[test]
fn a_long_silence_is_made_up_for() {
    let mut bench = Bench::new(OutlierDetection { interval: Duration::ZERO, ..rules() }, 1);
    bench.see_statuses(0, &[500; 3]);
    bench.at(1_000_000);
    assert!(!bench.is_out(0) && bench.detector.next_sweep() > bench.now);
}

#[test]
fn members_that_stay_keep_their_state() {
    let mut bench = Bench::new(rules(), 3);
    bench.see_statuses(1, &[500; 3]);
    bench.see_statuses(2, &[500; 2]);
    bench.detector.update(&rules(), &endpoints(4));
    assert!(bench.is_out(1));
    bench.see_statuses(2, &[500]);
    assert!(bench.is_out(2));
    bench.detector.update(&rules(), &endpoints(1));
    assert!(bench.detector.ejected().is_empty());
    bench.detector.update(&rules(), &endpoints(3));
    assert!(bench.detector.ejected().is_empty());
}

/// The rules once more, as plainly as can be: time goes second by second.
#[derive(Debug, Clone, Default)]
struct Plain {
    server_errors: u32,
    gateway_errors: u32,
    local_failures: u32,
    out_since: Option<u64>,
    back_since: Option<u64>,
    times: u32,
}

struct Model {
    rules: OutlierDetection,
    second: u64,
    members: Vec<Plain>,
}

impl Model {
    fn tick(&mut self) {
        self.second += 1;
        if !self.second.is_multiple_of(self.rules.interval.as_secs()) {
            return;
        }
        for member in &mut self.members {
            let term = (self.rules.base_ejection.as_secs() * u64::from(member.times))
                .min(self.rules.max_ejection.as_secs());
            if member.out_since.is_some_and(|since| self.second - since >= term) {
                *member = Plain { times: member.times, back_since: Some(self.second), ..Plain::default() };
            } else if member.out_since.is_none()
                && member.back_since.is_some_and(|since| self.second - since >= self.rules.interval.as_secs())
            {
                member.times = member.times.saturating_sub(1);
            }
        }
    }

    fn see(&mut self, number: usize, seen: Observation) {
        let split = self.rules.consecutive_local.is_some();
        let member = &mut self.members[number];
        match seen {
            Observation::Connected if !split => {}
            Observation::Connected | Observation::TcpConnected if split => member.local_failures = 0,
            Observation::Failed | Observation::TimedOut if split => {
                member.local_failures += 1;
                if Some(member.local_failures) == self.rules.consecutive_local && self.eject(number) {
                    self.members[number].local_failures = 0;
                }
            }
            Observation::Failed => self.status(number, 503),
            Observation::TimedOut => self.status(number, 504),
            Observation::Connected | Observation::TcpConnected => self.status(number, 200),
            Observation::Status(status) => self.status(number, status),
        }
    }

    fn status(&mut self, number: usize, status: u16) {
        let member = &mut self.members[number];
        if !(500..600).contains(&status) {
            (member.server_errors, member.gateway_errors) = (0, 0);
            return;
        }
        member.server_errors += 1;
        member.gateway_errors = if (502..505).contains(&status) { member.gateway_errors + 1 } else { 0 };
        let server = Some(member.server_errors) == self.rules.consecutive_5xx;
        let gateway =
            member.gateway_errors > 0 && Some(member.gateway_errors) == self.rules.consecutive_gateway;
        if gateway && self.eject(number) {
            self.members[number].gateway_errors = 0;
        }
        if server && self.eject(number) {
            self.members[number].server_errors = 0;
        }
    }

    /// Whether the endpoint was in, so that its run is to be forgotten.
    fn eject(&mut self, number: usize) -> bool {
        let out = self.members.iter().filter(|member| member.out_since.is_some()).count();
        let share = 100.0 * (out + 1) as f64 / self.members.len() as f64;
        let (second, rules) = (self.second, &self.rules);
        let member = &mut self.members[number];
        if member.out_since.is_some() {
            return false;
        }
        if share <= f64::from(rules.max_ejection_percent) {
            member.out_since = Some(second);
            if rules.base_ejection * member.times < rules.max_ejection + rules.base_ejection {
                member.times += 1;
            }
        }
        true
    }
}

fn observation() -> impl Strategy<Value = Observation> {
    prop_oneof![
        4 => prop_oneof![Just(500_u16), Just(503)].prop_map(Observation::Status),
        1 => Just(Observation::Status(200)),
        1 => Just(Observation::Connected),
        1 => Just(Observation::TcpConnected),
        3 => Just(Observation::Failed),
        1 => Just(Observation::TimedOut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn agrees_with_the_plain_model(
        thresholds in proptest::array::uniform3(proptest::option::of(1_u32..4)),
        times in (1_u64..4, 1_u64..6, 0_u64..20),
        max_ejection_percent in prop_oneof![Just(10_u32), Just(50), Just(67), Just(100)],
        count in 1_u8..6,
        steps in proptest::collection::vec((0_u64..6, 0_u8..6, observation()), 0..120),
    ) {
        let rules = OutlierDetection {
            consecutive_5xx: thresholds[0],
            consecutive_gateway: thresholds[1],
            consecutive_local: thresholds[2],
            failure_statuses: None,
            interval: Duration::from_secs(times.0),
            base_ejection: Duration::from_secs(times.1),
            max_ejection: Duration::from_secs(times.1 + times.2),
            max_ejection_percent,
            min_health_percent: 0,
        };
        let mut bench = Bench::new(rules.clone(), count);
        let mut model = Model { rules, second: 0, members: vec![Plain::default(); usize::from(count)] };
        for (wait, number, seen) in steps {
            (0..wait).for_each(|_| model.tick());
            bench.at(model.second);
            let number = number % count;
            bench.see(number, seen);
            model.see(usize::from(number), seen);
            let out: Vec<_> = (0..count).filter(|&number| model.members[usize::from(number)].out_since.is_some()).map(address).collect();
            prop_assert_eq!(bench.detector.ejected(), out);
        }
    }
}
