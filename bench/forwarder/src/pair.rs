//! Two connections, and the bytes on their way between them.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Bytes read at once.
pub(crate) const BUFFER: usize = 64 * 1024;

/// Which of the two sockets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Client,
    Backend,
}

/// Both directions are over, or one has failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended;

/// A client and its backend.
pub(crate) struct Pair {
    client: TcpStream,
    backend: TcpStream,
    up: Direction,
    down: Direction,
}

impl Pair {
    /// Registers both sockets, under `2 × number` and the token behind it.
    pub(crate) fn new(
        mut client: TcpStream,
        mut backend: TcpStream,
        number: usize,
        registry: &Registry,
    ) -> io::Result<Self> {
        client.set_nodelay(true)?;
        backend.set_nodelay(true)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut client, Token(2 * number), both)?;
        registry.register(&mut backend, Token(2 * number + 1), both)?;
        Ok(Self { client, backend, up: Direction::default(), down: Direction::default() })
    }

    /// Moves what can be moved after an event on one side: it may be readable, or take more.
    pub(crate) fn turn(&mut self, side: Side, event: &Event, buffer: &mut [u8]) -> Result<(), Ended> {
        let Self { client, backend, up, down } = self;
        let (near, far, from_here, to_here) = match side {
            Side::Client => (client, backend, up, down),
            Side::Backend => (backend, client, down, up),
        };
        from_here.closing |= event.is_read_closed();
        if event.is_readable() || event.is_read_closed() {
            from_here.pump(near, far, buffer)?;
        }
        if to_here.waits() {
            to_here.pump(far, near, buffer)?;
        }
        if self.up.ended && self.down.ended { Err(Ended) } else { Ok(()) }
    }
}

/// Bytes of one direction.
#[derive(Default)]
struct Direction {
    /// Read, and not yet taken by the other side.
    kept: Vec<u8>,
    /// Whether an event told of the end, behind what is still to be read.
    closing: bool,
    /// Whether the end was read.
    finished: bool,
    /// Whether it was passed on.
    ended: bool,
}

impl Direction {
    /// Whether something could not be passed on.
    fn waits(&self) -> bool {
        !self.kept.is_empty() || self.finished != self.ended
    }

    fn pump(&mut self, from: &mut TcpStream, to: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Ended> {
        if !self.flush(to)? {
            return Ok(());
        }
        while !self.finished {
            let read = match from.read(buffer) {
                Ok(0) => {
                    self.finished = true;
                    break;
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(Ended),
            };
            let written = write(to, &buffer[..read])?;
            if written < read {
                self.kept.extend_from_slice(&buffer[written..read]);
                return Ok(());
            }
            // A short read has emptied the socket (epoll(7)): what comes next is an event of its own.
            if read < buffer.len() && !self.closing {
                break;
            }
        }
        if self.finished && !self.ended {
            self.ended = true;
            // It may be gone altogether, which the other direction notices.
            let _ = to.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Whether nothing is kept any more.
    fn flush(&mut self, to: &mut TcpStream) -> Result<bool, Ended> {
        if !self.kept.is_empty() {
            let written = write(to, &self.kept)?;
            self.kept.drain(..written);
        }
        Ok(self.kept.is_empty())
    }
}

/// Writes what the socket takes now.
fn write(to: &mut TcpStream, mut bytes: &[u8]) -> Result<usize, Ended> {
    let whole = bytes.len();
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            // Not connected yet is told in the same way as full.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Ended),
        }
    }
    Ok(whole - bytes.len())
}
