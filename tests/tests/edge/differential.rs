//! Real servers behind the gateway, and requests that two parsers may read differently: whatever the gateway lets
//! through, each of them reads as the gateway did. As many requests, of the same methods, targets and lengths, and none
//! that was hidden in another one.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use portcullis_tests::frames::{END_STREAM, frame, headers, kind};
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{gateway, routes, service, to};
use portcullis_tests::process::poll;
use portcullis_tests::raw::Raw;
use serde_json::Value;

use crate::backends::{Backend, Seen};
use crate::corpus::{Item, Stream, corpus, over_http2};

/// Mixtures beside the forms that are tried one by one.
const MORE: usize = 400;
/// How long a client waits for an answer: the gateway may be waiting for the rest of what it takes for a body.
const PATIENCE: Duration = Duration::from_millis(250);
/// The corpus of every run is the same unless `PORTCULLIS_TEST_SEED` says otherwise.
const SEED: u64 = 20_261_128;

#[test]
fn no_two_servers_read_a_forwarded_request_differently() {
    let backends = Backend::all();
    if backends.len() < 2 {
        return;
    }
    let seed = std::env::var("PORTCULLIS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let mut corpus = corpus(seed, MORE);
    corpus.extend(over_http2(corpus.len()));
    let gateway = start(&backends);
    std::thread::scope(|scope| {
        for backend in &backends {
            let (address, corpus) = (gateway.address(80), &corpus);
            scope.spawn(move || corpus.iter().for_each(|item| ask(address, &host(backend), item)));
        }
    });
    let forwarded = forwarded(&gateway, &backends);
    let mut accepted = Vec::new();
    for backend in &backends {
        let own = &forwarded[backend.name];
        let wanted = own.iter().filter(|request| request.status == 200).count();
        let seen = poll(Instant::now() + LIMIT, || Some(backend.seen()).filter(|seen| seen.len() >= wanted));
        let seen = seen.unwrap_or_else(|| backend.seen());
        compare(backend.name, seed, &corpus, own, &seen);
        accepted.push(seen.iter().filter(|seen| seen.target.ends_with("/main")).count());
    }
    println!("of {} items, {accepted:?} reached {:?}", corpus.len(), forwarded.keys());
    // The corpus must get through at all to show anything, and most of it must not.
    assert!(accepted.iter().all(|&count| count > 50), "{accepted:?} of {}", corpus.len());
}

fn host(backend: &Backend) -> String {
    format!("{}.test", backend.name)
}

fn start(backends: &[Backend]) -> Gateway {
    let mut yaml = gateway();
    for backend in backends {
        yaml += &routes(backend.name, &[&host(backend)], &[to(backend.name, "retries: {attempts: 0}")]);
        yaml += &service(backend.name, "http", &[backend.address]);
    }
    Setup::new(yaml, &[80]).start()
}

/// Sends an item and waits until the connection ends, or is waited for in vain.
fn ask(gateway: SocketAddr, host: &str, item: &Item) {
    if let Some(Stream { fields, body }) = &item.http2 {
        return ask_http2(gateway, host, fields, body);
    }
    let mut client = Raw::connect(gateway);
    let bytes = replaced(&item.bytes, b"HOST", host.as_bytes());
    let _ = client.stream.set_read_timeout(Some(PATIENCE));
    client.send(bytes);
    let mut piece = [0; 4096];
    loop {
        match client.stream.read(&mut piece) {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

fn ask_http2(gateway: SocketAddr, host: &str, fields: &[(String, String)], body: &[u8]) {
    let mut client = Raw::http2(gateway);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name, value.replace("HOST", host))).collect();
    let body = replaced(body, b"HOST", host.as_bytes());
    client.send([headers(1, 0, &fields), frame(kind::DATA, END_STREAM, 1, &body)].concat());
    // Every stream is answered or reset.
    client.frame_that(|frame| {
        let ended = matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.flags & END_STREAM != 0;
        frame.kind == kind::GOAWAY || frame.stream == 1 && (ended || frame.kind == kind::RST_STREAM)
    });
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    [&out, rest].concat()
}

/// A request as the gateway read it.
#[derive(Debug, Clone)]
struct Forwarded {
    request: Seen,
    status: u64,
}

/// What the gateway sent to each backend, by its own access log.
fn forwarded(gateway: &Gateway, backends: &[Backend]) -> BTreeMap<&'static str, Vec<Forwarded>> {
    // One worker writes its lines in order; who asks last has the last line.
    let mut last = Raw::connect(gateway.address(80));
    assert_eq!(last.get("/last", "nobody.test").status, 404);
    let idle = |samples: &portcullis_tests::samples::Samples| {
        samples.sum("portcullis_downstream_requests_active", &[]) == 0.0
    };
    gateway.await_samples("every request has ended", idle);
    let lines = gateway.log_until("the last", |lines| lines.iter().any(|line| line["path"] == "/last"));
    let mut of: BTreeMap<&'static str, Vec<Forwarded>> = BTreeMap::new();
    for backend in backends {
        let address = backend.address.to_string();
        let own = lines.iter().filter(|line| line["upstream_host"] == *address);
        of.insert(backend.name, own.map(read).collect());
    }
    of
}

fn read(line: &Value) -> Forwarded {
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let length = line["bytes_received"].as_u64().unwrap_or_default();
    let request = Seen { method: text("method"), target: text("path"), length };
    Forwarded { request, status: line["response_code"].as_u64().unwrap_or_default() }
}

/// Every request that the backend has seen is one that the gateway sent it, and every one that it answered has been
/// seen. What it refused by itself, or what broke off, is seen or not.
fn compare(name: &str, seed: u64, corpus: &[Item], sent: &[Forwarded], seen: &[Seen]) {
    let mut left: Vec<&Forwarded> = sent.iter().collect();
    let mut wrong = Vec::new();
    for request in seen {
        match left.iter().position(|sent| sent.request == *request) {
            Some(at) => drop(left.swap_remove(at)),
            None => wrong.push(("seen, but not sent", request.clone())),
        }
    }
    let unseen = left
        .iter()
        .filter(|sent| sent.status == 200)
        .map(|sent| ("sent, but not seen", sent.request.clone()));
    wrong.extend(unseen);
    let shown: Vec<_> =
        wrong.iter().take(5).map(|(what, request)| (what, request, bytes_of(corpus, request))).collect();
    assert!(wrong.is_empty(), "{name} reads {} requests differently, seed {seed}: {shown:#?}", wrong.len());
}

fn bytes_of(corpus: &[Item], request: &Seen) -> String {
    let number = request.target.split('/').nth(1).and_then(|number| number.parse::<usize>().ok());
    let item = number.and_then(|number| corpus.iter().find(|item| item.number == number));
    item.map_or_else(String::new, |item| String::from_utf8_lossy(&item.bytes).into_owned())
}
