//! The access log under hostile bytes: one line of JSON for each request, whatever stands in it.

use portcullis_tests::frames::{END_STREAM, get, headers, kind};
use portcullis_tests::gateway::Setup;
use portcullis_tests::http::site;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};

/// What would end a string, a line or a value, and what is no text.
const HOSTILE: [&[u8]; 9] = [
    b"\",\"response_code\":200,\"x\":\"",
    b"\\\",\\",
    b"\\u0000\\n{}",
    b"\xff\xfe\x80",
    b"\xc0\xaf\xed\xa0\x80",
    b"\xe2\x80\xa8\xe2\x80\xa9\xc2\x85",
    b"\t\t\t",
    b"<script>alert(1)</script>",
    b"%0d%0a%22%7d",
];

/// CVE-2024-45808 log injection, CVE-2024-34363 bytes that are no UTF-8.
#[test]
fn hostile_values_stay_inside_their_line() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    let mut requests = 0;
    for hostile in HOSTILE {
        for name in ["user-agent", "x-forwarded-for", "x-request-id", "referer", "x-forwarded-client-cert"] {
            let mut client = Raw::connect(gateway.address(80));
            let line = [name.as_bytes(), b": ", hostile, b"\r\n"].concat();
            client.send([b"GET /1 HTTP/1.1\r\nhost: a.test\r\n", &line[..], b"\r\n"].concat());
            assert_eq!(client.answer().status, 200, "{name} {hostile:?}");
            let mut client = Raw::http2(gateway.address(80));
            let mut fields: Vec<(&str, &[u8])> =
                get("/2").iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            fields.push((name, hostile.trim_ascii()));
            client.send(headers(1, END_STREAM, &fields));
            let head = client.frame_that(|frame| frame.kind == kind::HEADERS);
            assert_eq!(head.and_then(|head| head.status()), Some(200), "{name} {hostile:?}");
            requests += 2;
        }
        // In the path, the query and the host: refused or served, and logged either way.
        for head in [&b"GET /"[..], b"GET /?", b"GET http://a.test/", b"GET http://"] {
            let mut client = Raw::connect(gateway.address(80));
            client.send([head, hostile, b" HTTP/1.1\r\nhost: a.test\r\n\r\n"].concat());
            assert_ne!(client.answer().status, 0);
            requests += 1;
        }
    }
    // An upstream's words are no line either.
    let lines = gateway.log_lines(requests);
    assert_eq!(lines.len(), requests);
    let keys: Vec<&String> = lines[0].as_object().into_iter().flatten().map(|(key, _)| key).collect();
    for line in &lines {
        assert!(line.as_object().is_some_and(|line| line.keys().eq(keys.iter().copied())), "{line}");
    }
    let agents = lines.iter().filter_map(|line| line["user_agent"].as_str());
    assert!(agents.filter(|agent| agent.contains("response_code")).count() >= 2);
}

/// What an upstream or a handshake fails with stands in the log as it is, and nowhere else.
#[test]
fn hostile_upstreams_stay_inside_their_line() {
    let upstream = Upstream::script(|mut conn| {
        if conn.request().is_some() {
            conn.raw.send(
                b"HTTP/1.1 200 \xff\"}\r\ncontent-length: 0\r\nx: \"\\\xff\r\ngrpc-status: 9\"}\r\n\r\n",
            );
        }
    });
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    for _ in 0..2 {
        assert_eq!(Raw::connect(gateway.address(80)).get("/", "a.test").status, 200);
    }
    assert_eq!(gateway.log_lines(2).len(), 2);
}
