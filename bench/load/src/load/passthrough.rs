//! TLS that passes through: a real ClientHello, then opaque bytes.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, ensure};

use super::{client, measured, tls};
use crate::backend::ask_opaque;
use crate::figures::Figures;
use crate::machine::cores::together;
use crate::site::{PASS_HOST, Site};
use crate::subject::{Port, Subject};

/// Connections at the same time.
const CLIENTS: usize = 4;
/// Bytes of a small answer.
const SMALL: u64 = 256;
/// Bytes read at once.
const PIECE: usize = 256 * 1024;
const MIB: u64 = 1024 * 1024;

/// So many new connections with a tiny exchange.
pub(super) fn small(site: &Site, subject: &Subject, count: u64) -> Result<Figures> {
    let hello = hello(site, SMALL)?;
    let each = count.div_ceil(CLIENTS as u64);
    let work = || together(CLIENTS, |_| (0..each).try_for_each(|_| fetch(subject, &hello, SMALL)));
    Ok(measured(subject, (each * CLIENTS as u64) as f64, work)?.0)
}

/// So many MiB over a few connections; a unit is a GiB.
pub(super) fn bulk(site: &Site, subject: &Subject, mebibytes: u64) -> Result<Figures> {
    let bytes = mebibytes.div_ceil(CLIENTS as u64) * MIB;
    let hello = hello(site, bytes)?;
    let work = || together(CLIENTS, |_| fetch(subject, &hello, bytes));
    let gibibytes = (bytes * CLIENTS as u64) as f64 / (1024 * MIB) as f64;
    Ok(measured(subject, gibibytes, work)?.0)
}

/// A ClientHello for the host, and behind it what the backend is asked for.
fn hello(site: &Site, bytes: u64) -> Result<Vec<u8>> {
    let mut hello = Vec::new();
    tls::begin(&tls::config(&site.authority, false, "http/1.1")?, PASS_HOST)?.write_tls(&mut hello)?;
    hello.extend_from_slice(&ask_opaque(bytes));
    Ok(hello)
}

fn fetch(subject: &Subject, hello: &[u8], bytes: u64) -> Result<()> {
    let mut stream = client::connect(subject.address(Port::Pass))?;
    stream.write_all(hello).context("sending a hello")?;
    let mut buffer = vec![0; PIECE.min(usize::try_from(bytes).unwrap_or(PIECE) + 1)];
    let mut got = 0;
    loop {
        match stream.read(&mut buffer).context("reading what passes through")? {
            0 => break,
            read => got += read as u64,
        }
    }
    ensure!(got == bytes, "{got} bytes passed through instead of {bytes}");
    Ok(())
}
