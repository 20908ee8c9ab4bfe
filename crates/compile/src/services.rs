//! The services that destinations can name: Kubernetes Services and ServiceEntries, with their endpoints.
//!
//! The registry holds what the gateway's namespace may see. Of several services with one host name a Kubernetes
//! Service comes before a ServiceEntry, and the older before the younger (routing reference §4).

mod entry;
mod kubernetes;
mod protocol;
mod workload;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_api::Map;
use portcullis_snapshot::cluster::{self as model, Workload};

pub(crate) use self::kubernetes::{host_of, service_of};
pub(crate) use self::protocol::Protocol;
pub(crate) use self::workload::{Labels, contains, pod_address};

use crate::diagnostic::Diagnostics;
use crate::environment::Environment;
use crate::locality;
use crate::objects::Objects;
use crate::settings;

/// Every service the gateway sees, by host.
#[derive(Debug)]
pub(crate) struct Services {
    hosts: BTreeMap<Arc<str>, Vec<Arc<Service>>>,
}

/// Which hosts are compiled: a host's services and clusters depend on no other host's.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hosts<'h> {
    /// Every one.
    All,
    /// These alone.
    These(&'h HashSet<Arc<str>>),
}

impl Hosts<'_> {
    /// Whether `host` is among them.
    pub(crate) fn contain(self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(hosts) => hosts.contains(host),
        }
    }
}

/// One service.
#[derive(Debug)]
pub(crate) struct Service {
    /// Host, name and namespace, as metrics want them.
    pub(crate) facts: Arc<model::Service>,
    /// Its ports, in the order written; UDP ones too.
    pub(crate) ports: Vec<Port>,
    /// How its endpoints are found.
    pub(crate) discovery: Discovery,
    /// Names its ServiceEntry gives.
    subject_alt_names: Vec<String>,
    /// Those, and the identities of its endpoints in every trust domain of the mesh; sorted.
    identities: Vec<String>,
    /// Whether it comes from a ServiceEntry.
    is_external: bool,
    /// Whether it lies outside the mesh; nothing but a header value tells.
    pub(crate) is_outside: bool,
    /// Which of its endpoints are preferred.
    pub(crate) distribution: Distribution,
}

/// A port of a service.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    /// As destinations name it.
    pub(crate) number: u16,
    /// By this name endpoints are found, those of another object for the same host included.
    name: Arc<str>,
    /// What is spoken on it.
    pub(crate) protocol: Protocol,
    /// Who answers on it.
    pub(crate) members: Vec<Member>,
}

/// How the endpoints of a service are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// They are known.
    Listed,
    /// By names, of which every address is an endpoint.
    Dns,
    /// By one name, of which the first address is the only endpoint.
    FirstOfDns,
    /// The client's own destination, which a gateway does not have: there are none.
    Passthrough,
    /// It stands for the service of this host (`ExternalName`).
    Alias(String),
    /// By the name in each request (`DYNAMIC_DNS`), which no gateway route can use.
    PerRequest,
}

/// One endpoint, or a name that stands for several.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) place: Place,
    /// 0 for a unix socket.
    pub(crate) port: u16,
    /// At least 1.
    pub(crate) weight: u32,
    pub(crate) healthy: bool,
    pub(crate) labels: Labels,
    pub(crate) locality: Arc<str>,
    /// Empty when unknown.
    pub(crate) node: Arc<str>,
    /// SPIFFE identity of its service account.
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) workload: Arc<Workload>,
}

impl Member {
    /// A label, one that Istio derives from where it runs included.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        locality::derived_label(name, &self.locality, &self.node).or_else(|| self.labels.get(name))
    }

    /// Whether it has every label of `wanted`.
    pub(crate) fn has(&self, wanted: &Map<String>) -> bool {
        wanted.iter().all(|(name, value)| self.label(name) == Some(value.as_str()))
    }
}

/// Which endpoints a service prefers (`trafficDistribution`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Distribution {
    #[default]
    Any,
    /// `PreferSameZone`, formerly `PreferClose`.
    SameZone,
    SameNode,
}

/// Annotation for what a Service's field says, too; any case.
const DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

impl Distribution {
    /// As the field of a Service says, else its annotation.
    fn of(field: Option<&str>, annotations: &Map<String>) -> Self {
        let field = match field {
            Some("PreferSameZone" | "PreferClose") => Some(Self::SameZone),
            Some("PreferSameNode") => Some(Self::SameNode),
            _ => None,
        };
        let annotation = || match annotations.get(DISTRIBUTION)?.to_ascii_lowercase().as_str() {
            "prefersamezone" | "preferclose" => Some(Self::SameZone),
            "prefersamenode" => Some(Self::SameNode),
            _ => None,
        };
        field.or_else(annotation).unwrap_or_default()
    }
}

/// Where a member is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Ip(IpAddr),
    Name(String),
    /// A leading `@` is an abstract socket.
    Unix(PathBuf),
}

impl Services {
    /// Gathers the services of `wanted` hosts from all objects.
    pub(crate) fn build(
        objects: &Objects,
        environment: &Environment,
        wanted: Hosts<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let workloads = workload::Workloads::new(objects);
        let mut hosts: BTreeMap<Arc<str>, Vec<Service>> = BTreeMap::new();
        let kubernetes = kubernetes::services(objects, environment, wanted, &workloads, diagnostics);
        let entries = entry::services(objects, environment, wanted, &workloads);
        for service in kubernetes.into_iter().chain(entries) {
            let same_host = hosts.entry(Arc::clone(&service.facts.host)).or_default();
            // In one namespace the first one holds the name alone, but the endpoints of both answer.
            match same_host.iter_mut().find(|held| held.facts.namespace == service.facts.namespace) {
                None => same_host.push(service),
                Some(held) if held.discovery == service.discovery => held.adopt(&service),
                Some(_) => {}
            }
        }
        let aliases = settings::trust_domain_aliases(objects);
        let whole = |mut service: Service| {
            service.identities = service.all_identities(aliases);
            Arc::new(service)
        };
        let same_host = |(host, same): (_, Vec<Service>)| (host, same.into_iter().map(whole).collect());
        Self { hosts: hosts.into_iter().map(same_host).collect() }
    }

    /// The service a destination in `namespace` means by `host`: one of the same namespace, else any.
    pub(crate) fn find(&self, host: &str, namespace: &str) -> Option<&Arc<Service>> {
        let same_host = self.hosts.get(host)?;
        let own = same_host.iter().find(|service| &*service.facts.namespace == namespace);
        own.or_else(|| same_host.first())
    }

    /// The services of each host, those that come first first.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = (&Arc<str>, &[Arc<Service>])> {
        self.hosts.iter().map(|(host, services)| (host, services.as_slice()))
    }

    /// The services of one host.
    pub(crate) fn of_host(&self, host: &str) -> &[Arc<Service>] {
        self.hosts.get(host).map_or(&[], Vec::as_slice)
    }

    /// Every service, by host, those that come first for a host first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.hosts.values().flatten()
    }
}

impl Service {
    /// Takes in the endpoints of another object for the same host: those on ports of the same name.
    fn adopt(&mut self, other: &Self) {
        for port in &mut self.ports {
            port.members.extend(other.members_named(&port.name));
        }
    }

    /// The endpoints on ports of this name.
    fn members_named(&self, name: &str) -> Vec<Member> {
        let named = self.ports.iter().find(|port| &*port.name == name);
        named.map(|port| port.members.clone()).unwrap_or_default()
    }

    /// Names a server certificate may carry where no DestinationRule says, in the mesh's own TLS or in any other:
    /// Istio expects the accounts of Kubernetes' endpoints only in the former.
    pub(crate) fn expected_names(&self, in_mesh: bool) -> &[String] {
        if in_mesh || self.is_external { &self.identities } else { &[] }
    }

    /// Identities in the mesh's trust domain hold in its aliases, too (Istio: `ExpandWithTrustDomains`).
    fn all_identities(&self, aliases: &[String]) -> Vec<String> {
        let members = self.ports.iter().flat_map(|port| &port.members);
        let known = members.filter_map(|member| member.identity.as_deref());
        let mut all: BTreeSet<String> = known.map(str::to_owned).collect();
        all.extend(self.subject_alt_names.iter().cloned());
        let elsewhere = |identity: &String| {
            let (_, path) = identity.strip_prefix("spiffe://")?.split_once('/')?;
            Some(aliases.iter().map(|domain| format!("spiffe://{domain}/{path}")).collect::<Vec<_>>())
        };
        let expanded: Vec<String> = all.iter().filter_map(elsewhere).flatten().collect();
        all.extend(expanded);
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
