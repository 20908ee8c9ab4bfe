//! Where certificates, keys and authorities of a server come from: Secrets, or files beside the gateway.

use std::sync::Arc;

use portcullis_api::networking::ServerTlsSettings;

use super::secret::{AuthorityText, Pair, Problem, Secrets};
use crate::diagnostic::{Code, Reporter};
use crate::files::Files;

/// Everything that settings can name.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) secrets: Secrets<'a>,
    pub(super) files: &'a Files,
}

/// A chain with its key, and what it is known by.
pub(super) struct NamedPair<'a> {
    /// The field that names it.
    pub(super) field: String,
    /// What it is called in messages.
    pub(super) called: String,
    pub(super) pair: Pair<'a>,
}

/// Authorities, and what they are known by.
pub(super) struct NamedAuthorities<'a> {
    /// The field that names them, and the one that names their revocation lists.
    pub(super) fields: (&'static str, &'static str),
    /// What both are called in messages.
    pub(super) called: (String, String),
    pub(super) text: AuthorityText<'a>,
}

/// A field and what is wrong with what it names.
pub(super) type Refusal = (String, Problem);

impl<'a> Sources<'a> {
    /// The pairs a server presents; at least one. A Secret comes before files, and `tlsCertificates` before
    /// `serverCertificate` (Istio: `BuildListenerTLSContext`).
    ///
    /// # Errors
    /// What to report, and where.
    pub(super) fn pairs(&self, settings: &'a ServerTlsSettings) -> Result<Vec<NamedPair<'a>>, Refusal> {
        let secrets = credential_names(settings);
        if !secrets.is_empty() {
            return secrets.into_iter().map(|(field, name)| self.in_secret(field, name)).collect();
        }
        let several = settings.tls_certificates.iter().enumerate();
        let several: Vec<_> = several
            .map(|(at, pair)| {
                (format!("tlsCertificates[{at}]."), &pair.server_certificate, &pair.private_key)
            })
            .collect();
        if !several.is_empty() {
            return several
                .into_iter()
                .map(|(at, certificates, key)| self.in_files(&at, certificates.as_ref(), key.as_ref()))
                .collect();
        }
        let ServerTlsSettings { server_certificate, private_key, .. } = settings;
        if !is_written(server_certificate.as_ref()) && !is_written(private_key.as_ref()) {
            return Err((String::new(), nothing_named()));
        }
        Ok(vec![self.in_files("", server_certificate.as_ref(), private_key.as_ref())?])
    }

    /// The authorities that client certificates must chain to.
    ///
    /// # Errors
    /// What to report, and where.
    pub(super) fn authorities(
        &self,
        settings: &'a ServerTlsSettings,
    ) -> Result<NamedAuthorities<'a>, Refusal> {
        let Some((_, first)) = credential_names(settings).into_iter().next() else {
            return self.authorities_in_files(settings);
        };
        let (field, found) = match written(settings.ca_cert_credential_name.as_ref()) {
            Some(name) => ("caCertCredentialName", self.secrets.named_authorities(name)),
            None => ("credentialName", self.secrets.authorities(first)),
        };
        let text = found.map_err(|problem| (field.to_owned(), problem))?;
        let called = text.source.to_string();
        Ok(NamedAuthorities { fields: (field, field), called: (called.clone(), called), text })
    }

    fn in_secret(&self, field: String, name: &str) -> Result<NamedPair<'a>, Refusal> {
        let pair = self.secrets.pair(name).map_err(|problem| (field.clone(), problem))?;
        Ok(NamedPair { field, called: format!("the Secret {}", pair.source), pair })
    }

    /// The pair in two files, whose fields stand behind `at`.
    fn in_files(
        &self,
        at: &str,
        certificates: Option<&'a String>,
        key: Option<&'a String>,
    ) -> Result<NamedPair<'a>, Refusal> {
        let text = |name: &str, path: Option<&'a String>| {
            let field = format!("{at}{name}");
            let Some(path) = written(path) else { return Err((field, half_named(name))) };
            match self.files.text(path) {
                Ok(text) => Ok((path, text)),
                Err(problem) => Err((field, problem)),
            }
        };
        let (path, certificates) = text("serverCertificate", certificates)?;
        let (key_path, key) = text("privateKey", key)?;
        Ok(NamedPair {
            field: format!("{at}serverCertificate"),
            called: format!("the file {path} (key: {key_path})"),
            pair: Pair { source: Arc::from(path), certificates, key },
        })
    }

    fn authorities_in_files(&self, settings: &'a ServerTlsSettings) -> Result<NamedAuthorities<'a>, Refusal> {
        let text =
            |field: &str, path: &str| self.files.text(path).map_err(|problem| (field.to_owned(), problem));
        let path = written(settings.ca_certificates.as_ref())
            .ok_or_else(|| ("caCertificates".to_owned(), no_authorities()))?;
        let list = written(settings.ca_crl.as_ref());
        let certificates = text("caCertificates", path)?;
        let revoked = list.map(|list| text("caCrl", list)).transpose()?;
        Ok(NamedAuthorities {
            fields: ("caCertificates", "caCrl"),
            called: (format!("the file {path}"), format!("the file {}", list.unwrap_or_default())),
            text: AuthorityText { source: Arc::from(path), certificates, revoked },
        })
    }
}

/// Whether certificates come from Secrets.
pub(super) fn names_secrets(settings: &ServerTlsSettings) -> bool {
    !credential_names(settings).is_empty()
}

/// Names what is written and has no effect, since something else says where everything is.
pub(super) fn report_unused(settings: &ServerTlsSettings, reporter: &mut Reporter<'_, '_>) {
    let mut report = |field: String, message: &str| {
        reporter.report(Code::NeverApplies, field, message, "leave one of the two out");
    };
    let ServerTlsSettings { server_certificate, private_key, ca_certificates, ca_crl, .. } = settings;
    if names_secrets(settings) {
        let files = [
            ("serverCertificate", server_certificate),
            ("privateKey", private_key),
            ("caCertificates", ca_certificates),
            ("caCrl", ca_crl),
        ];
        for (field, _) in files.into_iter().filter(|(_, path)| is_written(path.as_ref())) {
            report(field.to_owned(), "has no effect beside credentialName, which says where everything is");
        }
        if !settings.tls_certificates.is_empty() {
            report("tlsCertificates".to_owned(), "have no effect beside credentialName");
        }
        return;
    }
    if !settings.tls_certificates.is_empty() && is_written(server_certificate.as_ref()) {
        report("serverCertificate".to_owned(), "has no effect beside tlsCertificates");
    }
    // Istio only hands digests on where certificates come from Secrets.
    let pins = [
        ("verifyCertificateSpki", &settings.verify_certificate_spki),
        ("verifyCertificateHash", &settings.verify_certificate_hash),
    ];
    for (field, _) in pins.into_iter().filter(|(_, pins)| !pins.is_empty()) {
        let message = "is only looked at where certificates come from a Secret, as in Istio";
        let remedy = "put certificates and authorities into a Secret and name it in credentialName";
        reporter.report(Code::NeverApplies, field, message, remedy);
    }
}

/// The Secrets named, with the fields that name them.
pub(crate) fn credential_names(settings: &ServerTlsSettings) -> Vec<(String, &str)> {
    if let Some(name) = written(settings.credential_name.as_ref()) {
        return vec![("credentialName".to_owned(), name)];
    }
    let names = settings.credential_names.iter().enumerate().filter(|(_, name)| !name.is_empty());
    names.map(|(at, name)| (format!("credentialNames[{at}]"), name.as_str())).collect()
}

fn written(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

fn is_written(text: Option<&String>) -> bool {
    written(text).is_some()
}

fn nothing_named() -> Problem {
    Problem {
        code: Code::SchemaValidationError,
        message: "no certificate is named".to_owned(),
        remedy: "name a Secret in credentialName, or files in serverCertificate and privateKey",
    }
}

fn half_named(missing: &str) -> Problem {
    Problem {
        code: Code::SchemaValidationError,
        message: format!("{missing} is missing: a certificate and its key come together"),
        remedy: "name both files",
    }
}

fn no_authorities() -> Problem {
    Problem {
        code: Code::SchemaValidationError,
        message: "no authorities are named that client certificates must chain to".to_owned(),
        remedy: "name a file in caCertificates, or a Secret with everything in credentialName",
    }
}
