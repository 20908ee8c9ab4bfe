//! What a DestinationRule's `connectionPool` says of single connections: how many requests one carries, how long it
//! lives, how long it is kept, and which version it speaks.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::site;
use portcullis_tests::objects::destination_rule;
use portcullis_tests::process::poll;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};

fn start(upstream: &Upstream, pool: &str) -> Gateway {
    let rule = destination_rule("app", &format!("{{connectionPool: {{{pool}}}}}"));
    Setup::new(site(upstream.address(), "retries: {attempts: 0}") + &rule, &[80]).start()
}

#[test]
fn a_connection_carries_so_many_requests() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = start(&upstream, "http: {maxRequestsPerConnection: 2}");
    let mut client = Raw::connect(gateway.address(80));
    for _ in 0..5 {
        assert_eq!(client.get("/", "a.test").status, 200);
    }
    let on: Vec<_> = upstream.arrivals().iter().map(|arrival| arrival.connection).collect();
    assert_eq!(on, [0, 0, 1, 1, 2]);
}

#[test]
fn a_connection_is_left_when_it_is_old() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = start(&upstream, "tcp: {maxConnectionDuration: 1s}");
    let mut client = Raw::connect(gateway.address(80));
    let begun = Instant::now();
    let renewed = poll(begun + LIMIT, || {
        assert_eq!(client.get("/", "a.test").status, 200);
        (upstream.connections() == 2).then(|| begun.elapsed())
    });
    assert!(renewed.unwrap() >= Duration::from_secs(1));
}

#[test]
fn a_connection_without_requests_is_closed() {
    let ended = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&ended);
    let upstream = Upstream::script(move |mut conn| {
        while conn.request().is_some() {
            conn.raw.send(ok("fine"));
        }
        *seen.lock().unwrap() = Some(Instant::now());
    });
    let gateway = start(&upstream, "http: {idleTimeout: 1s}");
    let begun = Instant::now();
    assert_eq!(Raw::connect(gateway.address(80)).get("/", "a.test").status, 200);
    let closed = poll(begun + LIMIT, || *ended.lock().unwrap());
    assert!(closed.unwrap() >= begun + Duration::from_secs(1));
}

#[test]
fn an_upstream_is_spoken_to_as_the_client_speaks() {
    let openings = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&openings);
    let upstream = Upstream::script(move |mut conn| {
        let opening = String::from_utf8(conn.raw.exactly(3)).unwrap();
        seen.lock().unwrap().push(opening);
    });
    let gateway = start(&upstream, "http: {useClientProtocol: true}");
    // What is answered does not matter: the upstream hangs up.
    Raw::connect(gateway.address(80)).get("/", "a.test");
    let address = gateway.address(80);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        let request = http::Request::get("http://a.test/").body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        tokio::select! {
            answer = response => assert!(answer.is_ok()),
            ended = connection => panic!("{ended:?}"),
        }
    });
    assert_eq!(*openings.lock().unwrap(), ["GET", "PRI"]);
}
