//! Services of Kubernetes, with the endpoints of EndpointSlices, Endpoints objects and WorkloadEntries.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_api::core::{Endpoint, EndpointAddress, ObjectReference, ServicePort};
use portcullis_api::wire::IntOrString;
use portcullis_api::{EndpointSlice, Endpoints, Kind, Service as KubernetesService, WorkloadEntry};
use portcullis_snapshot::{FastMap, cluster as model};

use super::workload::{Known, Workloads};
use super::{Discovery, Distribution, Hosts, Member, Place, Port, Protocol, Service, entry};
use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::environment::{Environment, GatewayWorkload};
use crate::locality::Locality;
use crate::names::{qualified, visibility};
use crate::objects::{Key, Objects};
use crate::settings::mesh;

/// Label of an EndpointSlice with the name of its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Istio's `exportTo` for a Service, a comma list.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// The Services of `hosts` that the gateway sees, the oldest first.
pub(super) fn services(
    objects: &Objects,
    environment: &Environment,
    hosts: Hosts<'_>,
    workloads: &Workloads<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<Service> {
    let domain = &environment.cluster_domain;
    let mut visible: Vec<&Arc<KubernetesService>> = match hosts {
        Hosts::All => objects.services.values().collect(),
        Hosts::These(hosts) => {
            let named = hosts.iter().flat_map(|host| keys_of(host, domain));
            let found = named.filter_map(|key| Some((key.clone(), objects.services.get(&key)?)));
            found.collect::<BTreeMap<_, _>>().into_values().collect()
        }
    };
    visible.retain(|service| is_visible(service, objects, environment));
    visible.sort_by(|one, other| one.meta.by_age(&other.meta));
    let gateway = &environment.workload;
    let slices = slices(objects, &visible);
    let mut registry = Registry { slices, objects, workloads, gateway, diagnostics };
    visible.into_iter().map(|service| registry.service(service, domain)).collect()
}

/// The host of the Service of this name.
pub(crate) fn host_of(namespace: &str, name: &str, domain: &str) -> Arc<str> {
    format!("{name}.{namespace}.svc.{domain}").into()
}

/// The Services that may have this host: a name with dots in it can be divided in several places.
fn keys_of<'h>(host: &'h str, domain: &str) -> impl Iterator<Item = Key> + use<'h> {
    let front = host.strip_suffix(domain).and_then(|front| front.strip_suffix(".svc.")).unwrap_or_default();
    front.match_indices('.').map(|(dot, _)| (front[dot + 1..].to_owned(), front[..dot].to_owned()))
}

/// Namespace and name of the Service that a slice belongs to.
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<(&str, &str)> {
    Some((&slice.meta.namespace, slice.meta.labels.get(SERVICE_NAME)?))
}

fn is_visible(service: &KubernetesService, objects: &Objects, environment: &Environment) -> bool {
    let written = service.meta.annotations.get(EXPORT_TO).map(String::as_str).unwrap_or_default();
    let names = written.split(',').map(str::trim).filter(|name| !name.is_empty());
    let export_to: Vec<String> = names.map(str::to_owned).collect();
    let default =
        mesh(objects).map(|mesh| mesh.spec.default_service_export_to.as_slice()).unwrap_or_default();
    visibility(&export_to, default, &service.meta.namespace, &environment.workload.namespace).is_some()
}

/// EndpointSlices by the Service they belong to.
type Slices<'a> = FastMap<(&'a str, &'a str), Vec<&'a Arc<EndpointSlice>>>;

/// The EndpointSlices by Service, those of `services`.
fn slices<'a>(objects: &'a Objects, services: &[&'a Arc<KubernetesService>]) -> Slices<'a> {
    let key = |service: &&'a Arc<KubernetesService>| {
        ((service.meta.namespace.as_str(), service.meta.name.as_str()), Vec::new())
    };
    let mut all: Slices<'_> = services.iter().map(key).collect();
    for slice in objects.endpoint_slices.values() {
        if let Some(slices) = service_of(slice).and_then(|service| all.get_mut(&service)) {
            slices.push(slice);
        }
    }
    all
}

/// Everything a Service is put together from.
struct Registry<'a, 'w, 'd> {
    slices: Slices<'a>,
    objects: &'a Objects,
    workloads: &'a Workloads<'w>,
    gateway: &'a GatewayWorkload,
    diagnostics: &'d mut Diagnostics,
}

impl Registry<'_, '_, '_> {
    fn service(&mut self, service: &KubernetesService, domain: &str) -> Service {
        let (name, namespace) = (service.meta.name.as_str(), service.meta.namespace.as_str());
        let external = service.spec.kind.as_deref() == Some("ExternalName");
        let alias = service.spec.external_name.as_deref().filter(|_| external);
        let discovery = match alias {
            Some(target) => Discovery::Alias(qualified(target, namespace, domain).into_owned()),
            None => Discovery::Listed,
        };
        let ports = service.spec.ports.iter().filter_map(|port| self.port(service, port)).collect();
        let facts = model::Service {
            host: host_of(namespace, name, domain),
            name: name.into(),
            namespace: namespace.into(),
        };
        let distribution =
            Distribution::of(service.spec.traffic_distribution.as_deref(), &service.meta.annotations);
        Service {
            facts: Arc::new(facts),
            ports,
            discovery,
            subject_alt_names: Vec::new(),
            identities: Vec::new(),
            is_external: false,
            is_outside: false,
            distribution,
        }
    }

    fn port(&mut self, service: &KubernetesService, port: &ServicePort) -> Option<Port> {
        let number = u16::try_from(port.port).ok().filter(|number| *number > 0)?;
        let protocol = Protocol::of_service_port(
            port.protocol.as_deref(),
            port.app_protocol.as_deref(),
            port.name.as_deref(),
        );
        let mut members = match protocol {
            Protocol::Udp => Vec::new(),
            _ => self.members(service, port.name.as_deref().unwrap_or_default()),
        };
        members.extend(self.workload_entries(service, port, number));
        let node = self.gateway.node.as_str();
        // A gateway that does not know its node cannot tell.
        if service.spec.internal_traffic_policy.as_deref() == Some("Local") && !node.is_empty() {
            members.retain(|member| &*member.node == node);
        }
        let name = port.name.as_deref().unwrap_or_default().into();
        Some(Port { number, name, protocol, members })
    }

    /// The endpoints of the port called `name`; two slices may have the same one.
    fn members(&mut self, service: &KubernetesService, name: &str) -> Vec<Member> {
        let key = (service.meta.namespace.as_str(), service.meta.name.as_str());
        let mut members = Vec::new();
        match self.slices.get(&key).cloned() {
            Some(slices) if !slices.is_empty() => {
                for slice in slices {
                    self.slice(slice, name, &mut members);
                }
            }
            // Older clusters, and folders written by hand, have Endpoints alone.
            _ => {
                let key: Key = (key.0.to_owned(), key.1.to_owned());
                let endpoints = self.objects.endpoints.get(&key).cloned();
                if let Some(endpoints) = endpoints {
                    self.endpoints(&endpoints, name, &mut members);
                }
            }
        }
        members
    }

    fn slice(&mut self, slice: &EndpointSlice, name: &str, members: &mut Vec<Member>) {
        if slice.spec.address_type == "FQDN" {
            return;
        }
        let ports = slice.spec.ports.iter();
        let Some(port) =
            ports.filter(|port| port.name.as_deref().unwrap_or_default() == name).find_map(|port| port.port)
        else {
            return;
        };
        let Ok(port) = u16::try_from(port) else { return };
        for endpoint in &slice.spec.endpoints {
            let ready = endpoint.conditions.ready.unwrap_or(true);
            // An endpoint that is not ready and about to end, or may be, gets nothing at all.
            if !ready && endpoint.conditions.terminating.unwrap_or(true) {
                continue;
            }
            let subject = Subject::new(Kind::EndpointSlice, slice);
            for address in endpoint.addresses.iter().filter_map(|address| address.parse().ok()) {
                let known =
                    self.known(subject, &slice.meta.namespace, address, endpoint.target_ref.as_deref());
                let known = known.map(|known| self.placed(known, endpoint));
                members.extend(known.map(|known| member(known, address, port, ready)));
            }
        }
    }

    /// Fills up from the slice what no Pod says. Istio asks the Node for region and zone; the zone stands in the
    /// slice, too, and the region is taken to be the gateway's own, where that is known.
    fn placed(&self, mut known: Known, endpoint: &Endpoint) -> Known {
        if known.node.is_empty()
            && let Some(node) = &endpoint.node_name
        {
            known.node = (**node).into();
        }
        let here = self.gateway.locality();
        if known.locality.is_empty()
            && !here.is_empty()
            && let Some(zone) = &endpoint.zone
        {
            known.locality = format!("{}/{zone}", Locality::parse(&here).region).into();
        }
        known
    }

    fn endpoints(&mut self, endpoints: &Endpoints, name: &str, members: &mut Vec<Member>) {
        let subject = Subject::new(Kind::Endpoints, endpoints);
        for subset in &endpoints.spec.subsets {
            let ports = subset.ports.iter();
            let port = ports
                .filter(|port| port.name.as_deref().unwrap_or_default() == name)
                .find_map(|port| u16::try_from(port.port?).ok());
            let Some(port) = port else { continue };
            let mut add = |addresses: &[EndpointAddress], ready: bool| {
                for address in addresses {
                    let Ok(ip) = address.ip.parse() else { continue };
                    let known =
                        self.known(subject, &endpoints.meta.namespace, ip, address.target_ref.as_deref());
                    members.extend(known.map(|known| member(known, ip, port, ready)));
                }
            };
            add(&subset.addresses, true);
            add(&subset.not_ready_addresses, false);
        }
    }

    /// What is known about the workload at `address`; `None` holds the endpoint back until its Pod is seen, as Istio
    /// does, since its labels decide which subset it is in.
    fn known(
        &mut self,
        subject: Subject<'_>,
        namespace: &str,
        address: IpAddr,
        target: Option<&ObjectReference>,
    ) -> Option<Known> {
        let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"));
        let Some(target) = pod else {
            let known = self.workloads.pod_at(namespace, address);
            return Some(known.unwrap_or_else(Known::nothing));
        };
        let namespace = target.namespace.as_deref().unwrap_or(namespace);
        let name = target.name.as_deref().unwrap_or_default();
        let known = self.workloads.pod(namespace, name);
        if known.is_none() {
            self.diagnostics.report(
                Code::ReferencedResourceNotFound,
                subject,
                "endpoints.targetRef",
                format!("the endpoint {address} is not used until its Pod {namespace}/{name} is seen"),
                "add the Pod, or leave targetRef out",
            );
        }
        known
    }

    /// WorkloadEntries with the labels a Service selects are endpoints of it, too.
    fn workload_entries(&self, service: &KubernetesService, port: &ServicePort, number: u16) -> Vec<Member> {
        let selector = &service.spec.selector;
        // Istio adds them only where it balances: not to headless Services.
        if selector.is_empty() || service.spec.cluster_ip.as_deref() == Some("None") {
            return Vec::new();
        }
        let entries = self.workloads.entries_with(&service.meta.namespace, selector);
        entries
            .filter_map(|(entry, known)| {
                let target = target_port(entry, port, number)?;
                entry::member(&entry.spec, known, target, entry::is_healthy(entry))
            })
            .collect()
    }
}

fn member(known: Known, address: IpAddr, port: u16, healthy: bool) -> Member {
    let Known { labels, locality, node, identity, workload } = known;
    let place = Place::Ip(address);
    Member { place, port, weight: 1, healthy, labels, locality, node, identity, workload }
}

/// The port of a WorkloadEntry behind a Service's port; `None` if that names a port the entry does not have.
fn target_port(entry: &WorkloadEntry, port: &ServicePort, number: u16) -> Option<u16> {
    let named = |name: &str| entry.spec.ports.get(name).and_then(|port| u16::try_from(*port).ok());
    if let Some(own) = port.name.as_deref().and_then(named) {
        return Some(own);
    }
    match &port.target_port {
        Some(IntOrString::String(name)) => named(name),
        Some(IntOrString::Int(target)) if *target > 0 => u16::try_from(*target).ok(),
        _ => Some(number),
    }
}
