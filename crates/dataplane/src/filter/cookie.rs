//! The cookie of consistent hashing: generated for a client that came without one, so that its next
//! request goes to the same endpoint (`consistentHash.httpCookie`).

use std::fmt::Write as _;

use portcullis_snapshot::action::Action;
use portcullis_snapshot::cluster::HashPolicy;
use portcullis_traffic::hash;

use crate::http::exchange::Exchange;
use crate::http::message::Response;

/// Lines that set the cookies a client came without.
#[derive(Debug, Clone, Default)]
pub(crate) struct Generated {
    lines: Vec<String>,
}

/// A value for the cookie of `policy`, whose line to set it is kept for the response; `None` when that is no
/// cookie to be generated.
///
/// The value is made of the connection's two ends, as Envoy does it: requests that a client sends side by
/// side over one connection, before it has any cookie, go to one endpoint and get one value.
pub(crate) fn generate(exchange: &mut Exchange, policy: &HashPolicy) -> Option<String> {
    let HashPolicy::Cookie { name, path, ttl: Some(ttl), attributes } = policy else { return None };
    let local = exchange.record.inner.downstream_local_address.map(|local| local.to_string());
    let ends = format!("{}{}", exchange.client(), local.unwrap_or_default());
    let value = format!("{:016x}", hash::of_value(ends.as_bytes()));
    let mut line = format!("{name}=\"{value}\"");
    if ttl.as_secs() > 0 {
        let _ = write!(line, "; Max-Age={}", ttl.as_secs());
    }
    if let Some(path) = path {
        let _ = write!(line, "; Path={path}");
    }
    for attribute in attributes {
        let _ = match attribute.value.is_empty() {
            true => write!(line, "; {}", attribute.name),
            false => write!(line, "; {}={}", attribute.name, attribute.value),
        };
    }
    line.push_str("; HttpOnly");
    exchange.cookie.get_or_insert_default().lines.push(line);
    Some(value)
}

/// Sets the generated cookies.
pub(crate) fn on_response(exchange: &Exchange, response: &mut Response) {
    if let Some(generated) = &exchange.cookie
        && matches!(
            exchange.matched.as_ref().map(|matched| &matched.route().action),
            Some(Action::Forward(_))
        )
    {
        for line in &generated.lines {
            response.headers.append("set-cookie", line.clone());
        }
    }
}
