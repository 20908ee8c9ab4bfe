//! VirtualServices (`ValidateVirtualService`), with their TLS and TCP rules.

use portcullis_api::networking::{
    Destination, L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute,
    VirtualServiceSpec,
};
use portcullis_api::wire::StringMatch;
use portcullis_api::{Map, VirtualService};

use super::names::{self, Exporter};
use super::{Review, http_route, member, port, unreachable};
use crate::names::subset_of;

/// What stands for sidecars among the names of Gateways.
const MESH: &str = "mesh";

/// Marks a VirtualService that Istio made of a route of the Gateway API.
const SEMANTICS: &str = "internal.istio.io/route-semantics";

/// What the rules need to know of the whole.
#[derive(Clone, Copy)]
pub(super) struct Whole {
    /// No hosts: it is for other VirtualServices to continue in.
    pub(super) delegate: bool,
    /// Made of a route of the Gateway API.
    pub(super) converted: bool,
}

pub(super) fn review(resource: &VirtualService, review: &mut Review<'_, '_>) {
    let spec = &resource.spec;
    let converted = resource.meta.annotations.get(SEMANTICS).is_some_and(|value| value == "gateway");
    let whole = Whole { delegate: spec.hosts.is_empty(), converted };
    if whole.delegate {
        for (field, present) in [
            ("spec.gateways", !spec.gateways.is_empty()),
            ("spec.tls", !spec.tls.is_empty()),
            ("spec.tcp", !spec.tcp.is_empty()),
        ] {
            if present {
                review.refuse(
                    field,
                    "a VirtualService without hosts is a delegate and may not have this",
                    "remove it",
                );
            }
        }
    }
    gateways("spec.gateways", &spec.gateways, converted, review);
    let at_gateway = !spec.gateways.is_empty() && is_gateway(spec);
    if !at_gateway {
        claims(spec, review);
    }
    hosts(spec, at_gateway, review);
    if spec.http.is_empty() && spec.tcp.is_empty() && spec.tls.is_empty() {
        review.refuse("spec", "has no rule", "add http, tls or tcp");
    }
    for (index, rule) in spec.http.iter().enumerate() {
        http_route::review(rule, whole, &mut review.at(format_args!("spec.http[{index}]")));
    }
    for (index, rule) in spec.tls.iter().enumerate() {
        of_tls(rule, spec, whole, &mut review.at(format_args!("spec.tls[{index}]")));
    }
    for (index, rule) in spec.tcp.iter().enumerate() {
        of_tcp(rule, whole, &mut review.at(format_args!("spec.tcp[{index}]")).silent());
    }
    names::export_to(&resource.meta.namespace, &spec.export_to, Exporter::Other, review);
    unreachable::review(spec, review);
}

fn is_gateway(spec: &VirtualServiceSpec) -> bool {
    !spec.gateways.iter().any(|name| name == MESH)
}

/// Claims of a token are only known at a gateway.
fn claims(spec: &VirtualServiceSpec, review: &mut Review<'_, '_>) {
    for (index, rule) in spec.http.iter().enumerate() {
        for (at, entry) in rule.matches.iter().enumerate() {
            for (field, map) in [("headers", &entry.headers), ("withoutHeaders", &entry.without_headers)] {
                for name in map.keys().filter(|name| is_claim(name)) {
                    let field = member(&format!("spec.http[{index}].match[{at}].{field}"), name);
                    let message = "claims can only be matched at a gateway";
                    review.refuse(field, message, "name the Gateways in spec.gateways, without mesh");
                }
            }
        }
    }
}

/// `@request.auth.claims.a.b` or `@request.auth.claims[a][b]` (`jwt.ToRoutingClaim`).
pub(super) fn is_claim(name: &str) -> bool {
    const CLAIMS: &str = "@request.auth.claims";
    let Some((start, rest)) = name.split_at_checked(CLAIMS.len()) else { return false };
    let dotted = rest.starts_with('.') && rest.len() > 1;
    let bracketed = rest.starts_with('[') && rest.ends_with(']') && rest.len() > 2;
    start.eq_ignore_ascii_case(CLAIMS) && (dotted || bracketed)
}

fn hosts(spec: &VirtualServiceSpec, at_gateway: bool, review: &mut Review<'_, '_>) {
    let sni = spec.tls.iter().flat_map(|rule| &rule.matches).any(|entry| !entry.sni_hosts.is_empty());
    let mut fine = true;
    for (at, host) in spec.hosts.iter().enumerate() {
        let field = format!("spec.hosts[{at}]");
        let verdict = if at_gateway { names::gateway_host(sni, host) } else { names::wildcard_host(host) };
        match verdict {
            Err(_) if names::is_ip(host) => {}
            Err(_) => {
                fine = false;
                review.judge(field, verdict);
            }
            Ok(()) if host == "*" && !at_gateway => {
                fine = false;
                let message = "* is not for the mesh: every request of every sidecar would meet it";
                review.refuse(
                    field,
                    message,
                    "name the Gateways in spec.gateways, without mesh, or name the host",
                );
            }
            Ok(()) => {}
        }
    }
    if !fine {
        return;
    }
    for (at, host) in spec.hosts.iter().enumerate() {
        if let Some(other) = spec.hosts[..at].iter().find(|other| names::overlap(other, host)) {
            let message = format!("{host:?} and {other:?} overlap");
            review.refuse(
                format_args!("spec.hosts[{at}]"),
                message,
                "keep the wider one, or write two resources",
            );
        }
    }
}

/// `validateGatewayNames`, which looks no further than the first name without a namespace.
pub(super) fn gateways(field: &str, list: &[String], converted: bool, review: &mut Review<'_, '_>) {
    for (at, name) in list.iter().enumerate() {
        let field = format!("{field}[{at}]");
        let Some((namespace, gateway)) = name.split_once('/') else {
            if name.contains('.') {
                let message = format!("{name:?} is the old form of a Gateway's name");
                review.warn(&field, message, "write namespace/name");
            }
            return review.judge(&field, names::fqdn(name));
        };
        if !names::is_label(namespace) {
            review.refuse(&field, format!("{namespace:?} is no namespace"), "write namespace/name");
        }
        if gateway.is_empty() || !(converted || names::is_label(gateway)) {
            review.refuse(&field, format!("{gateway:?} is no name of a Gateway"), "write namespace/name");
        }
    }
}

/// `validateTLSRoute`.
fn of_tls(rule: &TlsRoute, spec: &VirtualServiceSpec, whole: Whole, review: &mut Review<'_, '_>) {
    if rule.matches.is_empty() {
        review.refuse("match", "is empty", "add an entry with sniHosts");
    }
    for (at, entry) in rule.matches.iter().enumerate() {
        of_tls_match(entry, spec, &mut review.at(format_args!("match[{at}]")));
    }
    destinations(&rule.route, whole, review);
}

fn of_tls_match(entry: &TlsMatchAttributes, spec: &VirtualServiceSpec, review: &mut Review<'_, '_>) {
    if entry.sni_hosts.is_empty() {
        review.refuse("sniHosts", "is empty", "add a host");
    }
    for (at, host) in entry.sni_hosts.iter().enumerate() {
        let field = format!("sniHosts[{at}]");
        let verdict =
            if is_gateway(spec) { names::gateway_host(true, host) } else { names::wildcard_host(host) };
        if verdict.is_err() && names::is_ip(host) {
            review.warn(&field, "is an address, which no client sends as a server name", "write a host name");
        } else if verdict.is_err() {
            review.judge(&field, verdict);
        } else if !spec.hosts.iter().any(|own| subset_of(host, own)) {
            let message = format!("{host:?} is none of the VirtualService's hosts");
            review.refuse(&field, message, "add it to spec.hosts");
        }
    }
    subnets(&entry.destination_subnets, review);
    where_from(entry.port, &entry.source_labels, &entry.gateways, review);
}

/// `validateTCPRoute`. Its warnings are lost on the way, as in Istio.
fn of_tcp(rule: &TcpRoute, whole: Whole, review: &mut Review<'_, '_>) {
    for (at, entry) in rule.matches.iter().enumerate() {
        let L4MatchAttributes { destination_subnets, port, source_labels, gateways, .. } = entry;
        let mut review = review.at(format_args!("match[{at}]"));
        subnets(destination_subnets, &mut review);
        where_from(*port, source_labels, gateways, &mut review);
    }
    destinations(&rule.route, whole, review);
}

fn subnets(list: &[String], review: &mut Review<'_, '_>) {
    for (at, subnet) in list.iter().enumerate() {
        review.judge(format_args!("destinationSubnets[{at}]"), names::subnet(subnet));
    }
}

/// What every kind of match has: the port, labels of the workload and Gateways it is for.
pub(super) fn where_from(
    number: Option<u32>,
    labels: &Map<String>,
    list: &[String],
    review: &mut Review<'_, '_>,
) {
    if let Some(number) = number.filter(|number| *number != 0) {
        review.judge("port", port(number));
    }
    names::label_map("sourceLabels", labels, review);
    gateways("gateways", list, false, review);
}

/// `validateRouteDestinations`.
fn destinations(route: &[RouteDestination], whole: Whole, review: &mut Review<'_, '_>) {
    if route.is_empty() {
        review.refuse("route", "is missing", "add a destination");
    }
    for (at, weighted) in route.iter().enumerate() {
        let mut review = review.at(format_args!("route[{at}]"));
        if !whole.converted {
            destination(&weighted.destination, &mut review.at("destination"));
        }
        weight(weighted.weight, &mut review);
    }
    total_weight(route.iter().map(|weighted| weighted.weight), review);
}

/// `validateDestination`.
pub(super) fn destination(destination: &Destination, review: &mut Review<'_, '_>) {
    if destination.host == "*" {
        review.refuse("host", "names no service", "write the name of a service");
    } else {
        review.judge("host", names::wildcard_host(&destination.host));
    }
    if let Some(subset) =
        destination.subset.as_deref().filter(|subset| !subset.is_empty() && !names::is_label(subset))
    {
        review.refuse("subset", format!("{subset:?} is no name for a subset"), "use letters, digits and -");
    }
    if let Some(selector) = &destination.port {
        review.judge("port.number", port(selector.number.unwrap_or(0)));
    }
}

pub(super) fn weight(weight: Option<i32>, review: &mut Review<'_, '_>) {
    if let Some(weight) = weight.filter(|weight| *weight < 0) {
        review.refuse("weight", format!("{weight} is negative"), "use 0 or more");
    }
}

/// Several destinations need weights that add up to something; the sum wraps around, as in Istio.
pub(super) fn total_weight(weights: impl ExactSizeIterator<Item = Option<i32>>, review: &mut Review<'_, '_>) {
    let several = weights.len() > 1;
    let total = weights.fold(0_i32, |total, weight| total.wrapping_add(weight.unwrap_or(0)));
    if several && total == 0 {
        review.refuse("route", "has no weight at all", "give one destination a weight");
    }
}

/// Whether a matcher is set to an expression; what else it may be is not looked at.
pub(super) fn expression(matcher: &StringMatch) -> Option<&str> {
    matcher.regex.as_deref()
}
