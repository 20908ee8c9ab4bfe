//! Changes of the configuration while requests run: none is lost, connections stay, and each thing is new for
//! whoever asks next.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{gateway, routes, service, slices, to};
use portcullis_tests::process::poll;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Gate, Upstream, ok};

/// Swaps while requests run.
const SWAPS: usize = 15;
/// Connections that ask all the time.
const CLIENTS: usize = 4;

/// Runs `change` again and again while clients send requests, each on a connection that it keeps.
fn under_load(gateway: &Gateway, expected: impl Fn(&str) -> bool + Sync, change: impl Fn(usize)) {
    let (done, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (done, answers, expected) = (&done, &answers, &expected);
            scope.spawn(move || {
                let mut client = Raw::connect(gateway.address(80));
                while !done.load(Ordering::Relaxed) {
                    let method = if number % 2 == 0 { "GET" } else { "POST" };
                    client.send(format!("{method} / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n"));
                    let answer = client.answer();
                    assert!(answer.status == 200 && expected(&answer.text()), "{answer:?}");
                    assert_eq!(answer.header("connection"), None);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Whatever happens here, the clients end.
        let end = Ends(&done);
        for number in 0..SWAPS {
            let before = answers.load(Ordering::Relaxed);
            change(number);
            let more = || (answers.load(Ordering::Relaxed) > before + CLIENTS).then_some(());
            poll(Instant::now() + LIMIT, more).expect("requests go on behind the change");
        }
        drop(end);
    });
    let total = answers.into_inner();
    let samples = gateway.await_samples("every request is counted", |samples| {
        samples.sum("istio_requests_total", &[]) == total as f64
    });
    assert_eq!(samples.sum("istio_requests_total", &[("response_code", "200")]), total as f64);
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn endpoints_come_and_go_without_a_lost_request() {
    let members: Vec<Upstream> = ["a", "b", "c"].map(|name| Upstream::serve(move |_| ok(name))).into();
    let addresses: Vec<_> = members.iter().map(Upstream::address).collect();
    let service_alone = service("app", "http", &[]);
    let setup = Setup::new(gateway() + &routes("app", &["*"], &[to("app", "")]) + &service_alone, &[80]);
    let gateway = setup.file("slices.yaml", &slices("app", "http", &addresses[..2])).start();
    under_load(
        &gateway,
        |body| ["a", "b", "c"].contains(&body),
        |number| {
            let two = [addresses[(number + 1) % 3], addresses[(number + 2) % 3]];
            gateway.apply("slices.yaml", &slices("app", "http", &two));
        },
    );
    assert!(members.iter().all(|member| !member.arrivals().is_empty()));
    // Who is gone gets nothing more.
    gateway.apply("slices.yaml", &slices("app", "http", &addresses[..1]));
    let before = members[1].arrivals().len() + members[2].arrivals().len();
    let mut client = Raw::connect(gateway.address(80));
    for _ in 0..20 {
        assert_eq!(client.get("/", "a.test").text(), "a");
    }
    assert_eq!(members[1].arrivals().len() + members[2].arrivals().len(), before);
}

#[test]
fn routes_change_without_a_lost_request() {
    let members = ["a", "b"].map(|name| Upstream::serve(move |_| ok(name)));
    let services: String = ["a", "b"]
        .iter()
        .zip(&members)
        .map(|(name, member)| service(name, "http", &[member.address()]))
        .collect();
    let gateway = Setup::new(gateway() + &services, &[80])
        .file("routes.yaml", &routes("app", &["*"], &[to("a", "")]))
        .start();
    under_load(
        &gateway,
        |body| body == "a" || body == "b",
        |number| {
            let name = ["b", "a"][number % 2];
            gateway.apply("routes.yaml", &routes("app", &["*"], &[to(name, "")]));
        },
    );
}

/// What runs goes on under the configuration it began with, to its end.
#[test]
fn a_request_outlives_its_route_and_its_endpoint() {
    let answer = Gate::new();
    let pass = answer.clone();
    let upstream = Upstream::script(move |mut conn| {
        if conn.request().is_some() {
            conn.raw.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nbeg");
            pass.pass();
            conn.raw.send("end");
        }
    });
    let base = gateway() + &service("app", "http", &[upstream.address()]);
    let gateway =
        Setup::new(base, &[80]).file("routes.yaml", &routes("app", &["*"], &[to("app", "")])).start();
    let mut client = Raw::connect(gateway.address(80));
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(client.head().is_some());
    assert_eq!(client.exactly(3), b"beg");
    gateway.apply("config.yaml", &portcullis_tests::http::gateway());
    gateway.apply("routes.yaml", "");
    assert_eq!(Raw::connect(gateway.address(80)).get("/", "a.test").status, 404);
    answer.open();
    assert_eq!(client.exactly(3), b"end");
    // The connection itself lives on, and sees what is configured now.
    assert_eq!(client.get("/", "a.test").status, 404);
}

/// A file that does not parse costs nothing that was served before.
#[test]
fn a_broken_file_keeps_what_was_served() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let base = gateway() + &service("app", "http", &[upstream.address()]);
    let gateway =
        Setup::new(base, &[80]).file("routes.yaml", &routes("app", &["*"], &[to("app", "")])).start();
    gateway.write("routes.yaml", "kind: VirtualService\n  metadata: [broken");
    gateway.await_error("routes.yaml");
    assert_eq!(Raw::connect(gateway.address(80)).get("/", "a.test").text(), "fine");
    gateway.apply("routes.yaml", &routes("app", &["*"], &[to("none", "")]));
    assert_eq!(Raw::connect(gateway.address(80)).get("/", "a.test").status, 503);
}
