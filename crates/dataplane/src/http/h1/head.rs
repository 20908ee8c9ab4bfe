//! Strict parsing of HTTP/1 message heads (RFC 9112).
//!
//! Nothing is repaired: a line ends in CRLF, a name touches its colon, a header is one line. What
//! two parsers could read differently is refused here, so that no upstream ever has to decide.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use portcullis_snapshot::headers::{Headers, Place};

/// Longest head in bytes (Envoy's default: 60 KiB).
pub(crate) const MAX_HEAD: usize = 60 * 1024;
/// Most header lines (Envoy's default).
pub(crate) const MAX_HEADERS: usize = 100;

/// Room for the names and values that are added to a message on its way, in bytes.
const ADDED_TEXT: usize = 256;
/// Room for the fields of an ordinary message, those included.
const USUAL_FIELDS: usize = 24;

/// Why a head was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    /// Request line, status line or a header line breaks the grammar.
    #[error("http1.codec_error")]
    Malformed,
    /// A version this gateway does not speak: the request asks for HTTP/0.9, 1.2, 3.0, …
    #[error("low_version")]
    Version,
    /// More than [`MAX_HEAD`] bytes.
    #[error("http1.headers_too_large")]
    TooLarge,
    /// More than [`MAX_HEADERS`] lines.
    #[error("http1.too_many_headers")]
    TooMany,
    /// Content-Length is repeated, a list, signed, empty or too long.
    #[error("http1.invalid_content_length")]
    ContentLength,
    /// Content-Length and Transfer-Encoding together.
    #[error("http1.content_length_and_chunked_not_allowed")]
    ContentLengthAndChunked,
    /// Transfer-Encoding other than exactly `chunked`.
    #[error("http1.invalid_transfer_encoding")]
    TransferEncoding,
}

/// Version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// How a message body is delimited (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection closes (responses only).
    UntilClose,
}

/// A parsed request head.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Bytes,
    pub(crate) target: Bytes,
    pub(crate) version: Version,
    /// First value of `Host`.
    pub(crate) host: Option<Bytes>,
    /// First value of `User-Agent`.
    pub(crate) user_agent: Option<Bytes>,
    pub(crate) headers: Headers,
    pub(crate) framing: Framing,
    /// Bytes of the head on the wire.
    pub(crate) wire: usize,
}

/// A parsed response head.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) version: Version,
    pub(crate) headers: Headers,
}

/// Where the search for the end of a head has got to, so that no byte is looked at twice.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Scan {
    pub(super) looked_at: usize,
    pub(super) line_start: usize,
}

/// What ends a head: the end of its last line, and an empty one.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

impl Scan {
    /// The length of the head once its closing empty line is in `buffer`.
    ///
    /// # Errors
    /// A head beyond [`MAX_HEAD`]; a line that does not end in CRLF, while the head's end has not come.
    pub(crate) fn end(&mut self, buffer: &[u8]) -> Result<Option<usize>, HeadError> {
        // Most heads come whole. What is in them is the parser's business; only those that are not there yet are
        // looked at line by line, so that what cannot become a head is refused before its peer has sent the rest.
        let seam = self.looked_at.saturating_sub(END.needle().len() - 1);
        if let Some(offset) = END.find(&buffer[seam..]) {
            let end = seam + offset + END.needle().len();
            return check_length(end).map(|()| Some(end));
        }
        for offset in memchr::memchr_iter(b'\n', &buffer[self.looked_at..]) {
            let newline = self.looked_at + offset;
            if newline == self.line_start || buffer[newline - 1] != b'\r' {
                return Err(HeadError::Malformed);
            }
            self.line_start = newline + 1;
        }
        self.looked_at = buffer.len();
        check_length(buffer.len()).map(|()| None)
    }
}

pub(super) fn check_length(length: usize) -> Result<(), HeadError> {
    if length > MAX_HEAD { Err(HeadError::TooLarge) } else { Ok(()) }
}

/// Parses the request head in `head`, which ends with its empty line.
///
/// # Errors
/// See [`HeadError`].
pub(crate) fn request(head: BytesMut) -> Result<RequestHead, HeadError> {
    let wire = head.len();
    let line_end = line_end(&head, 0)?;
    let line = &head[..line_end];
    if !line.is_ascii() || line.iter().any(|byte| byte.is_ascii_control()) {
        return Err(HeadError::Malformed);
    }
    let method_end = memchr::memchr(b' ', line).unwrap_or(line.len());
    let method = method(&line[..method_end]).ok_or(HeadError::Malformed)?;
    let rest = line.get(method_end + 1..).ok_or(HeadError::Malformed)?;
    let (target_length, version) = match memchr::memchr(b' ', rest) {
        // A request line without version is HTTP/0.9.
        None => (rest.len(), Err(HeadError::Version)),
        Some(length) => (length, request_version(&rest[length + 1..])),
    };
    if target_length == 0 {
        return Err(HeadError::Malformed);
    }
    let version = version?;
    let target = method_end + 1..method_end + 1 + target_length;
    let headers = headers(&head[line_end + 2..])?;
    let framing = request_framing(&headers, version)?;
    let head = head.freeze();
    let shared = |name| {
        let place = headers.place(name)?;
        Some(head.slice(line_end + 2 + place.start..line_end + 2 + place.end))
    };
    let (host, user_agent) = (shared("host"), shared("user-agent"));
    let target = head.slice(target);
    Ok(RequestHead { method, target, version, host, user_agent, headers, framing, wire })
}

/// Parses the response head in `head`, which ends with its empty line. The framing is settled by
/// [`response_framing`], which must know the request.
///
/// # Errors
/// See [`HeadError`].
pub(crate) fn response(head: &[u8]) -> Result<ResponseHead, HeadError> {
    let line_end = line_end(head, 0)?;
    let line = &head[..line_end];
    let version = match line.get(..9) {
        Some(b"HTTP/1.1 ") => Version::Http11,
        Some(b"HTTP/1.0 ") => Version::Http10,
        _ => return Err(HeadError::Malformed),
    };
    // The reason phrase may be absent, with its space (RFC 9112 §4).
    let digits =
        line.get(9..12).filter(|digits| digits.iter().all(u8::is_ascii_digit)).ok_or(HeadError::Malformed)?;
    let reason = &line[12..];
    if reason.first().is_some_and(|&byte| byte != b' ') || !are_value_bytes(reason) {
        return Err(HeadError::Malformed);
    }
    let status = digits.iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if status < 100 {
        return Err(HeadError::Malformed);
    }
    let headers = headers(&head[line_end + 2..])?;
    Ok(ResponseHead { status, version, headers })
}

fn request_version(text: &[u8]) -> Result<Version, HeadError> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(HeadError::Version)
        }
        _ => Err(HeadError::Malformed),
    }
}

/// The methods Istio's gateway knows; any other is refused.
pub(crate) fn is_method(text: &[u8]) -> bool {
    method(text).is_some()
}

/// The method of this name, from the program's own memory.
fn method(text: &[u8]) -> Option<Bytes> {
    macro_rules! known {
        ($($name:literal)*) => {
            match text {
                $($name => Some(Bytes::from_static($name)),)*
                _ => None,
            }
        };
    }
    known!(
        b"GET" b"POST" b"PUT" b"DELETE" b"HEAD" b"OPTIONS" b"PATCH" b"CONNECT" b"TRACE" b"ACL"
        b"BIND" b"CHECKOUT" b"COPY" b"LINK" b"LOCK" b"MERGE" b"MKACTIVITY" b"MKCALENDAR" b"MKCOL"
        b"MOVE" b"MSEARCH" b"NOTIFY" b"PROPFIND" b"PROPPATCH" b"PURGE" b"REBIND" b"REPORT" b"SEARCH"
        b"SOURCE" b"SUBSCRIBE" b"UNBIND" b"UNLINK" b"UNLOCK" b"UNSUBSCRIBE"
    )
}

/// Where the line that begins at `start` ends, its CRLF left out. Only LF ends a line: CR before that
/// is part of it, and no rule allows it there.
fn line_end(head: &[u8], start: usize) -> Result<usize, HeadError> {
    let newline = memchr::memchr(b'\n', &head[start..]).ok_or(HeadError::Malformed)?;
    match newline.checked_sub(1) {
        Some(length) if head[start + length] == b'\r' => Ok(start + length),
        _ => Err(HeadError::Malformed),
    }
}

/// Parses header lines, the closing empty one included; names are put in lower case.
fn headers(lines: &[u8]) -> Result<Headers, HeadError> {
    // Everything is looked for in the list's own copy, which has room for what the gateway adds.
    let mut text = Vec::with_capacity(lines.len() + ADDED_TEXT);
    text.extend_from_slice(lines);
    let mut places = Vec::with_capacity(USUAL_FIELDS);
    let mut line_start = 0;
    // Only the last line is empty; CR at the start of another one is part of a (bad) name.
    while line_start + 2 < text.len() {
        if places.len() == MAX_HEADERS {
            return Err(HeadError::TooMany);
        }
        let colon = line_start + field_name(&mut text[line_start..])?;
        let line_end = line_end(&text, colon + 1)?;
        let value = &text[colon + 1..line_end];
        let leading = value.iter().take_while(|byte| is_blank(**byte)).count();
        let trailing = value[leading..].iter().rev().take_while(|byte| is_blank(**byte)).count();
        places.push(Place {
            name: (short(line_start)?, short(colon)?),
            value: (short(colon + 1 + leading)?, short(line_end - trailing)?),
        });
        line_start = line_end + 2;
    }
    // Looked for in all values at once: each line has two of them, at its end.
    if controls(lines) != 2 * (places.len() + 1) {
        return Err(HeadError::Malformed);
    }
    Ok(Headers::over(text, places))
}

/// A place in a head, which is no longer than [`MAX_HEAD`].
fn short(place: usize) -> Result<u32, HeadError> {
    u32::try_from(place).map_err(|_| HeadError::TooLarge)
}

/// The names in `head` that are not in lower case, as they are written: what parsing does not keep.
pub(crate) fn spellings(head: &[u8]) -> Vec<Bytes> {
    let lines = head.split(|&byte| byte == b'\n').skip(1).take(MAX_HEADERS);
    let names = lines.filter_map(|line| line.get(..memchr::memchr(b':', line)?));
    names.filter(|name| name.iter().any(u8::is_ascii_uppercase)).map(Bytes::copy_from_slice).collect()
}

/// Puts the name at the start of `line` in lower case, in one pass; gives its length, at which the colon is.
fn field_name(line: &mut [u8]) -> Result<usize, HeadError> {
    let mut length = 0;
    for byte in line.iter_mut() {
        let lower = TOKEN[usize::from(*byte)];
        if lower == 0 {
            break;
        }
        *byte = lower;
        length += 1;
    }
    if length > 0 && line.get(length) == Some(&b':') { Ok(length) } else { Err(HeadError::Malformed) }
}

/// For each byte of a token itself in lower case, for any other 0.
const TOKEN: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        if is_token(byte) {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `tchar` (RFC 9110 §5.6.2).
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// `field-vchar`, space or tab (RFC 9110 §5.5); no NUL, CR, LF or other control.
pub(crate) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// How many bytes may not stand in a value. In pieces whose count fits into a byte, so that many are looked at in one step.
fn controls(bytes: &[u8]) -> usize {
    let pieces = bytes.chunks(usize::from(u8::MAX));
    pieces
        .map(|piece| usize::from(piece.iter().fold(0, |count, &byte| count + u8::from(!is_value_byte(byte)))))
        .sum()
}

/// Whether all bytes may stand in a value. Without a way out in the middle, so that many are looked at in one step.
fn are_value_bytes(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |good, &byte| good & is_value_byte(byte))
}

fn request_framing(headers: &Headers, version: Version) -> Result<Framing, HeadError> {
    let length = content_length(headers)?;
    if length.is_some() && headers.contains("transfer-encoding") {
        return Err(HeadError::ContentLengthAndChunked);
    }
    match (transfer_encoding(headers)?, length) {
        // RFC 9112 §6.1: such a message is not to be trusted.
        (true, _) if version == Version::Http10 => Err(HeadError::Version),
        (true, _) => Ok(Framing::Chunked),
        (false, Some(0) | None) => Ok(Framing::Empty),
        (false, Some(length)) => Ok(Framing::Length(length)),
    }
}

/// How the body of a response ends, given the request's method (RFC 9112 §6.3).
///
/// # Errors
/// As for requests: what could be read two ways is refused.
pub(crate) fn response_framing(head: &ResponseHead, to_head: bool) -> Result<Framing, HeadError> {
    let chunked = transfer_encoding(&head.headers)?;
    let length = content_length(&head.headers)?;
    if chunked && length.is_some() {
        return Err(HeadError::ContentLengthAndChunked);
    }
    if to_head || head.status < 200 || matches!(head.status, 204 | 304) {
        return Ok(Framing::Empty);
    }
    Ok(match (chunked, length) {
        (true, _) if head.version == Version::Http10 => return Err(HeadError::TransferEncoding),
        (true, _) => Framing::Chunked,
        (false, Some(0)) => Framing::Empty,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}

fn transfer_encoding(headers: &Headers) -> Result<bool, HeadError> {
    let mut values = headers.all("transfer-encoding");
    match (values.next(), values.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value.eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(HeadError::TransferEncoding),
    }
}

/// The announced length; `None` without one.
///
/// # Errors
/// Several values, even equal ones, or one that is no plain number: two parsers could choose differently.
pub(crate) fn content_length(headers: &Headers) -> Result<Option<u64>, HeadError> {
    let mut values = headers.all("content-length");
    let Some(value) = values.next() else { return Ok(None) };
    // 18 digits cannot overflow; no body is longer than an exabyte.
    if values.next().is_some()
        || value.is_empty()
        || value.len() > 18
        || !value.iter().all(u8::is_ascii_digit)
    {
        return Err(HeadError::ContentLength);
    }
    Ok(Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests;
