//! HTTP/1 framing on raw sockets: what two parsers could read differently is refused, answered once, and never
//! reaches an upstream; an upstream that breaks the framing never breaks a client's.

use portcullis_tests::gateway::Setup;
use portcullis_tests::http::site;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};
use serde_json::Value;

const CODEC: &str = "http1.codec_error";

/// A request and what becomes of it.
struct Refused {
    bytes: Vec<u8>,
    status: u16,
    body: &'static str,
    flags: &'static str,
    details: &'static str,
}

fn refused(bytes: impl Into<Vec<u8>>, status: u16, details: &'static str) -> Refused {
    let (body, flags) = match status {
        400 => ("Bad Request", "DPE"),
        403 => ("", "-"),
        404 => ("", "NR"),
        426 => ("Upgrade Required", "-"),
        431 => ("Request Header Fields Too Large", "DPE"),
        501 => ("Not Implemented", "DPE"),
        other => panic!("no such refusal: {other}"),
    };
    Refused { bytes: bytes.into(), status, body, flags, details }
}

/// A GET with these lines behind its Host.
fn get(lines: &str) -> String {
    format!("GET /refused HTTP/1.1\r\nhost: a.test\r\n{lines}\r\n")
}

/// A POST with these lines behind its Host, and a body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /refused HTTP/1.1\r\nhost: a.test\r\n{lines}\r\n{body}")
}

fn bad_lengths() -> Vec<Refused> {
    let codec = |lines: &str| refused(post(lines, "abc"), 400, CODEC);
    vec![
        codec("content-length: 3\r\ncontent-length: 4\r\n"),
        codec("content-length: 3\r\ncontent-length: 3\r\n"),
        codec("content-length: 3, 3\r\n"),
        codec("content-length: 3 3\r\n"),
        codec("content-length: +3\r\n"),
        codec("content-length: -3\r\n"),
        codec("content-length: 0x3\r\n"),
        codec("content-length: 3.0\r\n"),
        codec("content-length:\r\n"),
        codec("content-length: 99999999999999999999999\r\n"),
        codec("content-length: \u{b}3\r\n"),
    ]
}

fn bad_codings() -> Vec<Refused> {
    let both = "http1.content_length_and_chunked_not_allowed";
    let coding = "http1.invalid_transfer_encoding";
    let chunks = "3\r\nabc\r\n0\r\n\r\n";
    vec![
        refused(post("content-length: 3\r\ntransfer-encoding: chunked\r\n", chunks), 400, both),
        refused(post("transfer-encoding: chunked\r\ncontent-length: 3\r\n", chunks), 400, both),
        refused(post("transfer-encoding: gzip, chunked\r\n", chunks), 501, coding),
        refused(post("transfer-encoding: chunked, identity\r\n", chunks), 501, coding),
        refused(post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", chunks), 501, coding),
        refused(post("transfer-encoding: xchunked\r\n", chunks), 501, coding),
        refused(post("transfer-encoding: \"chunked\"\r\n", chunks), 501, coding),
        refused(post("transfer-encoding: identity\r\n", chunks), 501, coding),
        refused(post("transfer-encoding: identity\r\ncontent-length: 3\r\n", "abc"), 400, both),
        refused(post("transfer-encoding:\r\n", chunks), 501, coding),
        refused(post("transfer-encoding: \u{b}chunked\r\n", chunks), 400, CODEC),
        refused(
            format!("POST /refused HTTP/1.0\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"),
            426,
            "low_version",
        ),
    ]
}

fn bad_lines() -> Vec<Refused> {
    let codec = |bytes: String| refused(bytes, 400, CODEC);
    vec![
        codec("GET /refused HTTP/1.1\nhost: a.test\n\n".to_owned()),
        codec("GET /refused HTTP/1.1\r\nhost: a.test\n\r\n".to_owned()),
        codec(get("x-a: a\rb\r\n")),
        codec(get("x-a: a\r\r\n")),
        codec(get("x-a: a\r\n b\r\n")),
        codec(get("x-a: a\r\n\tb\r\n")),
        codec("GET /refused HTTP/1.1\r\n host: a.test\r\n\r\n".to_owned()),
        codec(get("x-a : a\r\n")),
        codec(get("x-a\t: a\r\n")),
        codec(get("x a: a\r\n")),
        codec(get("xa\r\n")),
        codec(get(": a\r\n")),
        codec(get(":path: /x\r\n")),
        codec(get("x\"a: a\r\n")),
        codec(get("x@a: a\r\n")),
        codec(get("x\0a: a\r\n")),
        codec(get("x-a: a\0b\r\n")),
        codec(get("x-a: a\u{1}b\r\n")),
        codec(get("x-a: a\u{7f}b\r\n")),
        codec(get("host: a.test\r\n")),
        codec(get("host: b.test\r\n")),
        codec("GET  /refused HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
        codec("GET\t/refused\tHTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
        codec("GET /refused x HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
        codec("GET /refused http/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
        codec("GET /ref\0used HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
        codec("GET /ref\u{e9}used HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
        codec("GET refused HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
        codec("GET * HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
        codec("GET ftp://a.test/ HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
        codec("GET /refused HTTP/1.1\r\nhost: a.test/x\r\n\r\n".to_owned()),
        codec("GET /refused HTTP/1.1\r\nhost: user@a.test\r\n\r\n".to_owned()),
        codec("get /refused HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
        codec("FROB /refused HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
        codec("HELLO\r\n\r\n".to_owned()),
        codec("\u{16}\u{3}\u{1}\0\u{10}\u{1}\0\0\u{c}".to_owned()),
        codec("\r\n\r\n\r\n\r\nGET /refused HTTP/1.1\r\nhost: a.test\r\n\r\n".to_owned()),
    ]
}

fn bad_versions() -> Vec<Refused> {
    let low = "low_version";
    vec![
        refused("GET /refused\r\n\r\n", 426, low),
        refused("GET /refused HTTP/0.9\r\nhost: a.test\r\n\r\n", 426, low),
        refused("GET /refused HTTP/1.0\r\nhost: a.test\r\n\r\n", 426, low),
        refused("GET /refused HTTP/1.2\r\nhost: a.test\r\n\r\n", 426, low),
        refused("GET /refused HTTP/3.0\r\nhost: a.test\r\n\r\n", 426, low),
    ]
}

fn bad_upgrades() -> Vec<Refused> {
    let asked = "connection: upgrade\r\nupgrade: websocket\r\n";
    vec![
        refused(get("connection: upgrade\r\nupgrade: websocket, h2c\r\n"), 403, "upgrade_failed"),
        refused("CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n", 404, "route_not_found"),
        refused(post(&format!("{asked}content-length: 3\r\n"), "abc"), 400, CODEC),
        refused(post(&format!("{asked}transfer-encoding: chunked\r\n"), "0\r\n\r\n"), 400, CODEC),
    ]
}

fn too_much() -> Vec<Refused> {
    let long = "a".repeat(60 * 1024);
    vec![
        refused(get(&"x: y\r\n".repeat(100)), 431, "http1.too_many_headers"),
        refused(get(&format!("x: {long}\r\n")), 431, "http1.headers_too_large"),
        refused(format!("GET /{long} HTTP/1.1\r\nhost: a.test\r\n\r\n"), 431, "http1.headers_too_large"),
        // Never ended: refused all the same.
        refused(format!("GET /refused HTTP/1.1\r\nx: {long}"), 431, "http1.headers_too_large"),
    ]
}

fn missing_hosts() -> Vec<Refused> {
    let missing = |bytes: &str| Refused {
        bytes: bytes.into(),
        status: 400,
        body: "",
        flags: "-",
        details: "missing_host_header",
    };
    vec![
        missing("GET /refused HTTP/1.1\r\n\r\n"),
        missing(&get("connection: host\r\n")),
        refused(get("connection: close, X-Forwarded-For\r\n"), 400, CODEC),
        refused("GET http:///refused HTTP/1.1\r\nhost: a.test\r\n\r\n", 400, CODEC),
    ]
}

/// Bodies that break the chunked grammar; the upstream has seen the head of their requests, never an end.
fn bad_chunks() -> Vec<Refused> {
    let endless = format!("3;{}", "a".repeat(300));
    let long_trailers = format!("0\r\n{}\r\n", "x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(600));
    [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3 ;a\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "ffffffffffffffff\r\n",
        "00000000000000003\r\nabc\r\n0\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\nx: a\n\r\n",
        "0\r\n x: folded\r\n\r\n",
        "0\r\nx : a\r\n\r\n",
        "0\r\nx: a\0b\r\n\r\n",
        &endless,
        &long_trailers,
    ]
    .map(|chunks| refused(post("transfer-encoding: chunked\r\n", chunks), 400, CODEC))
    .into()
}

/// Sends each with another request hidden behind it, and looks at answers, upstream, log and metrics.
fn check(cases: &[Refused]) {
    let upstream = Upstream::serve(|_| ok("upstream"));
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    for case in cases {
        let shown = String::from_utf8_lossy(&case.bytes[..case.bytes.len().min(200)]).into_owned();
        let mut client = Raw::connect(gateway.address(80));
        client.send(&case.bytes);
        client.send("GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (case.status, case.body), "{shown:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
        assert_eq!(answer.header("server"), Some("istio-envoy"), "{shown:?}");
        assert!(client.is_closed(), "more than one answer to {shown:?}");
    }
    // One worker writes its lines in order: when this one is there, so are all before it.
    assert_eq!(Raw::connect(gateway.address(80)).get("/last", "a.test").status, 200);
    assert_eq!(upstream.targets(), ["/last"]);
    let lines = gateway.log_until("the last line", |lines| lines.iter().any(|line| line["path"] == "/last"));
    let expected: Vec<_> = cases.iter().map(|case| (case.status, case.flags, case.details)).collect();
    assert_eq!(outcomes(&lines[..lines.len() - 1]), expected);
    let counted = gateway.samples();
    assert_eq!(counted.sum("istio_requests_total", &[]), (cases.len() + 1) as f64);
    for case in cases {
        let labels = [("response_code", &*case.status.to_string()), ("response_flags", case.flags)];
        assert!(counted.sum("istio_requests_total", &labels) >= 1.0, "{labels:?}");
    }
}

fn outcomes(lines: &[Value]) -> Vec<(u16, &str, &str)> {
    lines
        .iter()
        .map(|line| {
            let status =
                line["response_code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
            let flags = line["response_flags"].as_str().unwrap_or_default();
            (status, flags, line["response_code_details"].as_str().unwrap_or_default())
        })
        .collect()
}

#[test]
fn ambiguous_lengths_are_refused() {
    check(&bad_lengths());
}

#[test]
fn transfer_codings_other_than_chunked_alone_are_refused() {
    check(&bad_codings());
}

#[test]
fn lines_that_need_repair_are_refused() {
    check(&bad_lines());
}

#[test]
fn other_versions_are_asked_to_upgrade() {
    check(&bad_versions());
}

#[test]
fn upgrades_with_bodies_and_connect_are_refused() {
    check(&bad_upgrades());
}

#[test]
fn heads_beyond_60_kib_or_100_lines_are_refused() {
    check(&too_much());
}

#[test]
fn a_missing_host_is_refused() {
    check(&missing_hosts());
}

#[test]
fn bad_chunks_are_refused() {
    check(&bad_chunks());
}

/// Target, authority and body as the upstream sees them.
type Received<'a> = (&'a str, &'a str, &'a str);

#[test]
fn unusual_requests_that_can_be_read_one_way_only_are_served() {
    let cases: [(&str, &[Received<'_>]); 10] = [
        ("\r\nGET /a HTTP/1.1\r\nhost: a.test\r\n\r\n", &[("/a", "a.test", "")]),
        ("\r\n\r\nGET /b HTTP/1.1\r\nhost: a.test\r\n\r\n", &[("/b", "a.test", "")]),
        ("GET http://b.test:81/c?d HTTP/1.1\r\nhost: a.test\r\n\r\n", &[("/c?d", "b.test:81", "")]),
        ("GET HTTP://b.test HTTP/1.1\r\nhost: a.test\r\n\r\n", &[("/", "b.test", "")]),
        (
            "GET /1 HTTP/1.1\r\nhost: a.test\r\n\r\nGET /2 HTTP/1.1\r\nhost: b.test\r\n\r\n",
            &[("/1", "a.test", ""), ("/2", "b.test", "")],
        ),
        (
            "POST /1 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabcPOST /2 HTTP/1.1\r\nhost: a.test\r\n\
             transfer-encoding: Chunked\r\n\r\n2;x=\"y\"\r\nde\r\n1\r\nf\r\n0\r\nt: 1\r\n\r\nGET /3 HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &[("/1", "a.test", "abc"), ("/2", "a.test", "def"), ("/3", "a.test", "")],
        ),
        ("GET /t HTTP/1.1\r\nhost: a.test\r\nx:\ta\tb \t\r\n\r\n", &[("/t", "a.test", "")]),
        ("GET /u HTTP/1.1\r\nhost: a.test\r\nupgrade: h2c\r\n\r\n", &[("/u", "a.test", "")]),
        (
            "GET /v HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
             http2-settings: AAMAAABk\r\n\r\nGET /w HTTP/1.1\r\nhost: a.test\r\n\r\n",
            &[("/v", "a.test", ""), ("/w", "a.test", "")],
        ),
        ("GET /h HTTP/1.1\r\nhost:a.test\r\nx: \u{e9}\r\ny:\r\n\r\n", &[("/h", "a.test", "")]),
    ];
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    for (bytes, expected) in cases {
        let before = upstream.arrivals().len();
        let mut client = Raw::connect(gateway.address(80));
        client.send(bytes);
        for _ in expected {
            let answer = client.answer();
            assert_eq!((answer.status, answer.text().as_str()), (200, "fine"), "{bytes:?}");
        }
        let seen: Vec<_> =
            upstream.arrivals().split_off(before).into_iter().map(|arrival| arrival.message).collect();
        let seen: Vec<_> = seen
            .iter()
            .map(|message| {
                let body = std::str::from_utf8(&message.body).unwrap_or("?");
                (message.target(), message.header("host").unwrap_or_default(), body)
            })
            .collect();
        assert_eq!(seen, expected, "{bytes:?}");
    }
    let all = cases.iter().map(|(_, expected)| expected.len()).sum();
    assert_eq!(gateway.log_lines(all).len(), all);
}
