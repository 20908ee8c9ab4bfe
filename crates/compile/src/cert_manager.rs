//! The certificates that Gateways ask cert-manager for: one for each Secret that their servers name.
//!
//! cert-manager follows its annotations on an Ingress and on the Gateway API, not on a Gateway of Istio's. So a Gateway
//! that carries one is read here as cert-manager would read it there, and comes to Certificates (Kubernetes reference
//! §4.2). Writing them is the control plane's business.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use portcullis_api::cert_manager::{CertificateSpec, asked};
use portcullis_api::networking::{Server, ServerTlsMode};
use portcullis_api::{Gateway, Kind, ObjectRef};

use crate::credentials::credential_names;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Subject};
use crate::environment::Environment;
use crate::gateway::{oldest_first, selects};
use crate::objects::Objects;

/// Which Gateways may ask. A certificate lies beside the gateway, so one that is asked for from another namespace is made
/// with the rights of this one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificateRules {
    /// Namespaces beside the gateway's own whose Gateways may ask; `*` is every namespace.
    pub namespaces: Vec<String>,
    /// Issuers that these may name, `ClusterIssuer/letsencrypt`; empty is every issuer.
    pub issuers: Vec<String>,
}

/// A certificate that is wanted, in the gateway's own namespace under the name of its Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedCertificate {
    /// The Gateway that asks.
    pub gateway: ObjectRef,
    /// The API server's identity of it.
    pub gateway_uid: String,
    /// What is asked for.
    pub spec: CertificateSpec,
}

/// What the Gateways come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certificates {
    /// By the name of the Secret.
    pub wanted: BTreeMap<String, WantedCertificate>,
    /// What cannot be asked for, and why.
    pub diagnostics: Vec<Diagnostic>,
}

/// The certificates that the Gateways of this workload ask for. Of two Gateways that ask for one Secret the older one
/// gets it.
#[must_use]
pub fn certificates(objects: &Objects, environment: &Environment, rules: &CertificateRules) -> Certificates {
    let mut asking =
        Asking { environment, rules, wanted: BTreeMap::new(), diagnostics: Diagnostics::default() };
    for gateway in oldest_first(objects).into_iter().filter(|gateway| selects(gateway, environment)) {
        asking.of_gateway(gateway);
    }
    Certificates { wanted: asking.wanted, diagnostics: asking.diagnostics.into_sorted() }
}

struct Asking<'a> {
    environment: &'a Environment,
    rules: &'a CertificateRules,
    wanted: BTreeMap<String, WantedCertificate>,
    diagnostics: Diagnostics,
}

impl Asking<'_> {
    fn of_gateway(&mut self, gateway: &Gateway) {
        let subject = Subject::new(Kind::Gateway, gateway);
        let spec = match asked(&gateway.meta.annotations) {
            Ok(None) => return,
            Ok(Some(spec)) => spec,
            Err(wrong) => {
                for wrong in wrong {
                    let field = format!("metadata.annotations[{:?}]", wrong.annotation);
                    let message = format!("{}, so no certificate is asked for", wrong.message);
                    let remedy = "write it as for an Ingress (cert-manager, \"Supported annotations\")";
                    self.diagnostics.report(Code::BadCertificateRequest, subject, field, message, remedy);
                }
                return;
            }
        };
        if !self.may_ask(gateway, &spec) {
            return;
        }
        for (index, server) in gateway.spec.servers.iter().enumerate() {
            self.of_server(gateway, (index, server), &spec);
        }
        if gateway.spec.servers.iter().all(|server| credentials(server).is_empty()) {
            self.diagnostics.report(
                Code::BadCertificateRequest,
                subject,
                "metadata.annotations",
                "names an issuer, but no server of the Gateway has a certificate to be issued",
                "give a server tls.mode SIMPLE and a credentialName",
            );
        }
    }

    fn may_ask(&mut self, gateway: &Gateway, spec: &CertificateSpec) -> bool {
        let own = &self.environment.workload.namespace;
        let namespace = &gateway.meta.namespace;
        if namespace == own {
            return true;
        }
        let issuer = format!("{}/{}", spec.issuer_ref.kind, spec.issuer_ref.name);
        let (what, setting) = if !self.rules.namespaces.iter().any(|name| name == "*" || name == namespace) {
            (
                format!("namespace {namespace} may not ask for certificates in {own}"),
                "cert_manager.namespaces",
            )
        } else if !self.rules.issuers.is_empty() && !self.rules.issuers.contains(&issuer) {
            (format!("{issuer} may not be named from another namespace than {own}"), "cert_manager.issuers")
        } else {
            return true;
        };
        self.diagnostics.report(
            Code::CertificateNotAllowed,
            Subject::new(Kind::Gateway, gateway),
            "metadata.annotations",
            format!("asks for a certificate, and {what}"),
            format!("allow it in the gateway's setting {setting}, or write the Certificate by hand in {own}"),
        );
        false
    }

    fn of_server(&mut self, gateway: &Gateway, (index, server): (usize, &Server), asked: &CertificateSpec) {
        let subject = Subject::new(Kind::Gateway, gateway);
        for (field, secret) in credentials(server) {
            let field = format!("spec.servers[{index}].tls.{field}");
            if secret.contains("://") {
                let message =
                    format!("{secret:?} is no plain name of a Secret, so no certificate is asked for");
                let remedy = "name the Secret alone: it is looked up in the gateway's namespace";
                self.diagnostics.report(Code::BadCertificateRequest, subject, field, message, remedy);
                continue;
            }
            let names = host_names(server);
            if names.is_empty() && asked.dns_names.is_empty() && asked.ip_addresses.is_empty() {
                let message = "its hosts name no host, and a certificate needs a name";
                let remedy = "name hosts, or some in the annotation cert-manager.io/alt-names";
                self.diagnostics.report(Code::BadCertificateRequest, subject, field, message, remedy);
                continue;
            }
            match self.wanted.entry(secret.to_owned()) {
                Entry::Vacant(free) => {
                    let mut spec = CertificateSpec { secret_name: secret.to_owned(), ..asked.clone() };
                    spec.dns_names.splice(..0, names);
                    let identity = gateway.meta.identity.as_ref();
                    let gateway_uid = identity.and_then(|identity| identity.uid.clone()).unwrap_or_default();
                    free.insert(WantedCertificate { gateway: subject.object_ref(), gateway_uid, spec });
                }
                Entry::Occupied(taken) if taken.get().gateway != subject.object_ref() => {
                    let holder = &taken.get().gateway;
                    let message =
                        format!("the older {holder} asks for the certificate of Secret {secret} already");
                    let remedy = "name another Secret, or take the annotation away from one of the two";
                    self.diagnostics.report(Code::CertificateConflict, subject, field, message, remedy);
                }
                Entry::Occupied(mut own) => own.get_mut().spec.dns_names.extend(names),
            }
            if let Some(wanted) = self.wanted.get_mut(secret) {
                let mut seen = std::collections::HashSet::new();
                wanted.spec.dns_names.retain(|name| seen.insert(name.clone()));
            }
        }
    }
}

/// The Secrets of a server that ends TLS, with the fields that name them.
fn credentials(server: &Server) -> Vec<(String, &str)> {
    let Some(tls) = &server.tls else { return Vec::new() };
    let ends_tls = matches!(
        tls.mode,
        Some(ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual)
    );
    if !ends_tls {
        return Vec::new();
    }
    credential_names(tls)
}

/// The hosts that a certificate can name, without the namespaces before them.
fn host_names(server: &Server) -> Vec<String> {
    let hosts = server.hosts.iter().map(|host| host.split_once('/').map_or(host.as_str(), |(_, host)| host));
    hosts.filter(|host| *host != "*" && !host.is_empty()).map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{environment, objects};

    const HEAD: &str = "apiVersion: networking.istio.io/v1\nkind: Gateway\n";

    fn gateway(name: &str, annotations: &str, servers: &str) -> String {
        format!(
            "{HEAD}metadata: {{name: {name}, namespace: gw, annotations: {{{annotations}}}}}\n\
             spec: {{selector: {{istio: ingressgateway}}, servers: [{servers}]}}\n---\n"
        )
    }

    fn https(hosts: &str, secret: &str) -> String {
        format!(
            "{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: [{hosts}], \
             tls: {{mode: SIMPLE, credentialName: {secret}}}}}"
        )
    }

    fn of(text: &str, rules: &CertificateRules) -> Certificates {
        certificates(&objects(text), &environment(), rules)
    }

    fn codes(found: &Certificates) -> Vec<Code> {
        found.diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
    }

    const ISSUER: &str = "cert-manager.io/cluster-issuer: le";

    #[test]
    fn one_certificate_for_each_secret_with_the_hosts_of_its_servers() {
        let plain = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}";
        let passed =
            "{port: {number: 5432, name: tls, protocol: TLS}, hosts: [db.test], tls: {mode: PASSTHROUGH}}";
        let servers = [
            https("A.test, 'x/b.test', '*'", "one"),
            https("b.test, '*.c.test'", "one").replace("443", "8443"),
            https("d.test", "two"),
            plain.to_owned(),
            passed.to_owned(),
        ];
        let found = of(&gateway("g", ISSUER, &servers.join(", ")), &CertificateRules::default());
        assert_eq!(found.diagnostics, []);
        let names: Vec<_> = found
            .wanted
            .iter()
            .map(|(secret, wanted)| (secret.as_str(), wanted.spec.dns_names.join(" ")))
            .collect();
        assert_eq!(names, [("one", "a.test b.test *.c.test".to_owned()), ("two", "d.test".to_owned())]);
        assert_eq!(found.wanted["one"].spec.secret_name, "one");
        assert_eq!(found.wanted["one"].spec.issuer_ref.kind, "ClusterIssuer");
    }

    #[test]
    fn the_older_of_two_gateways_has_a_secret() {
        let text = gateway("a", ISSUER, &https("a.test", "s")) + &gateway("b", ISSUER, &https("b.test", "s"));
        let found = of(&text, &CertificateRules::default());
        assert_eq!(found.wanted["s"].gateway.name, "a");
        assert_eq!(found.wanted["s"].spec.dns_names, ["a.test"]);
        assert_eq!(codes(&found), [Code::CertificateConflict]);
        assert_eq!(found.diagnostics[0].object.name, "b");
    }

    #[test]
    fn another_namespace_needs_leave() {
        let text = gateway("g", ISSUER, &https("a.test", "s")).replace("namespace: gw", "namespace: app");
        let rules = |namespaces: &[&str], issuers: &[&str]| CertificateRules {
            namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
            issuers: issuers.iter().map(|&name| name.to_owned()).collect(),
        };
        for (rules, allowed) in [
            (rules(&[], &[]), false),
            (rules(&["other"], &[]), false),
            (rules(&["app"], &[]), true),
            (rules(&["*"], &["ClusterIssuer/le"]), true),
            (rules(&["*"], &["Issuer/le"]), false),
        ] {
            let found = of(&text, &rules);
            assert_eq!(found.wanted.len(), usize::from(allowed), "{rules:?}");
            let expected = if allowed { vec![] } else { vec![Code::CertificateNotAllowed] };
            assert_eq!(codes(&found), expected, "{rules:?}");
        }
    }

    #[test]
    fn what_cannot_be_asked_for_is_named() {
        let both = "cert-manager.io/cluster-issuer: a, cert-manager.io/issuer: b";
        for (annotations, server) in [
            (both, https("a.test", "s")),
            (ISSUER, https("'*'", "s")),
            (ISSUER, https("a.test", "'kubernetes://s'")),
            (ISSUER, "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}".to_owned()),
        ] {
            let found = of(&gateway("g", annotations, &server), &CertificateRules::default());
            assert!(found.wanted.is_empty(), "{server}");
            assert_eq!(codes(&found), [Code::BadCertificateRequest], "{server}");
        }
    }

    #[test]
    fn gateways_of_other_workloads_and_without_the_annotation_ask_for_nothing() {
        let other = gateway("g", ISSUER, &https("a.test", "s")).replace("ingressgateway", "egressgateway");
        for text in [other, gateway("g", "", &https("a.test", "s"))] {
            assert_eq!(of(&text, &CertificateRules::default()), Certificates::default());
        }
    }
}
