//! Reads the ClientHello at the start of a TLS connection without taking part in the handshake.
//!
//! A gateway has to know the server name and the protocols a client asks for before it can tell who will
//! answer: itself with one of its certificates, or a server behind it that gets the same bytes replayed.
//! The parser therefore only looks: it holds no bytes, and its caller keeps what it received.
//!
//! ```text
//!   TLS record   16 03 xx len            the handshake message may be spread over any number of records
//!   └ handshake  01 len24                (RFC 8446 §5.1, RFC 5246 §6.2.1)
//!     └ ClientHello  version random session_id cipher_suites compression extensions   (RFC 8446 §4.1.2)
//! ```
//!
//! [`Parser`] remembers how many records it has walked, so that a byte at a time costs a constant amount of work
//! for each byte, whatever the records' sizes. `message` then reads the complete message once.
//!
//! Where clients' mistakes could make the gateway and a server disagree on the name (a second name, a second
//! extension, bytes behind the message) the hello is refused, not interpreted.

use std::borrow::Cow;
use std::net::IpAddr;

mod message;
#[cfg(test)]
mod tests;

pub use message::{ClientHello, Protocols, ServerName};

/// What the bytes received so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A beginning of a ClientHello: call again with more bytes. Never said of more than [`MAX_WIRE_LEN`] bytes.
    NeedMore,
    /// A complete ClientHello.
    Hello(ClientHello),
    /// No ClientHello, or one that no server may be shown; further bytes change nothing.
    Refused(Reason),
}

/// Why bytes are not taken for a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The first byte does not begin a TLS handshake record.
    #[error("not a TLS handshake")]
    NotTls,
    /// The version 2 hello of SSL, forbidden by RFC 6176.
    #[error("an SSL 2.0 hello")]
    Ssl2,
    /// The record's version does not begin with 3.
    #[error("unknown TLS record version")]
    RecordVersion,
    /// A record without content; RFC 8446 §5.1 forbids it for handshake messages.
    #[error("an empty TLS record")]
    EmptyRecord,
    /// A record longer than [`MAX_RECORD_LEN`].
    #[error("a TLS record longer than {MAX_RECORD_LEN} bytes")]
    RecordTooLong,
    /// A record of another kind between the pieces of the hello; RFC 8446 §5.1 forbids it.
    #[error("another TLS record inside the ClientHello")]
    Interleaved,
    /// The first handshake message is another one.
    #[error("the first handshake message is no ClientHello")]
    NotClientHello,
    /// A message longer than [`MAX_HELLO_LEN`].
    #[error("a ClientHello longer than {MAX_HELLO_LEN} bytes")]
    TooLong,
    /// The record that ends the hello goes on: nothing may follow before the server's answer.
    #[error("handshake bytes behind the ClientHello")]
    TrailingBytes,
    /// A field's length contradicts its surroundings, or breaks its own bounds.
    #[error("the ClientHello's {0} is malformed")]
    Malformed(&'static str),
    /// An extension that this parser reads occurs twice (RFC 8446 §4.2 forbids it for every extension).
    #[error("the ClientHello repeats its {0} extension")]
    Repeated(&'static str),
    /// More protocol names than [`MAX_PROTOCOLS`].
    #[error("the ClientHello offers more than {MAX_PROTOCOLS} application protocols")]
    TooManyProtocols,
}

impl Reason {
    /// The number of the alert that tells the client (RFC 8446 §6.2).
    ///
    /// `None` when the peer does not speak TLS, or not one in which it would understand an alert.
    pub fn alert(self) -> Option<u8> {
        const UNEXPECTED_MESSAGE: u8 = 10;
        const RECORD_OVERFLOW: u8 = 22;
        const ILLEGAL_PARAMETER: u8 = 47;
        const DECODE_ERROR: u8 = 50;
        const PROTOCOL_VERSION: u8 = 70;
        match self {
            Self::NotTls | Self::Ssl2 => None,
            Self::RecordVersion => Some(PROTOCOL_VERSION),
            Self::EmptyRecord | Self::Interleaved | Self::NotClientHello | Self::TrailingBytes => {
                Some(UNEXPECTED_MESSAGE)
            }
            Self::RecordTooLong => Some(RECORD_OVERFLOW),
            Self::TooLong | Self::Malformed(_) | Self::TooManyProtocols => Some(DECODE_ERROR),
            Self::Repeated(_) => Some(ILLEGAL_PARAMETER),
        }
    }
}

/// Reads all bytes received so far, from the start of the connection (or of its TLS part, behind a STARTTLS).
///
/// For a connection that delivers in pieces keep a [`Parser`] instead: it does not start over each time.
pub fn parse(received: &[u8]) -> Outcome {
    Parser::default().advance(received)
}

/// Reads a ClientHello that arrives in pieces.
///
/// Holds a few counters and none of the peer's bytes.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    /// Where the next record begins that is not yet complete.
    at: usize,
    /// How many complete records lie before `at`.
    records: usize,
    /// How many bytes of the message lie before `at`.
    gathered: usize,
    /// The first bytes of the message, as far as they lie before `at`.
    header: [u8; HEADER_LEN],
    #[cfg(test)]
    steps: usize,
}

impl Parser {
    /// Looks at the bytes that have come since the last call.
    ///
    /// `received` is everything from the first byte on, each call's bytes beginning with those of the call before.
    /// The work of a call is proportional to the records that it completes, and to the message once it is complete.
    pub fn advance(&mut self, received: &[u8]) -> Outcome {
        loop {
            #[cfg(test)]
            {
                self.steps += 1;
            }
            match self.step(received) {
                Ok(Step::Record) => {}
                Ok(Step::NeedMore) => return Outcome::NeedMore,
                Ok(Step::Complete) => {
                    let hello = self.message(received);
                    return match message::read(&hello, self.at) {
                        Ok(hello) => Outcome::Hello(hello),
                        Err(reason) => Outcome::Refused(reason),
                    };
                }
                Err(reason) => return Outcome::Refused(reason),
            }
        }
    }

    /// Walks over the record at `self.at`, or finds out what is wrong with as much of it as is there.
    fn step(&mut self, received: &[u8]) -> Result<Step, Reason> {
        let rest = received.get(self.at..).unwrap_or_default();
        let Some(len) = record_len(rest, self.records == 0)? else {
            return Ok(Step::NeedMore);
        };
        let payload = &rest[RECORD_HEADER_LEN..];
        let whole = payload.len() >= len;
        let payload = payload.get(..len).unwrap_or(payload);

        let header = self.header_with(payload);
        let message_len = message_len(&header, self.gathered + payload.len())?;
        if message_len.is_some_and(|message_len| self.gathered + len > message_len) {
            return Err(Reason::TrailingBytes);
        }
        if !whole {
            return Ok(Step::NeedMore);
        }
        self.at += RECORD_HEADER_LEN + len;
        self.records += 1;
        self.gathered += len;
        self.header = header;
        Ok(if message_len == Some(self.gathered) { Step::Complete } else { Step::Record })
    }

    /// The message's first bytes when `payload` follows what has been gathered.
    fn header_with(&self, payload: &[u8]) -> [u8; HEADER_LEN] {
        let mut header = self.header;
        for (place, byte) in header.iter_mut().skip(self.gathered).zip(payload) {
            *place = *byte;
        }
        header
    }

    /// The complete message without its header: borrowed when one record holds it, as nearly always.
    fn message<'a>(&self, received: &'a [u8]) -> Cow<'a, [u8]> {
        let walked = received.get(..self.at).unwrap_or_default();
        if self.records == 1 {
            let body = walked.get(RECORD_HEADER_LEN + HEADER_LEN..);
            return Cow::Borrowed(body.unwrap_or_default());
        }
        let mut message = Vec::with_capacity(self.gathered);
        let mut rest = walked;
        while let Some((header, payload)) = rest.split_first_chunk::<RECORD_HEADER_LEN>() {
            let len = usize::from(u16::from_be_bytes([header[3], header[4]])).min(payload.len());
            message.extend_from_slice(&payload[..len]);
            rest = &payload[len..];
        }
        message.drain(..HEADER_LEN.min(message.len()));
        Cow::Owned(message)
    }
}

/// What `Parser::step` did.
enum Step {
    /// Walked over a record; the message goes on.
    Record,
    /// The record is not complete yet.
    NeedMore,
    /// Walked over the message's last record.
    Complete,
}

/// Checks as much of a record's header as is there; its length once it is complete.
fn record_len(rest: &[u8], first_record: bool) -> Result<Option<usize>, Reason> {
    match rest {
        [] => return Ok(None),
        [CONTENT_HANDSHAKE, ..] => {}
        _ if !first_record => return Err(Reason::Interleaved),
        // SSL 2.0 sets the top bit of a two-byte length; its third byte is the message type.
        [0x80..=0xff, _, CLIENT_HELLO, ..] => return Err(Reason::Ssl2),
        [0x80..=0xff] | [0x80..=0xff, _] => return Ok(None),
        _ => return Err(Reason::NotTls),
    }
    // The minor number means nothing (RFC 8446 §5.1, RFC 5246 appendix E.1: "any value {03,XX}").
    if rest.get(1).is_some_and(|major| *major != VERSION_MAJOR) {
        return Err(Reason::RecordVersion);
    }
    let [_, _, _, high, low, ..] = rest else {
        return Ok(None);
    };
    match usize::from(u16::from_be_bytes([*high, *low])) {
        0 => Err(Reason::EmptyRecord),
        len if len > MAX_RECORD_LEN => Err(Reason::RecordTooLong),
        len => Ok(Some(len)),
    }
}

/// The length of the whole message, once `known` bytes of it include the header.
fn message_len(header: &[u8; HEADER_LEN], known: usize) -> Result<Option<usize>, Reason> {
    let [kind, len @ ..] = *header;
    if known > 0 && kind != CLIENT_HELLO {
        return Err(Reason::NotClientHello);
    }
    if known < HEADER_LEN {
        return Ok(None);
    }
    let [high, middle, low] = len.map(usize::from);
    let len = HEADER_LEN + (high << 16 | middle << 8 | low);
    if len > MAX_HELLO_LEN {
        return Err(Reason::TooLong);
    }
    Ok(Some(len))
}

/// An address written as text, which RFC 6066 §3 does not allow as a server name.
fn is_ip_literal(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}

/// The longest ClientHello accepted, in bytes, its four-byte header included.
///
/// A hello with post-quantum key shares has some 1,800 bytes, and a session ticket adds up to a few thousand.
pub const MAX_HELLO_LEN: usize = 16 * 1024;

/// The most bytes that can be received before the parser has decided: [`MAX_HELLO_LEN`] in records of one byte.
pub const MAX_WIRE_LEN: usize = MAX_HELLO_LEN * (RECORD_HEADER_LEN + 1);

/// The longest content of a plaintext record, in bytes (RFC 8446 §5.1).
pub const MAX_RECORD_LEN: usize = 1 << 14;

/// The most application protocols that a client may offer; browsers offer two, and a value of grease.
pub const MAX_PROTOCOLS: usize = 32;

/// The first byte of a TLS connection: the content type of a handshake record.
pub const CONTENT_HANDSHAKE: u8 = 22;

const CLIENT_HELLO: u8 = 1;
const VERSION_MAJOR: u8 = 3;
const RECORD_HEADER_LEN: usize = 5;
const HEADER_LEN: usize = 4;
