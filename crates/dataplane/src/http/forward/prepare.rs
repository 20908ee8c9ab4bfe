//! The request as the upstream gets it: header operations, authority, path, deadlines.

use std::borrow::Cow;
use std::time::Duration;

use portcullis_snapshot::Headers;
use portcullis_snapshot::action::{Destination, Forward};
use portcullis_snapshot::cluster::HashPolicy;
use portcullis_snapshot::host::without_port;
use portcullis_traffic::hash;

use crate::filter::{cookie as cookie_filter, headers as operations};
use crate::http::exchange::{Exchange, target};
use crate::http::message::text;

/// Turns the request into what the upstream gets, and gives the bound from the end of the request to
/// the end of the response. Operations run before the rewrites, on the request as the client sent it
/// (routing.md §2.6).
pub(crate) fn request(
    exchange: &mut Exchange,
    forward: &Forward,
    destination: &Destination,
) -> Option<Duration> {
    let timeout = timeout(exchange, forward);
    let expected =
        forward.retry.per_try_timeout.filter(|each| timeout.is_none_or(|all| *each < all)).or(timeout);
    let set_authority = operations::on_request(exchange, destination);
    let request = &mut exchange.request;
    if let Some(rewrite) = &forward.path {
        let original = request.target.clone();
        let (path, query) = portcullis_snapshot::path::split(text(&original));
        request.target = target(&rewrite.apply(path), query);
        request.headers.set("x-envoy-original-path", original);
    }
    if let Some(authority) = &forward.authority {
        let original = std::mem::replace(&mut request.authority, authority.clone());
        request.headers.set("x-envoy-original-host", original);
    } else if let Some(authority) = set_authority {
        request.authority = authority;
    }
    if let Some(expected) = expected {
        request.headers.set("x-envoy-expected-rq-timeout-ms", expected.as_millis().to_string());
    }
    exchange.record.inner.authority = Some(exchange.request.authority.clone());
    timeout
}

/// The route's timeout; a gRPC client may ask for less, never for more.
fn timeout(exchange: &mut Exchange, forward: &Forward) -> Option<Duration> {
    if !exchange.record.inner.grpc {
        return forward.timeout;
    }
    let asked = exchange.request.headers.first_str("grpc-timeout").and_then(grpc_timeout);
    match (asked, forward.timeout) {
        (Some(asked), Some(route)) if route < asked => {
            exchange.request.headers.set("grpc-timeout", format!("{}m", route.as_millis()));
            Some(route)
        }
        (Some(asked), _) => Some(asked),
        (None, route) => route,
    }
}

/// `grpc-timeout`: at most 8 digits and a unit (gRPC over HTTP/2, "Requests").
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// What consistent hashing goes by; the first policy with a value decides. A client without the
/// cookie it should have gets one that leads back to the endpoint picked now.
pub(crate) fn hash(exchange: &mut Exchange, policies: &[HashPolicy]) -> Option<u64> {
    if let Some(known) = exchange.hash {
        return Some(known);
    }
    let found = hash_of_request(exchange, policies).or_else(|| {
        let (value, generated) = cookie_filter::generate(exchange, policies)?;
        exchange.cookie = Some(generated);
        Some(hash::of_value(value.as_bytes()))
    });
    exchange.hash = found;
    found
}

fn hash_of_request(exchange: &Exchange, policies: &[HashPolicy]) -> Option<u64> {
    policies.iter().find_map(|policy| {
        let value: Cow<'_, [u8]> = match policy {
            HashPolicy::Header(name) => exchange.view().header(name)?,
            HashPolicy::Query(name) => exchange.view().query_parameter(name)?.as_bytes().into(),
            HashPolicy::SourceIp => exchange.client.ip().to_string().into_bytes().into(),
            HashPolicy::Cookie { name, .. } => cookie(&exchange.request.headers, name)?.into(),
        };
        Some(hash::of_value(&value))
    })
}

/// The value of a cookie (RFC 6265 §4.2).
fn cookie<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.all("cookie").flat_map(|line| line.split(|&byte| byte == b';'));
    let value = pairs.into_iter().find_map(|pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    });
    value.filter(|value| !value.is_empty())
}

/// The name for automatic SNI: the final host without its port; none for an IP address.
pub(crate) fn server_name(exchange: &Exchange) -> Option<&str> {
    let host = without_port(text(&exchange.request.authority));
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty() && bare.parse::<std::net::IpAddr>().is_err()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts() {
        assert_eq!(grpc_timeout("1S"), Some(Duration::from_secs(1)));
        assert_eq!(grpc_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for text in ["", "S", "1", "-1S", "123456789S", "1s", "1\u{e9}"] {
            assert_eq!(grpc_timeout(text), None, "{text:?}");
        }
    }

    #[test]
    fn cookies() {
        let mut headers = Headers::default();
        headers.append("cookie", "a=1; sess=\"x y\"; b=");
        assert_eq!(cookie(&headers, "sess"), Some(&b"x y"[..]));
        assert_eq!(cookie(&headers, "a"), Some(&b"1"[..]));
        assert_eq!((cookie(&headers, "b"), cookie(&headers, "ess")), (None, None));
    }
}
