//! Reads the first packet that a PostgreSQL client sends, before anything else is known of it.
//!
//! ```text
//!   00 00 00 08  04 d2 16 2f              SSLRequest      may the rest be TLS?
//!   00 00 00 08  04 d2 16 30              GSSENCRequest   may the rest be GSSAPI-encrypted?
//!   00 00 0x xx  04 d2 16 2e  pid key     CancelRequest   stop the query of another connection
//!   00 00 xx xx  00 03 xx xx  k 0 v 0 … 0 StartupMessage  a session, in clear
//!   16 …                                  a TLS ClientHello at once, PostgreSQL 17's direct negotiation
//! ```
//!
//! All numbers are big-endian, and the length counts itself (PostgreSQL documentation, "Message Formats").
//! The kinds differ early, so a client that speaks another protocol is found out after a byte or a few.
//!
//! After SSLRequest and GSSENCRequest a client must wait for the answer. Bytes that are already there were perhaps
//! put there by someone else, who wants them to pass for the encrypted ones (CVE-2021-23214, CVE-2021-23222):
//! the caller compares [`Outcome::len`] with what it received and closes such a connection.

use std::fmt;
use std::ops::RangeInclusive;

use crate::tls::client_hello::CONTENT_HANDSHAKE;

/// What the bytes received so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A beginning of one of the packets: call again with more bytes. Never said of [`MAX_STARTUP_LEN`] bytes.
    NeedMore,
    /// The client asks for TLS and waits for one byte, `S` or `N`.
    SslRequest,
    /// The client asks for GSSAPI encryption and waits for one byte, `G` or `N`.
    GssEncRequest,
    /// The client asks to stop a query of another connection, and expects no answer.
    Cancel(CancelRequest),
    /// The client begins a session in clear.
    Startup(Startup),
    /// The client begins TLS without asking; the bytes are still to be read by [`crate::tls::client_hello`].
    Tls,
    /// Another protocol; further bytes change nothing.
    NotPostgres,
}

impl Outcome {
    /// How many of the received bytes the packet takes; what lies behind them belongs to what follows.
    ///
    /// 0 where no packet was read: [`Outcome::NeedMore`], [`Outcome::Tls`] and [`Outcome::NotPostgres`].
    pub fn len(&self) -> usize {
        match self {
            Self::NeedMore | Self::Tls | Self::NotPostgres => 0,
            Self::SslRequest | Self::GssEncRequest => HEADER_LEN,
            Self::Cancel(cancel) => cancel.packet.len(),
            Self::Startup(startup) => startup.len,
        }
    }

    /// Whether no packet was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A request to cancel, kept as it came, to be sent on unchanged.
#[derive(Clone, PartialEq, Eq)]
pub struct CancelRequest {
    packet: Box<[u8]>,
}

impl CancelRequest {
    /// The whole packet. It holds the session's secret key: whoever has it can stop the session's queries.
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// The number of the server process whose query is to be stopped; no secret.
    pub fn process_id(&self) -> u32 {
        self.packet.get(HEADER_LEN..).and_then(first_u32).unwrap_or_default()
    }
}

impl fmt::Debug for CancelRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelRequest").field("process_id", &self.process_id()).finish_non_exhaustive()
    }
}

/// What a StartupMessage says, for a log line and an answer; a gateway routes nothing by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// The packet's length in bytes.
    pub len: usize,
    /// The protocol's minor version: 0 for 3.0, 2 for the 3.2 of PostgreSQL 18.
    pub protocol_minor: u16,
    /// The parameter `user`.
    pub user: Option<Box<str>>,
    /// The parameter `database`; without it the server takes the user's name.
    pub database: Option<Box<str>>,
    /// The parameter `application_name`.
    pub application_name: Option<Box<str>>,
}

/// Reads all bytes received so far, from the start of the connection or behind an answered request.
///
/// Cheap to call again for each read: nothing behind the header is looked at before the packet is complete.
pub fn parse(received: &[u8]) -> Outcome {
    if received.first() == Some(&CONTENT_HANDSHAKE) {
        return Outcome::Tls;
    }
    let Some(shape) = SHAPES.iter().find(|shape| shape.fits(received)) else {
        return Outcome::NotPostgres;
    };
    // A part of a header may fit several shapes, a whole one fits one.
    let Some((header, _)) = received.split_first_chunk::<HEADER_LEN>() else {
        return Outcome::NeedMore;
    };
    let [a, b, c, d, _, _, minor @ ..] = *header;
    let Some(packet) = received.get(..u32::from_be_bytes([a, b, c, d]) as usize) else {
        return Outcome::NeedMore;
    };
    match shape.kind {
        Kind::Ssl => Outcome::SslRequest,
        Kind::GssEnc => Outcome::GssEncRequest,
        Kind::Cancel => Outcome::Cancel(CancelRequest { packet: packet.into() }),
        Kind::Startup => Outcome::Startup(startup(packet, u16::from_be_bytes(minor))),
    }
}

/// Takes the parameters that are shown, up to the final zero or to where their layout breaks.
fn startup(packet: &[u8], protocol_minor: u16) -> Startup {
    let mut startup =
        Startup { len: packet.len(), protocol_minor, user: None, database: None, application_name: None };
    let mut strings = packet[HEADER_LEN..].split(|byte| *byte == 0);
    while let (Some(name), Some(value)) = (strings.next(), strings.next()) {
        let place = match name {
            b"" => break,
            b"user" => &mut startup.user,
            b"database" => &mut startup.database,
            b"application_name" => &mut startup.application_name,
            _ => continue,
        };
        *place = Some(shown(value));
    }
    startup
}

/// The client's text, cut to what the server would keep of it; bytes that are not UTF-8 are replaced.
fn shown(value: &[u8]) -> Box<str> {
    let value = value.get(..MAX_SHOWN_LEN).unwrap_or(value);
    String::from_utf8_lossy(value).into()
}

fn first_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[derive(Clone, Copy)]
enum Kind {
    Ssl,
    GssEnc,
    Cancel,
    Startup,
}

/// How a kind of packet begins.
struct Shape {
    kind: Kind,
    /// The whole packet's length, in bytes.
    len: RangeInclusive<usize>,
    /// The bytes behind the length.
    code: &'static [u8],
}

impl Shape {
    /// Whether a packet of this kind can begin like that, however few bytes are there.
    fn fits(&self, received: &[u8]) -> bool {
        let bound = |unknown: u8| {
            let mut len = [unknown; LENGTH_LEN];
            len.iter_mut().zip(received).for_each(|(place, byte)| *place = *byte);
            u32::from_be_bytes(len) as usize
        };
        let len_fits = bound(0x00) <= *self.len.end() && bound(0xff) >= *self.len.start();
        let code = received.get(LENGTH_LEN..).unwrap_or_default();
        len_fits && self.code.iter().zip(code).all(|(expected, byte)| expected == byte)
    }
}

const SHAPES: [Shape; 4] = [
    Shape { kind: Kind::Ssl, len: HEADER_LEN..=HEADER_LEN, code: &80_877_103_u32.to_be_bytes() },
    Shape { kind: Kind::GssEnc, len: HEADER_LEN..=HEADER_LEN, code: &80_877_104_u32.to_be_bytes() },
    Shape { kind: Kind::Cancel, len: MIN_CANCEL_LEN..=MAX_CANCEL_LEN, code: &80_877_102_u32.to_be_bytes() },
    // Any minor version of 3: a server answers an unknown one with what it speaks, it does not hang up.
    Shape { kind: Kind::Startup, len: HEADER_LEN..=MAX_STARTUP_LEN, code: &3_u16.to_be_bytes() },
];

/// The longest StartupMessage, in bytes: 10,000 behind the length, the server's own bound.
pub const MAX_STARTUP_LEN: usize = LENGTH_LEN + 10_000;

/// The longest CancelRequest, in bytes: protocol 3.2 allows a secret key of 256 bytes.
pub const MAX_CANCEL_LEN: usize = HEADER_LEN + PROCESS_ID_LEN + 256;

/// The shortest CancelRequest: the four-byte key of protocol 3.0.
const MIN_CANCEL_LEN: usize = HEADER_LEN + PROCESS_ID_LEN + 4;
const PROCESS_ID_LEN: usize = 4;
const LENGTH_LEN: usize = 4;
/// The length and the code.
const HEADER_LEN: usize = 8;
/// The server cuts names to 63 bytes (NAMEDATALEN).
const MAX_SHOWN_LEN: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SSL: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    const GSS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

    fn packet(code: [u8; 4], rest: &[u8]) -> Vec<u8> {
        let len = u32::try_from(8 + rest.len()).unwrap().to_be_bytes();
        [&len, &code, rest].concat()
    }

    fn cancel(key_len: usize) -> Vec<u8> {
        packet([0x04, 0xd2, 0x16, 0x2e], &[&[0, 0, 0x30, 0x39], &vec![0x5e; key_len][..]].concat())
    }

    fn startup_of(parameters: &[u8]) -> Vec<u8> {
        packet([0, 3, 0, 0], parameters)
    }

    #[test]
    fn requests_are_told_apart_and_measured() {
        for (bytes, expected) in [(SSL, Outcome::SslRequest), (GSS, Outcome::GssEncRequest)] {
            for end in 0..8 {
                assert_eq!(parse(&bytes[..end]), Outcome::NeedMore, "{end} bytes");
            }
            assert_eq!(parse(&bytes), expected);
            let stuffed = [&bytes[..], b"stuffed"].concat();
            assert_eq!(parse(&stuffed), expected);
            assert!(expected.len() < stuffed.len());
        }
    }

    #[test]
    fn tls_is_seen_in_its_first_byte() {
        assert_eq!(parse(&[0x16]), Outcome::Tls);
        assert_eq!(parse(&[0x16, 3, 1, 2, 0, 1]), Outcome::Tls);
        assert!(Outcome::Tls.is_empty());
    }

    #[test]
    fn a_cancel_request_keeps_its_bytes_and_hides_its_key() {
        for key_len in [4, 32, 256] {
            let bytes = cancel(key_len);
            assert_eq!(parse(&bytes[..bytes.len() - 1]), Outcome::NeedMore);
            let outcome = parse(&[&bytes[..], b"x"].concat());
            assert_eq!(outcome.len(), bytes.len());
            let Outcome::Cancel(request) = &outcome else { panic!("{outcome:?}") };
            assert_eq!(request.packet(), bytes);
            assert_eq!(request.process_id(), 12345);
            assert_eq!(format!("{outcome:?}"), "Cancel(CancelRequest { process_id: 12345, .. })");
        }
    }

    #[test]
    fn a_startup_message_is_read() {
        let bytes = startup_of(b"user\0ann\0options\0-c x\0application_name\0psql\0database\0shop\0\0");
        assert_eq!(parse(&bytes[..20]), Outcome::NeedMore);
        let expected = Startup {
            len: bytes.len(),
            protocol_minor: 0,
            user: Some("ann".into()),
            database: Some("shop".into()),
            application_name: Some("psql".into()),
        };
        assert_eq!(parse(&bytes), Outcome::Startup(expected));
    }

    #[test]
    fn odd_startup_messages_still_get_their_answer() {
        let read = |bytes: &[u8]| match parse(bytes) {
            Outcome::Startup(startup) => startup,
            other => panic!("{other:?}"),
        };
        assert_eq!(read(&packet([0, 3, 0, 2], b"\0")).protocol_minor, 2);
        assert_eq!(read(&packet([0, 3, 0x27, 0x0f], b"")).protocol_minor, 9999);
        assert_eq!(read(&startup_of(b"user")).user, None);
        assert_eq!(read(&startup_of(b"user\0ann")).user.as_deref(), Some("ann"));
        assert_eq!(read(&startup_of(b"user\0\xff\0\0")).user.as_deref(), Some("\u{fffd}"));
        assert_eq!(read(&startup_of(b"\0user\0ann\0\0")).user, None);
        let long = [&b"user\0"[..], &[b'a'; 9000], b"\0\0"].concat();
        assert_eq!(read(&startup_of(&long)).user.map(|user| user.len()), Some(63));
        assert_eq!(read(&startup_of(&[b'a'; 9996])).len, MAX_STARTUP_LEN);
    }

    #[test]
    fn other_protocols_are_found_out_at_their_first_wrong_byte() {
        for (what, bytes) in [
            ("HTTP", &b"G"[..]),
            ("SSH", b"S"),
            ("SSL 2.0", &[0x80]),
            ("16 MiB", &[1]),
            ("64 KiB", &[0, 1]),
            ("10,240 bytes", &[0, 0, 0x28]),
            ("10,005 bytes", &[0, 0, 0x27, 0x15]),
            ("no bytes", &[0, 0, 0, 0]),
            ("7 bytes", &[0, 0, 0, 7]),
            ("protocol 2.0", &[0, 0, 0, 8, 0, 2]),
            ("protocol 4.0", &[0, 0, 0, 9, 0, 4]),
            ("another request", &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x31]),
            ("SSLRequest of 9 bytes", &[0, 0, 0, 9, 4]),
            ("SSLRequest of 300 bytes", &[0, 0, 1, 44, 4]),
            ("CancelRequest without a key", &[0, 0, 0, 12, 4]),
            ("CancelRequest with a long key", &[0, 0, 1, 13, 4]),
        ] {
            let (_, before) = bytes.split_last().unwrap();
            assert_eq!(parse(before), Outcome::NeedMore, "{what}");
            assert_eq!(parse(bytes), Outcome::NotPostgres, "{what}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_more_bytes_change_nothing(
            len in 0u32..10_100,
            code in prop_oneof![
                Just([4, 0xd2, 0x16, 0x2e]), Just([4, 0xd2, 0x16, 0x2f]), Just([0, 3, 0, 0]), any::<[u8; 4]>(),
            ],
            rest in prop::collection::vec(prop_oneof![2 => Just(0), 5 => any::<u8>()], 0..300),
        ) {
            let bytes = [&len.to_be_bytes(), &code, &rest[..]].concat();
            let outcome = parse(&bytes);
            prop_assert!(outcome.len() <= bytes.len());
            prop_assert_ne!(parse(&[&bytes[..], &vec![0; MAX_STARTUP_LEN]].concat()), Outcome::NeedMore);
            if outcome != Outcome::NeedMore {
                prop_assert_eq!(parse(&[&bytes[..], b"more"].concat()), outcome);
            }
            parse(&rest);
        }
    }
}
