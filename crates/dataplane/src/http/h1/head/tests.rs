//! Which heads are taken, and what becomes of them.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<RequestHead, HeadError> {
    let end = Scan::default().end(text.as_bytes())?.ok_or(HeadError::Malformed)?;
    request(BytesMut::from(&text.as_bytes()[..end]))
}

#[test]
fn a_plain_request() {
    let head = parse("GET /a?b HTTP/1.1\r\nHost: a\r\nX-Y:  z \t\r\n\r\nrest").expect("parses");
    assert_eq!((&head.method[..], &head.target[..]), (&b"GET"[..], &b"/a?b"[..]));
    assert_eq!(head.headers.first_str("host"), Some("a"));
    assert_eq!(head.headers.first_str("x-y"), Some("z"));
    assert_eq!((head.version, head.framing), (Version::Http11, Framing::Empty));
}

#[test]
fn refused_heads() {
    use HeadError::{ContentLength, ContentLengthAndChunked, Malformed, TransferEncoding, Version};
    for (text, error) in [
        ("HELLO\r\n\r\n", Malformed),
        ("GET /\r\n\r\n", Version),
        ("GET / HTTP/0.9\r\n\r\n", Version),
        ("GET / HTTP/1.2\r\n\r\n", Version),
        ("GET / http/1.1\r\n\r\n", Malformed),
        ("get / HTTP/1.1\r\n\r\n", Malformed),
        ("GET  / HTTP/1.1\r\n\r\n", Malformed),
        ("GET\t/\tHTTP/1.1\r\n\r\n", Malformed),
        ("GET / x HTTP/1.1\r\n\r\n", Malformed),
        ("GET /\0 HTTP/1.1\r\n\r\n", Malformed),
        ("GET /\u{e9} HTTP/1.1\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\nHost: a\n\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\rXHost: a\r\n\r\n", Malformed),
        ("GET /\rX HTTP/1.1\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\n\rX: a\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\n\r\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nA: b\r\n\rContent-Length: 3\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nX : a\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\n X: a\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nX A: a\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nXA\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\n:path: a\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nX\"A: a\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nX: a\u{1}b\r\n\r\n", Malformed),
        ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", ContentLength),
        ("POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", ContentLength),
        ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", ContentLength),
        ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", ContentLength),
        ("POST / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n", ContentLength),
        ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", ContentLength),
        ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", ContentLength),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            ContentLengthAndChunked,
        ),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", TransferEncoding),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            TransferEncoding,
        ),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", TransferEncoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n", Malformed),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Version),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: identity\r\n\r\n",
            ContentLengthAndChunked,
        ),
    ] {
        assert_eq!(parse(text).map(|_| ()), Err(error), "{text:?}");
    }
}

#[test]
fn limits() {
    let many = "a: b\r\n".repeat(MAX_HEADERS + 1);
    assert_eq!(parse(&format!("GET / HTTP/1.1\r\n{many}\r\n")).map(|_| ()), Err(HeadError::TooMany));
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(MAX_HEAD));
    assert_eq!(Scan::default().end(endless.as_bytes()), Err(HeadError::TooLarge));
}

#[test]
fn response_bodies() {
    let framing = |text: &str, to_head| {
        let head = response(text.as_bytes()).expect("parses");
        response_framing(&head, to_head)
    };
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false), Ok(Framing::Length(3)));
    assert_eq!(framing("HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n", true), Ok(Framing::Empty));
    assert_eq!(framing("HTTP/1.1 204 No\r\n\r\n", false), Ok(Framing::Empty));
    assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", false), Ok(Framing::UntilClose));
    assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", false), Ok(Framing::Chunked));
    let both = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(framing(both, false), Err(HeadError::ContentLengthAndChunked));
}

#[test]
fn names_go_on_as_they_were_written() {
    let text = b"GET / HTTP/1.1\r\nHost: a:B\r\nX-aB: C\r\nplain: D\r\nX-AB: E\r\n\r\n";
    let spellings = spellings(text);
    assert_eq!(spellings, ["Host", "X-aB", "X-AB"]);
    let mut headers = request(BytesMut::from(&text[..])).expect("parses").headers;
    headers.spell_as(spellings);
    for (name, expected) in [("x-ab", "X-aB"), ("plain", "plain"), ("host", "Host"), ("other", "other")] {
        assert_eq!(headers.spelled(name.as_bytes()), expected.as_bytes());
    }
}

proptest! {
    #[test]
    fn any_fragmentation_finds_the_same_end(cuts in proptest::collection::vec(1usize..6, 0..30)) {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\nGET";
        let mut scan = Scan::default();
        let mut length = 0;
        let mut found = None;
        for cut in cuts.into_iter().chain(std::iter::once(text.len())) {
            length = (length + cut).min(text.len());
            found = scan.end(&text[..length]).expect("well-formed");
            if found.is_some() { break; }
        }
        prop_assert_eq!(found, Some(text.len() - 3));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some(end)) = Scan::default().end(&bytes) {
            let _ = request(BytesMut::from(&bytes[..end]));
            let _ = response(&bytes[..end]).map(|head| response_framing(&head, false));
        }
    }
}
