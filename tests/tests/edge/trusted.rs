//! Headers that upstreams believe because the gateway sets them: no client can set, remove or double one, under any
//! spelling that an upstream could take for it.

use portcullis_tests::frames::{END_STREAM, get, headers, kind};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{routes, service, site, to};
use portcullis_tests::raw::{Message, Raw};
use portcullis_tests::upstream::{Upstream, ok};

/// What a client claims.
const CLAIM: &str = "203.0.113.99";

/// What the gateway tells upstreams about a client, or about the request as it was.
const OWN: [&str; 5] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
    "x-envoy-external-address",
    "x-envoy-attempt-count",
];

/// What steers the proxy underneath Istio's gateway, and what only proxies say to each other.
const CONTROLS: [&str; 26] = [
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
    "x-forwarded-client-cert",
];

struct Rig {
    gateway: Gateway,
    upstream: Upstream,
}

impl Rig {
    fn start(rule: &str) -> Self {
        let upstream = Upstream::serve(|_| ok("fine"));
        let gateway = Setup::new(site(upstream.address(), rule), &[80]).start();
        Self { gateway, upstream }
    }

    /// What the upstream gets of a request with these fields, over HTTP/1 and over HTTP/2.
    fn received(&self, fields: &[(&str, &str)]) -> [Message; 2] {
        let mut client = Raw::connect(self.gateway.address(80));
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        client.send(format!("GET / HTTP/1.1\r\nhost: a.test\r\n{lines}\r\n"));
        assert_eq!(client.answer().status, 200, "{fields:?}");
        let first = self.last();
        let mut client = Raw::http2(self.gateway.address(80));
        let lower: Vec<(String, &str)> =
            fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
        // What only HTTP/1 has is refused there.
        let lower: Vec<(&str, &str)> = lower
            .iter()
            .filter(|(name, _)| name != "connection")
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        client.send(headers(1, END_STREAM, &[&get("/")[..], &lower].concat()));
        let head = client.frame_that(|frame| frame.kind == kind::HEADERS);
        assert_eq!(head.and_then(|head| head.status()), Some(200), "{fields:?}");
        [first, self.last()]
    }

    fn last(&self) -> Message {
        self.upstream.arrivals().pop().map(|arrival| arrival.message).unwrap_or_default()
    }
}

fn values<'a>(message: &'a Message, name: &str) -> Vec<&'a str> {
    message.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
}

/// The name as CGI, WSGI, Rack and PHP make a variable of it: all of these spellings are one there.
fn variable(name: &str) -> String {
    name.to_ascii_uppercase().replace(['-', '.'], "_")
}

/// CVE-2024-45806, CVE-2023-27487: no control from a client, whatever its address, reaches an upstream.
#[test]
fn controls_of_clients_are_dropped() {
    let rig = Rig::start("");
    for name in CONTROLS {
        for name in [name.to_owned(), name.to_ascii_uppercase()] {
            for message in rig.received(&[(&name, CLAIM), (&name, CLAIM)]) {
                assert!(
                    !message.headers.iter().any(|(_, value)| value.contains(CLAIM)),
                    "{name}: {message:?}"
                );
            }
        }
    }
}

/// CVE-2024-45410, CVE-2026-29054: `Connection` names fields of the client's own hop, not the gateway's.
#[test]
fn connection_names_none_of_the_gateways_own() {
    let rig = Rig::start("");
    let kept = ["authorization", "cookie", "x-forwarded-port"];
    let mut fields: Vec<(&str, &str)> = kept.iter().map(|&name| (name, "kept")).collect();
    // Those that `http_framing::a_missing_host_is_refused` has refused.
    let refused = ["x-forwarded-for", "x-forwarded-proto"];
    let named = [OWN.as_slice(), &kept, &["x-forwarded-client-cert", "content-length", "x-named"]].concat();
    let named: Vec<_> = named.into_iter().filter(|name| !refused.contains(name)).collect();
    let named = format!("{}, close", named.join(", "));
    fields.extend([("Connection", named.as_str()), ("Connection", "x-request-id"), ("x-named", "gone")]);
    let [message, _] = rig.received(&fields);
    for name in OWN {
        assert_eq!(values(&message, name).len(), 1, "{name}: {message:?}");
    }
    for name in kept {
        assert_eq!(values(&message, name), ["kept"], "{name}");
    }
    assert_eq!(message.header("host"), Some("a.test"));
    assert_eq!((message.header("x-named"), message.header("connection")), (None, None));
}

/// CVE-2026-39858, CVE-2026-54763, CVE-2026-88011: spellings with `_` or `.` that upstreams read as the same name.
#[test]
fn aliases_of_the_gateways_headers_are_dropped() {
    let rig = Rig::start("");
    for name in OWN.iter().chain(&CONTROLS) {
        let aliases = [
            name.replace('-', "_"),
            name.replace('-', "."),
            name.replacen('-', "_", 1),
            name.replacen('-', ".", 1),
            name.to_ascii_uppercase().replace('-', "_"),
        ];
        for alias in aliases {
            for message in rig.received(&[(&alias, CLAIM)]) {
                let like = message.headers.iter().filter(|(own, _)| variable(own) == variable(name));
                let like: Vec<_> = like.filter(|(_, value)| value.contains(CLAIM)).collect();
                assert!(like.is_empty(), "{alias}: {like:?}");
            }
        }
    }
    // Other names with such letters are a client's own business.
    for message in rig.received(&[("x_custom", "kept"), ("x.custom", "kept"), ("x_forwarded", "kept")]) {
        assert_eq!(message.header("x_custom"), Some("kept"));
        assert_eq!(message.header("x.custom"), Some("kept"));
        assert_eq!(message.header("x_forwarded"), Some("kept"));
    }
}

/// What a route sets replaces what the client sent, under every spelling; what a route removes is gone likewise.
#[test]
fn aliases_of_what_a_route_sets_or_removes_are_dropped() {
    let rig = Rig::start("headers: {request: {set: {x-user-id: gateway}, remove: [x-internal-role]}}");
    for spelling in ["x-user-id", "X_User_Id", "x.user.id", "x-user_id"] {
        for message in rig.received(&[(spelling, CLAIM)]) {
            let like = message.headers.iter().filter(|(own, _)| variable(own) == "X_USER_ID");
            assert_eq!(like.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["gateway"], "{spelling}");
        }
    }
    for spelling in ["x-internal-role", "X_Internal_Role", "x.internal.role", "x-internal_role"] {
        for message in rig.received(&[(spelling, CLAIM)]) {
            assert!(!message.headers.iter().any(|(_, value)| value == CLAIM), "{spelling}: {message:?}");
        }
    }
}

/// Repeated, joined, odd and empty lists: the address that the gateway saw is the last, and the only one it vouches for.
#[test]
fn forwarded_addresses_end_with_the_one_that_was_seen() {
    let rig = Rig::start("");
    for claims in
        [vec![CLAIM], vec![CLAIM, "10.0.0.1"], vec!["", CLAIM], vec!["fe80::1%eth0"], vec!["unknown, _x"]]
    {
        let fields: Vec<(&str, &str)> = claims.iter().map(|&claim| ("x-forwarded-for", claim)).collect();
        for message in rig.received(&fields) {
            let found = values(&message, "x-forwarded-for");
            assert_eq!(found.len(), 1, "{claims:?}");
            assert_eq!(found[0].rsplit(',').next(), Some("127.0.0.1"), "{claims:?}");
            assert_eq!(values(&message, "x-envoy-external-address"), ["127.0.0.1"], "{claims:?}");
        }
    }
    for claim in ["https", "HTTPS", "https, http", ""] {
        for message in rig.received(&[("x-forwarded-proto", claim), ("x-forwarded-proto", "https")]) {
            assert_eq!(values(&message, "x-forwarded-proto"), ["http"], "{claim:?}");
        }
    }
}

/// CVE-2026-26310 and its kin: behind a trusted proxy, what is no plain address is no client.
#[test]
fn what_is_no_address_is_not_trusted() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let mesh = "
---
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}";
    let gateway = Setup::new(site(upstream.address(), "") + mesh, &[80]).start();
    let rig = Rig { gateway, upstream };
    for (claim, trusted) in [
        (CLAIM, CLAIM),
        ("2001:db8::7", "2001:db8::7"),
        ("fe80::1%eth0", "127.0.0.1"),
        ("fe80::1%25eth0", "127.0.0.1"),
        ("203.0.113.99:80", "127.0.0.1"),
        ("203.0.113.099", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("203.0.113.99, ", "127.0.0.1"),
        ("\u{661}.1.1.1", "127.0.0.1"),
        ("unknown", "127.0.0.1"),
    ] {
        let mut client = Raw::connect(rig.gateway.address(80));
        client.send(format!("GET / HTTP/1.1\r\nhost: a.test\r\nx-forwarded-for: {claim}\r\n\r\n"));
        assert_eq!(client.answer().status, 200, "{claim}");
        assert_eq!(values(&rig.last(), "x-envoy-external-address"), [trusted], "{claim}");
    }
}

/// CVE-2026-26308, CVE-2020-25017, CVE-2021-32777: a rule looks at each line of a repeated header, never at the first
/// alone and never at a list that no rule was written for.
#[test]
fn repeated_headers_do_not_slip_past_a_rule() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let rule = "{match: [{headers: {x-role: {exact: guest}}}], directResponse: {status: 403}}".to_owned();
    let yaml = portcullis_tests::http::gateway()
        + &routes("app", &["*"], &[rule, to("app", "")])
        + &service("app", "http", &[upstream.address()]);
    let gateway = Setup::new(yaml, &[80]).start();
    let status = |fields: &str| {
        let mut client = Raw::connect(gateway.address(80));
        client.send(format!("GET / HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n"));
        client.answer().status
    };
    assert_eq!(status("x-role: guest\r\n"), 403);
    assert_eq!(status("X-ROLE: guest \r\n"), 403);
    assert_eq!(status("x-role: guest\r\nx-role: admin\r\n"), 403);
    assert_eq!(status("x-role: admin\r\nx-role: guest\r\n"), 403);
}
