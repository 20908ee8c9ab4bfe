//! The few PostgreSQL messages that a gateway writes or recognises itself.
//!
//! Towards a client that cannot be served: [`ErrorResponse`], so that it shows a sentence instead of a lost
//! connection. Towards a server: [`SSL_REQUEST`], and [`ssl_answer`] for what comes back. Everything else of the
//! protocol passes through unread. (PostgreSQL documentation, "Message Formats" and "Error and Notice Message Fields".)

use std::fmt;

/// Asks the other side whether it speaks TLS; the answer is one byte.
pub const SSL_REQUEST: [u8; 8] = [0x00, 0x00, 0x00, 0x08, 0x04, 0xd2, 0x16, 0x2f];

/// The answer to SSLRequest: TLS may begin.
pub const SSL_ACCEPTED: u8 = b'S';

/// The answer to SSLRequest and to GSSENCRequest: no encryption; the client may go on in clear.
pub const ENCRYPTION_REFUSED: u8 = b'N';

/// An error that ends the session, severity FATAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorResponse<'a> {
    /// The kind of error, for programs.
    pub code: SqlState,
    /// What went wrong, on one line.
    pub message: &'a str,
    /// More about it; clients show it below.
    pub detail: Option<&'a str>,
    /// What the user can do.
    pub hint: Option<&'a str>,
}

impl ErrorResponse<'_> {
    /// The message's bytes. Each text is cut to [`MAX_TEXT_LEN`], and ends at a zero byte if it holds one.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        // V is the severity that is never translated, since PostgreSQL 9.6.
        field(&mut fields, b'S', "FATAL");
        field(&mut fields, b'V', "FATAL");
        field(&mut fields, b'C', self.code.as_str());
        field(&mut fields, b'M', self.message);
        for (kind, text) in [(b'D', self.detail), (b'H', self.hint)] {
            if let Some(text) = text {
                field(&mut fields, kind, text);
            }
        }
        fields.push(0);

        let len = u32::try_from(LENGTH_LEN + fields.len()).expect("six texts of at most MAX_TEXT_LEN");
        let mut message = Vec::with_capacity(1 + LENGTH_LEN + fields.len());
        message.push(ERROR_RESPONSE);
        message.extend_from_slice(&len.to_be_bytes());
        message.append(&mut fields);
        message
    }
}

/// Appends one field: its kind, its text, a zero.
fn field(fields: &mut Vec<u8>, kind: u8, text: &str) {
    let text = text.split('\0').next().unwrap_or_default();
    fields.push(kind);
    fields.extend_from_slice(cut(text).as_bytes());
    fields.push(0);
}

/// As much of a text as may be sent, in whole characters.
fn cut(text: &str) -> &str {
    let mut ends = (0..=MAX_TEXT_LEN.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

/// An SQLSTATE, as far as a gateway has reason to send one (PostgreSQL documentation, appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlState {
    /// 08P01: the client does something that the protocol, or this port, does not allow.
    ProtocolViolation,
    /// 08001: no connection to the server could be made.
    UnableToConnect,
    /// 08006: the connection to the server failed.
    ConnectionFailure,
    /// 28000: the client may not come in.
    InvalidAuthorization,
    /// 53300: a limit on connections is reached.
    TooManyConnections,
    /// 57P01: the gateway shuts down.
    AdminShutdown,
    /// 57P03: not now, but later.
    CannotConnectNow,
}

impl SqlState {
    /// The five characters that are sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProtocolViolation => "08P01",
            Self::UnableToConnect => "08001",
            Self::ConnectionFailure => "08006",
            Self::InvalidAuthorization => "28000",
            Self::TooManyConnections => "53300",
            Self::AdminShutdown => "57P01",
            Self::CannotConnectNow => "57P03",
        }
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a server said to SSLRequest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SslAnswer {
    /// Nothing yet.
    NeedMore,
    /// `S`, and nothing behind it: the ClientHello may be sent.
    Accepted,
    /// `N`: the server has TLS turned off.
    Refused,
    /// `S` or `N` with bytes behind it, though it is the client's turn (CVE-2021-23222): close.
    Stuffed,
    /// `E`: an error in place of an answer. With as much of its text as has arrived, for the log only:
    /// nobody has vouched for the server yet, so its words are not for the client (CVE-2024-10977).
    Error(Box<str>),
    /// Any other byte: not a PostgreSQL server.
    NotPostgres(u8),
}

/// Reads all that a server has sent since SSLRequest.
pub fn ssl_answer(received: &[u8]) -> SslAnswer {
    match received {
        [] => SslAnswer::NeedMore,
        [SSL_ACCEPTED] => SslAnswer::Accepted,
        [ENCRYPTION_REFUSED] => SslAnswer::Refused,
        [SSL_ACCEPTED | ENCRYPTION_REFUSED, ..] => SslAnswer::Stuffed,
        [ERROR_RESPONSE, rest @ ..] => SslAnswer::Error(error_text(rest)),
        [other, ..] => SslAnswer::NotPostgres(*other),
    }
}

/// The text of an error: field M of an ErrorResponse, or the plain text that servers before 7.4 sent.
///
/// Bounded by [`MAX_TEXT_LEN`]; bytes that are not UTF-8 are replaced, control characters escaped.
fn error_text(rest: &[u8]) -> Box<str> {
    let fields = rest.get(LENGTH_LEN..).unwrap_or_default();
    // A text begins with a letter; the length of any sensible message does not.
    let text = match rest.first() {
        Some(0) => fields.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"M")),
        _ => rest.split(|byte| *byte == 0).next(),
    };
    let text = text.unwrap_or_default();
    let text = String::from_utf8_lossy(&text[..text.len().min(MAX_TEXT_LEN)]);
    text.trim_end().chars().flat_map(escaped).collect::<String>().into()
}

/// Keeps what a line of a log can show as it is.
fn escaped(character: char) -> impl Iterator<Item = char> {
    let shown = (!character.is_control()).then_some(character);
    let hidden = shown.is_none().then(|| character.escape_default());
    shown.into_iter().chain(hidden.into_iter().flatten())
}

/// The longest text that is written into or read out of an error, in bytes.
pub const MAX_TEXT_LEN: usize = 1024;

const ERROR_RESPONSE: u8 = b'E';
const LENGTH_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_is_written_as_the_protocol_says() {
        let error = ErrorResponse {
            code: SqlState::ProtocolViolation,
            message: "TLS only",
            detail: None,
            hint: Some("sslmode=require"),
        };
        let expected = b"E\x00\x00\x00\x35SFATAL\0VFATAL\0C08P01\0MTLS only\0Hsslmode=require\0\0";
        assert_eq!(error.encode(), expected);
        assert_eq!(expected.len(), 1 + 0x35);
        let detailed = ErrorResponse { detail: Some("why"), hint: None, ..error };
        assert_eq!(detailed.encode(), b"E\x00\x00\x00\x29SFATAL\0VFATAL\0C08P01\0MTLS only\0Dwhy\0\0");
    }

    #[test]
    fn texts_cannot_break_out_of_their_field() {
        let long = "\u{e9}".repeat(MAX_TEXT_LEN);
        let error = ErrorResponse {
            code: SqlState::UnableToConnect,
            message: "a\0Mb",
            detail: Some(&long),
            hint: None,
        };
        let bytes = error.encode();
        let text = String::from_utf8(bytes[5..].to_vec()).unwrap();
        assert!(text.contains("\0Ma\0D\u{e9}"), "{text:?}");
        assert_eq!(text.matches('\u{e9}').count(), MAX_TEXT_LEN / 2);
    }

    #[test]
    fn answers_to_ssl_request() {
        let error = |text: &str| SslAnswer::Error(text.into());
        let sent =
            ErrorResponse { code: SqlState::TooManyConnections, message: "full", detail: None, hint: None };
        for (bytes, expected) in [
            (&b""[..], SslAnswer::NeedMore),
            (b"S", SslAnswer::Accepted),
            (b"N", SslAnswer::Refused),
            (b"S\x15\x03\x03", SslAnswer::Stuffed),
            (b"NR", SslAnswer::Stuffed),
            (b"E", error("")),
            (b"E\x00\x00", error("")),
            (&sent.encode(), error("full")),
            (b"EFATAL: unsupported\nprotocol\n\0", error("FATAL: unsupported\\nprotocol")),
            (b"Eesc\x1b[31m", error("esc\\u{1b}[31m")),
            (b"E\xff", error("\u{fffd}")),
            (b"HTTP/1.1 400", SslAnswer::NotPostgres(b'H')),
            (b"\x15\x03", SslAnswer::NotPostgres(0x15)),
        ] {
            assert_eq!(ssl_answer(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            ssl_answer(&bytes);
            ssl_answer(&[b"E", &bytes[..]].concat());
            ssl_answer(&[b"E\0\0\0\x20", &bytes[..]].concat());
        }

        #[test]
        fn an_error_is_read_as_it_was_written(message in "[ -~]{0,40}[!-~]", hint in "\\PC{0,40}") {
            let sent = ErrorResponse {
                code: SqlState::AdminShutdown,
                message: &message,
                detail: None,
                hint: Some(&hint),
            };
            let bytes = sent.encode();
            prop_assert_eq!(usize::try_from(u32::from_be_bytes(bytes[1..5].try_into().unwrap())).unwrap(), bytes.len() - 1);
            prop_assert_eq!(ssl_answer(&bytes), SslAnswer::Error(message.into()));
        }
    }
}
