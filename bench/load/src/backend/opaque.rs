//! A server behind a proxy that passes TLS through: it reads a ClientHello and then sends as many bytes as it is asked
//! for. The proxy sees a server name and bytes; nothing is spent on encryption that it takes no part in.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Bytes written at once.
const PIECE: usize = 256 * 1024;
/// A TLS record's head (RFC 8446 §5.1).
const RECORD_HEAD: usize = 5;

/// What a client sends behind its hello to get so many bytes.
pub(crate) fn ask(bytes: u64) -> [u8; 8] {
    bytes.to_be_bytes()
}

/// Starts it on a free port.
pub(super) fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A proxy that hangs up is seen by the client.
            thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = [0; RECORD_HEAD];
    stream.read_exact(&mut head)?;
    let length = u16::from_be_bytes([head[3], head[4]]);
    let mut hello = vec![0; usize::from(length)];
    stream.read_exact(&mut hello)?;
    let mut asked = [0; 8];
    stream.read_exact(&mut asked)?;
    let mut left = u64::from_be_bytes(asked);
    let piece = vec![b'x'; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
    while left > 0 {
        let most = piece.len().min(usize::try_from(left).unwrap_or(PIECE));
        let written = stream.write(&piece[..most])?;
        left -= written as u64;
    }
    Ok(())
}
