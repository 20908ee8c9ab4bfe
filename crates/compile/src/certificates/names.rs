//! Names in certificates, compared as Envoy compares them.

use std::net::IpAddr;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::address;

/// Whether one of `wanted` is a subject alternative name of `certificate`. A certificate that cannot be read has
/// none.
///
/// DNS names compare without case and by wildcards of the certificate; URIs and addresses of mail
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

/// Whether `name` is what `pattern` of a certificate stands for: the same, or of the first label one `*` stands for
/// anything (Envoy's `dnsNameMatch`).
fn covers(pattern: &str, name: &str) -> bool {
    if pattern.eq_ignore_ascii_case(name) {
        return true;
    }
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let (Some((label, suffix)), Some((first, rest))) = (pattern.split_once('.'), name.split_once('.')) else {
        return false;
    };
    suffix == rest && !suffix.contains('*') && !label.starts_with("xn--") && label_covers(label, first)
}

fn label_covers(pattern: &str, label: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return false };
    if after.contains('*') || label.is_empty() {
        return false;
    }
    label.len() >= before.len() + after.len() && label.starts_with(before) && label.ends_with(after)
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
            ("a*.example.com", "ab.example.com", true),
            ("A*z.example.com", "abz.Example.com", true),
            ("a*a.example.com", "a.example.com", false),
            ("a*b*.example.com", "axbx.example.com", false),
            ("a.*.example.com", "a.b.example.com", false),
            ("xn--*.example.com", "xn--a.example.com", false),
            ("*", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
    }
}
