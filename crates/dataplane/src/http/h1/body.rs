//! Reading HTTP/1 message bodies (RFC 9112 §6, §7).
//!
//! ```text
//!             ┌── Length(n) ── n bytes ──────────────────────────────┐
//!   framing ──┼── Chunked: Size → Data(n) → DataEnd → Size … → Trailers ─┼──► Done
//!             └── UntilClose ── end of stream ───────────────────────┘
//! ```

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use portcullis_snapshot::headers::Headers;

use super::head::{Framing, is_token, is_value_byte};
use super::io::Reader;

/// Most bytes in a chunk-size line, extensions included; these are dropped, not forwarded.
const MAX_CHUNK_LINE: usize = 256;
/// Most hex digits of a chunk size.
const MAX_CHUNK_DIGITS: usize = 16;
/// Most bytes of a trailer section.
const MAX_TRAILERS: usize = 16 * 1024;
/// Longest piece handed on at once.
const MAX_PIECE: usize = 64 * 1024;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The peer broke the chunked grammar.
    #[error("http1.codec_error")]
    Malformed,
    /// The peer went away in the middle.
    #[error("connection termination")]
    Truncated,
    /// The connection failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// A body in gRPC-Web's text form is no base64.
    #[error("grpc_base_64_decode_failed")]
    NotBase64,
    /// The HTTP/2 stream or connection failed.
    #[error("stream failed: {0}")]
    Http2(#[from] h2::Error),
}

/// A piece of a body.
#[derive(Debug)]
pub(crate) enum Frame {
    /// Content.
    Data(Bytes),
    /// The end, with trailer fields.
    Trailers(Headers),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    UntilClose,
    Done,
}

/// Decodes one body; the bytes come from a [`Reader`].
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Whether the body has been read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The next piece; `None` at the end. Bytes behind the body stay in the reader.
    pub(crate) fn poll_frame(
        &mut self,
        reader: &mut Reader,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BodyError>>> {
        loop {
            match self.take(&mut reader.buffer) {
                Ok(Taken::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Taken::End) => return Poll::Ready(None),
                Ok(Taken::NeedMore) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match ready!(reader.poll_fill_content(cx)) {
                Ok(0) if self.state == State::UntilClose => {
                    self.state = State::Done;
                    return Poll::Ready(None);
                }
                Ok(0) => return Poll::Ready(Some(Err(BodyError::Truncated))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// Takes what `buffer` holds of the body.
    fn take(&mut self, buffer: &mut BytesMut) -> Result<Taken, BodyError> {
        loop {
            match self.state {
                State::Done => return Ok(Taken::End),
                _ if buffer.is_empty() => return Ok(Taken::NeedMore),
                State::Length(left) => {
                    let piece = take_piece(buffer, left);
                    let left = left - piece.len() as u64;
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Taken::Frame(Frame::Data(piece)));
                }
                State::UntilClose => return Ok(Taken::Frame(Frame::Data(take_piece(buffer, u64::MAX)))),
                State::Data(left) => {
                    let piece = take_piece(buffer, left);
                    let left = left - piece.len() as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Taken::Frame(Frame::Data(piece)));
                }
                State::DataEnd => {
                    if buffer[0] != b'\r' || buffer.get(1).is_some_and(|&byte| byte != b'\n') {
                        return Err(BodyError::Malformed);
                    }
                    if buffer.len() < 2 {
                        return Ok(Taken::NeedMore);
                    }
                    buffer.advance(2);
                    self.state = State::Size;
                }
                State::Size => {
                    let Some(line) = take_line(buffer, MAX_CHUNK_LINE)? else { return Ok(Taken::NeedMore) };
                    self.state = match chunk_size(&line)? {
                        0 => State::Trailers,
                        size => State::Data(size),
                    };
                }
                State::Trailers => {
                    let Some(trailers) = take_trailers(buffer)? else { return Ok(Taken::NeedMore) };
                    self.state = State::Done;
                    if !trailers.is_empty() {
                        return Ok(Taken::Frame(Frame::Trailers(trailers)));
                    }
                }
            }
        }
    }
}

#[cfg(fuzzing)]
impl Decoder {
    /// Content and bytes left over when `bytes` come in pieces of `step`; `None` when refused or cut off.
    pub(crate) fn read_all(mut self, bytes: &[u8], step: usize) -> Option<(Vec<u8>, usize)> {
        let (mut content, mut buffer) = (Vec::new(), BytesMut::new());
        let mut pieces = bytes.chunks(step);
        loop {
            match self.take(&mut buffer).ok()? {
                Taken::Frame(Frame::Data(data)) => content.extend_from_slice(&data),
                Taken::Frame(Frame::Trailers(_)) => {}
                Taken::End => return Some((content, buffer.len() + pieces.map(<[u8]>::len).sum::<usize>())),
                Taken::NeedMore => buffer.extend_from_slice(pieces.next()?),
            }
        }
    }
}

enum Taken {
    Frame(Frame),
    NeedMore,
    End,
}

fn take_piece(buffer: &mut BytesMut, left: u64) -> Bytes {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len()).min(MAX_PIECE);
    buffer.split_to(length).freeze()
}

/// A line without its CRLF, once it is complete.
fn take_line(buffer: &mut BytesMut, max: usize) -> Result<Option<BytesMut>, BodyError> {
    match memchr::memchr(b'\n', buffer) {
        Some(newline) if newline <= max && newline > 0 && buffer[newline - 1] == b'\r' => {
            let mut line = buffer.split_to(newline + 1);
            line.truncate(newline - 1);
            Ok(Some(line))
        }
        Some(_) => Err(BodyError::Malformed),
        None if buffer.len() > max => Err(BodyError::Malformed),
        None => Ok(None),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, BodyError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    if digits == 0 || digits > MAX_CHUNK_DIGITS {
        return Err(BodyError::Malformed);
    }
    // Only `;` may follow the size, directly: blanks before it have been read two ways before.
    if !extension.is_empty() && (extension[0] != b';' || !extension.iter().all(|&byte| is_value_byte(byte))) {
        return Err(BodyError::Malformed);
    }
    let size = std::str::from_utf8(size).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    size.filter(|&size| size <= u64::MAX / 2).ok_or(BodyError::Malformed)
}

/// The trailer section, once its empty line is there.
fn take_trailers(buffer: &mut BytesMut) -> Result<Option<Headers>, BodyError> {
    let mut lines = Vec::new();
    let mut start = 0;
    loop {
        let Some(length) = memchr::memchr(b'\n', &buffer[start..]) else {
            return if buffer.len() > MAX_TRAILERS { Err(BodyError::Malformed) } else { Ok(None) };
        };
        let end = start + length;
        if length == 0 || buffer[end - 1] != b'\r' || end > MAX_TRAILERS {
            return Err(BodyError::Malformed);
        }
        if length == 1 {
            break;
        }
        lines.push(start..end - 1);
        start = end + 1;
    }
    let section = buffer.split_to(start + 2).freeze();
    let mut trailers = Headers::with_capacity(lines.len());
    for line in lines {
        let (name, value) = trailer_line(&section[line.clone()])?;
        trailers.append(name.to_ascii_lowercase(), section.slice_ref(value));
    }
    Ok(Some(trailers))
}

fn trailer_line(line: &[u8]) -> Result<(&[u8], &[u8]), BodyError> {
    let colon = memchr::memchr(b':', line).ok_or(BodyError::Malformed)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let valid = !name.is_empty()
        && name.iter().all(|&byte| is_token(byte))
        && value.iter().all(|&byte| is_value_byte(byte));
    if valid { Ok((name, value)) } else { Err(BodyError::Malformed) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `bytes` in pieces of `step`; gives content, trailers and what is left over.
    fn decode(bytes: &[u8], step: usize, framing: Framing) -> Result<(Vec<u8>, Headers, usize), BodyError> {
        let mut decoder = Decoder::new(framing);
        let (mut content, mut trailers) = (Vec::new(), Headers::default());
        let mut buffer = BytesMut::new();
        let mut pieces = bytes.chunks(step.max(1));
        loop {
            match decoder.take(&mut buffer)? {
                Taken::Frame(Frame::Data(data)) => content.extend_from_slice(&data),
                Taken::Frame(Frame::Trailers(found)) => trailers = found,
                Taken::End => {
                    return Ok((content, trailers, buffer.len() + pieces.map(<[u8]>::len).sum::<usize>()));
                }
                Taken::NeedMore => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return Err(BodyError::Truncated),
                },
            }
        }
    }

    #[test]
    fn chunks_and_trailers_in_any_fragmentation() {
        let wire = b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\nGET";
        for step in 1..wire.len() {
            let (content, trailers, left) = decode(wire, step, Framing::Chunked).expect("decodes");
            assert_eq!((content.as_slice(), left), (&b"abcde"[..], 3), "step {step}");
            assert_eq!(trailers.first_str("x-t"), Some("1"));
        }
    }

    #[test]
    fn lengths() {
        let (content, _, left) = decode(b"abcdeGET", 2, Framing::Length(5)).expect("decodes");
        assert_eq!((content.as_slice(), left), (&b"abcde"[..], 3));
        assert!(matches!(decode(b"abc", 1, Framing::Length(5)), Err(BodyError::Truncated)));
    }

    #[test]
    fn bad_chunks_are_refused() {
        for wire in [
            "0x3\r\nabc\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "-3\r\nabc\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "3 \r\nabc\r\n0\r\n\r\n",
            "3 ;a\r\nabc\r\n0\r\n\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabc\r0\r\n\r\n",
            "\r\nabc\r\n0\r\n\r\n",
            "g\r\n",
            "3;a\rb\r\nabc\r\n0\r\n\r\n",
            "10000000000000000\r\n",
            "ffffffffffffffff\r\n",
            "00000000000000003\r\nabc\r\n0\r\n\r\n",
            "0\r\nbad trailer\r\n\r\n",
            "0\r\nx: a\n\r\n",
            "0\r\n x: folded\r\n\r\n",
        ] {
            assert!(
                matches!(decode(wire.as_bytes(), 1, Framing::Chunked), Err(BodyError::Malformed)),
                "{wire:?}"
            );
        }
        let endless = format!("3;{}", "a".repeat(MAX_CHUNK_LINE));
        assert!(matches!(decode(endless.as_bytes(), 7, Framing::Chunked), Err(BodyError::Malformed)));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..20) {
            let _ = decode(&bytes, step, Framing::Chunked);
        }

        #[test]
        fn what_is_written_is_read(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8), step in 1usize..40) {
            let mut wire = Vec::new();
            for piece in &pieces {
                wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                wire.extend_from_slice(piece);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let (content, _, left) = decode(&wire, step, Framing::Chunked).expect("decodes");
            prop_assert_eq!(content, pieces.concat());
            prop_assert_eq!(left, 0);
        }
    }
}
