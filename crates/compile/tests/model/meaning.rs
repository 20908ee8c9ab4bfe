//! The model: from a configuration and a request to its fate, by walking lists. It is written from Istio's
//! rules, not from the code under test, has no index, keeps nothing between two requests, and is as slow as
//! it is plain.

use crate::config::{Destination, Gateway, Kind, SERVICES, Server, StreamRule, VirtualService, World};
use crate::delegates;
use crate::outcome::{Outcome, Request, Share, Tls, shares};
use crate::rules;

/// Where the gateway runs; its labels.
pub(crate) const HOME: &str = "istio-system";
pub(crate) const LABELS: [(&str, &str); 2] = [("istio", "ingressgateway"), ("app", "istio-ingressgateway")];

/// A server that was not skipped, with what it inherits.
pub(crate) struct Placed<'a> {
    pub(crate) gateway: String,
    pub(crate) server: &'a Server,
    /// Rewritten: `ns/host` or `host`.
    pub(crate) hosts: Vec<String>,
}

/// Everything of the configuration that the fate of requests to one port needs, in Istio's order.
pub(crate) struct Port<'a> {
    pub(crate) number: u16,
    pub(crate) bind: Option<&'static str>,
    pub(crate) servers: Vec<Placed<'a>>,
}

/// A configuration, put in order.
pub(crate) struct Model<'a> {
    ports: Vec<Port<'a>>,
    /// Those the gateway sees, delegates merged in.
    services: Vec<VirtualService>,
}

impl<'a> Model<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self { ports: ports(world), services: visible(&delegates::merged(world)) }
    }

    /// The fate of `request`.
    pub(crate) fn outcome(&self, request: &Request) -> Outcome {
        let port = self.ports.iter().find(|port| port.number == request.port && port.bind == request.bind);
        let Some(port) = port else { return Outcome::Refused };
        let chains = self.chains(port);
        if chains.is_empty() {
            return Outcome::Refused;
        }
        let Some(chain) = choose(&chains, request.tls) else { return Outcome::Closed };
        match &chain.inside {
            Inside::Stream(to) => Outcome::Stream(to.clone()),
            Inside::Http(servers) => rules::outcome(servers, &self.services, request),
        }
    }

    fn chains<'s>(&'s self, port: &'s Port<'a>) -> Vec<Chain<'s>> {
        let mut chains = Vec::new();
        let plain: Vec<_> = port
            .servers
            .iter()
            .filter(|placed| matches!(placed.server.kind, Kind::Http | Kind::HttpRedirect))
            .collect();
        if !plain.is_empty() {
            chains.push(Chain { names: None, ends_tls: false, inside: Inside::Http(plain) });
        }
        // An entry that is skipped for one name takes none.
        let mut taken: Vec<&str> = Vec::new();
        for placed in &port.servers {
            let names: Vec<String> = placed.hosts.iter().map(|host| bare(host).to_owned()).collect();
            match placed.server.kind {
                Kind::Http | Kind::HttpRedirect => {}
                Kind::Https => {
                    let inside = Inside::Http(vec![placed]);
                    chains.push(Chain { names: Some(names), ends_tls: true, inside });
                }
                Kind::Tcp | Kind::TlsTerminated => {
                    let names = (placed.server.kind == Kind::TlsTerminated).then_some(names);
                    if let Some(to) = self.tcp(placed) {
                        chains.push(Chain { ends_tls: names.is_some(), names, inside: Inside::Stream(to) });
                    }
                }
                Kind::TlsPassthrough => {
                    for (names, to) in self.by_name(placed, &mut taken) {
                        let inside = Inside::Stream(to);
                        chains.push(Chain { names: Some(names), ends_tls: false, inside });
                    }
                }
            }
        }
        chains
    }

    /// VirtualServices whose `tls` and `tcp` rules a server takes: bound to its Gateway, and one host fits.
    fn stream_services(&self, placed: &Placed<'_>) -> impl Iterator<Item = &VirtualService> {
        self.services.iter().filter(|service| {
            is_bound(service, &placed.gateway)
                && hosts_for(&placed.hosts, service.meta.namespace)
                    .iter()
                    .any(|own| hosts_of(service).iter().any(|other| narrower(own, other).is_some()))
        })
    }

    /// Only the first matching block of the first VirtualService that has one.
    fn tcp(&self, placed: &Placed<'_>) -> Option<Vec<Share>> {
        self.stream_services(placed).find_map(|service| {
            let rule = service.tcp.iter().find(|rule| {
                rule.matches.is_empty() || (0..rule.matches.len()).any(|at| fits(rule, at, service, placed))
            })?;
            Some(stream_shares(&rule.route, placed))
        })
    }

    /// Every entry is a chain of its own, unless one of its names is taken.
    fn by_name<'s>(
        &'s self,
        placed: &Placed<'_>,
        taken: &mut Vec<&'s str>,
    ) -> Vec<(Vec<String>, Vec<Share>)> {
        let mut found = Vec::new();
        for service in self.stream_services(placed) {
            for rule in &service.tls {
                for (at, entry) in rule.matches.iter().enumerate() {
                    if !fits(rule, at, service, placed) {
                        continue;
                    }
                    let skipped = entry.sni.iter().any(|name| taken.contains(name));
                    if !skipped {
                        taken.extend(entry.sni.iter().copied());
                        let names = entry.sni.iter().map(|name| (*name).to_owned()).collect();
                        found.push((names, stream_shares(&rule.route, placed)));
                    }
                }
            }
        }
        found
    }
}

/// Connections a chain takes: those of TLS clients that ask for these names, or those without TLS.
struct Chain<'a> {
    names: Option<Vec<String>>,
    ends_tls: bool,
    inside: Inside<'a>,
}

enum Inside<'a> {
    Http(Vec<&'a Placed<'a>>),
    Stream(Vec<Share>),
}

/// Exact, then longest suffix, then the chain without condition; of equal names the first.
fn choose<'c, 'a>(chains: &'c [Chain<'a>], tls: Tls) -> Option<&'c Chain<'a>> {
    // A chain with `*` among its names has no condition at all.
    let unconditional = |chain: &&Chain<'_>| chain.names.iter().flatten().any(|name| name == "*");
    let name = match tls {
        // What ends no TLS and has no condition takes everything.
        Tls::None => {
            let passed = |chain: &&Chain<'_>| !chain.ends_tls && unconditional(chain);
            return chains.iter().find(|chain| chain.names.is_none()).or_else(|| chains.iter().find(passed));
        }
        Tls::WithoutName => "",
        Tls::Name(name) => name,
    };
    let with = |wanted: &str| {
        chains
            .iter()
            .find(|chain| !unconditional(chain) && chain.names.iter().flatten().any(|name| name == wanted))
    };
    candidates(name).iter().find_map(|candidate| {
        if candidate == "*" { chains.iter().find(unconditional) } else { with(candidate) }
    })
}

/// The patterns that take `host`, best first.
pub(crate) fn candidates(host: &str) -> Vec<String> {
    let mut found = vec![host.to_owned()];
    // A wildcard stands for at least one character.
    for (at, _) in host.match_indices('.').filter(|(at, _)| *at > 0) {
        found.push(format!("*{}", &host[at..]));
    }
    found.push("*".to_owned());
    found
}

/// The port bound for a declared one, as the gateway's Service says.
fn resolved(declared: u16) -> u16 {
    match declared {
        80 => 8080,
        443 => 8443,
        other => other,
    }
}

fn ports(world: &World) -> Vec<Port<'_>> {
    let mut gateways: Vec<&Gateway> = world
        .gateways
        .iter()
        .filter(|gateway| gateway.selector.is_none_or(|label| LABELS.contains(&("istio", label))))
        .collect();
    gateways.sort_by_key(|gateway| (gateway.meta.day, gateway.meta.name, gateway.meta.namespace));
    let mut ports: Vec<Port<'_>> = Vec::new();
    // Hosts of servers with a tls block, by port and bind; a server that is skipped for one of them takes none.
    let mut reserved: Vec<(u16, Option<&str>, String)> = Vec::new();
    for gateway in gateways {
        for server in &gateway.servers {
            let (number, bind) = (resolved(server.port), server.bind);
            let hosts = rewritten(&server.hosts, gateway.meta.namespace);
            if !matches!(server.kind, Kind::Http | Kind::Tcp) {
                let keys: Vec<_> = hosts.iter().map(|host| (number, bind, host.clone())).collect();
                let skipped = keys.iter().any(|key| reserved.contains(key));
                if !skipped {
                    reserved.extend(keys);
                }
                if skipped {
                    continue;
                }
            }
            let at = ports.iter().position(|port| port.number == number && port.bind == bind);
            let at = at.unwrap_or_else(|| {
                ports.push(Port { number, bind, servers: Vec::new() });
                ports.len() - 1
            });
            let holds =
                |kinds: &[Kind]| ports[at].servers.iter().any(|placed| kinds.contains(&placed.server.kind));
            let http = holds(&[Kind::Http, Kind::HttpRedirect]);
            let skipped = match server.kind {
                Kind::Http | Kind::HttpRedirect => holds(&[Kind::Tcp]),
                Kind::Tcp | Kind::Https | Kind::TlsTerminated | Kind::TlsPassthrough => {
                    http || holds(&[Kind::Tcp])
                }
            };
            if !skipped {
                let gateway = format!("{}/{}", gateway.meta.namespace, gateway.meta.name);
                ports[at].servers.push(Placed { gateway, server, hosts });
            }
        }
    }
    ports
}

/// `./host` is `ownNs/host`, `*/host` is `host`, and `*/*` makes the whole list `*`.
fn rewritten(hosts: &[String], namespace: &str) -> Vec<String> {
    let mut out = Vec::new();
    for host in hosts {
        match host.split_once('/') {
            Some(("*", "*")) => return vec!["*".to_owned()],
            Some(("*", name)) => out.push(name.to_owned()),
            Some((".", name)) => out.push(format!("{namespace}/{name}")),
            _ => out.push(host.clone()),
        }
    }
    out
}

/// Without the `ns/` part.
fn bare(host: &str) -> &str {
    host.split_once('/').map_or(host, |(_, name)| name)
}

/// The server's hosts that VirtualServices of `namespace` may take, without the `ns/` part.
pub(crate) fn hosts_for(hosts: &[String], namespace: &str) -> Vec<String> {
    let fits = |host: &&String| host.split_once('/').is_none_or(|(wanted, _)| wanted == namespace);
    hosts.iter().filter(fits).map(|host| bare(host).to_owned()).collect()
}

/// The hosts of a VirtualService, written out.
pub(crate) fn hosts_of(service: &VirtualService) -> Vec<String> {
    service.hosts.iter().map(|host| full_name(host, service.meta.namespace)).collect()
}

/// The narrower of two patterns when one contains the other.
pub(crate) fn narrower(left: &str, right: &str) -> Option<String> {
    let contains = |wide: &str, narrow: &str| {
        wide == narrow || wide.strip_prefix('*').is_some_and(|suffix| narrow.ends_with(suffix))
    };
    if contains(right, left) {
        Some(left.to_owned())
    } else if contains(left, right) {
        Some(right.to_owned())
    } else {
        None
    }
}

/// A name without any dot belongs to a namespace; one with a dot is complete.
fn full_name(host: &str, namespace: &str) -> String {
    if host == "*" || host.contains('.') {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.cluster.local")
    }
}

/// Whether `service` names the Gateway `namespace/name`.
pub(crate) fn is_bound(service: &VirtualService, gateway: &str) -> bool {
    names(&service.gateways, service.meta.namespace).iter().any(|name| name == gateway)
}

/// References to Gateways, written out; `mesh` is no Gateway.
pub(crate) fn names(references: &[&str], home: &str) -> Vec<String> {
    let mut out = Vec::new();
    for &reference in references {
        match reference.split_once('/') {
            Some((".", name)) => out.push(format!("{home}/{name}")),
            Some(_) => out.push(reference.to_owned()),
            None if reference == "mesh" => out.push(reference.to_owned()),
            None => out.push(format!("{home}/{reference}")),
        }
    }
    out
}

/// Private to the gateway's namespace, then exported to it by name, then public; each oldest first.
fn visible(services: &[VirtualService]) -> Vec<VirtualService> {
    let group = |service: &VirtualService| {
        let own = service.meta.namespace;
        if service.export_to.is_empty() || service.export_to.contains(&"*") {
            Some(2)
        } else if own == HOME && (service.export_to.contains(&".") || service.export_to.contains(&own)) {
            Some(0)
        } else if service.export_to.contains(&HOME) {
            Some(1)
        } else {
            None
        }
    };
    let mut seen: Vec<VirtualService> =
        services.iter().filter(|service| group(service).is_some()).cloned().collect();
    seen.sort_by_key(|service| (group(service), service.meta.day, service.meta.name, service.meta.namespace));
    seen
}

/// Whether entry `at` of a stream rule applies at a server.
fn fits(rule: &StreamRule, at: usize, service: &VirtualService, placed: &Placed<'_>) -> bool {
    let entry = &rule.matches[at];
    entry.port.is_none_or(|port| port == placed.server.port)
        && (entry.gateways.is_empty()
            || names(&entry.gateways, service.meta.namespace).contains(&placed.gateway))
}

fn stream_shares(route: &[Destination], placed: &Placed<'_>) -> Vec<Share> {
    destination_shares(route, placed.server.port)
}

/// One destination takes everything; of several, those of weight 0 take nothing.
pub(crate) fn destination_shares(route: &[Destination], server_port: u16) -> Vec<Share> {
    let weighted = route.iter().map(|destination| {
        let weight = if route.len() == 1 { 1 } else { u64::from(destination.weight.unwrap_or(0)) };
        let (cluster, known) = cluster(destination, server_port);
        (cluster, known, weight)
    });
    let weighted: Vec<_> = weighted.filter(|(_, _, weight)| *weight > 0).collect();
    shares(&weighted)
}

/// Name of the cluster, and whether the gateway has it.
fn cluster(destination: &Destination, server_port: u16) -> (String, bool) {
    let host = full_name(destination.host, destination.home);
    let seen_from = |viewer: &str| {
        SERVICES
            .iter()
            .find(|(namespace, name, _, private)| *name == host && (!private || *namespace == viewer))
    };
    let port = destination.port.unwrap_or_else(|| match seen_from(destination.home) {
        Some((_, _, [port], _)) => *port,
        _ => server_port,
    });
    let subset = destination.subset.unwrap_or_default();
    let has_subset = subset.is_empty() || (subset == "v1" && host == "one.default.svc.cluster.local");
    let has_port = seen_from(HOME).is_some_and(|(_, _, ports, _)| ports.contains(&port));
    (format!("outbound|{port}|{subset}|{host}"), has_port && has_subset)
}
