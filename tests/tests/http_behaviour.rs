//! HTTP/1 exchanges through the gateway: what streams, what is kept open, and how each end is told.

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::site;
use portcullis_tests::raw::Raw;
use portcullis_tests::samples::Samples;
use portcullis_tests::upstream::{Conn, Gate, Upstream, ok};

fn start(upstream: &Upstream) -> Gateway {
    Setup::new(site(upstream.address(), ""), &[80]).start()
}

#[test]
fn head_shows_the_length_and_keeps_the_connection() {
    let upstream = Upstream::script(|mut conn| {
        while let Some(request) = conn.request() {
            let head = request.line.starts_with("HEAD");
            conn.raw.send(if head {
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_owned()
            } else {
                ok("hello")
            });
        }
    });
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!(client.answer_to_head().header("content-length"), Some("5"));
        assert_eq!(client.get("/", "a.test").text(), "hello");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_hundred_continue_is_the_upstreams_to_give() {
    let upstream = Upstream::script(|mut conn| {
        while let Some(mut head) = conn.raw.head() {
            assert_eq!(head.header("expect"), Some("100-continue"));
            if head.target() == "/refused" {
                conn.raw.send("HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n");
                return;
            }
            conn.raw.send("HTTP/1.1 100 Continue\r\n\r\n");
            conn.raw.body(&mut head, false);
            conn.raw.send(ok("taken"));
            conn.arrived(head);
        }
    });
    let gateway = start(&upstream);
    let ask = |path: &str| {
        let mut client = Raw::connect(gateway.address(80));
        client.send(format!(
            "POST {path} HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
        ));
        client
    };
    let mut client = ask("/");
    assert_eq!(client.head().unwrap().line, "HTTP/1.1 100 Continue");
    client.send("abc");
    assert_eq!(client.answer().text(), "taken");
    assert_eq!(upstream.await_arrivals(1)[0].message.body, b"abc");
    assert_eq!(ask("/refused").answer().status, 417);
}

/// The answer comes before the request has been sent: the client gets it, and neither connection is taken for one
/// that has come to the end of a request.
#[test]
fn an_early_answer_ends_the_upload_and_both_connections() {
    let upstream = Upstream::script(|mut conn| {
        while let Some(head) = conn.raw.head() {
            conn.arrived(head.clone());
            let refuse = head.target() == "/upload";
            conn.raw.send(if refuse {
                "HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno".to_owned()
            } else {
                ok("fine")
            });
        }
    });
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    client.send("POST /upload HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10000000\r\n\r\nabc");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "no"));
    // What would have been the body is no request.
    client.send("GET /smuggled HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(client.is_closed());
    assert_eq!(Raw::connect(gateway.address(80)).get("/next", "a.test").text(), "fine");
    assert_eq!(upstream.connections(), 2);
    assert_eq!(upstream.targets(), ["/upload", "/next"]);
    let line = gateway.log_of("/upload");
    assert_eq!((line["response_code"].as_u64(), line["response_flags"].as_str()), (Some(413), Some("-")));
}

/// Both directions are open at once: each piece is passed on when it comes, not when its message ends.
#[test]
fn bodies_stream_both_ways_at_once() {
    let upstream = Upstream::script(|mut conn| {
        let Some(head) = conn.raw.head() else { return };
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        conn.raw.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: t\r\n\r\n");
        for _ in 0..3 {
            let piece = conn.raw.exactly("3\r\nabc\r\n".len());
            conn.raw.send(piece);
        }
        assert_eq!(conn.raw.exactly(5), b"0\r\n\r\n");
        conn.raw.send("0\r\nt: 1\r\n\r\n");
        conn.arrived(head);
    });
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!(client.head().unwrap().header("transfer-encoding"), Some("chunked"));
    for _ in 0..3 {
        client.send("3\r\nabc\r\n");
        assert_eq!(client.exactly(8), b"3\r\nabc\r\n");
    }
    // Trailers stop here, towards HTTP/1 in both directions, as at Istio's gateway.
    client.send("0\r\nx: y\r\n\r\n");
    assert_eq!(client.exactly(5), b"0\r\n\r\n");
    assert_eq!(upstream.await_arrivals(1).len(), 1);
    let line = gateway.log_of("/");
    assert_eq!((line["bytes_received"].as_u64(), line["bytes_sent"].as_u64()), (Some(9), Some(9)));
}

/// Every byte in its order, in pieces of every size, while both sides stall now and then.
#[test]
fn bodies_survive_backpressure() {
    let upstream = Upstream::script(|mut conn| {
        if conn.raw.head().is_none() {
            return;
        }
        conn.raw.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        // Chunks go back as they come, framing included.
        loop {
            let piece = conn.raw.some(30_011);
            if piece.is_empty() || !conn.raw.send(piece) {
                return;
            }
        }
    });
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    let mut sender = Raw::on(client.stream.try_clone().unwrap());
    let size = |number: usize| (number * 7919) % 50_000 + 1;
    let byte = |number: usize| u8::try_from(number % 251).unwrap();
    let sending = std::thread::spawn(move || {
        sender.send("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n");
        for number in 0..600 {
            let head = format!("{:x}\r\n", size(number));
            sender.send([head.as_bytes(), &vec![byte(number); size(number)], b"\r\n"].concat());
        }
        sender.send("0\r\n\r\n");
    });
    let message = client.answer().message;
    sending.join().unwrap();
    assert!(!message.truncated);
    let expected: Vec<u8> = (0..600).flat_map(|number| vec![byte(number); size(number)]).collect();
    assert!(message.body == expected, "{} bytes came back of {}", message.body.len(), expected.len());
}

#[test]
fn connections_are_kept_on_both_sides_until_one_says_close() {
    let upstream = Upstream::serve(|request| match request.target() {
        "/last" => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nlast".to_owned(),
        _ => ok("fine"),
    });
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    for path in ["/1", "/2", "/last", "/3"] {
        let answer = client.get(path, "a.test");
        assert_eq!((answer.status, answer.header("connection")), (200, None), "{path}");
    }
    let connections: Vec<_> = upstream.arrivals().iter().map(|arrival| arrival.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1]);
    client.send("GET /4 HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
    assert_eq!(client.answer().header("connection"), Some("close"));
    assert!(client.is_closed());
    // The upstream's was not the client's to close.
    let last = upstream.arrivals().pop().unwrap();
    assert_eq!((last.connection, last.message.header("connection")), (1, None));
}

/// An upstream that waits for its gate before it answers, and tells when its connection has been given up.
fn waiting() -> (Upstream, Gate, Gate) {
    let (answers, given_up) = (Gate::new(), Gate::new());
    let (pass, tell) = (answers.clone(), given_up.clone());
    let upstream = Upstream::script(move |mut conn: Conn| {
        while let Some(request) = conn.request() {
            if request.target() == "/wait" {
                if conn.raw.is_closed() {
                    tell.open();
                }
                return;
            }
            pass.pass();
            conn.raw.send(ok("fine"));
        }
    });
    (upstream, answers, given_up)
}

#[test]
fn a_client_that_leaves_while_waiting_is_logged_once_and_its_upstream_freed() {
    let (upstream, _answers, given_up) = waiting();
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    client.send("GET /wait HTTP/1.1\r\nhost: a.test\r\n\r\n");
    upstream.await_arrivals(1);
    drop(client);
    given_up.pass();
    let line = gateway.log_of("/wait");
    assert_eq!((line["response_code"].as_u64(), line["response_flags"].as_str()), (Some(0), Some("DC")));
    assert_eq!(line["response_code_details"], "downstream_remote_disconnect");
    let labels = [("response_code", "0"), ("response_flags", "DC")];
    let samples = gateway.samples();
    assert_eq!(samples.sum("istio_requests_total", &labels), 1.0);
    assert_eq!(samples.sum("istio_requests_total", &[]), 1.0);
}

/// As at Istio's gateway, a client that ends its direction while it waits has left.
#[test]
fn a_half_closed_client_has_left() {
    let (upstream, _answers, given_up) = waiting();
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    client.send("GET /wait HTTP/1.1\r\nhost: a.test\r\n\r\n");
    upstream.await_arrivals(1);
    client.finish_sending();
    given_up.pass();
    assert!(client.is_closed());
    assert_eq!(gateway.log_of("/wait")["response_flags"], "DC");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_upload_is_logged_once() {
    let given_up = Gate::new();
    let tell = given_up.clone();
    let upstream = Upstream::script(move |mut conn| {
        let Some(mut head) = conn.raw.head() else { return };
        conn.arrived(head.clone());
        conn.raw.body(&mut head, false);
        assert!(head.truncated);
        tell.open();
    });
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    client.send("POST /upload HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1000\r\n\r\nabc");
    upstream.await_arrivals(1);
    drop(client);
    given_up.pass();
    let line = gateway.log_of("/upload");
    assert_eq!((line["response_code"].as_u64(), line["response_flags"].as_str()), (Some(0), Some("DC")));
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_download_is_logged_once() {
    let upstream = Upstream::script(|mut conn| {
        if conn.request().is_some() && conn.raw.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc") {
            let _ = conn.raw.is_closed();
        }
    });
    let gateway = start(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    client.send("GET /download HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(client.head().is_some());
    assert_eq!(client.exactly(3), b"abc");
    drop(client);
    let line = gateway.log_of("/download");
    assert_eq!((line["response_code"].as_u64(), line["response_flags"].as_str()), (Some(200), Some("DC")));
    assert_eq!(line["bytes_sent"], 3);
}

/// What is open is counted, and counts come back to nothing.
#[test]
fn open_connections_and_requests_are_counted() {
    let answer = Gate::new();
    let pass = answer.clone();
    let upstream = Upstream::serve(move |_| {
        pass.pass();
        ok("fine")
    });
    let gateway = start(&upstream);
    let mut clients: Vec<Raw> = (0..5).map(|_| Raw::connect(gateway.address(80))).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    }
    upstream.await_arrivals(5);
    let open = |samples: &Samples| {
        ["downstream_connections_active", "downstream_requests_active", "upstream_connections_active"]
            .map(|name| samples.sum(&format!("portcullis_{name}"), &[]))
    };
    gateway.await_samples("five at work", |samples| open(samples) == [5.0; 3]);
    answer.open();
    for client in &mut clients {
        assert_eq!(client.answer().text(), "fine");
    }
    gateway.await_samples("five kept", |samples| open(samples) == [5.0, 0.0, 5.0]);
    drop(clients);
    let samples = gateway.await_samples("nobody there", |samples| open(samples) == [0.0, 0.0, 5.0]);
    assert_eq!(samples.sum("portcullis_downstream_connections_total", &[]), 5.0);
    drop(upstream);
}
