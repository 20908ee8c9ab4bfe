//! Values that header operations put together from what is known of a request, its route and both connections.

use portcullis_tests::gateway::Setup;
use portcullis_tests::http::{gateway, prefix, routes, service, to};
use portcullis_tests::pki::Authority;
use portcullis_tests::raw::{Answer, Raw};
use portcullis_tests::upstream::{Upstream, ok, tls_server};

/// `set` operations in brackets, so that what is empty shows.
fn set(values: &[(&str, &str)]) -> String {
    let values: Vec<_> = values.iter().map(|(name, value)| format!("{name}: '[{value}]'")).collect();
    format!("{{set: {{{}}}}}", values.join(", "))
}

fn shown<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let value = answer.header(name).unwrap_or("absent");
    value.strip_prefix('[').and_then(|value| value.strip_suffix(']')).unwrap_or(value)
}

#[test]
fn what_is_known_of_a_request_its_route_and_its_upstream() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let values = [
        ("x-first", "%REQUEST_HEADER(x-a)%"),
        ("x-decoded", "%QUERY_PARAM(q)%"),
        ("x-time", "%START_TIME(%s)%"),
        ("x-format", "%EMIT_TIME(%%|%Ez|text)%"),
        ("x-rule", "%METADATA(ROUTE:istio:config)%"),
        ("x-service", "%CLUSTER_METADATA(istio:services)%"),
        ("x-name", "%UPSTREAM_HOST_NAME%"),
        ("x-remote", "%UPSTREAM_REMOTE_ADDRESS%"),
        ("x-number", "%UPSTREAM_CONNECTION_ID%"),
        ("x-block", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%"),
        ("x-host", "%REQUESTED_SERVER_NAME(SNI_FIRST)%"),
        ("x-received", "%BYTES_RECEIVED%"),
        ("x-tls", "%UPSTREAM_TLS_VERSION%"),
        ("x-id", "%STREAM_ID%"),
    ];
    let headers = format!("headers: {{request: {}, response: {}}}", set(&values), set(&values));
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let gone = gone.expect("a free port");
    let config = gateway()
        + &routes("app", &["*"], &[prefix("/gone", "gone", &headers), to("app", &headers)])
        + &service("app", "http", &[upstream.address()])
        + &service("gone", "http", &[gone]);
    let gateway = Setup::new(config, &[80]).start();
    let mut client = Raw::connect(gateway.address(80));
    client.send(
        "POST /?q=%41+b HTTP/1.1\r\nhost: a.test:80\r\nx-a: 1\r\nx-a: 2\r\ncontent-length: 3\r\n\r\nabc",
    );
    let answer = client.answer();
    let address = upstream.address().to_string();
    for (name, expected) in [
        ("x-first", "1"),
        ("x-decoded", "A+b"),
        ("x-format", "%|+00:00|text"),
        ("x-rule", "/apis/networking.istio.io/v1/namespaces/default/virtual-service/app"),
        ("x-service", r#"[{"host":"app.default.svc.cluster.local","name":"app","namespace":"default"}]"#),
        ("x-name", &address),
        ("x-remote", &address),
        ("x-block", "127.0.0.0/8"),
        ("x-host", "a.test:80"),
        ("x-received", "3"),
        ("x-tls", ""),
    ] {
        assert_eq!(shown(&answer, name), expected, "{name}");
    }
    assert!(shown(&answer, "x-time").parse::<u64>().is_ok_and(|seconds| seconds > 1_700_000_000));
    assert_ne!(shown(&answer, "x-number"), "0");
    // When the request goes out, nothing is known of who will get it.
    let request = &upstream.arrivals()[0].message;
    let sent = |name: &str| request.header(name).unwrap_or("absent").to_owned();
    assert_eq!([sent("x-name"), sent("x-remote"), sent("x-number")], ["[]", "[]", "[0]"]);
    assert_eq!(sent("x-id"), format!("[{}]", sent("x-request-id")));
    // An endpoint that nobody answers at has a name, and no connection.
    let failed = client.get("/gone", "a.test");
    assert_eq!((failed.status, shown(&failed, "x-name")), (503, &*gone.to_string()));
    assert_eq!((shown(&failed, "x-remote"), shown(&failed, "x-number")), ("", "0"));
}

#[test]
fn what_tls_with_the_upstream_settled() {
    let ca = Authority::new("upstreams");
    let upstream = tls_server(&ca.server(&["up.test"]), "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine");
    let headers = format!(
        "headers: {{response: {}}}",
        set(&[
            ("x-version", "%UPSTREAM_TLS_VERSION%"),
            ("x-name", "%UPSTREAM_SERVER_NAME%"),
            ("x-names", "%UPSTREAM_PEER_DNS_SAN%"),
            ("x-issuer", "%UPSTREAM_PEER_ISSUER%"),
            ("x-rule", "%METADATA(CLUSTER:istio:config)%"),
            ("x-alpn", "%METADATA(CLUSTER:istio:alpn_override)%"),
            ("x-own", "%DOWNSTREAM_LOCAL_SUBJECT%"),
        ])
    );
    let config = gateway()
        + &routes("app", &["*"], &[to("app", &headers)])
        + &service("app", "http", &[upstream])
        + "\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: app, namespace: default}\n\
           spec: {host: app, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, sni: up.test}}}\n";
    let gateway = Setup::new(config, &[80]).start();
    let answer = Raw::connect(gateway.address(80)).get("/", "a.test");
    assert_eq!(answer.status, 200);
    for (name, expected) in [
        ("x-version", "TLSv1.3"),
        ("x-name", "up.test"),
        ("x-names", "up.test"),
        ("x-issuer", "CN=upstreams"),
        ("x-rule", "/apis/networking.istio.io/v1/namespaces/default/destination-rule/app"),
        ("x-alpn", "false"),
        ("x-own", ""),
    ] {
        assert_eq!(shown(&answer, name), expected, "{name}");
    }
}
