//! TLS towards upstreams, proven by handshakes.

use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};

use crate::clusters::Clusters;
use crate::diagnostic::{Code, Diagnostics};
use crate::environment::Environment;
use crate::services::{Hosts, Services};
use crate::testing::pki::{Authority, Leaf, secret, self_signed};
use crate::testing::tls::{Agreed, handshake, server};
use crate::testing::{environment, objects};

use super::*;

const NAME: &str = "a.example.com";

/// TLS towards a service with `settings` in its DestinationRule and `names` in its ServiceEntry.
fn upstream(
    settings: &str,
    protocol: &str,
    names: &str,
    more: &str,
    environment: &Environment,
) -> (Option<Arc<UpstreamTls>>, Vec<Code>) {
    let objects = objects(&format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: x, namespace: app}}
spec:
  hosts: [x.ext]
  resolution: STATIC
  ports: [{{number: 443, name: x, protocol: {protocol}}}]
  subjectAltNames: [{names}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: x, namespace: app}}
spec: {{host: x.ext, trafficPolicy: {{tls: {{{settings}}}}}}}
{more}"
    ));
    let mut diagnostics = Diagnostics::default();
    let services = Services::build(&objects, environment, Hosts::All, &mut diagnostics);
    let clusters = Clusters::build(&objects, environment, &services, None, &mut diagnostics);
    let tls = clusters.served().iter().next().expect("a cluster").tls.clone();
    (tls, diagnostics.into_sorted().into_iter().map(|found| found.code).collect())
}

/// As [`upstream`] for a service that speaks HTTP/1.1, which must get TLS without a word.
#[track_caller]
fn good(settings: &str, names: &str, more: &str, environment: &Environment) -> Arc<UpstreamTls> {
    let (tls, codes) = upstream(settings, "HTTP", names, more, environment);
    assert_eq!(codes, [], "{settings}");
    tls.expect("TLS")
}

fn meet(tls: &UpstreamTls, leaf: &Leaf, host: &str) -> Result<Agreed, Error> {
    let name = match &tls.sni {
        UpstreamSni::FromHost => host,
        UpstreamSni::Fixed(name) => name,
    };
    handshake(&tls.config, &server(leaf, &["h2", "http/1.1"], None), name)
}

#[test]
fn names_by_setting() {
    let authority = Authority::new("ca");
    let leaf = authority.leaf(&[NAME, "*.wild.example.com", "10.0.0.1"]);
    let ca = secret("gw", "cred-cacert", &[("ca.crt", &authority.pem())]);
    let environment = environment();
    let base = "mode: SIMPLE, credentialName: cred";
    for (settings, names, host, accepted) in [
        // Nothing said: the connection's name must stand in the certificate.
        ("", "", NAME, true),
        ("", "", "b.wild.example.com", true),
        ("", "", "10.0.0.1", true),
        ("", "", "other.example.com", false),
        ("", "", "10.0.0.2", false),
        // A name to send, and none to expect: only the chain counts.
        (", sni: other.example.com", "", "z", true),
        // Names to expect: any of them.
        (", subjectAltNames: [nope, a.example.com]", "", "z.example.com", true),
        (", subjectAltNames: [b.wild.example.com]", "", "z.example.com", true),
        (", subjectAltNames: [10.0.0.1]", "", "z.example.com", true),
        (", subjectAltNames: [nope]", "", NAME, false),
        (", subjectAltNames: [nope], sni: a.example.com", "", NAME, false),
        // A ServiceEntry's names stand in where the rule has none.
        // The connection's name is expected beside them as long as it is the one that is sent.
        ("", "a.example.com", NAME, true),
        ("", "a.example.com", "z.example.com", false),
        ("", "nope", NAME, false),
        (", sni: z.example.com", "a.example.com", "", true),
        (", sni: z.example.com", "nope", "", false),
        (", subjectAltNames: [a.example.com]", "nope", "z.example.com", true),
    ] {
        let tls = good(&format!("{base}{settings}"), names, &ca, &environment);
        let found = meet(&tls, &leaf, host);
        assert_eq!(found.is_ok(), accepted, "{settings:?} {names:?} {host} {found:?}");
    }
}

#[test]
fn what_is_sent() {
    let authority = Authority::new("ca");
    let leaf = authority.leaf(&[NAME, "10.0.0.1"]);
    let ca = secret("gw", "cred", &[("cacert", &authority.pem())]);
    let environment = environment();
    let base = "mode: SIMPLE, credentialName: cred";
    let sni = |settings: &str, host: &str| {
        let tls = good(&format!("{base}{settings}"), "", &ca, &environment);
        meet(&tls, &leaf, host).expect("a handshake").sni
    };
    assert_eq!(sni("", NAME).as_deref(), Some(NAME));
    assert_eq!(sni("", "10.0.0.1"), None);
    assert_eq!(sni(", sni: other.example.com", NAME).as_deref(), Some("other.example.com"));
    for (protocol, expected) in [("HTTP", "http/1.1"), ("GRPC", "h2"), ("TCP", "http/1.1")] {
        let (tls, _) = upstream(base, protocol, "", &ca, &environment);
        let alpn = meet(&tls.expect("TLS"), &leaf, NAME).expect("a handshake").alpn;
        assert_eq!(alpn.as_deref(), Some(expected), "{protocol}");
    }
}

#[test]
fn tcp_routes_send_and_expect_no_name() {
    let authority = Authority::new("ca");
    let leaf = authority.leaf(&[NAME]);
    let ca = secret("gw", "cred", &[("cacert", &authority.pem())]);
    let environment = environment();
    let meet = |settings: &str, name: &str| {
        let tls = good(&format!("mode: SIMPLE, credentialName: cred{settings}"), "", &ca, &environment);
        handshake(&tls.opaque, &server(&leaf, &["http/1.1"], None), name)
    };
    let agreed = meet("", "10.9.9.9").expect("only the chain counts");
    assert_eq!((agreed.alpn, agreed.sni), (None, None));
    let agreed = meet(", sni: other.example.com", "other.example.com").expect("only the chain counts");
    assert_eq!(agreed.sni.as_deref(), Some("other.example.com"));
    meet(", subjectAltNames: [nope]", "10.9.9.9").expect_err("a name is expected");
}

#[test]
fn trust() {
    let (authority, foreign) = (Authority::new("ca"), Authority::new("other"));
    let (own, stranger) = (authority.leaf(&[NAME]), foreign.leaf(&[NAME]));
    let ca = secret("gw", "cred", &[("cacert", &authority.pem())]);
    let mut environment = environment();
    let unknown = Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
    let tls = good("mode: SIMPLE, credentialName: cred", "", &ca, &environment);
    meet(&tls, &own, NAME).expect("its authority");
    assert_eq!(meet(&tls, &stranger, NAME), unknown);
    let tls = good("mode: SIMPLE, insecureSkipVerify: true", "", "", &environment);
    meet(&tls, &stranger, "z").expect("anybody");
    // Without a word about authorities those of the system count; with none at all nobody is trusted.
    let simple = "mode: SIMPLE";
    meet(&good(simple, "", "", &environment), &own, NAME).expect_err("no authorities");
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).expect("a root");
    environment.tls.roots = Arc::new(roots);
    let tls = good(simple, "", "", &environment);
    meet(&tls, &own, NAME).expect("its authority");
    assert_eq!(meet(&tls, &stranger, NAME), unknown);
}

#[test]
fn a_certificate_may_be_its_own_authority() {
    let environment = environment();
    for is_authority in [false, true] {
        let itself = self_signed(&[NAME], is_authority);
        let ca = secret("gw", "cred", &[("ca.crt", &itself.certificate)]);
        let tls = good("mode: SIMPLE, credentialName: cred", "", &ca, &environment);
        meet(&tls, &itself, NAME).expect("trusted by itself");
        meet(&tls, &itself, "z.example.com").expect_err("not its name");
        meet(&tls, &self_signed(&[NAME], is_authority), NAME).expect_err("another one");
    }
}

#[test]
fn client_certificates() {
    let authority = Authority::new("ca");
    let (own, client) = (authority.leaf(&[NAME]), authority.leaf(&["gateway"]));
    let text = secret(
        "gw",
        "cred",
        &[("tls.crt", &client.certificate), ("tls.key", &client.key), ("ca.crt", &authority.pem())],
    );
    let environment = environment();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).expect("a root");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&environment.tls.provider));
    let asking = server(&own, &[], Some(verifier.build().expect("a verifier")));
    let meet = |mode: &str| {
        let tls = good(&format!("mode: {mode}, credentialName: cred"), "", &text, &environment);
        handshake(&tls.opaque, &asking, "10.0.0.1").map(|agreed| agreed.knows_client)
    };
    assert_eq!(meet("MUTUAL"), Ok(true));
    assert_eq!(meet("SIMPLE"), Err(Error::NoCertificatesPresented));
}

#[test]
fn what_cannot_be_followed_trusts_nobody() {
    let authority = Authority::new("ca");
    let own = authority.leaf(&[NAME]);
    let text = [
        secret("gw", "ca-only", &[("cacert", &authority.pem())]),
        secret("gw", "garbage", &[("cacert", "x")]),
        secret("gw", "badkey", &[("cert", &own.certificate), ("key", "x"), ("cacert", &authority.pem())]),
    ]
    .concat();
    let mut environment = environment();
    environment.files.insert("/garbage", Ok(b"x".as_slice().into()));
    for (settings, code) in [
        ("mode: ISTIO_MUTUAL", Code::ReferencedResourceNotFound),
        ("mode: SIMPLE, credentialName: nosuch", Code::ReferencedResourceNotFound),
        ("mode: SIMPLE, credentialName: app/x", Code::CredentialElsewhere),
        ("mode: SIMPLE, credentialName: garbage", Code::InvalidGatewayCredential),
        ("mode: SIMPLE, caCertificates: /etc/ca.pem", Code::ReferencedResourceNotFound),
        ("mode: SIMPLE, caCrl: /etc/ca.crl", Code::ReferencedResourceNotFound),
        ("mode: SIMPLE, caCertificates: /garbage", Code::InvalidGatewayCredential),
        ("mode: MUTUAL, clientCertificate: /a, privateKey: /b", Code::ReferencedResourceNotFound),
        ("mode: MUTUAL, clientCertificate: /garbage, privateKey: /garbage", Code::InvalidGatewayCredential),
        ("mode: MUTUAL, privateKey: /garbage", Code::SchemaValidationError),
        ("mode: MUTUAL, credentialName: ca-only", Code::InvalidGatewayCredential),
        ("mode: MUTUAL, credentialName: badkey", Code::InvalidGatewayCredential),
    ] {
        // Twice: what a second compilation finds ready must be said again.
        for _ in 0..2 {
            let (tls, codes) = upstream(settings, "HTTP", "", &text, &environment);
            assert_eq!(codes, [code], "{settings}");
            meet(&tls.expect("never plaintext"), &own, NAME).expect_err("nobody is trusted");
        }
    }
    for settings in ["", "mode: DISABLE, credentialName: nosuch"] {
        let (tls, codes) = upstream(settings, "HTTP", "", &text, &environment);
        assert!(tls.is_none() && codes.is_empty(), "{settings}");
    }
}

#[test]
fn unchanged_settings_keep_their_configuration() {
    let authority = Authority::new("ca");
    let ca = secret("gw", "cred", &[("cacert", &authority.pem())]);
    let environment = environment();
    let first = good("mode: SIMPLE, credentialName: cred", "", &ca, &environment);
    assert!(Arc::ptr_eq(&first, &good("mode: SIMPLE, credentialName: cred", "", &ca, &environment)));
    assert!(!Arc::ptr_eq(
        &first,
        &good("mode: SIMPLE, credentialName: cred, sni: x.y", "", &ca, &environment)
    ));
    assert!(!Arc::ptr_eq(&first, &good("mode: SIMPLE, credentialName: cred", "x.y", &ca, &environment)));
}

/// An environment with these files.
fn with_files(files: &[(&str, &str)]) -> Environment {
    let mut environment = environment();
    for (path, content) in files {
        environment.files.insert(*path, Ok(content.as_bytes().into()));
    }
    environment
}

/// A server that takes clients of `authority` alone.
fn asking(leaf: &Leaf, protocols: &[&str], authority: &Authority) -> Arc<rustls::ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).expect("a root");
    let provider = Arc::clone(&environment().tls.provider);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    server(leaf, protocols, Some(verifier.build().expect("a verifier")))
}

#[test]
fn certificates_in_files() {
    let (authority, foreign) = (Authority::new("ca"), Authority::new("other"));
    let (own, client) = (authority.leaf(&[NAME]), authority.leaf(&["gateway"]));
    let environment = with_files(&[
        ("/ca.pem", &authority.pem()),
        ("/client.crt", &client.certificate),
        ("/client.key", &client.key),
    ]);
    let tls = good("mode: SIMPLE, caCertificates: /ca.pem", "", "", &environment);
    meet(&tls, &own, NAME).expect("its authority");
    meet(&tls, &foreign.leaf(&[NAME]), NAME).expect_err("another authority");
    let pair = "clientCertificate: /client.crt, privateKey: /client.key";
    let tls = good(&format!("mode: MUTUAL, caCertificates: /ca.pem, {pair}"), "", "", &environment);
    let agreed = handshake(&tls.config, &asking(&own, &[], &authority), NAME).expect("both trust");
    assert!(agreed.knows_client);
    // SIMPLE presents nothing, whatever is named.
    let tls = good(&format!("mode: SIMPLE, caCertificates: /ca.pem, {pair}"), "", "", &environment);
    handshake(&tls.config, &asking(&own, &[], &authority), NAME).expect_err("no certificate");
    // What is renewed is another configuration.
    let renewed = with_files(&[("/ca.pem", &foreign.pem())]);
    let tls = good("mode: SIMPLE, caCertificates: /ca.pem", "", "", &renewed);
    meet(&tls, &own, NAME).expect_err("the authority has changed");
}

#[test]
fn the_system_by_its_name() {
    let authority = Authority::new("ca");
    let mut environment = environment();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).expect("a root");
    environment.tls.roots = Arc::new(roots);
    let tls = good("mode: SIMPLE, caCertificates: system", "", "", &environment);
    meet(&tls, &authority.leaf(&[NAME]), NAME).expect("an authority of the system");
}

#[test]
fn a_mesh_service_is_known_by_its_accounts() {
    let names = |settings: &str, more: &str| {
        let objects = objects(&format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{ports: [{{name: http, port: 80}}], selector: {{app: web}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web-1, namespace: shop, labels: {{app: web}}}}
spec: {{serviceAccountName: web}}
status: {{podIP: 10.0.0.1}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{{addresses: [10.0.0.1]}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: vm, namespace: shop, labels: {{app: web}}}}
spec: {{address: 10.0.0.2, serviceAccount: vm}}
{more}"
        ));
        let environment = environment();
        let services = Services::build(&objects, &environment, Hosts::All, &mut Diagnostics::default());
        let service = services.find("web.shop.svc.cluster.local", "shop").expect("a service");
        let settings = ClientTlsSettings {
            mode: Some(ClientTlsMode::IstioMutual),
            subject_alt_names: if settings.is_empty() { Vec::new() } else { vec![settings.to_owned()] },
            ..ClientTlsSettings::default()
        };
        let upstream = Upstream {
            port: 80,
            subset: "",
            host: "web.shop.svc.cluster.local",
            protocol: UpstreamProtocol::Http1,
            names: service.expected_names(true),
        };
        assert_eq!(service.expected_names(false), [] as [String; 0]);
        naming(&settings, ClientTlsMode::IstioMutual, &upstream).1
    };
    let of = |all: &[&str]| WantedNames::OneOf(all.iter().map(|&name| name.to_owned()).collect());
    let own = ["spiffe://cluster.local/ns/shop/sa/vm", "spiffe://cluster.local/ns/shop/sa/web"];
    assert_eq!(names("", ""), of(&own));
    assert_eq!(names("other", ""), of(&["other"]), "the rule's own come first");
    let mesh = "---
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
trustDomain: td
trustDomainAliases: [old]";
    let expanded = ["old/ns/shop/sa/vm", "old/ns/shop/sa/web", "td/ns/shop/sa/vm", "td/ns/shop/sa/web"];
    let expanded = expanded.map(|name| format!("spiffe://{name}"));
    assert_eq!(names("", mesh), WantedNames::OneOf(expanded.to_vec()));
}

#[test]
fn what_is_revoked_is_refused() {
    let authority = Authority::new("ca");
    let serial = |serial: u64| {
        authority.leaf_with(&[NAME], crate::testing::pki::Kind::Ecdsa, |params| {
            params.serial_number = Some(serial.into());
        })
    };
    let mut environment = with_files(&[("/ca.pem", &authority.pem()), ("/ca.crl", &authority.revoke(&[7]))]);
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).expect("a root");
    environment.tls.roots = Arc::new(roots);
    for authorities in ["caCertificates: /ca.pem, ", ""] {
        let tls = good(&format!("mode: SIMPLE, {authorities}caCrl: /ca.crl"), "", "", &environment);
        meet(&tls, &serial(8), NAME).expect("not revoked");
        let revoked = Err(Error::InvalidCertificate(CertificateError::Revoked));
        assert_eq!(meet(&tls, &serial(7), NAME), revoked);
    }
}

#[test]
fn the_certificates_of_a_mesh() {
    let mesh = Authority::new("mesh");
    let (sidecar, gateway) = (mesh.leaf(&["spiffe.invalid"]), mesh.leaf(&["gateway"]));
    let [chain, key, root] = crate::files::MESH_IDENTITIES[1];
    let environment = with_files(&[(chain, &gateway.certificate), (key, &gateway.key), (root, &mesh.pem())]);
    let name = "outbound_.443_._.x.ext";
    for (settings, protocol, expected) in
        [("mode: ISTIO_MUTUAL", "HTTP", "istio-http/1.1"), ("mode: ISTIO_MUTUAL", "GRPC", "istio-h2")]
    {
        let (tls, codes) = upstream(settings, protocol, "", "", &environment);
        assert_eq!(codes, []);
        let tls = tls.expect("TLS");
        assert_eq!(tls.sni, UpstreamSni::Fixed(name.into()));
        let server = asking(&sidecar, &["istio-h2", "istio-http/1.1"], &mesh);
        let agreed = handshake(&tls.config, &server, name).expect("one mesh");
        assert_eq!((agreed.alpn.as_deref(), agreed.knows_client), (Some(expected), true));
        assert_eq!(agreed.sni.as_deref(), Some(name));
        let agreed = handshake(&tls.opaque, &asking(&sidecar, &["istio"], &mesh), name).expect("bytes, too");
        assert_eq!(agreed.alpn.as_deref(), Some("istio"));
    }
    let tls = good("mode: ISTIO_MUTUAL, subjectAltNames: [nope], sni: a.b", "", "", &environment);
    assert_eq!(tls.sni, UpstreamSni::Fixed("a.b".into()));
    handshake(&tls.config, &asking(&sidecar, &[], &mesh), "a.b").expect_err("another identity");
}

#[test]
fn suites_and_curves_of_the_mesh_hold_for_upstreams() {
    let authority = Authority::new("ca");
    let ca = secret("gw", "cred", &[("cacert", &authority.pem())]);
    let mesh = "
---
apiVersion: portcullis.dev/v1
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
tlsDefaults: {cipherSuites: [ECDHE-ECDSA-AES256-GCM-SHA384], ecdhCurves: [P-384], minProtocolVersion: TLSV1_3}
";
    let tls = good("mode: SIMPLE, credentialName: cred", "", &format!("{ca}{mesh}"), &environment());
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_none());
    let older =
        crate::testing::tls::server_with(provider, &[&rustls::version::TLS12], &authority.leaf(&[NAME]));
    let agreed = handshake(&tls.config, &older, NAME).expect("the mesh's minimum is for servers");
    assert_eq!(agreed.suite, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
}

#[test]
fn files_beside_a_secret_are_told_to_be_useless() {
    let authority = Authority::new("ca");
    let ca = secret("gw", "cred", &[("cacert", &authority.pem())]);
    let settings = "mode: SIMPLE, credentialName: cred, caCertificates: /x, caCrl: /y";
    let (_, codes) = upstream(settings, "HTTP", "", &ca, &environment());
    assert_eq!(codes, [Code::NeverApplies, Code::NeverApplies]);
}
