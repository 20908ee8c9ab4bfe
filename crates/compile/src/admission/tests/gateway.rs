//! Gateways.

use super::{below, compare, object};

/// A server that is fine.
const FINE: &str = "{port: {number: 80, name: a, protocol: HTTP}, hosts: [a.com]}";

fn servers(list: &str) -> String {
    object("Gateway", &format!("{{selector: {{a: b}}, servers: [{list}]}}"))
}

#[test]
fn servers_and_ports() {
    let twice = format!("{FINE}, {}", FINE.replace("80", "81"));
    let two = format!("{FINE}, {}", FINE.replace("80", "81").replace("name: a", "name: b"));
    compare(
        [
            (FINE, ""),
            ("", "!spec.servers"),
            (&two, ""),
            (&twice, "!spec.servers[1].port.name"),
            ("{port: {number: 80, name: a, protocol: HTTP}, hosts: []}", "!spec.servers[0].hosts"),
            ("{port: {number: 0, name: a, protocol: HTTP}, hosts: [a.com]}", "!spec.servers[0].port.number"),
            (
                "{port: {number: 65536, name: a, protocol: HTTP}, hosts: [a.com]}",
                "!spec.servers[0].port.number",
            ),
            ("{port: {number: 65535, name: a, protocol: http2}, hosts: [a.com]}", ""),
            ("{port: {number: 80, name: '', protocol: HTTP}, hosts: [a.com]}", "!spec.servers[0].port.name"),
            ("{port: {number: 80, name: a, protocol: GRPC-Web}, hosts: [a.com]}", ""),
            (
                "{port: {number: 80, name: a, protocol: POSTGRES}, hosts: [a.com]}",
                "!spec.servers[0].port.protocol",
            ),
            (
                "{port: {number: 80, name: a, protocol: HTTP, targetPort: 8080}, hosts: [a.com]}",
                "!spec.servers[0].port.targetPort",
            ),
        ]
        .map(|(snippet, expected)| (snippet, servers(snippet), expected)),
    );
}

#[test]
fn binds() {
    let server = |number: u32, bind: &str| {
        format!("{{port: {{number: {number}, name: a, protocol: TCP}}, hosts: [a.com], bind: '{bind}'}}")
    };
    compare(
        [
            (80, "127.0.0.1", ""),
            (80, "fe80::1%eth0", ""),
            (80, "localhost", "!spec.servers[0].bind"),
            (0, "unix:///run/a", ""),
            (0, "unix://@a", ""),
            (0, "unix://run/a", "!spec.servers[0].bind"),
            (0, "unix:///run/", "!spec.servers[0].bind"),
            (80, "unix:///run/a", "!spec.servers[0].port.number"),
        ]
        .map(|(number, bind, expected)| (bind, servers(&server(number, bind)), expected)),
    );
}

#[test]
fn hosts() {
    let wrong = "!spec.servers[0].hosts[0]";
    compare(
        [
            ("*", ""),
            ("*.a.com", ""),
            ("a.com.", ""),
            ("ns/a.com", ""),
            ("./a.com", ""),
            ("*/*", ""),
            ("10.0.0.1", ""),
            ("localhost", wrong),
            ("ns/localhost", wrong),
            ("/a.com", wrong),
            ("ns/", wrong),
            ("n_s/a.com", wrong),
            ("~/a.com", wrong),
            ("*a.com", wrong),
            ("*-x.a.com", wrong),
            ("a.*.com", wrong),
            ("a_b.com", wrong),
            ("-a.com", wrong),
            ("a.10", wrong),
            ("a..com", wrong),
        ]
        .map(|(host, expected)| (host, servers(&FINE.replace("a.com", &format!("'{host}'"))), expected)),
    );
}

/// A server of `protocol` with a `tls` block.
fn tls(protocol: &str, tls: &str) -> String {
    servers(&format!("{{port: {{number: 443, name: a, protocol: {protocol}}}, hosts: [a.com], tls: {tls}}}"))
}

#[test]
fn protocols_and_tls_fit() {
    let missing = servers("{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.com]}");
    compare([("HTTPS without tls", missing, "!spec.servers[0].tls")]);
    compare(
        [
            ("HTTP", "{httpsRedirect: true}", ""),
            ("HTTP", "{mode: SIMPLE, credentialName: c}", "!spec.servers[0].tls"),
            ("HTTP", "{privateKey: k}", "!spec.servers[0].tls ?spec.servers[0].tls.mode"),
            ("TCP", "{mode: SIMPLE, credentialName: c}", "!spec.servers[0].tls"),
            ("TLS", "{mode: PASSTHROUGH}", ""),
            ("HTTPS", "{mode: AUTO_PASSTHROUGH}", ""),
            (
                "HTTPS",
                "{mode: SIMPLE, credentialName: c, httpsRedirect: true}",
                "?spec.servers[0].tls.httpsRedirect",
            ),
        ]
        .map(|(protocol, block, expected)| (block, tls(protocol, block), expected)),
    );
}

#[test]
fn certificates() {
    const PAIR: &str = "serverCertificate: c, privateKey: k";
    let rows = [
        ("{mode: SIMPLE, credentialName: c}", ""),
        ("{mode: SIMPLE, credentialNames: [c, d]}", ""),
        ("{mode: SIMPLE, PAIR}", ""),
        ("{mode: SIMPLE, tlsCertificates: [{PAIR}]}", ""),
        ("{mode: SIMPLE}", "!privateKey !serverCertificate"),
        ("{mode: SIMPLE, serverCertificate: c}", "!privateKey"),
        ("{mode: SIMPLE, tlsCertificates: [{privateKey: k}]}", "!tlsCertificates[0].serverCertificate"),
        ("{mode: SIMPLE, credentialName: c, PAIR}", "!"),
        ("{mode: SIMPLE, credentialName: c, tlsCertificates: [{PAIR}]}", "!"),
        ("{mode: SIMPLE, credentialName: c, serverCertificate: c}", ""),
        ("{mode: MUTUAL, credentialName: c}", ""),
        ("{mode: MUTUAL, PAIR}", "!caCertificates"),
        ("{mode: OPTIONAL_MUTUAL, PAIR}", "!caCertificates"),
        ("{mode: MUTUAL, PAIR, caCertificates: a, caCrl: l}", ""),
        ("{mode: SIMPLE, PAIR, caCrl: l}", "!caCrl"),
        ("{mode: SIMPLE, credentialName: c, caCrl: l}", ""),
        ("{mode: PASSTHROUGH, credentialName: c, caCrl: l}", "!caCrl ?mode"),
        ("{mode: PASSTHROUGH, credentialName: c}", "?mode"),
        ("{mode: ISTIO_MUTUAL}", ""),
        ("{mode: ISTIO_MUTUAL, credentialName: c}", "!credentialName"),
        ("{mode: ISTIO_MUTUAL, credentialNames: [c]}", "!credentialNames"),
        ("{mode: ISTIO_MUTUAL, PAIR}", "!privateKey !serverCertificate"),
        ("{mode: ISTIO_MUTUAL, caCertificates: a}", "!caCertificates"),
        ("{mode: ISTIO_MUTUAL, tlsCertificates: [{PAIR}]}", "!tlsCertificates"),
    ];
    for (block, expected) in rows {
        let expected = below("spec.servers[0].tls", expected);
        compare([(block, tls("HTTPS", &block.replace("PAIR", PAIR)), &*expected)]);
    }
}

#[test]
fn versions_and_ciphers() {
    let with = |more: &str| tls("HTTPS", &format!("{{mode: SIMPLE, credentialName: c, {more}}}"));
    compare(
        [
            ("minProtocolVersion: TLSV1_1", "?spec.servers[0].tls.minProtocolVersion"),
            ("minProtocolVersion: TLSV1_2", ""),
            ("minProtocolVersion: TLSV1_0, cipherSuites: [AES128-SHA]", ""),
            ("cipherSuites: [ALL, '-AES128-SHA', '@STRENGTH']", ""),
            ("cipherSuites: [aes128-sha]", "?spec.servers[0].tls.cipherSuites[0]"),
            ("cipherSuites: [AES128-SHA, AES128-SHA]", "?spec.servers[0].tls.cipherSuites[1]"),
        ]
        .map(|(snippet, expected)| (snippet, with(snippet), expected)),
    );
}
