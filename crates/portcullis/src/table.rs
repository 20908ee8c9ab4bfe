//! The effective routing table: each listener, server and virtual host with its rules in the order they are tried.

mod print;

use std::sync::Arc;

use portcullis_compile::shadowed;
use portcullis_snapshot::listener::{ChainService, ChainTls};
use portcullis_snapshot::route::{RouteTable, VirtualHost};
use portcullis_snapshot::{FilterChain, Listener, Snapshot, text};
use serde::Serialize;

/// Everything that is listened on.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) listeners: Vec<ListenerRows>,
}

/// An open port.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListenerRows {
    pub(crate) name: String,
    pub(crate) bound_port: u16,
    pub(crate) servers: Vec<ServerRows>,
}

/// What takes connections, by server name or in clear.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerRows {
    /// `Gateway istio-system/gw servers[1]`.
    pub(crate) origin: String,
    pub(crate) declared_port: u16,
    /// Server names; empty for connections without TLS.
    pub(crate) server_names: Vec<String>,
    /// `none`, `terminated`, `passed through` or `unavailable`.
    pub(crate) tls: &'static str,
    /// Why handshakes fail, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// For HTTP.
    pub(crate) hosts: Vec<HostRows>,
    /// For TCP and what is passed through: the one rule, or nothing if connections are closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection: Option<RuleRow>,
}

/// A virtual host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostRows {
    pub(crate) host: String,
    /// Plaintext requests are redirected before any rule.
    pub(crate) https_only: bool,
    /// In the order they are tried.
    pub(crate) rules: Vec<RuleRow>,
    /// Match entries that would have been rules here.
    pub(crate) left_out: Vec<LeftOutRow>,
}

/// A rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RuleRow {
    pub(crate) ordinal: usize,
    /// `VirtualService default/app http[0].match[0]`.
    pub(crate) origin: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    pub(crate) conditions: String,
    pub(crate) action: String,
    /// The rule that takes all its requests, if one surely does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) never_reached_behind: Option<usize>,
}

/// A match entry that became no rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeftOutRow {
    pub(crate) origin: String,
    pub(crate) why: String,
}

impl Table {
    /// The table of a snapshot.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        Self {
            listeners: snapshot.listeners.iter().map(|listener| listener_rows(snapshot, listener)).collect(),
        }
    }
}

fn listener_rows(snapshot: &Snapshot, listener: &Listener) -> ListenerRows {
    let plain = listener.plain.iter().map(|chain| (Vec::new(), &**chain));
    let mut servers: Vec<ServerRows> =
        plain.map(|(names, chain)| server_rows(snapshot, chain, names)).collect();
    // One server has as many chains as names; it is shown once with all of them.
    let mut chains: Vec<(Vec<String>, &Arc<FilterChain>)> = Vec::new();
    for (name, chain) in listener.tls.sorted() {
        match chains.iter_mut().find(|(_, seen)| is_same(seen, chain)) {
            Some((names, _)) => names.push(name),
            None => chains.push((vec![name], chain)),
        }
    }
    servers.extend(chains.into_iter().map(|(names, chain)| server_rows(snapshot, chain, names)));
    ListenerRows { name: listener.name.to_string(), bound_port: listener.port, servers }
}

/// Whether two chains of a listener differ in nothing but the server name.
fn is_same(one: &Arc<FilterChain>, other: &Arc<FilterChain>) -> bool {
    let same_service = match (&one.service, &other.service) {
        (ChainService::Http(one), ChainService::Http(other)) => Arc::ptr_eq(one, other),
        (ChainService::Tcp(one), ChainService::Tcp(other)) => {
            Arc::ptr_eq(one, other) || one.origin == other.origin
        }
        (ChainService::Nothing, ChainService::Nothing) => true,
        _ => false,
    };
    Arc::ptr_eq(one, other) || (one.origin == other.origin && same_service)
}

fn server_rows(snapshot: &Snapshot, chain: &FilterChain, server_names: Vec<String>) -> ServerRows {
    let (tls, problem) = match &chain.tls {
        ChainTls::None if server_names.is_empty() => ("none", None),
        ChainTls::None => ("passed through", None),
        ChainTls::Terminate(_) => ("terminated", None),
        ChainTls::Unavailable { reason } => ("unavailable", Some(reason.to_string())),
    };
    let (hosts, connection) = match &chain.service {
        ChainService::Http(table) => (host_rows(snapshot, table), None),
        ChainService::Tcp(route) => {
            let rule = RuleRow {
                ordinal: 0,
                origin: route.origin.to_string(),
                name: String::new(),
                conditions: "every connection".to_owned(),
                action: text::destinations(snapshot, &route.destinations),
                never_reached_behind: None,
            };
            (Vec::new(), Some(rule))
        }
        ChainService::Nothing => (Vec::new(), None),
    };
    ServerRows {
        origin: chain.origin.to_string(),
        declared_port: chain.declared_port,
        server_names,
        tls,
        problem,
        hosts,
        connection,
    }
}

fn host_rows(snapshot: &Snapshot, table: &RouteTable) -> Vec<HostRows> {
    let mut rows: Vec<HostRows> = table
        .hosts
        .sorted()
        .into_iter()
        .map(|(host, routes)| HostRows {
            left_out: left_out(table, &host),
            host,
            https_only: routes.require_tls,
            rules: rule_rows(snapshot, routes),
        })
        .collect();
    // Hosts of which nothing is left still have something to say.
    let mut missing: Vec<&String> = table.left_out.iter().flat_map(|entry| entry.hosts.iter()).collect();
    missing.sort();
    missing.dedup();
    for host in missing {
        if !rows.iter().any(|row| row.host == *host) {
            let left_out = left_out(table, host);
            rows.push(HostRows { host: host.clone(), https_only: false, rules: Vec::new(), left_out });
        }
    }
    rows
}

fn left_out(table: &RouteTable, host: &str) -> Vec<LeftOutRow> {
    let entries = table.left_out.iter().filter(|entry| entry.hosts.iter().any(|own| own == host));
    entries.map(|entry| LeftOutRow { origin: entry.origin.to_string(), why: entry.why.to_string() }).collect()
}

fn rule_rows(snapshot: &Snapshot, host: &VirtualHost) -> Vec<RuleRow> {
    let shadowed = shadowed(host.routes());
    let behind = |ordinal| shadowed.iter().find(|found| found.ordinal == ordinal).map(|found| found.by);
    host.routes()
        .iter()
        .enumerate()
        .map(|(ordinal, route)| RuleRow {
            ordinal,
            origin: route.origin.to_string(),
            name: route.name.to_string(),
            conditions: text::conditions(&route.matcher),
            action: text::outcome(snapshot, &route.action),
            never_reached_behind: behind(ordinal),
        })
        .collect()
}
