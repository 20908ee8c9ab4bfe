//! Active health checks: once per process, on a thread of its own, so that no request ever waits for one.
//!
//! The thread follows the snapshots. For each endpoint of a cluster with a health check there is a task that asks,
//! waits and asks again; what it finds goes to [`portcullis_traffic::shared`], where every worker sees it with its next
//! pick. A task goes on through new snapshots as long as its cluster, address and check stay; verdicts stay, too.

mod probe;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_snapshot::cell::Reader;
use portcullis_snapshot::cluster::Address;
use portcullis_snapshot::health_check::HealthCheck;
use portcullis_snapshot::{Cluster, Snapshot};
use portcullis_telemetry::metrics::{HealthCheckCount, Metrics};
use portcullis_traffic::health::Judge;
use portcullis_traffic::{Registry, SharedCluster};
use rand::RngExt as _;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::Phase;

/// Checks under way at once; the others wait for their turn. Each is bounded by its own timeout, so endpoints that
/// hang slow the pace and stop nothing.
const AT_ONCE: usize = 256;
/// The first check of an endpoint comes within this time, so that a new configuration does not ask all at once.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// How often counts go to the metrics.
const REPORT: Duration = Duration::from_secs(1);

/// What the thread needs.
pub(crate) struct Start {
    pub(crate) reader: Reader,
    pub(crate) learned: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    /// Told of each publication.
    pub(crate) woken: mpsc::Receiver<()>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// Runs until the gateway stops.
pub(crate) fn run(start: Start) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "no health checks: their runtime cannot be made"),
    };
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(follow(start)));
}

async fn follow(start: Start) {
    let Start { reader, learned, metrics, mut woken, mut phase } = start;
    let mut checks = Checks { learned, groups: HashMap::new(), turns: Rc::new(Semaphore::new(AT_ONCE)) };
    let mut report = tokio::time::interval(REPORT);
    report.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = 0;
    loop {
        if reader.generation() != seen {
            let snapshot = reader.current();
            seen = snapshot.generation;
            checks.follow(&snapshot);
        }
        tokio::select! {
            news = woken.recv() => if news.is_none() { return },
            gone = phase.wait_for(|phase| *phase == Phase::Stop) => {
                drop(gone);
                return;
            }
            _ = report.tick(), if !checks.groups.is_empty() => {
                metrics.process().set_health_checks(checks.counts());
            }
        }
        if checks.groups.is_empty() {
            metrics.process().set_health_checks(Vec::new());
        }
    }
}

/// Everything that is checked.
struct Checks {
    learned: Arc<Registry>,
    groups: HashMap<Arc<str>, Group>,
    turns: Rc<Semaphore>,
}

/// The checks of one cluster.
struct Group {
    common: Rc<Common>,
    check: Arc<HealthCheck>,
    tasks: HashMap<Address, Task>,
}

/// What the tasks of a cluster share.
struct Common {
    shared: Arc<SharedCluster>,
    /// The newest version.
    cluster: RefCell<Arc<Cluster>>,
    passed: std::cell::Cell<u64>,
    failed: std::cell::Cell<u64>,
}

/// Ends with its handle.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Checks {
    /// Checks what `snapshot` wants checked, and nothing else.
    fn follow(&mut self, snapshot: &Snapshot) {
        self.groups.retain(|name, group| {
            let wanted = snapshot.cluster_named(name).is_some_and(|cluster| cluster.health_check.is_some());
            if !wanted {
                group.forget(|_| false);
            }
            wanted
        });
        for cluster in snapshot.clusters.iter() {
            if let Some(check) = &cluster.health_check {
                self.follow_one(cluster, check);
            }
        }
    }

    fn follow_one(&mut self, cluster: &Arc<Cluster>, check: &Arc<HealthCheck>) {
        let group = self.groups.entry(Arc::clone(&cluster.name)).or_insert_with(|| Group {
            common: Rc::new(Common {
                shared: self.learned.cluster(cluster, Instant::now()),
                cluster: RefCell::new(Arc::clone(cluster)),
                passed: std::cell::Cell::default(),
                failed: std::cell::Cell::default(),
            }),
            check: Arc::clone(check),
            tasks: HashMap::new(),
        });
        *group.common.cluster.borrow_mut() = Arc::clone(cluster);
        if group.check != *check {
            group.check = Arc::clone(check);
            group.tasks.clear();
        }
        let members = &cluster.endpoints.all;
        group.forget(|address| members.binary_search_by(|endpoint| endpoint.address.cmp(address)).is_ok());
        let failing = group.common.shared.failing();
        for member in members {
            if group.tasks.contains_key(&member.address) {
                continue;
            }
            let judge = Judge::new(failing.binary_search(&member.address).is_ok());
            let subject = Subject {
                common: Rc::clone(&group.common),
                address: member.address.clone(),
                check: Arc::clone(check),
                turns: Rc::clone(&self.turns),
            };
            let task = Task(tokio::task::spawn_local(subject.watch(judge)));
            group.tasks.insert(member.address.clone(), task);
        }
    }

    fn counts(&self) -> Vec<HealthCheckCount> {
        let count = |(name, group): (&Arc<str>, &Group)| HealthCheckCount {
            cluster: Arc::clone(name),
            passed: group.common.passed.get(),
            failed: group.common.failed.get(),
            failing: group.common.shared.failing().len() as u64,
        };
        let mut counts: Vec<_> = self.groups.iter().map(count).collect();
        counts.sort_by(|one, other| one.cluster.cmp(&other.cluster));
        counts
    }
}

impl Group {
    /// Ends the checks of addresses that `keep` does not want, and takes back what was said about them.
    fn forget(&mut self, keep: impl Fn(&Address) -> bool) {
        self.tasks.retain(|address, _| keep(address));
        for address in self.common.shared.failing() {
            if !keep(&address) {
                self.common.shared.set_failing(&address, false);
            }
        }
    }
}

/// One endpoint under watch.
struct Subject {
    common: Rc<Common>,
    address: Address,
    check: Arc<HealthCheck>,
    turns: Rc<Semaphore>,
}

impl Subject {
    /// Asks again and again; ends when it is dropped.
    async fn watch(self, mut judge: Judge) {
        sleep(self.check.interval.min(FIRST_WITHIN).mul_f64(rand::rng().random_range(0.0..1.0))).await;
        loop {
            let found = self.ask().await;
            let count = if found.is_ok() { &self.common.passed } else { &self.common.failed };
            count.set(count.get() + 1);
            if let Some(failing) = judge.hear(found.is_ok(), &self.check) {
                self.common.shared.set_failing(&self.address, failing);
                let cluster = Arc::clone(&self.common.cluster.borrow().name);
                match found {
                    Ok(()) => tracing::info!(%cluster, address = %self.address, "endpoint is well again"),
                    Err(reason) => {
                        tracing::warn!(%cluster, address = %self.address, reason, "endpoint fails its health checks");
                    }
                }
            }
            sleep(self.check.interval.mul_f64(rand::rng().random_range(0.9..1.1))).await;
        }
    }

    async fn ask(&self) -> Result<(), String> {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await.map_err(|error| error.to_string())?;
        let cluster = Arc::clone(&self.common.cluster.borrow());
        let address = match self.check.port {
            Some(port) => self.address.at_port(port),
            None => self.address.clone(),
        };
        let asked = timeout(self.check.timeout, probe::ask(&cluster, &address, &self.check.probe));
        asked.await.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.check.timeout)))
    }
}
