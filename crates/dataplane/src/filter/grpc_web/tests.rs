//! Forms, heads, and both translations in any fragmentation.

use proptest::prelude::*;

use super::*;

#[test]
fn forms_of_requests() {
    let forms = |kind, accept| recognise(&Headers::from_iter([("content-type", kind), ("accept", accept)]));
    let (binary, text) = ("application/grpc-web", "application/grpc-web-text");
    assert_eq!(forms(binary, "*/*"), Some(Forms { text_request: false, text_response: false }));
    assert_eq!(forms(text, text), Some(Forms { text_request: true, text_response: true }));
    let mixed = forms("application/grpc-web+proto", "application/grpc-web-text+proto");
    assert_eq!(mixed, Some(Forms { text_request: false, text_response: true }));
    for kind in ["application/grpc", "application/grpc-web+json", "application/grpc-web; x=y", "text/html"] {
        assert_eq!(forms(kind, text), None, "{kind}");
    }
    assert_eq!(recognise(&Headers::default()), None);
}

#[test]
fn heads_of_requests() {
    let mut request =
        Headers::from_iter([("content-type", "application/grpc-web-text"), ("content-length", "8")]);
    on_request(&mut request);
    let expected =
        [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-accept-encoding", "identity")];
    for (name, value) in expected {
        assert_eq!(request.first_str(name), Some(value));
    }
    assert!(!request.contains("content-length"));
    let mut own = Headers::from_iter([("grpc-accept-encoding", "gzip")]);
    on_request(&mut own);
    assert_eq!(own.first_str("grpc-accept-encoding"), Some("gzip"));
}

#[test]
fn heads_of_responses() {
    let binary = Forms { text_request: false, text_response: false };
    let head = |status, kind| Response {
        status,
        headers: Headers::from_iter([("content-type", kind), ("content-length", "3")]),
    };
    for (status, kind, foreign) in [
        (200, "application/grpc", false),
        (200, "application/grpc+proto", false),
        (200, "Application/grpc-web ; charset=x", false),
        (200, "application/grpc-web-text", true),
        (200, "text/plain", true),
        (503, "application/grpc", true),
    ] {
        let mut response = head(status, kind);
        assert_eq!(on_response(binary, &mut response), foreign, "{status} {kind}");
        assert_eq!(response.headers.first_str("content-type"), Some("application/grpc-web+proto"));
        assert!(!response.headers.contains("content-length"));
    }
    let mut refused = head(503, "text/plain");
    explain(&mut refused, b"no healthy\nupstream");
    assert_eq!(refused.status, 503);
    for (name, value) in
        [("grpc-status", "14"), ("grpc-message", "no healthy%0Aupstream"), ("content-length", "0")]
    {
        assert_eq!(refused.headers.first_str(name), Some(value));
    }
}

#[test]
fn trailers_become_a_frame() {
    let trailers = Headers::from_iter([("grpc-status", "5"), ("grpc-message", "gone")]);
    let text = b"grpc-status:5\r\ngrpc-message:gone\r\n";
    let frame = [&[0x80, 0, 0, 0, u8::try_from(text.len()).unwrap()][..], text].concat();
    let binary = Forms { text_request: false, text_response: false };
    assert_eq!(Translation::of_response(binary).trailers(&trailers).unwrap(), frame);
    let encoded = Translation::of_response(Forms { text_response: true, ..binary }).trailers(&trailers);
    assert_eq!(encoded.unwrap(), STANDARD.encode(&frame));
}

#[test]
fn requests_that_are_no_base64() {
    for (text, good) in [
        ("", true),
        ("AAAA", true),
        ("AAA=AAAA", true),
        ("AA==AA==", true),
        ("AAA", false),
        ("A===", false),
        ("AA=A", false),
        ("AA!A", false),
        ("AA\n=", false),
    ] {
        let mut decoder = Translation::FromText(FromText::default());
        let read = decoder.data(Bytes::from_static(text.as_bytes()));
        assert_eq!(read.is_some() && decoder.end().is_some(), good, "{text:?}");
    }
}

fn frames(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let frame = |message: &Vec<u8>| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, message].concat()
    };
    messages.iter().map(frame).collect()
}

proptest! {
    /// However the body is cut, each frame comes out in base64 by itself, and comes back from it.
    #[test]
    fn text_both_ways(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        steps in prop::collection::vec(1usize..9, 1..9),
    ) {
        let frames = frames(&messages);
        let expected: String = frames.iter().map(|frame| STANDARD.encode(frame)).collect();
        let body = frames.concat();
        let mut encoder = Translation::ToText(ToText::default());
        let text = cut(&body, &steps, &mut encoder).unwrap();
        prop_assert_eq!(&text[..], expected.as_bytes());
        prop_assert!(encoder.is_empty());
        let mut decoder = Translation::FromText(FromText::default());
        prop_assert_eq!(cut(&text, &steps, &mut decoder).unwrap(), body);
    }

    #[test]
    fn anything_is_survived(bytes: Vec<u8>, steps in prop::collection::vec(1usize..9, 1..9)) {
        let _ = cut(&bytes, &steps, &mut Translation::FromText(FromText::default()));
        let text = cut(&bytes, &steps, &mut Translation::ToText(ToText::default())).unwrap();
        let mut decoder = Translation::FromText(FromText::default());
        prop_assert_eq!(cut(&text, &steps, &mut decoder).unwrap(), bytes);
    }
}

/// The body in pieces of these sizes.
fn cut(body: &[u8], steps: &[usize], translation: &mut Translation) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::new(), body);
    for step in steps.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, others) = rest.split_at(rest.len().min(*step));
        out.extend_from_slice(&translation.data(Bytes::copy_from_slice(piece))?);
        rest = others;
    }
    out.extend_from_slice(&translation.end()?);
    Some(out)
}
