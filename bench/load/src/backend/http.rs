//! HTTP/1.1 with keep-alive: `/small`, `/large`, uploads, and WebSockets that answer every message.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Bytes of a large answer's body.
const LARGE: usize = 64 * 1024;
/// Bytes of a small answer's body.
const SMALL: usize = 100;
/// Bytes read at once; a request's head is no longer.
const READ: usize = 64 * 1024;
/// What the key that [`crate::load::websocket`] sends is answered with (RFC 6455 §1.3 has the pair as its example).
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Bytes of a client's message of 100 bytes: head, mask, text (RFC 6455 §5.2).
pub(crate) const WEBSOCKET_IN: usize = 2 + 4 + SMALL;
/// Bytes of the answer, which has no mask.
pub(crate) const WEBSOCKET_OUT: usize = 2 + SMALL;

/// The answers, made once.
struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    upgrade: Vec<u8>,
    message: Vec<u8>,
}

/// Starts it on a free port.
pub(super) fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut message = vec![0x82, SMALL as u8];
    message.resize(WEBSOCKET_OUT, b'x');
    let upgrade = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n"
    );
    let (small, large) = (answer(SMALL), answer(LARGE));
    let answers = Arc::new(Answers { small, large, upgrade: upgrade.into_bytes(), message });
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            // A gateway that hangs up is none of the backend's business.
            thread::spawn(move || serve(stream, &answers));
        }
    });
    Ok(address)
}

fn answer(length: usize) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n")
            .into_bytes();
    answer.resize(answer.len() + length, b'x');
    answer
}

/// Answers every request of a connection.
fn serve(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; READ];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        // Nobody sends a request before the last one is answered, so most end where the bytes do.
        let end = if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled
        } else if let Some(end) = end_of_head(&buffer[..filled]) {
            end
        } else {
            continue;
        };
        let head = &buffer[..end];
        if has(head, b"\r\nupgrade: websocket\r\n") {
            stream.write_all(&answers.upgrade)?;
            return echo(stream, &mut buffer, answers);
        }
        let body = length(head).saturating_sub(filled - end);
        let large = head.starts_with(b"GET /large");
        skip(&mut stream, &mut buffer, body)?;
        stream.write_all(if large { &answers.large } else { &answers.small })?;
        filled = 0;
    }
}

/// Answers message by message. They are all alike, so only their length is looked at.
fn echo(mut stream: TcpStream, buffer: &mut [u8], answers: &Answers) -> io::Result<()> {
    loop {
        stream.read_exact(&mut buffer[..WEBSOCKET_IN])?;
        stream.write_all(&answers.message)?;
    }
}

fn skip(stream: &mut TcpStream, buffer: &mut [u8], mut left: usize) -> io::Result<()> {
    while left > 0 {
        let most = left.min(buffer.len());
        match stream.read(&mut buffer[..most])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left -= read,
        }
    }
    Ok(())
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The length of the body; 0 where there is none. Chunks are not understood: no peer changes an upload's framing.
fn length(head: &[u8]) -> usize {
    if head.starts_with(b"GET ") {
        return 0;
    }
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let line = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// Whether the head of a request for an upgrade holds this, in any case.
fn has(head: &[u8], part: &[u8]) -> bool {
    head.starts_with(b"GET /ws") && head.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}
