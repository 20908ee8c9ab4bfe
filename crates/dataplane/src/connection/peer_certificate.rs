//! What a client certificate says, in the forms that headers carry.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::asn1_rs::{Any, Class, Tag};
use x509_parser::der_parser::Oid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

/// Facts of one certificate, computed once per connection.
#[derive(Debug)]
pub(crate) struct PeerCertificate {
    /// RFC 2253 subject.
    pub(crate) subject: String,
    /// URI subject alternative names.
    pub(crate) uris: Vec<String>,
    /// DNS subject alternative names.
    pub(crate) names: Vec<String>,
    /// Email subject alternative names.
    pub(crate) emails: Vec<String>,
    /// IP subject alternative names.
    pub(crate) addresses: Vec<String>,
    /// Other subject alternative names.
    pub(crate) others: Vec<String>,
    /// RFC 2253 issuer.
    pub(crate) issuer: String,
    /// Lower-case hex serial number.
    pub(crate) serial: String,
    /// Lower-case hex SHA-256 of the DER.
    pub(crate) fingerprint: String,
    /// Lower-case hex SHA-1 of the DER.
    pub(crate) fingerprint_1: String,
    /// From when on it holds.
    pub(crate) start: SystemTime,
    /// Until when it holds.
    pub(crate) end: SystemTime,
    /// An element of `x-forwarded-client-cert`.
    pub(crate) element: String,
}

impl PeerCertificate {
    /// Reads `der`; what cannot be read is left empty, for the handshake has accepted it already.
    pub(crate) fn new(der: &[u8]) -> Self {
        let (fingerprint, fingerprint_1) =
            (hex(digest(&SHA256, der)), hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, der)));
        let (mut emails, mut addresses, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let (mut start, mut end) = (UNIX_EPOCH, UNIX_EPOCH);
        let (mut subject, mut uris, mut names) = (String::new(), Vec::new(), Vec::new());
        let (mut issuer, mut serial) = (String::new(), String::new());
        if let Ok((_, certificate)) = X509Certificate::from_der(der) {
            subject = rfc2253(certificate.subject());
            issuer = rfc2253(certificate.issuer());
            serial = hex(certificate.serial.to_bytes_be());
            let validity = certificate.validity();
            (start, end) = (time(validity.not_before), time(validity.not_after));
            if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
                for name in &alternative.value.general_names {
                    match name {
                        GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                        GeneralName::DNSName(name) => names.push((*name).to_owned()),
                        GeneralName::RFC822Name(name) => emails.push((*name).to_owned()),
                        GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                        GeneralName::OtherName(_, value) => others.extend(other_name(value)),
                        _ => {}
                    }
                }
            }
        }
        let element = element(der, &fingerprint, &subject, &uris, &names);
        Self {
            subject,
            uris,
            names,
            emails,
            addresses,
            others,
            issuer,
            serial,
            fingerprint,
            fingerprint_1,
            start,
            end,
            element,
        }
    }

    /// The PEM form, URL-encoded; it stands in the element already.
    pub(crate) fn pem(&self) -> &str {
        let behind = self.element.split_once("Cert=\"").map_or("", |(_, behind)| behind);
        behind.split_once('"').map_or("", |(pem, _)| pem)
    }
}

/// Whether `issuer` has signed `certificate`: a name alone would be the peer's to choose.
pub(crate) fn has_issued(issuer: &[u8], certificate: &[u8]) -> bool {
    let (Ok((_, issuer)), Ok((_, certificate))) =
        (X509Certificate::from_der(issuer), X509Certificate::from_der(certificate))
    else {
        return false;
    };
    let key = &issuer.public_key().subject_public_key.data;
    let (text, signature) = (certificate.tbs_certificate.as_ref(), &certificate.signature_value.data);
    let known = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    issuer.subject().as_raw() == certificate.issuer().as_raw()
        && known.iter().any(|algorithm| algorithm.verify_signature(key, text, signature).is_ok())
}

/// The value of an `otherName` as text, which Envoy shows without saying what it is a name of.
fn other_name(value: &[u8]) -> Option<String> {
    // [0] EXPLICIT ANY (RFC 5280 §4.2.1.6).
    let (_, outer) = Any::from_der(value).ok()?;
    let is_explicit = outer.class() == Class::ContextSpecific && outer.tag() == Tag(0);
    let (_, inner) = Any::from_der(outer.data).ok().filter(|_| is_explicit)?;
    let content = inner.data;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if inner.class() != Class::Universal {
        return Some(text(outer.data));
    }
    Some(match inner.tag() {
        Tag::Boolean => (content != [0]).to_string(),
        Tag::Integer | Tag::Enumerated => integer(content)?,
        // The first byte tells how many bits of the last one do not count.
        Tag::BitString => text(content.get(1..)?),
        Tag::Null => String::new(),
        Tag::Oid => Oid::new(content.into()).to_id_string(),
        Tag::BmpString => {
            let units = content.chunks_exact(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        // Bytes, times, and the strings of one byte a character, or in UTF-8.
        Tag::OctetString | Tag::Utf8String | Tag(0x12..=0x1b) => text(content),
        _ => text(outer.data),
    })
}

/// A two's complement number; one that is longer than any serial is none.
fn integer(content: &[u8]) -> Option<String> {
    if content.is_empty() || content.len() > 16 {
        return None;
    }
    let fill = if content[0] & 0x80 == 0 { 0 } else { 0xff };
    let mut bytes = [fill; 16];
    bytes[16 - content.len()..].copy_from_slice(content);
    Some(i128::from_be_bytes(bytes).to_string())
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A time of a certificate; one before 1970 counts as 1970.
fn time(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::from(bytes).to_string());
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::from(bytes).to_string())).ok()
}

/// A name: most specific attribute first, comma-separated (RFC 2253 §2.1).
fn rfc2253(name: &X509Name<'_>) -> String {
    let registry = x509_parser::objects::oid_registry();
    let mut parts: Vec<String> = name
        .iter_attributes()
        .map(|attribute| {
            let name = x509_parser::objects::oid2abbrev(attribute.attr_type(), registry);
            let value = attribute.as_str().unwrap_or("");
            match name {
                Ok(name) => format!("{name}={}", escaped(value)),
                Err(_) => format!("{}={}", attribute.attr_type(), escaped(value)),
            }
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

/// RFC 2253 §2.4; control characters could end a header line and are dropped.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (position, char) in value.chars().enumerate() {
        let special = matches!(char, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (position == 0 && matches!(char, '#' | ' '));
        if char.is_control() {
            continue;
        }
        if special {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

fn element(der: &[u8], fingerprint: &str, subject: &str, uris: &[String], names: &[String]) -> String {
    let mut out =
        format!("Hash={fingerprint};Cert=\"{}\";Subject=\"{}\";URI=", encoded_pem(der), quoted(subject));
    out.push_str(&value(uris.first().map_or("", String::as_str)));
    for uri in uris.iter().skip(1) {
        let _ = write!(out, ";URI={}", value(uri));
    }
    for name in names {
        let _ = write!(out, ";DNS={}", value(name));
    }
    out
}

/// The PEM form, URL-encoded.
fn encoded_pem(der: &[u8]) -> String {
    let mut out = String::from("-----BEGIN%20CERTIFICATE-----%0A");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        for &byte in line {
            match byte {
                b'+' => out.push_str("%2B"),
                b'/' => out.push_str("%2F"),
                b'=' => out.push_str("%3D"),
                _ => out.push(char::from(byte)),
            }
        }
        out.push_str("%0A");
    }
    out.push_str("-----END%20CERTIFICATE-----%0A");
    out
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A name from a certificate is the client's text: what could end the element is quoted
/// (CVE-2023-27493).
fn value(text: &str) -> String {
    let clean: String = text.chars().filter(|char| !char.is_control()).collect();
    if clean.contains([',', ';', '=', '"', ' ']) { format!("\"{}\"", quoted(&clean)) } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out() {
        assert_eq!(value("client.example.com"), "client.example.com");
        assert_eq!(value("a;By=evil"), "\"a;By=evil\"");
        assert_eq!(value("a\"\r\nx"), "\"a\\\"x\"");
    }

    #[test]
    fn hex_has_two_digits_a_byte() {
        assert_eq!(hex([0x07, 0x6e]), "076e");
    }

    #[test]
    fn other_names_are_shown_as_text() {
        for (value, expected) in [
            (&b"\xa0\x05\x0c\x03abc"[..], Some("abc")),
            (b"\xa0\x03\x01\x01\xff", Some("true")),
            (b"\xa0\x04\x02\x02\xff\x7f", Some("-129")),
            (b"\xa0\x05\x06\x03\x2a\x03\x04", Some("1.2.3.4")),
            (b"\xa0\x02\x05\x00", Some("")),
            (b"\xa0\x06\x1e\x04\x00a\x00b", Some("ab")),
            (b"\xa0\x05\x30\x03\x0c\x01a", Some("0\x03\x0c\x01a")),
            (b"\xa0\x05\x0c\x04abc", None),
            (b"\x0c\x03abc", None),
            (b"\xa0\x82\x01", None),
            (b"", None),
        ] {
            assert_eq!(other_name(value).as_deref(), expected, "{value:x?}");
        }
    }

    #[test]
    fn garbage_is_survived() {
        assert!(!has_issued(b"no certificate", b"neither"));
        let facts = PeerCertificate::new(b"no certificate");
        assert_eq!((facts.subject.as_str(), facts.fingerprint.len()), ("", 64));
    }
}
