//! What is held without any work: by connections that stay, and by a subject that nobody talks to.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::{ClientConnection, HandshakeKind, StreamOwned};

use super::{client, tls};
use crate::figures::{Figures, Metric};
use crate::machine::{cpu, memory};
use crate::site::{HOST, Site};
use crate::subject::{Port, Subject};

/// Connections before the first look: pools, buffers and arenas that every connection shares are there then.
const FIRST: u64 = 16;
/// What is given back after the last request is given back by then.
const REST: Duration = Duration::from_secs(1);
/// Clients' addresses.
const ADDRESSES: u64 = 8;

/// Memory for each of so many connections after one request on each.
pub(super) fn connections(site: &Site, subject: &Subject, tls: bool, count: u64) -> Result<Figures> {
    let request = format!("GET /small HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let config = tls::config(&site.authority, false, "http/1.1")?;
    let open = |number: u64| -> Result<Idle> {
        let last = 2 + u8::try_from(number % ADDRESSES)?;
        let port = if tls { Port::Tls } else { Port::Plain };
        let mut stream = client::connect_from(last, subject.address(port))?;
        if tls {
            let mut stream = tls::connect(&config, HOST, stream, HandshakeKind::Full)?;
            client::exchange(&mut stream, request.as_bytes())?;
            return Ok(Idle::Tls(Box::new(stream)));
        }
        client::exchange(&mut stream, request.as_bytes())?;
        Ok(Idle::Plain(stream))
    };
    let first: Vec<Idle> = (0..FIRST).map(open).collect::<Result<_>>()?;
    thread::sleep(REST);
    let before = memory::kibibytes(subject.process())?;
    let mut others: Vec<Idle> = (0..count).map(open).collect::<Result<_>>()?;
    thread::sleep(REST);
    let after = memory::kibibytes(subject.process())?;
    // Whoever closes idle connections holds no memory for them.
    for stream in others.iter_mut().step_by(usize::try_from(count / 10 + 1)?) {
        stream.exchange(&request).context("a connection that was idle")?;
    }
    drop(first);
    Ok([(Metric::MemoryKib, after.saturating_sub(before) as f64 / count as f64)].into())
}

/// Memory and CPU of a subject that has just been started.
pub(super) fn at_rest(subject: &Subject, time: Duration) -> Result<Figures> {
    thread::sleep(REST);
    let before = cpu::nanoseconds(subject.process())?;
    thread::sleep(time);
    let spent = cpu::nanoseconds(subject.process())?.saturating_sub(before);
    let percent = spent as f64 / time.as_nanos() as f64 * 100.0;
    let memory = memory::kibibytes(subject.process())? as f64;
    Ok([(Metric::CpuPercent, percent), (Metric::MemoryKib, memory)].into())
}

enum Idle {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Idle {
    fn exchange(&mut self, request: &str) -> Result<()> {
        match self {
            Self::Plain(stream) => client::exchange(stream, request.as_bytes()),
            Self::Tls(stream) => client::exchange(stream, request.as_bytes()),
        }
    }
}
