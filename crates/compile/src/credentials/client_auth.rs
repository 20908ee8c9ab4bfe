//! What a server asks of its clients' certificates.

use std::sync::Arc;

use portcullis_api::networking::{ServerTlsMode, ServerTlsSettings};
use portcullis_snapshot::tls::ClientCertificate;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;

use super::Failure;
use super::cache::{Digest, Fingerprint};
use super::sources::{NamedAuthorities, Refusal, Sources, names_secrets};
use crate::certificates::{Authorities, ClientVerifier, Pins, Unusable};

/// What verifies clients' certificates, and what they must chain to, if they must.
pub(super) type Verifier = (Arc<dyn ClientCertVerifier>, Option<Arc<[CertificateDer<'static>]>>);

/// What a server asks of its clients' certificates, not yet parsed.
pub(super) struct ClientAuth<'a> {
    demand: ClientCertificate,
    /// `None`: any chain is trusted, or no certificate is asked for.
    authorities: Option<NamedAuthorities<'a>>,
    settings: &'a ServerTlsSettings,
}

impl<'a> ClientAuth<'a> {
    /// Finds what the mode needs.
    ///
    /// # Errors
    /// The field and what is wrong with what it names.
    pub(super) fn gather(settings: &'a ServerTlsSettings, sources: &Sources<'a>) -> Result<Self, Refusal> {
        let trusts_any = settings.insecure_skip_verify == Some(true);
        let demand = match settings.mode {
            Some(ServerTlsMode::Mutual) => ClientCertificate::Required,
            // Who is told whom to admit cannot admit nobody in particular: as in Envoy, names and digests make a
            // certificate mandatory.
            Some(ServerTlsMode::OptionalMutual) if names_clients(settings) && !trusts_any => {
                ClientCertificate::Required
            }
            Some(ServerTlsMode::OptionalMutual) => ClientCertificate::Optional,
            _ => ClientCertificate::NotRequested,
        };
        let wanted = demand != ClientCertificate::NotRequested && !trusts_any;
        let authorities = wanted.then(|| sources.authorities(settings)).transpose()?;
        Ok(Self { demand, authorities, settings })
    }

    pub(super) fn demand(&self) -> ClientCertificate {
        self.demand
    }

    /// A digest of everything that is asked: two chains with the same one admit the same clients.
    pub(super) fn content(&self) -> Digest {
        let asked = Fingerprint::new("clients").add(format!("{:?}", self.demand));
        if self.demand == ClientCertificate::NotRequested {
            return asked.finish();
        }
        let texts = self.authorities.iter().map(|named| &named.text);
        let texts = texts
            .flat_map(|text| [text.source.as_bytes(), text.certificates, text.revoked.unwrap_or_default()]);
        asked
            .add_all(texts)
            .add_all(&self.settings.subject_alt_names)
            .add_all(self.pinned_keys())
            .add_all(self.pinned_certificates())
            .finish()
    }

    /// The verifier, and the authorities it goes by, if any; `None` where no certificate is asked for.
    pub(super) fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Option<Verifier>, Failure> {
        let is_mandatory = match self.demand {
            ClientCertificate::NotRequested => return Ok(None),
            ClientCertificate::Optional => false,
            ClientCertificate::Required => true,
        };
        let failed = |problem| self.unusable(&problem);
        let authorities = self.authorities.as_ref().map(|named| &named.text);
        let authorities = authorities.map(|text| Authorities::from_pem(text.certificates, text.revoked));
        let authorities = authorities.transpose().map_err(failed)?;
        let names = self.settings.subject_alt_names.clone();
        let trusted = authorities.as_ref().map(|authorities| Arc::clone(&authorities.certificates));
        let verifier = ClientVerifier::new(authorities, is_mandatory, names, self.pins()?, provider);
        Ok(Some((Arc::new(verifier.map_err(failed)?), trusted)))
    }

    fn unusable(&self, problem: &Unusable) -> Failure {
        let Some(NamedAuthorities { fields, called, .. }) = &self.authorities else {
            return Failure::unusable("", "what is asked of clients", problem);
        };
        match problem {
            Unusable::RevocationList => Failure::unusable(fields.1, &called.1, problem),
            _ => Failure::unusable(fields.0, &called.0, problem),
        }
    }

    fn pinned_keys(&self) -> &'a [String] {
        pinned_keys(self.settings)
    }

    fn pinned_certificates(&self) -> &'a [String] {
        pinned_certificates(self.settings)
    }

    /// The digests of `verifyCertificateSpki` and `verifyCertificateHash`.
    fn pins(&self) -> Result<Pins, Failure> {
        let malformed = |field: &'static str| Failure {
            field: field.to_owned(),
            message: format!("{field} holds something that is not a SHA-256 digest"),
            remedy: "write base64 for a public key, hexadecimal for a certificate",
        };
        let keys = self.pinned_keys().iter().map(|text| base64(text));
        let certificates = self.pinned_certificates().iter().map(|text| hexadecimal(text));
        Ok(Pins {
            keys: keys.collect::<Option<_>>().ok_or_else(|| malformed("verifyCertificateSpki"))?,
            certificates: certificates
                .collect::<Option<_>>()
                .ok_or_else(|| malformed("verifyCertificateHash"))?,
        })
    }
}

/// Whether the settings say which clients are meant.
fn names_clients(settings: &ServerTlsSettings) -> bool {
    !settings.subject_alt_names.is_empty()
        || !pinned_keys(settings).is_empty()
        || !pinned_certificates(settings).is_empty()
}

/// Digests only count where certificates come from Secrets (Istio: `ApplyToCommonTLSContext` takes none).
fn pinned_keys(settings: &ServerTlsSettings) -> &[String] {
    if names_secrets(settings) { &settings.verify_certificate_spki } else { &[] }
}

fn pinned_certificates(settings: &ServerTlsSettings) -> &[String] {
    if names_secrets(settings) { &settings.verify_certificate_hash } else { &[] }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    use ::base64::Engine as _;
    let bytes = ::base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    (bytes.len() == DIGEST).then_some(bytes)
}

/// Hexadecimal, with colons between bytes or without.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks_exact(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect();
    (digits.len() == 2 * DIGEST).then_some(bytes)
}

/// Bytes of a SHA-256 digest.
const DIGEST: usize = 32;
