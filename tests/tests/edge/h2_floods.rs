//! Clients that make HTTP/2 expensive: each flood meets a bound, memory stays where it was, and others are served.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a test's output")]

use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant};

use portcullis_tests::frames::{END_HEADERS, END_STREAM, block, frame, get, headers, kind, reset};
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::site;
use portcullis_tests::process::poll;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};

/// The error code by which an HTTP/2 peer is told to behave (RFC 9113 §7).
const ENHANCE_YOUR_CALM: u32 = 11;
/// What a flood may cost, KiB.
const FLAT: u64 = 16 * 1024;

struct Rig {
    gateway: Gateway,
    upstream: Upstream,
    before: u64,
}

impl Rig {
    /// An upstream that answers nothing but `/fine`.
    fn start() -> Self {
        let upstream = Upstream::script(|mut conn| {
            while let Some(request) = conn.request() {
                if request.target() == "/fine" {
                    conn.raw.send(ok("fine"));
                }
            }
        });
        let gateway = Setup::new(site(upstream.address(), ""), &[80]).start();
        assert_eq!(Raw::connect(gateway.address(80)).get("/fine", "a.test").status, 200);
        let before = gateway.resident();
        Self { gateway, upstream, before }
    }

    fn client(&self) -> Raw {
        Raw::http2(self.gateway.address(80))
    }

    /// Others are served, and memory is where it was.
    fn holds(&self) {
        assert_eq!(Raw::connect(self.gateway.address(80)).get("/fine", "a.test").status, 200);
        let grown = self.gateway.resident().saturating_sub(self.before);
        assert!(grown < FLAT, "{grown} KiB");
    }

    /// No connection of a client is left: what the flood held is given back.
    fn leaves_nothing(&self) {
        self.gateway.await_samples("no request is left", |samples| {
            samples.sum("portcullis_downstream_requests_active", &[]) == 0.0
        });
        self.holds();
    }
}

/// A crumb of a cookie, 1000 bytes.
const LONG: &str = match str::from_utf8(&[b'a'; 1000]) {
    Ok(text) => text,
    Err(_) => "",
};

/// What became of a flood.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The gateway ended the connection.
    Closed,
    /// Nothing more is taken: the sender is held back.
    HeldBack,
    /// Everything was taken.
    Taken,
}

/// Sends pieces without reading a byte, until nothing is taken for a while.
fn flood(client: &mut Raw, pieces: impl IntoIterator<Item = Vec<u8>>) -> End {
    client.stream.set_write_timeout(Some(Duration::from_millis(700))).unwrap();
    for piece in pieces {
        match client.stream.write_all(&piece) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return End::HeldBack,
            Err(_) => return End::Closed,
        }
    }
    End::Taken
}

/// The gateway ends the connection, also where the system has taken everything before that.
fn ends_under(client: &mut Raw, pieces: impl IntoIterator<Item = Vec<u8>>) {
    if flood(client, pieces) != End::Closed {
        assert!(client.frame_that(|_| false).is_none());
    }
}

/// Whether the gateway ends the connection with this code, or without a word because a reset overtook it.
fn ends_with(client: &mut Raw, code: u32) {
    let goaway = client.frame_that(|frame| frame.kind == kind::GOAWAY && frame.code() != 0);
    if let Some(frame) = goaway {
        assert_eq!(frame.code(), code);
    }
    assert!(client.frame_that(|_| false).is_none());
}

/// Stream numbers of a client.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// CVE-2023-44487, CVE-2019-9514, CVE-2021-32778, RUSTSEC-2023-0034: requests that are taken back as soon as they
/// are made. However the pairs are cut, the connection ends long before all of them are through.
#[test]
fn rapid_resets_end_the_connection() {
    for pairs_a_piece in [1, 50] {
        let rig = Rig::start();
        let mut client = rig.client();
        let pairs: Vec<Vec<u8>> = streams(20_000)
            .map(|stream| [headers(stream, END_STREAM, &get("/slow")), reset(stream, 8)].concat())
            .collect();
        // What the system took of it is no matter: the gateway reads no further.
        flood(&mut client, pairs.chunks(pairs_a_piece).map(<[Vec<u8>]>::concat));
        ends_with(&mut client, ENHANCE_YOUR_CALM);
        rig.leaves_nothing();
    }
}

/// The same, but each request is left alone until it has reached the upstream: what it costs there is bounded, too.
#[test]
fn resets_behind_arrivals_end_the_connection() {
    let rig = Rig::start();
    let mut client = rig.client();
    let start = Instant::now();
    let mut sent = 0;
    for stream in streams(20_000) {
        client.send(headers(stream, END_STREAM, &get("/slow")));
        let arrived = poll(start + LIMIT, || {
            (rig.upstream.arrivals().len() > sent + 1 || !client.send([])).then_some(())
        });
        sent += 1;
        if arrived.is_none() || !client.send(reset(stream, 8)) || sent > 4_000 {
            break;
        }
    }
    assert!(sent < 4_000, "{sent} requests were taken back");
    ends_with(&mut client, ENHANCE_YOUR_CALM);
    rig.leaves_nothing();
}

/// A client may take back some requests, as browsers do, and go on.
#[test]
fn some_resets_are_nothing_unusual() {
    let rig = Rig::start();
    let mut client = rig.client();
    for stream in streams(400) {
        if stream % 4 == 1 {
            client.send([headers(stream, END_STREAM, &get("/slow")), reset(stream, 8)].concat());
        } else {
            client.send(headers(stream, END_STREAM, &get("/fine")));
            let head = client.frame_that(|frame| frame.kind == kind::HEADERS && frame.stream == stream);
            assert_eq!(head.and_then(|head| head.status()), Some(200));
        }
    }
    rig.holds();
}

/// CVE-2025-8671 "MadeYouReset", RUSTSEC-2025-0070: frames that make the gateway reset streams by itself.
#[test]
fn resets_that_the_gateway_is_made_to_send_end_the_connection() {
    let nothing = frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]);
    let overflow = frame(kind::WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes());
    let priority = frame(kind::PRIORITY, 0, 0, &[0; 4]);
    for broken in [nothing, overflow, priority] {
        let rig = Rig::start();
        let mut client = rig.client();
        let pieces = streams(20_000).map(|stream| {
            let mut broken = broken.clone();
            broken[5..9].copy_from_slice(&stream.to_be_bytes());
            [headers(stream, END_STREAM, &get("/slow")), broken].concat()
        });
        ends_under(&mut client, pieces);
        rig.leaves_nothing();
    }
}

/// CVE-2024-27919, CVE-2024-30255, CVE-2023-45288, RUSTSEC-2024-0332: a header block that never ends.
#[test]
fn endless_header_blocks_end_the_connection() {
    for piece in [Vec::new(), block(&[("x", "y")]), block(&[("x", "y".repeat(16_000))])] {
        let rig = Rig::start();
        let mut client = rig.client();
        client.send(frame(kind::HEADERS, 0, 1, &block(&get("/slow"))));
        let pieces = (0..100_000).map(|_| frame(kind::CONTINUATION, 0, 1, &piece));
        ends_under(&mut client, pieces);
        rig.leaves_nothing();
    }
}

/// CVE-2019-9512, CVE-2019-9515: questions whose answers are never read.
#[test]
fn unread_answers_hold_back_who_asks() {
    let ping = frame(kind::PING, 0, 0, b"01234567");
    let settings = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]);
    for question in [ping, settings] {
        let rig = Rig::start();
        let mut client = rig.client();
        let end = flood(&mut client, (0..20_000).map(|_| question.repeat(100)));
        assert_ne!(end, End::Taken);
        rig.holds();
        drop(client);
        rig.leaves_nothing();
    }
}

/// Frames without effect, CVE-2019-9513 and CVE-2019-9518 among them: they cost the time of reading them.
#[test]
fn frames_without_effect_hold_nothing() {
    let floods: [(&str, Vec<u8>); 4] = [
        ("PRIORITY", frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 0, 16])),
        ("WINDOW_UPDATE", frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0xee, 0, 0, b"01234567")),
        ("PING's answer", frame(kind::PING, END_STREAM, 0, b"01234567")),
    ];
    for (name, piece) in floods {
        let rig = Rig::start();
        let mut client = rig.client();
        let end = flood(&mut client, (0..2_000).map(|_| piece.repeat(100)));
        assert_ne!(end, End::HeldBack, "{name}");
        rig.holds();
    }
}

/// RUSTSEC-2026-0258: DATA without content, each of which once waited for its reader.
#[test]
fn empty_data_ends_the_connection() {
    for (name, piece) in [("empty", Vec::new()), ("padding alone", [&[100][..], &[0; 100]].concat())] {
        let rig = Rig::start();
        let mut client = rig.client();
        let mut fields = get("/slow");
        fields[0].1 = "POST";
        client.send(headers(1, 0, &fields));
        let flags = if piece.is_empty() { 0 } else { 8 };
        let pieces = (0..5_000).map(|_| frame(kind::DATA, flags, 1, &piece).repeat(100));
        assert_ne!(flood(&mut client, pieces), End::Taken, "{name}");
        rig.holds();
        drop(client);
        rig.leaves_nothing();
    }
}

/// CVE-2026-47774, CVE-2016-6581: cookies in crumbs, and a table entry that is named again and again, count as what
/// they become.
#[test]
fn crumbs_and_references_count_as_what_they_become() {
    let rig = Rig::start();
    let path = get("/fine");
    let crumbs = |count: usize, value: &'static str| {
        let mut fields: Vec<(&str, &str)> = path.to_vec();
        fields.extend(std::iter::repeat_n(("cookie", value), count));
        fields
    };
    let answer = |frames: &[u8]| {
        let mut client = rig.client();
        client.send(frames);
        let last = client.frame_that(|frame| {
            frame.kind == kind::GOAWAY
                || frame.stream == 1 && matches!(frame.kind, kind::HEADERS | kind::RST_STREAM)
        });
        last.filter(|frame| frame.kind == kind::HEADERS).and_then(|frame| frame.status())
    };
    assert_eq!(answer(&headers(1, END_STREAM, &crumbs(90, "a=1"))), Some(200));
    let arrival = rig.upstream.arrivals().pop().unwrap();
    assert_eq!(arrival.message.header("cookie").map(|cookie| cookie.matches("a=1").count()), Some(90));
    assert_eq!(arrival.message.headers.iter().filter(|(name, _)| name == "cookie").count(), 1);
    let served = rig.upstream.arrivals().len();
    assert_eq!(answer(&headers(1, END_STREAM, &crumbs(101, "a"))), None, "as many lines as crumbs");
    let pieces: Vec<Vec<u8>> = block(&crumbs(70, LONG)).chunks(16_000).map(<[u8]>::to_vec).collect();
    let mut frames = frame(kind::HEADERS, END_STREAM, 1, &pieces[0]);
    for (number, piece) in pieces[1..].iter().enumerate() {
        let flags = if number + 2 == pieces.len() { END_HEADERS } else { 0 };
        frames.extend(frame(kind::CONTINUATION, flags, 1, piece));
    }
    assert_eq!(answer(&frames), None, "as long as all crumbs together");
    // A literal that enters the table (RFC 7541 §6.2.1), then 8,000 references to it of one byte each.
    let mut bomb = block(&path);
    bomb.extend_from_slice(&[0x40, 1, b'x', 127, 0xa1, 0x1e]);
    bomb.extend_from_slice(&[b'y'; 4000]);
    bomb.extend_from_slice(&[0xbe; 8000]);
    assert_eq!(answer(&frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &bomb)), None);
    assert_eq!(rig.upstream.arrivals().len(), served);
    rig.leaves_nothing();
}
