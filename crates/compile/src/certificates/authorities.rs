//! Authorities that a peer's chain must end at, with their revocation lists.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Unusable, chain};

/// Trusted certificates and revocation lists out of a Secret.
#[derive(Debug, Clone)]
pub(crate) struct Authorities {
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) revocation_lists: Vec<CertificateRevocationListDer<'static>>,
    /// The same certificates whole.
    pub(crate) certificates: Arc<[CertificateDer<'static>]>,
}

impl Authorities {
    /// Reads certificates, and revocation lists if there are any.
    ///
    /// # Errors
    /// When one of them cannot be read: then nothing is trusted.
    pub(crate) fn from_pem(pem: &[u8], revoked: Option<&[u8]>) -> Result<Self, Unusable> {
        let certificates = chain(pem)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|_| Unusable::Certificate)?;
        }
        let revocation_lists = revoked.map(Self::revocation_lists).transpose()?.unwrap_or_default();
        Ok(Self { roots: Arc::new(roots), revocation_lists, certificates: certificates.into() })
    }

    /// Reads revocation lists.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub(crate) fn revocation_lists(
        pem: &[u8],
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, Unusable> {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
        let lists = lists.map_err(|_| Unusable::RevocationList)?;
        if lists.is_empty() { Err(Unusable::RevocationList) } else { Ok(lists) }
    }

    /// Whether `certificate` is one of the trusted ones and valid at `now`.
    ///
    /// People trust a self-signed certificate by naming itself as its authority. Envoy accepts that; the verifier
    /// underneath does not when the certificate calls itself an authority.
    pub(crate) fn is_itself_trusted(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
        // A revocation list must speak of every certificate, which none can about a root.
        self.revocation_lists.is_empty()
            && self.certificates.iter().any(|held| held.as_ref() == certificate.as_ref())
            && is_valid_at(certificate, now)
    }
}

fn is_valid_at(certificate: &[u8], now: UnixTime) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let validity = certificate.validity();
    i64::try_from(now.as_secs())
        .is_ok_and(|now| (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now))
}
