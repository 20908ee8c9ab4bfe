//! What is to be written: every object's wanted status beside the one it has.
//!
//! A change is gathered for a moment ([`SETTLE`]), in which replicas say that they serve it. Mostly all of them do by then,
//! and one write says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portcullis_api::{Kind, ObjectRef, Origin, Severity};
use serde_json::{Value, json};

use super::conditions::{self, Certificates, Programmed};
use super::ledger::{Entry, Facts, Ledger, REPORTED};
use super::pace::Patience;
use super::replicas::served;
use crate::certificates::Orders;
use crate::notice::Notice;

/// How long replicas have to say that they serve a change before a status says that they do not.
const SETTLE: Duration = Duration::from_secs(3);
/// Codes of objects that are other gateways' business.
const OF_OTHERS: &[&str] = &["PCL1012", "PCL1008", "PCL1043"];

/// What the control thread has published.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bulletin {
    /// The snapshot's generation.
    pub(crate) generation: u64,
    /// The number of the last news that it is made of.
    pub(crate) news: u64,
    /// Whether it is made of what the cluster says, and not of what was saved of it.
    pub(crate) live: bool,
    /// What there is to say.
    pub(crate) notices: Arc<[Notice]>,
    /// The Certificates that are wanted; `None` where nobody writes them.
    pub(crate) certificates: Option<Orders>,
    /// Whether the notices tell how they stand.
    pub(crate) standing_known: bool,
}

/// A status to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Work {
    pub(crate) name: ObjectRef,
    /// The address of the object.
    pub(crate) path: String,
    pub(crate) generation: i64,
    pub(crate) patch: Value,
    /// What the patch says, times left aside.
    essence: String,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) work: Vec<Work>,
    /// Whether replicas are waited for.
    pub(crate) waits: bool,
    /// When something that was put off is due.
    pub(crate) due: Option<Instant>,
}

/// An object whose last write is remembered.
#[derive(Debug)]
struct Attempt {
    essence: String,
    patience: Patience,
}

/// Everything that decides what is written.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    bulletin: Bulletin,
    /// Positions in the bulletin's notices, by object.
    findings: BTreeMap<ObjectRef, Vec<usize>>,
    /// Since when replicas are waited for, by object and the news that brought it.
    waiting: BTreeMap<ObjectRef, (u64, Instant)>,
    attempts: BTreeMap<ObjectRef, Attempt>,
}

impl Desk {
    /// Takes a new bulletin in; tells whether it says anything else than the last one.
    pub(crate) fn take(&mut self, bulletin: Bulletin) -> bool {
        let same_certificates = self.bulletin.standing_known == bulletin.standing_known
            && self.bulletin.certificates == bulletin.certificates;
        if self.bulletin.notices == bulletin.notices && same_certificates {
            self.bulletin = bulletin;
            return false;
        }
        let of_cluster =
            |notice: &Notice| notice.source.as_deref().is_none_or(|name| name == Origin::CLUSTER);
        self.findings.clear();
        for (at, notice) in bulletin.notices.iter().enumerate().filter(|(_, notice)| of_cluster(notice)) {
            if let Some(object) = &notice.object {
                self.findings.entry(object.clone()).or_default().push(at);
            }
        }
        self.bulletin = bulletin;
        true
    }

    /// What is to be written, when replicas have come as far as `reached` says.
    pub(crate) fn plan(
        &mut self,
        ledger: &Ledger,
        reached: &[Option<u64>],
        now: Instant,
        wall: SystemTime,
    ) -> Plan {
        let mut plan = Plan::default();
        self.waiting.retain(|name, _| ledger.get(name).is_some());
        self.attempts.retain(|name, _| ledger.get(name).is_some());
        for (name, entry) in
            ledger.iter().filter(|(name, _)| REPORTED.iter().any(|kind| kind.name() == &*name.kind))
        {
            if entry.since > self.bulletin.news {
                // It has not been compiled yet; the next bulletin knows of it.
                continue;
            }
            let patch = match self.concerns(name, entry, ledger) {
                true => self.wanted(name, entry, reached, (now, wall), &mut plan),
                false => conditions::cleared(&entry.facts.status),
            };
            if let Some(patch) = patch {
                self.put(name, &entry.facts, &patch, now, &mut plan);
            }
        }
        plan
    }

    /// The errors there are, for Events, and the certificates that do not come: nobody looks at a status while a renewal
    /// is months away.
    pub(crate) fn errors<'a>(
        &'a self,
        ledger: &'a Ledger,
    ) -> impl Iterator<Item = (&'a ObjectRef, &'a Facts, &'a Notice)> {
        self.findings.iter().flat_map(move |(name, found)| {
            let facts = ledger.get(name).map(|entry| &entry.facts);
            let notices = found.iter().filter_map(|at| self.bulletin.notices.get(*at));
            let errors = notices.filter(|notice| match notice.severity {
                Severity::Error => true,
                Severity::Warning => conditions::CERTIFICATES.contains(&notice.code),
                Severity::Info => false,
            });
            errors.filter_map(move |notice| Some((name, facts?, notice)))
        })
    }

    /// A write was tried, whatever came of it.
    pub(crate) fn tried(&mut self, work: &Work, now: Instant) {
        let before = self.attempts.get(&work.name).filter(|before| before.essence == work.essence);
        let patience = Patience::after(before.map(|before| before.patience), now);
        self.attempts.insert(work.name.clone(), Attempt { essence: work.essence.clone(), patience });
    }

    fn put(&self, name: &ObjectRef, facts: &Facts, patch: &Value, now: Instant, plan: &mut Plan) {
        let essence = conditions::essence(patch);
        // What was written and does not last is written again ever later.
        if let Some(attempt) = self.attempts.get(name).filter(|attempt| attempt.essence == essence)
            && attempt.patience.next() > now
        {
            let next = attempt.patience.next();
            plan.due = Some(plan.due.map_or(next, |due| due.min(next)));
            return;
        }
        let metadata = json!({"uid": facts.uid, "resourceVersion": facts.version});
        plan.work.push(Work {
            name: name.clone(),
            path: path(name, facts),
            generation: facts.generation,
            patch: json!({"metadata": metadata, "status": patch}),
            essence,
        });
    }

    fn wanted(
        &mut self,
        name: &ObjectRef,
        entry: &Entry,
        reached: &[Option<u64>],
        (now, wall): (Instant, SystemTime),
        plan: &mut Plan,
    ) -> Option<Value> {
        let programmed = self.programmed(name, entry, reached, now, plan)?;
        let found: Vec<&Notice> = self.found(name).collect();
        let facts = conditions::Facts {
            generation: entry.facts.generation,
            programmed,
            findings: &found,
            // There are few of them.
            counts_matter: &*name.kind == Kind::Gateway.name(),
            certificates: self.certificates(name),
        };
        conditions::patch(&entry.facts.status, facts, wall)
    }

    /// Whether an object asks for certificates, as far as that is known.
    fn certificates(&self, name: &ObjectRef) -> Certificates {
        let Some(orders) = &self.bulletin.certificates else { return Certificates::NotAsked };
        let refused = || self.found(name).any(|notice| conditions::CERTIFICATES.contains(&notice.code));
        match orders.values().any(|wanted| wanted.gateway == *name) || refused() {
            false => Certificates::NotAsked,
            true if self.bulletin.standing_known => Certificates::Asked,
            true => Certificates::NotKnown,
        }
    }

    /// Who serves it; nothing while that is waited for. A generation that all have served once stays served: a replica that
    /// starts gets no traffic before it serves it, too.
    fn programmed(
        &mut self,
        name: &ObjectRef,
        entry: &Entry,
        reached: &[Option<u64>],
        now: Instant,
        plan: &mut Plan,
    ) -> Option<Programmed> {
        let facts = &entry.facts;
        if !facts.usable {
            return Some(Programmed::Unusable);
        }
        let served = served(reached, entry.since);
        if served.by == served.of || conditions::is_programmed(&facts.status, facts.generation) {
            self.waiting.remove(name);
            return Some(Programmed::All(served.of));
        }
        let (since, start) = self.waiting.entry(name.clone()).or_insert((entry.since, now));
        if *since != entry.since {
            (*since, *start) = (entry.since, now);
        }
        let waited = now.saturating_duration_since(*start);
        // Whoever takes longer is heard when the Lease is renewed.
        plan.waits |= waited < 2 * SETTLE;
        (waited >= SETTLE).then_some(Programmed::Some(served))
    }

    /// Whether an object is this gateway's business. One that no gateway of this kind serves gets no status: it may be
    /// another gateway's, which says so itself.
    fn concerns(&self, name: &ObjectRef, entry: &Entry, ledger: &Ledger) -> bool {
        if self.found(name).any(|notice| OF_OTHERS.contains(&notice.code)) {
            return false;
        }
        let facts = &entry.facts;
        if &*name.kind != Kind::VirtualService.name() || facts.unbound {
            // Not bound to any Gateway, and not reported for it, is a delegate in use.
            return true;
        }
        facts.gateways.iter().any(|(namespace, gateway)| {
            let gateway = ObjectRef {
                kind: Kind::Gateway.name().into(),
                namespace: namespace.clone(),
                name: gateway.clone(),
            };
            // One that is not there is an error that somebody has to tell.
            ledger
                .get(&gateway)
                .is_none_or(|_| !self.found(&gateway).any(|notice| OF_OTHERS.contains(&notice.code)))
        })
    }

    fn found(&self, name: &ObjectRef) -> impl Iterator<Item = &Notice> {
        let found = self.findings.get(name).into_iter().flatten();
        found.filter_map(|at| self.bulletin.notices.get(*at))
    }
}

/// The address of an object.
pub(crate) fn path(name: &ObjectRef, facts: &Facts) -> String {
    let (api, plural) = (&facts.resource.api_version, &facts.resource.plural);
    format!("/apis/{api}/namespaces/{}/{plural}/{}", name.namespace, name.name)
}

#[cfg(test)]
mod tests;
