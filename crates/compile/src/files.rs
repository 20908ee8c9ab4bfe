//! Files that objects refer to by path: certificates, keys and revocation lists beside the gateway.
//!
//! `compile` reads no file. [`referenced_files`] says which ones the objects name, without looking at anything
//! else; the caller reads those (and follows them while it serves) and hands their content over as
//! [`Environment::files`](crate::Environment::files). Where a field names a path, the compiler takes it out of
//! there with [`Files::text`], and what is missing is a [`Problem`] to report at that field.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use portcullis_api::networking::{ClientTlsMode, ClientTlsSettings, ServerTlsSettings, TrafficPolicy};

use crate::credentials::secret::Problem;
use crate::diagnostic::Code;
use crate::objects::Objects;

/// Where a workload finds the mesh's certificates when they are mounted: chain, key, authorities. The first
/// place that has all three counts (Istio's `security.WorkloadIdentityPath` and `constants.AuthCertsPath`).
pub(crate) const MESH_IDENTITIES: [[&str; 3]; 2] = [
    [
        "/var/run/secrets/workload-spiffe-credentials/certificates.pem",
        "/var/run/secrets/workload-spiffe-credentials/private_key.pem",
        "/var/run/secrets/workload-spiffe-credentials/ca_certificates.pem",
    ],
    ["/etc/certs/cert-chain.pem", "/etc/certs/key.pem", "/etc/certs/root-cert.pem"],
];

/// `caCertificates` of this value names no file: it stands for the system's authorities, as at Istio.
pub(crate) const SYSTEM_ROOTS: &str = "system";

/// Content of files by path as the objects write it; cloning shares the content.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Files {
    held: BTreeMap<String, Result<Arc<[u8]>, String>>,
}

impl fmt::Debug for Files {
    /// Without any content: there are private keys among it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |held: &Result<Arc<[u8]>, String>| held.as_ref().map(|content| content.len()).ok();
        out.debug_map().entries(self.held.iter().map(|(path, held)| (path, shown(held)))).finish()
    }
}

impl Files {
    /// Says what the file at `path` holds, or why it cannot be read.
    pub fn insert(&mut self, path: impl Into<String>, content: Result<Arc<[u8]>, String>) {
        self.held.insert(path.into(), content);
    }

    /// Content of the file that an object names by `path`.
    ///
    /// # Errors
    /// What to report at the field when the file is missing, unreadable or blank.
    pub(crate) fn text(&self, path: &str) -> Result<&[u8], Problem> {
        let reason = match self.held.get(path) {
            Some(Ok(content)) if content.iter().all(u8::is_ascii_whitespace) => "it is empty",
            Some(Ok(content)) => return Ok(content),
            Some(Err(reason)) => reason,
            None => "it was not looked at",
        };
        Err(Problem {
            code: Code::ReferencedResourceNotFound,
            message: format!("the file {path} cannot be used: {reason}"),
            remedy: "mount it into the gateway at this path, or put its content into a Secret and name that in credentialName",
        })
    }
}

/// Paths of the files that `objects` name, whatever Gateway or DestinationRule they stand in. A path beside a
/// `credentialName` has no effect and is left out. Depends on the objects alone.
#[must_use]
pub fn referenced_files(objects: &Objects) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let servers = objects.gateways.values().flat_map(|gateway| &gateway.spec.servers);
    for tls in servers.filter_map(|server| server.tls.as_ref()) {
        of_server(tls, &mut paths);
    }
    for rule in objects.destination_rules.values() {
        let subsets = rule.spec.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
        for policy in rule.spec.traffic_policy.iter().chain(subsets) {
            for tls in client_settings(policy) {
                of_client(tls, &mut paths);
            }
        }
    }
    paths
}

/// The TLS settings of a policy and of its single ports.
fn client_settings(policy: &TrafficPolicy) -> impl Iterator<Item = &ClientTlsSettings> {
    let ports = policy.port_level_settings.iter().filter_map(|port| port.tls.as_ref());
    policy.tls.iter().chain(ports)
}

fn of_server(tls: &ServerTlsSettings, paths: &mut BTreeSet<String>) {
    if is_named(tls.credential_name.as_deref()) || !tls.credential_names.is_empty() {
        return;
    }
    let single = [&tls.server_certificate, &tls.private_key, &tls.ca_certificates, &tls.ca_crl];
    let several = tls.tls_certificates.iter();
    let several =
        several.flat_map(|pair| [&pair.server_certificate, &pair.private_key, &pair.ca_certificates]);
    add(single.into_iter().chain(several), paths);
}

fn of_client(tls: &ClientTlsSettings, paths: &mut BTreeSet<String>) {
    match tls.mode {
        None | Some(ClientTlsMode::Disable) => {}
        Some(ClientTlsMode::IstioMutual) => {
            paths.extend(MESH_IDENTITIES.iter().flatten().map(|path| (*path).to_owned()));
        }
        Some(ClientTlsMode::Simple | ClientTlsMode::Mutual) if is_named(tls.credential_name.as_deref()) => {}
        Some(ClientTlsMode::Simple) => add([&tls.ca_certificates, &tls.ca_crl], paths),
        Some(ClientTlsMode::Mutual) => {
            add([&tls.client_certificate, &tls.private_key, &tls.ca_certificates, &tls.ca_crl], paths);
        }
    }
}

fn add<'a>(written: impl IntoIterator<Item = &'a Option<String>>, paths: &mut BTreeSet<String>) {
    let written = written.into_iter().filter_map(|path| path.as_deref());
    paths.extend(written.filter(|path| !path.is_empty() && *path != SYSTEM_ROOTS).map(str::to_owned));
}

fn is_named(credential: Option<&str>) -> bool {
    credential.is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_count_where_they_have_an_effect() {
        let yaml = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ['*']
    tls: {mode: MUTUAL, serverCertificate: /s.crt, privateKey: /s.key, caCertificates: /s.ca, caCrl: /s.crl}
  - port: {number: 444, name: more, protocol: HTTPS}
    hosts: ['*']
    tls: {mode: SIMPLE, credentialName: web, serverCertificate: /unused.crt}
  - port: {number: 445, name: two, protocol: HTTPS}
    hosts: ['*']
    tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: /t.crt, privateKey: /t.key}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: dr, namespace: default}
spec:
  host: a
  trafficPolicy:
    tls: {mode: SIMPLE, caCertificates: /a.ca, clientCertificate: /unused.crt}
    portLevelSettings:
    - port: {number: 80}
      tls: {mode: MUTUAL, clientCertificate: /p.crt, privateKey: /p.key, caCrl: /p.crl}
  subsets:
  - name: v1
    trafficPolicy: {tls: {mode: SIMPLE, credentialName: x, caCertificates: /unused.ca}}
";
        let objects: Objects = portcullis_api::load("a.yaml", yaml).objects.into_iter().collect();
        let paths: Vec<_> = referenced_files(&objects).into_iter().collect();
        let expected = [
            "/a.ca", "/p.crl", "/p.crt", "/p.key", "/s.ca", "/s.crl", "/s.crt", "/s.key", "/t.crt", "/t.key",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn no_content_is_shown() {
        let mut files = Files::default();
        files.insert("/a.key", Ok(b"secret".as_slice().into()));
        files.insert("/b.key", Err("permission denied".to_owned()));
        assert_eq!(format!("{files:?}"), r#"{"/a.key": Some(6), "/b.key": None}"#);
        assert_eq!(files.text("/a.key"), Ok(b"secret".as_slice()));
        assert!(files.text("/b.key").is_err_and(|problem| problem.message.contains("permission denied")));
        assert!(files.text("/c.key").is_err());
    }
}
