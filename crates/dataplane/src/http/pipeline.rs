//! The steps of a request, in Istio's order (telemetry.md §1.3: … fault, CORS, statistics, router).

use std::borrow::Cow;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_snapshot::action::Action;
use portcullis_snapshot::host::{looked_up, without_port};
use portcullis_snapshot::listener::{ChainService, ChainTls};
use portcullis_snapshot::path::{Prepared, prepare};
use portcullis_snapshot::tls::ClientCertificate;
use portcullis_snapshot::{RouteTable, VirtualHost};
use portcullis_telemetry::details::Details;
use portcullis_telemetry::record::Reason;
use tokio::time::Instant;

use crate::error::{ClientError, Error, RouteError};
use crate::filter::{cors, fault, forwarded, grpc_web, redirect};
use crate::http::body::Body;
use crate::http::exchange::{Exchange, Finished, Matched, target};
use crate::http::forward;
use crate::http::h1::head::Version;
use crate::http::message::{Responder, text};
use crate::http::reply::{self, Reply};

/// Takes a request to its answer.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps its arguments twice, in every request that waits"
)]
pub(crate) fn run(
    mut exchange: Box<Exchange>,
    mut body: Body,
    responder: Responder,
) -> impl Future<Output = Finished> {
    async move {
        let local = match decide(&mut exchange, &mut body).await {
            Ok(reply) => reply,
            Err(error) => Some(reply::answer(&error, false)),
        };
        // On the heap: most requests have none, and each would keep room for it.
        match local.map(Box::new) {
            Some(reply) => Box::pin(reply::send(exchange, *reply, body, responder)).await,
            None => forward::run(exchange, body, responder).await,
        }
    }
}

/// Everything before the upstream: `None` means that the request is forwarded.
async fn decide(exchange: &mut Exchange, body: &mut Body) -> Result<Option<Reply>, Error> {
    // HTTP/1.0 is refused first: its clients may not send what the rest relies on.
    if exchange.request.version == Version::Http10 && !exchange.scope.pinned.snapshot.settings.http10 {
        return Err(ClientError::LowVersion.into());
    }
    // Names that some servers read as others are settled before anything looks at headers.
    let pinned = Rc::clone(&exchange.scope.pinned);
    forwarded::underscores(&mut exchange.request.headers, pinned.snapshot.settings.connections.underscores)?;
    // The head was accepted without Host for the sake of the answer above.
    if exchange.request.version == Version::Http10 && exchange.request.authority.is_empty() {
        return Err(ClientError::MissingHost.into());
    }
    // One canonical path for matching, policies and the upstream.
    if let Some(reply) = normalize(exchange)? {
        return Ok(Some(reply));
    }
    // What a client may not say about itself goes, what the gateway knows comes: routes may match it.
    forwarded::sanitize(exchange);
    // Who speaks gRPC-Web is answered in it from here on, whatever comes of the request.
    if table(exchange).is_some_and(|table| table.grpc_web) {
        exchange.grpc_web = grpc_web::recognise(&exchange.request.headers);
    }
    let looking = exchange.measure.as_ref().map(|_| Instant::now());
    // A certificate authority asks before the host has a certificate: nothing may come before its answer.
    let asked = table(exchange).filter(|table| !table.challenges.is_empty());
    let challenged = asked.and_then(|table| table.challenge(&exchange.view()).cloned());
    let host = match challenged {
        Some(host) => host,
        // The virtual host is final: no matching route inside it is a 404, never a wider host.
        None => virtual_host(exchange)?,
    };
    // httpsRedirect stands before every route of the host.
    if host.require_tls && exchange.scheme != "https" {
        return Ok(Some(redirect::to_https(exchange)));
    }
    find_route(exchange, host)?;
    if let (Some(measure), Some(since)) = (&mut exchange.measure, looking) {
        measure.routed = Some(since.elapsed());
    }
    // Routes are found by what the client says; everything behind them sees gRPC.
    if exchange.grpc_web.is_some() {
        grpc_web::on_request(&mut exchange.request.headers);
        exchange.record.inner.grpc = true;
    }
    let Some(matched) = exchange.matched.clone() else { return Err(RouteError::NotFound.into()) };
    let route = matched.route();
    // Injected faults come before CORS and the router; they are not counted in any timeout.
    if let Some(fault) = &route.fault
        && let Some(reply) = Box::pin(fault::inject(exchange, fault, body)).await
    {
        return Ok(Some(reply));
    }
    // A preflight that the policy can answer goes no further.
    if route.cors.is_some() {
        exchange.origin = exchange.request.headers.joined_owned("origin").map(Box::new);
    }
    if let Some(policy) = &route.cors
        && let Some(reply) = cors::preflight(exchange, policy)
    {
        return Ok(Some(reply));
    }
    Ok(match &route.action {
        Action::Forward(_) => None,
        Action::Redirect(redirect) => Some(redirect::reply(exchange, redirect)),
        Action::Respond(response) => Some(redirect::direct(exchange, response)),
    })
}

/// Puts the path into its normal form, or sends the client there.
fn normalize(exchange: &mut Exchange) -> Result<Option<Reply>, Error> {
    let pinned = Rc::clone(&exchange.scope.pinned);
    let original = text(&exchange.request.target);
    if original == "*" {
        // `OPTIONS *` speaks of the gateway itself: it names no resource that a route could match.
        return Err(RouteError::NotFound.into());
    }
    if &exchange.request.method[..] == b"CONNECT" {
        // A tunnel is no resource either: no route of Istio's takes one, whatever it matches on.
        return Err(RouteError::NotFound.into());
    }
    let (path, query) = portcullis_snapshot::path::split(original);
    match prepare(path, &pinned.snapshot.settings) {
        Ok(Prepared::Path(normal)) => {
            let length = path.len() + query.map_or(0, |query| query.len() + 1);
            if matches!(normal, Cow::Owned(_)) || length != original.len() {
                exchange.request.target = target(&normal, query);
            }
            Ok(None)
        }
        // gRPC clients follow no redirects (Envoy).
        Ok(Prepared::Redirect(normal)) if !exchange.record.inner.grpc => {
            let reply = Reply::new(307, "", Details::PATH_NORMALIZATION_FAILED);
            Ok(Some(reply.with_header("location", target(&normal, query))))
        }
        Ok(Prepared::Redirect(_)) | Err(_) => Err(ClientError::BadPath.into()),
    }
}

fn table(exchange: &Exchange) -> Option<&Arc<RouteTable>> {
    match &exchange.scope.chain.service {
        ChainService::Http(table) => Some(table),
        ChainService::Tcp(_) | ChainService::Nothing => None,
    }
}

fn virtual_host(exchange: &mut Exchange) -> Result<Arc<VirtualHost>, RouteError> {
    let authority = text(&exchange.request.authority);
    let host = looked_up(authority);
    let Some(table) = table(exchange) else { return Err(RouteError::NotFound) };
    if let Some(found) = table.hosts.find(&host) {
        if is_fronted(exchange, &host) {
            return Err(RouteError::Misdirected);
        }
        return Ok(Arc::clone(found));
    }
    let misdirected = is_misdirected(exchange, &host);
    let why = format!("no virtual host for {:?}", without_port(authority));
    let object = Arc::clone(&exchange.scope.chain.origin);
    exchange.record.inner.reason = Some(Box::new(Reason { object: Some(object), why: why.into() }));
    Err(if misdirected { RouteError::Misdirected } else { RouteError::NotFound })
}

/// Whether a client reused an HTTP/2 connection for a host that another server of this listener
/// holds: with 421 it opens a connection of its own (RFC 9110 §15.5.20), where Istio's 404 would be
/// the end of it.
fn is_misdirected(exchange: &Exchange, host: &str) -> bool {
    if exchange.request.version != Version::Http2 || exchange.connection.tls.is_none() {
        return false;
    }
    let listener = exchange.scope.pinned.snapshot.listener(exchange.connection.key);
    let Some(other) = listener.and_then(|listener| listener.tls.find(host)) else { return false };
    match &other.service {
        ChainService::Http(table) => {
            !Arc::ptr_eq(other, &exchange.scope.chain) && table.hosts.find(host).is_some()
        }
        ChainService::Tcp(_) | ChainService::Nothing => false,
    }
}

/// Whether the host has a server of its own on this listener that demands a client certificate, and the connection was
/// made through another one: a server for `*.b.test` would else be a way around MUTUAL on `m.b.test` (CVE-2026-48491).
/// Most connections carry the host that they were made for, and nothing is looked up for them.
fn is_fronted(exchange: &Exchange, host: &str) -> bool {
    if exchange.connection.tls.is_none()
        || exchange.connection.server_name().is_some_and(|name| **name == *host)
    {
        return false;
    }
    let listener = exchange.scope.pinned.snapshot.listener(exchange.connection.key);
    let Some(own) = listener.and_then(|listener| listener.tls.find(host)) else { return false };
    !Arc::ptr_eq(own, &exchange.scope.chain)
        && matches!(&own.tls, ChainTls::Terminate(tls) if tls.client_certificate == ClientCertificate::Required)
}

fn find_route(exchange: &mut Exchange, host: Arc<VirtualHost>) -> Result<(), RouteError> {
    let found = host.find(&exchange.view()).map(|(ordinal, _)| ordinal);
    match found {
        Some(ordinal) => {
            exchange.record.inner.route_name = Some(Arc::clone(&host.routes()[ordinal].name));
            exchange.matched = Some(Matched { host, ordinal });
            Ok(())
        }
        None => {
            let why = format!("none of the {} routes of this host matches", host.routes().len());
            let reason = Reason { object: Some(Arc::clone(&host.name)), why: why.into() };
            exchange.record.inner.reason = Some(Box::new(reason));
            Err(RouteError::NotFound)
        }
    }
}
