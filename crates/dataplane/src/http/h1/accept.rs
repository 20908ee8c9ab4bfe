//! From the head of an HTTP/1 request to a request: what the grammar leaves open.

use bytes::Bytes;
use portcullis_snapshot::Headers;

use super::head::{Framing, HeadError, RequestHead, Version};
use crate::error::ClientError;
use crate::http::message::Request;
use crate::http::upgrade;

/// What `Connection` may not name: upstreams rely on these (CVE-2024-45410).
const TRUSTED: [&[u8]; 3] = [b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"];

/// Whether `Connection` names Host, which is then none.
///
/// # Errors
/// When it names what it may not.
fn names_host(headers: &Headers) -> Result<bool, HeadError> {
    let mut host = false;
    for token in headers.all("connection").flat_map(|value| value.split(|&byte| byte == b',')) {
        let token = token.trim_ascii();
        if TRUSTED.iter().any(|name| token.eq_ignore_ascii_case(name)) {
            return Err(HeadError::Malformed);
        }
        host |= token.eq_ignore_ascii_case(b"host");
    }
    Ok(host)
}

/// Checks what the grammar leaves open and settles authority, target and upgrade.
pub(super) fn accept(head: RequestHead, scheme: &str) -> Result<(Request, Framing), ClientError> {
    let RequestHead { method, target, version, host, user_agent, mut headers, framing, wire } = head;
    if headers.all("host").nth(1).is_some() {
        return Err(ClientError::Head(HeadError::Malformed));
    }
    headers.remove("host");
    let host = if names_host(&headers)? { None } else { host };
    if &method[..] == b"CONNECT" {
        // Its target is a host and port (RFC 9112 §3.2.3).
        let malformed = target.first() == Some(&b'/');
        return Err(if malformed { HeadError::Malformed.into() } else { ClientError::Connect });
    }
    if &target[..] == b"*" && &method[..] != b"OPTIONS" {
        return Err(ClientError::Head(HeadError::Malformed));
    }
    let (authority, target) = match absolute(&target)? {
        Some(absolute) if absolute.scheme == "https" && scheme != "https" => {
            return Err(ClientError::HttpsInClear);
        }
        Some(absolute) => (absolute.authority, absolute.target),
        // HTTP/1.0 need not name it; whether such a request is served at all is decided behind this.
        None if version == Version::Http10 => (host.unwrap_or_default(), target),
        None => (host.ok_or(ClientError::MissingHost)?, target),
    };
    if !authority.iter().all(|&byte| is_authority_byte(byte)) {
        return Err(ClientError::Head(HeadError::Malformed));
    }
    let upgrade = upgrade::requested(&mut headers, framing)?;
    let has_body = framing != Framing::Empty || upgrade.is_some();
    let scheme = None;
    let request = Request {
        method,
        target,
        authority,
        scheme,
        version,
        headers,
        user_agent,
        has_body,
        wire,
        upgrade,
        counted: None,
    };
    Ok((request, framing))
}

/// Authority and origin form of an absolute-form target (RFC 9112 §3.2.2); its authority replaces
/// Host. Other schemes than http and https are refused.
fn absolute(target: &Bytes) -> Result<Option<Absolute>, ClientError> {
    if target[0] == b'/' || &target[..] == b"*" {
        return Ok(None);
    }
    let lower = target[..target.len().min(8)].to_ascii_lowercase();
    let (scheme, start) = match &lower[..] {
        start if start.starts_with(b"http://") => ("http", 7),
        start if start.starts_with(b"https://") => ("https", 8),
        _ => return Err(ClientError::Head(HeadError::Malformed)),
    };
    let end = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let end = end.map_or(target.len(), |length| start + length);
    if end == start {
        return Err(ClientError::Head(HeadError::Malformed));
    }
    let rest = match target.get(end) {
        None => Bytes::from_static(b"/"),
        Some(b'/') => target.slice(end..),
        Some(_) => [b"/", &target[end..]].concat().into(),
    };
    Ok(Some(Absolute { scheme, authority: target.slice(start..end), target: rest }))
}

/// A target in absolute form, taken apart.
struct Absolute {
    scheme: &'static str,
    authority: Bytes,
    /// In origin form.
    target: Bytes,
}

/// Bytes of a host and port (RFC 3986 §3.2.2), user information excluded.
pub(crate) fn is_authority_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::http::h1::head;

    fn accepted(text: &str) -> Result<Request, ClientError> {
        let head = head::request(BytesMut::from(text)).expect("well-formed");
        accept(head, "https").map(|(request, _)| request)
    }

    #[test]
    fn absolute_form_names_the_host() {
        for (line, authority, target) in [
            ("GET http://b.com/x?y HTTP/1.1", "b.com", "/x?y"),
            ("GET HTTP://b.com HTTP/1.1", "b.com", "/"),
            ("GET https://b.com:8443?q HTTP/1.1", "b.com:8443", "/?q"),
            ("GET /x HTTP/1.1", "a.com", "/x"),
        ] {
            let request = accepted(&format!("{line}\r\nHost: a.com\r\n\r\n")).expect("accepted");
            assert_eq!(
                (&request.authority[..], &request.target[..]),
                (authority.as_bytes(), target.as_bytes()),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_refused_in_clear() {
        for (line, expected) in [
            ("GET https://a.com/ HTTP/1.1", Some(ClientError::HttpsInClear)),
            ("CONNECT a.com:443 HTTP/1.1", Some(ClientError::Connect)),
            ("GET / HTTP/1.1", Some(ClientError::MissingHost)),
            ("GET / HTTP/1.0", None),
        ] {
            let head = head::request(BytesMut::from(&*format!("{line}\r\n\r\n"))).expect("well-formed");
            assert_eq!(accept(head, "http").err(), expected, "{line}");
        }
    }

    #[test]
    fn refused_targets_and_hosts() {
        for text in [
            "GET ftp://b.com/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        ] {
            assert!(accepted(text).is_err(), "{text:?}");
        }
    }
}
