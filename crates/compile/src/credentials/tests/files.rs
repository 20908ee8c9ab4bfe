//! Certificates out of files, and the curves of a server.

use super::*;

/// A scene whose files hold what is given.
fn scene(files: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::new("");
    for (path, text) in files {
        scene.environment.files.insert(*path, Ok(text.as_bytes().into()));
    }
    scene
}

#[test]
fn a_pair_and_authorities_in_files() {
    let authority = Authority::new("ca");
    let own = authority.leaf(&[NAME]);
    let serial = |number: u64| {
        authority.leaf_with(&["client.example.com"], Kind::Ecdsa, |params| {
            params.serial_number = Some(number.into());
        })
    };
    let (good, revoked) = (serial(8), serial(7));
    let scene = scene(&[
        ("/s.crt", &own.certificate),
        ("/s.key", &own.key),
        ("/ca.crt", &authority.pem()),
        ("/ca.crl", &authority.revoke(&[7])),
    ]);
    let pair = "serverCertificate: /s.crt, privateKey: /s.key";
    let simple = scene.served(&format!("mode: SIMPLE, {pair}"));
    let agreed = handshake(&client(None), &simple.config, NAME).expect("a handshake");
    assert_eq!((agreed.certificate, &*simple.certificates[0].source), (own.der.clone(), "/s.crt"));
    let ask =
        |tls: &ServerTls, leaf| handshake(&client(leaf), &tls.config, NAME).map(|agreed| agreed.knows_client);
    let mutual = scene.served(&format!("mode: MUTUAL, {pair}, caCertificates: /ca.crt"));
    assert_eq!(ask(&mutual, Some(&revoked)), Ok(true), "no list, no revocation");
    assert_eq!(ask(&mutual, None), Err(Error::NoCertificatesPresented));
    for mode in ["MUTUAL", "OPTIONAL_MUTUAL"] {
        let tls = scene.served(&format!("mode: {mode}, {pair}, caCertificates: /ca.crt, caCrl: /ca.crl"));
        assert_eq!(ask(&tls, Some(&good)), Ok(true));
        let refused = Err(Error::InvalidCertificate(CertificateError::Revoked));
        assert_eq!(ask(&tls, Some(&revoked)), refused, "{mode}");
    }
}

#[test]
fn of_two_pairs_the_client_has_its_choice() {
    let authority = Authority::new("ca");
    let (ecdsa, rsa) = (authority.leaf(&[NAME]), authority.leaf_with(&[NAME], Kind::Rsa, |_| {}));
    let scene = scene(&[
        ("/e.crt", &ecdsa.certificate),
        ("/e.key", &ecdsa.key),
        ("/r.crt", &rsa.certificate),
        ("/r.key", &rsa.key),
    ]);
    let tls = scene.served(
        "mode: SIMPLE, tlsCertificates: [{serverCertificate: /r.crt, privateKey: /r.key}, \
         {serverCertificate: /e.crt, privateKey: /e.key}]",
    );
    let only = |suite| {
        client_with(CryptoProvider { cipher_suites: vec![suite], ..default_provider() }, &[&TLS12], None)
    };
    for (suite, expected) in [
        (cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, &rsa),
        (cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, &ecdsa),
    ] {
        let agreed = handshake(&only(suite), &tls.config, NAME).expect("a handshake");
        assert_eq!(agreed.certificate, expected.der);
    }
    let agreed = handshake(&client(None), &tls.config, NAME).expect("a handshake");
    assert_eq!(agreed.certificate, ecdsa.der, "who takes both gets the smaller one");
}

#[test]
fn what_is_wrong_with_a_file_is_said_at_its_field() {
    let authority = Authority::new("ca");
    let (own, other) = (authority.leaf(&[NAME]), authority.leaf(&[NAME]));
    let scene = scene(&[
        ("/s.crt", &own.certificate),
        ("/s.key", &own.key),
        ("/o.key", &other.key),
        ("/blank", " \n"),
        ("/ca.crt", &authority.pem()),
    ]);
    let pair = "serverCertificate: /s.crt, privateKey: /s.key";
    for (tls, code, field, part) in [
        (
            "mode: SIMPLE, serverCertificate: /none, privateKey: /s.key",
            Code::ReferencedResourceNotFound,
            "serverCertificate",
            "/none",
        ),
        (
            "mode: SIMPLE, serverCertificate: /s.crt, privateKey: /blank",
            Code::ReferencedResourceNotFound,
            "privateKey",
            "/blank cannot be used: it is empty",
        ),
        ("mode: SIMPLE, serverCertificate: /s.crt", Code::SchemaValidationError, "privateKey", "is missing"),
        (
            "mode: SIMPLE, serverCertificate: /s.crt, privateKey: /o.key",
            Code::InvalidGatewayCredential,
            "serverCertificate",
            "the file /s.crt (key: /o.key) holds a private key that does not belong",
        ),
        (
            "mode: SIMPLE, tlsCertificates: [{serverCertificate: /s.crt, privateKey: /s.key}, \
             {serverCertificate: /s.crt, privateKey: /none}]",
            Code::ReferencedResourceNotFound,
            "tlsCertificates[1].privateKey",
            "/none",
        ),
        (
            &format!("mode: MUTUAL, {pair}"),
            Code::SchemaValidationError,
            "caCertificates",
            "no authorities are named",
        ),
        (
            &format!("mode: MUTUAL, {pair}, caCertificates: /s.key"),
            Code::InvalidGatewayCredential,
            "caCertificates",
            "the file /s.key holds no certificate",
        ),
        (
            &format!("mode: MUTUAL, {pair}, caCertificates: /ca.crt, caCrl: /none"),
            Code::ReferencedResourceNotFound,
            "caCrl",
            "/none",
        ),
        (
            &format!("mode: MUTUAL, {pair}, caCertificates: /ca.crt, caCrl: /ca.crt"),
            Code::InvalidGatewayCredential,
            "caCrl",
            "the file /ca.crt holds a revocation list that cannot be read",
        ),
    ] {
        let (reason, found, place) = scene.refused(tls);
        assert_eq!((found, place), (code, format!("spec.servers[0].tls.{field}")), "{tls}");
        assert!(reason.contains(part), "{tls}: {reason}");
        assert!(!reason.contains("PRIVATE"), "{reason}");
    }
}

#[test]
fn what_stands_beside_a_secret_or_a_file_in_vain_is_named() {
    let authority = Authority::new("ca");
    let own = authority.leaf(&[NAME]);
    let mut scene = Scene::new(&tls_secret("cred", &own, &[]));
    for (path, text) in [("/s.crt", &own.certificate), ("/s.key", &own.key), ("/ca.crt", &authority.pem())] {
        scene.environment.files.insert(path, Ok(text.as_bytes().into()));
    }
    let said = |tls: &str| {
        let (chain, said) = scene.chain(tls);
        assert!(matches!(chain, ChainTls::Terminate(_)), "{tls}: {chain:?}");
        let said =
            said.into_iter().map(|found| (found.code, found.field.replace("spec.servers[0].tls.", "")));
        said.collect::<Vec<_>>()
    };
    let beside = said("mode: SIMPLE, credentialName: cred, serverCertificate: /x, privateKey: /x");
    let expected = ["privateKey", "serverCertificate"].map(|field| (Code::NeverApplies, field.to_owned()));
    assert_eq!(beside, expected);
    let files = "mode: MUTUAL, serverCertificate: /s.crt, privateKey: /s.key, caCertificates: /ca.crt";
    assert_eq!(said(files), []);
    // As in Istio, which would not read it: it cannot refuse anyone either.
    let pinned = said(&format!("{files}, verifyCertificateHash: [x]"));
    assert_eq!(pinned, [(Code::NeverApplies, "verifyCertificateHash".to_owned())]);
}

#[test]
fn another_file_is_another_configuration() {
    let authority = Authority::new("ca");
    let (one, two) = (authority.leaf(&[NAME]), authority.leaf(&[NAME]));
    let mut scene = scene(&[("/s.crt", &one.certificate), ("/s.key", &one.key)]);
    let tls = "mode: SIMPLE, serverCertificate: /s.crt, privateKey: /s.key";
    let first = scene.served(tls);
    assert!(Arc::ptr_eq(&first, &scene.served(tls)), "nothing has changed");
    for (path, text) in [("/s.crt", &two.certificate), ("/s.key", &two.key)] {
        scene.environment.files.insert(path, Ok(text.as_bytes().into()));
    }
    let agreed = handshake(&client(None), &scene.served(tls).config, NAME).expect("a handshake");
    assert_eq!(agreed.certificate, two.der);
}

#[test]
fn a_server_has_curves_of_its_own() {
    use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519};
    let authority = Authority::new("ca");
    let scene = Scene::new(&tls_secret("cred", &authority.leaf(&[NAME]), &[]));
    let tls = scene.served("mode: SIMPLE, credentialName: cred, ecdhCurves: [P-384, P-521, P-384]");
    let (_, said) = scene.chain("mode: SIMPLE, credentialName: cred, ecdhCurves: [P-384, P-521, P-384]");
    let fields: Vec<_> = said.iter().map(|found| (found.code, found.field.as_str())).collect();
    assert_eq!(
        fields,
        [
            (Code::SchemaWarning, "spec.servers[0].tls.ecdhCurves[2]"),
            (Code::FieldNotHonoured, "spec.servers[0].tls.ecdhCurves[1]"),
        ]
    );
    for (group, expected) in [(SECP384R1, true), (SECP256R1, false), (X25519, false)] {
        for version in [&TLS12, &TLS13] {
            let provider = CryptoProvider { kx_groups: vec![group], ..default_provider() };
            let met = handshake(&client_with(provider, &[version], None), &tls.config, NAME);
            assert_eq!(met.is_ok(), expected, "{:?} {version:?}", group.name());
        }
    }
}
