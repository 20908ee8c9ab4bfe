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
use crate::http::h1::body::{BodyError, Frame};
use crate::http::h1::io::join;
use crate::http::message::{Follows, Responder, Response};
use crate::http::reply;
use crate::upstream::pool::H1Connection;
use crate::upstream::registry::{Picked, Upstream};

/// Sends the answer to the client and gives the connection back.
pub(super) async fn run(mut journey: Box<Journey<'_>>, mut answer: Box<Answer>, pending: Picked) -> Finished {
    let Journey { exchange, body, timers, .. } = &mut *journey;
    body.settle();
    exchange.record.inner.bytes_received = answer.upload.moved;
    exchange.sent = timers.sent_at();
    if let Some(measure) = &mut exchange.measure {
        measure.note_received(&body.live);
    }
    finish_head(exchange, &mut answer.head, timers);
    if let Some(forms) = exchange.grpc_web {
        Box::pin(to_grpc_web(forms, &mut answer, timers)).await;
    }
    timers.answered();
    // A stream may outlive many generations; nothing of this one is asked for any more.
    exchange.scope = exchange.worker().nowhere.clone();
    if answer.head.status == 101 {
        return Box::pin(switch(journey, answer, pending)).await;
    }
    let Some(mut relay) = Relay::start(journey, answer) else { return Finished::Broken };
    let ended = poll_fn(|cx| relay.poll(cx)).await;
    relay.close_record();
    drop(pending);
    match ended {
        End::Complete => relay.complete(),
        End::Gone => {
            relay.exchange.record.client_left();
            Finished::Broken
        }
        End::Upstream(error) => Box::pin(relay.broken_upstream(error)).await,
        End::Client(error) => Box::pin(relay.out_of_time(error)).await,
    }
}

/// The response as gRPC-Web. An answer that is no gRPC becomes a message; what it has beyond the bound, or what does not
/// come in time, is left behind, and its connection with it.
async fn to_grpc_web(forms: grpc_web::Forms, answer: &mut Answer, timers: &mut Timers) {
    let is_foreign = grpc_web::on_response(forms, &mut answer.head);
    if answer.content.is_end() {
        return;
    }
    let mut content = std::mem::replace(&mut answer.content, Body::Empty);
    if !is_foreign {
        answer.content = content.translated(Translation::of_response(forms));
        return;
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
    grpc_web::explain(&mut answer.head, &message);
}

/// The response head as the client gets it.
fn finish_head(exchange: &mut Exchange, response: &mut Response, timers: &Timers) {
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
    operations::on_response_from(exchange, response);
    cors::on_response(exchange, response);
    cookie::on_response(exchange, response);
    let date = exchange.worker().date();
    reply::overwrite_own(response, own.server.as_ref(), &date);
}

/// Both directions of an exchange whose response has begun.
struct Relay {
    exchange: Box<Exchange>,
    body: Replay,
    timers: Timers,
    upstream: Rc<Upstream>,
    /// Its head is on its way. The request counts as one in progress until the rest is, too.
    answer: Box<Answer>,
    download: Pump,
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
    /// Gives the head to the client; `None` if nobody takes it.
    fn start(journey: Box<Journey<'_>>, answer: Box<Answer>) -> Option<Self> {
        let Journey { mut exchange, body, mut responder, timers, upstream, .. } = *journey;
        let Answer { head, upload, content, .. } = &*answer;
        let record = &mut exchange.record.inner;
        record.response_code = head.status;
        record.details = Some(Details::VIA_UPSTREAM);
        record.wire_sent = reply::head_size(head);
        let follows = if content.is_end() { Follows::Nothing } else { Follows::Body };
        // Refused before the request was complete: what is left of it may never come (a client that waits
        // for 100 need not send it), so the connection carries no other request. An early success may be a
        // conversation: its connection is decided on when both directions have ended.
        let refused_early = !upload.is_done() && (head.status >= 300 || upload.moved == 0);
        // An upgrade that was not accepted: what the client has sent behind it may be meant for the other protocol, and
        // the upstream may speak that already (CVE-2024-23326, CVE-2026-2833).
        let declined = exchange.request.upgrade.is_some();
        if (refused_early || declined)
            && let Responder::H1(responder) = &mut responder
        {
            responder.close_after();
        }
        let Ok(sink) = responder.start(head, follows) else {
            exchange.record.client_left();
            return None;
        };
        let download = Pump::new(sink);
        Some(Self { exchange, body, timers, upstream, answer, download, refused: false })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Self { body, timers, answer, .. } = self;
        let Answer { upload, content, .. } = &mut **answer;
        if !self.refused && !upload.is_done() {
            match upload.poll(body, cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => timers.request_sent(),
                Poll::Ready(Err(PumpError::Source(_))) => return Poll::Ready(End::Gone),
                Poll::Ready(Err(PumpError::Sink(_))) => self.refused = true,
            }
        }
        match self.download.poll(content, cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(End::Complete),
            Poll::Ready(Err(PumpError::Source(error))) => {
                return Poll::Ready(End::Upstream(upstream_fault(&error)));
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
        if reset || body.live.poll_gone(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        timers.note_moved(upload.moved + self.download.moved);
        timers.poll(cx).map(|expired| match expired {
            Expired::Upstream(error) => End::Upstream(error),
            Expired::Client(error) => End::Client(error),
        })
    }

    fn close_record(&mut self) {
        let Self { exchange, answer, download, .. } = self;
        let record = &mut exchange.record.inner;
        record.bytes_received = answer.upload.moved;
        record.wire_received += answer.upload.moved;
        record.bytes_sent = download.moved;
        record.wire_sent += download.moved;
        if record.grpc {
            let in_trailers = download.grpc_status.or_else(|| answer.content.translated_status());
            record.grpc_status = in_trailers.or(record.grpc_status);
        }
    }

    /// The response broke off in the middle: the client must be able to see that.
    async fn broken_upstream(mut self, error: UpstreamError) -> Finished {
        let record = &mut self.exchange.record.inner;
        let reason = error.reset_reason();
        record.flags.set(reason.map_or(Flag::UpstreamRequestTimeout, ResetReason::flag));
        record.details = Some(match reason {
            Some(reason) => Details::reset_after_response(reason, None),
            None => Details::RESPONSE_TIMEOUT,
        });
        self.break_off().await
    }

    /// The response is cut off: the client's stream has had its time.
    async fn out_of_time(mut self, error: ClientError) -> Finished {
        let reply = reply::client_error(error);
        let record = &mut self.exchange.record.inner;
        reply.flag.into_iter().for_each(|flag| record.flags.set(flag));
        record.details = Some(reply.details);
        self.break_off().await
    }

    /// What has come is passed on before the connection breaks off. The upstream is let go of first.
    async fn break_off(self) -> Finished {
        let Self { mut exchange, answer, mut download, .. } = self;
        drop(answer);
        exchange.record.settled = true;
        let _ = poll_fn(|cx| download.sink.poll_flush(cx)).await;
        download.sink.abort();
        Finished::Broken
    }

    /// Puts an HTTP/1 connection back into its pool if both messages ended cleanly, and hands the
    /// downstream side back.
    fn complete(self) -> Finished {
        let Self { mut exchange, body, upstream, answer, download: Pump { mut sink, .. }, .. } = self;
        let Answer { upload, content, carrier, admitted, .. } = *answer;
        drop(admitted);
        exchange.record.settled = true;
        let upload_done = upload.is_done();
        if let (
            Carrier::H1 { standing, reusable: true },
            Body::H1 { reader, decoder },
            Sink::H1 { writer, body },
        ) = (carrier, content.untranslated(), upload.sink)
        {
            let accepted_as_sent = exchange.request.upgrade.is_none();
            let clean = accepted_as_sent
                && upload_done
                && body.is_complete()
                && decoder.is_done()
                && reader.buffer.is_empty();
            if clean {
                upstream.put(H1Connection { reader, writer, standing });
            }
        }
        if !upload_done
            && exchange.request.has_body
            && let Sink::H2(sink) = &mut sink
        {
            // The response is complete; the client need not send the rest (RFC 9113 §8.1).
            sink.reset(::h2::Reason::NO_ERROR);
        }
        Finished::Done { body: body.into_live(), sink }
    }
}

fn upstream_fault(error: &BodyError) -> UpstreamError {
    match error {
        BodyError::Malformed => UpstreamError::Protocol,
        BodyError::Http2(error) if error.is_reset() => UpstreamError::RemoteReset,
        _ => UpstreamError::Terminated,
    }
}

/// The upstream switches protocols: the 101 goes to the client, then bytes flow freely.
async fn switch(journey: Box<Journey<'_>>, answer: Box<Answer>, pending: Picked) -> Finished {
    let Journey { mut exchange, body, responder, .. } = *journey;
    let Answer { mut head, upload, content, admitted, .. } = *answer;
    // A tunnel is a request in progress until its last byte.
    exchange.record.held = Some(Box::new((admitted, pending)));
    let (Some(protocol), Responder::H1(_)) = (exchange.request.upgrade.clone(), &responder) else {
        let reply = reply::answer(&UpstreamError::Protocol.into(), false);
        return reply::send(exchange, reply, body.into_live(), responder).await;
    };
    head.headers.append("connection", "Upgrade");
    if head.headers.first("upgrade").is_none() {
        head.headers.append("upgrade", protocol);
    }
    let (Body::H1 { mut reader, .. }, Sink::H1 { writer, .. }) = (content, upload.sink) else {
        return Finished::Broken;
    };
    exchange.record.inner.response_code = 101;
    exchange.record.settled = true;
    let ahead = std::mem::replace(&mut reader.buffer, BytesMut::new());
    let (upstream, _) = join(*reader, writer);
    let Ok(mut sink) = responder.start(&head, Follows::Nothing) else { return Finished::Broken };
    if let Sink::H1 { writer, .. } = &mut sink {
        exchange.record.inner.bytes_sent += ahead.len() as u64;
        writer.put(ahead.freeze());
    }
    if poll_fn(|cx| sink.poll_flush(cx)).await.is_err() {
        return Finished::Broken;
    }
    Finished::Upgraded { body: body.into_live(), sink, upstream, record: Box::new(exchange.record) }
}
