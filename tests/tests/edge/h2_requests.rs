//! Requests over HTTP/2 whose fields or bodies two parsers could read differently once they are HTTP/1.

use portcullis_tests::frames::{END_STREAM, block, frame, get, headers, kind};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::site;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};

/// What becomes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// A response of this status.
    Status(u16),
    /// A reset of the stream, or the end of the connection.
    Refused,
}

/// Sends frames on a connection of their own and waits for the answer on stream 1.
fn ask(gateway: &Gateway, frames: &[u8]) -> Seen {
    let mut client = Raw::http2(gateway.address(80));
    client.send(frames);
    let last = client.frame_that(|frame| {
        frame.kind == kind::GOAWAY
            || frame.stream == 1 && matches!(frame.kind, kind::HEADERS | kind::RST_STREAM)
    });
    match last {
        Some(frame) if frame.kind == kind::HEADERS => Seen::Status(frame.status().unwrap_or(0)),
        _ => Seen::Refused,
    }
}

/// A request with `more` behind the pseudo-header fields of `POST /refused`, and a body in one DATA frame.
fn post(more: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut fields = get("/refused").to_vec();
    fields[0].1 = "POST";
    fields.extend_from_slice(more);
    [headers(1, 0, &fields), frame(kind::DATA, END_STREAM, 1, body.as_bytes())].concat()
}

/// A GET with `more` behind the pseudo-header fields.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    headers(1, END_STREAM, &[&get("/refused"), more].concat())
}

/// A GET in which one pseudo-header field has another value; without it if there is none.
fn pseudo(name: &str, value: Option<&str>) -> Vec<u8> {
    let fields: Vec<(&str, &str)> = get("/refused")
        .into_iter()
        .filter_map(|(own, given)| Some((own, if own == name { value? } else { given })))
        .collect();
    headers(1, END_STREAM, &fields)
}

/// No request of these reaches the upstream whole, the connection's other streams go on where it lives, and so do
/// other clients.
fn check_refused(cases: &[Vec<u8>]) {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|case| match ask(&gateway, case) {
            Seen::Refused | Seen::Status(400) => None,
            seen => Some((seen, String::from_utf8_lossy(case).into_owned())),
        })
        .collect();
    let arrived: Vec<_> = upstream.arrivals().into_iter().map(|arrival| arrival.message).collect();
    assert!(wrong.is_empty() && arrived.is_empty(), "{wrong:#?}\nreached the upstream: {arrived:#?}");
    assert_eq!(Raw::connect(gateway.address(80)).get("/fine", "a.test").status, 200);
}

/// CVE-2026-48743 and its kin: lengths that disagree, are said twice or are no numbers.
#[test]
fn lengths_that_do_not_agree_are_refused() {
    let length = |value| ("content-length", value);
    check_refused(&[
        post(&[length("3"), length("3")], "abc"),
        post(&[length("3"), length("4")], "abc"),
        post(&[length("3, 3")], "abc"),
        post(&[length("+3")], "abc"),
        post(&[length("0x3")], "abc"),
        post(&[length(" 3")], "abc"),
        post(&[length("3 ")], "abc"),
        post(&[length("")], "abc"),
        post(&[length("9999999999999999999")], "abc"),
        post(&[length("99999999999999999999999")], "abc"),
        post(&[length("3")], "ab"),
        post(&[length("3")], "abcd"),
        with(&[length("3")]),
        with(&[length("")]),
        with(&[length("0"), length("0")]),
    ]);
}

/// RFC 9113 §8.2.2: what HTTP/1 frames and connects with has no place here.
#[test]
fn fields_of_connections_are_refused() {
    let chunks = "3\r\nabc\r\n0\r\n\r\n";
    check_refused(&[
        post(&[("transfer-encoding", "chunked")], chunks),
        post(&[("transfer-encoding", "chunked"), ("content-length", "13")], chunks),
        with(&[("connection", "close")]),
        with(&[("connection", "x-forwarded-for")]),
        with(&[("keep-alive", "timeout=5")]),
        with(&[("proxy-connection", "keep-alive")]),
        with(&[("upgrade", "websocket")]),
        with(&[("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQAAP__")]),
        with(&[("te", "gzip")]),
    ]);
}

/// CVE-2023-27491 seen from the client: names and values that would be other lines in HTTP/1.
#[test]
fn names_and_values_that_break_lines_are_refused() {
    let smuggled = "a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n";
    check_refused(&[
        with(&[("X-A", "a")]),
        with(&[("", "a")]),
        with(&[("x a", "a")]),
        with(&[("x:a", "a")]),
        with(&[("x\r\nb", "a")]),
        with(&[("transfer-encoding ", "chunked")]),
        with(&[("x\0", "a")]),
        with(&[("x\u{e9}", "a")]),
        with(&[("x", smuggled)]),
        with(&[("x", "a\nb: c")]),
        with(&[("x", "a\rb: c")]),
        with(&[("x", "a\0b")]),
        with(&[("cookie", "a\r\nx: y"), ("cookie", "b")]),
    ]);
}

/// What stands in a request line once it is HTTP/1, and the host by which everything is decided.
#[test]
fn pseudo_fields_that_are_no_request_line_are_refused() {
    let mut cases = vec![
        with(&[(":path", "/other")]),
        with(&[(":x", "a")]),
        with(&[(":status", "200")]),
        with(&[(":protocol", "websocket")]),
        with(&[("x", "a"), (":path", "/other")]),
        with(&[("host", "b.test")]),
        with(&[("host", "a.test"), ("host", "a.test")]),
        with(&[("host", "a.test"), ("host", "b.test")]),
    ];
    for name in [":method", ":scheme", ":path", ":authority"] {
        cases.push(pseudo(name, None));
    }
    for path in [
        "",
        "refused",
        "http://b.test/",
        "/a b",
        "/a\tb",
        "/a\r\nx: y",
        "/a\0",
        "/ HTTP/1.1\r\nx: y",
        "?q",
        "a.test:80",
    ] {
        cases.push(pseudo(":path", Some(path)));
    }
    for authority in [
        "",
        "a.test/x",
        "user@a.test",
        "a.test b",
        "a.test\r\nx: y",
        "a.test\0",
        "a.test#x",
        "a.test?x",
        "a.test\\x",
    ] {
        cases.push(pseudo(":authority", Some(authority)));
    }
    for method in ["", "head", "Connect", "GET /x HTTP/1.1\r\nx:", "GET ", "CONNECT"] {
        cases.push(pseudo(":method", Some(method)));
    }
    for scheme in ["h t", "http\r\nx: y", "http://b.test/"] {
        cases.push(pseudo(":scheme", Some(scheme)));
    }
    check_refused(&cases);
}

/// Trailers are no headers, and no requests.
#[test]
fn trailers_change_nothing() {
    let upstream = Upstream::serve(|request| ok(&format!("{}", request.body.len())));
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    let trailers = |fields: &[(&str, &str)]| {
        [
            headers(1, 0, &post_fields()),
            frame(kind::DATA, 0, 1, b"abc"),
            frame(kind::HEADERS, END_STREAM | 4, 1, &block(fields)),
        ]
        .concat()
    };
    // None goes on into HTTP/1, whatever it says.
    for fields in [
        &[("content-length", "9")][..],
        &[("x-forwarded-for", "1.1.1.1")],
        &[("host", "b.test")],
        &[(":path", "/b"), (":authority", "b.test")],
    ] {
        assert_eq!(ask(&gateway, &trailers(fields)), Seen::Status(200), "{fields:?}");
    }
    let whole = upstream.arrivals().len();
    for fields in [&[("X", "a")][..], &[("x", "a\r\nb: c")], &[("connection", "close")]] {
        assert_eq!(ask(&gateway, &trailers(fields)), Seen::Refused, "{fields:?}");
    }
    for arrival in upstream.arrivals() {
        let message = arrival.message;
        assert_eq!((message.target(), &message.body[..]), ("/trailers", &b"abc"[..]));
        assert_eq!((message.header("host"), message.trailers.len()), (Some("a.test"), 0));
        assert_ne!(message.header("x-forwarded-for"), Some("1.1.1.1"));
    }
    assert_eq!(upstream.arrivals().len(), whole);
}

fn post_fields() -> [(&'static str, &'static str); 4] {
    [(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/trailers")]
}

/// CVE-2023-35944: a scheme in whatever case is no word of the client's on how it came; CVE-2021-39156 and
/// CVE-2021-32779: a `#fragment` ends no path that rules look at.
#[test]
fn schemes_and_fragments_are_no_way_around_a_rule() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    for scheme in ["http", "HTTP", "https", "HttPs", ""] {
        assert_eq!(ask(&gateway, &pseudo(":scheme", Some(scheme))), Seen::Status(200), "{scheme}");
        let arrival = upstream.arrivals().pop().expect("served");
        assert_eq!(arrival.message.header("x-forwarded-proto"), Some("http"), "{scheme}");
    }
    // As recorded: rules and the upstream see what stands before the fragment.
    for (path, seen) in
        [("/admin#x", "/admin"), ("/x/../admin#/../y", "/admin"), ("/#", "/"), ("/a?b#c?d", "/a?b")]
    {
        assert_eq!(ask(&gateway, &pseudo(":path", Some(path))), Seen::Status(200), "{path}");
        let whole = format!("http://a.test{path}");
        for target in [path, &whole] {
            let mut client = Raw::connect(gateway.address(80));
            client.send(format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
            assert_eq!(client.answer().status, 200, "{target}");
        }
        assert_eq!(upstream.targets().split_off(upstream.targets().len() - 3), [seen; 3], "{path}");
    }
}

/// Bytes beyond ASCII in a path mean different things to different upstreams; HTTP/1 clients are refused them too.
#[test]
fn paths_beyond_ascii_are_refused() {
    check_refused(&[
        pseudo(":path", Some("/caf\u{e9}")),
        pseudo(":path", Some("/x?\u{e9}")),
        pseudo(":path", Some("/\u{7f}")),
        pseudo(":authority", Some("caf\u{e9}.test")),
    ]);
}
