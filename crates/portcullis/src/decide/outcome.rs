//! The end a matched request or connection comes to.

use std::time::Duration;

use portcullis_snapshot::action::{
    Action, Destination, Destinations, Forward, Redirect, RedirectPath, Scheme, Target,
};
use portcullis_snapshot::cluster::{Balancer, UpstreamProtocol};
use portcullis_snapshot::host::without_port;
use portcullis_snapshot::listener::TcpRoute;
use portcullis_snapshot::matcher::RequestView;
use portcullis_snapshot::{Cluster, Route, Snapshot, action};

use super::facts::{DestinationFacts, EndpointFacts, ForwardFacts, Outcome};
use super::headers::{Side, changes};

/// The outcome of an HTTP rule.
pub(super) fn request(snapshot: &Snapshot, route: &Route, view: &RequestView<'_>) -> Outcome {
    match &route.action {
        Action::Respond(response) => {
            let (body_bytes, body) = (response.body.len(), response.body.clone());
            Outcome::Respond { status: response.status.as_u16(), body_bytes, body }
        }
        Action::Redirect(redirect) => {
            Outcome::redirected(redirect.status.as_u16(), location(redirect, view), "redirect of the rule")
        }
        Action::Forward(forward) => Outcome::Forward(Box::new(forwarding(snapshot, route, forward, view))),
    }
}

/// The outcome of a TCP or TLS rule.
pub(super) fn connection(snapshot: &Snapshot, route: &TcpRoute) -> Outcome {
    Outcome::Forward(Box::new(ForwardFacts {
        destinations: destinations(snapshot, &route.destinations, false),
        ..ForwardFacts::default()
    }))
}

fn forwarding(snapshot: &Snapshot, route: &Route, forward: &Forward, view: &RequestView<'_>) -> ForwardFacts {
    let mut headers = changes(Side::Request, &route.request_headers);
    headers.extend(changes(Side::Response, &route.response_headers));
    for destination in forward.destinations.iter() {
        headers.extend(changes(Side::Request, &destination.request_headers));
        headers.extend(changes(Side::Response, &destination.response_headers));
    }
    ForwardFacts {
        destinations: destinations(snapshot, &forward.destinations, true),
        path: forward.path.as_ref().map(|rewrite| rewrite.apply(view.path)),
        authority: forward
            .authority
            .as_ref()
            .map(|authority| String::from_utf8_lossy(authority).into_owned()),
        timeout_ms: forward.timeout.map(milliseconds),
        retries: forward.retry.attempts,
        retry_on: if forward.retry.attempts > 0 { forward.retry.on.names() } else { Vec::new() },
        per_try_timeout_ms: forward.retry.per_try_timeout.map(milliseconds),
        headers,
        also: also(snapshot, route, forward),
    }
}

fn also(snapshot: &Snapshot, route: &Route, forward: &Forward) -> Vec<String> {
    let mut also = Vec::new();
    for mirror in &forward.mirrors {
        let share = f64::from(mirror.share.millionths()) / 10_000.0;
        also.push(format!("{share} % of requests are copied to {}", target_name(snapshot, &mirror.target)));
    }
    if route.cors.is_some() {
        also.push("a CORS policy applies".to_owned());
    }
    if let Some(fault) = &route.fault {
        let share = |percentage: action::Percentage| f64::from(percentage.millionths()) / 10_000.0;
        if let Some((percentage, delay)) = &fault.delay {
            also.push(format!("{} % of requests are delayed by {delay:?}", share(*percentage)));
        }
        if let Some((percentage, abort)) = &fault.abort {
            also.push(format!("{} % of requests are aborted with {abort:?}", share(*percentage)));
        }
    }
    if !forward.hash.is_empty() {
        also.push("requests stick to an endpoint by consistent hashing".to_owned());
    }
    also
}

fn destinations(snapshot: &Snapshot, choice: &Destinations, http: bool) -> Vec<DestinationFacts> {
    match choice {
        Destinations::One(destination) => vec![one(snapshot, destination, 100.0, http)],
        Destinations::Weighted { total, entries } => {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a sum of weights is far below 2^52, and this is for people"
            )]
            let share = |weight: u32| f64::from(weight) * 100.0 / *total as f64;
            entries
                .iter()
                .map(|(weight, destination)| one(snapshot, destination, share(*weight), http))
                .collect()
        }
    }
}

fn one(snapshot: &Snapshot, destination: &Destination, share: f64, http: bool) -> DestinationFacts {
    let cluster = match &destination.target {
        Target::Cluster(id) => snapshot.cluster(*id),
        Target::Unknown(name) => {
            let problem = "there is no such service or subset: requests get 503 (flag NC)";
            return DestinationFacts {
                cluster: name.to_string(),
                known: false,
                share,
                protocol: String::new(),
                endpoints: Vec::new(),
                problem: Some(problem.to_owned()),
            };
        }
    };
    let endpoints = cluster.endpoints.all.iter().map(|endpoint| EndpointFacts {
        address: endpoint.address.to_string(),
        weight: endpoint.weight,
        healthy: endpoint.healthy,
    });
    DestinationFacts {
        cluster: cluster.name.to_string(),
        known: true,
        share,
        protocol: protocol(cluster, http),
        endpoints: endpoints.collect(),
        problem: without_endpoint(cluster),
    }
}

fn without_endpoint(cluster: &Cluster) -> Option<String> {
    let endpoints = &cluster.endpoints.all;
    if endpoints.is_empty() {
        Some("it has no endpoint: requests get 503 (flag UH)".to_owned())
    } else if endpoints.iter().all(|endpoint| !endpoint.healthy) {
        Some("none of its endpoints is ready: requests get 503 (flag UH)".to_owned())
    } else {
        None
    }
}

fn protocol(cluster: &Cluster, http: bool) -> String {
    let version = match cluster.protocol {
        _ if !http => "TCP",
        UpstreamProtocol::Http1 => "HTTP/1.1",
        UpstreamProtocol::Http2 => "HTTP/2",
        UpstreamProtocol::AsClient => "the client's HTTP version",
    };
    let tls = if cluster.tls.is_some() { " in TLS" } else { "" };
    let balancer = match cluster.balancer {
        Balancer::LeastRequest => "least request",
        Balancer::RoundRobin => "round robin",
        Balancer::Random => "random",
        Balancer::RingHash { .. } => "ring hash",
        Balancer::Maglev { .. } => "maglev",
    };
    format!("{version}{tls}, {balancer}")
}

fn target_name(snapshot: &Snapshot, target: &Target) -> String {
    match target {
        Target::Cluster(id) => snapshot.cluster(*id).name.to_string(),
        Target::Unknown(name) => format!("{name} (unknown)"),
    }
}

/// Where a redirect leads: the parts it names are replaced, the others stay.
fn location(redirect: &Redirect, view: &RequestView<'_>) -> String {
    let scheme = redirect.scheme.map_or(view.scheme, |scheme| scheme.as_str());
    let mut authority = redirect.host.as_deref().unwrap_or(view.authority).to_owned();
    if let Some(port) = redirect.port {
        authority = without_port(&authority).to_owned();
        let implied = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        if port != implied.default_port() {
            authority = format!("{authority}:{port}");
        }
    }
    let query = view.query.map(|query| format!("?{query}")).unwrap_or_default();
    let target = match &redirect.path {
        RedirectPath::Keep => format!("{}{query}", view.path),
        RedirectPath::Replace(text) if text.contains('?') => text.to_string(),
        RedirectPath::Replace(text) => format!("{text}{query}"),
        RedirectPath::Prefix { matched, replacement } => {
            format!("{replacement}{}{query}", view.path.get(*matched..).unwrap_or(""))
        }
    };
    format!("{scheme}://{authority}{target}")
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
