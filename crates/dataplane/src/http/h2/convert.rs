//! Between our header list and the map that the HTTP/2 implementation works with.

use ::http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use portcullis_snapshot::Headers;

/// Fields of an HTTP/2 message; cookie crumbs are joined again (RFC 9113 §8.2.3).
pub(crate) fn headers(map: &HeaderMap) -> Headers {
    let mut headers = Headers::with_capacity(map.len() + 8);
    let mut cookie: Option<Vec<u8>> = None;
    for (name, value) in map {
        if *name != COOKIE {
            headers.append(name, value);
            continue;
        }
        match &mut cookie {
            Some(joined) => {
                joined.extend_from_slice(b"; ");
                joined.extend_from_slice(value.as_bytes());
            }
            None => cookie = Some(value.as_bytes().to_vec()),
        }
    }
    if let Some(cookie) = cookie {
        headers.append("cookie", cookie);
    }
    headers
}

/// The same fields as a map. A field that no HTTP/2 message may carry is left out.
pub(crate) fn header_map(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.shared() {
        if is_connection_specific(name) {
            continue;
        }
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_maybe_shared(value);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_are_joined_and_repeated_fields_stay() {
        let mut map = HeaderMap::new();
        for (name, value) in [("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("x", "2")] {
            map.append(name, HeaderValue::from_static(value));
        }
        let headers = headers(&map);
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
