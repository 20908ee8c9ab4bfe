//! The client's side of TLS 1.3.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::pki::Authority;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

/// Sessions that a client remembers.
const SESSIONS: usize = 8;

/// A client's settings; it verifies the subjects' certificates.
pub fn config(authority: &Authority, resumes: bool, protocol: &str) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der())).context("the authority's certificate")?;
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // One key exchange for all: peers that would rather have a hybrid one ask for it in another round trip.
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption =
        if resumes { Resumption::in_memory_sessions(SESSIONS) } else { Resumption::disabled() };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Ok(Arc::new(config))
}

/// A connection on its way.
pub fn begin(config: &Arc<ClientConfig>, host: &str) -> Result<ClientConnection> {
    let name = ServerName::try_from(host.to_owned()).context("a server name")?;
    Ok(ClientConnection::new(Arc::clone(config), name)?)
}

/// Shakes hands; it is an error when a session is resumed that should not be, or the other way round.
pub fn connect(
    config: &Arc<ClientConfig>,
    host: &str,
    mut stream: TcpStream,
    kind: HandshakeKind,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut connection = begin(config, host)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).context("the TLS handshake")?;
    }
    let found = connection.handshake_kind();
    ensure!(found == Some(kind), "the handshake was {found:?}, not {kind:?}");
    Ok(StreamOwned::new(connection, stream))
}

/// Says goodbye properly.
pub fn close(mut stream: StreamOwned<ClientConnection, impl Read + Write>) {
    stream.conn.send_close_notify();
    // The other side may have gone already, and it has sent all that was wanted.
    let _ = stream.flush();
}
