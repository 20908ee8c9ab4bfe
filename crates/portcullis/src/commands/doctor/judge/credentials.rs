//! The Secrets that Gateways name: whether they are where the gateway looks, and for how long they are good.

use std::time::Duration;

use portcullis_api::{ObjectRef, Severity};
use portcullis_control::Notice;

use super::super::facts::{Credential, CredentialState, Facts};
use super::finding;
use crate::time::rfc3339;

/// cert-manager renews a certificate of 90 days 30 days before its end: who comes this near is not renewed.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

pub(super) fn judge(facts: &Facts, found: &mut Vec<Notice>) {
    for credential in facts.credentials.list() {
        found.extend(one(facts, credential));
    }
}

fn one(facts: &Facts, credential: &Credential) -> Option<Notice> {
    let object = ObjectRef {
        kind: "Secret".into(),
        namespace: facts.namespace.clone(),
        name: credential.name.clone(),
    };
    let say = |severity, code, message: String, remedy: &str| {
        Some(finding(severity, code, object, message, remedy))
    };
    match &credential.state {
        CredentialState::Missing { elsewhere } if elsewhere.is_empty() => {
            let remedy = "create it there; a cert-manager Certificate makes its Secret in its own namespace";
            say(
                Severity::Error,
                "SecretMissing",
                "a Gateway names it, and it is not there".to_owned(),
                remedy,
            )
        }
        CredentialState::Missing { elsewhere } => {
            let places = elsewhere.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let message =
                format!("a Gateway names it; it is in {places}, and the gateway looks beside itself");
            let remedy = "move it, or the Certificate that makes it, into the gateway's namespace";
            say(Severity::Error, "SecretElsewhere", message, remedy)
        }
        CredentialState::Incomplete => {
            let remedy = "it needs tls.crt and tls.key, or cert and key";
            say(Severity::Error, "SecretIncomplete", "certificate or key is missing in it".to_owned(), remedy)
        }
        CredentialState::Unreadable => {
            let remedy = "tls.crt must be certificates in PEM, the server's own first";
            say(Severity::Error, "CertificateUnreadable", "its certificate cannot be read".to_owned(), remedy)
        }
        CredentialState::Until(end) if *end <= facts.now => {
            let message = format!("its certificate has ended on {}", rfc3339(*end));
            say(Severity::Error, "CertificateExpired", message, RENEW)
        }
        CredentialState::Until(end) if *end <= facts.now + SOON => {
            let message = format!("its certificate ends on {}", rfc3339(*end));
            say(Severity::Warning, "CertificateEndsSoon", message, RENEW)
        }
        CredentialState::Until(_) => None,
    }
}

const RENEW: &str = "renew it; with cert-manager, kubectl describe certificate says what is in the way";
