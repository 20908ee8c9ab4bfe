//! ServiceEntries: services that Kubernetes does not know.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_api::networking::{Location, Resolution, ServicePort, WorkloadEntrySpec};
use portcullis_api::{ServiceEntry, WorkloadEntry};
use portcullis_snapshot::cluster as model;

use super::workload::{Known, Workloads};
use super::{Discovery, Distribution, Hosts, Member, Place, Port, Protocol, Service};
use crate::environment::Environment;
use crate::names::visibility;
use crate::objects::Objects;
use crate::settings::mesh;

/// Scheme of an endpoint address that is a socket.
const UNIX: &str = "unix://";

/// The services of `hosts` in all ServiceEntries the gateway sees, the oldest first, one for each host and namespace.
pub(super) fn services(
    objects: &Objects,
    environment: &Environment,
    hosts: Hosts<'_>,
    workloads: &Workloads<'_>,
) -> Vec<Service> {
    let default =
        mesh(objects).map(|mesh| mesh.spec.default_service_export_to.as_slice()).unwrap_or_default();
    let viewer = environment.workload.namespace.as_str();
    let mut visible: Vec<_> = objects
        .service_entries
        .values()
        .filter(|entry| entry.spec.hosts.iter().any(|host| hosts.contain(host)))
        .filter(|entry| visibility(&entry.spec.export_to, default, &entry.meta.namespace, viewer).is_some())
        .collect();
    visible.sort_by(|one, other| one.meta.by_age(&other.meta));
    merged(&visible, hosts, workloads)
}

/// One service for each host and namespace; a younger entry adds to an older one when both agree on how endpoints
/// are found, on labels and on who sees them.
fn merged(entries: &[&Arc<ServiceEntry>], wanted: Hosts<'_>, workloads: &Workloads<'_>) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    let mut places: HashMap<(&str, &str), (usize, &ServiceEntry)> = HashMap::new();
    for entry in entries {
        for host in entry.spec.hosts.iter().filter(|host| wanted.contain(host)) {
            let key = (host.as_str(), entry.meta.namespace.as_str());
            match places.get(&key) {
                None => {
                    places.insert(key, (services.len(), entry));
                    services.push(service(entry, host, workloads));
                }
                Some((at, older)) if agree(older, entry) => {
                    add(&mut services[*at], &service(entry, host, workloads));
                }
                Some(_) => {}
            }
        }
    }
    services
}

fn agree(one: &ServiceEntry, other: &ServiceEntry) -> bool {
    resolution(one) == resolution(other)
        && one.meta.labels == other.meta.labels
        && one.spec.export_to == other.spec.export_to
}

/// Adds the younger one's ports and, on every port of the same name, its endpoints.
fn add(older: &mut Service, younger: &Service) {
    let held = older.ports.len();
    for mut port in younger.ports.iter().cloned() {
        if older.ports.iter().all(|known| known.number != port.number) {
            let mut members = older.members_named(&port.name);
            members.append(&mut port.members);
            port.members = members;
            older.ports.push(port);
        }
    }
    for port in &mut older.ports[..held] {
        port.members.extend(younger.members_named(&port.name));
    }
}

fn resolution(entry: &ServiceEntry) -> Resolution {
    entry.spec.resolution.unwrap_or(Resolution::None)
}

fn service(entry: &ServiceEntry, host: &str, workloads: &Workloads<'_>) -> Service {
    let discovery = match resolution(entry) {
        Resolution::None => Discovery::Passthrough,
        Resolution::Static => Discovery::Listed,
        Resolution::Dns => Discovery::Dns,
        Resolution::DnsRoundRobin => Discovery::FirstOfDns,
        Resolution::DynamicDns => Discovery::PerRequest,
    };
    let facts = model::Service {
        host: host.into(),
        name: host.into(),
        namespace: entry.meta.namespace.as_str().into(),
    };
    let known = workload_members(entry, workloads);
    let ports = entry.spec.ports.iter().filter_map(|written| {
        let number = u16::try_from(written.number).ok().filter(|number| *number > 0)?;
        let protocol = Protocol::named(written.protocol.as_deref().unwrap_or_default());
        let mut members: Vec<_> =
            known.iter().filter_map(|candidate| candidate.at(written, number)).collect();
        let names_itself = matches!(discovery, Discovery::Dns | Discovery::FirstOfDns)
            && entry.spec.endpoints.is_empty()
            && entry.spec.workload_selector.is_none()
            && !host.starts_with('*');
        if names_itself {
            let own = WorkloadEntrySpec { address: Some(host.to_owned()), ..WorkloadEntrySpec::default() };
            let known = workloads.written(&own, &entry.meta.name, &entry.meta.namespace);
            members.extend(member(&own, known, port_of(&own, written, number), true));
        }
        Some(Port { number, name: written.name.as_str().into(), protocol, members })
    });
    let ports = ports.collect();
    Service {
        facts: Arc::new(facts),
        ports,
        discovery,
        subject_alt_names: entry.spec.subject_alt_names.clone(),
        identities: Vec::new(),
        is_external: true,
        is_outside: entry.spec.location != Some(Location::MeshInternal),
        distribution: Distribution::of(None, &entry.meta.annotations),
    }
}

/// A workload that is, on every port, an endpoint.
struct Candidate {
    spec: WorkloadEntrySpec,
    known: Known,
    healthy: bool,
}

impl Candidate {
    fn at(&self, port: &ServicePort, number: u16) -> Option<Member> {
        member(&self.spec, self.known.clone(), port_of(&self.spec, port, number), self.healthy)
    }
}

/// The endpoints written in the entry, or those its selector picks.
fn workload_members(entry: &ServiceEntry, workloads: &Workloads<'_>) -> Vec<Candidate> {
    let namespace = entry.meta.namespace.as_str();
    let Some(selector) = &entry.spec.workload_selector else {
        let written = entry.spec.endpoints.iter().enumerate().map(|(at, spec)| {
            // As Istio calls what has no name of its own.
            let name = format!("{}-{at}", entry.meta.name);
            let known = workloads.written(spec, &name, namespace);
            Candidate { spec: spec.clone(), known, healthy: true }
        });
        return written.collect();
    };
    let entries = workloads.entries_with(namespace, &selector.labels);
    let entries = entries.map(|(entry, known)| Candidate {
        spec: entry.spec.clone(),
        known,
        healthy: is_healthy(entry),
    });
    let pods = workloads.pods_with(namespace, &selector.labels);
    let pods = pods.map(|(address, known)| Candidate {
        spec: WorkloadEntrySpec { address: Some(address.to_string()), ..WorkloadEntrySpec::default() },
        known,
        healthy: true,
    });
    entries.chain(pods).collect()
}

/// The port at an endpoint: its own for the port's name, else the service's target, else the service's number.
fn port_of(endpoint: &WorkloadEntrySpec, port: &ServicePort, number: u16) -> u16 {
    let own = endpoint.ports.get(&port.name).or(port.target_port.as_ref());
    own.and_then(|port| u16::try_from(*port).ok()).filter(|port| *port > 0).unwrap_or(number)
}

/// The member at the address of `spec`; `None` without one.
pub(super) fn member(spec: &WorkloadEntrySpec, known: Known, port: u16, healthy: bool) -> Option<Member> {
    let address = spec.address.as_deref().filter(|address| !address.is_empty())?;
    let (place, port) = match (address.strip_prefix(UNIX), address.parse()) {
        (Some(path), _) => (Place::Unix(path.into()), 0),
        (None, Ok(ip)) => (Place::Ip(ip), port),
        (None, Err(_)) => (Place::Name(address.trim_end_matches('.').to_ascii_lowercase()), port),
    };
    let Known { labels, locality, node, identity, workload } = known;
    let weight = spec.weight.unwrap_or_default().max(1);
    Some(Member { place, port, weight, healthy, labels, locality, node, identity, workload })
}

/// Whether the health checks of a WorkloadEntry, if there are any, say so.
pub(super) fn is_healthy(entry: &WorkloadEntry) -> bool {
    !entry.conditions.iter().any(|condition| condition.kind == "Healthy" && condition.status == "False")
}
