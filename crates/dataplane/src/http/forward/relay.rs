//! The response on its way to the client, while the rest of the request may still be going up.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use portcullis_telemetry::details::{Details, ResetReason};
use portcullis_telemetry::flags::Flag;

use super::Journey;
use super::attempt::{Answer, Carrier};
use super::replay::Replay;
use super::timers::{Expired, Timers};
use crate::clock;
use crate::error::{ClientError, UpstreamError};
use crate::filter::grpc_web::{self, Translation};
use crate::filter::{cookie, cors, headers as operations};
use crate::http::body::{Body, Pump, PumpError, Sink, Source as _};
use crate::http::exchange::{Exchange, Finished};
use crate::http::h1::body::Frame;
use crate::http::h1::io::join;
use crate::http::message::{Follows, Responder, Response};
use crate::http::reply;
use crate::upstream::pool::H1Connection;
use crate::upstream::registry::{Picked, Upstream};

/// Sends the answer to the client and gives the connection back.
pub(super) async fn run(
    journey: Journey<'_>,
    answer: Box<Answer>,
    pending: Picked,
    mut responder: Responder,
    mut timers: Timers,
) -> Finished {
    let Journey { mut exchange, upstream, .. } = journey;
    // The request counts as one in progress until its response has ended.
    let Answer { head, mut upload, mut content, carrier, admitted } = *answer;
    upload.source.settle();
    exchange.record.inner.bytes_received = upload.moved;
    exchange.sent = timers.sent_at();
    if let Some(measure) = &mut exchange.measure {
        measure.note_received(&upload.source.live);
    }
    let mut response = finish_head(&mut exchange, head, &timers);
    if let Some(forms) = exchange.grpc_web {
        content = Box::pin(to_grpc_web(forms, &mut response, content, &mut timers)).await;
    }
    timers.answered();
    // A stream may outlive many generations; nothing of this one is asked for any more.
    exchange.scope = exchange.worker().nowhere.clone();
    if response.status == 101 {
        // So does a tunnel, until its last byte.
        exchange.record.held = Some(Box::new((admitted, pending)));
        return Box::pin(switch(exchange, response, responder, upload, content)).await;
    }
    let record = &mut exchange.record.inner;
    record.response_code = response.status;
    record.details = Some(Details::VIA_UPSTREAM);
    record.wire_sent = reply::head_size(&response);
    let follows = if content.is_end() { Follows::Nothing } else { Follows::Body };
    // Refused before the request was complete: what is left of it may never come (a client that waits
    // for 100 need not send it), so the connection carries no other request. An early success may be a
    // conversation: its connection is decided on when both directions have ended.
    let refused_early = !upload.is_done() && (response.status >= 300 || upload.moved == 0);
    // An upgrade that was not accepted: what the client has sent behind it may be meant for the other protocol, and the
    // upstream may speak that already (CVE-2024-23326, CVE-2026-2833).
    let declined = exchange.request.upgrade.is_some();
    if (refused_early || declined)
        && let Responder::H1(responder) = &mut responder
    {
        responder.close_after();
    }
    let Ok(sink) = responder.start(&response, follows) else {
        exchange.record.client_left();
        return Finished::Broken;
    };
    let mut relay = Relay { upload, download: Pump::new(content, sink), refused: false };
    let ended = poll_fn(|cx| relay.poll(cx, &mut timers)).await;
    let Relay { upload, download, .. } = relay;
    close_record(&mut exchange, &upload, &download);
    drop((pending, admitted));
    match ended {
        End::Complete => {}
        End::Upstream(error) => return Box::pin(broken_upstream(exchange, &error, download)).await,
        End::Client(error) => return Box::pin(out_of_time(exchange, error, download)).await,
        End::Gone => {
            exchange.record.client_left();
            return Finished::Broken;
        }
    }
    exchange.record.settled = true;
    give_back(&upstream, carrier, upload, download, &exchange)
}

/// The response as gRPC-Web. An answer that is no gRPC becomes a message; what it has beyond the bound, or what does not
/// come in time, is left behind, and its connection with it.
async fn to_grpc_web(
    forms: grpc_web::Forms,
    response: &mut Response,
    mut content: Body,
    timers: &mut Timers,
) -> Body {
    let is_foreign = grpc_web::on_response(forms, response);
    if content.is_end() {
        return content;
    }
    if !is_foreign {
        return content.translated(Translation::of_response(forms));
    }
    let mut message = BytesMut::new();
    while message.len() < grpc_web::MAX_MESSAGE {
        let piece = poll_fn(|cx| match timers.poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => content.poll_frame(cx),
        });
        let Some(Ok(Frame::Data(data))) = piece.await else { break };
        message.extend_from_slice(&data);
    }
    message.truncate(grpc_web::MAX_MESSAGE);
    grpc_web::explain(response, &message);
    Body::Empty
}

/// The response head as the client gets it.
fn finish_head(exchange: &mut Exchange, head: Response, timers: &Timers) -> Response {
    let mut response = head;
    let switches = response.status == 101;
    response.headers.retain(|field| {
        !matches!(
            field.name,
            b"upgrade" if !switches
        ) && !matches!(
            field.name,
            b"connection"
                | b"keep-alive"
                | b"proxy-connection"
                | b"transfer-encoding"
                | b"x-envoy-decorator-operation"
        )
    });
    // RFC 9110 §8.6: such a response has no content, whatever length it announces.
    if response.status == 204 {
        response.headers.remove("content-length");
    }
    let waited = timers.sent_at().map_or(std::time::Duration::ZERO, |sent| clock::now() - sent);
    let millis = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    let own = Rc::clone(&exchange.scope.pinned);
    let own = &own.snapshot.settings.own_headers;
    if response.status != 101 && own.debug {
        response.headers.set("x-envoy-upstream-service-time", itoa::Buffer::new().format(millis));
    }
    let elapsed = exchange.record.elapsed();
    let record = &mut exchange.record.inner;
    record.upstream_service_time = Some(millis);
    record.first_byte = Some(elapsed);
    record.details = Some(Details::VIA_UPSTREAM);
    if record.grpc {
        record.grpc_status = response.headers.first_str("grpc-status").and_then(|status| status.parse().ok());
    }
    operations::on_response_from(exchange, &mut response);
    cors::on_response(exchange, &mut response);
    cookie::on_response(exchange, &mut response);
    let date = exchange.worker().date();
    reply::overwrite_own(&mut response, own.server.as_ref(), &date);
    response
}

/// Both directions of an exchange whose response has begun.
struct Relay {
    upload: Pump<Replay>,
    download: Pump<Body>,
    /// Whether the upstream takes no more of the request.
    refused: bool,
}

enum End {
    Complete,
    Upstream(UpstreamError),
    /// The client's stream has had its time.
    Client(ClientError),
    Gone,
}

impl Relay {
    fn poll(&mut self, cx: &mut Context<'_>, timers: &mut Timers) -> Poll<End> {
        if !self.refused && !self.upload.is_done() {
            match self.upload.poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => timers.request_sent(),
                Poll::Ready(Err(PumpError::Source(_))) => return Poll::Ready(End::Gone),
                Poll::Ready(Err(PumpError::Sink(_))) => self.refused = true,
            }
        }
        match self.download.poll(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(End::Complete),
            Poll::Ready(Err(PumpError::Source(error))) => {
                let error = match error {
                    crate::http::h1::body::BodyError::Malformed => UpstreamError::Protocol,
                    crate::http::h1::body::BodyError::Http2(error) if error.is_reset() => {
                        UpstreamError::RemoteReset
                    }
                    _ => UpstreamError::Terminated,
                };
                return Poll::Ready(End::Upstream(error));
            }
            // More or less content than announced is the upstream's doing; anything else the client's.
            Poll::Ready(Err(PumpError::Sink(error))) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Poll::Ready(End::Upstream(UpstreamError::Protocol));
            }
            Poll::Ready(Err(PumpError::Sink(_))) => return Poll::Ready(End::Gone),
            Poll::Pending => {}
        }
        let reset = match &mut self.download.sink {
            Sink::H2(sink) => sink.poll_reset(cx).is_ready(),
            Sink::H1 { .. } => false,
        };
        if reset || self.upload.source.live.poll_gone(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        timers.note_moved(self.upload.moved + self.download.moved);
        timers.poll(cx).map(|expired| match expired {
            Expired::Upstream(error) => End::Upstream(error),
            Expired::Client(error) => End::Client(error),
        })
    }
}

fn close_record(exchange: &mut Exchange, upload: &Pump<Replay>, download: &Pump<Body>) {
    let record = &mut exchange.record.inner;
    record.bytes_received = upload.moved;
    record.wire_received += upload.moved;
    record.bytes_sent = download.moved;
    record.wire_sent += download.moved;
    if record.grpc {
        let in_trailers = download.grpc_status.or_else(|| download.source.translated_status());
        record.grpc_status = in_trailers.or(record.grpc_status);
    }
}

/// The response broke off in the middle: the client must be able to see that.
async fn broken_upstream(
    mut exchange: Box<Exchange>,
    error: &UpstreamError,
    mut download: Pump<Body>,
) -> Finished {
    let record = &mut exchange.record.inner;
    let reason = error.reset_reason();
    record.flags.set(reason.map_or(Flag::UpstreamRequestTimeout, ResetReason::flag));
    record.details = Some(match reason {
        Some(reason) => Details::reset_after_response(reason, None),
        None => Details::RESPONSE_TIMEOUT,
    });
    exchange.record.settled = true;
    // What has come is passed on before the connection breaks off.
    let _ = poll_fn(|cx| download.sink.poll_flush(cx)).await;
    download.sink.abort();
    Finished::Broken
}

/// The response is cut off: the client's stream has had its time.
async fn out_of_time(mut exchange: Box<Exchange>, error: ClientError, mut download: Pump<Body>) -> Finished {
    let reply = reply::client_error(error);
    let record = &mut exchange.record.inner;
    reply.flag.into_iter().for_each(|flag| record.flags.set(flag));
    record.details = Some(reply.details);
    exchange.record.settled = true;
    let _ = poll_fn(|cx| download.sink.poll_flush(cx)).await;
    download.sink.abort();
    Finished::Broken
}

/// Puts an HTTP/1 connection back into its pool if both messages ended cleanly, and hands the
/// downstream side back.
fn give_back(
    upstream: &Upstream,
    carrier: Carrier,
    upload: Pump<Replay>,
    download: Pump<Body>,
    exchange: &Exchange,
) -> Finished {
    let upload_done = upload.is_done();
    let (request_body, upstream_sink) = (upload.source.into_live(), upload.sink);
    let (content, mut sink) = (download.source.untranslated(), download.sink);
    if let (
        Carrier::H1 { standing, reusable: true },
        Body::H1 { reader, decoder },
        Sink::H1 { writer, body },
    ) = (carrier, content, upstream_sink)
    {
        let accepted_as_sent = exchange.request.upgrade.is_none();
        let clean = accepted_as_sent
            && upload_done
            && body.is_complete()
            && decoder.is_done()
            && reader.buffer.is_empty();
        if clean {
            upstream.put(H1Connection { reader, writer, kept: None, standing });
        }
    }
    if !upload_done
        && exchange.request.has_body
        && let Sink::H2(sink) = &mut sink
    {
        // The response is complete; the client need not send the rest (RFC 9113 §8.1).
        sink.reset(::h2::Reason::NO_ERROR);
    }
    Finished::Done { body: request_body, sink }
}

/// The upstream switches protocols: the 101 goes to the client, then bytes flow freely.
async fn switch(
    mut exchange: Box<Exchange>,
    mut response: Response,
    responder: Responder,
    upload: Pump<Replay>,
    content: Body,
) -> Finished {
    let (Some(protocol), Responder::H1(_)) = (exchange.request.upgrade.clone(), &responder) else {
        let error = UpstreamError::Protocol;
        return Box::pin(reply::send(
            exchange,
            reply::answer(&error.into(), false),
            upload.source.into_live(),
            responder,
        ))
        .await;
    };
    response.headers.append("connection", "Upgrade");
    if response.headers.first("upgrade").is_none() {
        response.headers.append("upgrade", protocol);
    }
    let (Body::H1 { mut reader, .. }, Sink::H1 { writer, .. }) = (content, upload.sink) else {
        return Finished::Broken;
    };
    exchange.record.inner.response_code = 101;
    exchange.record.settled = true;
    let ahead = std::mem::replace(&mut reader.buffer, BytesMut::new());
    let (upstream, _) = join(reader, writer);
    let Ok(mut sink) = responder.start(&response, Follows::Nothing) else { return Finished::Broken };
    if let Sink::H1 { writer, .. } = &mut sink {
        exchange.record.inner.bytes_sent += ahead.len() as u64;
        writer.put(ahead.freeze());
    }
    if poll_fn(|cx| sink.poll_flush(cx)).await.is_err() {
        return Finished::Broken;
    }
    Finished::Upgraded { body: upload.source.into_live(), sink, upstream, record: Box::new(exchange.record) }
}
