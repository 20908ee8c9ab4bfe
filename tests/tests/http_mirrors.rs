//! Mirrors: what a copy looks like, when it is sent, and that the request itself never notices.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{gateway, prefix, routes, service, to};
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Arrival, Gate, Upstream, ok, status};

/// A gateway that sends everything to `main` and copies as `rule` says: to `copy`, `other`.
fn start(rule: &str, main: &Upstream, mirrors: &[(&str, &Upstream)]) -> Gateway {
    let services: String =
        mirrors.iter().map(|(name, mirror)| service(name, "http", &[mirror.address()])).collect();
    let config = gateway()
        + &routes("app", &["*"], &[to("app", rule)])
        + &service("app", "http", &[main.address()])
        + &services;
    Setup::new(config, &[80]).start()
}

const TO_COPY: &str = "mirror: {host: copy, port: {number: 80}}";

fn header<'a>(arrival: &'a Arrival, name: &str) -> Option<&'a str> {
    arrival.message.header(name)
}

#[test]
fn a_copy_is_the_request_marked_as_the_gateways_own() {
    let (main, copy) = (Upstream::serve(|_| ok("main")), Upstream::serve(|_| ok("copy")));
    let rule = format!(
        "{TO_COPY}, timeout: 5s, retries: {{attempts: 1, perTryTimeout: 2s}}, rewrite: {{uri: /new, authority: b.test}}, \
         headers: {{request: {{set: {{x-set: '1'}}}}}}"
    );
    let gateway = start(&rule, &main, &[("copy", &copy)]);
    let mut client = Raw::connect(gateway.address(80));
    client.send("POST /q?q HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.answer().text(), "main");
    let (sent, copied) = (&main.await_arrivals(1)[0], &copy.await_arrivals(1)[0]);
    for arrival in [sent, copied] {
        assert_eq!(
            (arrival.message.line.as_str(), &arrival.message.body[..]),
            ("POST /newq?q HTTP/1.1", &b"hello"[..])
        );
        assert_eq!((header(arrival, "host"), header(arrival, "x-set")), (Some("b.test"), Some("1")));
        assert_eq!(header(arrival, "content-length"), Some("5"));
        assert_eq!(header(arrival, "x-envoy-attempt-count"), Some("1"));
    }
    assert_eq!(header(sent, "x-request-id"), header(copied, "x-request-id"));
    assert_eq!((header(sent, "x-envoy-internal"), header(copied, "x-envoy-internal")), (None, Some("true")));
    assert_eq!(header(sent, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header(copied, "x-forwarded-for"), Some("127.0.0.1,127.0.0.1"));
    // A copy is tried once, with the whole time.
    assert_eq!(header(sent, "x-envoy-expected-rq-timeout-ms"), Some("2000"));
    assert_eq!(header(copied, "x-envoy-expected-rq-timeout-ms"), Some("5000"));
    // One request, one line, whoever got copies.
    assert_eq!(gateway.log_of("/q?q")["upstream_host"], main.address().to_string());
    assert_eq!(gateway.samples().sum("istio_requests_total", &[]), 1.0);
}

#[test]
fn connections_to_mirrors_are_kept() {
    let (main, copy) =
        (Upstream::serve(|_| ok("main")), Upstream::serve(|_| ok("a longer answer, thrown away")));
    let gateway = start(TO_COPY, &main, &[("copy", &copy)]);
    let mut client = Raw::connect(gateway.address(80));
    for number in 1..=20 {
        assert_eq!(client.get("/", "a.test").status, 200);
        copy.await_arrivals(number);
    }
    assert!(copy.connections() <= 3, "{} connections for 20 copies", copy.connections());
}

#[test]
fn every_mirror_gets_its_copy_and_none_does_not() {
    let main = Upstream::serve(|_| ok("main"));
    let (one, two) = (Upstream::serve(|_| ok("one")), Upstream::serve(|_| ok("two")));
    let mirrors = |first: &str, second: &str| {
        format!("mirrors: [{{destination: {{host: one}}{first}}}, {{destination: {{host: two}}{second}}}]")
    };
    let both = [("one", &one), ("two", &two)];
    let gateway = start(&mirrors("", ", percentage: {value: 0}"), &main, &both);
    assert_eq!(Raw::connect(gateway.address(80)).get("/first", "a.test").status, 200);
    one.await_arrivals(1);
    let gateway = start(&mirrors(", percentage: {value: 100}", ""), &main, &both);
    assert_eq!(Raw::connect(gateway.address(80)).get("/second", "a.test").status, 200);
    two.await_arrivals(1);
    assert_eq!((one.await_arrivals(2).len(), two.targets()), (2, vec!["/second".to_owned()]));
}

/// One draw decides for all mirrors of a request: with equal shares both get it or neither.
#[test]
fn a_share_is_drawn_once_a_request() {
    let main = Upstream::serve(|_| ok("main"));
    let (one, two) = (Upstream::serve(|_| ok("one")), Upstream::serve(|_| ok("two")));
    let share = "percentage: {value: 50}";
    let rule = format!(
        "mirrors: [{{destination: {{host: one}}, {share}}}, {{destination: {{host: two}}, {share}}}]"
    );
    let gateway = start(&rule, &main, &[("one", &one), ("two", &two)]);
    let mut client = Raw::connect(gateway.address(80));
    for number in 0..200 {
        assert_eq!(client.get(&format!("/{number}"), "a.test").status, 200);
    }
    // What was sent last is a copy for both, and arrives behind the others' beginnings.
    let count = one.await_arrivals(1).len();
    two.await_arrivals(count);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (mut first, mut second) = (one.targets(), two.targets());
        first.sort();
        second.sort();
        // Binomial with 200 draws: outside of this once in 10^11 runs.
        if first == second && (50..=150).contains(&first.len()) {
            break;
        }
        assert!(Instant::now() < deadline, "{} and {} of 200", first.len(), second.len());
        std::thread::yield_now();
    }
}

#[test]
fn a_retry_sends_no_second_copy() {
    let count = AtomicUsize::new(0);
    let main = Upstream::serve(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => status(503),
        _ => ok("main"),
    });
    let copy = Upstream::serve(|_| status(500));
    let rule = format!("{TO_COPY}, retries: {{attempts: 3, retryOn: 5xx}}");
    let gateway = start(&rule, &main, &[("copy", &copy)]);
    let mut client = Raw::connect(gateway.address(80));
    client.send(
        "POST /once HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    assert_eq!(client.answer().text(), "main");
    assert_eq!(main.arrivals().len(), 3);
    assert_eq!(client.get("/last", "a.test").status, 200);
    let copies = copy.await_arrivals(2);
    let mut targets = copy.targets();
    targets.sort();
    assert_eq!(targets, ["/last", "/once"], "a copy that fails is not sent again either");
    assert!(copies.iter().any(|arrival| arrival.message.body == b"hello"));
}

/// A mirror that takes nothing, one that closes at once, and none at all: requests go on, with bodies far larger than
/// what may wait, and memory stays where it was.
#[test]
fn a_mirror_that_takes_nothing_slows_nobody() {
    const BODY: usize = 24 * 1024 * 1024;
    let main = Upstream::serve(|request| ok(&request.body.len().to_string()));
    let held = Gate::new();
    let stalled = {
        let held = held.clone();
        Upstream::script(move |conn| {
            held.pass();
            drop(conn);
        })
    };
    let closing = Upstream::script(drop);
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    let config = gateway()
        + &routes(
            "app",
            &["*"],
            &[to(
                "app",
                "mirrors: [{destination: {host: stalled}}, {destination: {host: closing}}, {destination: {host: refusing}}]",
            )],
        )
        + &service("app", "http", &[main.address()])
        + &service("stalled", "http", &[stalled.address()])
        + &service("closing", "http", &[closing.address()])
        + &service("refusing", "http", &[refusing]);
    let gateway = Setup::new(config, &[80]).start();
    let before = gateway.resident();
    let body = vec![b'x'; BODY];
    for _ in 0..3 {
        let mut client = Raw::connect(gateway.address(80));
        client.send(format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {BODY}\r\n\r\n"));
        client.send(&body);
        assert_eq!(client.answer().text(), BODY.to_string());
    }
    let given_up = [("reason", "mirror_given_up")];
    gateway.await_samples("copies are given up", |samples| {
        samples.sum("portcullis_drops_total", &given_up) >= 3.0
    });
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more than before");
    held.open();
}

#[test]
fn a_copy_of_a_body_that_breaks_off_breaks_off_too() {
    let main = Upstream::serve(|_| ok("main"));
    let seen = Gate::new();
    let ended = Gate::new();
    let copy = {
        let (seen, ended) = (seen.clone(), ended.clone());
        Upstream::script(move |mut conn| {
            // The head and what there is of the body arrive while the client still sends.
            seen.open();
            if conn.request().is_none() {
                ended.open();
            }
        })
    };
    let gateway = start(TO_COPY, &main, &[("copy", &copy)]);
    let mut client = Raw::connect(gateway.address(80));
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nhello");
    seen.pass();
    drop(client);
    ended.pass();
    assert!(copy.arrivals().is_empty());
}

#[test]
fn of_an_upgrade_the_head_is_copied_and_of_a_failing_route_nothing() {
    let main = Upstream::script(|mut conn| {
        if conn.raw.request().is_some() {
            conn.raw.send(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            );
            let _ = conn.raw.is_closed();
        }
    });
    let copy = Upstream::serve(|_| ok("copy"));
    let config = gateway()
        + &routes(
            "app",
            &["*"],
            &[
                prefix("/none", "empty", TO_COPY),
                prefix(
                    "/fault",
                    "app",
                    &format!("{TO_COPY}, fault: {{abort: {{httpStatus: 418, percentage: {{value: 100}}}}}}"),
                ),
                prefix("/plain", "copy", TO_COPY),
                to("app", TO_COPY),
            ],
        )
        + &service("app", "http", &[main.address()])
        + &service("empty", "http", &[])
        + &service("copy", "http", &[copy.address()]);
    let gateway = Setup::new(config, &[80]).start();
    let mut client = Raw::connect(gateway.address(80));
    assert_eq!(client.get("/none", "a.test").status, 503);
    assert_eq!(client.get("/fault", "a.test").status, 418);
    let mut socket = Raw::connect(gateway.address(80));
    socket.send("GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(socket.answer().status, 101);
    let copied = &copy.await_arrivals(1)[0];
    assert_eq!((copied.message.target(), header(copied, "upgrade")), ("/ws", Some("websocket")));
    // The mirror may be the destination itself: a request and its copy, and nothing of what was before.
    assert_eq!(client.get("/plain", "a.test").status, 200);
    copy.await_arrivals(3);
    assert_eq!(copy.targets(), ["/ws", "/plain", "/plain"]);
}
