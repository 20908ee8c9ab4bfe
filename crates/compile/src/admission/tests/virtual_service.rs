//! VirtualServices as a whole, and their TLS and TCP rules.

use super::{compare, object};

/// A rule that is fine.
const HTTP: &str = "http: [{route: [{destination: {host: a}}]}]";

fn service(spec: &str) -> String {
    object("VirtualService", &format!("{{{}}}", spec.replace("HTTP", HTTP)))
}

#[test]
fn hosts_and_gateways() {
    let rows = [
        ("hosts: [a.com], HTTP", ""),
        ("hosts: [reviews], HTTP", ""),
        ("hosts: [a.com]", "!spec"),
        ("hosts: [a_b], HTTP", "!spec.hosts[0]"),
        ("hosts: [10.0.0.1], HTTP", ""),
        ("hosts: ['*'], gateways: [gw], HTTP", ""),
        ("hosts: ['*'], HTTP", "!spec.hosts[0]"),
        ("hosts: ['*'], gateways: [gw, mesh], HTTP", "!spec.hosts[0]"),
        ("hosts: [a.com, a.com], HTTP", "!spec.hosts[1]"),
        ("hosts: [a.com, '*.com'], HTTP", "!spec.hosts[1]"),
        ("hosts: ['*.a.com', '*.com'], HTTP", "!spec.hosts[1]"),
        ("hosts: ['*.a.com', a.com], HTTP", ""),
        ("hosts: [a.com], gateways: [ns/gw], HTTP", ""),
        ("hosts: [a.com], gateways: [gw.ns.svc.cluster.local], HTTP", "?spec.gateways[0]"),
        ("hosts: [a.com], gateways: [ns/], HTTP", "!spec.gateways[0]"),
        ("hosts: [a.com], gateways: [/gw], HTTP", "!spec.gateways[0]"),
        ("hosts: [a.com], gateways: [n_s/gw], HTTP", "!spec.gateways[0]"),
        ("hosts: [a.com], gateways: [ns/g.w], HTTP", "!spec.gateways[0]"),
        ("hosts: [a.com], gateways: [g_w], HTTP", "!spec.gateways[0]"),
        // Behind a name without a namespace Istio looks no further.
        ("hosts: [a.com], gateways: [gw, n_s/gw], HTTP", ""),
        ("hosts: [a.com], exportTo: [., other], HTTP", ""),
        ("hosts: [a.com], exportTo: ['~'], HTTP", "!spec.exportTo[0]"),
    ];
    compare(rows.map(|(snippet, expected)| (snippet, service(snippet), expected)));
}

#[test]
fn delegates() {
    let delegating = "http: [{delegate: {name: d, namespace: ns}}]";
    let rows = [
        ("HTTP", ""),
        ("gateways: [gw], HTTP", "!spec.gateways"),
        (
            "HTTP, tls: [{match: [{sniHosts: [a.com]}], route: [{destination: {host: a}}]}]",
            "!spec.tls !spec.tls[0].match[0].sniHosts[0]",
        ),
        ("HTTP, tcp: [{route: [{destination: {host: a}}]}]", "!spec.tcp"),
        ("hosts: [a.com], DELEGATE", ""),
        (
            "hosts: [a.com], http: [{delegate: {name: d}, route: [{destination: {host: a}}]}]",
            "!spec.http[0].route",
        ),
        ("hosts: [a.com], http: [{delegate: {name: d}, redirect: {uri: /}}]", "!spec.http[0].redirect"),
        ("DELEGATE", "!spec.http[0] !spec.http[0].delegate"),
    ];
    compare(
        rows.map(|(snippet, expected)| {
            (snippet, service(&snippet.replace("DELEGATE", delegating)), expected)
        }),
    );
}

#[test]
fn tls_rules() {
    let rule = |rule: &str| format!("gateways: [gw], hosts: [a.com, '*.b.com'], tls: [{rule}]");
    let route = "route: [{destination: {host: a}}]";
    let rows = [
        ("{match: [{sniHosts: [a.com, x.b.com]}], ROUTE}", ""),
        ("{match: [{sniHosts: [c.com]}], ROUTE}", "!spec.tls[0].match[0].sniHosts[0]"),
        ("{match: [{sniHosts: ['*.com']}], ROUTE}", "!spec.tls[0].match[0].sniHosts[0]"),
        ("{match: [{sniHosts: [a_b]}], ROUTE}", "!spec.tls[0].match[0].sniHosts[0]"),
        ("{match: [{sniHosts: [10.0.0.1]}], ROUTE}", "?spec.tls[0].match[0].sniHosts[0]"),
        ("{match: [{sniHosts: [a.com], port: 70000}], ROUTE}", "!spec.tls[0].match[0].port"),
        ("{match: [{sniHosts: [a.com], destinationSubnets: [10.0.0.0/8]}], ROUTE}", ""),
        (
            "{match: [{sniHosts: [a.com], destinationSubnets: [10.0.0.0/40]}], ROUTE}",
            "!spec.tls[0].match[0].destinationSubnets[0]",
        ),
        (
            "{match: [{sniHosts: [a.com], sourceLabels: {-a: b}}], ROUTE}",
            "!spec.tls[0].match[0].sourceLabels.-a",
        ),
        ("{match: [{sniHosts: [a.com], gateways: [a.b.c]}], ROUTE}", "?spec.tls[0].match[0].gateways[0]"),
        ("{match: [{sniHosts: [a.com]}], route: []}", "!spec.tls[0].route"),
        ("{match: [], ROUTE}", "!spec.tls[0].match"),
        ("{match: [{sniHosts: []}], ROUTE}", "!spec.tls[0].match[0].sniHosts"),
        (
            "{match: [{sniHosts: [a.com]}], route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]}",
            "!spec.tls[0].route",
        ),
    ];
    compare(
        rows.map(|(snippet, expected)| (snippet, service(&rule(&snippet.replace("ROUTE", route))), expected)),
    );
    let outbound = |host: &str| {
        format!("gateways: [gw], hosts: ['{host}'], tls: [{{match: [{{sniHosts: ['{host}']}}], {route}}}]")
    };
    let sni = "!spec.hosts[0] !spec.tls[0].match[0].sniHosts[0]";
    compare(
        [
            ("outbound_.80_._.a.com", ""),
            ("outbound_.x_._.a.com", sni),
            ("outbound_.80_._.1", sni),
            ("outbound_a", sni),
        ]
        .map(|(host, expected)| (host, service(&outbound(host)), expected)),
    );
}

#[test]
fn tcp_rules() {
    let rule = |rule: &str| format!("gateways: [gw], hosts: [a.com], tcp: [{rule}]");
    let rows = [
        ("{route: [{destination: {host: a}}]}", ""),
        ("{route: []}", "!spec.tcp[0].route"),
        ("{match: [{port: 70000}], route: [{destination: {host: a}}]}", "!spec.tcp[0].match[0].port"),
        (
            "{match: [{destinationSubnets: [x]}], route: [{destination: {host: a}}]}",
            "!spec.tcp[0].match[0].destinationSubnets[0]",
        ),
        // What would be a warning is lost here.
        ("{match: [{gateways: [a.b.c]}], route: [{destination: {host: a}}]}", ""),
        (
            "{match: [{gateways: [a_b]}], route: [{destination: {host: a}}]}",
            "!spec.tcp[0].match[0].gateways[0]",
        ),
        (
            "{route: [{destination: {host: a}, weight: -1}, {destination: {host: b}, weight: 2}]}",
            "!spec.tcp[0].route[0].weight",
        ),
    ];
    compare(rows.map(|(snippet, expected)| (snippet, service(&rule(snippet)), expected)));
}

#[test]
fn destinations() {
    let rows = [
        ("{host: a, subset: v1, port: {number: 80}}", ""),
        ("{host: '*.a.com'}", ""),
        ("{host: '*'}", "!spec.http[0].route[0].destination.host"),
        ("{host: a_b}", "!spec.http[0].route[0].destination.host"),
        ("{host: a, subset: v_1}", "!spec.http[0].route[0].destination.subset"),
        ("{host: a, port: {number: 70000}}", "!spec.http[0].route[0].destination.port.number"),
        ("{host: a, port: {}}", "!spec.http[0].route[0].destination.port.number"),
    ];
    let rule = |destination: &str| {
        service(&format!("hosts: [a.com], http: [{{route: [{{destination: {destination}}}]}}]"))
    };
    compare(rows.map(|(snippet, expected)| (snippet, rule(snippet), expected)));
}
