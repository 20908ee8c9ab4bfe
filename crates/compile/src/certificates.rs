//! Certificates and keys out of PEM, facts about them, and verifiers of what peers present.

mod authorities;
mod client;
mod names;
mod server;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_snapshot::tls::CertificateInfo;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{
    AttributeTypeAndValue, FromDer, GeneralName, SubjectPublicKeyInfo, X509Certificate, X509Name,
};

pub(crate) use self::authorities::Authorities;
pub(crate) use self::client::{ClientVerifier, Pins};
pub(crate) use self::server::{ServerVerifier, Trust, WantedNames};

/// Why a certificate or key cannot be used: half a sentence that follows the name of its holder.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Unusable {
    #[error("holds no certificate in PEM")]
    NoCertificate,
    #[error("holds a certificate that cannot be read")]
    Certificate,
    #[error("holds no private key in PEM that can be read")]
    NoKey,
    #[error("holds a private key of a kind that is not supported (RSA below 2048 bits, or an unusual curve)")]
    KeyKind,
    #[error("holds a private key that does not belong to its certificate")]
    Mismatch,
    #[error("holds a revocation list that cannot be read")]
    RevocationList,
}

/// The certificates of a PEM text, in order; at least one.
///
/// # Errors
/// One that cannot be read makes all of them unusable, as at Envoy.
pub(crate) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|_| Unusable::Certificate)?;
    if certificates.is_empty() {
        return Err(Unusable::NoCertificate);
    }
    if certificates.iter().any(|certificate| X509Certificate::from_der(certificate).is_err()) {
        return Err(Unusable::Certificate);
    }
    Ok(certificates)
}

/// A chain with its key.
///
/// # Errors
/// When either cannot be read, or the two do not belong together.
pub(crate) fn certified_key(
    certificates: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Unusable> {
    let certificates = chain(certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Unusable::NoKey)?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| Unusable::KeyKind)?;
    let own = key.public_key().map(|spki| spki.as_ref().to_vec());
    if own.is_some_and(|own| !same_key(&own, &certificates[0])) {
        return Err(Unusable::Mismatch);
    }
    Ok(CertifiedKey::new(certificates, key))
}

/// Whether the public key in `spki` is that of `certificate`. Only the key's bits are compared: the name of the
/// algorithm has several spellings.
fn same_key(spki: &[u8], certificate: &[u8]) -> bool {
    let (Ok((_, own)), Ok((_, certificate))) =
        (SubjectPublicKeyInfo::from_der(spki), X509Certificate::from_der(certificate))
    else {
        return false;
    };
    own.subject_public_key.data == certificate.public_key().subject_public_key.data
}

/// Facts about the certificate that stands first in a chain; `source` says where it is from.
pub(crate) fn info(source: Arc<str>, certificate: &[u8]) -> Result<CertificateInfo, Unusable> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| Unusable::Certificate)?;
    let validity = certificate.validity();
    Ok(CertificateInfo {
        source,
        subject: subject(certificate.subject()),
        names: dns_and_ip_names(&certificate),
        serial: hex(certificate.raw_serial()),
        not_before: time(validity.not_before.timestamp()),
        not_after: time(validity.not_after.timestamp()),
    })
}

fn dns_and_ip_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter();
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    names.filter_map(text).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn time(seconds: i64) -> SystemTime {
    let span = Duration::from_secs(seconds.unsigned_abs());
    let shifted = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(span)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(span)
    };
    shifted.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Lower-case hex of `bytes`.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A distinguished name as RFC 2253 §2 writes it: the last part first.
fn subject(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let texts = parts.into_iter().rev().map(|part| {
        let attributes: Vec<_> = part.iter().map(attribute).collect();
        attributes.join("+")
    });
    texts.collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type();
    let kind = match oid.to_id_string().as_str() {
        "2.5.4.3" => "CN".to_owned(),
        "2.5.4.6" => "C".to_owned(),
        "2.5.4.7" => "L".to_owned(),
        "2.5.4.8" => "ST".to_owned(),
        "2.5.4.9" => "STREET".to_owned(),
        "2.5.4.10" => "O".to_owned(),
        "2.5.4.11" => "OU".to_owned(),
        "0.9.2342.19200300.100.1.25" => "DC".to_owned(),
        "0.9.2342.19200300.100.1.1" => "UID".to_owned(),
        other => other.to_owned(),
    };
    let value = attribute.as_str().map_or_else(|_| format!("#{}", hex(attribute.as_slice())), escaped);
    format!("{kind}={value}")
}

/// Escapes of RFC 2253 §2.4.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, letter) in value.chars().enumerate() {
        let special = matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';');
        if special || (at == 0 && matches!(letter, ' ' | '#')) || (at == last && letter == ' ') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}
