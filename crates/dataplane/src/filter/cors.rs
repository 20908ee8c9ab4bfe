//! Cross-origin policy of a route (Fetch standard, §3.2; Istio's `corsPolicy`).
//!
//! CORS does not block: a request of a foreign origin is forwarded as any other, its answer just
//! lacks the header that would let a browser show it.

use bytes::Bytes;
use portcullis_snapshot::Headers;
use portcullis_snapshot::action::CorsPolicy;
use portcullis_telemetry::details::Details;

use crate::http::exchange::Exchange;
use crate::http::message::Response;
use crate::http::reply::Reply;

/// Answers a preflight that the policy can answer; `None` lets the request go on.
pub(crate) fn preflight(exchange: &Exchange, policy: &CorsPolicy) -> Option<Reply> {
    let headers = &exchange.request.headers;
    let origin = exchange.origin.as_deref().filter(|origin| !origin.is_empty())?;
    let method = headers.first("access-control-request-method").filter(|method| !method.is_empty())?;
    if &exchange.request.method[..] != b"OPTIONS" {
        return None;
    }
    let mut reply = Reply::new(200, "", Details::new("cors_response"));
    reply.untouched = true;
    // A stranger is told what others might do, as in Istio, and not that it may.
    let allowed = allows(policy, origin);
    if !allowed && policy.forward_unmatched_preflights {
        return None;
    }
    let out = &mut reply.headers;
    if allowed {
        out.append("access-control-allow-origin", origin);
    }
    credentials(policy, out);
    if let Some(methods) = &policy.allow_methods {
        out.append("access-control-allow-methods", echoed(methods, Some(method)));
    }
    if let Some(names) = &policy.allow_headers {
        out.append(
            "access-control-allow-headers",
            echoed(names, headers.first("access-control-request-headers")),
        );
    }
    if allowed {
        expose(policy, out);
    }
    if let Some(age) = &policy.max_age {
        out.append("access-control-max-age", age);
    }
    Some(reply)
}

/// Marks the response to an allowed origin, the gateway's own answers included: a page may read why it failed.
pub(crate) fn on_response(exchange: &Exchange, response: &mut Response) {
    let Some(matched) = &exchange.matched else { return };
    let (Some(policy), Some(origin)) = (&matched.route().cors, exchange.origin.as_deref()) else { return };
    if !allows(policy, origin) {
        return;
    }
    response.headers.set("access-control-allow-origin", origin);
    if policy.allow_credentials {
        response.headers.set("access-control-allow-credentials", "true");
    }
    if let Some(exposed) = &policy.expose_headers {
        response.headers.set("access-control-expose-headers", exposed);
    }
}

fn allows(policy: &CorsPolicy, origin: &[u8]) -> bool {
    policy.allow_origins.iter().any(|allowed| allowed.matches(origin))
}

/// `*` stands for what was asked.
fn echoed<'a>(allowed: &'a Bytes, asked: Option<&'a [u8]>) -> &'a [u8] {
    if &allowed[..] == b"*" { asked.unwrap_or_default() } else { allowed }
}

fn credentials(policy: &CorsPolicy, out: &mut Headers) {
    if policy.allow_credentials {
        out.append("access-control-allow-credentials", "true");
    }
}

fn expose(policy: &CorsPolicy, out: &mut Headers) {
    if let Some(exposed) = &policy.expose_headers {
        out.append("access-control-expose-headers", exposed);
    }
}
