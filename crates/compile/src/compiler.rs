//! Compiling again after a change: what the change cannot have touched is taken over from last time.
//!
//! [`Compiler::compile`] gives the snapshot that [`compile`](crate::compile) would give, and no diagnostics: those are
//! looked for after the snapshot is served, and by a whole compilation, since a finding may be about any two objects.
//! The two agree because both run the same code, the one over everything, the other over what is touched:
//!
//! ```text
//!  objects that differ ──► hosts with other services,     ──► clusters of those hosts, each in its place
//!  (changes)               rules, Pods or addresses               │ some look different to a route
//!                          (touched)                              ▼
//!                      ──► VirtualServices that differ, delegate to one that does, or go to such a host
//!                                                                 │ have these names in route tables
//!                                                                 ▼
//!                                         virtual hosts of those names, made again (patch)
//! ```
//!
//! What is not understood in this way (another Gateway, mesh configuration, Secret, environment; rules for bytes)
//! makes everything compiled anew. It costs time and nothing else.

mod changes;
mod patch;
mod touched;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use portcullis_snapshot::{Listener, Settings, Snapshot};

use self::changes::Known;
use self::touched::Touched;
use crate::binding::Bindings;
use crate::clusters::Clusters;
use crate::diagnostic::Diagnostics;
use crate::environment::Environment;
use crate::listeners::Traces;
use crate::objects::Objects;
use crate::port::Ports;
use crate::services::{Hosts, Services};
use crate::{gateway, listeners, settings};

/// Share of all there is, as a divisor, from which on compiling everything costs no more than a part.
const WORTHWHILE: usize = 4;
/// Below this number a part is always worth it.
const FEW: usize = 64;
/// Places of clusters that are gone before everything is compiled anew, which closes the gaps.
const MAX_GAPS: usize = 4096;

/// Compiles one state of the objects after the other.
#[derive(Debug)]
pub struct Compiler {
    memo: Option<Box<Memo>>,
    between: fn(),
}

/// What is there to be served.
#[derive(Debug)]
pub struct Built {
    /// The routing state; its generation is 0, the publisher counts.
    pub snapshot: Snapshot,
    /// Host names whose addresses a cluster needs ([`Environment::resolved`]).
    pub wanted_names: BTreeSet<String>,
    /// How often to ask for those whose answers do not say how long they are good for (`dnsRefreshRate`).
    pub dns_refresh_rate: Duration,
    /// What was done for it.
    pub work: Work,
}

/// How much of a snapshot was made, the rest being taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Everything.
    Whole,
    /// A part.
    Part {
        /// Hosts whose clusters were built.
        cluster_hosts: usize,
        /// Virtual hosts made or taken away.
        virtual_hosts: usize,
    },
}

/// What the last compilation left.
#[derive(Debug)]
struct Memo {
    known: Known,
    environment: Environment,
    /// How the Services in front of the workload map ports, where they do.
    ports: Option<BTreeMap<u16, u16>>,
    clusters: Clusters,
    listeners: Vec<Arc<Listener>>,
    traces: Traces,
    settings: Settings,
    dns_refresh_rate: Duration,
}

impl Default for Compiler {
    fn default() -> Self {
        Self::new(|| {})
    }
}

impl Compiler {
    /// Calls `between` between pieces of the work on a change: of those that grow with it, each takes about half a
    /// millisecond, and others may be waiting for the core.
    #[must_use]
    pub fn new(between: fn()) -> Self {
        Self { memo: None, between }
    }

    /// Compiles `objects`, which are a later state of those it was given before.
    pub fn compile(&mut self, objects: &Objects, environment: &Environment) -> Built {
        // It is put back when all has gone well: what a panic leaves half-done is never used.
        let mut memo = self.memo.take();
        let work = match &mut memo {
            Some(memo) => memo.advance(objects, environment, self.between),
            None => None,
        };
        let (memo, work) = match (memo, work) {
            (Some(memo), Some(work)) => (memo, work),
            (before, _) => (Box::new(Memo::whole(objects, environment, before.as_deref())), Work::Whole),
        };
        let built = memo.built(work);
        self.memo = Some(memo);
        built
    }
}

impl Memo {
    fn whole(objects: &Objects, environment: &Environment, before: Option<&Self>) -> Self {
        let diagnostics = &mut Diagnostics::ignored();
        let services = Services::build(objects, environment, Hosts::All, diagnostics);
        let before = before.map(|before| &before.clusters);
        let clusters = Clusters::build(objects, environment, &services, before, diagnostics);
        drop(services);
        let ports = gateway::merge(objects, environment, diagnostics);
        let bindings = Bindings::new(objects, environment, diagnostics);
        let (listeners, traces) =
            listeners::listeners(&ports, objects, environment, &bindings, &clusters, diagnostics);
        Self {
            known: Known::new(objects),
            environment: environment.clone(),
            ports: Ports::of_workload(objects, environment),
            clusters,
            listeners,
            traces,
            settings: settings::settings(objects, diagnostics),
            dns_refresh_rate: settings::dns_refresh_rate(objects),
        }
    }

    /// Takes over a later state of the objects; `None`, and nothing usable is left, if all must be compiled.
    fn advance(&mut self, objects: &Objects, environment: &Environment, between: fn()) -> Option<Work> {
        if !same_but_for_answers(&self.environment, environment) || self.clusters.gaps() > MAX_GAPS {
            return None;
        }
        let changes = self.known.advance(objects)?;
        if changes.of_services() && Ports::of_workload(objects, environment) != self.ports {
            return None;
        }
        let resolved = std::mem::replace(&mut self.environment.resolved, environment.resolved.clone());
        let touched = Touched::by(&changes, objects, environment, &self.clusters, &resolved);
        if too_many(touched.hosts.len(), self.clusters.len()) {
            return None;
        }
        let seen = self.clusters.rebuild(objects, environment, &touched.hosts, between);
        let virtual_hosts = self.patch(&changes, &seen, objects, environment)?;
        Some(Work::Part { cluster_hosts: touched.hosts.len(), virtual_hosts })
    }

    fn built(&self, work: Work) -> Built {
        let snapshot = Snapshot {
            generation: 0,
            listeners: self.listeners.clone(),
            clusters: self.clusters.served().clone(),
            settings: self.settings.clone(),
        };
        let (wanted_names, dns_refresh_rate) = (self.clusters.wanted_names(), self.dns_refresh_rate);
        Built { snapshot, wanted_names, dns_refresh_rate, work }
    }
}

/// Whether a part of so many is not worth the trouble.
fn too_many(part: usize, all: usize) -> bool {
    part > FEW && part > all / WORTHWHILE
}

/// Whether two environments differ in the answers of name servers and the time at the most.
fn same_but_for_answers(one: &Environment, other: &Environment) -> bool {
    let Environment { workload, root_namespace, cluster_domain, ports, proxy_protocol, tls, .. } = one;
    let Environment { files, resolved: _, now: _, .. } = one;
    workload == &other.workload
        && (root_namespace, cluster_domain) == (&other.root_namespace, &other.cluster_domain)
        && (ports, proxy_protocol) == (&other.ports, &other.proxy_protocol)
        && files == &other.files
        && tls.is(&other.tls)
}
