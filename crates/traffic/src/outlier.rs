//! Outlier detection: endpoints that fail several times in a row are left out for a while.
//!
//! Rules are Envoy's (1.31 and later) under Istio's settings:
//!
//! - A run of 5xx, of gateway errors (502, 503, 504) or of local failures ejects, each when its own
//!   count reaches its threshold. Without `splitExternalLocalOriginErrors` a local failure counts as
//!   a status: no connection as 503, a timeout as 504.
//! - An ejection must leave the share of ejected endpoints within `maxEjectionPercent`, itself
//!   included; otherwise the run is forgotten and the endpoint stays.
//! - The n-th ejection lasts n × `baseEjectionTime`, at most the longest ejection. n falls by one at
//!   each sweep that finds the endpoint back for an interval or longer.
//! - Endpoints come back at sweeps only, one every `interval`.
//!
//! ```text
//!            run reaches threshold, share allows it
//!   in  ──────────────────────────────────────────────►  out
//!    ▲                                                    │
//!    └────────────────────────────────────────────────────┘
//!            first sweep behind its time
//! ```
//!
//! Counting is done where requests end, on any worker, on a [`Monitor`] of atomics; the verdict is
//! the [`Detector`]'s.

mod monitor;

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_snapshot::FastMap;
use portcullis_snapshot::cluster::{Address, Endpoints, OutlierDetection};

pub use monitor::{Monitor, Observation, Run};

/// Who is out, and for how long.
#[derive(Debug)]
pub struct Detector {
    rules: OutlierDetection,
    members: FastMap<Address, Member>,
    ejected: usize,
    last_sweep: Instant,
}

#[derive(Debug)]
struct Member {
    monitor: Arc<Monitor>,
    /// How often it was ejected of late: the factor of the next ejection's time.
    ejections: u32,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// In, and never out before.
    Fresh,
    /// Out since.
    Out(Instant),
    /// In again since.
    Back(Instant),
}

impl Detector {
    /// A detector that has seen nothing yet. `now` starts the first interval.
    #[must_use]
    pub fn new(rules: &OutlierDetection, endpoints: &Endpoints, now: Instant) -> Self {
        let mut detector =
            Self { rules: rules.clone(), members: FastMap::default(), ejected: 0, last_sweep: now };
        detector.update(rules, endpoints);
        detector
    }

    /// Takes over new rules and members; what is known of members that stay is kept.
    pub fn update(&mut self, rules: &OutlierDetection, endpoints: &Endpoints) {
        self.rules = rules.clone();
        let mut old = std::mem::take(&mut self.members);
        for endpoint in &endpoints.all {
            let address = endpoint.address.clone();
            let member = old.remove(&address).unwrap_or_else(|| Member {
                monitor: Arc::default(),
                ejections: 0,
                state: State::Fresh,
            });
            self.members.insert(address, member);
        }
        self.ejected = self.members.values().filter(|member| member.is_out()).count();
    }

    /// The monitor that requests to `address` report to.
    #[must_use]
    pub fn monitor(&self, address: &Address) -> Option<Arc<Monitor>> {
        self.members.get(address).map(|member| Arc::clone(&member.monitor))
    }

    /// Ejects `address` because of `run`, if it is in and the share of ejected endpoints allows it;
    /// tells whether that happened. The run is forgotten either way.
    pub fn eject(&mut self, address: &Address, run: Run, now: Instant) -> bool {
        let count = self.members.len();
        let within = (self.ejected + 1) * 100 <= count * self.rules.max_ejection_percent.min(100) as usize;
        let Some(member) = self.members.get_mut(address).filter(|member| !member.is_out()) else {
            return false;
        };
        member.monitor.forget(run);
        if !within {
            return false;
        }
        member.state = State::Out(now);
        // Kept from growing where it makes no difference, so that it also falls back in time.
        if self.rules.base_ejection.saturating_mul(member.ejections)
            < self.rules.max_ejection.saturating_add(self.rules.base_ejection)
        {
            member.ejections += 1;
        }
        self.ejected += 1;
        true
    }

    /// Does the sweeps that are due by `now`, and tells when an endpoint first came back by them.
    ///
    /// A sweep acts at the time it was due, so it makes no difference how late this is called.
    pub fn sweep(&mut self, now: Instant) -> Option<Instant> {
        let mut returned = None;
        let mut sweeps = 0;
        while now >= self.next_sweep() && sweeps < MAX_SWEEPS {
            self.last_sweep = self.next_sweep();
            returned = returned.or(self.sweep_once());
            sweeps += 1;
        }
        if now >= self.next_sweep() {
            // So long without a request that the sweeps left out could only count ejections down.
            self.last_sweep = now;
            returned = returned.or(self.sweep_once());
        }
        returned
    }

    /// Shows on the monitors who is out now; what happens later stays unseen until it is shown.
    pub fn show(&self) {
        self.members.values().for_each(|member| member.monitor.set_ejected(member.is_out()));
    }

    /// When the next sweep is due.
    #[must_use]
    pub fn next_sweep(&self) -> Instant {
        self.last_sweep + self.rules.interval.max(SHORTEST_INTERVAL)
    }

    /// The endpoints that are out, in order of address.
    #[must_use]
    pub fn ejected(&self) -> Vec<Address> {
        let out = self.members.iter().filter(|(_, member)| member.is_out());
        let mut addresses: Vec<_> = out.map(|(address, _)| address.clone()).collect();
        addresses.sort_unstable();
        addresses
    }

    /// The time of the sweep, if an endpoint came back by it.
    fn sweep_once(&mut self) -> Option<Instant> {
        let (now, rules) = (self.last_sweep, &self.rules);
        let mut returned = false;
        for member in self.members.values_mut() {
            match member.state {
                State::Out(since) => {
                    let term = rules.base_ejection.saturating_mul(member.ejections).min(rules.max_ejection);
                    if now.saturating_duration_since(since) >= term {
                        member.state = State::Back(now);
                        member.monitor.forget_all();
                        self.ejected -= 1;
                        returned = true;
                    }
                }
                State::Back(since) if now.saturating_duration_since(since) >= rules.interval => {
                    member.ejections = member.ejections.saturating_sub(1);
                }
                State::Back(_) | State::Fresh => {}
            }
        }
        returned.then_some(now)
    }
}

impl Drop for Detector {
    /// Detection switched off puts everyone back in.
    fn drop(&mut self) {
        self.members.values().for_each(|member| member.monitor.set_ejected(false));
    }
}

impl Member {
    fn is_out(&self) -> bool {
        matches!(self.state, State::Out(_))
    }
}

/// Keeps a wrong interval from turning into an endless loop.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// Most sweeps made up for in one call. Ten sweeps of ten seconds suffice for the longest default
/// ejection; this many also do for short intervals.
const MAX_SWEEPS: u32 = 1_000;

#[cfg(test)]
mod tests;
