//! Values that header operations put together from what is known of a request, its route and both connections.

use std::net::SocketAddr;

use portcullis_tests::frames::{END_STREAM, get, headers};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{gateway, prefix, routes, service, to};
use portcullis_tests::pki::Authority;
use portcullis_tests::raw::{Answer, Message, Raw};
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

/// Bytes of header lines, with so many beside each name and value.
fn lines(headers: &[(String, String)], beside: usize) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len() + beside).sum()
}

fn measuring(upstream: SocketAddr, values: &[(&str, &str)]) -> Gateway {
    let headers = format!("headers: {{request: {}, response: {}}}", set(values), set(values));
    let config =
        gateway() + &routes("app", &["*"], &[to("app", &headers)]) + &service("app", "http", &[upstream]);
    Setup::new(config, &[80]).start()
}

#[test]
fn what_messages_take_on_the_wire() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = measuring(
        upstream.address(),
        &[
            ("x-dh", "%DOWNSTREAM_HEADER_BYTES_RECEIVED%"),
            ("x-dd", "%DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED%"),
            ("x-dw", "%DOWNSTREAM_WIRE_BYTES_RECEIVED%"),
            ("x-us", "%UPSTREAM_HEADER_BYTES_SENT%"),
            ("x-uw", "%UPSTREAM_WIRE_BYTES_SENT%"),
            ("x-ur", "%UPSTREAM_HEADER_BYTES_RECEIVED%"),
            ("x-ua", "%UPSTREAM_WIRE_BYTES_RECEIVED%"),
            ("x-rs", "%RESPONSE_HEADERS_BYTES%"),
        ],
    );
    let mut client = Raw::connect(gateway.address(80));
    for path in ["/", "/again"] {
        let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\nX-A:  1 \r\ncontent-length: 3\r\n\r\nabc");
        client.send(&request);
        let answer = client.answer();
        let sent = &upstream.arrivals().pop().expect("a request").message;
        // Colon and line end beside name and value.
        let fields = "hosta".len() + "x-a1".len() + "content-length3".len() + 9;
        let written = lines(&sent.headers, 4);
        let numbers = |message: &Message, names: &[&str]| -> Vec<usize> {
            let number = |name: &&str| message.header(name)?.trim_matches(['[', ']']).parse().ok();
            names.iter().map(|name| number(name).expect(name)).collect()
        };
        let received = ["x-dh", "x-dd", "x-dw"];
        assert_eq!(numbers(sent, &received), [fields, fields, request.len()], "{path}");
        assert_eq!(numbers(&answer.message, &received), [fields, fields, request.len()], "{path}");
        // Nothing has gone to an upstream yet when its header is written.
        assert_eq!(numbers(sent, &["x-us", "x-uw", "x-ur", "x-ua", "x-rs"]), [0; 5], "{path}");
        let line = format!("POST {path} HTTP/1.1\r\n\r\nabc").len();
        assert_eq!(numbers(&answer.message, &["x-us", "x-uw"]), [written, written + line], "{path}");
        let answered = numbers(&answer.message, &["x-ur", "x-ua"]);
        assert_eq!(answered, ["content-length4".len() + 3, ok("fine").len()], "{path}");
        let status = ":status200".len() + "content-length4".len() + "x-envoy-upstream-service-time".len();
        assert!(numbers(&answer.message, &["x-rs"])[0] > status, "{path}");
    }
    // In HTTP/2 a header stands in a frame, whose head counts.
    let mut client = Raw::http2(gateway.address(80));
    let frame = headers(1, END_STREAM, &get("/two"));
    client.send(&frame);
    let arrivals = upstream.await_arrivals(3);
    let sent = &arrivals[2].message;
    let plain: usize = get("/two").iter().map(|(name, value)| name.len() + value.len()).sum();
    let told = ["x-dh", "x-dd", "x-dw"].map(|name| sent.header(name).unwrap_or("absent").to_owned());
    assert_eq!(told, [frame.len(), plain, frame.len()].map(|bytes| format!("[{bytes}]")));
}

#[test]
fn when_the_parts_of_a_request_happened() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = measuring(
        upstream.address(),
        &[
            ("x-connected", "%COMMON_DURATION(US_CX_BEG:US_CX_END:ns)%"),
            ("x-sent", "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%"),
            ("x-answered", "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%"),
            ("x-backwards", "%COMMON_DURATION(US_RX_BEG:DS_RX_BEG)%"),
            ("x-received", "%COMMON_DURATION(DS_RX_BEG:DS_RX_END)%"),
            ("x-waited", "%UPSTREAM_CONNECTION_POOL_READY_DURATION%"),
            ("x-routed", "%ROUTE_RESOLUTION_TIME_US%"),
            ("x-count", "%ROUTE_RESOLUTION_COUNT%"),
            ("x-never", "%ROUNDTRIP_DURATION%%RESPONSE_TX_DURATION%%COMMON_DURATION(mine:DS_TX_END)%"),
        ],
    );
    let mut client = Raw::connect(gateway.address(80));
    let first = client.get("/", "a.test");
    let again = client.get("/", "a.test");
    let is_number = |answer: &Answer, name: &str| shown(answer, name).parse::<u64>().is_ok();
    for name in ["x-connected", "x-sent", "x-answered", "x-received", "x-waited", "x-routed"] {
        assert!(is_number(&first, name), "{name}: {}", shown(&first, name));
        // The second request comes upon a connection that was not opened for it.
        assert_eq!(is_number(&again, name), name != "x-connected", "{name}: {}", shown(&again, name));
    }
    assert_eq!(
        [shown(&first, "x-count"), shown(&first, "x-backwards"), shown(&first, "x-never")],
        ["1", "", ""]
    );
    let request = &upstream.arrivals()[0].message;
    for (name, expected) in [("x-received", "[0]"), ("x-sent", "[]"), ("x-waited", "[]"), ("x-count", "[1]")]
    {
        assert_eq!(request.header(name), Some(expected), "{name}");
    }
}
