//! The backend: HTTP/1.1 with keep-alive and fixed answers, as cheap as it gets, so that the gateway is the
//! dearest part of a request.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Bytes of a large answer's body.
const LARGE: usize = 64 * 1024;
/// Bytes of a small answer's body.
const SMALL: usize = 100;
/// Longest request head.
const HEAD: usize = 16 * 1024;

/// A running backend; it ends with the program.
pub(crate) struct Backend {
    address: SocketAddr,
}

impl Backend {
    /// Starts it on a free port.
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let answers: Arc<[Vec<u8>; 2]> = Arc::new([answer(SMALL), answer(LARGE)]);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answers = Arc::clone(&answers);
                // A gateway that hangs up is none of the backend's business.
                thread::spawn(move || serve(stream, &answers));
            }
        });
        Ok(Self { address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn answer(length: usize) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n")
            .into_bytes();
    answer.resize(answer.len() + length, b'x');
    answer
}

/// Answers every request of a connection; requests have no body.
fn serve(mut stream: TcpStream, [small, large]: &[Vec<u8>; 2]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = [0; HEAD];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut head[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        if head[..filled].ends_with(b"\r\n\r\n") {
            stream.write_all(if head.starts_with(b"GET /large") { large } else { small })?;
            filled = 0;
        }
    }
}
