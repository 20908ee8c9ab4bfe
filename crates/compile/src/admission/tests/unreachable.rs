//! Rules and entries that earlier ones make useless.

use super::{compare, object};

/// Rules of `list`, one for each of `matches`; an empty one has no `match`.
fn rules(list: &str, matches: &[&str]) -> String {
    let rule = |entry: &&str| match *entry {
        "" => "{route: [{destination: {host: a}}]}".to_owned(),
        entry => format!("{{match: [{entry}], route: [{{destination: {{host: a}}}}]}}"),
    };
    let rules: Vec<String> = matches.iter().map(rule).collect();
    object("VirtualService", &format!("{{hosts: [a.com], gateways: [gw], {list}: [{}]}}", rules.join(", ")))
}

#[test]
fn http_rules() {
    const A: &str = "{uri: {prefix: /a}}";
    let rows: [(&[&str], &str); 18] = [
        (&[A, ""], ""),
        (&["", ""], "?spec.http[1]"),
        (&["", A], "?spec.http[1]"),
        (&[A, A], "?spec.http[1] ?spec.http[1].match[0]"),
        (&[A, "{uri: {prefix: /a}}, {uri: {exact: /b}}"], "?spec.http[1].match[0]"),
        (
            &["{name: one, uri: {prefix: /a}}", "{name: two, uri: {prefix: /a}}"],
            "?spec.http[1] ?spec.http[1].match[0]",
        ),
        (&[A, "{uri: {prefix: /ab}}"], "?spec.http[1].match[0]"),
        (&["{uri: {prefix: /ab}}", A], ""),
        (&[A, "{uri: {exact: /ab}}"], ""),
        (&[A, "{uri: {prefix: /ab}, method: {exact: GET}}"], "?spec.http[1].match[0]"),
        (&[A, "{uri: {prefix: /ab}, method: {exact: POST}}"], ""),
        (&[A, "{uri: {prefix: /ab}, port: 80}"], ""),
        (&["{uri: {prefix: /a}, authority: {exact: x}}", "{uri: {prefix: /ab}, authority: {exact: z}}"], ""),
        (&[A, "{uri: {prefix: /ab}, headers: {x: {exact: z}}}"], ""),
        (
            &[
                "{uri: {prefix: /a}, headers: {x: {exact: z}}}",
                "{uri: {prefix: /ab}, headers: {x: {exact: z}}}",
            ],
            "?spec.http[1].match[0]",
        ),
        (&["{uri: {prefix: /a}, queryParams: {q: {exact: x}}}", "{uri: {prefix: /ab}}"], ""),
        (
            &[
                "{uri: {prefix: /a}, withoutHeaders: {x: {}}}",
                "{uri: {prefix: /ab}, withoutHeaders: {x: {}}}",
            ],
            "?spec.http[1].match[0]",
        ),
        // Only the same prefix, with a header more: not found, as in Istio.
        (&[A, "{uri: {prefix: /a}, headers: {x: {exact: z}}}"], ""),
    ];
    compare(rows.map(|(matches, expected)| (matches[matches.len() - 1], rules("http", matches), expected)));
}

#[test]
fn tls_and_tcp_rules() {
    const SNI: &str = "{sniHosts: [a.com]}";
    let tls: [(&[&str], &str); 3] = [
        (&[SNI, SNI], "?spec.tls[1] ?spec.tls[1].match[0]"),
        (&[SNI, "{sniHosts: [a.com], port: 443}"], ""),
        (&[SNI, "{sniHosts: [a.com], port: 443}, {sniHosts: [a.com]}"], "?spec.tls[1].match[1]"),
    ];
    compare(tls.map(|(matches, expected)| (matches[matches.len() - 1], rules("tls", matches), expected)));
    let tcp: [(&[&str], &str); 4] = [
        (&["{port: 1}", ""], ""),
        (&["", ""], "?spec.tcp[1]"),
        (&["", "{port: 1}"], "?spec.tcp[1]"),
        (&["{port: 1}", "{port: 1}"], "?spec.tcp[1] ?spec.tcp[1].match[0]"),
    ];
    compare(tcp.map(|(matches, expected)| (matches[matches.len() - 1], rules("tcp", matches), expected)));
}
