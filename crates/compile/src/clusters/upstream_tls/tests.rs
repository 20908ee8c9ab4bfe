//! TLS towards upstreams, proven by handshakes.

use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};

use crate::clusters::Clusters;
use crate::diagnostic::{Code, Diagnostics};
use crate::environment::Environment;
use crate::services::Services;
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
    let services = Services::build(&objects, environment, &mut diagnostics);
    let clusters = Clusters::build(&objects, environment, &services, &mut diagnostics);
    let tls = clusters.into_vec().remove(0).tls.clone();
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
        ("", "a.example.com", "z.example.com", true),
        ("", "nope", NAME, false),
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
    let environment = environment();
    for (settings, code) in [
        ("mode: ISTIO_MUTUAL", Code::FieldNotHonoured),
        ("mode: SIMPLE, credentialName: nosuch", Code::ReferencedResourceNotFound),
        ("mode: SIMPLE, credentialName: app/x", Code::CredentialElsewhere),
        ("mode: SIMPLE, credentialName: garbage", Code::InvalidGatewayCredential),
        ("mode: SIMPLE, caCertificates: /etc/ca.pem", Code::FieldNotHonoured),
        ("mode: MUTUAL, clientCertificate: /a, privateKey: /b", Code::FieldNotHonoured),
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
