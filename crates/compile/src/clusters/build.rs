//! The clusters of one host out of its services and the DestinationRules for them.

use std::collections::{BTreeSet, HashSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use portcullis_api::mesh::MeshConfig;
use portcullis_api::networking::{ClientTlsMode, Subset, TrafficPolicy};
use portcullis_api::{Kind, Meta};
use portcullis_snapshot::cluster::{Endpoints, Notes, PoolLimits};
use portcullis_snapshot::listener::{Tunnel, TunnelMethod};
use portcullis_snapshot::{Cluster, ClusterId};

use super::destination_rule::{DestinationRules, MergedRule, Written};
use super::health_check::health_check;
use super::locality::{self, Detection, Setting};
use super::policy::Policy;
use super::upstream_tls::{Upstream, upstream_tls};
use super::{Built, Outline, Ports, Routing, endpoints};
use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::environment::Environment;
use crate::objects::Objects;
use crate::services::{Discovery, Hosts, Port, Protocol, Service};
use crate::settings::mesh;

/// Builds the clusters of one host after the other.
pub(super) struct Builder<'a, 'd> {
    objects: &'a Objects,
    environment: &'a Environment,
    mesh: Option<&'a MeshConfig>,
    rules: DestinationRules<'a>,
    diagnostics: &'d mut Diagnostics,
    made: Made,
    /// Those of the last cluster.
    limits: Arc<PoolLimits>,
}

/// What is made for a host.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) services: Vec<Outline>,
    pub(super) clusters: Vec<Fresh>,
    /// Names whose addresses the clusters need.
    pub(super) wanted: BTreeSet<String>,
}

/// A cluster that has no place yet.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) cluster: Cluster,
    /// Empty for the whole service.
    subset: Box<str>,
    pub(super) routing: Option<Box<Routing>>,
}

impl Fresh {
    /// Whether it is the same port and subset of the same host.
    pub(super) fn is_newer_form_of(&self, built: &Built) -> bool {
        (self.cluster.port, &self.subset) == (built.port, &built.subset)
    }

    /// With an identifier: what is remembered of it, and the cluster.
    pub(super) fn placed(self, id: ClusterId) -> (Built, Cluster) {
        let Self { cluster, subset, routing } = self;
        (Built { id, port: cluster.port, subset, routing }, cluster)
    }
}

impl Outline {
    fn of(service: &Service) -> Self {
        let ports = match service.ports.as_slice() {
            [] => Ports::None,
            [only] => Ports::One(only.number),
            _ => Ports::Several,
        };
        let alias = match &service.discovery {
            Discovery::Alias(target) => Some(target.as_str().into()),
            _ => None,
        };
        Self { namespace: Arc::clone(&service.facts.namespace), ports, alias }
    }
}

impl<'a, 'd> Builder<'a, 'd> {
    /// Builds clusters of `hosts`, as the objects have it.
    pub(super) fn new(
        objects: &'a Objects,
        environment: &'a Environment,
        hosts: Hosts<'_>,
        diagnostics: &'d mut Diagnostics,
    ) -> Self {
        Self {
            objects,
            environment,
            mesh: mesh(objects).map(|mesh| &mesh.spec),
            rules: DestinationRules::new(objects, environment, hosts),
            diagnostics,
            made: Made::default(),
            limits: Arc::default(),
        }
    }

    /// The clusters of a host with these services, those that come first for it first.
    pub(super) fn host(&mut self, services: &[Arc<Service>]) -> Made {
        let mut taken = HashSet::new();
        for service in services {
            self.made.services.push(Outline::of(service));
            for port in &service.ports {
                // Of two services with one host the first one that has the port has the cluster.
                if port.protocol != Protocol::Udp && taken.insert(port.number) {
                    self.port(service, port);
                }
            }
        }
        self.made.services.shrink_to_fit();
        std::mem::take(&mut self.made)
    }

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
        let subset_name: Box<str> = name.into();
        let protocol = policy.protocol(port.protocol, self.mesh);
        let notes = notes(service, rule, &policy);
        let tls = policy.tls.and_then(|tls| {
            let upstream = Upstream {
                port: port.number,
                subset: name,
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
            name: format!("outbound|{}|{name}|{}", port.number, service.facts.host).into(),
            service: Arc::clone(&service.facts),
            port: port.number,
            protocol,
            tls,
            balancer: policy.balancer(),
            endpoints: Arc::new(self.endpoints(service, port, &policy, rule, subset)),
            pool: self.pool_limits(&policy),
            outlier: outlier.map(Arc::new),
            warmup: policy.warmup(),
            transport: policy.transport(protocol),
            health_check: checks,
            notes,
        };
        let routing = Routing {
            hash_with_port: policy.hash_policies(),
            hash_without_port: Policy::new(rule, subset, None, self.mesh).hash_policies(),
            tunnel: match subset {
                Some((_, subset)) => tunnel(subset.value.traffic_policy.as_ref()),
                None => tunnel(rule.and_then(|rule| rule.policy).map(|policy| policy.value)),
            },
            shared_tunnel: tunnel(rule.and_then(|rule| rule.policy).map(|policy| policy.value)),
        };
        let routing = Some(Box::new(routing)).filter(|routing| **routing != Routing::default());
        // A subset without name has the name of the whole, and comes later.
        self.made.clusters.retain(|made| (made.cluster.port, &made.subset) != (port.number, &subset_name));
        self.made.clusters.push(Fresh { cluster, subset: subset_name, routing });
    }

    /// Most clusters have the limits of the one before them.
    fn pool_limits(&mut self, policy: &Policy<'_>) -> Arc<PoolLimits> {
        let limits = policy.pool_limits(self.mesh);
        if limits != *self.limits {
            self.limits = Arc::new(limits);
        }
        Arc::clone(&self.limits)
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
            &mut self.made.wanted,
            |members| locality::layout(members, setting.as_ref()?, detection, gateway),
        )
    }
}

/// What a header value may tell of a cluster's configuration.
fn notes(service: &Service, rule: Option<&MergedRule<'_>>, policy: &Policy<'_>) -> Notes {
    Notes {
        rule: rule.map(|rule| {
            let Meta { namespace, name, .. } = &rule.first.meta;
            format!("DestinationRule {namespace}/{name}").into()
        }),
        external: service.is_outside,
        overrides_alpn: policy.tls.is_some_and(|tls| {
            matches!(tls.settings.mode, Some(ClientTlsMode::Simple | ClientTlsMode::Mutual))
        }),
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
