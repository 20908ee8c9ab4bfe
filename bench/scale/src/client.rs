//! A client that keeps its connection, as browsers and libraries do, or comes anew each time.
//!
//! When a kept connection has been closed before a byte of the answer came, the request is sent once more over a new one
//! (RFC 9110 §9.2.2 allows that for GET, RFC 9112 §9.3.1 expects it), and counted. Anything else that is no answer is an
//! error.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::estate::TURN;

/// The longest that a connection or an answer is waited for.
const LIMIT: Duration = Duration::from_secs(20);
/// Room for an answer; longer ones are not asked for.
const ROOM: usize = 8 * 1024;

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Which configuration it says it is of.
    pub(crate) turn: Option<usize>,
}

/// A client of one address.
pub(crate) struct Client {
    to: SocketAddr,
    keeps: bool,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// Requests that were sent once more.
    pub(crate) resent: u64,
}

impl Client {
    /// Keeps its connection, and connects with its first request.
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self { to, keeps: true, stream: None, buffer: vec![0; ROOM], resent: 0 }
    }

    /// Connects for every request, as somebody who comes for the first time: a process that has been told to end may go on
    /// with its connections as it was.
    pub(crate) fn strangers(to: SocketAddr) -> Self {
        Self { keeps: false, ..Self::new(to) }
    }

    /// Asks and waits for the whole answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        if let Some(mut stream) = self.stream.take() {
            match exchange(&mut stream, &mut self.buffer, request) {
                Err(Broken::BeforeAnswer(_)) => self.resent += 1,
                Err(Broken::Wrong(error)) => return Err(error),
                Ok((answer, kept)) => {
                    self.stream = Some(stream).filter(|_| kept && self.keeps);
                    return Ok(answer);
                }
            }
        }
        let mut stream = TcpStream::connect(self.to).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        match exchange(&mut stream, &mut self.buffer, request) {
            Err(Broken::BeforeAnswer(error) | Broken::Wrong(error)) => Err(error),
            Ok((answer, kept)) => {
                self.stream = Some(stream).filter(|_| kept && self.keeps);
                Ok(answer)
            }
        }
    }
}

/// One request over a connection of any kind, and its answer.
pub(crate) fn ask_once(stream: &mut (impl Read + Write), request: &[u8]) -> Result<Answer> {
    match exchange(stream, &mut vec![0; ROOM], request) {
        Ok((answer, _)) => Ok(answer),
        Err(Broken::BeforeAnswer(error) | Broken::Wrong(error)) => Err(error),
    }
}

/// The answer, and whether the connection stays.
fn exchange(
    stream: &mut (impl Read + Write),
    buffer: &mut [u8],
    request: &[u8],
) -> Result<(Answer, bool), Broken> {
    stream.write_all(request).map_err(|error| Broken::BeforeAnswer(error.into()))?;
    let mut filled = 0;
    loop {
        let read = match stream.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Err(Broken::BeforeAnswer(anyhow!("closed without an answer"))),
            Ok(0) => return Err(Broken::Wrong(anyhow!("closed within an answer"))),
            Ok(read) => read,
            Err(error) if filled == 0 && error.kind() == ErrorKind::ConnectionReset => {
                return Err(Broken::BeforeAnswer(error.into()));
            }
            Err(error) => return Err(Broken::Wrong(error.into())),
        };
        filled += read;
        match read_answer(&buffer[..filled]).map_err(Broken::Wrong)? {
            Some(found) => return Ok(found),
            None if filled == buffer.len() => return Err(Broken::Wrong(anyhow!("an answer is too long"))),
            None => {}
        }
    }
}

/// How an exchange ended otherwise.
enum Broken {
    /// As if the request had never been sent.
    BeforeAnswer(anyhow::Error),
    /// Nothing that a client sends again.
    Wrong(anyhow::Error),
}

/// An answer and whether the connection stays; nothing while bytes are missing.
fn read_answer(bytes: &[u8]) -> Result<Option<(Answer, bool)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("http/1.1 ")?.get(..3)?.parse().ok());
    let Some(status) = status else { bail!("no answer of HTTP/1.1: {head}") };
    let field = |name: &str| {
        let line = head.lines().find(|line| line.split(':').next() == Some(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = field("content-length").context("an answer without a length")?.parse()?;
    let whole = end + 4 + length;
    ensure!(bytes.len() <= whole, "bytes behind an answer: {}", String::from_utf8_lossy(bytes));
    let turn = field(TURN).and_then(|turn| turn.parse().ok());
    let kept = field("connection").is_none_or(|value| value != "close");
    Ok((bytes.len() == whole).then_some((Answer { status, turn }, kept)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn answers_are_read_to_their_end() {
        let ok = b"HTTP/1.1 200 OK\r\nX-Turn: 7\r\ncontent-length: 2\r\n\r\nab";
        let found = read_answer(ok).unwrap();
        assert_eq!(found, Some((Answer { status: 200, turn: Some(7) }, true)));
        assert_eq!(read_answer(&ok[..ok.len() - 1]).unwrap(), None);
        let last = b"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(read_answer(last).unwrap(), Some((Answer { status: 404, turn: None }, false)));
        assert!(read_answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_is_sent_again_only_over_a_connection_that_was_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Client::new(listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            for answers in [1, 1, 0] {
                let (mut stream, _) = listener.accept().unwrap();
                for _ in 0..answers {
                    let _ = stream.read(&mut [0; 512]).unwrap();
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                }
            }
        });
        assert!(client.ask(b"GET / HTTP/1.1\r\n\r\n").is_ok());
        assert!(client.ask(b"GET / HTTP/1.1\r\n\r\n").is_ok());
        assert_eq!(client.resent, 1);
        client.stream = None;
        assert!(client.ask(b"GET / HTTP/1.1\r\n\r\n").is_err());
        server.join().unwrap();
    }
}
