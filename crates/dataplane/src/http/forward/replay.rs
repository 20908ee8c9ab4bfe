//! A request body that can be sent again: what has gone by is kept, up to a bound, until it is
//! settled that no other try follows.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::mirror::Tee;
use crate::http::body::{Body, Source};
use crate::http::h1::body::{BodyError, Frame};

/// Most pieces kept; a client that sends single bytes must not make a long list of them.
const MAX_PIECES: usize = 4096;

/// A body with a memory.
pub(crate) struct Replay {
    pub(crate) live: Body,
    kept: Vec<Bytes>,
    size: usize,
    /// Bytes that may be kept; 0 = keep nothing.
    limit: usize,
    /// Pieces of `kept` given in this try.
    given: usize,
    /// Whether something has gone by that was not kept.
    lost: bool,
    /// Mirrors, which get everything once, when it comes from the client.
    pub(super) tee: Option<Box<Tee>>,
    /// Bytes that may wait for each of them.
    tee_limit: usize,
}

impl Replay {
    /// A body of which `limit` bytes may be kept for another try, and `tee_limit` may wait for each mirror.
    pub(crate) fn new(live: Body, limit: usize, tee_limit: usize) -> Self {
        Self { live, kept: Vec::new(), size: 0, limit, given: 0, lost: false, tee: None, tee_limit }
    }

    /// Whether the body can be sent from its beginning again.
    pub(crate) fn can_rewind(&self) -> bool {
        !self.lost
    }

    /// Starts over.
    pub(crate) fn rewind(&mut self) {
        self.given = 0;
    }

    /// No other try may follow, whatever this one comes to.
    pub(crate) fn forbid_rewind(&mut self) {
        self.lost = true;
        self.settle();
    }

    /// Forgets what was kept: no other try follows.
    pub(crate) fn settle(&mut self) {
        // What a failed write took from the list has been given; nothing is sent twice.
        self.limit = 0;
        if self.given == self.kept.len() {
            self.kept = Vec::new();
            self.given = 0;
        }
    }

    /// The body itself, as the client sends it.
    pub(crate) fn into_live(self) -> Body {
        self.live.untranslated()
    }

    /// Gives mirrors their share of what has come from the client.
    #[cold]
    fn feed(&mut self, frame: &Option<Result<Frame, BodyError>>) {
        let Some(tee) = &mut self.tee else { return };
        match frame {
            Some(Ok(Frame::Data(data))) => {
                tee.data(data, self.tee_limit);
                if self.live.is_end() {
                    tee.end(None);
                }
            }
            Some(Ok(Frame::Trailers(trailers))) => tee.end(Some(trailers)),
            // Dropped without its end, it breaks the copies off.
            Some(Err(_)) => self.tee = None,
            None => tee.end(None),
        }
    }

    fn keep(&mut self, data: &Bytes) {
        self.size += data.len();
        if self.lost || self.size > self.limit || self.kept.len() == MAX_PIECES {
            self.lost = true;
            self.kept = Vec::new();
            self.given = 0;
            return;
        }
        self.kept.push(data.clone());
        self.given += 1;
    }
}

impl Source for Replay {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Some(piece) = self.kept.get(self.given) {
            self.given += 1;
            return Poll::Ready(Some(Ok(Frame::Data(piece.clone()))));
        }
        let frame = ready!(self.live.poll_frame(cx));
        if self.tee.is_some() {
            self.feed(&frame);
        }
        match &frame {
            Some(Ok(Frame::Data(data))) => self.keep(data),
            // Trailers would be missing in another try.
            Some(Ok(Frame::Trailers(_))) => self.lost = true,
            Some(Err(_)) | None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end(&self) -> bool {
        self.given == self.kept.len() && self.live.is_end()
    }
}
