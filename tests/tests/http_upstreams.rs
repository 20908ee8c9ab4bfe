//! Upstreams that break HTTP/1: the client sees an error or a body that visibly breaks off, its connection never
//! gets out of step, and nothing an upstream sends beyond its answer reaches anybody.

use portcullis_tests::gateway::Setup;
use portcullis_tests::http::site;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Conn, Gate, Upstream, ok};

/// What the client sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// An answer of the gateway's own.
    Refused(u16),
    /// The upstream's answer, with this body.
    Whole(u16, &'static str),
    /// The upstream's answer, breaking off behind this much of its body.
    Cut(&'static str),
}

/// What the upstream does with its connection behind its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Closes,
    Waits,
}

struct Case {
    answer: String,
    then: Then,
    seen: Seen,
    flags: &'static str,
    details: &'static str,
}

const CLOSED: &str = "upstream_reset_before_response_started{connection_termination}";
const BROKEN: &str = "upstream_reset_before_response_started{protocol_error}";
const CLOSED_LATE: &str = "upstream_reset_after_response_started{connection_termination}";
const BROKEN_LATE: &str = "upstream_reset_after_response_started{protocol_error}";

fn case(answer: impl Into<String>, then: Then, seen: Seen) -> Case {
    let (flags, details) = match seen {
        Seen::Refused(502) => ("UPE", BROKEN),
        Seen::Refused(_) => ("UC", CLOSED),
        Seen::Whole(..) => ("-", "via_upstream"),
        Seen::Cut(_) if then == Then::Closes => ("UC", CLOSED_LATE),
        Seen::Cut(_) => ("UPE", BROKEN_LATE),
    };
    Case { answer: answer.into(), then, seen, flags, details }
}

/// Each answer to a GET; the client's connection serves another request afterwards where it stays open.
fn check(cases: &[Case], method: &str) {
    let scripts: Vec<(String, Then)> = cases.iter().map(|case| (case.answer.clone(), case.then)).collect();
    let upstream = Upstream::script(move |mut conn: Conn| {
        while let Some(request) = conn.request() {
            let number =
                request.target().strip_prefix("/case/").and_then(|number| number.parse::<usize>().ok());
            let Some((answer, then)) = number.map(|number| &scripts[number]) else {
                conn.raw.send(ok("fine"));
                continue;
            };
            conn.raw.send(answer);
            if *then == Then::Closes {
                return;
            }
        }
    });
    let gateway = Setup::new(site(upstream.address(), "retries: {attempts: 0}"), &[80]).start();
    for (number, case) in cases.iter().enumerate() {
        let shown = &case.answer[..case.answer.len().min(200)];
        let mut client = Raw::connect(gateway.address(80));
        client.send(format!("{method} /case/{number} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
        let answer = if method == "HEAD" { client.answer_to_head() } else { client.answer() };
        let body = answer.text();
        let seen = match (answer.message.truncated, answer.status) {
            (true, 200) => matches!(case.seen, Seen::Cut(expected) if body == expected),
            (false, status @ (502 | 503)) => case.seen == Seen::Refused(status),
            (false, status) => matches!(case.seen, Seen::Whole(own, text) if own == status && body == text),
            (true, _) => false,
        };
        assert!(seen, "{:?} awaited for {shown:?}, got {answer:?}", case.seen);
        // The same connection where it lives, another one where the answer broke off.
        match case.seen {
            Seen::Cut(_) => assert!(client.is_closed()),
            _ => assert_eq!(client.get("/fine", "a.test").text(), "fine", "behind {shown:?}"),
        }
        assert_eq!(
            Raw::connect(gateway.address(80)).get("/fine", "a.test").text(),
            "fine",
            "behind {shown:?}"
        );
    }
    for (number, case) in cases.iter().enumerate() {
        let line = gateway.log_of(&format!("/case/{number}"));
        let logged = (line["response_flags"].as_str(), line["response_code_details"].as_str());
        assert_eq!(logged, (Some(case.flags), Some(case.details)), "{:?}", case.seen);
    }
}

#[test]
fn heads_that_are_no_http_are_bad_gateway() {
    let bomb = "x".repeat(61 * 1024);
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\nabc".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc".to_owned(),
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\ncontent-length: 3\n\nabc".to_owned(),
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
        "HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
        "HTTP/1.1 200 OK\r\nx: a\0\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
        "HTTP/1.1 20 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 099 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 2000 OK\r\n\r\n".to_owned(),
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
        "\0\0\u{12}\u{4}\0\0\0\0\0\0\u{3}\0\0\0d\n\n".to_owned(),
        // An answer to a question that was not asked.
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101)),
        format!("HTTP/1.1 200 OK\r\nx: {bomb}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nx: {bomb}"),
    ];
    let cases = answers.map(|answer| case(answer, Then::Waits, Seen::Refused(502)));
    check(&cases, "GET");
}

#[test]
fn connections_that_end_before_a_head_are_unavailable() {
    let answers = ["", "HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 100 Continue\r\n\r\n"];
    let cases = answers.map(|answer| case(answer, Then::Closes, Seen::Refused(503)));
    check(&cases, "GET");
}

#[test]
fn bodies_that_break_off_break_off_for_the_client() {
    let head = "HTTP/1.1 200 OK\r\n";
    let cases = vec![
        case(format!("{head}content-length: 10\r\n\r\nabc"), Then::Closes, Seen::Cut("abc")),
        case(format!("{head}content-length: 10\r\n\r\n"), Then::Closes, Seen::Cut("")),
        case(format!("{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"), Then::Closes, Seen::Cut("abc")),
        case(
            format!("{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"),
            Then::Closes,
            Seen::Cut("abc"),
        ),
        case(
            format!("{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"),
            Then::Waits,
            Seen::Cut("abc"),
        ),
        case(
            format!("{head}transfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
            Then::Waits,
            Seen::Cut("abc"),
        ),
        case(
            format!("{head}transfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"),
            Then::Waits,
            Seen::Cut(""),
        ),
    ];
    check(&cases, "GET");
}

#[test]
fn what_follows_an_answer_reaches_nobody() {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let flood = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(500);
    let cases = vec![
        case(format!("{}{poison}", ok("abc")), Then::Waits, Seen::Whole(200, "abc")),
        case("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcdef", Then::Waits, Seen::Whole(200, "abc")),
        case(
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n{poison}"
            ),
            Then::Waits,
            Seen::Whole(200, "abc"),
        ),
        case("HTTP/1.1 204 No\r\ncontent-length: 3\r\n\r\nabc", Then::Waits, Seen::Whole(204, "")),
        case(format!("HTTP/1.1 204 No\r\n\r\n{poison}"), Then::Waits, Seen::Whole(204, "")),
        case("HTTP/1.1 304 No\r\ncontent-length: 3\r\n\r\nabc", Then::Waits, Seen::Whole(304, "")),
        // Without a framing the body ends with the connection.
        case("HTTP/1.1 200 OK\r\n\r\nabc", Then::Closes, Seen::Whole(200, "abc")),
        case("HTTP/1.0 200 OK\r\n\r\nabc", Then::Closes, Seen::Whole(200, "abc")),
        case(format!("{flood}{}", ok("abc")), Then::Waits, Seen::Whole(200, "abc")),
    ];
    check(&cases, "GET");
}

#[test]
fn an_answer_to_head_has_no_body_whatever_the_upstream_sends() {
    let cases = vec![
        case("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", Then::Waits, Seen::Whole(200, "")),
        case("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Then::Waits, Seen::Whole(200, "")),
        case("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Then::Waits, Seen::Whole(200, "")),
    ];
    check(&cases, "HEAD");
}

/// Bytes that arrive on a kept connection, while nobody has asked anything, are nobody's answer.
#[test]
fn a_kept_connection_that_speaks_unasked_is_not_used_again() {
    let (answered, poisoned) = (Gate::new(), Gate::new());
    let (wait, tell) = (answered.clone(), poisoned.clone());
    let upstream = Upstream::script(move |mut conn| {
        while conn.request().is_some() {
            conn.raw.send(ok("fine"));
            if conn.number == 0 {
                wait.pass();
                conn.raw.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison");
                tell.open();
            }
        }
    });
    let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
    let mut client = Raw::connect(gateway.address(80));
    assert_eq!(client.get("/1", "a.test").text(), "fine");
    answered.open();
    poisoned.pass();
    assert_eq!(client.get("/2", "a.test").text(), "fine");
    assert_eq!(upstream.connections(), 2);
}
