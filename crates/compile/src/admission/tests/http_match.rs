//! What HTTP rules match.

use super::{below, compare, object};

/// Rows on one match entry; the fields are below it.
fn entries(gateways: &str, rows: &[(&str, &str)]) {
    for (entry, expected) in rows {
        let spec = format!(
            "{{hosts: [a.com], gateways: [{gateways}], http: [{{match: [{entry}], route: [{{destination: {{host: a}}}}]}}]}}"
        );
        let expected = below("spec.http[0].match[0]", expected);
        compare([(*entry, object("VirtualService", &spec), &*expected)]);
    }
}

#[test]
fn texts() {
    let long = format!("{{uri: {{regex: '{}'}}}}", "a".repeat(1025));
    entries(
        "gw",
        &[
            ("{uri: {prefix: ''}}", ""),
            ("{uri: {exact: ''}}", ""),
            ("{uri: {regex: ''}}", "!uri"),
            ("{uri: {regex: '/(?=a)'}}", "!uri"),
            ("{uri: {regex: '/a{1001}'}}", "!uri"),
            (&long, "!uri"),
            ("{scheme: {prefix: ''}}", "!scheme"),
            ("{method: {prefix: ''}}", "!method"),
            ("{method: {regex: '('}}", "!method"),
            ("{authority: {prefix: ''}}", "!authority"),
            ("{headers: {x-a: {}}}", ""),
            ("{headers: {x-a: {prefix: ''}}}", "!headers.x-a"),
            ("{headers: {x-a: {regex: '*'}}}", "!headers.x-a"),
            ("{headers: {':method': {exact: GET}}}", ""),
            ("{headers: {':other': {exact: GET}}}", "!headers[\":other\"]"),
            ("{headers: {'x(a': {exact: b}}}", "!headers[\"x(a\"]"),
            ("{withoutHeaders: {x-a: {regex: '*'}}}", ""),
            ("{withoutHeaders: {x-a: {regex: '**'}}}", "!withoutHeaders.x-a"),
            ("{withoutHeaders: {'x(a': {}}}", "!withoutHeaders[\"x(a\"]"),
            ("{queryParams: {a: {prefix: ''}}}", "!queryParams.a"),
            ("{queryParams: {a: {regex: '.*'}}}", ""),
        ],
    );
}

#[test]
fn places() {
    entries(
        "gw",
        &[
            ("{port: 65535}", ""),
            ("{port: 65536}", "!port"),
            ("{sourceLabels: {app: web}}", ""),
            ("{sourceLabels: {app: 'w b'}}", "!sourceLabels.app"),
            ("{sourceNamespace: ns}", ""),
            ("{sourceNamespace: n_m}", "!sourceNamespace"),
            ("{gateways: [ns/gw]}", ""),
            ("{gateways: [n_s/gw]}", "!gateways[0]"),
            // What would be a warning is lost here.
            ("{gateways: [gw.ns.svc]}", ""),
        ],
    );
}

#[test]
fn claims_are_for_gateways() {
    let claim = "{headers: {'@request.auth.claims.a': {exact: b}}}";
    entries("gw", &[(claim, ""), ("{headers: {'@request.auth.claims[a][b]': {exact: c}}}", "")]);
    entries("gw, mesh", &[(claim, "!headers[\"@request.auth.claims.a\"]")]);
    entries(
        "gw",
        &[("{headers: {'@request.auth.claims': {exact: b}}}", "!headers[\"@request.auth.claims\"]")],
    );
    entries(
        "mesh",
        &[(
            "{withoutHeaders: {'@request.auth.claims.a': {}}}",
            "!withoutHeaders[\"@request.auth.claims.a\"]",
        )],
    );
}
