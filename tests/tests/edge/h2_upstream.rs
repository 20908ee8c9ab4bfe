//! Upstreams that break HTTP/2: their clients get an error or a body that visibly breaks off, nothing they send becomes
//! a line of HTTP/1, and nothing they repeat is held.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_tests::frames::{END_HEADERS, END_STREAM, PREFACE, block, frame, get, headers, kind, reset};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{gateway, routes, service, to};
use portcullis_tests::raw::{Answer, Message, Raw};
use portcullis_tests::upstream::{Conn, Upstream};

/// What a flood may cost, KiB.
const FLAT: u64 = 16 * 1024;

/// An upstream that answers its first request with these bytes, and those that follow as it should.
fn answering(answer: Vec<u8>) -> Upstream {
    let bad = AtomicBool::new(true);
    Upstream::script(move |mut conn| {
        greet(&mut conn);
        while let Some(head) = conn.raw.frame_that(|frame| frame.kind == kind::HEADERS) {
            conn.arrived(Message::default());
            if bad.swap(false, Ordering::AcqRel) {
                conn.raw.send(&answer);
            } else {
                let fine = frame(kind::DATA, END_STREAM, head.stream, b"fine");
                conn.raw.send([headers(head.stream, 0, &[(":status", "200")]), fine].concat());
            }
        }
    })
}

fn greet(conn: &mut Conn) {
    assert_eq!(conn.raw.exactly(PREFACE.len()), PREFACE);
    conn.raw.send(frame(kind::SETTINGS, 0, 0, &[]));
}

fn start(upstream: &Upstream, more: &str) -> Gateway {
    let yaml = gateway()
        + &routes("app", &["*"], &[to("app", &format!("retries: {{attempts: 0}}{more}"))])
        + &service("app", "http2", &[upstream.address()]);
    Setup::new(yaml, &[80]).start()
}

/// The answer to a GET over HTTP/1.
fn ask(gateway: &Gateway, path: &str) -> (Answer, Raw) {
    let mut client = Raw::connect(gateway.address(80));
    (client.get(path, "a.test"), client)
}

fn response(more: &[(&str, &str)], body: &str) -> Vec<u8> {
    let fields = [&[(":status", "200")], more].concat();
    [headers(1, 0, &fields), frame(kind::DATA, END_STREAM, 1, body.as_bytes())].concat()
}

/// Each answer costs its own request alone.
fn check_refused(cases: Vec<Vec<u8>>) {
    for case in cases {
        let shown = String::from_utf8_lossy(&case[..case.len().min(200)]).into_owned();
        let upstream = answering(case);
        let gateway = start(&upstream, ", timeout: 5s");
        let (answer, mut client) = ask(&gateway, "/bad");
        assert!(matches!(answer.status, 502 | 503), "{shown:?}: {answer:?}");
        assert_eq!(client.get("/fine", "a.test").text(), "fine", "{shown:?}");
        assert_eq!(ask(&gateway, "/fine").0.text(), "fine", "{shown:?}");
        assert_eq!(gateway.log_lines(3).len(), 3);
    }
}

/// CVE-2023-27491: fields that HTTP/1 would read as other lines, and fields of connections.
#[test]
fn heads_with_invalid_fields_are_bad_gateway() {
    let smuggled = "a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let fields: [(&str, &str); 15] = [
        ("X-A", "a"),
        ("", "a"),
        ("x a", "a"),
        ("x\r\nb", "a"),
        ("transfer-encoding ", "chunked"),
        ("x", smuggled),
        ("x", "a\nb: c"),
        ("x", "a\rb: c"),
        ("x", "a\0b"),
        ("connection", "close"),
        ("connection", "keep-alive, x"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
    ];
    check_refused(fields.into_iter().map(|field| response(&[field], "abc")).collect());
}

#[test]
fn heads_with_two_readings_are_bad_gateway() {
    let length = |value| ("content-length", value);
    check_refused(vec![
        response(&[length("3"), length("3")], "abc"),
        response(&[length("3"), length("4")], "abc"),
        response(&[length("3, 3")], "abc"),
        response(&[length("+3")], "abc"),
        response(&[length("")], "abc"),
        response(&[length("")], ""),
        headers(1, END_STREAM, &[(":status", "200"), ("content-length", "3")]),
        headers(1, END_STREAM, &[("x", "y")]),
        headers(1, END_STREAM, &[(":status", "abc")]),
        headers(1, END_STREAM, &[(":status", "99")]),
        headers(1, END_STREAM, &[(":status", "2000")]),
        headers(1, END_STREAM, &[(":status", "200"), (":status", "204")]),
        headers(1, END_STREAM, &[("x", "y"), (":status", "200")]),
        // A switch of protocols that HTTP/2 does not have.
        headers(1, END_STREAM, &[(":status", "101")]),
        headers(1, 0, &[(":status", "101")]),
        // An informational answer that is the last.
        headers(1, END_STREAM, &[(":status", "103")]),
    ]);
}

/// Frames that are against the rules of the connection.
#[test]
fn frames_against_the_rules_are_bad_gateway() {
    let fine = headers(1, END_STREAM, &[(":status", "200")]);
    let long = block(&[(":status", "200"), ("x", &"y".repeat(16_000))]);
    let bomb: Vec<Vec<u8>> = (0..9)
        .map(|number| {
            let flags = if number == 8 { END_HEADERS } else { 0 };
            frame(kind::CONTINUATION, flags, 1, &block(&[("x", "y".repeat(16_000))]))
        })
        .collect();
    check_refused(vec![
        // The head is not the first.
        frame(kind::DATA, END_STREAM, 1, b"abc"),
        // On streams that nobody opened.
        headers(3, END_STREAM, &[(":status", "200")]),
        headers(2, END_STREAM, &[(":status", "200")]),
        frame(kind::DATA, END_STREAM, 5, b"abc"),
        frame(kind::RST_STREAM, 0, 9, &[0; 4]),
        // Pushed, although that is switched off.
        frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block(&[(":path", "/x")])].concat()),
        // Too long a frame; frames whose length says something else; a block that another frame interrupts.
        [&[1, 0, 0, kind::DATA, 0, 0, 0, 0, 1][..], &vec![0; 1 << 16]].concat(),
        frame(kind::RST_STREAM, 0, 1, &[0; 3]),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(kind::WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes()).repeat(2),
        frame(kind::SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        frame(kind::SETTINGS, 0, 0, &[0; 5]),
        [frame(kind::HEADERS, 0, 1, &long), fine].concat(),
        frame(kind::CONTINUATION, END_HEADERS, 1, &long),
        // A header list beyond 60 KiB.
        [vec![frame(kind::HEADERS, 0, 1, &long)], bomb].concat().concat(),
        // No HPACK: an index that no table has.
        frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &[0xff, 0xff, 0x7f]),
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec(),
        reset(1, 2),
    ]);
}

/// More or less content than announced, and frames behind the end: the client's connection never gets out of step.
#[test]
fn bodies_that_break_off_break_off_for_the_client() {
    let head = |length: &'static str| headers(1, 0, &[(":status", "200"), ("content-length", length)]);
    let data = |flags: u8, text: &str| frame(kind::DATA, flags, 1, text.as_bytes());
    let cases = [
        ([head("10"), data(END_STREAM, "abc")].concat(), true),
        ([head("2"), data(END_STREAM, "abc")].concat(), true),
        ([head("10"), data(0, "abc"), reset(1, 2)].concat(), true),
        ([headers(1, 0, &[(":status", "200")]), data(0, "abc"), reset(1, 2)].concat(), true),
        ([head("3"), data(END_STREAM, "abc"), data(END_STREAM, "poison")].concat(), false),
        ([head("3"), data(END_STREAM, "abc"), head("6"), data(END_STREAM, "poison")].concat(), false),
        ([head("3"), data(END_STREAM, "abc"), reset(1, 8)].concat(), false),
    ];
    for (number, (answer, cut)) in cases.into_iter().enumerate() {
        let upstream = answering(answer);
        let gateway = start(&upstream, "");
        let mut client = Raw::connect(gateway.address(80));
        client.send("GET /body HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status, answer.message.truncated), (200, cut), "case {number}");
        match cut {
            true => assert!(client.is_closed(), "case {number}"),
            false => {
                assert_eq!(answer.text(), "abc", "case {number}");
                assert_eq!(client.get("/fine", "a.test").text(), "fine", "case {number}");
            }
        }
        assert_eq!(ask(&gateway, "/fine").0.text(), "fine", "case {number}");
    }
}

/// CVE-2021-32780: a GOAWAY, and SETTINGS behind it that allow no stream.
#[test]
fn a_goaway_before_settings_without_streams_harms_nobody() {
    let goaway = frame(kind::GOAWAY, 0, 0, &[0; 8]);
    let none = frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0]);
    for first in [[goaway.clone(), none.clone()].concat(), [none.clone(), goaway].concat(), none] {
        let upstream = Upstream::script(move |mut conn| {
            greet(&mut conn);
            if conn.raw.frame_that(|frame| frame.kind == kind::HEADERS).is_some() {
                conn.raw.send(&first);
                conn.raw.rest();
            }
        });
        let gateway = start(&upstream, ", timeout: 1s");
        for _ in 0..3 {
            let (answer, _) = ask(&gateway, "/");
            assert!(matches!(answer.status, 503 | 504), "{answer:?} {:?}", gateway.access_log());
        }
        assert_eq!(gateway.log_lines(3).len(), 3);
        // Each request tries a few connections, none without end.
        assert!(upstream.connections() <= 3 * 9, "{} connections", upstream.connections());
    }
}

/// An upstream that allows no stream from the beginning: requests wait as long as their route says, no longer.
#[test]
fn an_upstream_without_streams_is_waited_for_in_bounds() {
    let upstream = Upstream::script(|mut conn| {
        assert_eq!(conn.raw.exactly(PREFACE.len()), PREFACE);
        conn.raw.send(frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0]));
        conn.raw.rest();
    });
    let gateway = start(&upstream, ", timeout: 1s");
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "/").0.status, 504);
    }
    gateway.await_samples("nothing is left", |samples| {
        samples.sum("portcullis_downstream_requests_active", &[]) == 0.0
    });
}

/// Floods of an upstream's (CVE-2019-9512, -9515, CVE-2024-30255, RUSTSEC-2026-0258 the other way round): the client
/// gets its answer or an error, memory stays where it was.
#[test]
fn floods_of_an_upstream_are_held_back_or_end_its_connection() {
    let head = headers(1, 0, &[(":status", "200")]);
    let begun = frame(kind::HEADERS, 0, 1, &block(&[(":status", "200")]));
    let floods: [(&str, Vec<u8>, Vec<u8>); 7] = [
        ("PING", Vec::new(), frame(kind::PING, 0, 0, b"01234567")),
        ("SETTINGS", Vec::new(), frame(kind::SETTINGS, 0, 0, &[])),
        ("CONTINUATION", begun.clone(), frame(kind::CONTINUATION, 0, 1, &[])),
        ("long CONTINUATION", begun, frame(kind::CONTINUATION, 0, 1, &block(&[("x", "y".repeat(9_000))]))),
        ("empty DATA", head.clone(), frame(kind::DATA, 0, 1, &[])),
        ("padding", head, frame(kind::DATA, 8, 1, &[&[100][..], &[0; 100]].concat())),
        ("RST_STREAM", Vec::new(), reset(1, 8)),
    ];
    for (name, first, piece) in floods {
        let upstream = Upstream::script(move |mut conn| {
            greet(&mut conn);
            if conn.raw.frame_that(|frame| frame.kind == kind::HEADERS).is_none() {
                return;
            }
            conn.raw.send(&first);
            let _ = conn.raw.stream.set_write_timeout(Some(Duration::from_secs(1)));
            let pieces = piece.repeat(100);
            let taken = (0..2_000).take_while(|_| conn.raw.send(&pieces)).count();
            if taken == 2_000 {
                conn.raw.send(headers(1, END_STREAM, &[(":status", "200")]));
            }
        });
        let gateway = start(&upstream, ", timeout: 10s");
        let before = gateway.resident();
        let mut client = Raw::connect(gateway.address(80));
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let answer = client.answer();
        assert!(matches!(answer.status, 200 | 502 | 503 | 504), "{name}: {answer:?}");
        let grown = gateway.resident().saturating_sub(before);
        assert!(grown < FLAT, "{name}: {grown} KiB");
        assert_eq!(gateway.log_lines(1).len(), 1, "{name}");
    }
}

/// Informational answers cost an upstream nothing; what they come to is bounded, for clients of either version and for
/// those that read nothing.
#[test]
fn informational_answers_without_end_are_given_up() {
    for http2 in [false, true] {
        let upstream = Upstream::script(|mut conn| {
            greet(&mut conn);
            let Some(head) = conn.raw.frame_that(|frame| frame.kind == kind::HEADERS) else { return };
            let link = "</a>; rel=preload".repeat(20);
            let hints = headers(head.stream, 0, &[(":status", "103"), ("link", &link)]).repeat(50);
            while conn.raw.send(&hints) {}
        });
        let gateway = start(&upstream, "");
        let before = gateway.resident();
        // Asks, and reads nothing.
        let mut client =
            if http2 { Raw::http2(gateway.address(80)) } else { Raw::connect(gateway.address(80)) };
        match http2 {
            true => client.send(headers(1, END_STREAM, &get("/hints"))),
            false => client.send("GET /hints HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        };
        let line = gateway.logged(|line| line["path"] == "/hints");
        assert_eq!(
            (line["response_code"].as_u64(), line["response_flags"].as_str()),
            (Some(502), Some("UPE"))
        );
        let grown = gateway.resident().saturating_sub(before);
        assert!(grown < FLAT, "{grown} KiB");
    }
}
