//! What a peer may make the gateway wait for or hold: slow heads, idle connections, many connections, and bodies
//! that one side sends faster than the other takes them.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

use std::io::{ErrorKind, Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{routes, service, site, to};
use portcullis_tests::objects::{self, NAMESPACE, server};
use portcullis_tests::pki::Authority;
use portcullis_tests::process::run;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Gate, Upstream, ok};

const MIB: usize = 1024 * 1024;
/// Time for what must happen after one second.
const SOON: Duration = Duration::from_secs(15);

fn impatient(setting: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::serve(|_| ok("fine"));
    let setup = Setup::new(site(upstream.address(), ""), &[80]);
    let gateway = setup.settings(&format!("[limits]\n{setting} = 1\n")).start();
    (upstream, gateway)
}

#[test]
fn a_head_that_does_not_end_in_time_is_refused() {
    let (upstream, gateway) = impatient("header_timeout_seconds");
    let mut silent = Raw::connect(gateway.address(80));
    silent.send("GET /slow HTTP/1.1\r\nhost: a.te");
    // One that was served before, and one that always has another byte to send.
    let mut kept = Raw::connect(gateway.address(80));
    assert_eq!(kept.get("/first", "a.test").status, 200);
    kept.send("G");
    let mut busy = Raw::connect(gateway.address(80));
    busy.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let deadline = Instant::now() + SOON;
    let mut byte = [0];
    loop {
        assert!(Instant::now() < deadline, "a dribbling client is still waited for");
        busy.send("G");
        match busy.stream.read(&mut byte) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => break,
        }
    }
    for mut client in [silent, kept] {
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (408, "request header timeout"));
        assert!(client.is_closed());
    }
    assert_eq!(upstream.targets(), ["/first"]);
    let lines = gateway.log_lines(4);
    let timeouts = lines.iter().filter(|line| line["response_code_details"] == "request_header_timeout");
    assert_eq!(timeouts.count(), 3, "{lines:#?}");
}

#[test]
fn a_connection_without_requests_is_closed() {
    let (_upstream, gateway) = impatient("idle_timeout_seconds");
    let mut fresh = Raw::connect(gateway.address(80));
    let mut kept = Raw::connect(gateway.address(80));
    assert_eq!(kept.get("/", "a.test").status, 200);
    assert!(fresh.is_closed() && kept.is_closed());
    assert_eq!(gateway.log_lines(1).len(), 1);
}

/// The preface of HTTP/2 is a head too.
#[test]
fn a_preface_that_does_not_end_in_time_is_refused() {
    let (_upstream, gateway) = impatient("header_timeout_seconds");
    for begun in ["P", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut client = Raw::connect(gateway.address(80));
        client.send(begun);
        assert!(matches!(client.answer().status, 400 | 408), "{begun:?}");
        assert!(client.is_closed());
    }
}

#[test]
fn connections_beyond_the_limit_wait() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let setup = Setup::new(site(upstream.address(), ""), &[80]);
    let gateway = setup.settings("[limits]\nmax_connections_per_worker = 2\n").start();
    let mut inside = [(); 2].map(|()| Raw::connect(gateway.address(80)));
    for client in &mut inside {
        assert_eq!(client.get("/inside", "a.test").status, 200);
    }
    let mut outside = Raw::connect(gateway.address(80));
    outside.send("GET /outside HTTP/1.1\r\nhost: a.test\r\n\r\n");
    for client in &mut inside {
        assert_eq!(client.get("/again", "a.test").status, 200);
    }
    assert!(!upstream.targets().contains(&"/outside".to_owned()));
    drop(inside);
    assert_eq!(outside.answer().status, 200);
}

/// How much is sent through a gateway whose memory must not grow: `PORTCULLIS_TEST_UPLOAD_GIB`, else 2 GiB.
fn upload_size() -> usize {
    let gib = std::env::var("PORTCULLIS_TEST_UPLOAD_GIB").ok().and_then(|gib| gib.parse().ok());
    gib.unwrap_or(2) * 1024 * MIB
}

/// An upload through an upstream that reads nothing at first: the sender is held back, memory stays flat.
#[test]
fn an_upload_is_held_back_by_its_upstream() {
    let size = upload_size();
    let (stalled, go) = (Gate::new(), Gate::new());
    let (waits, starts) = (stalled.clone(), go.clone());
    let upstream = Upstream::script(move |mut conn| {
        let Some(head) = conn.raw.head() else { return };
        waits.pass();
        starts.pass();
        let (mut left, mut piece) = (size - conn.raw.buffered(), vec![0; MIB]);
        while left > 0 {
            match conn.raw.stream.read(&mut piece) {
                Ok(count @ 1..) => left = left.saturating_sub(count),
                _ => return,
            }
        }
        conn.arrived(head);
        conn.raw.send(ok("thanks"));
    });
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    let before = gateway.resident();
    let mut client = Raw::connect(gateway.address(80));
    client.send(format!("POST /upload HTTP/1.1\r\nhost: a.test\r\ncontent-length: {size}\r\n\r\n"));
    let sent_before_stall = send_until_stalled(&mut client);
    stalled.open();
    let while_stalled = gateway.resident();
    go.open();
    client.stream.set_write_timeout(Some(SOON)).unwrap();
    let (mut left, piece) = (size - sent_before_stall, vec![b'x'; MIB]);
    let mut highest = while_stalled;
    while left > 0 {
        let count = left.min(piece.len());
        client.stream.write_all(&piece[..count]).unwrap();
        left -= count;
        if left % (64 * MIB) < MIB {
            highest = highest.max(gateway.resident());
        }
    }
    assert_eq!(client.answer().text(), "thanks");
    assert!(highest.saturating_sub(before) < 8 * 1024, "{before} KiB grew to {highest} KiB");
    let line = gateway.log_of("/upload");
    assert_eq!(line["bytes_received"], size);
}

/// A download through a client that reads nothing at first.
#[test]
fn a_download_is_held_back_by_its_client() {
    let size = 256 * MIB;
    let stalled = Gate::new();
    let tell = stalled.clone();
    let upstream = Upstream::script(move |mut conn| {
        if conn.request().is_none() {
            return;
        }
        conn.raw.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n"));
        let mut left = size - send_until_stalled(&mut conn.raw);
        tell.open();
        conn.raw.stream.set_write_timeout(Some(SOON)).unwrap();
        let piece = vec![b'x'; MIB];
        while left > 0 && conn.raw.stream.write_all(&piece[..left.min(MIB)]).is_ok() {
            left -= left.min(MIB);
        }
    });
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    let before = gateway.resident();
    let mut client = Raw::connect(gateway.address(80));
    client.send("GET /download HTTP/1.1\r\nhost: a.test\r\n\r\n");
    stalled.pass();
    let held = gateway.resident();
    let head = client.head().unwrap();
    assert_eq!(head.header("content-length"), Some(&*size.to_string()));
    let mut left = size - client.exactly(1).len();
    let mut piece = vec![0; MIB];
    left -= client.buffered();
    while left > 0 {
        left -= client.stream.read(&mut piece).unwrap();
    }
    let highest = held.max(gateway.resident());
    assert!(highest.saturating_sub(before) < 8 * 1024, "{before} KiB grew to {highest} KiB");
    assert_eq!(gateway.log_of("/download")["bytes_sent"], size);
}

/// Sends until nothing has been taken for a while, as full buffers show; tells how much went out.
fn send_until_stalled(raw: &mut Raw) -> usize {
    raw.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    loop {
        match raw.stream.write(&piece) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return sent,
            Err(error) => panic!("sending: {error}"),
        }
        assert!(sent < 64 * MIB, "the gateway takes more than the system's buffers hold");
    }
}

/// Many heads that never end cost little and are gone after the limit.
#[test]
fn many_slow_heads_leave_nothing_behind() {
    let (_upstream, gateway) = impatient("header_timeout_seconds");
    let before = gateway.resident();
    let slow: Vec<Raw> = (0..400)
        .map(|_| {
            let mut client = Raw::connect(gateway.address(80));
            client.send("GET / HTTP/1.1\r\nhost: a.te");
            client
        })
        .collect();
    assert_eq!(
        Raw::connect(gateway.address(80)).get("/", "a.test").status,
        200,
        "others are served meanwhile"
    );
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < 400 * 64, "{grown} KiB for 400 slow heads");
    for mut client in slow {
        assert_eq!(client.answer().status, 408);
    }
    let samples = gateway.await_samples("the connections are gone", |samples| {
        samples.sum("portcullis_downstream_connections_active", &[]) == 0.0
    });
    assert_eq!(samples.sum("portcullis_drops_total", &[("reason", "header_timeout")]), 400.0);
}

/// curl's own count of connections: a new one for each third request.
#[test]
fn a_connection_carries_so_many_requests_and_no_more() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let certificate = Authority::new("a").server(&["a.test"]).tls_secret(NAMESPACE, "a");
    let objects =
        objects::gateway("gw", &[server(443, "HTTPS", &["*"], "{mode: SIMPLE, credentialName: a}")])
            + &routes("app", &["*"], &[to("app", "")])
            + &service("app", "http", &[upstream.address()])
            + "\n---\n"
            + &certificate;
    let gateway = Setup::new(objects, &[443]).settings("[limits]\nmax_requests_per_connection = 2\n").start();
    let url = format!("https://{}/", gateway.address(443));
    for version in ["--http1.1", "--http2"] {
        let mut curl = Command::new("curl");
        curl.args([version, "--insecure", "--silent", "--write-out", " %{http_code} %{num_connects}\n"]);
        let finished = run(curl.args([&url; 5]), SOON).unwrap();
        let seen = finished.stdout;
        assert_eq!(seen, "fine 200 1\nfine 200 0\nfine 200 1\nfine 200 0\nfine 200 1\n", "{version}");
    }
}
