//! Between our header list and the map that the HTTP/2 implementation works with.

use ::http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::{BufMut, Bytes, BytesMut};
use portcullis_snapshot::Headers;

/// Fields of an HTTP/2 message; cookie crumbs are joined again (RFC 9113 §8.2.3).
pub(crate) fn headers(map: HeaderMap) -> Headers {
    let mut headers = Headers::with_capacity(map.len() + 8);
    let mut cookie: Option<BytesMut> = None;
    let mut name = Bytes::new();
    for (next, value) in map {
        if let Some(next) = next {
            name = name_bytes(&next);
        }
        if name == "cookie" {
            match &mut cookie {
                Some(joined) => {
                    joined.put_slice(b"; ");
                    joined.put_slice(value.as_bytes());
                }
                None => cookie = Some(BytesMut::from(value.as_bytes())),
            }
            continue;
        }
        headers.append(name.clone(), Bytes::from_owner(value));
    }
    if let Some(cookie) = cookie {
        headers.append("cookie", cookie);
    }
    headers
}

/// The same fields as a map. A field that no HTTP/2 message may carry is left out.
pub(crate) fn header_map(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for field in headers {
        if is_connection_specific(&field.name) {
            continue;
        }
        let name = HeaderName::from_bytes(&field.name);
        let value = HeaderValue::from_maybe_shared(field.value.clone());
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    map
}

/// Connection-specific fields have no place in HTTP/2 (RFC 9113 §8.2.2).
pub(crate) fn is_connection_specific(name: &[u8]) -> bool {
    matches!(name, b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade")
}

/// Frequent names come from the program's own memory.
fn name_bytes(name: &HeaderName) -> Bytes {
    macro_rules! shared {
        ($($text:literal)*) => {
            match name.as_str() {
                $($text => Bytes::from_static($text.as_bytes()),)*
                other => Bytes::copy_from_slice(other.as_bytes()),
            }
        };
    }
    shared!(
        "accept" "accept-encoding" "accept-language" "authorization" "cache-control" "content-encoding"
        "content-length" "content-type" "cookie" "date" "etag" "expires" "last-modified" "location"
        "origin" "referer" "server" "set-cookie" "te" "user-agent" "vary" "x-forwarded-for"
        "x-forwarded-proto" "x-request-id" "grpc-status" "grpc-message" "grpc-encoding"
        "grpc-accept-encoding" "grpc-timeout"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_are_joined_and_repeated_fields_stay() {
        let mut map = HeaderMap::new();
        for (name, value) in [("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("x", "2")] {
            map.append(name, HeaderValue::from_static(value));
        }
        let headers = headers(map);
        assert_eq!(headers.first_str("cookie"), Some("a=1; b=2"));
        assert_eq!(headers.all("x").count(), 2);
    }

    #[test]
    fn connection_fields_do_not_travel() {
        let mut headers = Headers::default();
        headers.append("connection", "close");
        headers.append("x", "1");
        let map = header_map(&headers);
        assert_eq!((map.len(), map.contains_key("x")), (1, true));
    }
}
