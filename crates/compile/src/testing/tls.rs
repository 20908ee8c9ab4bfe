//! Handshakes in memory.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind,
    ProtocolVersion, ServerConfig, ServerConnection, SignatureScheme, SupportedProtocolVersion,
};

use super::pki::Leaf;

/// What two peers agreed on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) version: ProtocolVersion,
    pub(crate) suite: CipherSuite,
    pub(crate) alpn: Option<String>,
    pub(crate) resumed: bool,
    /// What the server presented.
    pub(crate) certificate: CertificateDer<'static>,
    /// Whether the server knows the client's certificate.
    pub(crate) knows_client: bool,
    /// The name the server was asked for.
    pub(crate) sni: Option<String>,
}

/// Lets the two speak until both are done and each has had a byte of the other, or one gives up.
pub(crate) fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<Agreed, Error> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    client.writer().write_all(b"c").expect("memory");
    server.writer().write_all(b"s").expect("memory");
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        feed(&bytes, |chunk| server.read_tls(chunk).map(|_| ()))?;
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory");
        }
        feed(&bytes, |chunk| client.read_tls(chunk).map(|_| ()))?;
        client.process_new_packets()?;
    }
    let mut byte = [0];
    server.reader().read_exact(&mut byte).expect("the client's byte");
    client.reader().read_exact(&mut byte).expect("the server's byte");
    Ok(Agreed {
        version: client.protocol_version().expect("agreed"),
        suite: client.negotiated_cipher_suite().expect("agreed").suite(),
        alpn: client.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
        resumed: server.handshake_kind() == Some(HandshakeKind::Resumed),
        certificate: client.peer_certificates().expect("presented")[0].clone().into_owned(),
        knows_client: server.peer_certificates().is_some(),
        sni: server.server_name().map(str::to_owned),
    })
}

fn feed(mut bytes: &[u8], mut read: impl FnMut(&mut &[u8]) -> std::io::Result<()>) -> Result<(), Error> {
    while !bytes.is_empty() {
        read(&mut bytes).map_err(|error| Error::General(error.to_string()))?;
    }
    Ok(())
}

/// A client that takes any server certificate.
pub(crate) fn client(leaf: Option<&Leaf>) -> Arc<ClientConfig> {
    client_with(aws_lc_rs::default_provider(), rustls::ALL_VERSIONS, leaf)
}

pub(crate) fn client_with(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    leaf: Option<&Leaf>,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("suites for these versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    Arc::new(match leaf {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let key = leaf.key_der.clone_key();
            builder.with_client_auth_cert(vec![leaf.der.clone()], key).expect("a key that fits")
        }
    })
}

/// A server that presents `leaf`, speaks `protocols` and takes any client certificate if `asks`.
pub(crate) fn server(
    leaf: &Leaf,
    protocols: &[&str],
    verifier: Option<Arc<dyn rustls::server::danger::ClientCertVerifier>>,
) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("all suites");
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(vec![leaf.der.clone()], leaf.key_der.clone_key()).expect("a key that fits");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A server that presents `leaf` and speaks what `provider` has.
pub(crate) fn server_with(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    leaf: &Leaf,
) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("suites for these versions")
        .with_no_client_auth();
    let config = builder.with_single_cert(vec![leaf.der.clone()], leaf.key_der.clone_key());
    Arc::new(config.expect("a key that fits"))
}

#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
