//! Gateways of the workload, merged port by port (routing reference §1.5).

mod server;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use portcullis_api::{Gateway, Kind};
use portcullis_snapshot::listener::ListenerKey;

pub(crate) use server::{Role, Server};

use crate::diagnostic::{Code, Diagnostics, Subject};
use crate::environment::Environment;
use crate::objects::{Key, Objects};
use crate::port::Ports;

/// The servers that share one listener.
#[derive(Debug)]
pub(crate) struct MergedPort<'a> {
    /// Servers for connections that are not TLS: any number of HTTP ones, or one TCP server.
    pub(crate) plain: Vec<Server<'a>>,
    /// Servers told apart by SNI.
    pub(crate) tls: Vec<Server<'a>>,
    /// Hosts of servers with a `tls` block, with the Gateway that has them. A server that was skipped keeps
    /// its hosts reserved, as in Istio.
    reserved: BTreeMap<String, Holder>,
}

/// The server that has a host.
#[derive(Debug, Clone)]
struct Holder {
    gateway: Key,
    place: String,
}

/// Merges every Gateway that selects the workload, the oldest first.
pub(crate) fn merge<'a>(
    objects: &'a Objects,
    environment: &Environment,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<ListenerKey, MergedPort<'a>> {
    let ports = Ports::new(objects, environment);
    let mut merged = BTreeMap::new();
    for gateway in oldest_first(objects) {
        if !selects(gateway, environment) {
            diagnostics.report(
                Code::GatewayOfOtherWorkload,
                Subject::new(Kind::Gateway, gateway),
                "spec.selector",
                "selects labels this gateway does not carry, so it is not served here",
                "",
            );
            continue;
        }
        for index in 0..gateway.spec.servers.len() {
            if let Some(server) = Server::read(gateway, index, &ports, diagnostics) {
                add(&mut merged, server, diagnostics);
            }
        }
    }
    merged
}

/// Every Gateway, in the order in which they get what several want.
pub(crate) fn oldest_first(objects: &Objects) -> Vec<&Gateway> {
    let mut gateways: Vec<&Gateway> = objects.gateways.values().map(|gateway| &**gateway).collect();
    gateways.sort_by(|left, right| left.meta.by_age(&right.meta));
    gateways
}

/// Whether the workload carries every label of the Gateway's selector; an empty one selects every workload.
pub(crate) fn selects(gateway: &Gateway, environment: &Environment) -> bool {
    let labels = &environment.workload.labels;
    gateway.spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn add<'a>(
    merged: &mut BTreeMap<ListenerKey, MergedPort<'a>>,
    server: Server<'a>,
    diagnostics: &mut Diagnostics,
) {
    let port = match merged.entry(server.listener) {
        Entry::Occupied(port) => port.into_mut(),
        Entry::Vacant(free) => {
            free.insert(MergedPort { plain: Vec::new(), tls: Vec::new(), reserved: BTreeMap::new() })
        }
    };
    if server.spec.tls.is_some() && !port.reserve(&server, diagnostics) {
        return;
    }
    if let Some(conflict) = port.conflict(&server) {
        diagnostics.report(
            Code::PortProtocolConflict,
            server.subject(),
            server.field("port"),
            format!("the server is skipped: port {} {conflict}", server.declared),
            "give the server a port of its own, or the same protocol as the other servers of the port",
        );
        return;
    }
    match server.role {
        role if role.is_tls() => port.tls.push(server),
        _ => port.plain.push(server),
    }
}

impl MergedPort<'_> {
    /// Takes the hosts of a server with a `tls` block; false, and nothing taken, if one of them is taken (Istio's
    /// `CheckDuplicates`).
    fn reserve(&mut self, server: &Server<'_>, diagnostics: &mut Diagnostics) -> bool {
        let texts: Vec<String> = server.hosts.hosts().iter().map(|host| host.text().into_owned()).collect();
        let taken = texts.iter().find_map(|text| Some((text.clone(), self.reserved.get(text)?.clone())));
        if let Some((first, Holder { gateway, place })) = taken {
            // What `istioctl analyze` knows is the conflict between two Gateways.
            let same = gateway == server.key;
            diagnostics.report(
                if same { Code::DuplicateTlsHost } else { Code::ConflictingGateways },
                server.subject(),
                server.field("hosts"),
                format!(
                    "the server is skipped with all of its hosts: {place} has {first:?} on the same port"
                ),
                "take the host out of one of the two servers",
            );
            return false;
        }
        let holder = Holder { gateway: server.key.clone(), place: server.place() };
        self.reserved.extend(texts.into_iter().map(|text| (text, holder.clone())));
        true
    }

    /// Why `server` cannot join, if it cannot.
    fn conflict(&self, server: &Server<'_>) -> Option<String> {
        let first = self.plain.first();
        match (first, server.role.is_tls()) {
            // Also where servers with TLS opened the port: the first plaintext one keeps younger ones out.
            (Some(first), true) => {
                Some(format!("already carries {} without TLS ({})", first.role.family(), first.place()))
            }
            (Some(first), false) if first.role != Role::Http || server.role != Role::Http => {
                Some(format!("already carries {} ({})", first.role.family(), first.place()))
            }
            _ => None,
        }
    }
}
