//! What a Secret is good for. Only that is kept of it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::super::facts::CredentialState;
use super::ask::{Answer, Asker};

/// Judges a Secret's content.
pub(super) fn state(secret: &Value) -> CredentialState {
    let data = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| secret["data"][*name].as_str().filter(|it| !it.is_empty()));
        found.and_then(|text| STANDARD.decode(text).ok())
    };
    let (Some(certificate), Some(_)) = (data(["tls.crt", "cert"]), data(["tls.key", "key"])) else {
        return CredentialState::Incomplete;
    };
    end(&certificate).map_or(CredentialState::Unreadable, CredentialState::Until)
}

/// When the first certificate of a PEM text ends.
fn end(pem: &[u8]) -> Option<SystemTime> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Where else a Secret is that the gateway does not find: beside the Gateways that name it. Where that may not be seen, it
/// is not said.
pub(super) async fn missing(ask: &Asker, name: &str, askers: BTreeSet<&str>, own: &str) -> CredentialState {
    let mut elsewhere = BTreeSet::new();
    for namespace in askers.into_iter().filter(|namespace| *namespace != own) {
        if let Answer::Is(_) = ask.secret(namespace, name).await {
            elsewhere.insert(namespace.to_owned());
        }
    }
    CredentialState::Missing { elsewhere }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(certificate: &str, key: &str) -> Value {
        json!({"data": {"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key)}})
    }

    #[test]
    fn a_secret_is_judged_by_its_first_certificate() {
        let mut parameters = rcgen::CertificateParams::new(["a.test".to_owned()]).expect("a name");
        parameters.not_after = rcgen::date_time_ymd(2030, 1, 2);
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        let end = UNIX_EPOCH + Duration::from_secs(1_893_542_400);
        assert_eq!(state(&secret(&pem, "key")), CredentialState::Until(end));
        assert_eq!(state(&secret("no PEM", "key")), CredentialState::Unreadable);
        assert_eq!(state(&secret(&pem, "")), CredentialState::Incomplete);
        assert_eq!(state(&json!({})), CredentialState::Incomplete);
    }
}
