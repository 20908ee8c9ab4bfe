//! `tcp` and `tls` rules (routing reference §2.10).

use portcullis_api::networking::{L4MatchAttributes, RouteDestination, TlsMatchAttributes};
use portcullis_snapshot::action::{Destination, Destinations, HeaderOps};
use portcullis_snapshot::cluster::PoolLimits;
use portcullis_snapshot::listener::TcpRoute;
use portcullis_snapshot::route::{Origin, RuleList};

use crate::binding::{Bindings, Bound};
use crate::clusters::Clusters;
use crate::destination::{self, Lookup};
use crate::diagnostic::{Diagnostics, Reporter};
use crate::gateway::Server;
use crate::names::{gateway_reference, subset_of};

/// What making routes of bytes needs.
pub(crate) struct TcpMaker<'m, 'a> {
    /// Which VirtualServices reach which Gateways.
    pub(crate) bindings: &'m Bindings<'a>,
    /// Where destinations lead.
    pub(crate) clusters: &'m Clusters,
    /// Where problems go.
    pub(crate) diagnostics: &'m mut Diagnostics,
}

/// A `tls` route with the server names it is for.
#[derive(Debug)]
pub(crate) struct SniRoute {
    /// As written.
    pub(crate) hosts: Vec<String>,
    /// `spec.tls[0].match[1]` of the VirtualService.
    pub(crate) field: String,
    /// Position of the VirtualService among all bound ones.
    pub(crate) bound: usize,
    /// The route.
    pub(crate) route: TcpRoute,
}

impl TcpMaker<'_, '_> {
    /// The route of a TCP server or of a server that terminates TLS around bytes: the first rule of the first
    /// VirtualService that has one.
    pub(crate) fn tcp(&mut self, server: &Server<'_>) -> Option<TcpRoute> {
        let bindings = self.bindings;
        for (_, bound) in bindings.of_gateway(&server.key).filter(|(_, bound)| fits(server, bound)) {
            for (index, rule) in bound.resource.spec.tcp.iter().enumerate() {
                let namespace = bound.namespace();
                let entry = rule.matches.iter().position(|entry| l4_applies(entry, server, namespace));
                if (entry.is_none() && !rule.matches.is_empty()) || rule.route.is_empty() {
                    continue;
                }
                let path = format!("spec.tcp[{index}]");
                if let Some(route) =
                    self.route(bound, &path, (RuleList::Tcp, index, entry), &rule.route, server)
                {
                    return Some(route);
                }
            }
        }
        None
    }

    /// The routes of a server that passes TLS through: one for each entry of each rule.
    pub(crate) fn tls(&mut self, server: &Server<'_>) -> Vec<SniRoute> {
        let bindings = self.bindings;
        let mut routes = Vec::new();
        for (position, bound) in bindings.of_gateway(&server.key).filter(|(_, bound)| fits(server, bound)) {
            for (index, rule) in bound.resource.spec.tls.iter().enumerate() {
                let path = format!("spec.tls[{index}]");
                self.check_tls(bound, &path, &rule.matches, &rule.route);
                if rule.route.is_empty() {
                    continue;
                }
                for (entry_index, entry) in rule.matches.iter().enumerate() {
                    if !tls_applies(entry, server, bound.namespace()) || entry.sni_hosts.is_empty() {
                        continue;
                    }
                    let place = (RuleList::Tls, index, Some(entry_index));
                    let Some(route) = self.route(bound, &path, place, &rule.route, server) else { continue };
                    routes.push(SniRoute {
                        hosts: entry.sni_hosts.clone(),
                        field: format!("{path}.match[{entry_index}]"),
                        bound: position,
                        route,
                    });
                }
            }
        }
        routes
    }

    fn check_tls(
        &mut self,
        bound: &Bound<'_>,
        path: &str,
        matches: &[TlsMatchAttributes],
        route: &[RouteDestination],
    ) {
        let mut reporter = Reporter::new(self.diagnostics, bound.subject(), path);
        if matches.is_empty() {
            let _: Option<()> =
                reporter.refuse("match", "is missing, so the rule is left out", "add sniHosts");
        }
        if route.is_empty() {
            let _: Option<()> =
                reporter.refuse("route", "is missing, so the rule is left out", "add a destination");
        }
        for (index, entry) in matches.iter().enumerate() {
            if entry.sni_hosts.is_empty() {
                let field = format!("match[{index}].sniHosts");
                let _: Option<()> =
                    reporter.refuse(field, "is missing, so the entry is left out", "add a host");
            }
            for host in &entry.sni_hosts {
                if !bound.hosts.iter().any(|own| subset_of(host, own)) {
                    let field = format!("match[{index}].sniHosts");
                    let message = format!("{host:?} is not among the hosts of the VirtualService");
                    let _: Option<()> = reporter.refuse(field, message, "add it to spec.hosts");
                }
            }
        }
    }

    fn route(
        &mut self,
        bound: &Bound<'_>,
        path: &str,
        (list, rule, entry): (RuleList, usize, Option<usize>),
        routes: &[RouteDestination],
        server: &Server<'_>,
    ) -> Option<TcpRoute> {
        let mut reporter = Reporter::new(self.diagnostics, bound.subject(), path);
        let weights: Vec<i32> = routes.iter().map(|route| route.weight.unwrap_or(0)).collect();
        let chosen = destination::weights(&weights, &mut reporter)?;
        let lookup = Lookup { namespace: bound.namespace(), port: server.declared, clusters: self.clusters };
        let mut entries = Vec::with_capacity(chosen.len());
        for (index, weight) in chosen {
            let mut reporter = reporter.at(format_args!("route[{index}].destination"));
            let target =
                lookup.target(&routes[index].destination, "connections are closed", &mut reporter)?;
            let destination = Destination {
                target,
                request_headers: HeaderOps::default(),
                response_headers: HeaderOps::default(),
            };
            entries.push((weight, destination));
        }
        let destinations = destination::choice(routes.len(), entries);
        let explicit = routes[0].destination.port.as_ref().is_some_and(|port| port.number.is_some());
        let position = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let origin =
            Origin { object: bound.name.clone(), list, rule: position(rule), entry: entry.map(position) };
        Some(self.finish(origin, destinations, explicit))
    }

    /// Fills in what the first destination's policy decides for the whole connection.
    fn finish(&self, origin: Origin, destinations: Destinations, explicit_port: bool) -> TcpRoute {
        let first = destinations.iter().next().map(|destination| &destination.target);
        let defaults = PoolLimits::default();
        let pool =
            first.and_then(|target| self.clusters.get(target)).map_or(&defaults, |cluster| &cluster.pool);
        let (idle_timeout, max_duration) = (pool.tcp_idle_timeout, pool.max_connection_duration);
        let hash = first.map(|target| self.clusters.hash_policies(target, explicit_port)).unwrap_or_default();
        let is_only = destinations.iter().nth(1).is_none();
        let tunnel = first.and_then(|target| self.clusters.tunnel(target, is_only));
        TcpRoute { origin, destinations, idle_timeout, max_duration, hash, tunnel }
    }
}

/// Whether a host of the VirtualService and one of the server are related, in either direction.
pub(crate) fn fits(server: &Server<'_>, bound: &Bound<'_>) -> bool {
    !server.hosts.intersection(&bound.hosts, bound.namespace()).is_empty()
}

fn l4_applies(entry: &L4MatchAttributes, server: &Server<'_>, namespace: &str) -> bool {
    port_and_gateway(entry.port, &entry.gateways, server, namespace)
}

fn tls_applies(entry: &TlsMatchAttributes, server: &Server<'_>, namespace: &str) -> bool {
    port_and_gateway(entry.port, &entry.gateways, server, namespace)
}

/// The only conditions Istio evaluates here, beside `sniHosts`.
pub(crate) fn port_and_gateway(
    port: Option<u32>,
    gateways: &[String],
    server: &Server<'_>,
    namespace: &str,
) -> bool {
    let port = port.is_none_or(|port| port == 0 || port == u32::from(server.declared));
    let mut named = gateways.iter().filter_map(|name| gateway_reference(name, namespace));
    port && (gateways.is_empty() || named.any(|key| key == server.key))
}
