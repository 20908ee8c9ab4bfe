//! Timeouts and retries: what is tried again, where, with which body, and what the client and the log are told.

use std::sync::{Barrier, Mutex};
use std::time::Duration;

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{gateway, prefix, routes, service, site};
use portcullis_tests::raw::{Message, Raw};
use portcullis_tests::upstream::{Upstream, ok, status};
use serde_json::Value;

fn start(upstream: &Upstream, rule: &str) -> Gateway {
    Setup::new(site(upstream.address(), rule), &[80]).start()
}

fn outcome(line: &Value) -> (u64, &str, &str) {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    (line["response_code"].as_u64().unwrap_or(0), text("response_flags"), text("response_code_details"))
}

/// An upstream whose answers carry a status for each arrival, the last one repeated.
fn answering(codes: &'static [u16]) -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Upstream::serve(move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        status(codes[number.min(codes.len() - 1)])
    })
}

/// A rule, what the upstream answers, what the client gets, how many requests arrive, flags.
struct Case(&'static str, &'static [u16], u16, usize, &'static str);

#[test]
fn a_status_is_retried_as_often_as_the_rule_says() {
    std::thread::scope(|scope| {
        for case in [
            Case("{attempts: 2, retryOn: 5xx}", &[503, 200], 200, 2, "-"),
            Case("{attempts: 2, retryOn: 5xx}", &[500, 502, 200], 200, 3, "-"),
            Case("{attempts: 2, retryOn: 5xx}", &[500], 500, 3, "URX"),
            Case("{attempts: 2, retryOn: gateway-error}", &[502, 503, 504], 504, 3, "URX"),
            Case("{attempts: 2, retryOn: gateway-error}", &[500, 200], 500, 1, "-"),
            Case("{attempts: 2, retryOn: retriable-4xx}", &[409, 200], 200, 2, "-"),
            Case("{attempts: 2, retryOn: '418'}", &[418, 200], 200, 2, "-"),
            Case("{attempts: 0}", &[503, 200], 503, 1, "-"),
        ] {
            scope.spawn(move || case.check());
        }
    });
}

impl Case {
    fn check(&self) {
        let Self(rule, codes, expected, arrivals, flags) = *self;
        let upstream = answering(codes);
        let gateway = start(&upstream, &format!("retries: {rule}"));
        let answer = Raw::connect(gateway.address(80)).get("/", "a.test");
        assert_eq!(answer.status, expected, "{rule} {codes:?}");
        let count =
            |message: &Message| message.header("x-envoy-attempt-count").unwrap_or_default().to_owned();
        let numbers: Vec<_> = upstream.arrivals().iter().map(|arrival| count(&arrival.message)).collect();
        let all: Vec<_> = (1..=arrivals).map(|number| number.to_string()).collect();
        assert_eq!(numbers, all, "{rule} {codes:?}");
        let line = gateway.log_of("/");
        assert_eq!(outcome(&line), (u64::from(expected), flags, "via_upstream"), "{rule} {codes:?}");
        assert_eq!(
            gateway.samples().sum("istio_requests_total", &[]),
            1.0,
            "one request, however many tries"
        );
    }
}

#[test]
fn a_body_is_sent_again_up_to_a_mebibyte() {
    let body: Vec<u8> = (0..1_000_000u32).map(|number| (number % 251) as u8).collect();
    for chunked in [false, true] {
        let upstream = answering(&[503, 200]);
        let gateway = start(&upstream, "retries: {attempts: 2, retryOn: 5xx}");
        let mut client = Raw::connect(gateway.address(80));
        if chunked {
            client.send("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n");
            for piece in body.chunks(70_000) {
                client.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
            }
            client.send("0\r\n\r\n");
        } else {
            client.send(format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n", body.len()));
            client.send(&body);
        }
        assert_eq!(client.answer().status, 200, "chunked: {chunked}");
        for arrival in upstream.arrivals() {
            assert!(arrival.message.body == body, "chunked: {chunked}");
        }
        assert_eq!(upstream.arrivals().len(), 2);
        // In step for another request.
        assert_eq!(client.get("/", "a.test").status, 200);
    }
}

#[test]
fn a_body_beyond_a_mebibyte_is_not_sent_again() {
    let upstream = answering(&[503, 200]);
    let gateway = start(&upstream, "retries: {attempts: 2, retryOn: 5xx}");
    let mut client = Raw::connect(gateway.address(80));
    let body = vec![b'x'; 1_100_000];
    client.send(format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n", body.len()));
    client.send(&body);
    assert_eq!(client.answer().status, 503);
    assert_eq!(upstream.arrivals().len(), 1);
}

/// An upstream that never answers its first `silent` requests.
fn slow(silent: usize) -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Upstream::script(move |mut conn| {
        while conn.request().is_some() {
            if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < silent {
                let _ = conn.raw.is_closed();
                return;
            }
            conn.raw.send(ok("fine"));
        }
    })
}

#[test]
fn a_route_that_takes_too_long_is_a_gateway_timeout() {
    let upstream = slow(usize::MAX);
    let gateway = start(&upstream, "timeout: 0.2s");
    let mut client = Raw::connect(gateway.address(80));
    let answer = client.get("/slow", "a.test");
    assert_eq!((answer.status, answer.text().as_str()), (504, "upstream request timeout"));
    assert_eq!(outcome(&gateway.log_of("/slow")), (504, "UT", "response_timeout"));
    let arrival = &upstream.arrivals()[0];
    assert_eq!(arrival.message.header("x-envoy-expected-rq-timeout-ms"), Some("200"));
    let labels = [("response_code", "504"), ("response_flags", "UT")];
    assert_eq!(gateway.samples().sum("istio_requests_total", &labels), 1.0);
}

/// The clock runs from the end of the request: a slow upload is not the upstream's fault.
#[test]
fn a_slow_upload_does_not_count_against_the_route() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = start(&upstream, "timeout: 0.3s");
    let mut client = Raw::connect(gateway.address(80));
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\n");
    std::thread::sleep(Duration::from_millis(500));
    client.send("abc");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_try_that_takes_too_long_is_followed_by_another() {
    let upstream = slow(1);
    let gateway = start(&upstream, "retries: {attempts: 2, perTryTimeout: 0.2s, retryOn: 5xx}");
    assert_eq!(Raw::connect(gateway.address(80)).get("/", "a.test").text(), "fine");
    assert_eq!(upstream.arrivals().len(), 2);
    assert_eq!(outcome(&gateway.log_of("/")), (200, "-", "via_upstream"));

    let upstream = slow(usize::MAX);
    let gateway = start(&upstream, "retries: {attempts: 1, perTryTimeout: 0.1s, retryOn: 5xx}");
    assert_eq!(Raw::connect(gateway.address(80)).get("/", "a.test").status, 504);
    assert_eq!(upstream.arrivals().len(), 2);
    assert_eq!(outcome(&gateway.log_of("/")), (504, "URX,UT", "upstream_per_try_timeout"));
}

/// An upstream that reads a request on a kept connection and then gives the connection up has had the request: whatever
/// its method, and however soon that comes, what becomes of it is the retry policy's business.
#[test]
fn a_request_that_its_upstream_has_read_is_not_sent_again() {
    let closing = |resets: bool| {
        Upstream::script(move |mut conn| {
            let served = conn.request().is_some() && conn.raw.send(ok("fine"));
            if served && conn.number == 0 && conn.request().is_some() && resets {
                let socket = socket2::SockRef::from(&conn.raw.stream);
                // An end without waiting for anything is a reset.
                socket.set_linger(Some(Duration::ZERO)).expect("an option");
            }
        })
    };
    for (method, resets) in [("GET", false), ("PUT", false), ("POST", false), ("GET", true), ("DELETE", true)]
    {
        let upstream = closing(resets);
        let gateway = start(&upstream, "retries: {attempts: 0}");
        let mut client = Raw::connect(gateway.address(80));
        assert_eq!(client.get("/", "a.test").status, 200);
        client.send(format!("{method} / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(
            (answer.status, upstream.connections()),
            (503, 1),
            "{method}, {resets}: {}",
            answer.text()
        );
    }
}

/// An upstream that ends as a whole, as a server does that is stopped or reads its configuration again, takes requests
/// along that it has not read: idempotent ones are sent again.
#[test]
fn requests_unread_by_an_upstream_that_ends_are_sent_again() {
    const CLIENTS: usize = 5;
    let together = Barrier::new(CLIENTS);
    let open = Mutex::new(Vec::new());
    let upstream = Upstream::script(move |mut conn| {
        let old = conn.number < CLIENTS;
        while conn.request().is_some() {
            if old {
                // All clients at once, so that each has a connection of its own.
                together.wait();
            }
            conn.raw.send(ok("fine"));
            if old {
                conn.raw.stream.peek(&mut [0]).expect("the next request");
                open.lock().expect("sound").push(conn);
                if together.wait().is_leader() {
                    // Connections that end with bytes unread are reset.
                    open.lock().expect("sound").clear();
                }
                return;
            }
        }
    });
    let gateway = start(&upstream, "retries: {attempts: 0}");
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Raw::connect(gateway.address(80));
                for number in 0..3 {
                    let answer = client.get("/", "a.test");
                    assert_eq!(answer.status, 200, "{number}: {}", answer.text());
                }
            });
        }
    });
    assert!(upstream.connections() > CLIENTS);
}

#[test]
fn a_closed_kept_connection_is_noticed_before_a_request_is_lost() {
    let upstream = Upstream::script(|mut conn| {
        if conn.request().is_some() {
            // Kept, as the answer says; closed all the same.
            conn.raw.send(ok("fine"));
        }
    });
    let gateway = start(&upstream, "retries: {attempts: 0}");
    let mut client = Raw::connect(gateway.address(80));
    for number in 0..50 {
        client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n");
        let answer = client.answer();
        // The close may come while the request is on its way; a POST is then not sent twice.
        assert!(
            answer.status == 200 || answer.text().ends_with("connection termination"),
            "{number}: {answer:?}"
        );
    }
}

#[test]
fn another_host_is_tried_after_one_that_failed() {
    let (bad, good) = (Upstream::serve(|_| status(503)), Upstream::serve(|_| ok("fine")));
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    let config = gateway()
        + &routes(
            "app",
            &["*"],
            &[
                prefix("/status", "status", "retries: {attempts: 2, retryOn: 5xx}"),
                prefix("/refused", "refused", ""),
            ],
        )
        + &service("status", "http", &[bad.address(), good.address()])
        + &service("refused", "http", &[refusing, good.address()]);
    let gateway = Setup::new(config, &[80]).start();
    let mut client = Raw::connect(gateway.address(80));
    for number in 0..20 {
        assert_eq!(client.get("/status", "a.test").text(), "fine", "{number}");
        // Connection failures are retried without any rule that says so.
        assert_eq!(client.get("/refused", "a.test").text(), "fine", "{number}");
    }
    assert!(!bad.arrivals().is_empty());
}

#[test]
fn refused_connections_are_told_with_their_reason() {
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    let gateway = Setup::new(site(refusing, ""), &[80]).start();
    let answer = Raw::connect(gateway.address(80)).get("/", "a.test");
    assert_eq!(answer.status, 503);
    let reason = "retried and the latest reset reason: remote connection failure";
    assert!(answer.text().ends_with(reason), "{}", answer.text());
    let line = gateway.log_of("/");
    assert_eq!(
        (line["response_flags"].as_str(), line["upstream_host"].as_str()),
        (Some("URX,UF"), Some(&*refusing.to_string()))
    );
    assert_eq!(line["upstream_transport_failure_reason"], "delayed connect error: Connection refused");
}
