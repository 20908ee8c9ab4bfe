//! Injected faults (`http[].fault`): a delay, then an abort, each on its own roll of the dice.

use std::future::{Future as _, poll_fn};
use std::pin::pin;

use portcullis_snapshot::action::{Abort, Fault};
use portcullis_telemetry::details::Details;
use portcullis_telemetry::flags::Flag;

use crate::http::body::Body;
use crate::http::exchange::Exchange;
use crate::http::reply::Reply;

/// Body of an aborted request, as Istio's gateway sends it.
const BODY: &str = "fault filter abort";

/// Waits and aborts as the rule says; `None` lets the request go on. What comes of its body meanwhile is kept. Dropping
/// the future while it waits counts as the client leaving.
pub(crate) async fn inject(exchange: &mut Exchange, fault: &Fault, body: &mut Body) -> Option<Reply> {
    let mut waited = false;
    if let Some((share, delay)) = fault.delay
        && share.hit(exchange.worker().roll())
    {
        exchange.record.inner.flags.set(Flag::DelayInjected);
        let limit = exchange.body_limit();
        let mut over = pin!(tokio::time::sleep(delay));
        poll_fn(|cx| {
            body.poll_ahead(cx, limit);
            over.as_mut().poll(cx)
        })
        .await;
        waited = true;
    }
    let (share, abort) = fault.abort?;
    if !share.hit(exchange.worker().roll()) {
        return None;
    }
    if waited {
        // What has come is out of the way of the next request.
        body.drop_ahead(exchange.body_limit());
    }
    let reply = |status| Reply::new(status, BODY, Details::FAULT_FILTER_ABORT).with_flag(Flag::FaultInjected);
    Some(match abort {
        Abort::Http(status) => reply(status.as_u16()),
        // A gRPC client is given the code itself; any other sees HTTP 200 and the text.
        Abort::Grpc(code) if exchange.record.inner.grpc => {
            let mut answer = reply(200);
            answer.body = bytes::Bytes::new();
            answer
                .with_header("content-type", "application/grpc")
                .with_header("grpc-status", code.to_string())
                .with_header("grpc-message", BODY)
        }
        Abort::Grpc(_) => reply(200),
    })
}
