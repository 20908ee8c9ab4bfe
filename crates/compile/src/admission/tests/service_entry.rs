//! ServiceEntries and WorkloadEntries.

use super::{compare, object};

fn entry(spec: &str) -> String {
    object("ServiceEntry", &format!("{{{spec}}}"))
}

#[test]
fn hosts_addresses_and_ports() {
    const ONE: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";
    let rows = [
        ("hosts: [a.com], ONE", ""),
        ("hosts: ['*.a.com'], ONE", ""),
        ("hosts: ['*a.com'], ONE", "?spec.hosts[0]"),
        ("hosts: [a_b], ONE", "!spec.hosts[0]"),
        ("hosts: [a.com], addresses: [10.0.0.1, 10.0.0.0/8, '::1/128'], ONE", ""),
        ("hosts: [a.com], addresses: [10.0.0.0/33], ONE", "!spec.addresses[0]"),
        ("hosts: [a.com], addresses: [10.0.0.0/8], resolution: DNS, ONE", "!spec.addresses"),
        ("hosts: [a.com], addresses: [10.0.0.0/8], resolution: STATIC, ONE", ""),
        ("hosts: [a.com], ports: [{number: 80, name: a, protocol: XTTP}]", "!spec.ports[0].protocol"),
        ("hosts: [a.com], ports: [{number: 80, name: a_b, protocol: HTTP}]", "!spec.ports[0].name"),
        (
            "hosts: [a.com], ports: [{number: 80, name: a, protocol: HTTP}, {number: 81, name: a, protocol: HTTP}]",
            "!spec.ports[1].name",
        ),
        ("hosts: [a.com], ports: [{number: 80, name: a, protocol: TCP}]", "?spec.ports[0]"),
        ("hosts: [a.com], ports: [{number: 80, name: a}]", "?spec.ports[0]"),
        ("hosts: [a.com], addresses: [10.0.0.1], ports: [{number: 80, name: a, protocol: TCP}]", ""),
        ("hosts: [a.com], resolution: DNS, ports: [{number: 80, name: a, protocol: TCP}]", ""),
        (
            "hosts: [a.com, b.com], resolution: DNS, ports: [{number: 80, name: a, protocol: TCP}]",
            "!spec.ports[0].protocol",
        ),
        (
            "hosts: [a.com, b.com], resolution: DNS, addresses: [10.0.0.1], ports: [{number: 80, name: a, protocol: TLS}]",
            "?spec.hosts",
        ),
        ("hosts: [a.com, b.com], resolution: DNS, ONE", ""),
        ("hosts: [a.com], exportTo: ['~'], ONE", ""),
        ("hosts: [a.com], exportTo: ['~', other], ONE", "!spec.exportTo"),
        ("hosts: [a.com], exportTo: ['*', other], ONE", "!spec.exportTo"),
        ("hosts: [a.com], workloadSelector: {labels: {a: b}}, resolution: STATIC, ONE", ""),
        ("hosts: [a.com], workloadSelector: {labels: {}}, resolution: STATIC, ONE", "?spec.workloadSelector"),
        ("hosts: [a.com], workloadSelector: {labels: {a: b}}, ONE", "?spec.workloadSelector"),
    ];
    compare(rows.map(|(snippet, expected)| (snippet, entry(&snippet.replace("ONE", ONE)), expected)));
}

#[test]
fn resolutions_and_endpoints() {
    let spec =
        |snippet: &str| entry(&format!("ports: [{{number: 80, name: http, protocol: HTTP}}], {snippet}"));
    compare(
        [
            ("hosts: [a.com], endpoints: [{address: 10.0.0.1}]", "!spec.endpoints"),
            ("hosts: [a.com], resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {http: 8080}}]", ""),
            (
                "hosts: [a.com], resolution: STATIC, endpoints: [{address: b.com}]",
                "!spec.endpoints[0].address",
            ),
            (
                "hosts: [a.com], resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {other: 8080}}]",
                "!spec.endpoints[0].ports.other",
            ),
            ("hosts: [a.com], resolution: STATIC, endpoints: [{address: 'unix:///run/a'}]", ""),
            ("hosts: [a.com], resolution: STATIC, endpoints: [{network: net}]", "?spec.endpoints[0].address"),
            (
                "hosts: [a.com], resolution: STATIC, endpoints: [{address: 10.0.0.1, labels: {a: 'b c'}}]",
                "!spec.endpoints[0].labels.a",
            ),
            ("hosts: [a.com], resolution: DNS", ""),
            ("hosts: ['*.a.com'], resolution: DNS", "!spec.hosts[0]"),
            ("hosts: ['*.a.com'], resolution: DNS, endpoints: [{address: b.com}]", ""),
            ("hosts: [a.com], resolution: DNS, endpoints: [{address: b_c}]", "!spec.endpoints[0].address"),
            (
                "hosts: [a.com], resolution: DNS, endpoints: [{address: b.com, ports: {other: 80}}]",
                "!spec.endpoints[0].ports.other",
            ),
            ("hosts: ['*.a.com'], resolution: DYNAMIC_DNS", ""),
        ]
        .map(|(snippet, expected)| (snippet, spec(snippet), expected)),
    );
}

#[test]
fn workload_entries() {
    compare(
        [
            ("{address: 10.0.0.1}", ""),
            ("{address: a.com}", ""),
            ("{address: a_b}", "!spec.address"),
            ("{network: net}", "?spec.address"),
            ("{address: 'unix://@a'}", ""),
            ("{address: 10.0.0.1, ports: {http: 80}}", ""),
            ("{address: 10.0.0.1, labels: {-a: b}}", "!spec.labels.-a"),
        ]
        .map(|(spec, expected)| (spec, object("WorkloadEntry", spec), expected)),
    );
}
