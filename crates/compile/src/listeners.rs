//! Merged ports as listeners with their filter chains (routing reference §1.5, §1.6).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_api::networking::HttpRetry;
use portcullis_snapshot::host::HostIndex;
use portcullis_snapshot::listener::{ChainService, ChainTls, HeaderDemand, ListenerKey, ProxyProtocol};
use portcullis_snapshot::{FilterChain, Listener, RouteTable};

use crate::binding::Bindings;
use crate::challenges::{self, Challenges};
use crate::clusters::Clusters;
use crate::credentials;
use crate::diagnostic::{Code, Diagnostics, Reporter};
use crate::environment::{Environment, ProxyProtocolMode};
use crate::gateway::{MergedPort, Role, Server};
use crate::http_route::Maker;
use crate::objects::{Key, Objects};
use crate::port::Ports;
use crate::route_table::{Parts, route_table};
use crate::settings;
use crate::sni::Chains;
use crate::tcp_route::TcpMaker;

/// The listeners, sorted by key, and what led to them. A port without any chain stays closed.
pub(crate) fn listeners<'a>(
    ports: &BTreeMap<ListenerKey, MergedPort<'a>>,
    objects: &'a Objects,
    environment: &Environment,
    bindings: &Bindings<'a>,
    clusters: &Clusters,
    diagnostics: &mut Diagnostics,
) -> (Vec<Arc<Listener>>, Traces) {
    let challenges = challenges::challenges(objects, environment, clusters, diagnostics);
    let traces = Traces { asked_by_bytes: clusters.take_asked().into_iter().collect(), ..Traces::default() };
    let mut builder = Builder { objects, environment, bindings, clusters, diagnostics, challenges, traces };
    let mut listeners: Vec<_> = ports.iter().filter_map(|(key, port)| builder.listener(key, port)).collect();
    if let Some(own) = builder.for_challenges(&listeners) {
        listeners.push(own);
        listeners.sort_by_key(|listener| listener.key());
    }
    (listeners, builder.traces)
}

/// What a compilation leaves for the next one to tell which parts of its listeners it can take over.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// Every route table.
    pub(crate) tables: BTreeMap<TableKey, TableTrace>,
    /// The hosts that destinations of `tcp` and `tls` rules name, and those of challenges.
    pub(crate) asked_by_bytes: BTreeSet<Arc<str>>,
}

/// Which route table: that of a listener's servers without TLS, or of one server with it, by Gateway and position.
pub(crate) type TableKey = (ListenerKey, Option<(Key, usize)>);

/// A route table in use.
#[derive(Debug)]
pub(crate) struct TableTrace {
    /// The chain that it is in.
    pub(crate) chain: Arc<FilterChain>,
    /// What its VirtualServices take part with.
    pub(crate) parts: Parts,
}

/// Turns merged ports into listeners.
struct Builder<'b, 'a> {
    objects: &'a Objects,
    environment: &'b Environment,
    bindings: &'b Bindings<'a>,
    clusters: &'b Clusters,
    diagnostics: &'b mut Diagnostics,
    challenges: Challenges,
    traces: Traces,
}

impl<'a> Builder<'_, 'a> {
    fn listener(&mut self, key: &ListenerKey, port: &MergedPort<'a>) -> Option<Arc<Listener>> {
        let mut chains = Chains::default();
        for server in &port.tls {
            self.add_tls(server, &mut chains);
        }
        let plain = self.plain(key, &port.plain).or(chains.plain);
        if plain.is_none() && !chains.present {
            return None;
        }
        let address = key.bind.map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string());
        Some(Arc::new(Listener {
            bind: key.bind,
            port: key.port,
            name: format!("{address}_{}", key.port).into(),
            plain,
            tls: chains.tls,
            carries_bytes: chains.carries_bytes,
            proxy_protocol: self.proxy_protocol(port),
        }))
    }

    /// What is done about PROXY protocol headers on a port.
    fn proxy_protocol(&self, port: &MergedPort<'a>) -> Option<ProxyProtocol> {
        let settings = &self.environment.proxy_protocol;
        let declared = port.plain.iter().chain(&port.tls).map(|server| server.declared);
        let demand = match settings.mode(declared, settings::proxy_protocol(self.objects)) {
            ProxyProtocolMode::Off => return None,
            ProxyProtocolMode::Strict => HeaderDemand::Required,
            ProxyProtocolMode::Tolerant => HeaderDemand::Optional,
        };
        Some(ProxyProtocol { demand, trusted: settings.trusted.clone() })
    }

    /// The chain of the servers without TLS: any number of HTTP ones, or one TCP server.
    fn plain(&mut self, key: &ListenerKey, servers: &[Server<'a>]) -> Option<Arc<FilterChain>> {
        let first = servers.first()?;
        if first.role != Role::Http {
            let service = self.tcp(first)?;
            return Some(Arc::new(chain(first, ChainTls::None, service)));
        }
        let servers: Vec<&Server<'a>> = servers.iter().collect();
        self.report_idle_grpc_web(&servers);
        Some(self.http((*key, None), format!("http.{}", key.port), &servers, ChainTls::None))
    }

    fn add_tls(&mut self, server: &Server<'a>, chains: &mut Chains) {
        let chain = match server.role {
            Role::Https => {
                let (namespace, name) = &server.key;
                let table = format!("https.{}.{}.{name}.{namespace}", server.declared, server.spec.port.name);
                let tls = self.server_tls(server);
                self.http(table_key(server), table, &[server], tls)
            }
            Role::TlsTcp => {
                let Some(service) = self.tcp(server) else { return };
                if looks_like_postgresql(server) {
                    self.report_channel_binding(server);
                }
                Arc::new(chain(server, self.server_tls(server), service))
            }
            Role::Passthrough => return self.add_passthrough(server, chains),
            Role::Http | Role::Tcp => return,
        };
        for name in server.server_names() {
            let mut reporter = Reporter::new(self.diagnostics, server.subject(), server.field("hosts"));
            chains.add(name, &chain, &mut reporter);
        }
    }

    fn add_passthrough(&mut self, server: &Server<'a>, chains: &mut Chains) {
        let routes = self.tcp_maker().tls(server);
        self.traces.asked_by_bytes.extend(self.clusters.take_asked());
        if routes.is_empty() {
            self.report_without_route(server, "tls");
        }
        for sni in routes {
            let Some(bound) = self.bindings.at(sni.bound) else { continue };
            let mut reporter = Reporter::new(self.diagnostics, bound.subject(), sni.field);
            if let Some(taken) = chains.reserve(&sni.hosts) {
                reporter.report(
                    Code::DuplicateSniHost,
                    "sniHosts",
                    format!("the entry is skipped: an older rule of the same port has {taken:?}"),
                    "take the host out of one of the two rules",
                );
                continue;
            }
            let chain = Arc::new(chain(server, ChainTls::None, ChainService::Tcp(Arc::new(sni.route))));
            // A bare `*` lifts the condition for the whole entry, and with it the need for TLS (Envoy).
            let every = sni.hosts.iter().any(|host| host == "*");
            if every && chains.plain.is_none() {
                chains.plain = Some(Arc::clone(&chain));
            }
            let names = if every { vec!["*"] } else { sni.hosts.iter().map(String::as_str).collect() };
            for name in names {
                chains.add(name, &chain, &mut reporter.at("sniHosts"));
            }
        }
    }

    /// The chain of servers that share a route table.
    fn http(
        &mut self,
        key: TableKey,
        name: String,
        servers: &[&Server<'a>],
        tls: ChainTls,
    ) -> Arc<FilterChain> {
        let mut maker = maker(self.objects, self.environment, self.clusters, self.diagnostics);
        let (mut table, parts) = route_table(name, servers, self.bindings, &mut maker);
        if matches!(tls, ChainTls::None) && servers[0].declared == challenges::PORT {
            table.challenges = Arc::clone(&self.challenges);
        }
        let service = ChainService::Http(Arc::new(table));
        let chain = Arc::new(chain(servers[0], tls, service));
        self.traces.tables.insert(key, TableTrace { chain: Arc::clone(&chain), parts });
        chain
    }

    /// A listener for challenges alone, where there are some and no server takes requests on their port.
    fn for_challenges(&self, others: &[Arc<Listener>]) -> Option<Arc<Listener>> {
        let port = Ports::new(self.objects, self.environment).bound(challenges::PORT)?;
        if self.challenges.is_empty() || others.iter().any(|listener| listener.port == port) {
            return None;
        }
        let name: Arc<str> = format!("0.0.0.0_{port}").into();
        let table = RouteTable { challenges: Arc::clone(&self.challenges), ..RouteTable::default() };
        let plain = FilterChain {
            name: "certificate challenges".into(),
            origin: "certificate challenges".into(),
            declared_port: challenges::PORT,
            tls: ChainTls::None,
            service: ChainService::Http(Arc::new(table)),
        };
        Some(Arc::new(Listener {
            bind: None,
            port,
            name,
            plain: Some(Arc::new(plain)),
            tls: HostIndex::default(),
            carries_bytes: false,
            proxy_protocol: None,
        }))
    }

    fn tcp(&mut self, server: &Server<'a>) -> Option<ChainService> {
        let route = self.tcp_maker().tcp(server);
        self.traces.asked_by_bytes.extend(self.clusters.take_asked());
        match route {
            Some(route) => Some(ChainService::Tcp(Arc::new(route))),
            None => {
                self.report_without_route(server, "tcp");
                None
            }
        }
    }

    fn tcp_maker(&mut self) -> TcpMaker<'_, 'a> {
        TcpMaker { bindings: self.bindings, clusters: self.clusters, diagnostics: self.diagnostics }
    }

    fn server_tls(&mut self, server: &Server<'a>) -> ChainTls {
        let Some(tls) = &server.spec.tls else { return ChainTls::None };
        let protocols = match server.role {
            Role::TlsTcp => credentials::TCP_PROTOCOLS,
            _ => credentials::HTTP_PROTOCOLS,
        };
        let mut reporter = Reporter::new(self.diagnostics, server.subject(), server.field("tls"));
        credentials::server_tls(tls, protocols, self.objects, self.environment, &mut reporter)
    }

    /// SCRAM-SHA-256-PLUS signs the certificate the client saw, which is the gateway's here (PostgreSQL
    /// documentation, "SASL Authentication").
    fn report_channel_binding(&mut self, server: &Server<'_>) {
        self.diagnostics.report(
            Code::ChannelBindingLost,
            server.subject(),
            server.field("tls.mode"),
            "TLS ends at the gateway: PostgreSQL clients with channel_binding=require cannot log in, and those \
             with channel_binding=prefer neither if the gateway speaks TLS to the server"
                .to_owned(),
            "use mode PASSTHROUGH, or channel_binding=disable in the clients".to_owned(),
        );
    }

    /// One server decides about gRPC-Web for all of its port: the first.
    fn report_idle_grpc_web(&mut self, servers: &[&Server<'_>]) {
        let Some((first, others)) = servers.split_first() else { return };
        for server in others.iter().filter(|server| server.is_grpc_web() && !first.is_grpc_web()) {
            self.diagnostics.report(
                Code::NeverApplies,
                server.subject(),
                server.field("port.protocol"),
                format!(
                    "gRPC-Web is not translated here: {} comes first on this port and decides",
                    first.place()
                ),
                "declare GRPC-WEB there, or give it a port of its own",
            );
        }
    }

    fn report_without_route(&mut self, server: &Server<'_>, kind: &str) {
        self.diagnostics.report(
            Code::ServerWithoutRoute,
            server.subject(),
            format!("spec.servers[{}]", server.index),
            format!(
                "no VirtualService of this Gateway has a {kind} rule that fits, so nothing is served here"
            ),
            format!("bind a VirtualService with a {kind} rule to the Gateway"),
        );
    }
}

/// What makes routes for any table.
pub(crate) fn maker<'m>(
    objects: &'m Objects,
    environment: &'m Environment,
    clusters: &'m Clusters,
    diagnostics: &'m mut Diagnostics,
) -> Maker<'m> {
    let mesh_retry: Option<&HttpRetry> =
        settings::mesh(objects).and_then(|mesh| mesh.spec.default_http_retry_policy.as_ref());
    Maker { workload: &environment.workload, mesh_retry, clusters, diagnostics }
}

/// The table of a server with TLS.
pub(crate) fn table_key(server: &Server<'_>) -> TableKey {
    (server.listener, Some((server.key.clone(), server.index)))
}

/// Nothing declares the protocol inside TLS; port and name are what people have.
fn looks_like_postgresql(server: &Server<'_>) -> bool {
    server.declared == 5432 || server.spec.port.name.to_ascii_lowercase().contains("postgres")
}

fn chain(server: &Server<'_>, tls: ChainTls, service: ChainService) -> FilterChain {
    let place = server.place();
    let name = format!("{}/{} {}", server.key.0, server.key.1, server.spec.port.name);
    FilterChain { name: name.into(), origin: place.into(), declared_port: server.declared, tls, service }
}
