//! Reporting to the cluster: the status of objects, and Events. One replica writes ([`lease`](crate::lease)), all of them
//! say what they serve.
//!
//! ```text
//!   every replica   ── "I serve this state" ──► annotation of the Lease     when the state changes, and every 30 s
//!   the holder      ── renews, reads all annotations in the answer          every 5 s
//!                   ── one patch an object ──► its /status                  when what it says has changed
//! ```
//!
//! All of it is one task beside the watches: it never takes anything away from what is served, and an API server that does
//! not answer costs it its turn.

mod conditions;
mod desk;
mod events;
pub(crate) mod ledger;
mod pace;
mod replicas;
mod speaker;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portcullis_telemetry::metrics::cluster::{Cluster as Gauges, Outcome, Written};
use rand::RngExt as _;
use serde_json::Value;
use tokio::sync::watch as signal;

pub(crate) use desk::Bulletin;

use crate::certificates::clerk::Clerk;
use crate::kubernetes::Applied;
use crate::kubernetes::book::Shared;
use crate::kubernetes::call::{Caller, Failure};
use crate::lease::record::{created, released, renewed, replica_name, taken};
use crate::lease::{Election, Record, Step};
use speaker::Speaker;
use writer::Writer;

/// Between two turns, so that a burst of news costs one.
const BETWEEN_TURNS: Duration = Duration::from_millis(200);
/// Within this time a replica looks at the Lease for the first time.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// How often the holder looks at what replicas say while it waits for them.
const LOOK_WAITING: Duration = Duration::from_millis(500);
/// Attempts at the Lease in one turn: replicas change its version by what they say.
const ATTEMPTS: usize = 3;

/// With what a reporter works.
pub(crate) struct Parts {
    pub(crate) caller: Caller,
    pub(crate) book: Shared,
    pub(crate) told: signal::Receiver<Bulletin>,
    pub(crate) applied: Applied,
    pub(crate) gauges: Arc<Gauges>,
    /// Namespace of the Lease.
    pub(crate) namespace: String,
    /// Name of the Lease.
    pub(crate) lease: String,
    /// Who this replica is, unlike any other one.
    pub(crate) identity: String,
    /// How it is called among the replicas; another process of the same Pod takes its place.
    pub(crate) replica: String,
    pub(crate) clerk: Clerk,
}

/// One replica's part in reporting.
pub(crate) struct Reporter {
    caller: Caller,
    told: signal::Receiver<Bulletin>,
    gauges: Arc<Gauges>,
    office: Office,
    speaker: Speaker,
    writer: Writer,
    clerk: Clerk,
    /// When the Lease is looked at next.
    look: Instant,
    /// What was said about the Lease last, so that it is said once.
    trouble: Option<Failure>,
}

/// The Lease, and how this replica stands to it.
pub(crate) struct Office {
    pub(crate) path: String,
    collection: String,
    namespace: String,
    name: String,
    election: Election,
    record: Option<Record>,
}

impl Reporter {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { caller, book, told, applied, gauges, namespace, lease, identity, replica, clerk } = parts;
        gauges.set_reporting();
        let collection = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        let now = Instant::now();
        Self {
            speaker: Speaker::new(replica_name(&replica), applied, Arc::clone(&book)),
            writer: Writer::new(caller.clone(), book, Arc::clone(&gauges), &identity, now),
            office: Office {
                path: format!("{collection}/{lease}"),
                collection,
                namespace,
                name: lease,
                election: Election::new(identity),
                record: None,
            },
            clerk,
            // Replicas that are started together do not all ask at once.
            look: now + FIRST_LOOK.mul_f64(rand::rng().random()),
            trouble: None,
            caller,
            told,
            gauges,
        }
    }

    /// Reports until it is told to stop, and then gives the Lease back. Dropping it in between leaves the Lease to run out.
    pub(crate) async fn run(mut self, mut stopped: signal::Receiver<bool>) {
        loop {
            let wake = self.turn().await;
            let wake = wake.max(Instant::now() + BETWEEN_TURNS);
            let paused = async {
                tokio::time::sleep(BETWEEN_TURNS).await;
                tokio::select! {
                    () = tokio::time::sleep_until(wake.into()) => {}
                    // The sender lives as long as the control thread, which ends after this.
                    _ = self.told.changed() => {}
                }
            };
            tokio::select! {
                () = paused => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        self.leave().await;
    }

    /// Does what is due; tells when something is due again.
    async fn turn(&mut self) -> Instant {
        if Instant::now() >= self.look {
            self.elect().await;
        }
        let bulletin = self.told.borrow_and_update().clone();
        let soon = self.speak(&bulletin).await;
        let leads = self.office.election.leads(Instant::now());
        self.gauges.set_leading(leads, if leads { self.writer.replicas() } else { 0 });
        if !leads {
            self.writer.rest();
            self.clerk.rest();
            return self.look.min(soon);
        }
        let (election, look) = (&self.office.election, self.look);
        let may_write = move || election.leads(Instant::now()) && Instant::now() < look;
        let asked = match (&bulletin.certificates, bulletin.live) {
            (Some(orders), true) => self.clerk.turn(orders, may_write).await,
            _ => None,
        };
        let soon = asked.map_or(soon, |due| due.min(soon));
        let next = self.writer.turn(bulletin, self.speaker.reached(), may_write).await;
        if next.waits && Instant::now() + LOOK_WAITING < self.look {
            self.listen().await;
            return (Instant::now() + LOOK_WAITING).min(soon);
        }
        next.due.map_or(self.look, |due| due.min(self.look)).min(soon)
    }

    /// Takes, renews or looks at the Lease.
    async fn elect(&mut self) {
        let led = self.office.election.leads(Instant::now());
        let mut result = Ok(());
        for _ in 0..ATTEMPTS {
            result = self.attempt().await;
            if result.as_ref().is_err_and(Failure::is_conflict) {
                self.gauges.wrote(Written::Lease, Outcome::Conflict);
                self.office.record = None;
                continue;
            }
            break;
        }
        let now = Instant::now();
        match &result {
            Ok(()) => self.trouble = None,
            Err(failure) => {
                self.gauges.wrote(Written::Lease, Outcome::Failed);
                if self.trouble.as_ref() != Some(failure) {
                    tracing::warn!(
                        lease = self.office.path,
                        code = failure.code,
                        "the Lease of the writer of status and events cannot be had: {}",
                        failure.message
                    );
                }
                self.trouble = result.err();
            }
        }
        let leads = self.office.election.leads(now);
        if leads != led {
            tracing::info!(
                leads,
                identity = self.office.election.identity(),
                "which replica writes status and events"
            );
        }
        self.look = now + vary(self.office.election.pause(now));
    }

    async fn attempt(&mut self) -> Result<(), Failure> {
        let sent = Instant::now();
        let office = &mut self.office;
        if office.record.is_none() || !office.election.leads(sent) {
            office.record = match self.caller.read(&office.path).await {
                Ok(lease) => Some(Record::read(&lease)),
                Err(failure) if failure.is_missing() => None,
                Err(failure) => return Err(failure),
            };
            office.election.observe(office.record.as_ref().map(|record| record.held.clone()), Instant::now());
        }
        let (identity, wall) = (office.election.identity(), SystemTime::now());
        let version = office.record.as_ref().map_or("", |record| record.version.as_str());
        let answer = match office.election.step(Instant::now()) {
            Step::Wait => return Ok(()),
            Step::Create => {
                let lease = created(&office.name, &office.namespace, identity, wall);
                self.caller.create(&office.collection, &lease).await
            }
            Step::Take => {
                let transitions = office.election.transitions() + 1;
                self.caller.patch(&office.path, &taken(version, identity, transitions, wall)).await
            }
            Step::Renew => {
                let silent = self.writer.silent(Instant::now());
                self.caller.patch(&office.path, &renewed(version, &silent, wall)).await
            }
        };
        let lease = answer?;
        self.gauges.wrote(Written::Lease, Outcome::Done);
        self.hold(&lease, sent);
        Ok(())
    }

    /// The Lease is ours, as this answer says.
    fn hold(&mut self, lease: &Value, sent: Instant) {
        let record = Record::read(lease);
        self.office.election.won(record.held.clone(), sent);
        self.hear(record);
    }

    fn hear(&mut self, record: Record) {
        let mut said = record.replicas.clone();
        said.remove(self.speaker.name());
        self.writer.hear(said, Instant::now());
        self.office.record = Some(record);
    }

    /// Reads what the replicas say, while they are waited for.
    async fn listen(&mut self) {
        if let Ok(lease) = self.caller.read(&self.office.path).await {
            let record = Record::read(&lease);
            self.office.election.observe(Some(record.held.clone()), Instant::now());
            self.hear(record);
        }
    }

    /// Says what this replica serves, if that is news; tells when to look again.
    async fn speak(&mut self, bulletin: &Bulletin) -> Instant {
        let now = Instant::now();
        let Some(words) = self.speaker.words(bulletin, now) else { return self.speaker.due(now) };
        let said = self.caller.patch(&self.office.path, &self.speaker.patch(&words)).await;
        match said {
            Ok(lease) => {
                self.gauges.wrote(Written::Lease, Outcome::Done);
                self.speaker.spoke(&words, now);
                if self.office.election.leads(now) {
                    self.hear(Record::read(&lease));
                }
            }
            // The first holder is about to make it.
            Err(failure) if failure.is_missing() => self.speaker.unheard(now),
            Err(failure) => {
                tracing::debug!(
                    code = failure.code,
                    "what this replica serves cannot be said: {}",
                    failure.message
                );
                self.gauges.wrote(Written::Lease, Outcome::Failed);
                self.speaker.unheard(now);
            }
        }
        self.speaker.due(Instant::now())
    }

    /// Takes back what was said, and gives the Lease back.
    async fn leave(mut self) {
        let farewell = self.speaker.farewell();
        let said = self.caller.patch(&self.office.path, &farewell).await;
        if !self.office.election.leads(Instant::now()) {
            return;
        }
        let mut version = said.ok().map(|lease| Record::read(&lease).version);
        for _ in 0..ATTEMPTS {
            let seen = match version.take() {
                Some(version) => version,
                None => match self.caller.read(&self.office.path).await {
                    Ok(lease) => {
                        let record = Record::read(&lease);
                        if record.held.holder != self.office.election.identity() {
                            return;
                        }
                        record.version
                    }
                    Err(_) => return,
                },
            };
            match self.caller.patch(&self.office.path, &released(&seen, SystemTime::now())).await {
                Ok(_) => {
                    self.office.election.released();
                    self.gauges.set_leading(false, 0);
                    tracing::info!("the Lease is given back");
                    return;
                }
                Err(failure) if failure.is_conflict() => {}
                Err(_) => return,
            }
        }
    }
}

/// Between nine and eleven tenths of it, so that replicas do not come all at once.
fn vary(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.9..1.1))
}
