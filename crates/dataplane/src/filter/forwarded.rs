//! Hygiene at the edge: what a client says about itself is dropped, what the gateway knows is added
//! (routing.md §2.11, security.md §6.1).

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use portcullis_snapshot::Headers;
use portcullis_snapshot::headers::Header;
use portcullis_snapshot::settings::{ForwardClientCert, Underscores};

use crate::error::ClientError;
use crate::filter::alias::{is_alias, is_suspect};
use crate::http::exchange::Exchange;
use crate::http::message::text;

/// Steering headers of the proxy underneath Istio's gateway: from outside they mean nothing good.
const CONTROLS: &[&[u8]] = &[
    b"x-envoy-attempt-count",
    b"x-envoy-decorator-operation",
    b"x-envoy-downstream-service-cluster",
    b"x-envoy-downstream-service-node",
    b"x-envoy-expected-rq-timeout-ms",
    b"x-envoy-external-address",
    b"x-envoy-force-trace",
    b"x-envoy-hedge-on-per-try-timeout",
    b"x-envoy-internal",
    b"x-envoy-ip-tags",
    b"x-envoy-max-retries",
    b"x-envoy-original-host",
    b"x-envoy-original-path",
    b"x-envoy-original-url",
    b"x-envoy-peer-metadata",
    b"x-envoy-peer-metadata-id",
    b"x-envoy-retriable-header-names",
    b"x-envoy-retriable-status-codes",
    b"x-envoy-retry-grpc-on",
    b"x-envoy-retry-on",
    b"x-envoy-upstream-alt-stat-name",
    b"x-envoy-upstream-rq-per-try-timeout-ms",
    b"x-envoy-upstream-rq-timeout-alt-response",
    b"x-envoy-upstream-rq-timeout-ms",
    b"x-envoy-upstream-stream-duration-ms",
];

/// What else the gateway tells upstreams about a client.
const OWN: &[&[u8]] =
    &[b"x-forwarded-client-cert", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"];

/// Cleans the request's headers and sets the gateway's own; settles the trusted client and scheme.
pub(crate) fn sanitize(exchange: &mut Exchange) {
    let pinned = Rc::clone(&exchange.scope.pinned);
    let settings = &pinned.snapshot.settings;
    let hops = settings.trusted_proxies as usize;
    let said =
        exchange.request.upgrade.as_ref().and_then(|_| exchange.request.headers.joined_owned("connection"));
    drop_not_for_upstreams(&mut exchange.request.headers);
    // An upgrade that is allowed goes on to the upstream in the client's words, and routes may match it.
    if let Some(protocol) = exchange.request.upgrade.clone() {
        exchange.request.headers.append("connection", said.unwrap_or_else(|| "Upgrade".into()));
        exchange.request.headers.append("upgrade", protocol);
    }
    let received = exchange.request.headers.joined_owned("x-forwarded-for");
    let peer = exchange.connection.peer_ip_text().clone();
    let behind = received.as_deref().filter(|_| hops > 0).and_then(|list| nth_from_right(text(list), hops));
    let (client, client_text) = match behind {
        Some(client) => (SocketAddr::new(client, 0), client.to_string().into()),
        None => (exchange.connection.peer, peer.clone()),
    };
    let appended: Bytes = match received {
        Some(list) if !list.is_empty() => [&list[..], b",", &peer].concat().into(),
        _ => peer,
    };
    let proto = exchange.request.headers.first_str("x-forwarded-proto").and_then(|proto| match proto {
        "http" => Some("http"),
        "https" => Some("https"),
        _ => None,
    });
    if hops > 0
        && let Some(proto) = proto
    {
        exchange.scheme = proto;
    }
    // Without one of its own, the gateway goes by the client's.
    let own = settings.own_headers.request_id.then(|| exchange.worker().with_dice(random_uuid));
    let port = exchange.connection.local.port();
    let headers = &mut exchange.request.headers;
    headers.set("x-forwarded-for", &appended);
    headers.set("x-forwarded-proto", exchange.scheme);
    if let Some(id) = &own {
        headers.set("x-request-id", id);
    }
    if settings.own_headers.forwarded_port && (hops == 0 || !headers.contains("x-forwarded-port")) {
        headers.set("x-forwarded-port", port.to_string());
    }
    let id = own.or_else(|| headers.first_owned("x-request-id"));
    headers.append("x-envoy-external-address", client_text);
    client_certificate(exchange, settings.forward_client_cert);
    exchange.record.inner.x_forwarded_for = Some(appended);
    exchange.record.inner.request_id = id;
    exchange.record.inner.downstream_remote_address = Some(client);
}

/// Takes header names with underscores as the settings say.
///
/// # Errors
/// When there is one, and none is taken.
pub(crate) fn underscores(headers: &mut Headers, rule: Underscores) -> Result<(), ClientError> {
    let has_one = |field: Header<'_>| memchr::memchr(b'_', field.name).is_some();
    match rule {
        Underscores::Allow => {}
        Underscores::Drop => headers.retain(|field| !has_one(field)),
        Underscores::Reject if headers.iter().any(has_one) => return Err(ClientError::Underscore),
        Underscores::Reject => {}
    }
    Ok(())
}

/// Drops fields that end at this hop, and those that `Connection` names, unless the gateway or an
/// authenticator relies on them (CVE-2024-45410); and what only the gateway may say.
fn drop_not_for_upstreams(headers: &mut Headers) {
    let named = headers.joined_owned("connection");
    let is_named = |name: &[u8]| {
        let tokens = named.as_deref().unwrap_or_default().split(|&byte| byte == b',');
        tokens.into_iter().any(|token| token.trim_ascii().eq_ignore_ascii_case(name))
    };
    headers.retain(|field| match field.name {
        name if is_reserved(name) => false,
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
        | b"http2-settings" => false,
        b"te" => field.value.eq_ignore_ascii_case(b"trailers"),
        b"authorization" | b"cookie" | b"forwarded" | b"content-length" | b"content-type" | b"expect" => true,
        name if name.starts_with(b"x-forwarded-") => true,
        name => named.is_none() || !is_named(name),
    });
}

/// Whether only the gateway may speak of it, under this name or one that upstreams take for it.
fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(b"x-envoy-") && CONTROLS.binary_search(&name).is_ok()
        || is_suspect(name) && CONTROLS.iter().chain(OWN).any(|own| is_alias(name, own))
}

/// The `hops`-th address from the right, if the list is that long and it is an address.
fn nth_from_right(list: &str, hops: usize) -> Option<IpAddr> {
    let entry = list.rsplit(',').nth(hops - 1)?.trim();
    let entry = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    entry.parse().ok()
}

/// A random UUID (RFC 9562 §5.4); its 15th character, `4`, says "not traced" to Istio's tools.
pub(crate) fn random_uuid(dice: &mut rand::rngs::SmallRng) -> Bytes {
    use rand::RngExt as _;
    const HEX: &[u8; 16] = b"0123456789abcdef";
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let random = dice.random::<u128>();
    let random = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    for (byte, place) in random.to_be_bytes().into_iter().zip(PLACES) {
        text[place] = HEX[usize::from(byte >> 4)];
        text[place + 1] = HEX[usize::from(byte & 15)];
    }
    Bytes::copy_from_slice(&text)
}

/// `x-forwarded-client-cert` as `forwardClientCertDetails` says.
fn client_certificate(exchange: &mut Exchange, rule: ForwardClientCert) {
    const NAME: &str = "x-forwarded-client-cert";
    let peer = exchange.connection.tls.as_ref().and_then(|tls| tls.peer()).map(|peer| peer.element.clone());
    let headers = &mut exchange.request.headers;
    match (rule, peer) {
        (ForwardClientCert::AlwaysForwardOnly, _) | (ForwardClientCert::ForwardOnly, Some(_)) => {}
        (ForwardClientCert::SanitizeSet, Some(element)) => headers.set(NAME, element),
        (ForwardClientCert::AppendForward, Some(element)) => {
            let value = match headers.joined(NAME) {
                Some(list) => [&list[..], b",", element.as_bytes()].concat(),
                None => element.into_bytes(),
            };
            headers.set(NAME, value);
        }
        _ => {
            headers.remove(NAME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_sorted() {
        assert!(CONTROLS.is_sorted());
        assert!(CONTROLS.iter().all(|name| is_reserved(name)), "all begin alike");
    }

    #[test]
    fn trusted_client() {
        for (list, hops, expected) in [
            ("56.5.6.7, 72.9.5.6, 98.1.2.3", 2, Some("72.9.5.6")),
            ("72.9.5.6, 98.1.2.3", 2, Some("72.9.5.6")),
            ("98.1.2.3", 2, None),
            ("garbage, 1.1.1.1", 2, None),
            ("2001:db8::1, 10.0.0.1", 2, Some("2001:db8::1")),
            ("[2001:db8::1]", 1, Some("2001:db8::1")),
        ] {
            assert_eq!(
                nth_from_right(list, hops),
                expected.map(|text| text.parse().expect("address")),
                "{list}"
            );
        }
    }

    #[test]
    fn connection_cannot_name_what_others_rely_on() {
        let mut headers = Headers::default();
        for (name, value) in [
            ("connection", "x-a, X-Forwarded-For, authorization, close"),
            ("x-a", "1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("authorization", "Basic eA=="),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("x-envoy-internal", "true"),
            ("x_envoy_internal", "true"),
            ("x-b", "2"),
        ] {
            headers.append(name, value);
        }
        drop_not_for_upstreams(&mut headers);
        let left: Vec<_> = headers.iter().map(|field| text(field.name).to_owned()).collect();
        assert_eq!(left, ["x-forwarded-for", "authorization", "te", "x-b"]);
    }

    #[test]
    fn names_with_underscores() {
        for (rule, expected) in [
            (Underscores::Allow, Ok(2)),
            (Underscores::Drop, Ok(1)),
            (Underscores::Reject, Err(ClientError::Underscore)),
        ] {
            let mut headers = Headers::default();
            headers.append("x_a", "1");
            headers.append("x-a", "_");
            assert_eq!(underscores(&mut headers, rule).map(|()| headers.len()), expected);
        }
    }

    #[test]
    fn request_ids_are_version_4_uuids() {
        use rand::SeedableRng as _;
        let id = random_uuid(&mut rand::rngs::SmallRng::seed_from_u64(1));
        let id = text(&id);
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        assert_eq!(id.matches('-').count(), 4);
    }
}
