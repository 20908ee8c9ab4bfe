//! The way a request would take through a snapshot, with the reason for each turn.
//!
//! The look-ups are those of the data plane (`portcullis_snapshot`); what is added here is the account of
//! what was looked at. `explain` and the admin port print the same [`Decision`].

mod elsewhere;
mod facts;
mod headers;
mod outcome;
mod print;

use portcullis_snapshot::host::without_port;
use portcullis_snapshot::listener::{ChainService, ChainTls};
use portcullis_snapshot::matcher::RequestView;
use portcullis_snapshot::path::{self, Prepared};
use portcullis_snapshot::route::{RouteTable, VirtualHost};
use portcullis_snapshot::tls::CertificateInfo;
use portcullis_snapshot::{FilterChain, Listener, Snapshot};

pub(crate) use facts::{Decision, DestinationFacts, ForwardFacts, Outcome, Rule};
pub(crate) use headers::{HeaderChange, Operation, Side};

use crate::question::{Kind, Question, Request, server_name};
use facts::{CertificateFacts, ChainFacts, LeftOutEntry, ListenerFacts};

/// Rules told one by one; of a longer list only the beginning and the winner are shown.
const MAX_RULES: usize = 200;

/// Match entries that take no part, told one by one.
const MAX_LEFT_OUT: usize = 50;

/// Answers `question` from `snapshot`.
pub(crate) fn decide(snapshot: &Snapshot, question: &Question) -> Decision {
    walk(snapshot, question, Certificates::AsTheyAre)
}

/// As [`decide`], as if every certificate were there: Secrets are rarely kept beside the resources that name them.
pub(crate) fn decide_route(snapshot: &Snapshot, question: &Question) -> Decision {
    walk(snapshot, question, Certificates::TakenForGranted)
}

/// What to think of TLS whose certificate cannot be had.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Certificates {
    AsTheyAre,
    TakenForGranted,
}

fn walk(snapshot: &Snapshot, question: &Question, certificates: Certificates) -> Decision {
    let mut decision = Decision::new(question);
    decision.outcome = Walk { snapshot, question, certificates, decision: &mut decision }.listener();
    decision.routed = decision.outcome.is_routed();
    decision
}

/// A certificate as decisions show it.
pub(crate) fn certificate_facts(certificate: &CertificateInfo) -> impl serde::Serialize {
    CertificateFacts::new(certificate)
}

/// The walk along the turns; each one ends it or hands on to the next.
struct Walk<'a, 'd> {
    snapshot: &'a Snapshot,
    question: &'a Question,
    certificates: Certificates,
    decision: &'d mut Decision,
}

impl<'a> Walk<'a, '_> {
    fn listener(mut self) -> Outcome {
        let port = self.question.port;
        let Some(listener) = find_listener(self.snapshot, port) else {
            let open = self.snapshot.listeners.iter().map(|listener| declared(listener).to_string());
            let open = open.collect::<Vec<_>>();
            self.note_elsewhere();
            return Outcome::refused(match open.as_slice() {
                [] => format!("nothing listens on port {port}: no Gateway opens any port"),
                open => format!("nothing listens on port {port}; open ports: {}", open.join(", ")),
            });
        };
        self.decision.listener = Some(ListenerFacts {
            name: listener.name.to_string(),
            declared_port: declared(listener),
            bound_port: listener.port,
        });
        match &self.question.kind {
            Kind::Http(request) if request.tls => {
                self.tls(listener, server_name(without_port(&request.authority)).as_deref())
            }
            Kind::Tls { sni } => self.tls(listener, sni.as_deref()),
            Kind::Http(_) | Kind::Tcp => self.plain(listener),
        }
    }

    fn tls(&mut self, listener: &'a Listener, sni: Option<&str>) -> Outcome {
        if listener.tls.is_empty() {
            return match &listener.plain {
                Some(chain) if matches!(chain.service, ChainService::Tcp(_)) => self.chain(chain, None),
                _ => Outcome::refused("this port serves no TLS: no server here has protocol HTTPS or TLS"),
            };
        }
        let chain = match sni {
            Some(sni) => listener.tls.find(sni),
            None => listener.tls.any(),
        };
        let Some(chain) = chain else {
            let names: Vec<_> = listener.tls.sorted().into_iter().map(|(name, _)| name).collect();
            self.note_elsewhere();
            let sent = sni.map_or("no server name".to_owned(), |sni| format!("server name {sni}"));
            return Outcome::refused(format!(
                "no server of this port takes a connection with {sent} (alert unrecognized_name); served: {}",
                shortened(&names)
            ));
        };
        let name = elsewhere::pattern(&listener.tls, sni);
        if let ChainTls::Unavailable { reason } = &chain.tls {
            let why = format!("the TLS handshake fails: {reason}");
            if self.certificates == Certificates::AsTheyAre {
                self.decision.chain = Some(ChainFacts::new(chain, name));
                return Outcome::refused(why);
            }
            self.decision.notes.push(why);
        }
        self.chain(chain, name)
    }

    fn plain(&mut self, listener: &'a Listener) -> Outcome {
        match &listener.plain {
            Some(chain) => self.chain(chain, None),
            None => Outcome::refused(
                "this port serves TLS only, and the connection would not begin with a handshake",
            ),
        }
    }

    fn chain(&mut self, chain: &'a FilterChain, server_name: Option<String>) -> Outcome {
        self.decision.chain = Some(ChainFacts::new(chain, server_name));
        match (&chain.service, &self.question.kind) {
            (ChainService::Nothing, _) => Outcome::refused(
                "the connection is closed: this server has no route (it needs a VirtualService with a matching tls or tcp rule)",
            ),
            (ChainService::Tcp(route), _) => {
                self.decision.won = Some(Rule::of_tcp(route));
                outcome::connection(self.snapshot, route)
            }
            (ChainService::Http(table), Kind::Http(request)) => self.table(table, request),
            (ChainService::Http(_), _) => {
                Outcome::refused("this server speaks HTTP: ask with a URL, such as `GET https://host/path`")
            }
        }
    }

    fn table(&mut self, table: &'a RouteTable, request: &'a Request) -> Outcome {
        let (raw, query) = path::split(&request.target);
        let normal = match path::prepare(raw, &self.snapshot.settings) {
            Ok(Prepared::Path(normal)) => normal,
            Ok(Prepared::Redirect(normal)) => {
                let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                let why = "escaped slashes of the path, which connectionSettings wants written out";
                return Outcome::redirected(307, format!("{normal}{query}"), why);
            }
            Err(error) => return Outcome::failed(400, "-", format!("the path is refused: {error:?}")),
        };
        if normal != raw {
            self.decision.notes.push(format!("the path is normalised to {normal} before routing"));
        }
        let view = RequestView {
            method: &request.method,
            scheme: request.scheme(),
            authority: &request.authority,
            path: &normal,
            query,
            headers: &request.headers,
        };
        self.decision.path = Some(normal.to_string());
        if let Some(host) = table.challenge(&view) {
            self.decision
                .notes
                .push("a certificate authority's question is answered before all else".to_owned());
            self.decision.virtual_host = Some(host.name.to_string());
            return self.host(host, &view);
        }
        self.left_out(table, &view.host());
        let Some(host) = table.hosts.find(&view.host()) else {
            let names: Vec<_> = table.hosts.sorted().into_iter().map(|(name, _)| name).collect();
            self.note_elsewhere();
            return Outcome::failed(404, "NR", no_virtual_host(&view.host(), &names));
        };
        self.decision.virtual_host = Some(host.name.to_string());
        if host.require_tls && !request.tls {
            let location = format!("https://{}{}", request.authority, request.target);
            return Outcome::redirected(
                301,
                location,
                "httpsRedirect of the Gateway server, before any rule",
            );
        }
        self.host(host, &view)
    }

    /// Entries that would serve the host if something about them were different.
    fn left_out(&mut self, table: &RouteTable, host: &str) {
        // Where the host is held, only what would have joined it; else whatever would have held it.
        let held = elsewhere::pattern(&table.hosts, Some(host));
        let concerns = |pattern: &String| match &held {
            Some(held) => pattern == held,
            None => elsewhere::takes(pattern, host),
        };
        let entries = table.left_out.iter().filter(|entry| entry.hosts.iter().any(concerns));
        self.decision.left_out = entries
            .take(MAX_LEFT_OUT)
            .map(|entry| LeftOutEntry { origin: entry.origin.to_string(), why: entry.why.to_string() })
            .collect();
    }

    /// Says on which other ports the host is served by name.
    fn note_elsewhere(&mut self) {
        let host = match &self.question.kind {
            Kind::Http(request) => Some(without_port(&request.authority).to_ascii_lowercase()),
            Kind::Tls { sni } => sni.clone(),
            Kind::Tcp => None,
        };
        let Some(host) = host else { return };
        let ports = elsewhere::ports(self.snapshot, &host, self.question.port);
        if !ports.is_empty() {
            self.decision.notes.push(format!("{host} is served on {}", ports.join(" and ")));
        }
    }

    fn host(&mut self, host: &'a VirtualHost, view: &RequestView<'_>) -> Outcome {
        let found = host.find(view);
        let before = found.map_or(host.routes().len(), |(ordinal, _)| ordinal);
        for (ordinal, route) in host.routes().iter().enumerate().take(before.min(MAX_RULES)) {
            let why = route.matcher.mismatch(view);
            self.decision.lost.push(Rule::of_http(ordinal, route, why));
        }
        self.decision.untold = before.saturating_sub(MAX_RULES);
        let Some((ordinal, route)) = found else {
            let why = match host.routes() {
                [] => "no rule is bound to this host here".to_owned(),
                _ => "no rule of this host matches the request".to_owned(),
            };
            return Outcome::failed(404, "NR", why);
        };
        self.decision.won = Some(Rule::of_http(ordinal, route, None));
        outcome::request(self.snapshot, route, view)
    }
}

/// The listener for a port as Gateways declare it, or else as it is bound.
fn find_listener(snapshot: &Snapshot, port: u16) -> Option<&Listener> {
    let listeners = || snapshot.listeners.iter().map(|listener| &**listener);
    listeners()
        .find(|listener| declared(listener) == port)
        .or_else(|| listeners().find(|listener| listener.port == port))
}

/// The port its Gateway servers declare.
fn declared(listener: &Listener) -> u16 {
    let tls = || listener.tls.sorted().into_iter().map(|(_, chain)| chain.declared_port).next();
    let plain = listener.plain.as_ref().map(|chain| chain.declared_port);
    plain.or_else(tls).unwrap_or(listener.port)
}

fn no_virtual_host(host: &str, names: &[String]) -> String {
    match names {
        [] => "no VirtualService is bound to this server".to_owned(),
        names => format!("no virtual host for {host} here; served: {}", shortened(names)),
    }
}

/// The first few names.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}
