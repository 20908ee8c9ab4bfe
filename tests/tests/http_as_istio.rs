//! What clients and upstreams of Istio's gateway are used to, beyond the recorded cases: CORS on every answer behind
//! a policy, the authority that header operations replace, offers to switch protocols, and heads without a host.

use portcullis_tests::frames;
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{gateway, prefix, routes, service, to};
use portcullis_tests::raw::{Answer, Raw};
use portcullis_tests::upstream::{Upstream, ok};

const POLICY: &str = "corsPolicy: {allowOrigins: [{exact: 'https://a.test'}], exposeHeaders: [x-a]}";

fn start(upstream: &Upstream, rules: &[String]) -> Gateway {
    let services = service("app", "http", &[upstream.address()]) + &service("empty", "http", &[]);
    Setup::new(gateway() + &routes("app", &["a.test"], rules) + &services, &[80]).start()
}

fn send(gateway: &Gateway, head: &str) -> Answer {
    let mut client = Raw::connect(gateway.address(80));
    client.send(format!("{head}\r\n\r\n"));
    client.answer()
}

/// A page may read why its request failed, whoever answered it.
#[test]
fn own_answers_carry_cors_headers_behind_the_policy_only() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let redirect = format!("{{match: [{{uri: {{prefix: /moved}}}}], redirect: {{uri: /x}}, {POLICY}}}");
    let fault = format!("{POLICY}\nfault: {{abort: {{httpStatus: 503, percentage: {{value: 100}}}}}}")
        .replace('\n', ", ");
    let rules = [
        prefix("/fine", "app", POLICY),
        prefix("/empty", "empty", POLICY),
        prefix("/unknown", "nowhere", POLICY),
        prefix("/fault", "app", &fault),
        redirect,
    ];
    let gateway = start(&upstream, &rules);
    for (path, status, marked) in [
        ("/fine", 200, true),
        ("/empty", 503, true),
        ("/unknown", 503, true),
        ("/fault", 503, false),
        ("/moved", 301, false),
    ] {
        let answer =
            send(&gateway, &format!("GET {path} HTTP/1.1\r\nhost: a.test\r\norigin: https://a.test"));
        assert_eq!(answer.status, status, "{path}");
        let origin = answer.header("access-control-allow-origin");
        assert_eq!(origin, marked.then_some("https://a.test"), "{path}");
    }
    // A redirect has no policy that could answer a preflight.
    let head = "OPTIONS /moved HTTP/1.1\r\nhost: a.test\r\norigin: https://a.test\r\n\
                access-control-request-method: GET";
    assert_eq!(send(&gateway, head).status, 301);
    // Two origins are none that a policy names.
    let head = "GET /fine HTTP/1.1\r\nhost: a.test\r\norigin: https://a.test\r\norigin: https://b.test";
    assert_eq!(send(&gateway, head).header("access-control-allow-origin"), None);
}

/// What one of several destinations says of its Host is not told.
#[test]
fn a_replaced_host_is_told_to_the_upstream() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let rules = [
        prefix("/header", "app", "headers: {request: {set: {Host: new.test}}}"),
        prefix(
            "/rewrite",
            "app",
            "rewrite: {authority: new.test}, headers: {request: {set: {Host: b.test}}}",
        ),
        "{match: [{uri: {prefix: /among}}], route: [{destination: {host: app}, weight: 100, headers: {request: {set: \
         {Host: new.test}}}}, {destination: {host: nowhere}, weight: 0}]}"
            .to_owned(),
    ];
    let gateway = start(&upstream, &rules);
    for path in ["/header", "/rewrite", "/among"] {
        assert_eq!(Raw::connect(gateway.address(80)).get(path, "a.test").status, 200);
    }
    for arrival in upstream.await_arrivals(3) {
        let told = ["host", "x-envoy-original-host"].map(|name| arrival.message.header(name));
        let original = (arrival.message.target() != "/among").then_some("a.test");
        assert_eq!(told, [Some("new.test"), original], "{}", arrival.message.target());
    }
}

#[test]
fn what_cannot_be_served_in_clear() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = start(&upstream, &[prefix("/", "app", "")]);
    for (head, status, body) in [
        ("GET / HTTP/1.0", 426, "Upgrade Required"),
        ("GET / HTTP/1.0\r\nhost: a.test\r\nconnection: keep-alive", 426, "Upgrade Required"),
        ("GET / HTTP/1.1", 400, ""),
        ("GET https://a.test/ HTTP/1.1\r\nhost: a.test", 403, "Forbidden"),
        ("CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443", 404, ""),
        ("CONNECT /x HTTP/1.1\r\nhost: a.test", 400, "Bad Request"),
    ] {
        let answer = send(&gateway, head);
        assert_eq!((answer.status, &*answer.text()), (status, body), "{head:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{head:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

/// An answer of the gateway's own: its destination's operations apply, see the status before it becomes gRPC, and say
/// nothing of content that is not there.
#[test]
fn operations_on_own_answers() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let rule = "{fault: {abort: {httpStatus: 503, percentage: {value: 100}}}, headers: {response: {set: {x-status: \
                '%RESP(:status)%', content-type: a/b}}}, route: [{destination: {host: app}, weight: 1, headers: {response: \
                {set: {x-of: destination}}}}, {destination: {host: empty}, weight: 0}]}";
    let moved = "{match: [{uri: {prefix: /moved}}], redirect: {uri: /x}, headers: {response: {set: {content-type: a/b}}}}";
    let tea = "{match: [{uri: {prefix: /tea}}], directResponse: {status: 418, body: {string: tea}}, headers: {response: \
               {remove: [content-type]}}}";
    let gateway = start(&upstream, &[moved, tea, rule].map(str::to_owned));
    let shown = |head: &str| {
        let answer = send(&gateway, head);
        let names = ["x-status", "x-of", "content-type", "grpc-status"];
        (answer.status, names.map(|name| answer.header(name).unwrap_or("").to_owned()))
    };
    let grpc = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc\r\ncontent-length: 0";
    for (head, status, expected) in [
        (grpc, 200, ["503", "destination", "application/grpc", "14"]),
        ("GET / HTTP/1.1\r\nhost: a.test", 503, ["503", "destination", "a/b", ""]),
        ("GET /moved HTTP/1.1\r\nhost: a.test", 301, ["", "", "", ""]),
        ("GET /tea HTTP/1.1\r\nhost: a.test", 418, ["", "", "text/plain", ""]),
    ] {
        assert_eq!(shown(head), (status, expected.map(str::to_owned)), "{head}");
    }
}

/// A preflight of a stranger, with IGNORE: what others might do is told, and not that it may.
#[test]
fn a_strangers_preflight_is_answered_without_an_origin() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let policy = "corsPolicy: {allowOrigins: [{exact: 'https://a.test'}], allowMethods: [GET], allowHeaders: [x-a], \
                  exposeHeaders: [x-e], maxAge: 10s, allowCredentials: true, unmatchedPreflights: IGNORE}";
    let gateway = start(&upstream, &[prefix("/", "app", policy)]);
    for (origin, told) in [("https://a.test", true), ("https://b.test", false)] {
        let head = format!(
            "OPTIONS / HTTP/1.1\r\nhost: a.test\r\norigin: {origin}\r\naccess-control-request-method: GET"
        );
        let answer = send(&gateway, &head);
        assert_eq!(answer.status, 200);
        let has = |name: &str| answer.header(&format!("access-control-{name}"));
        assert_eq!(
            ["allow-methods", "allow-headers", "max-age"].map(has),
            [Some("GET"), Some("x-a"), Some("10")]
        );
        assert_eq!(
            [has("allow-origin").is_some(), has("expose-headers").is_some()],
            [told, told],
            "{origin}"
        );
    }
    assert_eq!(upstream.connections(), 0);
}

/// No route takes a tunnel, whatever it matches on.
#[test]
fn a_tunnel_over_http2_has_no_route() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let to_connect = "{match: [{method: {exact: CONNECT}}], route: [{destination: {host: app}}]}".to_owned();
    let gateway = start(&upstream, &[to_connect, prefix("/", "app", "")]);
    let mut client = Raw::http2(gateway.address(80));
    client.send(frames::headers(
        1,
        frames::END_STREAM,
        &[(":method", "CONNECT"), (":authority", "a.test:443")],
    ));
    let answer = client.frame_that(|frame| frame.stream == 1).expect("an answer");
    assert_eq!((answer.kind, answer.status()), (frames::kind::HEADERS, Some(404)));
    assert_eq!(upstream.connections(), 0);
}

/// A request that waits in a delay is read meanwhile: the connection is free behind the answer.
#[test]
fn a_delayed_request_is_read_while_it_waits() {
    let upstream = Upstream::serve(|request| ok(&request.body.len().to_string()));
    let fault =
        |abort: &str| format!("fault: {{delay: {{fixedDelay: 0.3s, percentage: {{value: 100}}}}{abort}}}");
    let aborted = fault(", abort: {httpStatus: 418, percentage: {value: 100}}");
    let rules = [prefix("/aborted", "app", &aborted), prefix("/delayed", "app", &fault(""))];
    let gateway = start(&upstream, &rules);
    let mut client = Raw::connect(gateway.address(80));
    let body = "b".repeat(300_000);
    for (path, status, text) in [
        ("/aborted", 418, "fault filter abort"),
        ("/delayed", 200, "300000"),
        ("/aborted", 418, "fault filter abort"),
    ] {
        client.send(format!("POST {path} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 300000\r\n\r\n{body}"));
        let answer = client.answer();
        assert_eq!(
            (answer.status, &*answer.text(), answer.header("connection")),
            (status, text, None),
            "{path}"
        );
    }
}

/// An offer of HTTP/2 in clear is passed over; one of WebSocket reaches the upstream in the client's words.
#[test]
fn offers_to_switch_protocols() {
    let upstream = Upstream::serve(|request| match request.header("upgrade") {
        Some(_) => {
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n".into()
        }
        None => ok("fine"),
    });
    let gateway = start(&upstream, &[prefix("/", "app", "")]);
    let offer = "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
                 http2-settings: AAMAAABk";
    assert_eq!(send(&gateway, offer).status, 200);
    let offer = "GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: keep-alive, upgrade\r\nupgrade: WebSocket";
    let answer = send(&gateway, offer);
    assert_eq!((answer.status, answer.header("upgrade")), (101, Some("websocket")));
    let arrivals = upstream.await_arrivals(2);
    let told = arrivals
        .iter()
        .map(|arrival| ["connection", "upgrade", "http2-settings"].map(|name| arrival.message.header(name)));
    let websocket = [Some("keep-alive, upgrade"), Some("WebSocket"), None];
    assert_eq!(told.collect::<Vec<_>>(), [[None, None, None], websocket]);
}

#[test]
fn operators_of_header_values() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let set = "set: {x-path: '%PATH(NQ)%', x-query: '%QUERY_PARAMS%', x-a: '%QUERY_PARAM(a)%', x-code: \
               '%RESPONSE_CODE%', x-status: '%RESP(:STATUS)%', x-flags: '%RESPONSE_FLAGS_LONG%', x-try: \
               '%UPSTREAM_REQUEST_ATTEMPT_COUNT%', x-cluster: '%UPSTREAM_CLUSTER_RAW%'}";
    let headers = format!("headers: {{response: {{{set}}}}}");
    let direct =
        format!("{{match: [{{uri: {{prefix: /own}}}}], directResponse: {{status: 200}}, {headers}}}");
    let gateway = start(&upstream, &[direct, prefix("/", "app", &headers)]);
    let names = ["x-path", "x-query", "x-a", "x-code", "x-status", "x-flags", "x-try", "x-cluster"];
    let answer = Raw::connect(gateway.address(80)).get("/b?a=1&c=2", "a.test");
    let cluster = "outbound|80||app.default.svc.cluster.local";
    assert_eq!(
        names.map(|name| answer.header(name).unwrap_or("")),
        ["/b", "a=1&c=2", "1", "200", "200", "-", "1", cluster]
    );
    let answer = Raw::connect(gateway.address(80)).get("/own", "a.test");
    assert_eq!(
        names.map(|name| answer.header(name).unwrap_or("")),
        ["/own", "", "", "0", "200", "-", "0", ""]
    );
}

/// What this gateway does not have is nothing, and the text around it stays.
#[test]
fn operators_without_a_value() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let set = "set: {x-none: 'a%DYNAMIC_METADATA(a:b)%%TRACE_ID%b', x-gone: '%CUSTOM_FLAGS%', x-env: '%ENVIRONMENT(HOME)%', \
               x-grpc: '%GRPC_STATUS%', x-protocol: '%UPSTREAM_PROTOCOL%', x-query: '%QUERY_PARAMS(ORIG)%'}";
    let headers = format!("headers: {{response: {{{set}}}}}");
    let direct =
        format!("{{match: [{{uri: {{prefix: /own}}}}], directResponse: {{status: 200}}, {headers}}}");
    let gateway = start(&upstream, &[direct, prefix("/", "app", &headers)]);
    let names = ["x-none", "x-gone", "x-env", "x-grpc", "x-protocol", "x-query"];
    let told = |head: &str| {
        let answer = send(&gateway, head);
        names.map(|name| answer.header(name).map(str::to_owned)).map(Option::unwrap_or_default)
    };
    let own = told("GET /own?a=1 HTTP/1.1\r\nhost: a.test");
    assert_eq!(own, ["ab", "", "-", "", "", "a=1"]);
    let call = told("GET /b HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc");
    // The upstream's answer has no status of gRPC: its 200 is one that nobody knows.
    assert_eq!(call, ["ab", "", "-", "Unknown", "HTTP/1.1", ""]);
}

/// Its settings are no HTTP/1, and nothing else follows them.
#[test]
fn an_upstream_that_speaks_http2_alone_breaks_the_protocol() {
    let upstream = Upstream::serve(|_| *b"\0\0\0\x04\0\0\0\0\0");
    let gateway = start(&upstream, &[prefix("/", "app", "")]);
    let answer = send(&gateway, "GET / HTTP/1.1\r\nhost: a.test");
    let body = "upstream connect error or disconnect/reset before headers. reset reason: protocol error";
    assert_eq!((answer.status, &*answer.text()), (502, body));
}

/// `:scheme` decides what matches on it and nothing else: a client in clear stays one.
#[test]
fn a_client_may_say_another_scheme() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let rules = [
        "{match: [{scheme: {exact: https}}], directResponse: {status: 205}}".to_owned(),
        prefix("/", "app", ""),
    ];
    let gateway = start(&upstream, &rules);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(gateway.address(80)).await.expect("connects");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("speaks HTTP/2");
        tokio::spawn(connection);
        let mut statuses = Vec::new();
        for scheme in ["https", "http"] {
            let request = http::Request::get(format!("{scheme}://a.test/")).body(()).expect("a request");
            send = send.ready().await.expect("takes a stream");
            let (response, _) = send.send_request(request, true).expect("is sent");
            statuses.push(response.await.expect("is answered").status().as_u16());
        }
        statuses
    };
    let statuses = runtime.block_on(async { tokio::time::timeout(LIMIT, exchange).await });
    assert_eq!(statuses.expect("in time"), [205, 200]);
    let told = upstream.await_arrivals(1);
    assert_eq!(told[0].message.header("x-forwarded-proto"), Some("http"));
}

/// An upgrade is HTTP/1.1's, whatever the service is declared as.
#[test]
fn a_websocket_to_an_http2_service_goes_over_http1() {
    let upstream = Upstream::script(|mut conn| {
        if conn.request().is_some_and(|request| request.header("upgrade") == Some("websocket")) {
            conn.raw.send(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhello",
            );
        }
    });
    let objects = gateway()
        + &routes("app", &["*"], &[to("app", "")])
        + &service("app", "http2", &[upstream.address()]);
    let gateway = Setup::new(objects, &[80]).start();
    let mut client = Raw::connect(gateway.address(80));
    client.send(
        "GET /chat HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = client.head().unwrap_or_default();
    assert_eq!(head.line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(client.exactly(5), b"hello");
}
