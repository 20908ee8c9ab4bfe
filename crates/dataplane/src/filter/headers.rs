//! Header operations of routes and destinations: remove, then set, then add.

use bytes::Bytes;
use portcullis_snapshot::Headers;
use portcullis_snapshot::action::{Action, Destination, Destinations, HeaderOps};
use portcullis_snapshot::template::Template;

use crate::filter::alias::{is_alias, is_suspect};
use crate::filter::format::Facts;
use crate::http::exchange::Exchange;
use crate::http::message::Response;

/// The operations of a route and of its chosen destination, in the order they run: with several
/// destinations the destination's come first, so that the route's win; with one it is the other way
/// round, and the removals of both come first (routing.md §2.6).
fn in_order<'a>(
    several: bool,
    route: &'a HeaderOps,
    destination: Option<&'a HeaderOps>,
) -> [Option<&'a HeaderOps>; 2] {
    if several { [destination, Some(route)] } else { [Some(route), destination] }
}

/// Applies the operations on a request; gives the authorities they set, if any: that of one among several destinations,
/// and that of the route, or of its only destination.
pub(crate) fn on_request(exchange: &mut Exchange, destination: &Destination) -> [Option<Bytes>; 2] {
    let Some(matched) = exchange.matched.clone() else { return [None, None] };
    let route = matched.route();
    let (route_ops, destination_ops) = (&route.request_headers, &destination.request_headers);
    if route_ops.is_empty() && destination_ops.is_empty() {
        return [None, None];
    }
    let several = has_several(&route.action);
    // Values are those of the request before any operation touched it.
    let rendered = render(
        several,
        route_ops,
        Some(destination_ops),
        &Facts { exchange, response: None, upstream_status: 0 },
    );
    drop_aliases(&mut exchange.request.headers, [route_ops, destination_ops]);
    apply(&mut exchange.request.headers, several, route_ops, Some(destination_ops), rendered);
    let facts = Facts { exchange, response: None, upstream_status: 0 };
    let authority = |operations: &HeaderOps| {
        let template = operations.authority.as_ref()?;
        Some(template.render(&facts)).filter(|value| !value.is_empty())
    };
    match several {
        true => [authority(destination_ops), authority(route_ops)],
        false => [None, authority(route_ops).or_else(|| authority(destination_ops))],
    }
}

/// Applies the operations of the matched route on a response of the gateway's own, and those of the destination that
/// would have answered.
pub(crate) fn on_response(exchange: &Exchange, response: &mut Response) {
    on_response_as(exchange, 0, response);
}

/// Applies the operations of the matched route, and of its destination, on an upstream's response.
pub(crate) fn on_response_from(exchange: &Exchange, response: &mut Response) {
    on_response_as(exchange, response.status, response);
}

fn on_response_as(exchange: &Exchange, upstream_status: u16, response: &mut Response) {
    let Some(matched) = &exchange.matched else { return };
    let route = matched.route();
    let destination = match &route.action {
        Action::Forward(forward) => Some(&forward.destinations.pick(exchange.draw()).response_headers),
        Action::Redirect(_) | Action::Respond(_) => None,
    };
    if route.response_headers.is_empty() && destination.is_none_or(HeaderOps::is_empty) {
        return;
    }
    let several = has_several(&route.action);
    let facts = Facts { exchange, response: Some(response), upstream_status };
    let rendered = render(several, &route.response_headers, destination, &facts);
    apply(&mut response.headers, several, &route.response_headers, destination, rendered);
}

fn has_several(action: &Action) -> bool {
    matches!(action, Action::Forward(forward) if matches!(forward.destinations, Destinations::Weighted { .. }))
}

/// A value with the name it goes under.
type Rendered = (Bytes, Bytes);

/// Rendered `set` and `add` values of each group of operations.
fn render(
    several: bool,
    route: &HeaderOps,
    destination: Option<&HeaderOps>,
    facts: &Facts<'_>,
) -> [(Vec<Rendered>, Vec<Rendered>); 2] {
    let values = |entries: &[(Bytes, Template)]| {
        // An empty value is not set at all, as the reference does.
        let rendered = entries.iter().map(|(name, template)| (name.clone(), template.render(facts)));
        rendered.filter(|(_, value)| !value.is_empty()).collect()
    };
    in_order(several, route, destination).map(|operations| match operations {
        Some(operations) => (values(&operations.set), values(&operations.add)),
        None => (Vec::new(), Vec::new()),
    })
}

fn apply(
    headers: &mut Headers,
    several: bool,
    route: &HeaderOps,
    destination: Option<&HeaderOps>,
    rendered: [(Vec<Rendered>, Vec<Rendered>); 2],
) {
    let order = in_order(several, route, destination);
    if !several {
        order.iter().flatten().for_each(|operations| remove(headers, operations));
    }
    for (operations, (set, add)) in order.iter().zip(rendered) {
        if several && let Some(operations) = operations {
            remove(headers, operations);
        }
        set.into_iter().for_each(|(name, value)| headers.set(name, value));
        add.into_iter().for_each(|(name, value)| headers.append(name, value));
    }
}

/// What a rule sets or removes is not the client's to say, under no spelling that an upstream may take for it.
fn drop_aliases(headers: &mut Headers, operations: [&HeaderOps; 2]) {
    headers.retain(|field| {
        let is = |own: &[u8]| is_alias(field.name, own);
        let among = |operations: &&HeaderOps| {
            operations.set.iter().any(|(name, _)| is(name))
                || operations.remove.iter().any(|name| is(name.as_bytes()))
        };
        !is_suspect(field.name) || !operations.iter().any(among)
    });
}

fn remove(headers: &mut Headers, operations: &HeaderOps) {
    for name in &operations.remove {
        headers.remove(name);
    }
}
