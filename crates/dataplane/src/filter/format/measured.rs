//! Values that tell how many bytes a message took, and when its parts happened.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::time::Duration;

use portcullis_snapshot::template::{PlainOperator as Op, Point, Unit};
use tokio::time::Instant;

use super::Facts;
use super::plain::show;
use crate::http::measure::{Measure, Try, request_fields, response_fields};

impl Facts<'_> {
    /// Appends the time between two points, if both have come in that order.
    pub(super) fn span(&self, [from, to]: [Point; 2], unit: Unit, out: &mut Vec<u8>) {
        let time = |from: Instant, to: Instant| to.checked_duration_since(from);
        let Some(span) = self.point(from).and_then(|from| time(from, self.point(to)?)) else { return };
        let amount = match unit {
            Unit::Milliseconds => span.as_millis(),
            Unit::Microseconds => span.as_micros(),
            Unit::Nanoseconds => span.as_nanos(),
        };
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{amount}");
    }

    fn point(&self, point: Point) -> Option<Instant> {
        let began = self.exchange.record.arrived();
        let attempt = self.attempt();
        let opened = attempt.filter(|attempt| attempt.opened).and_then(|_| self.link());
        let answered = || self.exchange.record.inner.first_byte.filter(|_| self.upstream_status != 0);
        match point {
            Point::Begin => Some(began),
            Point::Received => self.received().map(|received| began + received),
            Point::ConnectBegin => Some(opened?.opened?.begun),
            Point::ConnectEnd => Some(opened?.opened?.connected),
            Point::HandshakeEnd => Some(opened?.tls.as_ref()?.settled),
            Point::SendBegin => attempt?.began,
            Point::SendEnd => self.sent().map(|sent| began + sent),
            Point::AnswerBegin => answered().map(|first| began + first),
            Point::AnswerEnd => {
                answered().filter(|_| attempt.is_some_and(|attempt| attempt.ended)).map(|first| began + first)
            }
        }
    }

    fn measure(&self) -> Option<&Measure> {
        self.exchange.measure.as_deref()
    }

    fn attempt(&self) -> Option<&Try> {
        self.measure().map(|measure| &measure.attempt)
    }

    /// How long the last try waited for a connection.
    pub(super) fn leased(&self) -> Option<Duration> {
        self.attempt()?.leased
    }

    /// What is counted and timed.
    pub(super) fn write_measured(&self, operator: Op, out: &mut Vec<u8>) -> io::Result<()> {
        let exchange = self.exchange;
        let received =
            || self.measure().map(|measure| measure.received(&exchange.request)).unwrap_or_default();
        let sent = || self.attempt().map(Try::sent).unwrap_or_default();
        let answered = || self.attempt().map(Try::answered).unwrap_or_default();
        let bytes = match operator {
            Op::DownstreamHandshakeDuration => return show(out, self.handshake()),
            Op::UpstreamConnectionPoolReadyDuration => {
                return show(out, self.leased().map(|leased| leased.as_millis()));
            }
            Op::RouteResolutionTimeUs => {
                let routed = self.measure().and_then(|measure| measure.routed);
                return show(out, routed.map(|routed| routed.as_micros()));
            }
            Op::RouteResolutionCount => exchange.matched.iter().count() as u64,
            Op::RequestHeadersBytes => request_fields(&exchange.request, exchange.scheme),
            Op::ResponseHeadersBytes => self.of_answer(response_fields),
            Op::DownstreamHeaderBytesReceived => received().headers,
            Op::DownstreamDecompressedHeaderBytesReceived => received().decompressed,
            Op::DownstreamWireBytesReceived => received().wire,
            Op::UpstreamHeaderBytesSent => sent().headers,
            Op::UpstreamDecompressedHeaderBytesSent => sent().decompressed,
            Op::UpstreamWireBytesSent => sent().wire,
            Op::UpstreamHeaderBytesReceived => answered().headers,
            Op::UpstreamDecompressedHeaderBytesReceived => answered().decompressed,
            Op::UpstreamWireBytesReceived => answered().wire,
            _ => return Ok(()),
        };
        show(out, Some(bytes))
    }

    /// Milliseconds from the request's beginning to the end of the client's handshake, which lies before it.
    fn handshake(&self) -> Option<impl Display + use<>> {
        let settled = self.exchange.connection.tls.as_ref()?.settled;
        let before = self.exchange.record.arrived().saturating_duration_since(settled).as_millis();
        i64::try_from(before).ok().map(|before| -before)
    }
}
