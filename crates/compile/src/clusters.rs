//! The clusters that destinations lead to: one for each port of each service, and one for each subset of it.
//!
//! All of them are built, not only those that a route names, host by host: what stands under one host depends on no
//! other one. When something about a host changes, its clusters alone are built again and put in their places, and
//! [`Clusters::replace`] tells whether any route can see a difference.

mod build;
pub(crate) mod destination_rule;
mod endpoints;
mod health_check;
mod locality;
mod policy;
mod upstream_tls;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_snapshot::action::Target;
use portcullis_snapshot::cluster::{HashPolicy, PoolLimits};
use portcullis_snapshot::listener::Tunnel;
use portcullis_snapshot::{Cluster, ClusterId, Clusters as Served, FastMap};

use self::build::{Builder, Fresh, Made};
use crate::diagnostic::Diagnostics;
use crate::environment::Environment;
use crate::names::qualified;
use crate::objects::Objects;
use crate::services::{Hosts, Services};

/// Clusters of so many hosts are built again in half a millisecond.
const AT_ONCE: usize = 32;
/// Most pieces in which that is done: each looks at all rules and entries.
const PIECES: usize = 8;

/// Every cluster a destination can name.
#[derive(Debug)]
pub(crate) struct Clusters {
    domain: Box<str>,
    hosts: FastMap<Arc<str>, Host>,
    served: Served,
    /// Names whose addresses clusters need, by the host of the clusters.
    wanted: BTreeMap<Arc<str>, BTreeSet<String>>,
    /// Hosts that destinations have named since [`take_asked`](Self::take_asked) was last called.
    asked: RefCell<Vec<Arc<str>>>,
}

/// What destinations find under a host.
#[derive(Debug, Default)]
struct Host {
    services: Vec<Outline>,
    clusters: Vec<Built>,
}

/// What destinations need to know of a service.
#[derive(Debug, PartialEq)]
struct Outline {
    namespace: Arc<str>,
    ports: Ports,
    /// The host it stands for (`ExternalName`).
    alias: Option<Arc<str>>,
}

/// What a destination without port means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    None,
    One(u16),
    Several,
}

/// A cluster, and what routes to it need to know.
#[derive(Debug)]
struct Built {
    id: ClusterId,
    port: u16,
    /// Empty for the whole service.
    subset: Box<str>,
    /// `None` where all of it is empty, as for most clusters.
    routing: Option<Box<Routing>>,
}

/// What a cluster's policy says to routes.
#[derive(Debug, Default, PartialEq)]
struct Routing {
    /// What is hashed when a destination says the port, and when it does not: settings of single ports only count
    /// for the former.
    hash_with_port: Vec<HashPolicy>,
    hash_without_port: Vec<HashPolicy>,
    /// The proxy it is: where it is the only destination, and where it is one of several, when its subset has no say
    /// (Istio: `tunnelingconfig.Apply`).
    tunnel: Option<Tunnel>,
    shared_tunnel: Option<Tunnel>,
}

impl Clusters {
    /// Builds every cluster. One that is as in `before` is the same object, so that who holds it need not look at it.
    pub(crate) fn build(
        objects: &Objects,
        environment: &Environment,
        services: &Services,
        before: Option<&Self>,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut builder = Builder::new(objects, environment, Hosts::All, diagnostics);
        let mut hosts: Vec<(&Arc<str>, Made)> =
            services.hosts().map(|(host, services)| (host, builder.host(services))).collect();
        let mut all = Self {
            domain: environment.cluster_domain.as_str().into(),
            hosts: FastMap::default(),
            served: Served::default(),
            wanted: BTreeMap::new(),
            asked: RefCell::default(),
        };
        // Identifiers in the order of names: the same for the same objects.
        let mut fresh: Vec<(Arc<str>, Fresh)> = Vec::new();
        for (host, made) in &mut hosts {
            fresh.extend(made.clusters.drain(..).map(|cluster| (Arc::clone(host), cluster)));
        }
        fresh.sort_by(|(_, one), (_, other)| one.cluster.name.cmp(&other.cluster.name));
        for (host, made) in hosts {
            all.want(host, made.wanted);
            all.hosts.insert(Arc::clone(host), Host { services: made.services, clusters: Vec::new() });
        }
        let mut served = Vec::with_capacity(fresh.len());
        for (place, (host, fresh)) in (0..).zip(fresh) {
            let held = before.and_then(|before| before.served.named(&fresh.cluster.name));
            let (built, cluster) = fresh.placed(ClusterId(place));
            served.push(shared(cluster, held));
            all.hosts.entry(host).or_default().clusters.push(built);
        }
        // There are many hosts, and most have one of each.
        all.hosts.values_mut().for_each(|host| host.clusters.shrink_to_fit());
        all.served = Served::new(served);
        all
    }

    /// Builds the clusters of `hosts` again. Gives back the hosts of which routes see a difference.
    pub(crate) fn rebuild(
        &mut self,
        objects: &Objects,
        environment: &Environment,
        hosts: &HashSet<Arc<str>>,
        between: fn(),
    ) -> BTreeSet<Arc<str>> {
        let mut diagnostics = Diagnostics::ignored();
        let mut seen = BTreeSet::new();
        let hosts: Vec<&Arc<str>> = hosts.iter().collect();
        for piece in hosts.chunks(AT_ONCE.max(hosts.len() / PIECES)) {
            between();
            let piece: HashSet<Arc<str>> = piece.iter().copied().cloned().collect();
            let wanted = Hosts::These(&piece);
            let services = Services::build(objects, environment, wanted, &mut diagnostics);
            let mut builder = Builder::new(objects, environment, wanted, &mut diagnostics);
            for host in &piece {
                let made = builder.host(services.of_host(host));
                if self.replace(host, made) {
                    seen.insert(Arc::clone(host));
                }
            }
        }
        seen
    }

    /// The cluster of a destination written in `namespace`, for a server that declares `server_port`.
    ///
    /// Without a port it is the service's only one, else the server's. An `ExternalName` Service stands for the
    /// service it names, over one step (routing reference §2.5).
    pub(crate) fn destination(
        &self,
        host: &str,
        namespace: &str,
        subset: Option<&str>,
        port: Option<u32>,
        server_port: u16,
    ) -> Target {
        let host = qualified(host, namespace, &self.domain);
        let (host, service) = self.find(&host, namespace);
        let default = || match service.map(|service| service.ports) {
            Some(Ports::One(only)) => only,
            Some(Ports::None | Ports::Several) | None => server_port,
        };
        let port = port.unwrap_or_else(|| u32::from(default()));
        let host = match service.and_then(|service| service.alias.as_ref()) {
            Some(target) => self.find(target, namespace).0,
            None => host,
        };
        let subset = subset.unwrap_or_default();
        let built = self.hosts.get(&host).and_then(|host| {
            host.clusters.iter().find(|built| u32::from(built.port) == port && &*built.subset == subset)
        });
        match built {
            Some(built) => Target::Cluster(built.id),
            None => Target::Unknown(format!("outbound|{port}|{subset}|{host}").into()),
        }
    }

    /// Whether a destination in `namespace` must say the port, since the service of `host` has several.
    pub(crate) fn needs_port(&self, host: &str, namespace: &str) -> bool {
        let (_, service) = self.find(&qualified(host, namespace, &self.domain), namespace);
        service.is_some_and(|service| service.ports == Ports::Several)
    }

    /// What consistent hashing hashes for requests to `target`.
    pub(crate) fn hash_policies(&self, target: &Target, explicit_port: bool) -> Vec<HashPolicy> {
        let Some(routing) = self.routing(target) else { return Vec::new() };
        if explicit_port { routing.hash_with_port.clone() } else { routing.hash_without_port.clone() }
    }

    /// The tunnel that `target` is the entry of.
    pub(crate) fn tunnel(&self, target: &Target, is_only: bool) -> Option<Tunnel> {
        let routing = self.routing(target)?;
        if is_only { routing.tunnel.clone() } else { routing.shared_tunnel.clone() }
    }

    /// The cluster itself, if there is one.
    pub(crate) fn get(&self, target: &Target) -> Option<&Arc<Cluster>> {
        match target {
            Target::Cluster(id) => self.served.get(*id),
            Target::Unknown(_) => None,
        }
    }

    /// The hosts that destinations have named since this was last called, each once: all that routes made meanwhile
    /// depend on.
    pub(crate) fn take_asked(&self) -> Box<[Arc<str>]> {
        let mut asked = self.asked.take();
        asked.sort_unstable();
        asked.dedup();
        asked.into()
    }

    /// How many clusters there are.
    pub(crate) fn len(&self) -> usize {
        self.served.len()
    }

    /// How many places are of clusters that are gone.
    pub(crate) fn gaps(&self) -> usize {
        self.served.places() - self.served.len()
    }

    /// Every host that has a service.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.hosts.keys()
    }

    /// Host names whose addresses some cluster needs.
    pub(crate) fn wanted_names(&self) -> BTreeSet<String> {
        self.wanted.values().flatten().cloned().collect()
    }

    /// The hosts with a cluster whose endpoints differ between these answers.
    pub(crate) fn answered_otherwise(
        &self,
        before: &BTreeMap<String, Vec<IpAddr>>,
        now: &BTreeMap<String, Vec<IpAddr>>,
    ) -> impl Iterator<Item = &Arc<str>> {
        let differs = |name: &String| before.get(name) != now.get(name);
        self.wanted.iter().filter(move |(_, names)| names.iter().any(differs)).map(|(host, _)| host)
    }

    /// The clusters as they are served.
    pub(crate) fn served(&self) -> &Served {
        &self.served
    }

    fn routing(&self, target: &Target) -> Option<&Routing> {
        let Target::Cluster(id) = target else { return None };
        let host = self.hosts.get(&self.served.get(*id)?.service.host)?;
        host.clusters.iter().find(|built| built.id == *id)?.routing.as_deref()
    }

    /// The service a destination in `namespace` means by a completed host: one of the same namespace, else any.
    fn find(&self, host: &str, namespace: &str) -> (Arc<str>, Option<&Outline>) {
        let (host, found) = match self.hosts.get_key_value(host) {
            Some((host, found)) => (Arc::clone(host), Some(found)),
            None => (host.into(), None),
        };
        self.asked.borrow_mut().push(Arc::clone(&host));
        let services = found.map_or(&[][..], |found| &found.services);
        let own = services.iter().find(|service| &*service.namespace == namespace);
        (host, own.or_else(|| services.first()))
    }

    /// Puts what was made for a host in the place of what stands there. Tells whether routes see a difference.
    fn replace(&mut self, host: &Arc<str>, made: Made) -> bool {
        let old = self.hosts.remove(host).unwrap_or_default();
        let mut differs = old.services != made.services || old.clusters.len() != made.clusters.len();
        let mut clusters = Vec::with_capacity(made.clusters.len());
        for fresh in made.clusters {
            let held = old.clusters.iter().find(|built| fresh.is_newer_form_of(built));
            let Some((held, before)) = held.and_then(|held| Some((held, self.served.get(held.id)?))) else {
                differs = true;
                let (built, cluster) = fresh.placed(self.served.next());
                self.served.add(Arc::new(cluster));
                clusters.push(built);
                continue;
            };
            differs |= held.routing != fresh.routing || !routes_alike(&before.pool, &fresh.cluster.pool);
            let (built, cluster) = fresh.placed(held.id);
            let cluster = shared(cluster, Some(before));
            self.served.replace(held.id, cluster);
            clusters.push(built);
        }
        for gone in &old.clusters {
            if clusters.iter().all(|built: &Built| built.id != gone.id) {
                self.served.remove(gone.id);
            }
        }
        self.want(host, made.wanted);
        if !made.services.is_empty() {
            self.hosts.insert(Arc::clone(host), Host { services: made.services, clusters });
        }
        differs
    }

    fn want(&mut self, host: &Arc<str>, names: BTreeSet<String>) {
        if names.is_empty() {
            self.wanted.remove(host);
        } else {
            self.wanted.insert(Arc::clone(host), names);
        }
    }
}

/// Whether routes of bytes, which take these times over, come out the same.
fn routes_alike(one: &PoolLimits, other: &PoolLimits) -> bool {
    one.tcp_idle_timeout == other.tcp_idle_timeout
        && one.max_connection_duration == other.max_connection_duration
}

/// `fresh`, or the form it had before where that says the same. At least its members are the same object where they
/// are alike: what workers know of them is kept by looking at nothing else.
fn shared(mut fresh: Cluster, before: Option<&Arc<Cluster>>) -> Arc<Cluster> {
    let Some(before) = before else { return Arc::new(fresh) };
    if fresh.endpoints == before.endpoints {
        fresh.endpoints = Arc::clone(&before.endpoints);
    }
    if fresh.says_the_same(before) { Arc::clone(before) } else { Arc::new(fresh) }
}

#[cfg(test)]
mod tests;
