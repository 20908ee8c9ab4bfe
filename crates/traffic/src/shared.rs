//! What all workers know together about a cluster: use of its limits, and who is ejected.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_snapshot::FastMap;
use portcullis_snapshot::cluster::{Address, Cluster, Endpoints, OutlierDetection};

use crate::breaker::Breaker;
use crate::outlier::{Detector, Monitor, Observation};

/// The clusters of the process, by name.
///
/// Bounded by the configuration: a name comes in when a worker first uses its cluster and goes with
/// [`retain`](Self::retain), which whoever publishes snapshots calls.
#[derive(Debug, Default)]
pub struct Registry {
    clusters: Mutex<FastMap<Arc<str>, Arc<SharedCluster>>>,
}

impl Registry {
    /// What is known about `cluster`; at first, nothing.
    #[must_use]
    pub fn cluster(&self, cluster: &Cluster, now: Instant) -> Arc<SharedCluster> {
        let mut clusters = lock(&self.clusters);
        if let Some(known) = clusters.get(&cluster.name) {
            return Arc::clone(known);
        }
        let shared = Arc::new(SharedCluster::new(cluster, now));
        clusters.insert(Arc::clone(&cluster.name), Arc::clone(&shared));
        shared
    }

    /// Forgets the clusters whose name `keep` does not want. Workers that still hold one go on with
    /// it. There may be many: a worker that meets a new cluster does not wait until `keep` was asked about all.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut gone: Vec<Arc<str>> = lock(&self.clusters).keys().cloned().collect();
        gone.retain(|name| !keep(name));
        if !gone.is_empty() {
            let mut clusters = lock(&self.clusters);
            gone.iter().for_each(|name| drop(clusters.remove(name)));
        }
    }

    /// Calls `see` for each cluster known, in no particular order.
    pub fn each(&self, mut see: impl FnMut(&str, &SharedCluster)) {
        lock(&self.clusters).iter().for_each(|(name, shared)| see(name, shared));
    }
}

/// One cluster, as the whole process knows it.
#[derive(Debug)]
pub struct SharedCluster {
    breaker: Arc<Breaker>,
    /// Counts changes of who is ejected, so that a worker sees with one load that nothing changed.
    verdicts: AtomicU64,
    /// Nanoseconds from `born` to the next sweep, or to when a change that is held back is due; `u64::MAX`
    /// without detection.
    next_sweep: AtomicU64,
    born: Instant,
    detection: Mutex<Detection>,
    /// The members that fail their health checks.
    failing: Mutex<BTreeSet<Address>>,
}

#[derive(Debug, Default)]
struct Detection {
    detector: Option<Detector>,
    /// What the detector was last told, to tell it only news.
    told: Option<(Arc<OutlierDetection>, Arc<Endpoints>)>,
    /// When workers were last shown a change of who is ejected.
    shown: Option<Instant>,
    /// Since when one is held back.
    held_back: Option<Instant>,
    /// With a warm-up: since when each member is there and healthy.
    arrivals: FastMap<Address, Instant>,
}

/// Workers are shown changes of who is ejected at once, but one that follows another within this time only after as long
/// again: Envoy merges changes of health (`update_merge_window`). So when several endpoints begin to fail together, the
/// first one is left at once and the others stay in use for a window, and an ejection shorter than one lasts that much
/// longer, as recorded. What comes behind the window is shown at once, with all that was held back.
const MERGE_WINDOW: Duration = Duration::from_secs(1);

impl SharedCluster {
    /// Nothing in use, nobody ejected.
    #[must_use]
    pub fn new(cluster: &Cluster, now: Instant) -> Self {
        let shared = Self {
            breaker: Arc::new(Breaker::new(&cluster.pool)),
            verdicts: AtomicU64::new(0),
            next_sweep: AtomicU64::new(u64::MAX),
            born: now,
            detection: Mutex::default(),
            failing: Mutex::default(),
        };
        shared.update(cluster, now);
        shared
    }

    /// Takes over limits, rules and members of a newer snapshot; what was learned stays.
    ///
    /// Every worker calls this when it meets the snapshot; the second call finds nothing to do.
    pub fn update(&self, cluster: &Cluster, now: Instant) {
        self.breaker.update(&cluster.pool);
        let mut detection = lock(&self.detection);
        if cluster.warmup.is_some() || !detection.arrivals.is_empty() {
            detection.note_arrivals(cluster, now);
        }
        let Detection { detector, told, .. } = &mut *detection;
        let Some(rules) = &cluster.outlier else {
            if detector.take().is_some() {
                self.verdicts.fetch_add(1, Ordering::Release);
            }
            (detection.told, detection.held_back) = (None, None);
            self.next_sweep.store(u64::MAX, Ordering::Relaxed);
            return;
        };
        let known = |(old, members): &(Arc<OutlierDetection>, _)| {
            old == rules && Arc::ptr_eq(members, &cluster.endpoints)
        };
        if told.as_ref().is_some_and(known) {
            return;
        }
        *told = Some((Arc::clone(rules), Arc::clone(&cluster.endpoints)));
        match detector {
            Some(detector) => detector.update(rules, &cluster.endpoints),
            None => *detector = Some(Detector::new(rules, &cluster.endpoints, now)),
        }
        // Another list of members is seen as it is, whatever was held back.
        detection.held_back = None;
        detection.detector.iter().for_each(Detector::show);
        self.note_sweep(&detection);
        self.verdicts.fetch_add(1, Ordering::Release);
    }

    /// The limits.
    #[must_use]
    pub fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    /// The endpoints that are out, in order of address.
    #[must_use]
    pub fn ejected(&self) -> Vec<Address> {
        lock(&self.detection).detector.as_ref().map(Detector::ejected).unwrap_or_default()
    }

    /// Takes in the verdict of health checks about a member; workers see it with their next pick.
    pub fn set_failing(&self, address: &Address, failing: bool) {
        let mut all = lock(&self.failing);
        let changed = if failing { all.insert(address.clone()) } else { all.remove(address) };
        if changed {
            self.verdicts.fetch_add(1, Ordering::Release);
        }
    }

    /// The endpoints that fail their health checks, in order of address.
    #[must_use]
    pub fn failing(&self) -> Vec<Address> {
        lock(&self.failing).iter().cloned().collect()
    }

    /// For each of `members`, whether it fails its health checks.
    pub(crate) fn are_failing<'a>(&self, members: impl Iterator<Item = &'a Address>) -> Vec<bool> {
        let failing = lock(&self.failing);
        members.map(|address| failing.contains(address)).collect()
    }

    /// Changes whenever who is ejected or failing may have changed.
    pub(crate) fn verdicts(&self) -> u64 {
        self.verdicts.load(Ordering::Acquire)
    }

    /// The monitors of `members`, one for each, `None` without detection.
    pub(crate) fn monitors<'a>(
        &self,
        members: impl Iterator<Item = &'a Address>,
    ) -> Vec<Option<Arc<Monitor>>> {
        let detection = lock(&self.detection);
        let of = |address| detection.detector.as_ref().and_then(|detector| detector.monitor(address));
        members.map(of).collect()
    }

    /// Since when each of `members` is there and healthy, as far as that is known.
    pub(crate) fn arrivals<'a>(&self, members: impl Iterator<Item = &'a Address>) -> Vec<Option<Instant>> {
        let detection = lock(&self.detection);
        members.map(|address| detection.arrivals.get(address).copied()).collect()
    }

    /// Counts what was seen of `address`, and ejects it when that was once too often.
    pub(crate) fn observe(
        &self,
        rules: &OutlierDetection,
        address: &Address,
        monitor: &Monitor,
        seen: Observation,
        now: Instant,
    ) {
        for run in monitor.observe(rules, seen) {
            // Rare: an endpoint has just failed for the n-th time in a row.
            let mut detection = lock(&self.detection);
            if detection.detector.as_mut().is_some_and(|detector| detector.eject(address, run, now)) {
                self.show(&mut detection, now);
                self.note_sweep(&detection);
            }
        }
    }

    /// Brings endpoints back when a sweep is due: one load when none is.
    pub(crate) fn sweep(&self, now: Instant) {
        if nanos(now, self.born) < self.next_sweep.load(Ordering::Relaxed) {
            return;
        }
        let mut detection = lock(&self.detection);
        if let Some(at) = detection.detector.as_mut().and_then(|detector| detector.sweep(now)) {
            self.show(&mut detection, at);
        }
        // Held back until then, if not shown meanwhile.
        if let Some(due) = detection.held_back.map(|since| since + MERGE_WINDOW).filter(|due| *due <= now) {
            self.show(&mut detection, due);
        }
        self.note_sweep(&detection);
    }

    /// Shows workers a change of who is ejected that came `at` some time, or holds it back.
    fn show(&self, detection: &mut Detection, at: Instant) {
        let until = detection.shown.map(|shown| shown + MERGE_WINDOW);
        let due = detection.held_back.map(|since| since + MERGE_WINDOW);
        if until.is_some_and(|until| at < until) && due.is_none_or(|due| at < due) {
            detection.held_back.get_or_insert(at);
        } else {
            (detection.shown, detection.held_back) = (Some(at), None);
            detection.detector.iter().for_each(Detector::show);
            self.verdicts.fetch_add(1, Ordering::Release);
        }
    }

    fn note_sweep(&self, detection: &Detection) {
        let sweep = detection.detector.as_ref().map(Detector::next_sweep);
        let due = detection.held_back.map(|since| since + MERGE_WINDOW);
        let next = sweep.into_iter().chain(due).map(|next| nanos(next, self.born)).min();
        self.next_sweep.store(next.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Detection {
    /// An endpoint arrives when it is first seen healthy, and again after it was not.
    fn note_arrivals(&mut self, cluster: &Cluster, now: Instant) {
        let mut before = std::mem::take(&mut self.arrivals);
        if cluster.warmup.is_none() {
            return;
        }
        for member in cluster.endpoints.all.iter().filter(|member| member.healthy) {
            let since = before.remove(&member.address).unwrap_or(now);
            self.arrivals.insert(member.address.clone(), since);
        }
    }
}

fn nanos(later: Instant, earlier: Instant) -> u64 {
    u64::try_from(later.saturating_duration_since(earlier).as_nanos()).unwrap_or(u64::MAX)
}

/// A panic while a lock was held costs the request it happened in, not the cluster.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
