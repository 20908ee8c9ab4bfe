//! Where authorities and client certificate of upstream TLS come from: Secrets, files, the system, the mesh.

use std::sync::Arc;

use portcullis_api::networking::{ClientTlsMode, ClientTlsSettings};

use crate::credentials::secret::{AuthorityText, Pair, Problem, Secrets};
use crate::diagnostic::Code;
use crate::files::{Files, MESH_IDENTITIES, SYSTEM_ROOTS};

/// Whom a configuration trusts, before anything is parsed.
pub(super) enum Anchors<'a> {
    /// These authorities, less what the lists revoke.
    Given {
        /// The field that names them, and what they are called in messages.
        field: &'static str,
        called: String,
        certificates: &'a [u8],
        revoked: Option<&'a [u8]>,
    },
    /// Those of the operating system.
    System {
        revoked: Option<&'a [u8]>,
    },
    Anyone,
    Nobody(Arc<str>),
}

/// A client certificate with its key, as text.
pub(super) struct KeyPair<'a> {
    pub(super) field: &'static str,
    pub(super) called: String,
    pub(super) certificates: &'a [u8],
    pub(super) key: &'a [u8],
}

/// Everything that settings can name.
pub(super) struct Sources<'a> {
    pub(super) secrets: Secrets<'a>,
    pub(super) files: &'a Files,
}

/// A field and what is wrong with what it names.
type Refusal = (&'static str, Problem);

impl<'a> Sources<'a> {
    /// Finds what `settings` name.
    ///
    /// # Errors
    /// What to report, and where: nothing can be trusted or presented then.
    pub(super) fn find(
        &self,
        settings: &ClientTlsSettings,
        mode: ClientTlsMode,
    ) -> Result<(Anchors<'a>, Option<KeyPair<'a>>), Refusal> {
        let insecure = settings.insecure_skip_verify == Some(true);
        let (anchors, pair) = match (mode, written(settings.credential_name.as_ref())) {
            (ClientTlsMode::IstioMutual, _) => self.of_mesh()?,
            (mode, Some(name)) => {
                let in_credential = |problem| ("credentialName", problem);
                let anchors = match insecure {
                    true => Anchors::Anyone,
                    false => given_in_secret(self.secrets.authorities(name).map_err(in_credential)?),
                };
                let pair = match mode {
                    ClientTlsMode::Mutual => {
                        Some(pair_in_secret(self.secrets.pair(name).map_err(in_credential)?))
                    }
                    _ => None,
                };
                (anchors, pair)
            }
            (mode, None) => {
                let anchors = if insecure { Anchors::Anyone } else { self.in_files(settings)? };
                let pair =
                    if mode == ClientTlsMode::Mutual { Some(self.pair_in_files(settings)?) } else { None };
                (anchors, pair)
            }
        };
        // The mesh's authorities are looked for all the same: without them there is no certificate to present.
        Ok((if insecure { Anchors::Anyone } else { anchors }, pair))
    }

    fn in_files(&self, settings: &ClientTlsSettings) -> Result<Anchors<'a>, Refusal> {
        let file = |field, path| self.files.text(path).map_err(|problem| (field, problem));
        let revoked = written(settings.ca_crl.as_ref()).map(|path| file("caCrl", path)).transpose()?;
        Ok(match written(settings.ca_certificates.as_ref()) {
            None | Some(SYSTEM_ROOTS) => Anchors::System { revoked },
            Some(path) => Anchors::Given {
                field: "caCertificates",
                called: format!("the file {path}"),
                certificates: file("caCertificates", path)?,
                revoked,
            },
        })
    }

    fn pair_in_files(&self, settings: &ClientTlsSettings) -> Result<KeyPair<'a>, Refusal> {
        let file = |field, path: Option<&String>| {
            let path = written(path).ok_or_else(|| (field, not_named()))?;
            let text = self.files.text(path).map_err(|problem| (field, problem))?;
            Ok::<_, Refusal>((path.to_owned(), text))
        };
        let (path, certificates) = file("clientCertificate", settings.client_certificate.as_ref())?;
        let (_, key) = file("privateKey", settings.private_key.as_ref())?;
        Ok(KeyPair { field: "clientCertificate", called: format!("the file {path}"), certificates, key })
    }

    /// The certificate that the mesh gave this workload, where it is mounted.
    fn of_mesh(&self) -> Result<(Anchors<'a>, Option<KeyPair<'a>>), Refusal> {
        let complete = |paths: &[&'static str; 3]| {
            let text = |path| self.files.text(path).ok();
            let [chain, key, root] = *paths;
            Some((chain, text(chain)?, text(key)?, root, text(root)?))
        };
        let found = MESH_IDENTITIES.iter().find_map(complete);
        let (chain, certificates, key, root, authorities) = found.ok_or_else(|| ("mode", not_in_mesh()))?;
        let anchors = Anchors::Given {
            field: "mode",
            called: format!("the file {root}"),
            certificates: authorities,
            revoked: None,
        };
        let pair = KeyPair { field: "mode", called: format!("the file {chain}"), certificates, key };
        Ok((anchors, Some(pair)))
    }
}

fn given_in_secret(text: AuthorityText<'_>) -> Anchors<'_> {
    let AuthorityText { source, certificates, revoked } = text;
    Anchors::Given { field: "credentialName", called: format!("the Secret {source}"), certificates, revoked }
}

fn pair_in_secret(pair: Pair<'_>) -> KeyPair<'_> {
    let Pair { source, certificates, key } = pair;
    KeyPair { field: "credentialName", called: format!("the Secret {source}"), certificates, key }
}

fn written(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

fn not_named() -> Problem {
    Problem {
        code: Code::SchemaValidationError,
        message: "MUTUAL needs a client certificate, and none is named: connections to this service fail"
            .to_owned(),
        remedy: "name a Secret in credentialName, or files in clientCertificate and privateKey",
    }
}

fn not_in_mesh() -> Problem {
    let [first, second] = MESH_IDENTITIES;
    Problem {
        code: Code::ReferencedResourceNotFound,
        message: format!(
            "ISTIO_MUTUAL needs the mesh's own certificates, and there are none at {} or {}: connections to this service fail",
            first.join(", "),
            second.join(", ")
        ),
        remedy: "mount them into the gateway, or use MUTUAL with certificates of your own",
    }
}
