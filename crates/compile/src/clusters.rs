//! The clusters that destinations lead to: one for each port of each service, and one for each subset of it.
//!
//! All of them are built, not only those that a route names: an identifier is a position in the sorted list, and
//! stays right whatever routes are compiled afterwards.

pub(crate) mod destination_rule;
mod endpoints;
mod health_check;
mod locality;
mod policy;
mod upstream_tls;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use portcullis_api::mesh::MeshConfig;
use portcullis_api::networking::{ClientTlsMode, Subset, TrafficPolicy};
use portcullis_api::{Kind, Meta};
use portcullis_snapshot::action::Target;
use portcullis_snapshot::cluster::{Endpoints, HashPolicy, Notes};
use portcullis_snapshot::listener::{Tunnel, TunnelMethod};
use portcullis_snapshot::{Cluster, ClusterId};

use self::destination_rule::{DestinationRules, MergedRule, Written};
use self::health_check::health_check;
use self::locality::{Detection, Setting};
use self::policy::Policy;
use self::upstream_tls::{Upstream, upstream_tls};
use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::environment::Environment;
use crate::names::qualified;
use crate::objects::Objects;
use crate::services::{Discovery, Port, Protocol, Service, Services};
use crate::settings::mesh;

/// Every cluster a destination can name.
#[derive(Debug)]
pub(crate) struct Clusters<'a> {
    services: &'a Services,
    domain: &'a str,
    /// Sorted by name.
    built: Vec<Built>,
    wanted_names: BTreeSet<String>,
}

/// A cluster, and what routes to it need to know.
#[derive(Debug)]
struct Built {
    cluster: Arc<Cluster>,
    /// What is hashed when a destination says the port, and when it does not: settings of single ports only count
    /// for the former.
    hash_with_port: Vec<HashPolicy>,
    hash_without_port: Vec<HashPolicy>,
    /// The proxy it is: where it is the only destination, and where it is one of several, when its subset has no say
    /// (Istio: `tunnelingconfig.Apply`).
    tunnel: Option<Tunnel>,
    shared_tunnel: Option<Tunnel>,
}

impl<'a> Clusters<'a> {
    /// Builds every cluster.
    pub(crate) fn build(
        objects: &'a Objects,
        environment: &'a Environment,
        services: &'a Services,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut builder = Builder {
            objects,
            environment,
            mesh: mesh(objects).map(|mesh| &mesh.spec),
            rules: DestinationRules::new(objects, environment),
            diagnostics,
            built: BTreeMap::new(),
            wanted_names: BTreeSet::new(),
        };
        let mut taken = HashSet::new();
        for service in services.iter() {
            for port in &service.ports {
                // Of two services with one host the first one that has the port has the cluster.
                if port.protocol != Protocol::Udp && taken.insert((&service.facts.host, port.number)) {
                    builder.port(service, port);
                }
            }
        }
        Self {
            services,
            domain: &environment.cluster_domain,
            built: builder.built.into_values().collect(),
            wanted_names: builder.wanted_names,
        }
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
        let host = qualified(host, namespace, self.domain);
        let service = self.services.find(&host, namespace);
        let default = || service.map_or(server_port, |service| service.default_port(server_port));
        let port = port.unwrap_or_else(|| u32::from(default()));
        let host = match service.map(|service| &service.discovery) {
            Some(Discovery::Alias(target)) => target,
            _ => &*host,
        };
        let name = format!("outbound|{port}|{}|{host}", subset.unwrap_or_default());
        match self.built.binary_search_by(|built| (*built.cluster.name).cmp(&name)) {
            Ok(at) => {
                Target::Cluster(ClusterId(u32::try_from(at).expect("fewer clusters than a u32 can count")))
            }
            Err(_) => Target::Unknown(name.into()),
        }
    }

    /// Whether a destination in `namespace` must say the port, since the service of `host` has several.
    pub(crate) fn needs_port(&self, host: &str, namespace: &str) -> bool {
        let service = self.services.find(&qualified(host, namespace, self.domain), namespace);
        service.is_some_and(|service| service.ports.len() > 1)
    }

    /// What consistent hashing hashes for requests to `target`.
    pub(crate) fn hash_policies(&self, target: &Target, explicit_port: bool) -> Vec<HashPolicy> {
        let Some(built) = self.at(target) else { return Vec::new() };
        if explicit_port { built.hash_with_port.clone() } else { built.hash_without_port.clone() }
    }

    /// The tunnel that `target` is the entry of.
    pub(crate) fn tunnel(&self, target: &Target, is_only: bool) -> Option<Tunnel> {
        let built = self.at(target)?;
        if is_only { built.tunnel.clone() } else { built.shared_tunnel.clone() }
    }

    /// The cluster itself, if there is one.
    pub(crate) fn get(&self, target: &Target) -> Option<&Arc<Cluster>> {
        self.at(target).map(|built| &built.cluster)
    }

    fn at(&self, target: &Target) -> Option<&Built> {
        match target {
            Target::Cluster(id) => self.built.get(id.index()),
            Target::Unknown(_) => None,
        }
    }

    /// Host names whose addresses some cluster needs.
    pub(crate) fn wanted_names(&self) -> &BTreeSet<String> {
        &self.wanted_names
    }

    /// The clusters by identifier.
    pub(crate) fn into_vec(self) -> Vec<Arc<Cluster>> {
        self.built.into_iter().map(|built| built.cluster).collect()
    }
}

/// Builds the clusters one by one.
struct Builder<'a, 'd> {
    objects: &'a Objects,
    environment: &'a Environment,
    mesh: Option<&'a MeshConfig>,
    rules: DestinationRules<'a>,
    diagnostics: &'d mut Diagnostics,
    built: BTreeMap<Arc<str>, Built>,
    wanted_names: BTreeSet<String>,
}

impl<'a> Builder<'a, '_> {
    /// The clusters of one port: the whole, and each subset.
    fn port(&mut self, service: &Service, port: &Port) {
        if matches!(service.discovery, Discovery::Alias(_) | Discovery::PerRequest) {
            return;
        }
        let rule = self.rules.find(&service.facts.host, &service.facts.namespace).cloned();
        self.cluster(service, port, rule.as_ref(), None);
        for subset in rule.iter().flat_map(|rule| &rule.subsets) {
            self.cluster(service, port, rule.as_ref(), Some(*subset));
        }
    }

    fn cluster(
        &mut self,
        service: &Service,
        port: &Port,
        rule: Option<&MergedRule<'a>>,
        subset: Option<(usize, Written<'a, Subset>)>,
    ) {
        let labels = subset.map(|(_, subset)| &subset.value.labels);
        let by_name = matches!(service.discovery, Discovery::Dns | Discovery::FirstOfDns);
        // Istio leaves a cluster out that would have nothing to resolve: its routes answer without flag UH.
        if by_name && endpoints::selected(port, labels).next().is_none() {
            return;
        }
        let policy = Policy::new(rule, subset, Some(port.number), self.mesh);
        let name = subset.map(|(_, subset)| subset.value.name.as_str()).unwrap_or_default();
        let name: Arc<str> = format!("outbound|{}|{name}|{}", port.number, service.facts.host).into();
        let protocol = policy.protocol(port.protocol, self.mesh);
        let notes = Notes {
            rule: rule.map(|rule| {
                let Meta { namespace, name, .. } = &rule.first.meta;
                format!("DestinationRule {namespace}/{name}").into()
            }),
            external: service.is_outside,
            overrides_alpn: policy.tls.is_some_and(|tls| {
                matches!(tls.settings.mode, Some(ClientTlsMode::Simple | ClientTlsMode::Mutual))
            }),
        };
        let tls = policy.tls.and_then(|tls| {
            let upstream = Upstream {
                port: port.number,
                subset: subset.map(|(_, subset)| subset.value.name.as_str()).unwrap_or_default(),
                host: &service.facts.host,
                protocol,
                names: service.expected_names(tls.settings.mode == Some(ClientTlsMode::IstioMutual)),
            };
            upstream_tls(&tls, &upstream, self.objects, self.environment, self.diagnostics)
        });
        let outlier = policy.outlier_detection();
        let checks = rule.and_then(|rule| rule.health_check).and_then(|annotation| {
            let least = outlier.as_ref().map_or(0, |rules| rules.min_health_percent);
            health_check(annotation, &service.facts.host, least, self.diagnostics)
        });
        let cluster = Cluster {
            name: Arc::clone(&name),
            service: Arc::clone(&service.facts),
            port: port.number,
            protocol,
            tls,
            balancer: policy.balancer(),
            endpoints: Arc::new(self.endpoints(service, port, &policy, rule, subset)),
            pool: policy.pool_limits(self.mesh),
            outlier,
            warmup: policy.warmup(),
            transport: policy.transport(protocol),
            health_check: checks,
            notes,
        };
        let built = Built {
            cluster: Arc::new(cluster),
            hash_with_port: policy.hash_policies(),
            hash_without_port: Policy::new(rule, subset, None, self.mesh).hash_policies(),
            tunnel: match subset {
                Some((_, subset)) => tunnel(subset.value.traffic_policy.as_ref()),
                None => tunnel(rule.and_then(|rule| rule.policy).map(|policy| policy.value)),
            },
            shared_tunnel: tunnel(rule.and_then(|rule| rule.policy).map(|policy| policy.value)),
        };
        self.built.insert(name, built);
    }

    fn endpoints(
        &mut self,
        service: &Service,
        port: &Port,
        policy: &Policy<'_>,
        rule: Option<&MergedRule<'a>>,
        subset: Option<(usize, Written<'a, Subset>)>,
    ) -> Endpoints {
        let labels = subset.map(|(_, subset)| &subset.value.labels);
        if policy.wants_original_destination() {
            if let Some(Written { rule, .. }) = rule.and_then(|rule| rule.policy) {
                self.diagnostics.report(
                    Code::NeverApplies,
                    Subject::new(Kind::DestinationRule, rule),
                    "spec.trafficPolicy.loadBalancer.simple",
                    "PASSTHROUGH needs the client's own destination, which a gateway does not have: requests fail",
                    "choose another load balancer",
                );
            }
            return Endpoints::default();
        }
        // Where all may be used in an emergency, Istio does not name those that are not ready.
        let spares_unready = policy.outlier_detection().is_some_and(|rules| rules.min_health_percent > 0);
        let members = endpoints::selected(port, labels).filter(|member| member.healthy || !spares_unready);
        let written = Policy::new(rule, subset, Some(port.number), None);
        let setting = Setting::effective(written.load_balancer, service.distribution, self.mesh);
        let by_name = matches!(service.discovery, Discovery::Dns | Discovery::FirstOfDns);
        let detects = policy.outlier.is_some();
        // Of endpoints that are listed, Istio gives priorities without a look at the mesh's policy.
        let for_priorities = if by_name { detects } else { written.outlier.is_some() };
        let detection = Detection { for_priorities, for_weights: detects };
        let gateway = &self.environment.workload;
        endpoints::endpoints(
            members,
            &service.discovery,
            &self.environment.resolved,
            &mut self.wanted_names,
            |members| locality::layout(members, setting.as_ref()?, detection, gateway),
        )
    }
}

/// The tunnel that a policy asks for; there is none for single ports, and a subset inherits none.
fn tunnel(policy: Option<&TrafficPolicy>) -> Option<Tunnel> {
    let written = policy?.tunnel.as_ref()?;
    let (host, port) = (&written.target_host, written.target_port);
    let authority =
        if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let by_post = written.protocol.as_deref() == Some("POST");
    let method = if by_post { TunnelMethod::Post } else { TunnelMethod::Connect };
    Some(Tunnel { authority: authority.into(), method })
}

#[cfg(test)]
mod tests;
