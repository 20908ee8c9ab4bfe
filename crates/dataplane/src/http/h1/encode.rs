//! Writing HTTP/1 message heads and chunks.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use portcullis_snapshot::headers::Headers;

use super::head::Framing;
use super::io::Writer;

/// Appends a request head; framing fields are written from `framing`.
pub(crate) fn request(out: &mut BytesMut, method: &[u8], target: &[u8], authority: &[u8], headers: &Headers) {
    out.reserve(method.len() + target.len() + authority.len() + headers.text_len() + 32);
    out.put_slice(method);
    out.put_u8(b' ');
    out.put_slice(target);
    out.put_slice(b" HTTP/1.1\r\n");
    line(out, headers, b"host", authority);
    lines(out, headers);
}

/// Appends a status line and headers.
pub(crate) fn response(out: &mut BytesMut, status: u16, headers: &Headers) {
    out.reserve(headers.text_len() + 64);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(itoa::Buffer::new().format(status).as_bytes());
    out.put_u8(b' ');
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    out.put_slice(reason.unwrap_or("Unknown").as_bytes());
    out.put_slice(b"\r\n");
    lines(out, headers);
}

/// Appends the framing fields a body needs, to a head that has `headers`.
pub(crate) fn framing(out: &mut BytesMut, headers: &Headers, framing: Framing) {
    match framing {
        Framing::Empty | Framing::UntilClose => {}
        Framing::Length(length) => {
            line(out, headers, b"content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        Framing::Chunked => line(out, headers, b"transfer-encoding", b"chunked"),
    }
}

/// Appends a field of the connection's own, its name written as `headers` spell it.
pub(crate) fn line(out: &mut BytesMut, headers: &Headers, name: &[u8], value: &[u8]) {
    out.put_slice(headers.spelled(name));
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Ends a head.
pub(crate) fn end(out: &mut BytesMut) {
    out.put_slice(b"\r\n");
}

fn lines(out: &mut BytesMut, headers: &Headers) {
    headers.lines(|piece| out.put_slice(piece));
}

/// Writes a body in the framing its head announced.
pub(crate) struct BodyWriter {
    framing: Framing,
    /// Bytes still owed under [`Framing::Length`].
    owed: u64,
    /// Whether the last chunk has been written.
    ended: bool,
    /// Whether the head promised to keep the connection open.
    keep_alive: bool,
}

impl BodyWriter {
    pub(crate) fn new(framing: Framing, keep_alive: bool) -> Self {
        let owed = if let Framing::Length(length) = framing { length } else { 0 };
        Self { framing, owed, ended: false, keep_alive }
    }

    /// Whether every byte announced has been written; only then may the connection be used again.
    pub(crate) fn is_complete(&self) -> bool {
        match self.framing {
            Framing::Empty => true,
            Framing::Length(_) => self.owed == 0,
            Framing::Chunked => self.ended,
            Framing::UntilClose => false,
        }
    }

    /// Whether the head promised to keep the connection open.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// Takes a piece of content.
    ///
    /// # Errors
    /// `InvalidData` when more comes than was announced.
    pub(crate) fn data(&mut self, writer: &mut Writer, bytes: Bytes) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match self.framing {
            // A body where none may be (HEAD, 204, 304): nothing of it may reach the wire.
            Framing::Empty => {}
            Framing::UntilClose => writer.put(bytes),
            Framing::Length(_) => {
                self.owed = self.owed.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
                writer.put(bytes);
            }
            Framing::Chunked => {
                let out = writer.buffer();
                put_hex(out, bytes.len());
                out.put_slice(b"\r\n");
                writer.put(bytes);
                writer.buffer().put_slice(b"\r\n");
            }
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// `InvalidData` when less came than was announced.
    pub(crate) fn finish(&mut self, writer: &mut Writer, trailers: Option<&Headers>) -> io::Result<()> {
        match self.framing {
            Framing::Length(_) if self.owed > 0 => Err(io::ErrorKind::InvalidData.into()),
            Framing::Chunked => {
                self.ended = true;
                let out = writer.buffer();
                out.put_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    lines(out, trailers);
                }
                end(out);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn put_hex(out: &mut BytesMut, value: usize) {
    let digits = (usize::BITS - value.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.put_u8(b"0123456789abcdef"[(value >> (place * 4)) & 15]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex() {
        for value in [0, 1, 15, 16, 255, 4096, 65_535, 1 << 40] {
            let mut out = BytesMut::new();
            put_hex(&mut out, value);
            assert_eq!(out, format!("{value:x}"));
        }
    }
}
