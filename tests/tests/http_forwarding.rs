//! On the way to an upstream: limits and their queues, deadlines as upstreams are told them, what a retry is not
//! for, and connections that upstreams close behind their answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{gateway, prefix, routes, service, site, to};
use portcullis_tests::raw::{Message, Raw};
use portcullis_tests::upstream::{Gate, Upstream, ok, status};

/// A gateway in front of one upstream, with further fields of its rule and a traffic policy, if any.
fn start(upstream: &Upstream, rule: &str, traffic: &str) -> Gateway {
    let traffic = if traffic.is_empty() { String::new() } else { policy(traffic) };
    Setup::new(site(upstream.address(), rule) + &traffic, &[80]).start()
}

fn policy(traffic: &str) -> String {
    format!(
        "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app, namespace: default}}
spec: {{host: app, trafficPolicy: {traffic}}}"
    )
}

/// Sends a GET on a connection of its own, without waiting for its answer.
fn ask(gateway: &Gateway, path: &str) -> Raw {
    let mut client = Raw::connect(gateway.address(80));
    client.send(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
    client
}

/// An upstream that answers requests for `/held` once the gate is open, and others at once.
fn holding(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::serve(move |request| {
        if request.target().starts_with("/held") {
            gate.pass();
        }
        ok(request.target())
    })
}

/// An upstream that closes every connection behind its third answer without having said so, under the load of
/// several clients: no GET is lost.
#[test]
fn connections_closed_behind_an_answer_cost_no_request() {
    const ANSWERS: usize = 3;
    const CLIENTS: usize = 6;
    const REQUESTS: usize = 150;
    let upstream = Upstream::script(|mut conn| {
        for _ in 0..ANSWERS {
            if conn.raw.request().is_none() || !conn.raw.send(ok("fine")) {
                return;
            }
        }
    });
    let gateway = start(&upstream, "retries: {attempts: 0}", "");
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Raw::connect(gateway.address(80));
                for number in 0..REQUESTS {
                    let answer = client.get("/", "a.test");
                    assert_eq!(answer.status, 200, "{number}: {}", answer.text());
                }
            });
        }
    });
    assert!(upstream.connections() >= CLIENTS * REQUESTS / ANSWERS);
}

/// An upstream that ends a connection over a request has seen that request: it is told, not sent again.
#[test]
fn a_request_that_breaks_its_connection_is_told_so() {
    let upstream = Upstream::script(|mut conn| {
        while let Some(request) = conn.request() {
            if request.target() == "/break" || !conn.raw.send(ok("fine")) {
                return;
            }
        }
    });
    let gateway = start(&upstream, "retries: {attempts: 0}", "");
    let mut client = Raw::connect(gateway.address(80));
    assert_eq!(client.get("/", "a.test").status, 200);
    client.send("POST /break HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n");
    let answer = client.answer();
    assert!(answer.status == 503 && answer.text().ends_with("connection termination"), "{answer:?}");
    assert_eq!(upstream.targets(), ["/", "/break"]);
}

#[test]
fn requests_wait_for_the_only_connection_and_count_once_they_have_it() {
    let gate = Gate::new();
    let upstream = holding(&gate);
    let gateway = start(
        &upstream,
        "",
        "{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 2, http2MaxRequests: 1}}}",
    );
    let first = ask(&gateway, "/held");
    upstream.await_arrivals(1);
    let waiting = [ask(&gateway, "/a"), ask(&gateway, "/b")];
    gateway
        .await_samples("two wait", |samples| samples.sum("portcullis_upstream_requests_pending", &[]) == 2.0);
    let refused = Raw::connect(gateway.address(80)).get("/c", "a.test");
    assert_eq!(
        (refused.status, refused.message.header("x-envoy-overloaded")),
        (503, Some("true")),
        "{}",
        refused.text()
    );
    assert!(refused.text().ends_with("reset reason: overflow"));
    gate.open();
    for mut client in waiting.into_iter().chain([first]) {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(gateway.log_of("/c")["response_flags"], "UO");
}

/// A request that waits for a connection is still bounded by its route, with a body that nobody has read yet.
#[test]
fn the_route_bounds_the_wait_for_a_connection() {
    let gate = Gate::new();
    let upstream = holding(&gate);
    let rules = [prefix("/held", "app", ""), to("app", "timeout: 0.3s")];
    let config = gateway()
        + &routes("app", &["*"], &rules)
        + &service("app", "http", &[upstream.address()])
        + &policy("{connectionPool: {tcp: {maxConnections: 1}}}");
    let gateway = Setup::new(config, &[80]).start();
    let mut first = ask(&gateway, "/held");
    upstream.await_arrivals(1);
    let mut second = Raw::connect(gateway.address(80));
    second.send("POST /second HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(second.answer().status, 504);
    gate.open();
    assert_eq!(first.answer().status, 200);
    assert_eq!(gateway.log_of("/second")["response_flags"], "UT");
}

/// Whether a limit keeps a retry from being made shows as a flag; what the last try came to is the answer.
#[test]
fn a_budget_for_retries_leaves_answers_as_they_are() {
    for policy in [
        "{connectionPool: {http: {maxRetries: 1}}}",
        "{connectionPool: {http: {maxRetries: 99}}, retryBudget: {percent: 0, minRetryConcurrency: 1}}",
    ] {
        let gate = Gate::new();
        let count = AtomicUsize::new(0);
        let held = gate.clone();
        let upstream = Upstream::serve(move |request| match request.target() {
            "/first" if count.fetch_add(1, Ordering::SeqCst) > 0 => {
                held.pass();
                ok("retried")
            }
            _ => status(503),
        });
        let gateway = start(&upstream, "retries: {attempts: 1, retryOn: 5xx}", policy);
        let mut first = ask(&gateway, "/first");
        upstream.await_arrivals(2);
        let second = Raw::connect(gateway.address(80)).get("/second", "a.test");
        assert_eq!((second.status, second.message.header("x-envoy-overloaded")), (503, None), "{policy}");
        let line = gateway.log_of("/second");
        assert_eq!(
            (&line["response_flags"], &line["response_code_details"]),
            (&"UO".into(), &"via_upstream".into())
        );
        gate.open();
        assert_eq!(first.answer().text(), "retried");
        // With its end the retry gives its place back.
        let third = Raw::connect(gateway.address(80)).get("/third", "a.test");
        assert_eq!(third.status, 503);
        assert_eq!(gateway.log_of("/third")["response_flags"], "URX", "{policy}");
    }
}

/// A client that has been told to continue cannot be taken back to before that.
#[test]
fn nothing_is_retried_behind_an_informational_answer() {
    let upstream = Upstream::serve(|_| "HTTP/1.1 100 Continue\r\n\r\n".to_owned() + &status(503));
    let gateway = start(&upstream, "retries: {attempts: 3, retryOn: 5xx}", "");
    let mut client = Raw::connect(gateway.address(80));
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi");
    let answer = client.answer();
    assert_eq!((answer.status, answer.informational), (503, vec![100]));
    assert_eq!(upstream.arrivals().len(), 1);
    assert_eq!(gateway.log_of("/")["response_flags"], "-");
}

fn told(message: &Message) -> (Option<&str>, Option<&str>) {
    (message.header("x-envoy-expected-rq-timeout-ms"), message.header("grpc-timeout"))
}

/// gRPC clients may ask for less time than the route gives; upstreams are told what counts.
#[test]
fn deadlines_of_grpc_are_told_in_milliseconds() {
    for (rule, asked, expected) in [
        ("", Some("2S"), (Some("2000"), Some("2000m"))),
        ("", None, (None, None)),
        ("", Some("0S"), (None, Some("0S"))),
        ("", Some("x"), (None, Some("x"))),
        ("timeout: 1s", Some("2S"), (Some("1000"), Some("1000m"))),
        ("timeout: 1s", Some("1500u"), (Some("2"), Some("2m"))),
        ("timeout: 1s", None, (Some("1000"), Some("1000m"))),
        ("retries: {attempts: 1, perTryTimeout: 0.5s}", Some("1M"), (Some("500"), Some("500m"))),
    ] {
        let upstream = Upstream::serve(|_| ok(""));
        let gateway = start(&upstream, rule, "");
        let asked = asked.map_or(String::new(), |asked| format!("grpc-timeout: {asked}\r\n"));
        let mut client = Raw::connect(gateway.address(80));
        client.send(format!(
            "POST /s/m HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc\r\n{asked}content-length: 0\r\n\r\n"
        ));
        // The shortest deadline may pass before the answer; what was told counts.
        client.answer();
        let arrivals = upstream.await_arrivals(1);
        assert_eq!(told(&arrivals[0].message), expected, "{rule} {asked}");
    }
}

#[test]
fn a_retry_is_told_what_is_left() {
    let upstream = Upstream::serve(|request| {
        if request.header("x-envoy-attempt-count") == Some("1") {
            std::thread::sleep(Duration::from_millis(300));
            return status(503);
        }
        ok("fine")
    });
    let gateway = start(&upstream, "timeout: 10s, retries: {attempts: 1, retryOn: 5xx}", "");
    assert_eq!(Raw::connect(gateway.address(80)).get("/", "a.test").status, 200);
    let arrivals = upstream.arrivals();
    let left = |number: usize| -> u64 {
        let (expected, _) = told(&arrivals[number].message);
        expected.and_then(|text| text.parse().ok()).expect("a number of milliseconds")
    };
    assert_eq!(left(0), 10_000);
    assert!(left(1) <= 9_700, "{}", left(1));
}
