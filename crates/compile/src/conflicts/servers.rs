//! Rules of a kind that no server of the named Gateways serves, and tls and tcp entries that are never used.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use portcullis_snapshot::listener::{ChainService, Listener};
use portcullis_snapshot::route::{Origin, RuleList};

use super::{Scene, Table};
use crate::binding::Bound;
use crate::diagnostic::{Code, Diagnostics};
use crate::gateway::{Role, Server};
use crate::objects::Key;
use crate::tcp_route::{fits, port_and_gateway};

/// Reports them.
pub(super) fn report(scene: &Scene<'_, '_>, tables: &[Table<'_>], diagnostics: &mut Diagnostics) {
    let mut servers: BTreeMap<&Key, Vec<&Server<'_>>> = BTreeMap::new();
    for port in scene.ports.values() {
        for server in port.plain.iter().chain(&port.tls) {
            servers.entry(&server.key).or_default().push(server);
        }
    }
    let routed = routed(tables);
    let used = used(scene.listeners);
    let by_position = gateways_of(scene);
    for (position, bound) in scene.bindings.all().iter().enumerate() {
        let spec = &bound.resource.spec;
        let missing_http =
            !spec.http.is_empty() && !bound.rules.iter().any(|rule| routed.contains(&rule.object.as_ptr()));
        if !missing_http && spec.tls.is_empty() && spec.tcp.is_empty() {
            continue;
        }
        let gateways = by_position.get(&position).into_iter().flatten();
        let fitting: Vec<&Server<'_>> = gateways
            .filter_map(|key| servers.get(*key))
            .flatten()
            .copied()
            .filter(|server| fits(server, bound))
            .collect();
        // Without any server that holds its hosts there is another finding.
        if fitting.is_empty() {
            continue;
        }
        let has = |roles: &[Role]| fitting.iter().any(|server| roles.contains(&server.role));
        if missing_http && !has(&[Role::Http, Role::Https]) {
            without_server(bound, "http", "speaks HTTP", HTTP_REMEDY, diagnostics);
        }
        if !spec.tls.is_empty() && !has(&[Role::Passthrough]) {
            without_server(bound, "tls", "passes TLS through", TLS_REMEDY, diagnostics);
        } else {
            tls_entries(bound, &fitting, diagnostics);
        }
        if !spec.tcp.is_empty() && !has(&[Role::Tcp, Role::TlsTcp]) {
            without_server(bound, "tcp", "carries TCP", TCP_REMEDY, diagnostics);
        } else {
            tcp_rules(bound, &fitting, &used, diagnostics);
        }
    }
}

const HTTP_REMEDY: &str = "use tls or tcp rules, or a server with protocol HTTP, or HTTPS that ends TLS";
const TLS_REMEDY: &str = "use http or tcp rules where TLS ends at the gateway, or tls.mode PASSTHROUGH";
const TCP_REMEDY: &str =
    "use http or tls rules, or a server with protocol TCP, or TLS that ends at the gateway";

fn without_server(bound: &Bound<'_>, kind: &str, what: &str, remedy: &str, diagnostics: &mut Diagnostics) {
    let message =
        format!("no server of its Gateways {what} for these hosts, so the {kind} rules are never used");
    diagnostics.report(Code::RulesWithoutServer, bound.subject(), format!("spec.{kind}"), message, remedy);
}

/// The Gateways of each VirtualService, by its position.
fn gateways_of<'c>(scene: &Scene<'c, '_>) -> BTreeMap<usize, Vec<&'c Key>> {
    let mut all: BTreeMap<usize, Vec<&Key>> = BTreeMap::new();
    for (gateway, positions) in scene.bindings.by_gateway() {
        for &position in positions {
            all.entry(position).or_default().push(gateway);
        }
    }
    all
}

/// The objects that have routes, or entries left out of a table for a reason of their own.
fn routed(tables: &[Table<'_>]) -> HashSet<*const u8> {
    let routes = tables.iter().flat_map(|table| table.routes.hosts.values()).flat_map(|host| host.routes());
    let left_out = tables.iter().flat_map(|table| &table.routes.left_out);
    let origins = routes.map(|route| &route.origin).chain(left_out.map(|left| &left.origin));
    origins.map(|origin| origin.object.as_ptr()).collect()
}

/// The tcp rule behind each server that has one, by the server's place.
fn used(listeners: &[Arc<Listener>]) -> HashMap<&str, &Origin> {
    let chains = listeners.iter().flat_map(|listener| listener.plain.iter().chain(listener.tls.values()));
    let rules = chains.filter_map(|chain| match &chain.service {
        ChainService::Tcp(route) if route.origin.list == RuleList::Tcp => {
            Some((&*chain.origin, &route.origin))
        }
        ChainService::Tcp(_) | ChainService::Http(_) | ChainService::Nothing => None,
    });
    rules.collect()
}

/// Reports the tls entries whose port or Gateway no passthrough server has.
fn tls_entries(bound: &Bound<'_>, fitting: &[&Server<'_>], diagnostics: &mut Diagnostics) {
    for (index, rule) in bound.resource.spec.tls.iter().enumerate() {
        for (at, entry) in rule.matches.iter().enumerate() {
            let passing = fitting.iter().filter(|server| server.role == Role::Passthrough);
            let mut applies = passing
                .clone()
                .filter(|server| port_and_gateway(entry.port, &entry.gateways, server, bound.namespace()));
            if applies.next().is_none() {
                let message = format!(
                    "no connection ever meets this: its port or gateways fit none of {}",
                    places(passing.copied())
                );
                let field = format!("spec.tls[{index}].match[{at}]");
                let remedy = "use the port and the Gateway of a server that passes TLS through";
                diagnostics.report(Code::NeverApplies, bound.subject(), field, message, remedy);
            }
        }
    }
}

/// Reports the tcp rules that carry nothing, since an earlier one, or one of an older VirtualService, has the port.
fn tcp_rules(
    bound: &Bound<'_>,
    fitting: &[&Server<'_>],
    used: &HashMap<&str, &Origin>,
    diagnostics: &mut Diagnostics,
) {
    for (index, rule) in bound.resource.spec.tcp.iter().enumerate() {
        let is_own =
            |origin: &&Origin| origin.object == bound.name && usize::try_from(origin.rule) == Ok(index);
        if rule.route.is_empty() || used.values().any(is_own) {
            continue;
        }
        let carrying: Vec<&Server<'_>> = fitting
            .iter()
            .copied()
            .filter(|server| matches!(server.role, Role::Tcp | Role::TlsTcp))
            .collect();
        let applies = |server: &&Server<'_>| {
            let mut entries = rule.matches.iter();
            rule.matches.is_empty()
                || entries
                    .any(|entry| port_and_gateway(entry.port, &entry.gateways, server, bound.namespace()))
        };
        let fitting: Vec<&Server<'_>> = carrying.iter().copied().filter(applies).collect();
        let (message, remedy) = if fitting.is_empty() {
            let places = places(carrying.iter().copied());
            (
                format!("no connection ever meets this: its port or gateways fit none of {places}"),
                "use the port and the Gateway of a server that carries TCP",
            )
        } else if let Some(taken) = fitting.iter().find_map(|server| used.get(&*server.place())) {
            (
                format!(
                    "no connection ever gets here: only the first rule that fits a server is used, {taken}"
                ),
                "give it a port of its own, or merge the two rules",
            )
        } else {
            // It cannot be used, and another finding says why.
            continue;
        };
        let field = format!("spec.tcp[{index}]");
        diagnostics.report(Code::NeverApplies, bound.subject(), field, message, remedy);
    }
}

/// Each server with its port.
fn places<'s, 'a: 's>(servers: impl Iterator<Item = &'s Server<'a>>) -> String {
    let places = servers.map(|server| format!("{} (port {})", server.place(), server.declared));
    places.collect::<Vec<_>>().join(", ")
}
