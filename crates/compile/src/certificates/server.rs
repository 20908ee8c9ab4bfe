//! Verification of an upstream's certificate (`tls` of a DestinationRule, routing reference §3.6).

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

use super::{Authorities, Unusable, names};

/// Accepts an upstream's certificate by chain, then by name.
#[derive(Debug, Clone)]
pub(crate) struct ServerVerifier {
    chain: Chain,
    wanted: WantedNames,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Whose certificates are trusted.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// Those that chain to an authority of a Secret.
    Authorities(Authorities),
    /// Those that chain to an authority of the operating system, unless these lists revoke them.
    System(Arc<RootCertStore>, Vec<CertificateRevocationListDer<'static>>),
    /// Anybody's (`insecureSkipVerify`).
    Anyone,
    /// Nobody's, since what they should chain to is missing: better no connection than one to a stranger.
    Nobody(Arc<str>),
}

/// Which names a certificate must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WantedNames {
    /// That of the connection.
    Connection,
    /// One of these.
    OneOf(Vec<String>),
    /// That of the connection, and one of these.
    ConnectionAndOneOf(Vec<String>),
    /// Any.
    Unchecked,
}

#[derive(Debug, Clone)]
enum Chain {
    Verified(Arc<WebPkiServerVerifier>, Option<Authorities>),
    Unchecked,
    Refused(Arc<str>),
}

/// Why a certificate is refused where rustls has no word for it.
#[derive(Debug)]
struct Refusal(Arc<str>);

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl ServerVerifier {
    /// # Errors
    /// When a revocation list cannot be used.
    pub(crate) fn new(
        trust: Trust,
        wanted: WantedNames,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Unusable> {
        let chain = match trust {
            Trust::Anyone => Chain::Unchecked,
            Trust::Nobody(reason) => Chain::Refused(reason),
            Trust::System(roots, _) if roots.is_empty() => {
                Chain::Refused("the system has no certificate authorities".into())
            }
            Trust::System(roots, revoked) => Chain::Verified(webpki(roots, revoked, provider)?, None),
            Trust::Authorities(authorities) => {
                let (roots, revoked) = (Arc::clone(&authorities.roots), authorities.revocation_lists.clone());
                Chain::Verified(webpki(roots, revoked, provider)?, Some(authorities))
            }
        };
        Ok(Self { chain, wanted, algorithms: provider.signature_verification_algorithms })
    }

    /// The same chain of trust with other names.
    pub(crate) fn with_names(&self, wanted: WantedNames) -> Self {
        Self { wanted, ..self.clone() }
    }

    /// Whether the chain holds, and whether the certificate carries the connection's name.
    fn verify_chain(
        &self,
        presented: (&CertificateDer<'_>, &[CertificateDer<'_>]),
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<bool, Error> {
        let (verifier, authorities) = match &self.chain {
            Chain::Unchecked => return Ok(true),
            Chain::Refused(reason) => return Err(refused(reason)),
            Chain::Verified(verifier, authorities) => (verifier, authorities),
        };
        match verifier.verify_server_cert(presented.0, presented.1, name, &[], now) {
            Ok(_) => Ok(true),
            // The name is looked at last: the chain held. Envoy knows more wildcards than the verifier below.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(names::carries_any(presented.0, &[name.to_str().into_owned()])),
            Err(_) if authorities.as_ref().is_some_and(|own| own.is_itself_trusted(presented.0, now)) => {
                Ok(names::carries_any(presented.0, &[name.to_str().into_owned()]))
            }
            Err(error) => Err(error),
        }
    }
}

fn webpki(
    roots: Arc<RootCertStore>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Unusable> {
    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .with_crls(revoked)
        .enforce_revocation_expiration()
        .build()
        .map_err(|_| Unusable::RevocationList)
}

fn refused(reason: &Arc<str>) -> Error {
    CertificateError::Other(OtherError(Arc::new(Refusal(Arc::clone(reason))))).into()
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_named = self.verify_chain((end_entity, intermediates), server_name, now)?;
        let is_wanted = match (&self.chain, &self.wanted) {
            (Chain::Unchecked, _) | (_, WantedNames::Unchecked) => true,
            (_, WantedNames::Connection) => is_named,
            (_, WantedNames::OneOf(wanted)) => names::carries_any(end_entity, wanted),
            (_, WantedNames::ConnectionAndOneOf(wanted)) => {
                is_named && names::carries_any(end_entity, wanted)
            }
        };
        if is_wanted {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
