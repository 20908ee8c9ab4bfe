//! Connections of HTTP/1 that are used again, on both sides: nothing that belongs to one exchange is read as part of
//! another.

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::site;
use portcullis_tests::raw::{Answer, Raw};
use portcullis_tests::upstream::{Conn, Gate, Upstream, ok};

const UPGRADE: &str =
    "GET /upgrade HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
const NEXT: &str = "GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n";

fn start(upstream: &Upstream) -> Gateway {
    Setup::new(site(upstream.address(), "retries: {attempts: 0}"), &[80]).start()
}

/// An upstream that answers the first request of each connection with these bytes and the others with their paths.
fn first(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Upstream {
    Upstream::script(move |mut conn: Conn| {
        let mut first = true;
        while let Some(request) = conn.request() {
            if std::mem::take(&mut first) && request.target() != "/fine" {
                conn.raw.send(&answer);
            } else {
                conn.raw.send(ok(request.target()));
            }
        }
    })
}

/// Another client's request, whose answer must be its own.
fn others_are_served(gateway: &Gateway) {
    for _ in 0..2 {
        assert_eq!(Raw::connect(gateway.address(80)).get("/fine", "a.test").text(), "/fine");
    }
}

/// CVE-2024-23326, CVE-2026-2833: an upgrade that is answered in any other way than by 101 makes no tunnel. What the
/// client has sent behind it is neither forwarded nor read as a request, and the upstream's connection, which may have
/// become a tunnel all the same, carries no other request.
#[test]
fn an_upgrade_that_is_not_accepted_ends_both_connections() {
    let switched =
        "HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nno";
    let answers = [
        (ok("no"), 200),
        (switched.to_owned(), 200),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n".to_owned(), 200),
        ("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno".to_owned(), 426),
        ("HTTP/1.1 204 No\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_owned(), 204),
        // Behind an informational answer that speaks of switching.
        (format!("HTTP/1.1 102 Processing\r\nupgrade: websocket\r\n\r\n{}", ok("no")), 200),
    ];
    for (answer, status) in answers {
        let shown = answer.clone();
        let upstream = first(answer);
        let gateway = start(&upstream);
        let mut client = Raw::connect(gateway.address(80));
        client.send([UPGRADE, NEXT].concat());
        let answer = client.answer();
        assert_eq!((answer.status, answer.message.truncated), (status, false), "{shown:?}");
        assert_eq!(
            (answer.header("connection"), answer.header("upgrade")),
            (Some("close"), None),
            "{shown:?}"
        );
        assert!(client.is_closed(), "{shown:?}");
        others_are_served(&gateway);
        assert_eq!(upstream.targets(), ["/upgrade", "/fine", "/fine"], "{shown:?}");
        assert_eq!(upstream.arrivals()[1].connection, 1, "{shown:?}");
    }
}

/// Early bytes of an upgrade wait for the 101 (CVE-2025-64763 is the same for CONNECT, which is refused).
#[test]
fn early_bytes_wait_until_the_upgrade_is_accepted() {
    let (asked, accept) = (Gate::new(), Gate::new());
    let (tell, wait) = (asked.clone(), accept.clone());
    let upstream = Upstream::script(move |mut conn| {
        if conn.request().is_none() {
            return;
        }
        tell.open();
        wait.pass();
        assert_eq!(conn.raw.buffered(), 0);
        let _ = conn.raw.stream.set_nonblocking(true);
        let early = std::io::Read::read(&mut conn.raw.stream, &mut [0; 64]);
        let _ = conn.raw.stream.set_nonblocking(false);
        assert!(early.is_err(), "{early:?}");
        conn.raw.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
        );
        let got = conn.raw.exactly(5);
        conn.raw.send(got);
    });
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    client.send([UPGRADE, "early"].concat());
    asked.pass();
    // Another request has come and gone: so have the early bytes, if they ever do.
    let mut other = Raw::connect(gateway.address(80));
    other.send("OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!(other.answer().status, 404);
    accept.open();
    assert_eq!(client.answer().status, 101);
    assert_eq!(client.exactly(10), b"helloearly");
}

/// A POST of which so much has come.
fn post(length: usize, body: &str) -> String {
    format!("POST /early HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// An upstream that answers a head without reading the body behind it, and then reads everything.
fn hasty(answer: &'static str) -> Upstream {
    Upstream::script(move |mut conn| {
        let Some(head) = conn.raw.head() else { return };
        let fine = head.target() == "/fine";
        conn.arrived(head);
        match fine {
            true => conn.raw.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\n/fine"),
            false => conn.raw.send(answer),
        };
        conn.raw.rest();
    })
}

/// CVE-2025-4366: an answer before the request has ended. What is left of it is no request, on either side.
#[test]
fn the_rest_of_a_body_behind_an_early_answer_is_no_request() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        "HTTP/1.1 204 No\r\n\r\n",
    ] {
        let upstream = hasty(answer);
        let gateway = start(&upstream);
        // Nothing of the body has come, some of it, and as much as looks like a request.
        for body in ["", "abc", NEXT] {
            let before = upstream.arrivals().len();
            let mut client = Raw::connect(gateway.address(80));
            client.send(post(NEXT.len() + 3, body));
            let answered: Answer = client.answer();
            assert!(!answered.message.truncated, "{answer:?} {body:?}");
            client.send(NEXT);
            client.send(NEXT);
            assert!(client.is_closed(), "{answer:?} {body:?}");
            others_are_served(&gateway);
            let targets = upstream.targets().split_off(before);
            assert_eq!(targets, ["/early", "/fine", "/fine"], "{answer:?} {body:?}");
        }
        assert_eq!(upstream.connections(), upstream.arrivals().len(), "{answer:?}: none is used again");
    }
}

/// The gateway's own answers do not wait for bodies either (redirects, no route, no endpoint).
#[test]
fn the_rest_of_a_body_behind_the_gateways_own_answer_is_no_request() {
    let upstream = Upstream::serve(|request| ok(request.target()));
    let gateway = start(&upstream);
    let heads = [
        "POST /x HTTP/1.1\r\nhost: b.test/x\r\n",
        "POST /%00 HTTP/1.1\r\nhost: a.test\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a.test\r\n",
    ];
    for head in heads {
        for framing in ["content-length: 60\r\n\r\n", "transfer-encoding: chunked\r\n\r\n3c\r\n"] {
            let mut client = Raw::connect(gateway.address(80));
            client.send([head, framing, NEXT, NEXT, NEXT].concat());
            assert!(client.answer().status >= 400, "{head:?}");
            assert!(client.is_closed(), "{head:?}");
        }
    }
    assert_eq!(upstream.targets(), [""; 0]);
}

/// A client that is answered whole and then goes on keeps its connection; so does the upstream.
#[test]
fn whole_exchanges_share_a_connection() {
    let upstream = Upstream::serve(|request| ok(request.target()));
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    for path in ["/1", "/2", "/3"] {
        client.send(format!("POST {path} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc"));
        assert_eq!(client.answer().text(), path);
    }
    assert_eq!(upstream.connections(), 1);
}

/// Answers behind which an upstream's connection is not used again, whoever comes next.
#[test]
fn answers_with_something_behind_them_end_the_upstreams_connection() {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let answers = [
        format!("{}x", ok("abc")),
        format!("{}\r\n", ok("abc")),
        format!("{}{poison}", ok("abc")),
        format!("HTTP/1.1 204 No\r\n\r\n{poison}"),
        "HTTP/1.1 204 No\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
        "HTTP/1.1 204 No\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 304 No\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{poison}"),
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
        "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
        "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
    ];
    for answer in answers {
        let shown = answer.clone();
        let upstream = first(answer);
        let gateway = start(&upstream);
        let mut client = Raw::connect(gateway.address(80));
        assert!(client.get("/bad", "a.test").status < 400, "{shown:?}");
        assert!(!client.get("/next", "a.test").text().contains("poison"), "{shown:?}");
        others_are_served(&gateway);
        let connections: Vec<usize> = upstream.arrivals().iter().map(|arrival| arrival.connection).collect();
        assert_ne!(connections[1], connections[0], "{shown:?}");
    }
}

/// An answer to a request of which not a byte has been sent: the connection is not lent, or the answer is nobody's.
#[test]
fn an_answer_before_any_request_is_nobodys() {
    let upstream = Upstream::script(|mut conn| {
        if conn.number == 0 {
            while conn.request().is_some() {
                // In one piece: what comes later may come behind the next request, and then it is its answer.
                conn.raw.send(ok("fine") + "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison");
            }
            return;
        }
        while conn.request().is_some() {
            conn.raw.send(ok("fine"));
        }
    });
    let gateway = start(&upstream);
    for _ in 0..5 {
        assert_eq!(Raw::connect(gateway.address(80)).get("/", "a.test").text(), "fine");
    }
    assert_eq!(upstream.connections(), 2);
}

/// Informational answers carry no framing: a client that believed a length would wait for a body.
#[test]
fn informational_answers_frame_nothing() {
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\
                connection: close\r\nupgrade: x\r\nkeep-alive: timeout=1\r\n\r\n";
    let upstream = Upstream::serve(move |request| [hint, &ok(request.target())].concat());
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    client.send("GET /hinted HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let head = client.head().unwrap_or_default();
    assert_eq!(head.line, "HTTP/1.1 103 Early Hints");
    assert_eq!(head.headers, [("link".to_owned(), "</a>".to_owned())]);
    assert_eq!(client.answer().text(), "/hinted");
    assert_eq!(client.get("/next", "a.test").text(), "/next");
}

/// RFC 9110 §8.6: no length where there is no content; 304 tells that of the answer it stands for.
#[test]
fn lengths_without_content_are_not_passed_on() {
    let answer = |status| format!("HTTP/1.1 {status} No\r\ncontent-length: 3\r\n\r\n");
    for (status, length) in [(204, None), (304, Some("3"))] {
        let upstream = first(answer(status));
        let gateway = start(&upstream);
        let mut client = Raw::connect(gateway.address(80));
        let answered = client.get("/bad", "a.test");
        assert_eq!((answered.status, answered.header("content-length")), (status, length));
        assert_eq!(answered.header("transfer-encoding"), None);
        assert_eq!(client.get("/next", "a.test").text(), "/next");
    }
}

/// Informational answers without end, over HTTP/1: what a slow client has not read is bounded.
#[test]
fn informational_answers_without_end_are_given_up() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(1000);
    let upstream = Upstream::script(move |mut conn| {
        if conn.request().is_some() {
            while conn.raw.send(&hints) {}
        }
    });
    let gateway = start(&upstream);
    let before = gateway.resident();
    let mut client = Raw::connect(gateway.address(80));
    assert_eq!(client.get("/hints", "a.test").status, 502);
    assert_eq!(gateway.log_of("/hints")["response_flags"], "UPE");
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
}
