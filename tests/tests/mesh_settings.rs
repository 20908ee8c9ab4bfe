//! Settings of the mesh that clients and upstreams can see: headers the gateway adds (`proxyHeaders`), and bounds on
//! clients (`connectionSettings`).

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{gateway, routes, service, site, to};
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};

fn mesh(config: &str) -> String {
    format!(
        "
---
kind: MeshConfig
metadata: {{name: mesh, namespace: istio-system}}
defaultConfig: {{{config}}}"
    )
}

fn start(upstream: &Upstream, route: &str, config: &str) -> Gateway {
    Setup::new(site(upstream.address(), route) + &mesh(config), &[80]).start()
}

#[test]
fn headers_are_added_as_the_mesh_says() {
    let upstream = Upstream::serve(|_| "HTTP/1.1 200 OK\r\nserver: mine\r\ncontent-length: 4\r\n\r\nfine");
    let rewritten = "rewrite: {uri: /b, authority: b.test}, timeout: 10s";
    let off = "proxyHeaders: {requestId: {disabled: true}, attemptCount: {disabled: true}, \
               envoyDebugHeaders: {disabled: true}, server: {disabled: true}, \
               xForwardedHost: {enabled: true}, xForwardedPort: {enabled: true}}";
    let get = "GET /a HTTP/1.1\r\nhost: a.test\r\nx-request-id: mine\r\nx-forwarded-host: z.test\r\n\r\n";
    let gateway = start(&upstream, rewritten, off);
    let mut client = Raw::connect(gateway.address(80));
    client.send(get);
    let answer = client.answer();
    assert_eq!(answer.header("server"), Some("mine"));
    assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
    let seen = upstream.await_arrivals(1).remove(0).message;
    let port = gateway.port(80).to_string();
    for (name, expected) in [
        ("x-request-id", Some("mine")),
        ("x-envoy-attempt-count", None),
        ("x-envoy-expected-rq-timeout-ms", None),
        ("x-envoy-original-path", None),
        ("x-envoy-original-host", None),
        ("x-envoy-external-address", Some("127.0.0.1")),
        ("x-forwarded-host", Some("z.test,a.test")),
        ("x-forwarded-port", Some(port.as_str())),
        ("host", Some("b.test")),
    ] {
        assert_eq!(seen.header(name), expected, "{name}");
    }
    assert_eq!(gateway.log_of("/a")["request_id"], "mine");

    let gateway = start(&upstream, rewritten, "proxyHeaders: {server: {value: edge}}");
    let mut client = Raw::connect(gateway.address(80));
    client.send(get);
    let answer = client.answer();
    assert_eq!(answer.header("server"), Some("edge"));
    assert!(answer.header("x-envoy-upstream-service-time").is_some());
    let seen = upstream.await_arrivals(2).remove(1).message;
    assert_eq!(seen.header("x-envoy-attempt-count"), Some("1"));
    assert_eq!(seen.header("x-envoy-expected-rq-timeout-ms"), Some("10000"));
    assert_eq!(seen.header("x-forwarded-host"), Some("z.test"));
    assert_ne!(seen.header("x-request-id"), Some("mine"));
    // What the gateway answers by itself goes by the same name.
    assert_eq!(Raw::connect(gateway.address(80)).get("/%00", "a.test").header("server"), Some("edge"));
}

/// As seen of Istio's gateway: the first spelling of a name is the one for all its fields, also for one that the gateway
/// sets in place of the peer's; what only the gateway says stays in lower case.
#[test]
fn header_names_go_on_as_they_were_written() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
        while !seen.ends_with(b"0\r\n\r\n") {
            let length = stream.read(&mut piece).unwrap();
            assert!(length > 0, "ends with a chunk of nothing");
            seen.extend_from_slice(&piece[..length]);
        }
        let fields = "X-Up-Case: yes\r\nServer: mine\r\nConnection: Keep-Alive\r\nContent-LENGTH: 4";
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nfine").as_bytes()).unwrap();
        String::from_utf8(seen).unwrap()
    });
    let config = mesh("proxyHeaders: {preserveHttp1HeaderCase: true}");
    let gateway = Setup::new(site(address, "timeout: 10s") + &config, &[80]).start();
    let mut client = Raw::connect(gateway.address(80));
    client.send(
        "POST /a HTTP/1.1\r\nHOST: a.test\r\nX-AbC: One\r\nx-abc: two\r\nX-Request-ID: me\r\nplain: p\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    let answer = String::from_utf8(client.rest()).unwrap();
    let seen = upstream.join().unwrap();
    for (text, lines) in [
        (
            &answer,
            ["X-Up-Case: yes", "Server: istio-envoy", "Content-LENGTH: 4", "Connection: close"].as_slice(),
        ),
        (&seen, &["HOST: a.test", "X-AbC: One", "X-AbC: two", "plain: p", "Transfer-Encoding: chunked"]),
    ] {
        for line in lines {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}: {text}");
        }
    }
    assert!(answer.contains("\r\nx-envoy-upstream-service-time: "), "{answer}");
    assert!(seen.contains("\r\nX-Request-ID: ") && seen.contains("\r\nx-forwarded-for: "), "{seen}");
}

#[test]
fn the_edge_profile_is_strict_about_names_and_slashes() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = start(&upstream, "", "connectionSettings: {profile: EDGE}");
    let mut client = Raw::connect(gateway.address(80));
    assert_eq!(client.get("/a//b", "a.test").status, 200);
    assert_eq!(upstream.targets(), ["/a/b"]);
    let answer = client.get("/a%2F..%5Cb?q=%2F", "a.test");
    assert_eq!((answer.status, answer.header("location")), (307, Some("/b?q=%2F")));
    client.send("GET /c HTTP/1.1\r\nhost: a.test\r\nx_a: 1\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    let line = gateway.log_of("/c");
    assert_eq!(line["response_code_details"], "http1.unexpected_underscore");
    assert_eq!(line["response_flags"], "DPE");
}

#[test]
fn single_settings_of_names_and_slashes() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = start(
        &upstream,
        "",
        "connectionSettings: {httpHeadersWithUnderscoresAction: HEADERS_WITH_UNDERSCORES_DROP_HEADER, \
         httpPathWithEscapedSlashesAction: UNESCAPE_AND_FORWARD}",
    );
    let mut client = Raw::connect(gateway.address(80));
    client.send("GET /a%2fb//c HTTP/1.1\r\nhost: a.test\r\nx_a: 1\r\nx-a: 2\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let seen = upstream.await_arrivals(1).remove(0).message;
    assert_eq!((seen.target(), seen.header("x_a"), seen.header("x-a")), ("/a/b//c", None, Some("2")));

    let reject = "connectionSettings: {httpPathWithEscapedSlashesAction: REJECT_REQUEST}";
    gateway.apply("mesh.yaml", "");
    let gateway = start(&upstream, "", reject);
    assert_eq!(Raw::connect(gateway.address(80)).get("/a%5Cb", "a.test").status, 400);
}

#[test]
fn a_request_that_takes_too_long_is_refused() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = start(&upstream, "", "connectionSettings: {httpRequestTimeout: 1s}");
    let mut client = Raw::connect(gateway.address(80));
    client.send("POST /slow HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nab");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (408, "request timeout"));
    assert_eq!(gateway.log_of("/slow")["response_code_details"], "request_overall_timeout");
}

#[test]
fn a_stream_that_is_silent_or_endless_is_cut() {
    let upstream = Upstream::script(|mut conn| {
        while let Some(request) = conn.request() {
            if request.target() == "/begun" {
                conn.raw.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbeg");
            }
            // The rest of the answer never comes.
            conn.raw.rest();
        }
    });
    for (settings, flags, details) in [
        ("httpStreamIdleTimeout: 1s", "SI", "stream_idle_timeout"),
        ("httpMaxStreamDuration: 1s", "-", "max_duration_timeout"),
    ] {
        let gateway = start(&upstream, "", &format!("connectionSettings: {{{settings}}}"));
        let begun = Instant::now();
        let answer = Raw::connect(gateway.address(80)).get("/silent", "a.test");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{settings}");
        assert_eq!(answer.status, 504, "{settings}: the request was complete");
        let line = gateway.log_of("/silent");
        assert_eq!(
            (&line["response_flags"], &line["response_code_details"]),
            (&flags.into(), &details.into())
        );
        let answer = Raw::connect(gateway.address(80)).get("/begun", "a.test");
        assert!(answer.message.truncated && answer.text() == "beg", "{settings}: {answer:?}");
        assert_eq!(gateway.log_of("/begun")["response_code_details"], details);
    }
}

#[test]
fn connections_are_bounded_in_time_and_number() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = start(&upstream, "", "connectionSettings: {httpIdleTimeout: 1s}");
    let mut client = Raw::connect(gateway.address(80));
    assert_eq!(client.get("/", "a.test").status, 200);
    assert!(client.is_closed(), "idle for longer than a second");

    let config = "connectionSettings: {httpMaxConnectionDuration: 1s, httpDrainTimeout: 1s}";
    let gateway = start(&upstream, "", config);
    let mut client = Raw::connect(gateway.address(80));
    let mut other = Raw::connect(gateway.address(80));
    assert_eq!(client.get("/", "a.test").header("connection"), None);
    let begun = Instant::now();
    let last = loop {
        let answer = client.get("/", "a.test");
        if answer.header("connection") == Some("close") {
            break answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    };
    assert_eq!(last.status, 200);
    assert!(other.is_closed(), "old, drained and idle");

    let gateway = start(&upstream, "", "connectionSettings: {globalDownstreamConnectionLimit: 1}");
    let mut first = Raw::connect(gateway.address(80));
    assert_eq!(first.get("/", "a.test").status, 200);
    let mut second = Raw::connect(gateway.address(80));
    second.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(second.answer_or_end().is_none(), "beyond the limit");
    gateway.await_samples("counted", |samples| {
        samples.sum("portcullis_drops_total", &[("reason", "connection_limit")]) == 1.0
    });
    drop(first);
}

#[test]
fn what_may_be_tried_again_is_held_within_the_buffer() {
    // The first try breaks off behind the whole body; the second is answered. No connection carries two.
    let upstream = Upstream::script(|mut conn| {
        if conn.request().is_some() && conn.number % 2 == 1 {
            conn.raw.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfine");
        }
    });
    let retries = "retries: {attempts: 1, retryOn: reset}";
    let config = gateway()
        + &routes("app", &["*"], &[to("app", retries)])
        + &service("app", "http", &[upstream.address()])
        + &mesh("connectionSettings: {listenerPerConnectionBufferLimitBytes: 1024}");
    let gateway = Setup::new(config, &[80]).start();
    for (size, status) in [(1000, 200), (5000, 503)] {
        let mut client = Raw::connect(gateway.address(80));
        let head = format!("POST /{size} HTTP/1.1\r\nhost: a.test\r\ncontent-length: {size}\r\n\r\n");
        let body = vec![b'x'; size];
        let _ = client.stream.write_all(&[head.as_bytes(), &body].concat());
        assert_eq!(client.answer().status, status, "{size}");
    }
}
