//! What the compiled snapshot's own look-ups make of a request.

use std::net::IpAddr;

use portcullis_snapshot::Snapshot;
use portcullis_snapshot::action::{Action, Destinations, Forward, RedirectPath, Target};
use portcullis_snapshot::headers::Headers;
use portcullis_snapshot::listener::{ChainService, FilterChain, ListenerKey};
use portcullis_snapshot::matcher::RequestView;
use portcullis_snapshot::route::{Route, RouteTable};

use crate::outcome::{End, Outcome, Request, Share, Tls, shares};

/// The fate of `request` under `snapshot`.
pub(crate) fn outcome(snapshot: &Snapshot, request: &Request) -> Outcome {
    let bind = request.bind.map(|bind| bind.parse::<IpAddr>().expect("the alphabet has addresses"));
    let Some(listener) = snapshot.listener(ListenerKey { bind, port: request.port }) else {
        return Outcome::Refused;
    };
    let chain = match request.tls {
        Tls::None => listener.plain.as_ref(),
        Tls::WithoutName => listener.tls.any(),
        Tls::Name(name) => listener.tls.find(name),
    };
    let Some(chain) = chain else { return Outcome::Closed };
    inside(snapshot, chain, request)
}

fn inside(snapshot: &Snapshot, chain: &FilterChain, request: &Request) -> Outcome {
    match &chain.service {
        ChainService::Nothing => Outcome::Closed,
        ChainService::Tcp(route) => Outcome::Stream(destination_shares(snapshot, &route.destinations)),
        ChainService::Http(table) => http(snapshot, table, request),
    }
}

fn http(snapshot: &Snapshot, table: &RouteTable, request: &Request) -> Outcome {
    let mut headers = Headers::default();
    for (name, value) in &request.headers {
        headers.append(name.to_ascii_lowercase(), *value);
    }
    let view = RequestView {
        method: request.method,
        scheme: if request.tls == Tls::None { "http" } else { "https" },
        authority: request.authority,
        path: request.path,
        query: request.query,
        headers: &headers,
    };
    let Some(host) = table.hosts.find(&view.host()) else { return Outcome::NoHost };
    let patterns = table.hosts.sorted();
    let pattern = patterns.iter().find(|(_, other)| std::sync::Arc::ptr_eq(other, host));
    let pattern = pattern.expect("what was found is held").0.clone();
    if host.require_tls && view.scheme == "http" {
        return Outcome::ToHttps(pattern);
    }
    let Some((_, route)) = host.find(&view) else { return Outcome::NoRoute(pattern) };
    Outcome::Route { host: pattern, name: route.name.to_string(), end: end(snapshot, route, request.path) }
}

fn end(snapshot: &Snapshot, route: &Route, path: &str) -> End {
    match &route.action {
        Action::Forward(forward) => forwarded(snapshot, forward, path),
        Action::Respond(response) => End::Respond(response.status.as_u16()),
        Action::Redirect(redirect) => End::Redirect {
            code: redirect.status.as_u16(),
            scheme: redirect.scheme.map(|scheme| scheme.as_str().to_owned()),
            host: redirect.host.as_deref().map(str::to_owned),
            port: redirect.port,
            path: match &redirect.path {
                RedirectPath::Keep => path.to_owned(),
                RedirectPath::Replace(text) => text.to_string(),
                RedirectPath::Prefix { matched, replacement } => {
                    format!("{replacement}{}", &path[*matched..])
                }
            },
        },
    }
}

fn forwarded(snapshot: &Snapshot, forward: &Forward, path: &str) -> End {
    End::Forward {
        to: destination_shares(snapshot, &forward.destinations),
        path: forward.path.as_ref().map_or(path.to_owned(), |rewrite| rewrite.apply(path)),
        authority: forward
            .authority
            .as_ref()
            .map(|authority| String::from_utf8_lossy(authority).into_owned()),
        timeout: forward.timeout.map(|timeout| timeout.as_secs()),
    }
}

fn destination_shares(snapshot: &Snapshot, destinations: &Destinations) -> Vec<Share> {
    let target = |target: &Target| match target {
        Target::Cluster(id) => (snapshot.cluster(*id).name.to_string(), true),
        Target::Unknown(name) => (name.to_string(), false),
    };
    let weighted: Vec<_> = match destinations {
        Destinations::One(one) => {
            let (cluster, known) = target(&one.target);
            vec![(cluster, known, 1)]
        }
        Destinations::Weighted { total, entries } => {
            let sum: u64 = entries.iter().map(|(weight, _)| u64::from(*weight)).sum();
            assert_eq!(*total, sum, "the total of weights is their sum");
            let entry = |(weight, destination): &(u32, portcullis_snapshot::action::Destination)| {
                let (cluster, known) = target(&destination.target);
                (cluster, known, u64::from(*weight))
            };
            entries.iter().map(entry).collect()
        }
    };
    shares(&weighted)
}
