//! The authorities that an image without an operating system trusts: Mozilla's, as the crate that Cargo.lock pins has
//! them, in the file where programs look for the system's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Characters of a line of PEM.
const LINE: usize = 64;

/// All of them as PEM.
pub(super) fn pem() -> String {
    let mut text = String::from("# Mozilla's authorities for servers, from the crate webpki-root-certs.\n");
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, next) = rest.split_at(rest.len().min(LINE));
            text.push_str(line);
            text.push('\n');
            rest = next;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_authority_is_there() {
        let text = pem();
        assert_eq!(text.matches("BEGIN").count(), webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        assert!(text.lines().all(|line| line.len() <= 80 && line.is_ascii()));
        assert!(text.matches("BEGIN").count() > 50);
    }
}
