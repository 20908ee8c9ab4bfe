//! WebSocket messages over upgraded connections: each is answered before the next is sent.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};

use super::{client, measured};
use crate::backend::{WEBSOCKET_IN, WEBSOCKET_OUT};
use crate::figures::Figures;
use crate::site::HOST;
use crate::subject::{Port, Subject};

/// Connections.
const CLIENTS: usize = 32;
/// RFC 6455's own example, whose answer the backend knows.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Bytes of the mask, which are zero: nobody looks.
const MASK: usize = 4;

/// So many messages, there and back, over connections that are upgraded before.
pub(super) fn run(subject: &Subject, count: u64) -> Result<Figures> {
    let mut streams: Vec<TcpStream> =
        (0..CLIENTS).map(|_| upgraded(subject)).collect::<Result<_>>().context("an upgrade")?;
    let text = WEBSOCKET_IN - 2 - MASK;
    // A final binary frame; the mask's bit stands before the length.
    let mut message = vec![0x82, 0x80 | text as u8];
    message.resize(2 + MASK, 0);
    message.resize(WEBSOCKET_IN, b'x');
    let turns = count.div_ceil(CLIENTS as u64);
    let work = || {
        let mut answer = [0; WEBSOCKET_OUT];
        for _ in 0..turns {
            for stream in &mut streams {
                stream.write_all(&message).context("sending a message")?;
            }
            for stream in &mut streams {
                stream.read_exact(&mut answer).context("reading a message")?;
                ensure!(answer[..2] == [0x82, text as u8], "not the answer: {answer:?}");
            }
        }
        Ok(())
    };
    Ok(measured(subject, (turns * CLIENTS as u64) as f64, work)?.0)
}

fn upgraded(subject: &Subject) -> Result<TcpStream> {
    let mut stream = client::connect(subject.address(Port::Plain))?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nhost: {HOST}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    // Byte by byte, so that nothing behind the head is taken.
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(stream.read(&mut byte)? == 1, "the connection ended");
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    ensure!(head.starts_with("HTTP/1.1 101"), "not upgraded: {head}");
    Ok(stream)
}
