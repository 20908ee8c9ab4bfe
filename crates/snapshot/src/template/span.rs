//! Points of a request that the time between can be told of (`%COMMON_DURATION(…)%`).

/// A point of a request that lies before its response's header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The request began.
    Begin,
    /// All of it had been received.
    Received,
    /// The upstream connection was begun, if it was opened for this request.
    ConnectBegin,
    /// It was there.
    ConnectEnd,
    /// Its TLS handshake was over.
    HandshakeEnd,
    /// The request was first sent.
    SendBegin,
    /// It had been sent to its end.
    SendEnd,
    /// The response began.
    AnswerBegin,
    /// It had ended, where it consists of a header.
    AnswerEnd,
}

impl Point {
    const ALL: [Self; 9] = [
        Self::Begin,
        Self::Received,
        Self::ConnectBegin,
        Self::ConnectEnd,
        Self::HandshakeEnd,
        Self::SendBegin,
        Self::SendEnd,
        Self::AnswerBegin,
        Self::AnswerEnd,
    ];

    /// As written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begin => "DS_RX_BEG",
            Self::Received => "DS_RX_END",
            Self::ConnectBegin => "US_CX_BEG",
            Self::ConnectEnd => "US_CX_END",
            Self::HandshakeEnd => "US_HS_END",
            Self::SendBegin => "US_TX_BEG",
            Self::SendEnd => "US_TX_END",
            Self::AnswerBegin => "US_RX_BEG",
            Self::AnswerEnd => "US_RX_END",
        }
    }
}

/// What a time is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `ms`
    Milliseconds,
    /// `us`
    Microseconds,
    /// `ns`
    Nanoseconds,
}

impl Unit {
    /// As written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Nanoseconds => "ns",
        }
    }
}

/// What an argument asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Span {
    Between([Point; 2], Unit),
    /// One of the points lies behind the header of the response, or is one that only a filter would set, or they never come
    /// in that order.
    Never,
}

/// Reads `start:end` with or without `:unit`; any word may be a point.
pub(super) fn parse(argument: &str) -> Option<Span> {
    let mut words = argument.split(':');
    let points = [words.next()?, words.next()?];
    let unit = match words.next() {
        None | Some("ms") => Unit::Milliseconds,
        Some("us") => Unit::Microseconds,
        Some("ns") => Unit::Nanoseconds,
        Some(_) => return None,
    };
    if words.next().is_some() {
        return None;
    }
    let named = |text: &str| Point::ALL.into_iter().find(|point| point.name() == text);
    Some(match points.map(named) {
        // However soon a request ends, it has begun before.
        [Some(Point::Received), Some(Point::Begin)] => Span::Never,
        [Some(from), Some(to)] => Span::Between([from, to], unit),
        _ => Span::Never,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let sent = |unit| Some(Span::Between([Point::Begin, Point::SendBegin], unit));
        for (text, expected) in [
            ("DS_RX_BEG:US_TX_BEG", sent(Unit::Milliseconds)),
            ("DS_RX_BEG:US_TX_BEG:ms", sent(Unit::Milliseconds)),
            ("DS_RX_BEG:US_TX_BEG:us", sent(Unit::Microseconds)),
            ("DS_RX_BEG:US_TX_BEG:ns", sent(Unit::Nanoseconds)),
            ("mine:US_TX_BEG:ms", Some(Span::Never)),
            ("DS_RX_END:DS_RX_BEG", Some(Span::Never)),
            ("DS_RX_BEG:DS_TX_END", Some(Span::Never)),
            ("DS_RX_BEG:US_TX_BEG:s", None),
            ("DS_RX_BEG:US_TX_BEG:", None),
            ("DS_RX_BEG:US_TX_BEG:ms:ms", None),
            ("DS_RX_BEG", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
