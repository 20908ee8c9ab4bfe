//! Chains out of Secrets, proven by handshakes.

mod clients;
mod files;
mod sessions;

use std::time::SystemTime;

use portcullis_api::Kind as ObjectKind;
use portcullis_snapshot::tls::ClientCertificate;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider};
use rustls::server::ServerSessionMemoryCache;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CertificateError, Error, ProtocolVersion};

use super::*;
use crate::diagnostic::{Diagnostic, Diagnostics, Subject};
use crate::testing::pki::{Authority, Kind, Leaf, secret, self_signed};
use crate::testing::tls::{client, client_with, handshake};
use crate::testing::{environment, objects};

/// Which certificate a scene presents.
const NAME: &str = "a.example.com";

/// Objects, and how the gateway sees the world.
struct Scene {
    objects: Objects,
    environment: Environment,
}

impl Scene {
    fn new(objects_text: &str) -> Self {
        let mut environment = environment();
        environment.tls.ticketer = Ticketer::new().expect("a ticket key can be made");
        environment.now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        Self { objects: objects(objects_text), environment }
    }

    /// The chain for a `tls` block, and what there is to say about it.
    fn chain(&self, tls: &str) -> (ChainTls, Vec<Diagnostic>) {
        self.chain_for(tls, HTTP_PROTOCOLS)
    }

    fn chain_for(&self, tls: &str, protocols: &[&[u8]]) -> (ChainTls, Vec<Diagnostic>) {
        let text = format!(
            "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gateway, namespace: app}}
spec:
  servers:
  - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ['*'], tls: {{{tls}}}}}
"
        );
        let gateways = objects(&text);
        let gateway = gateways.gateways.values().next().expect("one gateway");
        let settings = gateway.spec.servers[0].tls.as_ref().expect("settings");
        let mut diagnostics = Diagnostics::default();
        let subject = Subject::new(ObjectKind::Gateway, gateway);
        let mut reporter = Reporter::new(&mut diagnostics, subject, "spec.servers[0].tls");
        let chain = server_tls(settings, protocols, &self.objects, &self.environment, &mut reporter);
        (chain, diagnostics.into_sorted())
    }

    /// The configuration of a chain that must be served.
    #[track_caller]
    fn served(&self, tls: &str) -> Arc<ServerTls> {
        match self.chain(tls) {
            (ChainTls::Terminate(tls), _) => tls,
            (other, diagnostics) => panic!("{other:?} {diagnostics:?}"),
        }
    }

    /// The reason of a chain that must not be served, and the code and field reported.
    #[track_caller]
    fn refused(&self, tls: &str) -> (String, Code, String) {
        match self.chain(tls) {
            (ChainTls::Unavailable { reason }, diagnostics) => {
                let [diagnostic] = diagnostics.as_slice() else { panic!("{diagnostics:?}") };
                assert_eq!(diagnostic.message, *reason);
                (reason.to_string(), diagnostic.code, diagnostic.field.clone())
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}

/// A Secret as `kubectl create secret tls` makes it.
fn tls_secret(name: &str, leaf: &Leaf, more: &[(&str, &str)]) -> String {
    let own = [("tls.crt", leaf.certificate.as_str()), ("tls.key", leaf.key.as_str())];
    secret("gw", name, &[&own, more].concat())
}

fn is_alert(error: &Error, expected: AlertDescription) -> bool {
    matches!(error, Error::AlertReceived(alert) if *alert == expected)
}

#[test]
fn both_spellings_of_keys() {
    let authority = Authority::new("ca");
    let (one, two) = (authority.leaf(&[NAME]), authority.leaf(&["b.example.com"]));
    let plain = [("cert", one.certificate.as_str()), ("key", one.key.as_str())];
    for (text, expected) in [
        (tls_secret("cred", &one, &[]), &one),
        (secret("gw", "cred", &plain), &one),
        // The generic spelling is tried first, and only whole.
        (tls_secret("cred", &two, &plain), &one),
        (tls_secret("cred", &two, &plain[..1]), &two),
        (tls_secret("cred", &two, &[("cert", ""), plain[1]]), &two),
    ] {
        let scene = Scene::new(&text);
        for tls in ["credentialName: cred", "credentialName: 'kubernetes://cred'", "credentialName: gw/cred"]
        {
            let served = scene.served(&format!("mode: SIMPLE, {tls}"));
            let agreed = handshake(&client(None), &served.config, NAME).expect("a handshake");
            assert_eq!(agreed.certificate, expected.der);
            assert_eq!(served.client_certificate, ClientCertificate::NotRequested);
        }
    }
}

#[test]
fn what_cannot_be_served_says_why() {
    let authority = Authority::new("ca");
    let (one, two) = (authority.leaf(&[NAME]), authority.leaf(&[NAME]));
    let mixed = [("tls.crt", one.certificate.as_str()), ("tls.key", two.key.as_str())];
    let scene = Scene::new(
        &[
            tls_secret("good", &one, &[]),
            secret("app", "elsewhere", &[]),
            secret("gw", "mixed", &mixed),
            secret("gw", "empty", &[("tls.crt", &one.certificate)]),
            secret("gw", "garbage", &[("tls.crt", "hello"), ("tls.key", &one.key)]),
            secret("gw", "nokey", &[("tls.crt", &one.certificate), ("tls.key", &one.certificate)]),
            secret("gw", "badca", &[("tls.crt", &one.certificate), ("tls.key", &one.key), ("ca.crt", "x")]),
            "---\napiVersion: v1\nkind: Secret\nmetadata: {name: token, namespace: gw}\ntype: \
             kubernetes.io/service-account-token\n"
                .to_owned(),
        ]
        .concat(),
    );
    let field = |name: &str| format!("spec.servers[0].tls{name}");
    for (tls, code, at, part) in [
        (
            "credentialName: nosuch",
            Code::ReferencedResourceNotFound,
            ".credentialName",
            "no Secret gw/nosuch",
        ),
        ("credentialName: elsewhere", Code::ReferencedResourceNotFound, ".credentialName", "the one in app"),
        ("credentialName: app/elsewhere", Code::CredentialElsewhere, ".credentialName", "app/elsewhere"),
        ("credentialName: token", Code::ReferencedResourceNotFound, ".credentialName", "gw/token"),
        ("credentialName: 'sds://x'", Code::FieldNotHonoured, ".credentialName", "sds"),
        ("credentialName: mixed", Code::InvalidGatewayCredential, ".credentialName", "does not belong"),
        ("credentialName: empty", Code::InvalidGatewayCredential, ".credentialName", "neither"),
        ("credentialName: garbage", Code::InvalidGatewayCredential, ".credentialName", "no certificate"),
        ("credentialName: nokey", Code::InvalidGatewayCredential, ".credentialName", "no private key"),
        (
            "credentialNames: [good, nosuch]",
            Code::ReferencedResourceNotFound,
            ".credentialNames[1]",
            "nosuch",
        ),
        ("", Code::SchemaValidationError, "", "no certificate"),
    ] {
        let (reason, found, place) = scene.refused(&format!("mode: SIMPLE, {tls}"));
        assert_eq!((found, place), (code, field(at)), "{tls}");
        assert!(reason.contains(part), "{tls}: {reason}");
    }
    for (tls, code, part) in [
        ("credentialName: good", Code::InvalidGatewayCredential, "neither ca.crt nor cacert"),
        ("credentialName: badca", Code::InvalidGatewayCredential, "no certificate"),
        (
            "credentialName: good, verifyCertificateSpki: [x], caCertCredentialName: good",
            Code::InvalidGatewayCredential,
            "-cacert",
        ),
    ] {
        for mode in ["MUTUAL", "OPTIONAL_MUTUAL"] {
            let (reason, found, _) = scene.refused(&format!("mode: {mode}, {tls}"));
            assert_eq!(found, code, "{tls}");
            assert!(reason.contains(part), "{tls}: {reason}");
        }
    }
    assert_eq!(scene.refused("mode: ISTIO_MUTUAL").1, Code::FieldNotHonoured);
    assert!(matches!(scene.chain("mode: PASSTHROUGH").0, ChainTls::None));
    assert!(matches!(scene.chain("credentialName: good").0, ChainTls::None));
}

#[test]
fn versions_and_suites() {
    use ProtocolVersion::{TLSv1_2, TLSv1_3};
    let authority = Authority::new("ca");
    let scene = Scene::new(&tls_secret("cred", &authority.leaf(&[NAME]), &[]));
    let only = |suite| {
        client_with(CryptoProvider { cipher_suites: vec![suite], ..default_provider() }, &[&TLS12], None)
    };
    let aes128 = only(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    let aes256 = only(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    let (any, old, new) = (
        client(None),
        client_with(default_provider(), &[&TLS12], None),
        client_with(default_provider(), &[&TLS13], None),
    );
    for (settings, peer, expected) in [
        ("", &any, Some(TLSv1_3)),
        ("", &old, Some(TLSv1_2)),
        ("minProtocolVersion: TLS_AUTO", &old, Some(TLSv1_2)),
        ("minProtocolVersion: TLSV1_3", &old, None),
        ("minProtocolVersion: TLSV1_3", &any, Some(TLSv1_3)),
        ("maxProtocolVersion: TLSV1_2", &any, Some(TLSv1_2)),
        ("maxProtocolVersion: TLSV1_2", &new, None),
        ("minProtocolVersion: TLSV1_0, maxProtocolVersion: TLSV1_1", &any, Some(TLSv1_2)),
        ("cipherSuites: [ECDHE-ECDSA-AES128-GCM-SHA256]", &aes128, Some(TLSv1_2)),
        ("cipherSuites: [ECDHE-ECDSA-AES128-GCM-SHA256]", &aes256, None),
        ("cipherSuites: [ECDHE-ECDSA-AES128-GCM-SHA256]", &new, Some(TLSv1_3)),
        // Names that Istio does not know leave the default; names it knows and we cannot follow leave nothing.
        ("cipherSuites: [NO-SUCH-SUITE]", &aes256, Some(TLSv1_2)),
        ("cipherSuites: [AES128-SHA]", &aes128, None),
        ("cipherSuites: [AES128-SHA]", &any, Some(TLSv1_3)),
        ("cipherSuites: [AES128-SHA, ECDHE-ECDSA-AES256-GCM-SHA384]", &aes256, Some(TLSv1_2)),
    ] {
        let served = scene.served(&format!("mode: SIMPLE, credentialName: cred, {settings}"));
        let found = handshake(peer, &served.config, NAME).ok().map(|agreed| agreed.version);
        assert_eq!(found, expected, "{settings}");
    }
    for impossible in [
        "minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2",
        "maxProtocolVersion: TLSV1_2, cipherSuites: [AES128-SHA]",
    ] {
        let (chain, _) = scene.chain(&format!("mode: SIMPLE, credentialName: cred, {impossible}"));
        assert!(matches!(chain, ChainTls::Unavailable { .. }), "{impossible} {chain:?}");
    }
    let codes = |settings: &str| -> Vec<Code> {
        let (_, found) = scene.chain(&format!("mode: SIMPLE, credentialName: cred, {settings}"));
        found.into_iter().map(|diagnostic| diagnostic.code).collect()
    };
    assert_eq!(codes(""), []);
    assert_eq!(codes("minProtocolVersion: TLSV1_1"), [Code::FieldNotHonoured]);
    assert_eq!(codes("cipherSuites: [X]"), [Code::SchemaWarning]);
    assert_eq!(codes("cipherSuites: [AES128-SHA]"), [Code::FieldNotHonoured]);
}

#[test]
fn the_server_orders_suites() {
    let authority = Authority::new("ca");
    let scene = Scene::new(&tls_secret("cred", &authority.leaf(&[NAME]), &[]));
    let served = scene.served("mode: SIMPLE, credentialName: cred");
    let suite = |version: &'static rustls::SupportedProtocolVersion| {
        let peer = client_with(default_provider(), &[version], None);
        handshake(&peer, &served.config, NAME).expect("a handshake").suite
    };
    assert_eq!(suite(&TLS13), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(suite(&TLS12), rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
}

#[test]
fn the_client_chooses_among_certificates() {
    let authority = Authority::new("ca");
    let ecdsa = authority.leaf(&[NAME]);
    let rsa = authority.leaf_with(&[NAME], Kind::Rsa, |_| {});
    let scene = Scene::new(&(tls_secret("ecdsa", &ecdsa, &[]) + &tls_secret("rsa", &rsa, &[])));
    let served = scene.served("mode: SIMPLE, credentialNames: [rsa, ecdsa]");
    let only = |suite| {
        client_with(CryptoProvider { cipher_suites: vec![suite], ..default_provider() }, &[&TLS12], None)
    };
    for (peer, expected) in [
        (client(None), &ecdsa),
        (only(cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), &rsa),
        (only(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), &ecdsa),
    ] {
        let agreed = handshake(&peer, &served.config, NAME).expect("a handshake");
        assert_eq!(agreed.certificate, expected.der);
    }
    let sources: Vec<_> = served.certificates.iter().map(|info| &*info.source).collect();
    assert_eq!(sources, ["gw/rsa", "gw/ecdsa"]);
}

#[test]
fn protocols_offered() {
    let authority = Authority::new("ca");
    let scene = Scene::new(&tls_secret("cred", &authority.leaf(&[NAME]), &[]));
    let (chain, _) = scene.chain_for("mode: SIMPLE, credentialName: cred", TCP_PROTOCOLS);
    let ChainTls::Terminate(tcp) = chain else { panic!("{chain:?}") };
    let http = scene.served("mode: SIMPLE, credentialName: cred");
    let speaking = |protocols: &[&str]| {
        let mut config = (*client(None)).clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    };
    let alpn = |config, protocols: &[&str]| {
        handshake(&speaking(protocols), config, NAME).map(|agreed| agreed.alpn.unwrap_or_default())
    };
    assert_eq!(alpn(&http.config, &["http/1.1", "h2"]).as_deref(), Ok("h2"));
    assert_eq!(alpn(&http.config, &["http/1.1"]).as_deref(), Ok("http/1.1"));
    assert_eq!(alpn(&http.config, &[]).as_deref(), Ok(""));
    assert_eq!(alpn(&http.without_alpn, &["mqtt"]).as_deref(), Ok(""));
    assert_eq!(alpn(&tcp.config, &["postgresql"]).as_deref(), Ok("postgresql"));
    let error = alpn(&http.config, &["mqtt"]).expect_err("nothing in common");
    assert!(
        matches!(error, Error::NoApplicationProtocol)
            || is_alert(&error, AlertDescription::NoApplicationProtocol)
    );
}

#[test]
fn facts_and_validity() {
    let authority = Authority::new("ca");
    let expired = authority.leaf_with(&[NAME, "10.0.0.1"], Kind::Ecdsa, |params| {
        params.serial_number = Some(0x0102_u64.into());
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let early = authority
        .leaf_with(&[NAME], Kind::Ecdsa, |params| params.not_before = rcgen::date_time_ymd(2099, 1, 1));
    let scene = Scene::new(&(tls_secret("expired", &expired, &[]) + &tls_secret("early", &early, &[])));
    let served = scene.served("mode: SIMPLE, credentialName: expired");
    let info = &served.certificates[0];
    assert_eq!(info.subject, "O=Tests\\, Inc.,CN=a.example.com");
    assert_eq!(info.names, [NAME, "10.0.0.1"]);
    assert_eq!(info.serial, "0102");
    assert_eq!(info.not_after, SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_009_843_200));
    for name in ["expired", "early"] {
        // Said each time, not only when the configuration is made.
        for _ in 0..2 {
            let (chain, diagnostics) = scene.chain(&format!("mode: SIMPLE, credentialName: {name}"));
            assert!(matches!(chain, ChainTls::Terminate(_)), "{chain:?}");
            assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
            assert_eq!(diagnostics[0].code, Code::CertificateNotValid);
        }
    }
}

#[test]
fn no_key_is_shown() {
    let authority = Authority::new("ca");
    let one = authority.leaf(&[NAME]);
    let scene = Scene::new(&tls_secret("cred", &one, &[]));
    let shown = format!("{:?} {:?}", scene.served("mode: SIMPLE, credentialName: cred"), scene.objects);
    let body = one.key.lines().nth(1).expect("a line of base64");
    assert!(!shown.contains(body) && !shown.contains("PRIVATE"), "{shown}");
}
