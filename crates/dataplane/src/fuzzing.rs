//! Entry points for the fuzz targets into parsers that are private otherwise; only compiled for them.

use bytes::BytesMut;

use crate::http::h1::body::Decoder;
use crate::http::h1::head::{self, Framing, Scan};

/// Reads `bytes` as an HTTP/1 request, then its body in pieces of `step`, then again as a response.
/// What is accepted must satisfy what later code relies on.
pub fn http1(bytes: &[u8], step: usize) {
    let Ok(Some(end)) = Scan::default().end(bytes) else { return };
    if let Ok(request) = head::request(BytesMut::from(&bytes[..end])) {
        assert!(head::is_method(&request.method));
        assert!(request.target.is_ascii() && !request.target.is_empty());
        for field in &request.headers {
            assert!(!field.name.is_empty() && field.name.iter().all(|byte| !byte.is_ascii_uppercase()));
            assert!(!field.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        }
        body(&bytes[end..], step, request.framing);
    }
    if let Ok(response) = head::response(&bytes[..end])
        && let Ok(framing) = head::response_framing(&response, false)
    {
        body(&bytes[end..], step, framing);
    }
}

fn body(bytes: &[u8], step: usize, framing: Framing) {
    let whole = Decoder::new(framing).read_all(bytes, bytes.len().max(1));
    let pieces = Decoder::new(framing).read_all(bytes, step.max(1));
    assert_eq!(whole, pieces, "the meaning of a body depends on how it is cut");
}
