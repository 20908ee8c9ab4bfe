//! Redirects and direct responses: answers that the configuration holds ready.

use portcullis_snapshot::action::{DirectResponse, Redirect};
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
    let location = redirect.location(&exchange.view());
    Reply::new(redirect.status.as_u16(), "", Details::DIRECT_RESPONSE).with_header("location", location)
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
