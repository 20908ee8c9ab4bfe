//! New TLS 1.3 connections, one request each.

use anyhow::Result;
use rustls::HandshakeKind;

use super::{client, measured, tls};
use crate::figures::Figures;
use crate::machine::cores::together;
use crate::site::{HOST, RSA_HOST, Site};
use crate::subject::{Port, Subject};

/// Clients at the same time.
const CLIENTS: usize = 4;

/// Which connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) rsa: bool,
    pub(super) resumed: bool,
}

/// Opens so many, and counts how each handshake went: one of the other kind is an error.
pub(super) fn run(site: &Site, subject: &Subject, kind: Kind, count: u64) -> Result<Figures> {
    let (host, port) = if kind.rsa { (RSA_HOST, Port::Rsa) } else { (HOST, Port::Tls) };
    let request = format!("GET /small HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    // Each client has its own tickets: one serves one connection, which brings the next.
    let configs = together(CLIENTS, |_| tls::config(&site.authority, kind.resumed, "http/1.1"))?;
    let connect = |client: usize, handshake: HandshakeKind| {
        let stream = client::connect(subject.address(port))?;
        let mut stream = tls::connect(&configs[client], host, stream, handshake)?;
        client::exchange(&mut stream, request.as_bytes())?;
        tls::close(stream);
        Ok(())
    };
    let handshake = if kind.resumed { HandshakeKind::Resumed } else { HandshakeKind::Full };
    if kind.resumed {
        together(CLIENTS, |client| connect(client, HandshakeKind::Full))?;
    }
    let each = count.div_ceil(CLIENTS as u64);
    let work = || together(CLIENTS, |client| (0..each).try_for_each(|_| connect(client, handshake)));
    Ok(measured(subject, (each * CLIENTS as u64) as f64, work)?.0)
}
