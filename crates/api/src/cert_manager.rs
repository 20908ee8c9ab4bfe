//! What cert-manager is asked for by annotations of a Gateway, in the words of its own API (`cert-manager.io/v1`).
//!
//! ```yaml
//! metadata:
//!   annotations:
//!     cert-manager.io/cluster-issuer: letsencrypt
//! ```
//!
//! The annotations and what they mean are those that cert-manager reads from an Ingress (cert-manager documentation,
//! "Annotated Ingress resource").

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::map::Map;

/// What every annotation begins with.
pub const PREFIX: &str = "cert-manager.io/";
/// The label of a Certificate, by its Gateway's identity, that tells which ones are the gateway's own.
pub const GATEWAY_UID: &str = "portcullis.dev/gateway-uid";
/// The annotation of a Certificate that names its Gateway for people: `namespace/name`.
pub const GATEWAY: &str = "portcullis.dev/gateway";

/// The label of what cert-manager's solvers for HTTP-01 are made of; its value is `true`.
pub const SOLVER: &str = "acme.cert-manager.io/http01-solver";

const KEY_ALGORITHMS: &[&str] = &["RSA", "ECDSA", "Ed25519"];
const KEY_ENCODINGS: &[&str] = &["PKCS1", "PKCS8"];
const ROTATION_POLICIES: &[&str] = &["Never", "Always"];
/// The shortest certificate and the shortest time before its end that cert-manager takes.
const SHORTEST_DURATION_NANOS: i64 = 3_600_000_000_000;
const SHORTEST_RENEWAL_NANOS: i64 = 300_000_000_000;

/// `spec` of a Certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSpec {
    /// The Secret that gets the certificate and its key.
    pub secret_name: String,
    /// Who issues it.
    pub issuer_ref: IssuerRef,
    /// Subject alternative names: host names, also with a wildcard.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// Subject alternative names: addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// Subject alternative names: URIs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uris: Vec<String>,
    /// Subject alternative names: e-mail addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub email_addresses: Vec<String>,
    /// The subject's common name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// The rest of the subject: lists of values by cert-manager's names, and `serialNumber`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// How long the certificate is good for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// How long before its end a new one is fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<String>,
    /// What the key may be used for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub usages: Vec<String>,
    /// The kind of key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PrivateKey>,
    /// How many requests are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<u32>,
    /// Labels and annotations of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_template: Option<SecretTemplate>,
}

/// Who issues a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct IssuerRef {
    /// Its name.
    pub name: String,
    /// `Issuer`, `ClusterIssuer`, or a kind of another group.
    pub kind: String,
    /// Its API group.
    pub group: String,
}

/// The subject of a certificate beside its common name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Values by the name of their field, such as `organizations`.
    #[serde(flatten)]
    pub lists: BTreeMap<&'static str, Vec<String>>,
    /// The serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
}

/// The private key of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateKey {
    /// `RSA`, `ECDSA` or `Ed25519`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// In bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// `PKCS1` or `PKCS8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Whether each certificate gets a key of its own: `Never` or `Always`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_policy: Option<String>,
}

/// Metadata of the Secret of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretTemplate {
    /// Labels.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub labels: Map<String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub annotations: Map<String>,
}

/// An annotation that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Its key.
    pub annotation: String,
    /// What is wrong with it, a sentence that goes on from its name.
    pub message: String,
}

/// What the annotations ask for: everything but the names and the Secret, which the servers say. `None` where they name
/// no issuer.
///
/// # Errors
/// Every annotation that cannot be followed; none of the others is then followed either.
pub fn asked(annotations: &Map<String>) -> Result<Option<CertificateSpec>, Vec<Wrong>> {
    let mut reader = Reader { annotations, wrong: Vec::new() };
    let Some(issuer_ref) = reader.issuer() else {
        return if reader.wrong.is_empty() { Ok(None) } else { Err(reader.wrong) };
    };
    let spec = CertificateSpec {
        secret_name: String::new(),
        issuer_ref,
        dns_names: reader.list("alt-names"),
        ip_addresses: reader.addresses("ip-sans"),
        uris: reader.list("uri-sans"),
        email_addresses: reader.list("email-sans"),
        common_name: reader.text("common-name"),
        subject: reader.subject(),
        duration: reader.duration("duration", SHORTEST_DURATION_NANOS),
        renew_before: reader.duration("renew-before", SHORTEST_RENEWAL_NANOS),
        usages: reader.list("usages"),
        private_key: reader.private_key(),
        revision_history_limit: reader.number("revision-history-limit", 1, u32::MAX),
        secret_template: reader.secret_template(),
    };
    if reader.wrong.is_empty() { Ok(Some(spec)) } else { Err(reader.wrong) }
}

struct Reader<'a> {
    annotations: &'a Map<String>,
    wrong: Vec<Wrong>,
}

impl Reader<'_> {
    fn issuer(&mut self) -> Option<IssuerRef> {
        let said = |name: &str| self.annotations.get(&format!("{PREFIX}{name}")).map(|name| name.trim());
        let (own, cluster) = (said("issuer"), said("cluster-issuer"));
        if own == Some("") || cluster == Some("") {
            let name = if own == Some("") { "issuer" } else { "cluster-issuer" };
            self.refuse(name, "names no issuer");
            return None;
        }
        let (name, kind) = match (own, cluster) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                self.refuse(
                    "issuer",
                    "and cluster-issuer are both there, and one certificate has one issuer",
                );
                return None;
            }
            (Some(name), None) => (name, "Issuer"),
            (None, Some(name)) => (name, "ClusterIssuer"),
        };
        let name = name.to_owned();
        // Issuers of other kinds are named in the same way.
        let kind = self.text("issuer-kind").unwrap_or_else(|| kind.to_owned());
        let group = self.text("issuer-group").unwrap_or_else(|| "cert-manager.io".to_owned());
        Some(IssuerRef { name, kind, group })
    }

    fn subject(&mut self) -> Option<Subject> {
        let mut subject =
            Subject { lists: BTreeMap::new(), serial_number: self.text("subject-serialnumber") };
        for (annotation, field) in [
            ("subject-organizations", "organizations"),
            ("subject-organizationalunits", "organizationalUnits"),
            ("subject-countries", "countries"),
            ("subject-provinces", "provinces"),
            ("subject-localities", "localities"),
            ("subject-postalcodes", "postalCodes"),
            ("subject-streetaddresses", "streetAddresses"),
        ] {
            let values = self.list(annotation);
            if !values.is_empty() {
                subject.lists.insert(field, values);
            }
        }
        (subject != Subject::default()).then_some(subject)
    }

    fn private_key(&mut self) -> Option<PrivateKey> {
        let algorithm = self.choice("private-key-algorithm", KEY_ALGORITHMS);
        let size = match algorithm.as_deref() {
            Some("ECDSA") => self.number("private-key-size", 256, 521),
            _ => self.number("private-key-size", 2048, 8192),
        };
        let key = PrivateKey {
            algorithm,
            size,
            encoding: self.choice("private-key-encoding", KEY_ENCODINGS),
            rotation_policy: self.choice("private-key-rotation-policy", ROTATION_POLICIES),
        };
        (key != PrivateKey::default()).then_some(key)
    }

    fn secret_template(&mut self) -> Option<SecretTemplate> {
        let text = self.text("secret-template")?;
        // A list would do for an object as well, if it were asked for at once.
        let read = serde_json::from_str(&text).map(serde_json::Value::Object);
        let read = read.and_then(serde_json::from_value::<SecretTemplate>);
        if let Err(error) = &read {
            self.refuse("secret-template", format!("is no JSON object with labels and annotations: {error}"));
        }
        let template = read.ok()?;
        let own = template.annotations.keys().find(|key| key.starts_with(PREFIX)).cloned();
        if let Some(own) = own {
            self.refuse("secret-template", format!("sets {own}, which is cert-manager's own"));
        }
        Some(template)
    }

    fn text(&self, name: &str) -> Option<String> {
        let text = self.annotations.get(&format!("{PREFIX}{name}"))?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn addresses(&mut self, name: &str) -> Vec<String> {
        let list = self.list(name);
        if let Some(item) = list.iter().find(|item| item.parse::<IpAddr>().is_err()) {
            self.refuse(name, format!("has {item:?}, which is no address"));
        }
        list
    }

    fn choice(&mut self, name: &str, choices: &[&str]) -> Option<String> {
        let text = self.text(name)?;
        let found = choices.iter().find(|choice| choice.eq_ignore_ascii_case(&text));
        if found.is_none() {
            self.refuse(name, format!("is {text:?}, not one of {}", choices.join(", ")));
        }
        found.map(|&choice| choice.to_owned())
    }

    fn number(&mut self, name: &str, least: u32, most: u32) -> Option<u32> {
        let text = self.text(name)?;
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let bound =
                if most == u32::MAX { format!("from {least}") } else { format!("from {least} to {most}") };
            self.refuse(name, format!("is {text:?}, not a number {bound}"));
        }
        number
    }

    fn duration(&mut self, name: &str, shortest: i64) -> Option<String> {
        let text = self.text(name)?;
        if duration::parse_nanos(&text).is_none_or(|nanos| nanos < shortest) {
            let shortest = shortest / 60_000_000_000;
            self.refuse(
                name,
                format!("is {text:?}, not a duration such as \"2160h\" of {shortest} minutes or more"),
            );
        }
        Some(text)
    }

    fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.wrong.push(Wrong { annotation: format!("{PREFIX}{name}"), message: message.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotations: &[(&str, &str)]) -> Result<Option<CertificateSpec>, Vec<Wrong>> {
        let keyed = annotations.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()));
        asked(&keyed.collect())
    }

    #[test]
    fn nothing_is_asked_without_an_issuer() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("duration", "nonsense")]), Ok(None));
    }

    #[test]
    fn the_words_are_those_of_cert_manager() {
        let spec = read(&[
            ("cluster-issuer", " letsencrypt "),
            ("alt-names", "a.test, b.test,"),
            ("ip-sans", "192.0.2.1,2001:db8::1"),
            ("common-name", "a.test"),
            ("subject-organizations", "One,Two"),
            ("subject-serialnumber", "7"),
            ("duration", "2160h"),
            ("renew-before", "360h0m0s"),
            ("usages", "server auth,client auth"),
            ("private-key-algorithm", "ecdsa"),
            ("private-key-size", "384"),
            ("private-key-rotation-policy", "Always"),
            ("revision-history-limit", "3"),
            ("secret-template", r#"{"labels": {"a": "b"}}"#),
        ]);
        let json = serde_json::to_value(spec.unwrap().unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "secretName": "",
                "issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer", "group": "cert-manager.io"},
                "dnsNames": ["a.test", "b.test"],
                "ipAddresses": ["192.0.2.1", "2001:db8::1"],
                "commonName": "a.test",
                "subject": {"organizations": ["One", "Two"], "serialNumber": "7"},
                "duration": "2160h",
                "renewBefore": "360h0m0s",
                "usages": ["server auth", "client auth"],
                "privateKey": {"algorithm": "ECDSA", "size": 384, "rotationPolicy": "Always"},
                "revisionHistoryLimit": 3,
                "secretTemplate": {"labels": {"a": "b"}},
            })
        );
    }

    #[test]
    fn issuers_of_other_groups_are_named_too() {
        let spec =
            read(&[("issuer", "x"), ("issuer-kind", "StepIssuer"), ("issuer-group", "certmanager.step.sm")]);
        let expected =
            IssuerRef { name: "x".into(), kind: "StepIssuer".into(), group: "certmanager.step.sm".into() };
        assert_eq!(spec.unwrap().unwrap().issuer_ref, expected);
    }

    #[test]
    fn each_wrong_annotation_is_named() {
        for (name, value) in [
            ("duration", "90d"),
            ("duration", "10m"),
            ("renew-before", "1m"),
            ("ip-sans", "a.test"),
            ("private-key-algorithm", "DSA"),
            ("private-key-size", "1024"),
            ("private-key-encoding", "DER"),
            ("revision-history-limit", "0"),
            ("secret-template", "[]"),
            ("secret-template", r#"{"annotations": {"cert-manager.io/issuer-name": "x"}}"#),
            ("cluster-issuer", "y"),
        ] {
            let wrong = read(&[("issuer", "x"), (name, value)]).unwrap_err();
            let [wrong] = wrong.as_slice() else { panic!("{name} {value}: {wrong:?}") };
            let named = if name == "cluster-issuer" { "issuer" } else { name };
            assert_eq!(wrong.annotation, format!("{PREFIX}{named}"), "{value}");
        }
        assert!(read(&[("issuer", "")]).is_err());
    }
}
