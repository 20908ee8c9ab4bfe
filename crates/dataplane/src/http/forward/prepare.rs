//! The request as the upstream gets it: header operations, authority, path, deadlines.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_snapshot::Headers;
use portcullis_snapshot::action::{Destination, Forward};
use portcullis_snapshot::cluster::HashPolicy;
use portcullis_snapshot::host::without_port;
use portcullis_traffic::hash;

use crate::filter::{cookie as cookie_filter, headers as operations};
use crate::http::exchange::{Exchange, target};
use crate::http::message::{Request, text};

/// Largest number of a `grpc-timeout` (gRPC over HTTP/2, "Requests").
const MAX_GRPC_TIMEOUT: u128 = 99_999_999;

/// How long a request may take, in whole milliseconds; upstreams are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// From the end of the request to the end of the response, over all tries; `None` = unbounded.
    pub(crate) whole: Option<Duration>,
    /// Of one try, where that is less.
    each_try: Option<Duration>,
}

impl Bounds {
    fn new(whole: Option<Duration>, each_try: Option<Duration>) -> Self {
        Self { whole, each_try: each_try.filter(|each| whole.is_none_or(|whole| *each < whole)) }
    }

    /// What an upstream is told when `elapsed` of the whole has passed: never 0, which would mean no bound.
    fn expected(&self, elapsed: Duration) -> Option<Duration> {
        let left = self.whole.map(|whole| whole.saturating_sub(elapsed).max(Duration::from_millis(1)));
        match (self.each_try, left) {
            (Some(each), Some(left)) => Some(each.min(left)),
            (each, left) => each.or(left),
        }
    }

    /// Writes the bound into the request: for every upstream, and once more in gRPC's own form for gRPC.
    pub(crate) fn announce(&self, exchange: &mut Exchange, elapsed: Duration) {
        let Some(expected) = self.expected(elapsed) else { return };
        let told = exchange.scope.pinned.snapshot.settings.own_headers.debug;
        let headers = &mut exchange.request.headers;
        if told {
            headers.set("x-envoy-expected-rq-timeout-ms", expected.as_millis().to_string());
        }
        if exchange.record.inner.grpc {
            headers.set("grpc-timeout", grpc_timeout_text(expected));
        }
    }
}

/// Turns the request into what the upstream gets, and gives its time bounds. Operations run before
/// the rewrites, on the request as the client sent it (routing.md §2.6), and behind what the gateway itself
/// adds: a route may remove that.
pub(crate) fn request(exchange: &mut Exchange, forward: &Forward, destination: &Destination) -> Bounds {
    let bounds = Bounds::new(timeout(exchange, forward), forward.retry.per_try_timeout);
    bounds.announce(exchange, Duration::ZERO);
    count_attempt(exchange, 1);
    let [of_destination, of_route] = operations::on_request(exchange, destination);
    let pinned = Rc::clone(&exchange.scope.pinned);
    let own = &pinned.snapshot.settings.own_headers;
    let request = &mut exchange.request;
    if let Some(rewrite) = &forward.path {
        let original = request.target.clone();
        let (path, query) = portcullis_snapshot::path::split(text(&original));
        request.target = target(&rewrite.apply(path), query);
        if own.debug {
            request.headers.set("x-envoy-original-path", original);
        }
    }
    // As in Istio's gateway: what one of several destinations says of itself is not told, and what the route says
    // replaces it.
    if let Some(authority) = of_destination {
        request.authority = authority;
    }
    if let Some(authority) = forward.authority.clone().or(of_route) {
        let original = std::mem::replace(&mut request.authority, authority);
        if own.forwarded_host {
            append_forwarded_host(&mut request.headers, &original);
        }
        if own.debug {
            request.headers.set("x-envoy-original-host", original);
        }
    }
    exchange.record.inner.authority = Some(exchange.request.authority.clone());
    bounds
}

/// Appends a host to `x-forwarded-host`, unless it stands at its end already (Envoy: `appendForwardedHost`).
fn append_forwarded_host(headers: &mut Headers, host: &Bytes) {
    const NAME: &str = "x-forwarded-host";
    let value = match headers.joined(NAME) {
        None => host.clone(),
        Some(list) if list.rsplit(|&byte| byte == b',').next().map(<[u8]>::trim_ascii) == Some(host) => {
            return;
        }
        Some(list) => [&list[..], b",", host].concat().into(),
    };
    headers.set(NAME, value);
}

/// Numbers a try, from 1, if upstreams are told.
pub(crate) fn count_attempt(exchange: &mut Exchange, number: u32) {
    if !exchange.scope.pinned.snapshot.settings.own_headers.attempt_count {
        return;
    }
    exchange.request.headers.set("x-envoy-attempt-count", itoa::Buffer::new().format(number));
}

/// The route's timeout; a gRPC client may ask for less, never for more.
fn timeout(exchange: &Exchange, forward: &Forward) -> Option<Duration> {
    if !exchange.record.inner.grpc {
        return forward.timeout;
    }
    // No time at all means no bound, as everywhere in the proxy underneath Istio's gateway.
    let asked = exchange.request.headers.first_str("grpc-timeout").and_then(grpc_timeout);
    match (asked.filter(|asked| !asked.is_zero()), forward.timeout) {
        (Some(asked), Some(route)) => Some(asked.min(route)),
        (asked, route) => asked.or(route),
    }
}

/// `grpc-timeout`: at most 8 digits and a unit (gRPC over HTTP/2, "Requests"), in whole milliseconds, rounded up.
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
        "u" => Duration::from_millis(amount.div_ceil(1_000)),
        "n" => Duration::from_millis(amount.div_ceil(1_000_000)),
        _ => return None,
    })
}

/// A `grpc-timeout` in the smallest unit that fits into 8 digits.
fn grpc_timeout_text(timeout: Duration) -> String {
    let mut amount = timeout.as_millis();
    for (unit, in_next) in [("m", 1000), ("S", 60), ("M", 60)] {
        if amount <= MAX_GRPC_TIMEOUT {
            return format!("{amount}{unit}");
        }
        amount /= in_next;
    }
    format!("{}H", amount.min(MAX_GRPC_TIMEOUT))
}

/// What consistent hashing goes by: all policies with a value together. A client without the cookie it
/// should have gets one that leads back to the endpoint picked now.
pub(crate) fn hash(exchange: &mut Exchange, policies: &[HashPolicy]) -> Option<u64> {
    if exchange.hash.is_none() {
        for policy in policies {
            if let Some(key) = hash_key(exchange, policy) {
                exchange.hash = Some(hash::combined(exchange.hash, key));
            }
        }
    }
    exchange.hash
}

fn hash_key(exchange: &mut Exchange, policy: &HashPolicy) -> Option<u64> {
    match policy {
        HashPolicy::Header(name) => {
            let mut values: Vec<&[u8]> = exchange.request.headers.all(name).collect();
            // One that is not among the fields: the method, the host or the path.
            if values.is_empty() {
                return exchange.view().header(name).map(|value| hash::of_value(&value));
            }
            Some(hash::of_values(&mut values))
        }
        HashPolicy::Query(name) => {
            exchange.view().query_parameter(name).map(|value| hash::of_value(value.as_bytes()))
        }
        HashPolicy::SourceIp => Some(hash::of_address(exchange.client().ip())),
        HashPolicy::Cookie { name, .. } => match cookie(&exchange.request.headers, name) {
            Some(value) => Some(hash::of_value(value)),
            None => cookie_filter::generate(exchange, policy).map(|value| hash::of_value(value.as_bytes())),
        },
    }
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

/// The name that TLS to the upstream goes by: the final host without its port, and without the brackets of an IPv6
/// address. An address is not sent as SNI, but stands in the certificate all the same (Envoy's `auto_san_validation`).
pub(crate) fn server_name(request: &Request) -> Option<&str> {
    let host = without_port(text(&request.authority));
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!bare.is_empty()).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts() {
        assert_eq!(grpc_timeout("1S"), Some(Duration::from_secs(1)));
        assert_eq!(grpc_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(grpc_timeout("1500u"), Some(Duration::from_millis(2)));
        assert_eq!(grpc_timeout("1n"), Some(Duration::from_millis(1)));
        for text in ["", "S", "1", "-1S", "123456789S", "1s", "1\u{e9}"] {
            assert_eq!(grpc_timeout(text), None, "{text:?}");
        }
    }

    #[test]
    fn grpc_timeouts_are_written_in_the_smallest_unit_that_fits() {
        for (seconds, text) in [(1, "1000m"), (99_999, "99999000m"), (100_000, "100000S")] {
            assert_eq!(grpc_timeout_text(Duration::from_secs(seconds)), text);
        }
        assert_eq!(grpc_timeout_text(Duration::from_secs(99_999_999 * 60)), "99999999M");
        assert_eq!(grpc_timeout_text(Duration::from_secs(u64::MAX)), "99999999H");
    }

    #[test]
    fn bounds_told_to_upstreams() {
        let seconds = Duration::from_secs;
        for (whole, each, elapsed, told) in [
            (None, None, 0, None),
            (Some(5), None, 0, Some(5)),
            (Some(5), Some(2), 0, Some(2)),
            (Some(5), Some(2), 4, Some(1)),
            (Some(5), Some(7), 0, Some(5)),
            (None, Some(2), 9, Some(2)),
        ] {
            let bounds = Bounds::new(whole.map(seconds), each.map(seconds));
            assert_eq!(bounds.expected(seconds(elapsed)), told.map(seconds), "{whole:?} {each:?} {elapsed}");
        }
        let over = Bounds::new(Some(seconds(1)), None).expected(seconds(2));
        assert_eq!(over, Some(Duration::from_millis(1)), "0 would mean no bound");
    }

    #[test]
    fn hosts_are_appended_once() {
        let host = Bytes::from_static(b"b.test");
        for (list, expected) in [
            (None, "b.test"),
            (Some("a.test"), "a.test,b.test"),
            (Some("a.test, b.test"), "a.test, b.test"),
            (Some("b.test,a.test"), "b.test,a.test,b.test"),
        ] {
            let mut headers = Headers::default();
            list.into_iter().for_each(|list| headers.append("x-forwarded-host", list));
            append_forwarded_host(&mut headers, &host);
            assert_eq!(headers.first_str("x-forwarded-host"), Some(expected), "{list:?}");
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
