//! The server side of WebSocket (RFC 6455), as far as an echo needs it.

use std::io;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Longest frame echoed, in bytes; a longer one ends the connection.
const MAX_FRAME: u64 = 64 * 1024;

const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// `Sec-WebSocket-Accept` for a client's key (§4.2.2).
pub(super) fn accept(key: &[u8]) -> String {
    let salted = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &salted))
}

/// Sends every frame back until the client closes. Dropping it ends the connection.
pub(super) async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await?;
        let len = match head[1] & 0x7f {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            short => u64::from(short),
        };
        // A client must mask (§5.1).
        if len > MAX_FRAME || head[1] & 0x80 == 0 {
            return Err(io::Error::other("frame too long or not masked"));
        }
        let mut mask = [0; 4];
        stream.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        stream.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        let opcode = head[0] & 0x0f;
        let first = if opcode == PING { head[0] & 0xf0 | PONG } else { head[0] };
        stream.write_all(&frame(first, &payload)).await?;
        if opcode == CLOSE {
            return stream.shutdown().await;
        }
    }
}

/// An unmasked frame (§5.2).
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(len @ 0..=125) => frame.push(len.to_le_bytes()[0]),
        Ok(len) => {
            frame.push(126);
            frame.extend(len.to_be_bytes());
        }
        Err(_) => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_is_answered() {
        // RFC 6455 §1.3.
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn lengths_are_written_in_three_forms() {
        assert_eq!(frame(0x81, b"hi"), [0x81, 2, b'h', b'i']);
        assert_eq!(frame(0x82, &[0; 300])[..4], [0x82, 126, 1, 44]);
        assert_eq!(frame(0x82, &vec![0; 65536])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn frames_come_back_until_close() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1024);
            // "Hello", masked: RFC 6455 §5.7. Then an empty close.
            let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
            client.write_all(&hello).await.expect("write");
            client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.expect("write");
            echo(server).await.expect("echo");
            let mut back = Vec::new();
            client.read_to_end(&mut back).await.expect("read");
            assert_eq!(back, b"\x81\x05Hello\x88\x00");
        });
    }
}
