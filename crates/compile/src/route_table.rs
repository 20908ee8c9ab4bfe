//! Route tables: the virtual hosts behind one filter chain, merged over servers and VirtualServices
//! (routing reference §2.1).
//!
//! What a virtual host is depends on the servers of its table and on the VirtualServices that have its name, and on
//! nothing else. So a table can be evaluated for some of its hosts alone, with the VirtualServices that have them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use portcullis_api::networking::HttpMatchRequest;
use portcullis_snapshot::route::{LeftOut, Origin, WhyLeftOut};
use portcullis_snapshot::{FastSet, Route, RouteTable, VirtualHost};

use crate::binding::{Bindings, Bound};
use crate::diagnostic::Code;
use crate::gateway::{Role, Server};
use crate::http_route::{Made, Maker, Scope, is_catch_all};
use crate::objects::Key;

/// A virtual host in the making.
#[derive(Debug)]
struct Draft<'e> {
    /// Declared port of the server that brought it in.
    port: u16,
    require_tls: bool,
    /// Shared with the other hosts of their VirtualService.
    routes: Vec<Rc<Route>>,
    /// What has been added, so that two servers of one Gateway do not add it twice.
    added: HashSet<(&'e Key, usize)>,
}

impl Draft<'_> {
    fn new(port: u16) -> Self {
        Self { port, require_tls: false, routes: Vec::new(), added: HashSet::new() }
    }

    /// Catch-all routes go to the end, the order being kept otherwise.
    fn finish(mut self, host: &str) -> Arc<VirtualHost> {
        self.routes.sort_by_key(|route| is_catch_all(route));
        // What no other host has is not copied.
        let routes = self.routes.into_iter().map(Rc::unwrap_or_clone).collect();
        Arc::new(VirtualHost::new(format!("{host}:{}", self.port), self.require_tls, routes))
    }
}

/// What a table takes from one VirtualService, for those who have to know which of the two changes with the other.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// The names it has in the table, in lower case, with or without routes.
    pub(crate) hosts: Box<[Arc<str>]>,
    /// The hosts its destinations name.
    pub(crate) asked: Box<[Arc<str>]>,
    /// Its entries without a route, by Gateway.
    left_out: Vec<(Key, NotServed)>,
}

/// The parts of a table, by VirtualService.
pub(crate) type Parts = BTreeMap<Key, Part>;

/// Entries of one VirtualService, and the hosts they would have served.
type NotServed = (Vec<(Origin, WhyLeftOut)>, BTreeSet<String>);

/// Which virtual hosts of a table are made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'w> {
    /// Every one.
    All,
    /// Those of these names, in lower case.
    These(&'w FastSet<Arc<str>>),
}

impl Wanted<'_> {
    fn contain(self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(hosts) => hosts.contains(host),
        }
    }
}

/// The virtual hosts made, and what each VirtualService took part with.
pub(crate) struct Evaluated {
    pub(crate) hosts: Vec<(String, Arc<VirtualHost>)>,
    pub(crate) parts: Parts,
}

/// The table called `name` for servers that share it, in order of age, and its parts.
pub(crate) fn route_table(
    name: String,
    servers: &[&Server<'_>],
    bindings: &Bindings<'_>,
    maker: &mut Maker<'_>,
) -> (RouteTable, Parts) {
    let Evaluated { hosts, parts } = evaluate(servers, bindings, Wanted::All, maker);
    // The first server of a port decides for all of them (Istio's `buildGatewayConnectionManager`).
    let grpc_web = servers.first().is_some_and(|server| server.is_grpc_web());
    let mut table = RouteTable { name: name.into(), grpc_web, ..RouteTable::default() };
    table.hosts.reserve(hosts.len());
    for (host, done) in hosts {
        table.hosts.set(&host, done);
    }
    table.settle();
    table.left_out = left_out(&parts);
    (table, parts)
}

/// The hosts of `server` that a VirtualService has, in lower case.
pub(crate) fn hosts_at(server: &Server<'_>, bound: &Bound<'_>) -> impl Iterator<Item = String> {
    let hosts = server.hosts.intersection(&bound.hosts, bound.namespace());
    hosts.into_iter().map(|host| host.to_ascii_lowercase())
}

/// Makes the `wanted` virtual hosts out of `bindings`, which need not hold other VirtualServices than theirs.
pub(crate) fn evaluate<'e>(
    servers: &[&'e Server<'_>],
    bindings: &'e Bindings<'_>,
    wanted: Wanted<'e>,
    maker: &mut Maker<'_>,
) -> Evaluated {
    let mut evaluation = Evaluation { bindings, wanted, drafts: BTreeMap::new(), seen: HashMap::new() };
    for server in servers {
        for (position, bound) in bindings.of_gateway(&server.key) {
            evaluation.add(server, position, bound, maker);
        }
        if server.redirects_to_https() {
            evaluation.redirect_bare_hosts(server);
        }
    }
    if servers.iter().any(|server| server.role == Role::Http) {
        evaluation.report_challenges(maker);
    }
    evaluation.finish()
}

/// The entries without a route of every part.
pub(crate) fn left_out(parts: &Parts) -> Vec<LeftOut> {
    let mut all: Vec<(&Key, &NotServed)> = Vec::new();
    all.extend(parts.values().flat_map(|part| &part.left_out).map(|(gateway, entries)| (gateway, entries)));
    // Those of one Gateway together; VirtualServices are in order already.
    all.sort_by_key(|(gateway, _)| *gateway);
    let mut found = Vec::new();
    for (_, (entries, hosts)) in all {
        let hosts: Arc<[String]> = hosts.iter().cloned().collect();
        let entries = entries.iter().cloned();
        found.extend(entries.map(|(origin, why)| LeftOut { origin, hosts: Arc::clone(&hosts), why }));
    }
    found
}

struct Evaluation<'e, 'a> {
    bindings: &'e Bindings<'a>,
    wanted: Wanted<'e>,
    drafts: BTreeMap<String, Draft<'e>>,
    /// A VirtualService is evaluated once for each Gateway: with the port of the first server that fits and at
    /// which it has a route at all.
    seen: HashMap<(&'e Key, usize), Seen>,
}

/// What came of a VirtualService at a Gateway.
#[derive(Default)]
struct Seen {
    routes: Vec<Rc<Route>>,
    left_out: Vec<(Origin, WhyLeftOut)>,
    hosts: BTreeSet<String>,
    asked: Vec<Arc<str>>,
}

impl<'e> Evaluation<'e, '_> {
    fn add(&mut self, server: &'e Server<'_>, position: usize, bound: &Bound<'_>, maker: &mut Maker<'_>) {
        let hosts: Vec<String> = hosts_at(server, bound).collect();
        if hosts.is_empty() {
            return;
        }
        let key = (&server.key, position);
        let seen = self.seen.entry(key).or_default();
        if seen.routes.is_empty() {
            let scope = Scope { gateway: &server.key, port: server.declared, tls: server.spec.tls.is_some() };
            let Made { routes, left_out } = maker.routes(bound, &scope);
            seen.routes = routes.into_iter().map(Rc::new).collect();
            seen.left_out = left_out;
            seen.asked.extend(maker.clusters.take_asked());
        }
        seen.hosts.extend(hosts.iter().cloned());
        let routes = &seen.routes;
        if routes.is_empty() {
            return;
        }
        for host in hosts.into_iter().filter(|host| self.wanted.contain(host)) {
            let draft = self.drafts.entry(host).or_insert_with(|| Draft::new(server.declared));
            draft.require_tls |= server.redirects_to_https();
            if draft.added.insert(key) {
                draft.routes.extend(routes.iter().cloned());
            }
        }
    }

    /// Hosts without a VirtualService redirect as well, but for those with a namespace: Istio takes the text as it
    /// stands, which no client sends.
    fn redirect_bare_hosts(&mut self, server: &Server<'_>) {
        for host in server.hosts.hosts().iter().filter(|host| host.namespace.is_none()) {
            let name = host.host.to_ascii_lowercase();
            if self.wanted.contain(&name) {
                let draft = self.drafts.entry(name).or_insert_with(|| Draft::new(server.declared));
                draft.require_tls = true;
            }
        }
    }

    /// Reports rules for certificate challenges that a redirect to https takes first: an HTTP-01 challenge comes in
    /// plaintext (RFC 8555 §8.3).
    fn report_challenges(&self, maker: &mut Maker<'_>) {
        for (host, draft) in self.drafts.iter().filter(|(_, draft)| draft.require_tls) {
            for bound in draft.added.iter().filter_map(|(_, position)| self.bindings.at(*position)) {
                let rules = bound.resource.spec.http.iter().enumerate();
                for (index, _) in rules.filter(|(_, rule)| rule.matches.iter().any(is_challenge)) {
                    maker.diagnostics.report(
                        Code::ChallengeRedirected,
                        bound.subject(),
                        format!("spec.http[{index}].match"),
                        format!(
                            "httpsRedirect answers requests for {host} on port {} before this rule",
                            draft.port
                        ),
                        "serve the challenge on a server without httpsRedirect, or use DNS-01",
                    );
                }
            }
        }
    }

    fn finish(self) -> Evaluated {
        let mut parts = Parts::new();
        for ((gateway, position), seen) in self.seen {
            let Some(bound) = self.bindings.at(position) else { continue };
            let part = parts.entry(bound.key()).or_default();
            part.hosts = joined(&part.hosts, seen.hosts.iter().map(|host| Arc::from(host.as_str())));
            part.asked = joined(&part.asked, seen.asked);
            if !seen.left_out.is_empty() {
                part.left_out.push((gateway.clone(), (seen.left_out, seen.hosts)));
            }
        }
        let finish = |(host, draft): (String, Draft<'_>)| {
            let done = draft.finish(&host);
            (host, done)
        };
        Evaluated { hosts: self.drafts.into_iter().map(finish).collect(), parts }
    }
}

/// Both together, sorted, each once.
fn joined(one: &[Arc<str>], other: impl IntoIterator<Item = Arc<str>>) -> Box<[Arc<str>]> {
    let mut all = one.to_vec();
    all.extend(other);
    all.sort_unstable();
    all.dedup();
    all.into()
}

fn is_challenge(entry: &HttpMatchRequest) -> bool {
    let uri = entry.uri.as_ref();
    let text = uri.and_then(|uri| uri.exact.as_deref().or(uri.prefix.as_deref()));
    text.is_some_and(|text| text.starts_with("/.well-known/acme-challenge"))
}
