//! What stands behind the gateway: an HTTP/1.1 server that answers each request once it is complete.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

/// Longer than the windows that the suite plays with.
const ANSWER: &str = "A body of more than a handful of bytes, so that a window of one byte matters.\n";

/// Starts it on a port of its own, which is returned; it ends with the process.
pub(super) fn start() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("opening the backend's port")?;
    let port = listener.local_addr().context("asking for the backend's port")?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks is the suite's doing.
            thread::spawn(move || drop(serve(&stream)));
        }
    });
    Ok(port)
}

fn serve(mut stream: &TcpStream) -> Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(body) = head(&mut reader)? {
        body.skip(&mut reader)?;
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len())?;
    }
    Ok(())
}

enum Body {
    Length(u64),
    Chunked,
}

/// Reads a request's head; `None` at the end of the connection.
fn head(reader: &mut impl BufRead) -> Result<Option<Body>> {
    let mut body = Body::Length(0);
    let mut first = true;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() && !first {
            return Ok(Some(body));
        }
        first = false;
        if let Some(length) = line.strip_prefix("content-length:") {
            body = Body::Length(length.trim().parse()?);
        } else if line.starts_with("transfer-encoding:") {
            body = Body::Chunked;
        }
    }
}

impl Body {
    fn skip(self, reader: &mut impl BufRead) -> Result<()> {
        match self {
            Self::Length(length) => drop(std::io::copy(&mut reader.take(length), &mut std::io::sink())?),
            Self::Chunked => loop {
                let mut size = String::new();
                reader.read_line(&mut size)?;
                let size = u64::from_str_radix(size.trim_end(), 16)?;
                std::io::copy(&mut reader.by_ref().take(size + 2), &mut std::io::sink())?;
                if size == 0 {
                    return Ok(());
                }
            },
        }
        Ok(())
    }
}
