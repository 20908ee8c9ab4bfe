//! Redirects and direct responses: answers that the configuration holds ready.

use portcullis_snapshot::action::{DirectResponse, Redirect, RedirectPath, Scheme};
use portcullis_snapshot::host::without_port;
use portcullis_telemetry::details::Details;

use crate::http::exchange::Exchange;
use crate::http::message::text;
use crate::http::reply::Reply;

/// `httpsRedirect`: 301 to the same host, port and target under https (routing.md §1.8).
pub(crate) fn to_https(exchange: &Exchange) -> Reply {
    let location = format!("https://{}{}", text(&exchange.request.authority), text(&exchange.request.target));
    Reply::new(301, "", Details::DIRECT_RESPONSE).with_header("location", location)
}

/// `http[].redirect` (routing.md §2.7).
pub(crate) fn reply(exchange: &Exchange, redirect: &Redirect) -> Reply {
    let location = location(exchange, redirect);
    Reply::new(redirect.status.as_u16(), "", Details::DIRECT_RESPONSE).with_header("location", location)
}

fn location(exchange: &Exchange, redirect: &Redirect) -> String {
    let view = exchange.view();
    let old = if view.scheme == "https" { Scheme::Https } else { Scheme::Http };
    let scheme = redirect.scheme.unwrap_or(old);
    let host = match (&redirect.host, redirect.port) {
        (Some(host), _) => host.to_string(),
        (None, Some(_)) => without_port(view.authority).to_owned(),
        (None, None) => kept_host(view.authority, old, scheme).to_owned(),
    };
    let port = match redirect.port {
        Some(port) if port != scheme.default_port() => format!(":{port}"),
        _ => String::new(),
    };
    let query = view.query.map_or(String::new(), |query| format!("?{query}"));
    let path = match &redirect.path {
        RedirectPath::Keep => format!("{}{query}", view.path),
        RedirectPath::Replace(path) if path.contains('?') => path.to_string(),
        RedirectPath::Replace(path) => format!("{path}{query}"),
        RedirectPath::Prefix { matched, replacement } => {
            format!("{replacement}{}{query}", view.path.get(*matched..).unwrap_or(""))
        }
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{}://{host}{port}{slash}{path}", scheme.as_str())
}

/// The port of the Host header stays, unless the scheme changes and it was the old one's default.
fn kept_host(authority: &str, old: Scheme, new: Scheme) -> &str {
    let default = format!(":{}", old.default_port());
    if old != new && authority.ends_with(&default) { without_port(authority) } else { authority }
}

/// `http[].directResponse`.
pub(crate) fn direct(exchange: &Exchange, response: &DirectResponse) -> Reply {
    let status = response.status.as_u16();
    let reply = Reply::new(status, response.body.clone(), Details::DIRECT_RESPONSE);
    // As the reference does for 201 and redirects: the location of the request itself.
    if status == 201 || (300..400).contains(&status) {
        let view = exchange.view();
        let location = format!("{}://{}{}", view.scheme, view.authority, text(&exchange.request.target));
        return reply.with_header("location", location);
    }
    reply
}
