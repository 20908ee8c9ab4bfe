//! A snapshot as text for people and for tests: stable, sorted, complete in what decides a request.

use std::fmt::{self, Write as _};

use crate::Snapshot;
use crate::action::{Action, Destinations, Target};
use crate::listener::{ChainService, ChainTls, FilterChain, HeaderDemand, ProxyProtocol, Tunnel};
use crate::matcher::{RouteMatcher, Without};
use crate::route::{Route, RouteTable};

/// Prints `snapshot` as indented text.
#[must_use]
pub fn snapshot(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_snapshot(&mut out, snapshot);
    out
}

fn write_snapshot(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    for listener in &snapshot.listeners {
        write!(out, "listener {}", listener.name)?;
        if let Some(expected) = &listener.proxy_protocol {
            write!(out, ", PROXY header {}", proxy_header(expected))?;
        }
        writeln!(out)?;
        if let Some(chain) = &listener.plain {
            writeln!(out, "  plaintext")?;
            write_chain(out, snapshot, chain)?;
        }
        for (name, chain) in listener.tls.sorted() {
            writeln!(out, "  sni {name}")?;
            write_chain(out, snapshot, chain)?;
        }
    }
    for cluster in snapshot.clusters.iter() {
        write!(out, "cluster {} {:?} {:?}", cluster.name, cluster.protocol, cluster.balancer)?;
        if let Some(tls) = &cluster.tls {
            write!(out, " tls sni {:?}", tls.sni)?;
        }
        writeln!(out)?;
        if let Some(check) = &cluster.health_check {
            writeln!(out, "  checked by {check}")?;
        }
        for endpoint in &cluster.endpoints.all {
            let health = if endpoint.healthy { "" } else { " unhealthy" };
            writeln!(out, "  {} weight {}{health}", endpoint.address, endpoint.weight)?;
        }
    }
    Ok(())
}

/// `required`, or `optional from 10.0.0.0/8`.
fn proxy_header(expected: &ProxyProtocol) -> String {
    let mut text = match expected.demand {
        HeaderDemand::Required => "required".to_owned(),
        HeaderDemand::Optional => "optional".to_owned(),
    };
    for (at, range) in expected.trusted.iter().enumerate() {
        let _ = write!(text, "{}{range}", if at == 0 { " from " } else { ", " });
    }
    text
}

fn write_chain(out: &mut String, snapshot: &Snapshot, chain: &FilterChain) -> fmt::Result {
    write!(out, "    from {}", chain.origin)?;
    match &chain.tls {
        ChainTls::None => {}
        ChainTls::Terminate(tls) => {
            let sources: Vec<_> = tls.certificates.iter().map(|certificate| &*certificate.source).collect();
            write!(out, ", terminates with {} ({:?})", sources.join(" and "), tls.client_certificate)?;
        }
        ChainTls::Unavailable { reason } => write!(out, ", handshakes fail: {reason}")?,
    }
    writeln!(out)?;
    match &chain.service {
        ChainService::Http(table) => write_table(out, snapshot, table),
        ChainService::Tcp(route) => {
            write!(out, "    tcp -> {}", destinations(snapshot, &route.destinations))?;
            if let Some(Tunnel { authority, method }) = &route.tunnel {
                write!(out, ", {method:?} {authority}")?;
            }
            writeln!(out, " ({})", route.origin)
        }
        ChainService::Nothing => writeln!(out, "    closes"),
    }
}

fn write_table(out: &mut String, snapshot: &Snapshot, table: &RouteTable) -> fmt::Result {
    let web = if table.grpc_web { ", gRPC-Web translated" } else { "" };
    writeln!(out, "    routes {}{web}", table.name)?;
    let challenges =
        table.challenges.sorted().into_iter().map(|(pattern, host)| ("challenge", pattern, host));
    let hosts = table.hosts.sorted().into_iter().map(|(pattern, host)| ("host", pattern, host));
    for (what, pattern, host) in challenges.chain(hosts) {
        let redirect = if host.require_tls { " (https only)" } else { "" };
        writeln!(out, "      {what} {pattern}{redirect}")?;
        for (ordinal, route) in host.routes().iter().enumerate() {
            writeln!(out, "        {ordinal} {}", describe(snapshot, route))?;
        }
    }
    Ok(())
}

/// One route in one line: conditions, outcome, origin.
#[must_use]
pub fn describe(snapshot: &Snapshot, route: &Route) -> String {
    format!("{} -> {} ({})", conditions(&route.matcher), outcome(snapshot, &route.action), route.origin)
}

/// The conditions of a route in words.
#[must_use]
pub fn conditions(matcher: &RouteMatcher) -> String {
    let mut out = matcher.path.to_string();
    let texts = [("method", &matcher.method), ("scheme", &matcher.scheme), ("authority", &matcher.authority)];
    for (name, condition) in texts {
        if let Some(condition) = condition {
            let _ = write!(out, ", {name}{condition}");
        }
    }
    for condition in &matcher.headers {
        let _ = write!(out, ", header {}{}", condition.name, condition.value);
    }
    for condition in &matcher.without {
        let _ = match condition {
            Without::Absent(name) => write!(out, ", header {name} absent"),
            Without::Unlike(condition) => write!(out, ", header {} not{}", condition.name, condition.value),
        };
    }
    for condition in &matcher.query {
        let _ = write!(out, ", query {}{}", condition.name, condition.value);
    }
    out
}

/// The outcome of a route in words.
#[must_use]
pub fn outcome(snapshot: &Snapshot, action: &Action) -> String {
    match action {
        Action::Forward(forward) => destinations(snapshot, &forward.destinations),
        Action::Redirect(redirect) => format!("redirect {}", redirect.status.as_u16()),
        Action::Respond(response) => format!("response {}", response.status.as_u16()),
    }
}

/// Destinations with their weights.
#[must_use]
pub fn destinations(snapshot: &Snapshot, destinations: &Destinations) -> String {
    match destinations {
        Destinations::One(destination) => target(snapshot, &destination.target),
        Destinations::Weighted { entries, .. } => {
            let parts = entries
                .iter()
                .map(|(weight, destination)| format!("{weight}:{}", target(snapshot, &destination.target)));
            parts.collect::<Vec<_>>().join(" ")
        }
    }
}

fn target(snapshot: &Snapshot, target: &Target) -> String {
    match target {
        Target::Cluster(id) => snapshot.cluster(*id).name.to_string(),
        Target::Unknown(name) => format!("unknown cluster {name}"),
    }
}
