//! A ClientHello from anyone: in one piece, and byte by byte with the same result.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_dataplane::tls::client_hello::{MAX_WIRE_LEN, Outcome, Parser, parse};

fuzz_target!(|received: &[u8]| {
    let whole = parse(received);
    assert!(whole != Outcome::NeedMore || received.len() <= MAX_WIRE_LEN, "waits beyond its bound");
    if let Outcome::Hello(hello) = &whole {
        assert!(hello.bytes_consumed <= received.len());
        let _: (Option<&str>, bool) = (hello.server_name(), hello.offers_alpn(b"h2"));
    }
    assert_eq!(whole, in_pieces(received), "the pieces changed the meaning");
});

/// The outcome when the bytes arrive in growing pieces.
///
/// An early verdict is final: what comes behind it is not the parser's.
fn in_pieces(received: &[u8]) -> Outcome {
    let mut parser = Parser::default();
    let (mut end, mut step) = (0, 1);
    while end < received.len() {
        end = received.len().min(end + step);
        step = step % STEPS + 1;
        let outcome = parser.advance(&received[..end]);
        if outcome != Outcome::NeedMore || end == received.len() {
            return outcome;
        }
    }
    parser.advance(received)
}

/// Pieces are 1 to so many bytes long: coprime to the sizes of headers, so that every cut is tried.
const STEPS: usize = 7;
