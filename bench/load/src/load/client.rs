//! The least of an HTTP/1.1 client: a request, and a response that must be a success of known length.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::site::HOST;

/// Room for a response; longer ones are not asked for.
const RESPONSE: usize = 8 * 1024;
/// The longest that a connection or an answer is waited for.
const LIMIT: Duration = Duration::from_secs(20);

/// One small request over a connection of its own.
pub(crate) fn get(from: SocketAddr) -> Result<()> {
    let request = format!("GET /small HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    exchange(&mut connect(from)?, request.as_bytes())
}

/// Connects from any address of this machine.
pub(super) fn connect(to: SocketAddr) -> Result<TcpStream> {
    ready(TcpStream::connect(to).context("connecting")?)
}

/// Connects from 127.0.0.`last`: the ports of one address are not enough for everybody.
pub(super) fn connect_from(last: u8, to: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).context("a socket")?;
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    socket.bind(&from.into()).with_context(|| format!("binding {from}"))?;
    socket.connect(&to.into()).context("connecting")?;
    ready(socket.into())
}

fn ready(stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Sends a request and reads its response, of which nothing may be left or too much.
pub(super) fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> Result<()> {
    stream.write_all(request).context("sending a request")?;
    let mut buffer = [0; RESPONSE];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).context("reading a response")?;
        ensure!(read > 0, "the connection ended within a response: {}", shown(&buffer[..filled]));
        filled += read;
        match rest(&buffer[..filled])? {
            Some(0) => return Ok(()),
            _ if filled == buffer.len() => bail!("a response is too long: {}", shown(&buffer[..filled])),
            _ => {}
        }
    }
}

/// Bytes still to come; nothing while the head is not complete.
fn rest(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 200"), "not a success: {head}");
    let line = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize =
        line.with_context(|| format!("no length: {head}"))?.trim().parse().context("a length")?;
    let whole = end + 4 + length;
    ensure!(bytes.len() <= whole, "bytes behind a response: {}", shown(bytes));
    Ok(Some(whole - bytes.len()))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_read_to_their_end() {
        assert_eq!(rest(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap(), None);
        assert_eq!(rest(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na").unwrap(), Some(2));
        assert_eq!(rest(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").unwrap(), Some(0));
        assert!(rest(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(rest(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nx").is_err());
    }
}
