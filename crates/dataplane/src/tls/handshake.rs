//! Ending a client's TLS here: the handshake, and what it settled.

use std::io;
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use portcullis_snapshot::tls::ServerTls;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client_hello::ClientHello;
use crate::connection::TlsSession;
use crate::stream::Replay;

/// ALPN protocol of a PostgreSQL client (PostgreSQL documentation, "ALPN").
pub(crate) const POSTGRESQL: &[u8] = b"postgresql";

/// What the decrypted bytes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    /// HTTP.
    Http,
    /// Anything: they are carried as they are.
    Bytes,
}

/// A finished handshake, or the reason of its failure with the stream to close.
pub(crate) type Accepted = Result<(Box<TlsStream<Replay<TcpStream>>>, TlsSession), (io::Error, TcpStream)>;

/// Answers the ClientHello that was read into `ahead`. A failure has been told to the client by alert.
///
/// Dropping the future closes the connection.
pub(crate) async fn accept(
    tls: &ServerTls,
    hello: &ClientHello,
    inside: Inside,
    stream: TcpStream,
    ahead: BytesMut,
) -> Accepted {
    let mut config = fitting(&tls.config, hello, inside);
    // Which of several is shown depends on the client.
    let choice = tls.leaf.is_none().then(|| Choice::among(&mut config));
    let replay = Replay { ahead: ahead.freeze(), inner: stream };
    let stream = match TlsAcceptor::from(config).accept(replay).into_fallible().await {
        Ok(stream) => Box::new(stream),
        Err((error, replay)) => return Err((error, replay.inner)),
    };
    let own = tls.leaf.clone().or_else(|| choice?.shown());
    let asked = (hello.server_name().map(Arc::from), own, tls.authorities.clone());
    match TlsSession::new(asked, stream.get_ref().1) {
        Some(session) => Ok((stream, session)),
        // A finished handshake has agreed on a version and a cipher.
        None => Err((io::ErrorKind::InvalidData.into(), stream.into_inner().0.inner)),
    }
}

/// The configuration with the protocols that this client may be offered.
///
/// A PostgreSQL client insists on its own protocol being chosen, whatever the list was made for. And
/// where client and list have nothing in common, Istio's gateway goes on without ALPN; rustls would
/// refuse the client.
fn fitting(config: &Arc<ServerConfig>, hello: &ClientHello, inside: Inside) -> Arc<ServerConfig> {
    let with = |protocols| {
        let mut config = ServerConfig::clone(config);
        config.alpn_protocols = protocols;
        Arc::new(config)
    };
    let offers = |protocol: &Vec<u8>| hello.offers_alpn(protocol);
    if inside == Inside::Bytes && hello.offers_alpn(POSTGRESQL) {
        return with(vec![POSTGRESQL.to_vec()]);
    }
    if hello.alpn.is_empty() || config.alpn_protocols.is_empty() || config.alpn_protocols.iter().any(offers) {
        return Arc::clone(config);
    }
    with(Vec::new())
}

/// Remembers which certificate a client is shown, of several.
#[derive(Debug)]
struct Choice {
    inner: Arc<dyn ResolvesServerCert>,
    shown: OnceLock<Arc<CertifiedKey>>,
}

impl Choice {
    /// Has the choice of `config` remembered, for one handshake.
    fn among(config: &mut Arc<ServerConfig>) -> Arc<Self> {
        let choice = Arc::new(Self { inner: Arc::clone(&config.cert_resolver), shown: OnceLock::new() });
        let mut own = ServerConfig::clone(config);
        own.cert_resolver = Arc::clone(&choice) as Arc<dyn ResolvesServerCert>;
        *config = Arc::new(own);
        choice
    }

    fn shown(&self) -> Option<Arc<CertificateDer<'static>>> {
        Some(Arc::new(self.shown.get()?.cert.first()?.clone()))
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = self.inner.resolve(hello)?;
        // Asked once a handshake; a second answer would be the same.
        let _ = self.shown.set(Arc::clone(&key));
        Some(key)
    }
}
