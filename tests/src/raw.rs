//! A client that sends exactly the bytes it is told, and reads HTTP/1 answers without repairing them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long one read may wait; far more than any answer takes.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// One end of a connection, with what has been read and not yet looked at.
pub struct Raw<S = TcpStream> {
    /// The connection itself.
    pub stream: S,
    buffer: Vec<u8>,
}

/// A message as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The request line or the status line.
    pub line: String,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The content, without its framing.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
    /// Whether the connection ended before the message did.
    pub truncated: bool,
}

/// A response with the informational ones before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The final status.
    pub status: u16,
    /// Statuses of the informational responses before it.
    pub informational: Vec<u16>,
    /// The final response.
    pub message: Message,
}

impl Raw<TcpStream> {
    /// Opens a connection.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).expect("a listening peer"))
    }

    /// Takes over a connection.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(READ_LIMIT)).expect("a timeout");
        stream.set_write_timeout(Some(READ_LIMIT)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Self::over(stream)
    }

    /// Takes over a connection that a client may keep open for as long as it likes.
    pub fn on_server(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option");
        Self::over(stream)
    }

    /// Ends the sending direction.
    pub fn finish_sending(&self) {
        // The peer may have gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

impl<S: Read + Write> Raw<S> {
    /// Speaks over any stream.
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes; that the peer no longer takes them is for the test to see in its answer.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Sends a GET and reads its answer.
    pub fn get(&mut self, path: &str, host: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        self.answer()
    }

    /// The next answer.
    ///
    /// # Panics
    /// When the connection ends before its head is complete.
    pub fn answer(&mut self) -> Answer {
        self.try_answer(false).expect("an answer before the end of the connection")
    }

    /// The next answer, which is one to HEAD.
    ///
    /// # Panics
    /// When the connection ends before its head is complete.
    pub fn answer_to_head(&mut self) -> Answer {
        self.try_answer(true).expect("an answer before the end of the connection")
    }

    /// The next answer, none when the connection ends instead.
    pub fn answer_or_end(&mut self) -> Option<Answer> {
        self.try_answer(false)
    }

    fn try_answer(&mut self, to_head: bool) -> Option<Answer> {
        let mut informational = Vec::new();
        loop {
            let mut message = self.head()?;
            let status = message.line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
            if (100..200).contains(&status) && status != 101 {
                informational.push(status);
                continue;
            }
            if !to_head && !matches!(status, 101 | 204 | 304) {
                self.body(&mut message, true);
            }
            return Some(Answer { status, informational, message });
        }
    }

    /// The next request, body included, none when the connection ends instead.
    pub fn request(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        self.body(&mut message, false);
        Some(message)
    }

    /// The head of the next message; its body is left unread.
    pub fn head(&mut self) -> Option<Message> {
        let end = self.fill_until(|buffer| find(buffer, b"\r\n\r\n"))?;
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        Some(Message { line, headers: lines.map(field).collect(), ..Message::default() })
    }

    /// Reads the body of `message`; one without framing ends with the connection if it is a response.
    pub fn body(&mut self, message: &mut Message, response: bool) {
        if message.header("transfer-encoding").is_some() {
            self.chunks(message);
        } else if let Some(length) = message.header("content-length") {
            let length = length.parse().expect("a length");
            message.body = self.exactly(length);
            message.truncated = message.body.len() < length;
        } else if response {
            message.body = self.rest();
        }
    }

    fn chunks(&mut self, message: &mut Message) {
        loop {
            let Some(end) = self.fill_until(|buffer| find(buffer, b"\r\n")) else {
                message.truncated = true;
                return;
            };
            let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
            let size = size.unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
            self.buffer.drain(..end + 2);
            if size == 0 {
                break;
            }
            let chunk = self.exactly(size);
            message.truncated = chunk.len() < size;
            message.body.extend(chunk);
            if self.exactly(2) != b"\r\n" {
                message.truncated = true;
                return;
            }
        }
        while let Some(end) = self.fill_until(|buffer| find(buffer, b"\r\n")) {
            let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..end + 2);
            if line.is_empty() {
                return;
            }
            message.trailers.push(field(&line));
        }
        message.truncated = true;
    }

    /// So many bytes, fewer when the connection ends.
    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        let _ = self.fill_until(|buffer| (buffer.len() >= length).then_some(()));
        let length = length.min(self.buffer.len());
        self.buffer.drain(..length).collect()
    }

    /// What has come, `most` bytes of it; nothing at the end of the connection.
    pub fn some(&mut self, most: usize) -> Vec<u8> {
        let _ = self.fill_until(|buffer| (!buffer.is_empty()).then_some(()));
        let length = most.min(self.buffer.len());
        self.buffer.drain(..length).collect()
    }

    /// How much has been read and not been asked for; it is thrown away.
    pub fn buffered(&mut self) -> usize {
        std::mem::take(&mut self.buffer).len()
    }

    /// Everything until the connection ends.
    pub fn rest(&mut self) -> Vec<u8> {
        let _: Option<()> = self.fill_until(|_| None);
        std::mem::take(&mut self.buffer)
    }

    /// Whether the peer has closed the connection and sent nothing before that; waits for it.
    pub fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }

    fn fill_until<T>(&mut self, found: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let mut piece = [0; 16 * 1024];
        loop {
            if let Some(found) = found(&self.buffer) {
                return Some(found);
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!(
                        "nothing came for {READ_LIMIT:?} behind {:?}",
                        String::from_utf8_lossy(&self.buffer)
                    )
                }
                // A reset ends a connection as well as a FIN does.
                Err(_) => return None,
            }
        }
    }
}

impl Message {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The second word of the first line: a request's target.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.message.body).into_owned()
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.message.header(name)
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

fn find(buffer: &[u8], wanted: &[u8]) -> Option<usize> {
    buffer.windows(wanted.len()).position(|window| window == wanted)
}
