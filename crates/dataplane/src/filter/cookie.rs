//! The cookie of consistent hashing: generated for a client that came without one, so that its next
//! request goes to the same endpoint (`consistentHash.httpCookie`).

use portcullis_snapshot::action::Action;
use portcullis_snapshot::cluster::HashPolicy;

use crate::http::exchange::Exchange;
use crate::http::message::Response;

/// A generated cookie value, chosen before the endpoint was picked so that it leads there again.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    line: String,
}

/// A value for the first cookie policy that the request does not fulfil, and the line to set it.
pub(crate) fn generate(exchange: &Exchange, policies: &[HashPolicy]) -> Option<(String, Generated)> {
    policies.iter().find_map(|policy| {
        let HashPolicy::Cookie { name, path, ttl: Some(ttl), .. } = policy else { return None };
        let value = format!("{:016x}", exchange.worker().roll());
        let mut line = format!("{name}=\"{value}\"");
        if !ttl.is_zero() {
            line.push_str(&format!("; Max-Age={}", ttl.as_secs()));
        }
        if let Some(path) = path {
            line.push_str(&format!("; Path={path}"));
        }
        line.push_str("; HttpOnly");
        Some((value, Generated { line }))
    })
}

/// Sets the generated cookie.
pub(crate) fn on_response(exchange: &Exchange, response: &mut Response) {
    if let Some(generated) = &exchange.cookie
        && matches!(
            exchange.matched.as_ref().map(|matched| &matched.route().action),
            Some(Action::Forward(_))
        )
    {
        response.headers.append("set-cookie", generated.line.clone());
    }
}
