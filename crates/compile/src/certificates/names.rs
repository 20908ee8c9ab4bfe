//! Names in certificates, compared as Envoy compares them.

use std::net::IpAddr;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::address;

/// Whether one of `wanted` is a subject alternative name of `certificate`. A certificate that cannot be read has
/// none.
///
/// DNS names compare without case and a `*` in the certificate stands for one label; URIs and addresses of mail
/// compare as they are, IP addresses by value.
pub(super) fn carries_any(certificate: &[u8], wanted: &[String]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return false };
    extension.value.general_names.iter().any(|name| wanted.iter().any(|wanted| is_same(name, wanted)))
}

fn is_same(name: &GeneralName<'_>, wanted: &str) -> bool {
    match name {
        GeneralName::DNSName(pattern) => covers(pattern, wanted),
        GeneralName::URI(text) | GeneralName::RFC822Name(text) => *text == wanted,
        GeneralName::IPAddress(bytes) => {
            wanted.parse::<IpAddr>().is_ok_and(|wanted| address(bytes) == Some(wanted))
        }
        _ => false,
    }
}

/// Whether `name` is what `pattern` of a certificate stands for (RFC 6125 §6.4.3, whole labels only).
fn covers(pattern: &str, name: &str) -> bool {
    if pattern.eq_ignore_ascii_case(name) {
        return true;
    }
    let (Some(suffix), Some((first, rest))) = (pattern.strip_prefix("*."), name.split_once('.')) else {
        return false;
    };
    !first.is_empty() && rest.eq_ignore_ascii_case(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("a.example.com", "A.example.com", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "*.example.com", true),
            ("a*.example.com", "ab.example.com", false),
            ("", "a", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
    }
}
