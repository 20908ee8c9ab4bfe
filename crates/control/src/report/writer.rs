//! The writer at work: takes one status after the other from the desk to the API server, within its budget.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use portcullis_telemetry::metrics::cluster::{Cluster as Gauges, Outcome, Written};
use serde_json::Value;

use super::desk::{Bulletin, Desk, Plan, Work};
use super::events::{Event, Herald, once_more};
use super::pace::Pace;
use super::replicas::Replicas;
use crate::kubernetes::book::Shared;
use crate::kubernetes::call::{Caller, Failure};
use crate::settle::{Settle, SettleTimes};

/// Changes are gathered for so long: people apply objects that belong together one after the other.
const BURST: SettleTimes = SettleTimes {
    quiet: Duration::from_secs(1),
    quiet_whole: Duration::from_secs(1),
    longest: Duration::from_secs(5),
};
/// Writes at once, and each second after that: as many as istiod's client allows itself. They go one after the other, so an
/// API server on a slow disk sets its own pace; a thousand routes that are applied together wait some ten seconds for theirs.
const STATUS_BURST: u32 = 160;
const STATUS_PER_SECOND: f64 = 80.0;
/// The same for Events, of which the rest is left out: the statuses have it.
const EVENT_BURST: u32 = 25;
const EVENTS_PER_SECOND: f64 = 0.2;

/// What writes.
pub(crate) struct Writer {
    caller: Caller,
    book: Shared,
    gauges: Arc<Gauges>,
    instance: String,
    desk: Desk,
    herald: Herald,
    replicas: Replicas,
    queue: VecDeque<Work>,
    status_pace: Pace,
    event_pace: Pace,
    /// What was looked at last: a version of the ledger, and whether the bulletin knew all of it.
    ground: Option<(u64, bool)>,
    /// A burst of changes: what is wrong in the middle of it is not told.
    burst: Settle,
    /// Whether there is something that the last plan did not know.
    stale: bool,
    /// What the last plan could not do yet.
    rest: Plan,
    /// What was said about writes last, so that it is said once.
    trouble: Option<Failure>,
}

/// When to come back.
pub(crate) struct Next {
    /// Replicas are waited for.
    pub(crate) waits: bool,
    /// Something is due.
    pub(crate) due: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(
        caller: Caller,
        book: Shared,
        gauges: Arc<Gauges>,
        instance: &str,
        now: Instant,
    ) -> Self {
        Self {
            caller,
            book,
            gauges,
            instance: instance.chars().take(128).collect(),
            desk: Desk::default(),
            herald: Herald::default(),
            replicas: Replicas::default(),
            queue: VecDeque::new(),
            status_pace: Pace::new(STATUS_BURST, STATUS_PER_SECOND, now),
            event_pace: Pace::new(EVENT_BURST, EVENTS_PER_SECOND, now),
            ground: None,
            burst: Settle::new(BURST),
            stale: true,
            rest: Plan::default(),
            trouble: None,
        }
    }

    /// The replicas that are known, this one too.
    pub(crate) fn replicas(&self) -> u64 {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        self.replicas.reached(&book.ledger, Instant::now()).len() as u64 + 1
    }

    pub(crate) fn hear(&mut self, said: BTreeMap<String, String>, now: Instant) {
        self.stale |= self.replicas.hear(said, now);
    }

    pub(crate) fn silent(&self, now: Instant) -> Vec<String> {
        self.replicas.silent(now)
    }

    /// Somebody else writes.
    pub(crate) fn rest(&mut self) {
        self.queue.clear();
        self.replicas.forget();
        (self.ground, self.herald) = (None, Herald::default());
    }

    /// Writes what is due, as long as it may.
    pub(crate) async fn turn(
        &mut self,
        bulletin: Bulletin,
        own: Option<u64>,
        may_write: impl Fn() -> bool,
    ) -> Next {
        if !bulletin.live {
            // What was saved is no ground for saying anything about what is there.
            return Next { waits: false, due: None };
        }
        let events = self.plan(bulletin, own);
        for event in events {
            if !may_write() {
                break;
            }
            self.announce(event).await;
        }
        while !self.queue.is_empty() && may_write() {
            if !self.status_pace.take(Instant::now()) {
                break;
            }
            if let Some(work) = self.queue.pop_front() {
                self.write(work).await;
            }
        }
        let pause = (!self.queue.is_empty()).then(|| Instant::now() + self.status_pace.pause());
        let due = [pause, self.rest.due].into_iter().flatten().min();
        Next { waits: self.rest.waits, due }
    }

    /// Looks at everything, if anything changed; gives the Events that are new.
    fn plan(&mut self, bulletin: Bulletin, own: Option<u64>) -> Vec<Event> {
        let book = Arc::clone(&self.book);
        let book = book.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, wall) = (Instant::now(), SystemTime::now());
        let ground = (book.ledger.version(), bulletin.news >= book.ledger.newest());
        let due = self.rest.waits || self.rest.due.is_some_and(|due| due <= now);
        if self.desk.take(bulletin) || self.ground != Some(ground) {
            (self.ground, self.stale) = (Some(ground), true);
            self.burst.note(now);
        }
        if let Some(end) = self.burst.due()
            && !self.burst.finish(now)
        {
            // Replicas are heard meanwhile.
            self.rest = Plan { waits: true, due: Some(end), ..Plan::default() };
            return Vec::new();
        }
        let due = due && self.queue.is_empty();
        if !self.stale && !due {
            return Vec::new();
        }
        let mut reached = vec![own];
        reached.extend(self.replicas.reached(&book.ledger, now));
        let mut plan = self.desk.plan(&book.ledger, &reached, now, wall);
        self.queue = std::mem::take(&mut plan.work).into();
        (self.stale, self.rest) = (false, plan);
        self.herald.news(self.desk.errors(&book.ledger), &self.instance, wall)
    }

    async fn write(&mut self, work: Work) {
        let path = format!("{}/status", work.path);
        match self.caller.patch(&path, &work.patch).await {
            Ok(object) => {
                tracing::debug!(path, status = %work.patch["status"], "status written");
                self.gauges.wrote(Written::Status, Outcome::Done);
                self.desk.tried(&work, Instant::now());
                self.enter(&work, &object);
            }
            Err(failure) if failure.is_conflict() => {
                // Somebody else has written: what they wrote is read, and the status made anew from it.
                self.gauges.wrote(Written::Status, Outcome::Conflict);
                self.stale = true;
                if let Ok(object) = self.caller.read(&work.path).await {
                    self.enter(&work, &object);
                }
            }
            // It is gone; its watch will say so.
            Err(failure) if failure.is_missing() => self.desk.tried(&work, Instant::now()),
            Err(failure) => {
                self.gauges.wrote(Written::Status, Outcome::Failed);
                self.desk.tried(&work, Instant::now());
                self.stale = true;
                self.complain("a status cannot be written", &path, failure);
            }
        }
    }

    /// What the API server says of an object now; a generation that is news comes with its watch.
    fn enter(&self, work: &Work, object: &Value) {
        if object["metadata"]["generation"] == work.generation {
            let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            book.ledger.wrote(&work.name, version, object["status"].clone());
        }
    }

    async fn announce(&mut self, event: Event) {
        if !self.event_pace.take(Instant::now()) {
            self.gauges.wrote(Written::Event, Outcome::Dropped);
            return;
        }
        let collection = format!("/apis/events.k8s.io/v1/namespaces/{}/events", event.namespace);
        let result = match self.caller.create(&collection, &event.body).await {
            // Another holder of the Lease has told it, or this one before it went away.
            Err(failure) if failure.is_conflict() && event.again => self.repeat(&collection, &event).await,
            Err(failure) if failure.is_conflict() => return,
            result => result,
        };
        match result {
            Ok(_) => self.gauges.wrote(Written::Event, Outcome::Done),
            Err(failure) => {
                self.gauges.wrote(Written::Event, Outcome::Failed);
                self.complain("an Event cannot be written", &collection, failure);
            }
        }
    }

    async fn repeat(&self, collection: &str, event: &Event) -> Result<Value, Failure> {
        let path = format!("{collection}/{}", event.name);
        let held = self.caller.read(&path).await?;
        self.caller.patch(&path, &once_more(&held, SystemTime::now())).await
    }

    fn complain(&mut self, what: &str, path: &str, failure: Failure) {
        if self.trouble.as_ref() != Some(&failure) {
            tracing::warn!(path, code = failure.code, "{what}: {}", failure.message);
        }
        self.trouble = Some(failure);
    }
}

#[cfg(test)]
mod tests;
