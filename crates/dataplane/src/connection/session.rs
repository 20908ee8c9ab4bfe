//! What a TLS handshake settled, with a client or with an upstream.

use std::cell::OnceCell;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
use tokio::time::Instant;

use crate::connection::peer_certificate::{PeerCertificate, has_issued};

/// What a TLS handshake settled.
pub(crate) struct TlsSession {
    /// Lower-case server name, if the client sent one.
    pub(crate) server_name: Option<Arc<str>>,
    pub(crate) version: ProtocolVersion,
    pub(crate) cipher: CipherSuite,
    /// How keys were exchanged.
    pub(crate) group: Option<NamedGroup>,
    /// ALPN outcome.
    pub(crate) alpn: Option<Box<[u8]>>,
    /// When the handshake was over.
    pub(crate) settled: Instant,
    /// The peer's certificate, if it presented one.
    peer: Certificate<CertificateDer<'static>>,
    /// What the peer presented with it.
    rest: Box<[CertificateDer<'static>]>,
    /// What was presented to the peer, where that is known.
    own: Certificate<Arc<CertificateDer<'static>>>,
    /// What the peer's certificate was verified to chain to, if it was.
    authorities: Option<Arc<[CertificateDer<'static>]>>,
    issuer: Facts,
}

/// What the server's side of a handshake knows by itself: the name it was asked for, what it showed, and what it expected
/// client certificates to chain to.
pub(crate) type Asked =
    (Option<Arc<str>>, Option<Arc<CertificateDer<'static>>>, Option<Arc<[CertificateDer<'static>]>>);

/// What a certificate says, once somebody has asked. On the heap: hardly any connection is asked, and each has room for it.
type Facts = OnceCell<Option<Box<PeerCertificate>>>;

/// A certificate that is read when it is asked for.
struct Certificate<D> {
    der: Option<D>,
    facts: Facts,
}

impl TlsSession {
    /// What rustls settled with a client.
    pub(crate) fn new(
        (server_name, own, authorities): Asked,
        tls: &rustls::ServerConnection,
    ) -> Option<Self> {
        let alpn = tls.alpn_protocol().map(Into::into);
        Some(Self { alpn, authorities, ..Self::of(server_name, own, tls)? })
    }

    /// What rustls settled with an upstream that was asked for `server_name` and shown `own`.
    pub(crate) fn with_upstream(
        server_name: Option<Arc<str>>,
        own: Option<Arc<CertificateDer<'static>>>,
        tls: &rustls::ClientConnection,
    ) -> Option<Self> {
        // Nobody asks what stands behind an upstream's certificate.
        Some(Self { rest: Box::default(), ..Self::of(server_name, own, tls)? })
    }

    fn of<D>(
        server_name: Option<Arc<str>>,
        own: Option<Arc<CertificateDer<'static>>>,
        tls: &rustls::ConnectionCommon<D>,
    ) -> Option<Self> {
        let mut chain =
            tls.peer_certificates().unwrap_or_default().iter().map(|der| der.clone().into_owned());
        Some(Self {
            server_name,
            version: tls.protocol_version()?,
            cipher: tls.negotiated_cipher_suite()?.suite(),
            group: tls.negotiated_key_exchange_group().map(|group| group.name()),
            alpn: None,
            settled: Instant::now(),
            peer: Certificate { der: chain.next(), facts: OnceCell::new() },
            rest: chain.collect(),
            own: Certificate { der: own, facts: OnceCell::new() },
            authorities: None,
            issuer: OnceCell::new(),
        })
    }

    /// Facts of the peer's certificate, read on first use.
    pub(crate) fn peer(&self) -> Option<&PeerCertificate> {
        self.peer.facts(|der| der)
    }

    /// Facts of the certificate that the peer was shown.
    pub(crate) fn own(&self) -> Option<&PeerCertificate> {
        self.own.facts(|der| der)
    }

    /// Facts of the certificate that issued the peer's, where that was verified.
    pub(crate) fn issuer(&self) -> Option<&PeerCertificate> {
        let find = || {
            let peer = self.peer.der.as_ref()?;
            let candidates = self.authorities.as_ref()?.iter().chain(&self.rest);
            candidates
                .into_iter()
                .find(|issuer| has_issued(issuer, peer))
                .map(|issuer| Box::new(PeerCertificate::new(issuer)))
        };
        self.issuer.get_or_init(find).as_deref()
    }

    /// Facts of every certificate that the peer sent, its own first.
    pub(crate) fn chain(&self) -> Vec<PeerCertificate> {
        self.peer.der.iter().chain(&self.rest).map(|der| PeerCertificate::new(der)).collect()
    }
}

impl<D> Certificate<D> {
    fn facts(&self, bytes: impl FnOnce(&D) -> &[u8]) -> Option<&PeerCertificate> {
        let read = || self.der.as_ref().map(|der| Box::new(PeerCertificate::new(bytes(der))));
        self.facts.get_or_init(read).as_deref()
    }
}
