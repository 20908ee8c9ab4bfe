//! Mirrors: copies of a request sent to other clusters, whose answers are thrown away (routing.md §2.8).
//!
//! A copy is a task of its own. Its body is what the request's upload reads, piece by piece, from a queue with a
//! bound: a mirror that takes it too slowly, or not at all, is given up, and the request never notices. As in
//! Envoy, a copy whose body the client, or an early answer, breaks off is broken off too, and one that is
//! complete goes on by itself.
//!
//! ```text
//!   client ─► Replay ─► upstream
//!                └─ Tee ─► Queue ─► Shadow (task) ─► mirror
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use portcullis_snapshot::action::{Mirror, Target};
use portcullis_snapshot::cluster::UpstreamProtocol;
use portcullis_telemetry::metrics::DropReason;
use portcullis_traffic::breaker::Resource;
use smallvec::SmallVec;
use tokio::time::{Sleep, sleep};

use super::head::{Head, HeadSource};
use super::replay::Replay;
use super::wire::{h2_error, h2_request, keeps_alive, write_head};
use super::{http_status, prepare};
use crate::error::UpstreamError;
use crate::http::body::{Body, H2Sink, Pump, Sink, Source};
use crate::http::exchange::Exchange;
use crate::http::h1::body::{BodyError, Decoder, Frame};
use crate::http::h1::encode::BodyWriter;
use crate::http::h1::head::{Framing, Scan, response_framing};
use crate::http::message::{Request, Response};
use crate::upstream::pool::{H1Connection, H2Lease, Lease, Pool, Wanted};
use crate::upstream::registry::{Picked, Tried, Upstream};
use crate::worker::Worker;

/// Copies on their way at once on a worker; others are not sent.
const MAX_SHADOWS: usize = 2048;
/// Bytes that wait for all mirrors of a worker together.
const MAX_WAITING: usize = 32 * 1024 * 1024;
/// Pieces that wait for one mirror.
const MAX_PIECES: usize = 4096;
/// A shorter piece is copied, so that it does not keep the memory it was read into.
const COPY_BELOW: usize = 4 * 1024;
/// How long a copy may take behind the end of its request where the route sets no timeout: nobody waits for it who
/// could give up.
const MAX_DURATION: Duration = Duration::from_secs(60);

/// What all mirrors of a worker use at present.
#[derive(Default)]
pub(crate) struct Usage {
    shadows: Cell<usize>,
    waiting: Cell<usize>,
}

/// Sends copies of a request as its route says, and has `body` feed them. One draw decides for all mirrors of a
/// request, as in Envoy: of two with 50 % each, both are sent or none. `timeout` is the route's.
pub(super) fn start(exchange: &Exchange, mirrors: &[Mirror], timeout: Option<Duration>, body: &mut Replay) {
    // A tunnel has no end that a copy could be complete by: its copy is the head alone.
    let is_whole = body.live.is_end() || exchange.request.upgrade.is_some();
    let dice = exchange.worker().roll();
    let mut tee = Tee { worker: Rc::clone(exchange.worker()), queues: SmallVec::new() };
    for mirror in mirrors.iter().filter(|mirror| mirror.share.hit(dice)) {
        let Target::Cluster(id) = mirror.target else { continue };
        let upstream = exchange.worker().upstream(&exchange.scope.pinned, id);
        let Some(place) = Place::take(exchange.worker()) else {
            exchange.worker().shard.dropped(DropReason::MirrorGivenUp);
            continue;
        };
        let queue: Rc<RefCell<Queue>> = Rc::default();
        if is_whole {
            queue.borrow_mut().state = State::Ended;
        } else {
            tee.queues.push(Rc::clone(&queue));
        }
        let shadow = Shadow { upstream, request: copy(exchange, timeout), scheme: exchange.scheme, place };
        tokio::task::spawn_local(shadow.follow(queue, timeout.unwrap_or(MAX_DURATION)));
    }
    if !tee.queues.is_empty() {
        body.tee = Some(Box::new(tee));
    }
}

/// The request as a mirror gets it: that of the first try, marked as the gateway's own.
fn copy(exchange: &Exchange, timeout: Option<Duration>) -> Request {
    let request = &exchange.request;
    let mut headers = request.headers.clone();
    headers.set("x-envoy-internal", "true");
    let told = exchange.scope.pinned.snapshot.settings.own_headers.debug;
    if let Some(timeout) = timeout.filter(|_| told) {
        headers.set("x-envoy-expected-rq-timeout-ms", timeout.as_millis().to_string());
    }
    Request {
        method: request.method.clone(),
        target: request.target.clone(),
        authority: request.authority.clone(),
        scheme: request.scheme,
        version: request.version,
        headers,
        user_agent: request.user_agent.clone(),
        has_body: request.has_body && request.upgrade.is_none(),
        wire: 0,
        upgrade: request.upgrade.clone(),
        counted: None,
    }
}

/// A copy's place among those on their way.
struct Place(Rc<Worker>);

impl Place {
    fn take(worker: &Rc<Worker>) -> Option<Self> {
        let shadows = &worker.mirrors.shadows;
        (shadows.get() < MAX_SHADOWS).then(|| {
            shadows.set(shadows.get() + 1);
            Self(Rc::clone(worker))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let shadows = &self.0.mirrors.shadows;
        shadows.set(shadows.get() - 1);
    }
}

/// Gives what goes by to every mirror's queue.
pub(super) struct Tee {
    worker: Rc<Worker>,
    queues: SmallVec<[Rc<RefCell<Queue>>; 2]>,
}

impl Tee {
    /// A piece of the body. A queue that is full is given up with its mirror: `limit` bytes may wait in it.
    pub(super) fn data(&mut self, data: &Bytes, limit: usize) {
        let usage = &self.worker.mirrors;
        self.queues.retain(|queue| {
            let mut queue = queue.borrow_mut();
            if queue.state == State::Broken {
                return false;
            }
            let full = queue.waiting + data.len() > limit
                || queue.pieces.len() >= MAX_PIECES
                || usage.waiting.get() + data.len() > MAX_WAITING;
            if full {
                self.worker.shard.dropped(DropReason::MirrorGivenUp);
                queue.end(State::Broken);
                queue.forget(usage);
                return false;
            }
            let piece = if data.len() < COPY_BELOW { Bytes::copy_from_slice(data) } else { data.clone() };
            usage.waiting.set(usage.waiting.get() + piece.len());
            queue.waiting += piece.len();
            queue.pieces.push_back(Frame::Data(piece));
            queue.wake();
            true
        });
    }

    /// The end of the body.
    pub(super) fn end(&mut self, trailers: Option<&portcullis_snapshot::Headers>) {
        for queue in self.queues.drain(..) {
            let mut queue = queue.borrow_mut();
            if queue.state == State::Open {
                queue.pieces.extend(trailers.cloned().map(Frame::Trailers));
                queue.end(State::Ended);
            }
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.borrow_mut().end(State::Broken);
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// More may come.
    #[default]
    Open,
    /// Nothing more comes: the body is complete.
    Ended,
    /// Nothing more comes, and something is missing; or nobody takes it any more.
    Broken,
}

/// What waits for one mirror.
#[derive(Default)]
struct Queue {
    pieces: VecDeque<Frame>,
    /// Content bytes in `pieces`.
    waiting: usize,
    state: State,
    waker: Option<Waker>,
}

impl Queue {
    fn end(&mut self, state: State) {
        self.state = state;
        self.wake();
    }

    /// Ready when the copy is given up: it cannot be completed, or has taken longer than `limit` since its body was.
    fn poll_over(
        &mut self,
        cx: &mut Context<'_>,
        limit: Duration,
        clock: &mut Option<Pin<Box<Sleep>>>,
    ) -> Poll<()> {
        match self.state {
            State::Broken => Poll::Ready(()),
            State::Ended => clock.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx),
            State::Open => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn forget(&mut self, usage: &Usage) {
        usage.waiting.set(usage.waiting.get() - self.waiting);
        self.waiting = 0;
        self.pieces = VecDeque::new();
    }
}

/// The body of a copy.
struct Copied(Rc<RefCell<Queue>>);

/// [`Copied`], with the worker whose memory it uses.
struct Content<'a> {
    copied: Copied,
    worker: &'a Worker,
}

impl Source for Content<'_> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let mut queue = self.copied.0.borrow_mut();
        if queue.state == State::Broken {
            return Poll::Ready(Some(Err(BodyError::Truncated)));
        }
        match queue.pieces.pop_front() {
            Some(Frame::Data(data)) => {
                queue.waiting -= data.len();
                let waiting = &self.worker.mirrors.waiting;
                waiting.set(waiting.get() - data.len());
                Poll::Ready(Some(Ok(Frame::Data(data))))
            }
            Some(trailers) => Poll::Ready(Some(Ok(trailers))),
            None if queue.state == State::Ended => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end(&self) -> bool {
        let queue = self.copied.0.borrow();
        queue.state == State::Ended && queue.pieces.is_empty()
    }
}

impl Drop for Content<'_> {
    fn drop(&mut self) {
        let mut queue = self.copied.0.borrow_mut();
        queue.state = State::Broken;
        queue.forget(&self.worker.mirrors);
    }
}

/// A copy on its way.
struct Shadow {
    upstream: Rc<Upstream>,
    request: Request,
    scheme: &'static str,
    place: Place,
}

impl Shadow {
    /// Sends the copy for as long as it makes sense to. Whatever it comes to, nobody is told: the cluster's
    /// metrics and outlier detection have seen it.
    async fn follow(self, queue: Rc<RefCell<Queue>>, limit: Duration) {
        let mut running = pin!(self.run(Copied(Rc::clone(&queue))));
        let mut clock = None;
        poll_fn(|cx| match running.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => queue.borrow_mut().poll_over(cx, limit, &mut clock),
        })
        .await;
    }

    /// Sends the copy once and forgets its answer. Dropping the future gives up the connection.
    async fn run(mut self, copied: Copied) {
        let place = self.place;
        let content = Content { copied, worker: &place.0 };
        // No hash: what a client sticks to says nothing about mirrors (as in Envoy).
        let Ok(picked) = self.upstream.pick(&place.0, None, &mut Tried::none()) else { return };
        let cluster = self.upstream.cluster();
        let wanted = Wanted {
            address: &picked.endpoint().address,
            // The copy is a request of the gateway's own, so there is no client whose version it could speak.
            http2: cluster.protocol == UpstreamProtocol::Http2 && self.request.upgrade.is_none(),
            host: prepare::server_name(&self.request),
            client: None,
            fresh: false,
            counted: false,
        };
        let lease = match self.upstream.lease(&cluster, wanted).await {
            Ok(lease) => lease,
            Err(error) => return picked.observe_failure(&error),
        };
        let Some(_admitted) = self.upstream.breaker().try_acquire(Resource::Requests) else {
            return self.upstream.put_unused(lease);
        };
        let local = match &lease {
            Lease::H1(connection) => connection.standing.link.local,
            Lease::H2(lease) => lease.link().local,
        };
        if let Some(local) = local {
            forwarded_by(&mut self.request, local.ip());
        }
        match lease {
            Lease::H1(connection) => {
                over_h1(&self.upstream, &self.request, connection, content, &picked).await;
            }
            Lease::H2(lease) => over_h2(&self.request, self.scheme, lease, content, &picked).await,
        }
    }
}

/// The gateway is the client of a copy: its own address comes behind the others.
fn forwarded_by(request: &mut Request, own: std::net::IpAddr) {
    let value = match request.headers.joined("x-forwarded-for") {
        Some(list) if !list.is_empty() => [&list[..], b",", own.to_string().as_bytes()].concat(),
        _ => own.to_string().into_bytes(),
    };
    request.headers.set("x-forwarded-for", value);
}

/// What goes up, and how far it has come.
struct Upload<'a> {
    content: Content<'a>,
    pump: Pump,
}

impl<'a> Upload<'a> {
    fn new(content: Content<'a>, sink: Sink) -> Self {
        Self { content, pump: Pump::new(sink) }
    }
}

async fn over_h1(
    upstream: &Upstream,
    request: &Request,
    connection: H1Connection,
    content: Content<'_>,
    picked: &Picked,
) {
    let H1Connection { reader, mut writer, standing, .. } = connection;
    let framing = write_head(request, writer.buffer());
    let mut upload = Upload::new(content, Sink::H1 { writer, body: BodyWriter::new(framing, true) });
    let mut source =
        HeadSource::H1 { reader, scan: Scan::default(), fresh: true, reset: false, keeps_case: false };
    let head = match answer(&mut upload, &mut source).await {
        Some(Ok(Head::H1(head))) => head,
        Some(Err(error)) => return picked.observe_failure(&error),
        _ => return,
    };
    let Ok(framing) = response_framing(&head, request.is_head()) else {
        return picked.observe_failure(&UpstreamError::Protocol);
    };
    // What answered an upgrade may speak another protocol from here on.
    let reusable = framing != Framing::UntilClose && keeps_alive(&head) && request.upgrade.is_none();
    observe(picked, request, &Response { status: head.status, headers: head.headers });
    let HeadSource::H1 { reader, .. } = source else { return };
    let mut rest = Body::H1 { reader, decoder: Decoder::new(framing) };
    let whole = swallow(&mut upload, &mut rest).await && upload.pump.is_done();
    let (Body::H1 { reader, decoder }, Sink::H1 { writer, body }) = (rest, upload.pump.sink) else { return };
    if whole && reusable && body.is_complete() && decoder.is_done() && reader.buffer.is_empty() {
        upstream.put(H1Connection { reader, writer, standing });
    }
}

async fn over_h2(request: &Request, scheme: &str, lease: H2Lease, content: Content<'_>, picked: &Picked) {
    let Some(message) = h2_request(request, scheme) else { return };
    let ended = !request.has_body;
    let mut sender = lease.sender();
    let sent = match poll_fn(|cx| sender.poll_ready(cx)).await {
        Ok(()) => sender.send_request(message, ended),
        Err(error) => Err(error),
    };
    let (response, stream) = match sent {
        Ok(sent) => sent,
        Err(error) => {
            Pool::retire(&lease);
            return picked.observe_failure(&h2_error(&error));
        }
    };
    let mut upload = Upload::new(content, Sink::H2(H2Sink::new(stream, ended)));
    let mut source = HeadSource::H2(Box::new(response));
    match answer(&mut upload, &mut source).await {
        Some(Ok(Head::H2(head, mut rest))) => {
            observe(picked, request, &head);
            if !swallow(&mut upload, &mut rest).await || !upload.pump.is_done() {
                upload.pump.sink.abort();
            }
        }
        Some(Err(error)) => {
            if error == UpstreamError::Terminated {
                Pool::retire(&lease);
            }
            picked.observe_failure(&error);
        }
        _ => upload.pump.sink.abort(),
    }
}

/// The final head of the answer; `None` when the copy cannot be completed.
async fn answer(upload: &mut Upload<'_>, source: &mut HeadSource) -> Option<Result<Head, UpstreamError>> {
    let mut refused = false;
    loop {
        let head = poll_fn(|cx| {
            if !push(upload, &mut refused, cx) {
                return Poll::Ready(None);
            }
            source.poll(cx).map(Some)
        });
        match head.await {
            Some(Ok(Head::Interim(..))) => {}
            head => return head,
        }
    }
}

/// Reads the rest of the answer while the rest of the copy goes up; whether it came to its end.
async fn swallow(upload: &mut Upload<'_>, rest: &mut Body) -> bool {
    let mut refused = false;
    poll_fn(|cx| {
        if !push(upload, &mut refused, cx) {
            return Poll::Ready(false);
        }
        loop {
            match std::task::ready!(rest.poll_frame(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) => return Poll::Ready(false),
                None => return Poll::Ready(true),
            }
        }
    })
    .await
}

/// Sends what can be sent; false when the copy is given up.
fn push(upload: &mut Upload<'_>, refused: &mut bool, cx: &mut Context<'_>) -> bool {
    if !*refused && !upload.pump.is_done() {
        match upload.pump.poll(&mut upload.content, cx) {
            Poll::Ready(Err(crate::http::body::PumpError::Source(_))) => return false,
            // The mirror takes no more; its answer may still come.
            Poll::Ready(Err(crate::http::body::PumpError::Sink(_))) => *refused = true,
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
    }
    true
}

fn observe(picked: &Picked, request: &Request, head: &Response) {
    let status = super::grpc_status(head).filter(|_| request.is_grpc()).map_or(head.status, http_status);
    picked.observe_status(status);
}
