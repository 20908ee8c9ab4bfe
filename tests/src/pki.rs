//! Certificates for tests: an authority, what it signs, and both as files and as Kubernetes Secrets.
//!
//! All keys are new in every run and worth nothing outside it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, date_time_ymd,
};

/// A root that the tests' clients trust.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new root with a new key.
    pub fn new(common_name: &str) -> Self {
        let mut params = params(&[], common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self {
            issuer: CertifiedIssuer::self_signed(params, key()).expect("a root needs nothing but its key"),
        }
    }

    /// The root's certificate in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The root's certificate in DER.
    pub fn der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    /// Writes `<stem>.crt`.
    pub fn write(&self, folder: &Path, stem: &str) -> io::Result<PathBuf> {
        let path = folder.join(format!("{stem}.crt"));
        fs::write(&path, self.pem())?;
        Ok(path)
    }

    /// A certificate for a server of these DNS names (a wildcard is one) and IP addresses.
    pub fn server(&self, names: &[&str]) -> Leaf {
        self.leaf(
            params(names, names.first().copied().unwrap_or("server")),
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// The same with a key for RSA of 2048 bits.
    pub fn rsa_server(&self, names: &[&str]) -> Leaf {
        let params = params(names, names.first().copied().unwrap_or("server"));
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("the system has randomness");
        self.leaf_with(&key, params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The same, but valid in the year 2001 only.
    pub fn expired_server(&self, names: &[&str]) -> Leaf {
        let mut params = params(names, names.first().copied().unwrap_or("server"));
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2001, 12, 31);
        self.leaf(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate by which a client shows who it is; each subject alternative name may be a URI too.
    pub fn client(&self, common_name: &str, names: &[&str]) -> Leaf {
        self.leaf(params(names, common_name), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A Secret with the root alone under `ca.crt`, as a `<credentialName>-cacert` holds it.
    pub fn secret(&self, namespace: &str, name: &str) -> String {
        secret(namespace, name, "Opaque", &[("ca.crt", &self.pem())])
    }

    fn leaf(&self, params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Leaf {
        self.leaf_with(&key(), params, usage)
    }

    fn leaf_with(
        &self,
        key: &KeyPair,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Leaf {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(key, &self.issuer).expect("the issuer's key can sign");
        Leaf {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate_der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }
}

/// A certificate and its private key.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate in PEM, without its issuer's.
    pub certificate_pem: String,
    /// The private key in PEM, PKCS #8.
    pub key_pem: String,
    /// The certificate in DER.
    pub certificate_der: Vec<u8>,
    /// The private key in DER, PKCS #8.
    pub key_der: Vec<u8>,
}

impl Leaf {
    /// Writes `<stem>.crt` and `<stem>.key`, the key readable by its owner only, and tells their paths.
    pub fn write(&self, folder: &Path, stem: &str) -> io::Result<(PathBuf, PathBuf)> {
        let (certificate, key) = (folder.join(format!("{stem}.crt")), folder.join(format!("{stem}.key")));
        fs::write(&certificate, &self.certificate_pem)?;
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&key)?;
        file.write_all(self.key_pem.as_bytes())?;
        Ok((certificate, key))
    }

    /// A Secret of type `kubernetes.io/tls`: `tls.crt` and `tls.key`.
    pub fn tls_secret(&self, namespace: &str, name: &str) -> String {
        let data = [("tls.crt", self.certificate_pem.as_str()), ("tls.key", &self.key_pem)];
        secret(namespace, name, "kubernetes.io/tls", &data)
    }

    /// The same with the root that signs clients under `ca.crt`, for mutual TLS.
    pub fn mutual_secret(&self, namespace: &str, name: &str, clients: &Authority) -> String {
        let ca = clients.pem();
        let data = [("tls.crt", self.certificate_pem.as_str()), ("tls.key", &self.key_pem), ("ca.crt", &ca)];
        secret(namespace, name, "kubernetes.io/tls", &data)
    }

    /// A Secret in Istio's generic spelling: `cert` and `key`.
    pub fn generic_secret(&self, namespace: &str, name: &str) -> String {
        secret(namespace, name, "Opaque", &[("cert", &self.certificate_pem), ("key", &self.key_pem)])
    }
}

/// A Secret as YAML, its values in base64.
pub fn secret(namespace: &str, name: &str, kind: &str, data: &[(&str, &str)]) -> String {
    let data: String =
        data.iter().map(|(key, value)| format!("  {key}: {}\n", BASE64_STANDARD.encode(value))).collect();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {namespace}\ntype: {kind}\ndata:\n{data}"
    )
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let dns_or_ip: Vec<String> =
        names.iter().filter(|name| !name.contains("://")).map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(dns_or_ip).expect("the names of a test are ASCII");
    for uri in names.iter().filter(|name| name.contains("://")) {
        let uri = (*uri).try_into().expect("the names of a test are ASCII");
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
    }
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the system has randomness")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_written_and_the_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::new("test root");
        let (certificate, key) =
            ca.server(&["a.test", "*.b.test", "127.0.0.1"]).write(folder.path(), "a").unwrap();
        assert!(fs::read_to_string(certificate).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(fs::read_to_string(&key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn secrets_hold_what_their_kind_says() {
        let ca = Authority::new("test root");
        let leaf = ca.server(&["a.test"]);
        let yaml = leaf.mutual_secret("istio-system", "a", &ca);
        assert!(yaml.contains("type: kubernetes.io/tls\ndata:\n  tls.crt: LS0t"), "{yaml}");
        assert!(yaml.contains(&format!("\n  ca.crt: {}\n", BASE64_STANDARD.encode(ca.pem()))));
        assert!(leaf.generic_secret("x", "y").contains("\n  key: LS0t"));
        ca.client("ann", &["spiffe://cluster.local/ns/a/sa/b"]);
        ca.expired_server(&["a.test"]);
    }
}
