//! Verification of client certificates (`tls` of a Gateway's server).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Authorities, Unusable, names};

/// Accepts client certificates by chain, then by name, then by pin.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    /// Verifies the chain; `None` trusts any (`insecureSkipVerify`).
    chain: Option<(Arc<dyn ClientCertVerifier>, Authorities)>,
    is_mandatory: bool,
    /// Of which the certificate must carry one, if there are any.
    subject_alt_names: Vec<String>,
    pins: Pins,
    algorithms: WebPkiSupportedAlgorithms,
}

/// SHA-256 digests of which one must fit, if there are any.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// Of the public key (`verifyCertificateSpki`).
    pub(crate) keys: Vec<Vec<u8>>,
    /// Of the certificate (`verifyCertificateHash`).
    pub(crate) certificates: Vec<Vec<u8>>,
}

/// A certificate that chains well and is refused all the same.
#[derive(Debug)]
struct NotAdmitted;

impl fmt::Display for NotAdmitted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the certificate carries none of the names or digests that are asked for")
    }
}

impl std::error::Error for NotAdmitted {}

impl ClientVerifier {
    /// A verifier of chains up to `authorities`; `None` trusts any chain.
    ///
    /// # Errors
    /// When a revocation list cannot be used.
    pub(crate) fn new(
        authorities: Option<Authorities>,
        is_mandatory: bool,
        subject_alt_names: Vec<String>,
        pins: Pins,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Unusable> {
        let chain = authorities.map(|authorities| {
            let roots = Arc::clone(&authorities.roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
                .with_crls(authorities.revocation_lists.clone())
                .enforce_revocation_expiration()
                .build()
                .map_err(|_| Unusable::RevocationList)?;
            Ok((verifier, authorities))
        });
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { chain: chain.transpose()?, is_mandatory, subject_alt_names, pins, algorithms })
    }

    fn admits(&self, certificate: &CertificateDer<'_>) -> bool {
        let named =
            self.subject_alt_names.is_empty() || names::carries_any(certificate, &self.subject_alt_names);
        named && self.pins.admit(certificate)
    }
}

impl Pins {
    fn admit(&self, certificate: &CertificateDer<'_>) -> bool {
        if self.keys.is_empty() && self.certificates.is_empty() {
            return true;
        }
        let is_one_of = |pins: &[Vec<u8>], bytes: &[u8]| {
            let found = digest(&SHA256, bytes);
            pins.iter().any(|pin| pin == found.as_ref())
        };
        if is_one_of(&self.certificates, certificate) {
            return true;
        }
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
        is_one_of(&self.keys, parsed.public_key().raw)
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map(|(verifier, _)| verifier.root_hint_subjects()).unwrap_or_default()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some((verifier, authorities)) = &self.chain {
            match verifier.verify_client_cert(end_entity, intermediates, now) {
                Err(_) if authorities.is_itself_trusted(end_entity, now) => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        if !self.admits(end_entity) {
            // This variant becomes the alert `certificate_unknown`, which is what Envoy sends.
            return Err(CertificateError::Other(OtherError(Arc::new(NotAdmitted))).into());
        }
        Ok(ClientCertVerified::assertion())
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
