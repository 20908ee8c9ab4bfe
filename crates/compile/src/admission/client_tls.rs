//! TLS towards endpoints (`agent.ValidateTLS`).

use portcullis_api::networking::{ClientTlsMode, ClientTlsSettings};

use super::Review;

/// Before a `credentialName` that means a ConfigMap.
const CONFIG_MAP: &str = "configmap://";

pub(super) fn review(tls: &ClientTlsSettings, namespace: &str, review: &mut Review<'_, '_>) {
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let credential = tls.credential_name.as_deref().unwrap_or_default();
    if let Some(reference) = credential.strip_prefix(CONFIG_MAP) {
        let (space, name) = reference.split_once('/').unwrap_or((reference, ""));
        // What follows a second slash is ignored there.
        let name = name.split('/').next().unwrap_or_default();
        if space != namespace || space.is_empty() || name.is_empty() {
            let message = "must name a ConfigMap of the rule's own namespace";
            review.refuse("credentialName", message, "write configmap://namespace/name");
        }
    }
    let (simple, mutual) = (tls.mode == Some(ClientTlsMode::Simple), tls.mode == Some(ClientTlsMode::Mutual));
    let names_or_authorities = set(&tls.ca_certificates) || !tls.subject_alt_names.is_empty();
    let verified = names_or_authorities || (simple && !credential.is_empty());
    if tls.insecure_skip_verify == Some(true) && (simple || mutual) && verified {
        let message = "does not go with what a certificate would be verified against";
        review.refuse(
            "insecureSkipVerify",
            message,
            "remove it, or caCertificates, credentialName and subjectAltNames",
        );
    }
    if (simple || mutual) && !credential.is_empty() {
        let files = [&tls.client_certificate, &tls.ca_certificates, &tls.private_key, &tls.ca_crl];
        if files.into_iter().any(set) {
            review.refuse("credentialName", "does not go with files", "keep the credential or the files");
        }
        return;
    }
    if mutual {
        for (field, file) in
            [("clientCertificate", &tls.client_certificate), ("privateKey", &tls.private_key)]
        {
            if !set(file) {
                review.refuse(field, "is missing: MUTUAL needs one", "name a file, or set credentialName");
            }
        }
    }
}
