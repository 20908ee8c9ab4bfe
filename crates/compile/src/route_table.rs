//! Route tables: the virtual hosts behind one filter chain, merged over servers and VirtualServices
//! (routing reference §2.1).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use portcullis_api::networking::HttpMatchRequest;
use portcullis_snapshot::host::HostIndex;
use portcullis_snapshot::route::{LeftOut, Origin, WhyLeftOut};
use portcullis_snapshot::{Route, RouteTable, VirtualHost};

use crate::binding::Bindings;
use crate::diagnostic::Code;
use crate::gateway::{Role, Server};
use crate::http_route::{Made, Maker, Scope, is_catch_all};
use crate::objects::Key;

/// A virtual host in the making.
#[derive(Debug)]
struct Draft {
    /// Declared port of the server that brought it in.
    port: u16,
    require_tls: bool,
    routes: Vec<Route>,
    /// What has been added, so that two servers of one Gateway do not add it twice.
    added: HashSet<(Key, usize)>,
}

impl Draft {
    fn new(port: u16) -> Self {
        Self { port, require_tls: false, routes: Vec::new(), added: HashSet::new() }
    }

    /// Catch-all routes go to the end, the order being kept otherwise.
    fn finish(mut self, host: &str) -> VirtualHost {
        self.routes.sort_by_key(is_catch_all);
        VirtualHost::new(format!("{host}:{}", self.port), self.require_tls, self.routes)
    }
}

/// The table called `name` for servers that share it, in order of age.
pub(crate) fn route_table(
    name: String,
    servers: &[&Server<'_>],
    bindings: &Bindings<'_>,
    maker: &mut Maker<'_, '_>,
) -> RouteTable {
    let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
    // A VirtualService is evaluated once for each Gateway: with the port of the first server that fits and at
    // which it has a route at all.
    let mut made: HashMap<(Key, usize), Made> = HashMap::new();
    let mut left_out = LeftOuts::default();
    for server in servers {
        for (position, bound) in bindings.of_gateway(&server.key) {
            let hosts = server.hosts.intersection(&bound.hosts, bound.namespace());
            if hosts.is_empty() {
                continue;
            }
            let key = (server.key.clone(), position);
            let made = made.entry(key.clone()).or_default();
            if made.routes.is_empty() {
                let tls = server.spec.tls.is_some();
                *made = maker.routes(bound, &Scope { gateway: &server.key, port: server.declared, tls });
                left_out.replace(&key, std::mem::take(&mut made.left_out));
            }
            left_out.add(&key, &hosts);
            let routes = &made.routes;
            if routes.is_empty() {
                continue;
            }
            for host in hosts {
                let draft =
                    drafts.entry(host.to_ascii_lowercase()).or_insert_with(|| Draft::new(server.declared));
                draft.require_tls |= server.redirects_to_https();
                if draft.added.insert(key.clone()) {
                    draft.routes.extend(routes.iter().cloned());
                }
            }
        }
        if server.redirects_to_https() {
            redirect_bare_hosts(server, &mut drafts);
        }
    }
    if servers.iter().any(|server| server.role == Role::Http) {
        report_challenges(&drafts, bindings, maker);
    }
    // The first server of a port decides for all of them (Istio's `buildGatewayConnectionManager`).
    let grpc_web = servers.first().is_some_and(|server| server.is_grpc_web());
    let mut hosts = HostIndex::default();
    for (host, draft) in drafts {
        let done = Arc::new(draft.finish(&host));
        // The keys of a map are distinct, so none is refused.
        let _ = hosts.insert(&host, done);
    }
    RouteTable { name: name.into(), hosts, grpc_web, left_out: left_out.finish() }
}

/// Entries without a route, by VirtualService and Gateway, with the hosts they would have served.
#[derive(Debug, Default)]
struct LeftOuts(BTreeMap<(Key, usize), NotServed>);

/// Entries of one VirtualService, and its hosts.
type NotServed = (Vec<(Origin, WhyLeftOut)>, Vec<String>);

impl LeftOuts {
    /// Takes the entries of an evaluation, in place of those of an earlier one.
    fn replace(&mut self, key: &(Key, usize), entries: Vec<(Origin, WhyLeftOut)>) {
        match self.0.get_mut(key) {
            Some((held, _)) => *held = entries,
            None if entries.is_empty() => {}
            None => {
                self.0.insert(key.clone(), (entries, Vec::new()));
            }
        }
    }

    /// The second server of a Gateway brings hosts, not entries.
    fn add(&mut self, key: &(Key, usize), hosts: &[String]) {
        if let Some((_, known)) = self.0.get_mut(key) {
            known.extend(hosts.iter().map(|host| host.to_ascii_lowercase()));
        }
    }

    fn finish(self) -> Vec<LeftOut> {
        let mut all = Vec::new();
        for (entries, mut hosts) in self.0.into_values() {
            hosts.sort_unstable();
            hosts.dedup();
            let hosts: Arc<[String]> = hosts.into();
            let entries = entries.into_iter();
            all.extend(entries.map(|(origin, why)| LeftOut { origin, hosts: Arc::clone(&hosts), why }));
        }
        all
    }
}

/// Reports rules for certificate challenges that a redirect to https takes first: an HTTP-01 challenge comes in
/// plaintext (RFC 8555 §8.3).
fn report_challenges(drafts: &BTreeMap<String, Draft>, bindings: &Bindings<'_>, maker: &mut Maker<'_, '_>) {
    for (host, draft) in drafts.iter().filter(|(_, draft)| draft.require_tls) {
        for bound in draft.added.iter().filter_map(|(_, position)| bindings.at(*position)) {
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

fn is_challenge(entry: &HttpMatchRequest) -> bool {
    let uri = entry.uri.as_ref();
    let text = uri.and_then(|uri| uri.exact.as_deref().or(uri.prefix.as_deref()));
    text.is_some_and(|text| text.starts_with("/.well-known/acme-challenge"))
}

/// Hosts without a VirtualService redirect as well, but for those with a namespace: Istio takes the text as it
/// stands, which no client sends.
fn redirect_bare_hosts(server: &Server<'_>, drafts: &mut BTreeMap<String, Draft>) {
    for host in server.hosts.hosts().iter().filter(|host| host.namespace.is_none()) {
        let draft =
            drafts.entry(host.host.to_ascii_lowercase()).or_insert_with(|| Draft::new(server.declared));
        draft.require_tls = true;
    }
}
