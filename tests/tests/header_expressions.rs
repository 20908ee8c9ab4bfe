//! Expressions in header values, beside what Istio's gateway made of them.

use std::process::Command;
use std::time::Duration;

use portcullis_tests::frames::{END_STREAM, get, headers};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{gateway, prefix, routes, service, to};
use portcullis_tests::objects;
use portcullis_tests::pki::Authority;
use portcullis_tests::process::run;
use portcullis_tests::raw::{Message, Raw};
use portcullis_tests::upstream::{Upstream, ok};

/// `set` operations, one for each expression.
fn set(expressions: &[(&str, &str)]) -> String {
    let one = |(name, expression): &(&str, &str)| format!("{name}: \"[%CEL({expression})%]\"");
    format!("{{set: {{{}}}}}", expressions.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn both(expressions: &[(&str, &str)]) -> String {
    format!("headers: {{request: {0}, response: {0}}}", set(expressions))
}

fn shown(message: &Message, name: &str) -> String {
    message.header(name).unwrap_or("absent").trim_start_matches('[').trim_end_matches(']').to_owned()
}

fn start(upstream: &Upstream, rules: &[String]) -> Gateway {
    let config = gateway()
        + &routes("app", &["*"], rules)
        + &service("app", "http", &[upstream.address()])
        + &service("empty", "http", &[]);
    Setup::new(config, &[80]).start()
}

/// Name, expression, the value in the request that goes upstream, and in its response.
const OF_A_REQUEST: [(&str, &str, &str, &str); 38] = [
    ("x-path", "request.path", "/p?b=1&c=%41", "/p?b=1&c=%41"),
    ("x-url", "request.url_path", "/p", "/p"),
    ("x-host", "request.host", "a.test", "a.test"),
    ("x-scheme", "request.scheme", "http", "http"),
    ("x-method", "request.method", "POST", "POST"),
    ("x-query", "request.query", "b=1&c=%41", "b=1&c=%41"),
    ("x-protocol", "request.protocol", "HTTP/1.1", "HTTP/1.1"),
    ("x-size", "request.size", "3", "3"),
    ("x-agent", "request.useragent", "agent/1", "agent/1"),
    ("x-referer", "request.referer", "", ""),
    ("x-is-referer", "has(request.referer)", "false", "false"),
    ("x-header", "request.headers['X-Two']", "one,two", "one,two"),
    ("x-pseudo", "request.headers[':authority']", "a.test", "a.test"),
    ("x-nope", "request.headers['x-nope']", "", ""),
    ("x-in", "'x-two' in request.headers", "true", "true"),
    ("x-map", "request.headers", "CelMap value", "CelMap value"),
    ("x-list", "[1, 2]", "CelList value", "CelList value"),
    ("x-duration", "request.duration", "", ""),
    ("x-code", "response.code", "", "200"),
    ("x-choice", "response.code == 200 ? 'fine' : 'no'", "", "fine"),
    ("x-details", "response.code_details", "", "via_upstream"),
    ("x-flags", "response.flags", "0", "0"),
    ("x-grpc", "response.grpc_status", "", "2"),
    ("x-answered", "response.headers['x-up']", "", "yes"),
    ("x-mtls", "connection.mtls", "false", "false"),
    ("x-sni", "connection.requested_server_name == ''", "true", "true"),
    ("x-version", "connection.tls_version", "", ""),
    ("x-tries", "upstream.request_attempt_count", "1", "1"),
    (
        "x-cluster",
        "xds.cluster_name",
        "outbound|80||app.default.svc.cluster.local",
        "outbound|80||app.default.svc.cluster.local",
    ),
    ("x-vhost", "xds.virtual_host_name", "*:80", "*:80"),
    ("x-direction", "xds.listener_direction", "2", "2"),
    (
        "x-rule",
        "xds.route_metadata.filter_metadata.istio.config",
        "/apis/networking.istio.io/v1/namespaces/default/virtual-service/app",
        "/apis/networking.istio.io/v1/namespaces/default/virtual-service/app",
    ),
    ("x-service", "xds.cluster_metadata.filter_metadata['istio'].services[0].name", "app", "app"),
    ("x-sum", "source.port > 0 && destination.port != 0", "true", "true"),
    ("x-calls", "size(request.url_path) + int(response.headers['x-number'])", "", "14"),
    ("x-percent", "'50%'", "50%", "50%"),
    ("x-double", "1.0 / 3.0", "0.333333", "0.333333"),
    ("x-null", "null", "NULL", "NULL"),
];

#[test]
fn what_is_known_of_a_request() {
    let upstream = Upstream::serve(|_| {
        b"HTTP/1.1 200 OK\r\nx-up: yes\r\nx-number: 12\r\ncontent-length: 4\r\n\r\nfine".to_vec()
    });
    let mut expressions = OF_A_REQUEST.map(|(name, expression, ..)| (name, expression)).to_vec();
    let address = upstream.address().to_string();
    expressions.extend([
        ("x-to", "upstream.address"),
        ("x-waited", "upstream.cx_pool_ready_duration >= duration('0')"),
        ("x-time", "request.time > timestamp('2024-01-01T00:00:00Z')"),
        ("x-noted", "xds.upstream_host_metadata"),
    ]);
    let gateway = start(&upstream, &[to("app", &both(&expressions))]);
    let mut client = Raw::connect(gateway.address(80));
    client.send(
        "POST /p?b=1&c=%41 HTTP/1.1\r\nhost: a.test\r\nuser-agent: agent/1\r\nx-two: one\r\nx-two: two\r\n\
         content-length: 3\r\n\r\nabc",
    );
    let answer = client.answer().message;
    let request = &upstream.arrivals()[0].message;
    for (name, expression, sent, answered) in OF_A_REQUEST {
        assert_eq!(shown(request, name), sent, "{expression}, in the request");
        assert_eq!(shown(&answer, name), answered, "{expression}, in the response");
    }
    assert_eq!([shown(request, "x-to"), shown(&answer, "x-to")], [String::new(), address]);
    assert_eq!([shown(request, "x-waited"), shown(&answer, "x-waited")], ["", "true"]);
    assert_eq!([shown(request, "x-time"), shown(&answer, "x-time")], ["true", "true"]);
    let noted = "filter_metadata { key: \"istio\" value { fields { key: \"workload\" value { string_value: ";
    assert!(shown(&answer, "x-noted").starts_with(noted), "{}", shown(&answer, "x-noted"));
}

#[test]
fn answers_of_the_gateways_own() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let expressions = [
        ("x-code", "response.code"),
        ("x-status", "response.headers[':status']"),
        ("x-details", "response.code_details"),
        ("x-flags", "response.flags"),
        ("x-path", "request.path"),
        ("x-cluster", "xds.cluster_name"),
        ("x-type", "response.headers['content-type']"),
        ("x-total", "response.total_size"),
    ];
    let direct = "directResponse: {status: 201, body: {string: hello}}";
    let rules = [
        format!("{{match: [{{uri: {{prefix: /direct}}}}], {direct}, {}}}", both(&expressions)),
        prefix("/empty", "empty", &both(&expressions)),
    ];
    let gateway = start(&upstream, &rules);
    let mut client = Raw::connect(gateway.address(80));
    let answer = client.get("/direct", "a.test").message;
    let names = expressions.map(|(name, _)| name);
    // No more than its status and where it is has been made of it by then.
    let total = ":status201locationhttp://a.test/direct".len().to_string();
    assert_eq!(
        names.map(|name| shown(&answer, name)),
        ["", "201", "direct_response", "0", "/direct", "", "", &total]
    );
    let answer = client.get("/empty", "a.test").message;
    let cluster = "outbound|80||empty.default.svc.cluster.local";
    // Envoy's second flag: no healthy upstream.
    assert_eq!(
        names.map(|name| shown(&answer, name)),
        ["", "503", "no_healthy_upstream", "2", "/empty", cluster, "", "10"]
    );
}

/// A length cuts a value, an empty value sets no header, and what is no expression leaves its header alone.
#[test]
fn around_an_expression() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let values = "headers: {request: {set: {x-cut: '%CEL(request.path):3%', x-typed: '%TYPED_CEL(1 + 1)%', \
                   x-none: '%CEL(request.headers.nope)%', x-kept: '%CEL(request.)%', \
                   x-mixed: '%CEL(request.method)% on %REQ(x-kept)%'}}}";
    let gateway = start(&upstream, &[to("app", values)]);
    let mut client = Raw::http2(gateway.address(80));
    let mut fields = get("/path").to_vec();
    fields.push(("x-kept", "mine"));
    client.send(headers(1, END_STREAM, &fields));
    let request = &upstream.await_arrivals(1)[0].message;
    for (name, expected) in [
        ("x-cut", Some("/pa")),
        ("x-typed", Some("2")),
        ("x-none", None),
        ("x-kept", Some("mine")),
        ("x-mixed", Some("GET on mine")),
    ] {
        assert_eq!(request.header(name), expected, "{name}");
    }
}

#[test]
fn what_tls_with_the_client_settled() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let expressions = [
        ("x-mtls", "connection.mtls"),
        ("x-version", "connection.tls_version"),
        ("x-sni", "connection.requested_server_name"),
        ("x-own", "connection.dns_san_local_certificate"),
        ("x-peer", "connection.subject_peer_certificate"),
        ("x-names", "connection.dns_san_peer_certificate"),
        ("x-digest", "size(connection.sha256_peer_certificate_digest)"),
        ("x-protocol", "request.protocol"),
        ("x-scheme", "request.scheme"),
    ];
    let server = objects::server(443, "HTTPS", &["*"], "{mode: OPTIONAL_MUTUAL, credentialName: a}");
    let config = objects::gateway("gw", &[server])
        + &routes("app", &["*"], &[to("app", &both(&expressions))])
        + &service("app", "http", &[upstream.address()]);
    let secret = servers.server(&["a.test"]).mutual_secret("istio-system", "a", &clients);
    let gateway = Setup::new(config, &[443]).file("secret.yaml", &secret).start();
    let folder = tempfile::tempdir().unwrap();
    clients.client("ann", &["ann.test", "other.test"]).write(folder.path(), "ann").unwrap();
    let ask = |more: &[&str]| {
        let mut command = Command::new("curl");
        let address = format!("a.test:443:127.0.0.1:{}", gateway.port(443));
        command.args([
            "--silent",
            "--show-error",
            "--insecure",
            "--max-time",
            "20",
            "--connect-to",
            &address,
        ]);
        let finished = run(command.args(more).arg("https://a.test/"), Duration::from_secs(30)).unwrap();
        assert_eq!(finished.stdout, "fine", "{finished:?}");
        let request = upstream.arrivals().pop().unwrap().message;
        expressions.map(|(name, _)| shown(&request, name))
    };
    let path = |name: &str| folder.path().join(name).display().to_string();
    assert_eq!(
        ask(&["--http2", "--cert", &path("ann.crt"), "--key", &path("ann.key")]),
        ["true", "TLSv1.3", "a.test", "a.test", "CN=ann", "ann.test", "64", "HTTP/2", "https"]
    );
    assert_eq!(
        ask(&["--http1.1", "--tls-max", "1.2"]),
        ["false", "TLSv1.2", "a.test", "a.test", "", "", "", "HTTP/1.1", "https"]
    );
}
