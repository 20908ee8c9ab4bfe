//! Message bodies on their way through: where pieces come from, where they go, and the pump
//! between, all poll-driven so that both directions of an exchange share one task and dropping a
//! waiting future loses nothing.

use std::io;
use std::task::{Context, Poll, Waker, ready};

use ::h2::{RecvStream, SendStream};
use bytes::Bytes;
use portcullis_snapshot::Headers;

use crate::filter::grpc_web::Translation;
use crate::http::h1::body::{BodyError, Decoder, Frame};
use crate::http::h1::encode::BodyWriter;
use crate::http::h1::io::{Reader, Writer};
use crate::http::h2::convert;

/// Where a body comes from.
pub(crate) enum Body {
    /// There is none.
    Empty,
    /// HTTP/1 bytes.
    H1 {
        /// Gives its bytes; what follows the body stays in it.
        reader: Box<Reader>,
        /// Finds the end.
        decoder: Decoder,
    },
    /// An HTTP/2 stream.
    H2 {
        /// Gives its frames.
        stream: RecvStream,
        /// Flow-control credit of the piece given last; returned when the next one is asked for,
        /// so that a slow receiver holds back the sender.
        credit: usize,
    },
    /// One that becomes another on its way.
    Translated(Box<Translated>),
}

/// A body and what is done to it.
pub(crate) struct Translated {
    body: Body,
    translation: Translation,
    ended: bool,
    /// `grpc-status` of trailers that became content.
    grpc_status: Option<u16>,
}

/// Gives the pieces of a body.
pub(crate) trait Source {
    /// The next piece, `None` at the end.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>>;
    /// Whether the end has been reached, as far as is known without asking the peer.
    fn is_end(&self) -> bool;
}

impl Body {
    /// The reader of the HTTP/1 connection that it comes from.
    pub(crate) fn reader(&self) -> Option<&Reader> {
        match self {
            Self::H1 { reader, .. } => Some(reader),
            Self::Translated(translated) => translated.body.reader(),
            Self::Empty | Self::H2 { .. } => None,
        }
    }

    /// Reads what has come of an HTTP/1 body into its buffer, up to `limit` bytes; the rest is left to wait. HTTP/2 keeps
    /// what its window allows by itself.
    pub(crate) fn poll_ahead(&mut self, cx: &mut Context<'_>, limit: usize) {
        let Self::H1 { reader, decoder } = self else { return };
        while !decoder.is_done() && reader.buffer.len() < limit {
            if !matches!(reader.poll_fill(cx), Poll::Ready(Ok(1..))) {
                return;
            }
        }
    }

    /// Drops what has come of the body, about `limit` bytes at most, and waits for nothing more.
    pub(crate) fn drop_ahead(&mut self, limit: usize) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut dropped = 0;
        while dropped <= limit && !self.is_end() {
            match self.poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) => dropped += data.len(),
                Poll::Ready(Some(Ok(Frame::Trailers(_)))) => {}
                Poll::Ready(None | Some(Err(_))) | Poll::Pending => return,
            }
        }
    }
}

impl Source for Body {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            // Trailers of HTTP/1 are dropped, as Istio's gateway does: few receivers expect them.
            Self::H1 { reader, decoder } => match ready!(decoder.poll_frame(reader, cx)) {
                Some(Ok(Frame::Trailers(_))) => Poll::Ready(None),
                frame => Poll::Ready(frame),
            },
            Self::H2 { stream, credit } => poll_h2(stream, credit, cx),
            Self::Translated(translated) => translated.poll_frame(cx),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::H1 { decoder, .. } => decoder.is_done(),
            Self::H2 { stream, .. } => stream.is_end_stream(),
            Self::Translated(translated) => translated.is_end(),
        }
    }
}

impl Source for Translated {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let translated = match ready!(self.body.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => self.translation.data(data),
                Some(Ok(Frame::Trailers(trailers))) => {
                    self.ended = true;
                    self.grpc_status = grpc_status(&trailers);
                    match self.translation.trailers(&trailers) {
                        Some(frame) => Some(frame),
                        None => return Poll::Ready(Some(Ok(Frame::Trailers(trailers)))),
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.ended = true;
                    self.translation.end()
                }
            };
            match translated {
                Some(data) if data.is_empty() => {}
                Some(data) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                None => return Poll::Ready(Some(Err(BodyError::NotBase64))),
            }
        }
    }

    fn is_end(&self) -> bool {
        self.ended || (self.body.is_end() && self.translation.is_empty())
    }
}

fn poll_h2(
    stream: &mut RecvStream,
    credit: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame, BodyError>>> {
    let used = std::mem::take(credit);
    if used > 0 {
        // Only fails when the stream is gone, which the next poll reports.
        let _ = stream.flow_control().release_capacity(used);
    }
    match ready!(stream.poll_data(cx)) {
        Some(Ok(data)) => {
            *credit = data.len();
            return Poll::Ready(Some(Ok(Frame::Data(data))));
        }
        Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
        None => {}
    }
    Poll::Ready(match ready!(stream.poll_trailers(cx)) {
        Ok(Some(trailers)) => Some(Ok(Frame::Trailers(convert::headers(&trailers)))),
        Ok(None) => None,
        Err(error) => Some(Err(error.into())),
    })
}

impl Body {
    /// This body, translated on its way.
    pub(crate) fn translated(self, translation: Translation) -> Self {
        Self::Translated(Box::new(Translated { body: self, translation, ended: false, grpc_status: None }))
    }

    /// `grpc-status` of trailers that a translation has made content.
    pub(crate) fn translated_status(&self) -> Option<u16> {
        match self {
            Self::Translated(translated) => translated.grpc_status,
            _ => None,
        }
    }

    /// The body as it comes from its peer.
    pub(crate) fn untranslated(self) -> Self {
        match self {
            Self::Translated(translated) => translated.body,
            body => body,
        }
    }

    /// Ready when the peer that sends this body has gone away, after the body itself has been read.
    /// Bytes of a pipelined request are left alone; while there are any, nothing is noticed.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1 { reader, decoder } if decoder.is_done() && reader.buffer.is_empty() => {
                match ready!(reader.poll_fill(cx)) {
                    Ok(0) | Err(_) => Poll::Ready(()),
                    Ok(_) => Poll::Pending,
                }
            }
            Self::Translated(translated) => translated.body.poll_gone(cx),
            _ => Poll::Pending,
        }
    }
}

/// Where a body goes.
pub(crate) enum Sink {
    /// HTTP/1 bytes.
    H1 {
        /// Takes the bytes.
        writer: Writer,
        /// Frames them.
        body: BodyWriter,
    },
    /// An HTTP/2 stream.
    H2(Box<H2Sink>),
}

/// An HTTP/2 stream with the piece that waits for flow control.
pub(crate) struct H2Sink {
    stream: SendStream<Bytes>,
    waiting: Bytes,
    finish: Finish,
}

#[derive(Debug, PartialEq, Eq)]
enum Finish {
    No,
    WithData,
    WithTrailers(Option<Headers>),
    Done,
}

impl H2Sink {
    /// A sink for `stream`; `ended` when its head has ended it already.
    pub(crate) fn new(stream: SendStream<Bytes>, ended: bool) -> Box<Self> {
        let finish = if ended { Finish::Done } else { Finish::No };
        Box::new(Self { stream, waiting: Bytes::new(), finish })
    }

    /// Sends what flow control lets through; ready when nothing waits any more.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let mut room = self.stream.capacity();
            if room == 0 {
                self.stream.reserve_capacity(self.waiting.len());
                room = match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(room)) => room,
                    Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                };
                if room == 0 {
                    continue;
                }
            }
            let piece = self.waiting.split_to(room.min(self.waiting.len()));
            let last = self.waiting.is_empty() && self.finish == Finish::WithData;
            self.stream.send_data(piece, last).map_err(io::Error::other)?;
            if last {
                self.finish = Finish::Done;
            }
        }
        match std::mem::replace(&mut self.finish, Finish::Done) {
            Finish::WithTrailers(Some(trailers)) => {
                self.stream.send_trailers(convert::header_map(&trailers)).map_err(io::Error::other)?;
            }
            Finish::WithTrailers(None) | Finish::WithData => {
                self.stream.send_data(Bytes::new(), true).map_err(io::Error::other)?;
            }
            unchanged => self.finish = unchanged,
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the stream with an error code.
    pub(crate) fn reset(&mut self, reason: ::h2::Reason) {
        if self.finish != Finish::Done {
            self.stream.send_reset(reason);
        }
    }

    /// Ready when the receiver has reset the stream or the connection has failed.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(|_| ())
    }
}

impl Sink {
    /// Ready when another piece can be taken.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::H1 { writer, .. } => writer.poll_ready(cx),
            Self::H2(sink) => sink.poll_drain(cx),
        }
    }

    /// Takes a piece; [`poll_ready`](Self::poll_ready) must have been ready. `last` promises that no
    /// other piece and no trailers follow.
    ///
    /// # Errors
    /// `InvalidData` when more comes than the head announced.
    pub(crate) fn data(&mut self, bytes: Bytes, last: bool) -> io::Result<()> {
        match self {
            Self::H1 { writer, body } => body.data(writer, bytes),
            Self::H2(sink) => {
                sink.waiting = bytes;
                if last {
                    sink.finish = Finish::WithData;
                }
                Ok(())
            }
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// `InvalidData` when less came than the head announced.
    pub(crate) fn finish(&mut self, trailers: Option<Headers>) -> io::Result<()> {
        match self {
            // Trailers are dropped towards HTTP/1, as Istio's gateway does.
            Self::H1 { writer, body } => body.finish(writer, None),
            Self::H2(sink) => {
                if sink.finish == Finish::No {
                    sink.finish = Finish::WithTrailers(trailers);
                }
                Ok(())
            }
        }
    }

    /// Hands everything taken so far to the connection.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::H1 { writer, .. } => writer.poll_flush(cx),
            Self::H2(sink) => sink.poll_drain(cx),
        }
    }

    /// Breaks the body off so that the receiver sees that something is missing.
    pub(crate) fn abort(&mut self) {
        if let Self::H2(sink) = self {
            sink.reset(::h2::Reason::INTERNAL_ERROR);
        }
    }
}

fn grpc_status(trailers: &Headers) -> Option<u16> {
    trailers.first_str("grpc-status").and_then(|status| status.parse().ok())
}

/// Which side of a pump failed.
#[derive(Debug)]
pub(crate) enum PumpError {
    /// The body could not be read.
    Source(BodyError),
    /// The body could not be written, or did not keep to its announced length.
    Sink(io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Streaming,
    Flushing,
    Done,
}

/// Moves a body into its sink, from the source that it is given each time.
pub(crate) struct Pump {
    pub(crate) sink: Sink,
    /// Content bytes moved so far.
    pub(crate) moved: u64,
    /// `grpc-status` of the trailers that went by.
    pub(crate) grpc_status: Option<u16>,
    state: State,
}

impl Pump {
    pub(crate) fn new(sink: Sink) -> Self {
        Self { sink, moved: 0, grpc_status: None, state: State::Streaming }
    }

    /// Whether the whole body has been moved and flushed.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Moves what can be moved; ready at the end. What waits in the sink is flushed whenever the
    /// source has nothing to give, so a lone piece is never held back.
    pub(crate) fn poll<S: Source>(
        &mut self,
        source: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PumpError>> {
        while self.state == State::Streaming {
            ready!(self.sink.poll_ready(cx)).map_err(PumpError::Sink)?;
            let finished = match source.poll_frame(cx) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                    self.moved += data.len() as u64;
                    self.sink.data(data, source.is_end()).and_then(|()| match source.is_end() {
                        true => self.sink.finish(None).map(|()| true),
                        false => Ok(false),
                    })
                }
                Poll::Ready(Some(Ok(Frame::Trailers(trailers)))) => {
                    self.grpc_status = grpc_status(&trailers);
                    self.sink.finish(Some(trailers)).map(|()| true)
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(PumpError::Source(error))),
                Poll::Ready(None) => self.sink.finish(None).map(|()| true),
                Poll::Pending => {
                    ready!(self.sink.poll_flush(cx)).map_err(PumpError::Sink)?;
                    return Poll::Pending;
                }
            };
            if finished.map_err(PumpError::Sink)? {
                self.state = State::Flushing;
            }
        }
        if self.state == State::Flushing {
            ready!(self.sink.poll_flush(cx)).map_err(PumpError::Sink)?;
            self.state = State::Done;
        }
        Poll::Ready(Ok(()))
    }
}
