//! Injected faults (`http[].fault`): a delay, then an abort, each on its own roll of the dice.

use portcullis_snapshot::action::{Abort, Fault};
use portcullis_telemetry::details::Details;
use portcullis_telemetry::flags::Flag;

use crate::http::exchange::Exchange;
use crate::http::reply::Reply;

/// Body of an aborted request, as Istio's gateway sends it.
const BODY: &str = "fault filter abort";

/// Waits and aborts as the rule says; `None` lets the request go on. Dropping the future while it
/// waits counts as the client leaving.
pub(crate) async fn inject(exchange: &mut Exchange, fault: &Fault) -> Option<Reply> {
    if let Some((share, delay)) = fault.delay
        && share.hit(exchange.worker().roll())
    {
        exchange.record.inner.flags.set(Flag::DelayInjected);
        tokio::time::sleep(delay).await;
    }
    let (share, abort) = fault.abort?;
    if !share.hit(exchange.worker().roll()) {
        return None;
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
