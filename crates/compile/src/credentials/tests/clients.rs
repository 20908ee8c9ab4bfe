//! What is asked of clients.

use super::*;

#[test]
fn clients_by_mode() {
    let (authority, foreign) = (Authority::new("ca"), Authority::new("other"));
    let own = authority.leaf(&[NAME]);
    let good = authority.leaf(&["client.example.com"]);
    let stranger = foreign.leaf(&["client.example.com"]);
    let scene = Scene::new(&tls_secret("cred", &own, &[("ca.crt", &authority.pem())]));
    let simple = scene.served("mode: SIMPLE, credentialName: cred");
    let mutual = scene.served("mode: MUTUAL, credentialName: cred");
    let optional = scene.served("mode: OPTIONAL_MUTUAL, credentialName: cred");
    assert_eq!(mutual.client_certificate, ClientCertificate::Required);
    assert_eq!(optional.client_certificate, ClientCertificate::Optional);
    for versions in [&[&TLS12], &[&TLS13]] {
        let with = |leaf| client_with(default_provider(), versions, leaf);
        let ask = |tls: &ServerTls, leaf| {
            handshake(&with(leaf), &tls.config, NAME).map(|agreed| agreed.knows_client)
        };
        assert_eq!(ask(&simple, None), Ok(false));
        assert_eq!(ask(&simple, Some(&good)), Ok(false));
        assert_eq!(ask(&mutual, Some(&good)), Ok(true));
        assert_eq!(ask(&mutual, None), Err(Error::NoCertificatesPresented));
        let unknown = Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert_eq!(ask(&mutual, Some(&stranger)), unknown);
        assert_eq!(ask(&optional, Some(&good)), Ok(true));
        assert_eq!(ask(&optional, None), Ok(false));
        assert_eq!(ask(&optional, Some(&stranger)), unknown);
    }
}

#[test]
fn a_separate_secret_with_authorities_hides_the_own_one() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let own = authority.leaf(&[NAME]);
    let client_leaf = other.leaf(&["client.example.com"]);
    let pair = tls_secret("cred", &own, &[("ca.crt", &authority.pem())]);
    let separate = |data: &[(&str, &str)]| Scene::new(&(pair.clone() + &secret("gw", "cred-cacert", data)));
    let mutual = "mode: MUTUAL, credentialName: cred";
    for key in ["cacert", "ca.crt"] {
        let served = separate(&[(key, &other.pem())]).served(mutual);
        handshake(&client(Some(&client_leaf)), &served.config, NAME)
            .expect("a client of the other authority");
    }
    let (reason, code, _) = separate(&[("unrelated", "x")]).refused(mutual);
    assert_eq!(code, Code::InvalidGatewayCredential);
    assert!(reason.contains("gw/cred-cacert"), "{reason}");
    let map = format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: roots, namespace: gw}}\ndata: {{ca.crt: {:?}}}\n",
        other.pem()
    );
    let scene = Scene::new(&(pair + &map + &secret("gw", "x-cacert", &[("ca.crt", &other.pem())])));
    for name in ["x-cacert", "configmap://gw/roots"] {
        let served = scene.served(&format!("{mutual}, caCertCredentialName: '{name}'"));
        handshake(&client(Some(&client_leaf)), &served.config, NAME)
            .expect("a client of the other authority");
    }
}

#[test]
fn clients_by_name_and_pin() {
    let authority = Authority::new("ca");
    let own = authority.leaf(&[NAME]);
    let good = authority.leaf(&["client.example.com", "10.0.0.7"]);
    let other = authority.leaf(&["other.example.com"]);
    let scene = Scene::new(&tls_secret("cred", &own, &[("ca.crt", &authority.pem())]));
    let spki = {
        use ::base64::Engine as _;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &good.public_key);
        ::base64::engine::general_purpose::STANDARD.encode(digest)
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &good.der);
    let hash: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let zeros = "00".repeat(32);
    for restriction in [
        "subjectAltNames: [client.example.com]".to_owned(),
        "subjectAltNames: [nobody, CLIENT.example.com]".to_owned(),
        "subjectAltNames: [10.0.0.7]".to_owned(),
        format!("verifyCertificateSpki: ['{spki}']"),
        format!("verifyCertificateHash: ['{}']", hash.join(":")),
        format!("verifyCertificateHash: ['{zeros}'], verifyCertificateSpki: ['{spki}']"),
    ] {
        for mode in ["MUTUAL", "OPTIONAL_MUTUAL"] {
            let served = scene.served(&format!("mode: {mode}, credentialName: cred, {restriction}"));
            handshake(&client(Some(&good)), &served.config, NAME).expect("the client that is meant");
            let refused = handshake(&client(Some(&other)), &served.config, NAME);
            assert!(
                matches!(refused, Err(Error::InvalidCertificate(CertificateError::Other(_)))),
                "{restriction} {refused:?}"
            );
            // Who is meant must show it, optional or not.
            let silent = handshake(&client(None), &served.config, NAME);
            assert_eq!(silent.err(), Some(Error::NoCertificatesPresented), "{mode} {restriction}");
        }
    }
    for malformed in
        ["verifyCertificateSpki: [x]", "verifyCertificateHash: ['00']", "verifyCertificateHash: [zz]"]
    {
        let (_, code, _) = scene.refused(&format!("mode: MUTUAL, credentialName: cred, {malformed}"));
        assert_eq!(code, Code::InvalidGatewayCredential, "{malformed}");
    }
}

#[test]
fn unverified_clients_still_need_a_certificate() {
    let authority = Authority::new("ca");
    let own = authority.leaf(&[NAME]);
    let stranger = Authority::new("other").leaf(&["x"]);
    let scene = Scene::new(&tls_secret("cred", &own, &[]));
    let served = scene.served("mode: MUTUAL, credentialName: cred, insecureSkipVerify: true");
    let agreed = handshake(&client(Some(&stranger)), &served.config, NAME).expect("any certificate");
    assert!(agreed.knows_client);
    let none = handshake(&client(None), &served.config, NAME);
    assert_eq!(none, Err(Error::NoCertificatesPresented));
}

#[test]
fn revoked_clients_are_refused() {
    let authority = Authority::new("ca");
    let own = authority.leaf(&[NAME]);
    let numbered = |serial: u64| {
        authority.leaf_with(&["client"], Kind::Ecdsa, |params| params.serial_number = Some(serial.into()))
    };
    let (good, revoked) = (numbered(7), numbered(8));
    let list = authority.revoke(&[8]);
    let scene = Scene::new(&tls_secret("cred", &own, &[("ca.crt", &authority.pem()), ("ca.crl", &list)]));
    let served = scene.served("mode: MUTUAL, credentialName: cred");
    handshake(&client(Some(&good)), &served.config, NAME).expect("not revoked");
    let refused = handshake(&client(Some(&revoked)), &served.config, NAME);
    assert_eq!(refused, Err(Error::InvalidCertificate(CertificateError::Revoked)));
    let scene = Scene::new(&tls_secret("cred", &own, &[("ca.crt", &authority.pem()), ("ca.crl", "x")]));
    assert_eq!(scene.refused("mode: MUTUAL, credentialName: cred").1, Code::InvalidGatewayCredential);
}

#[test]
fn a_client_certificate_may_be_its_own_authority() {
    let own = Authority::new("ca").leaf(&[NAME]);
    for is_authority in [false, true] {
        let itself = self_signed(&["client.example.com"], is_authority);
        let scene = Scene::new(&tls_secret("cred", &own, &[("ca.crt", &itself.certificate)]));
        let served =
            scene.served("mode: MUTUAL, credentialName: cred, subjectAltNames: [client.example.com]");
        handshake(&client(Some(&itself)), &served.config, NAME).expect("trusted by itself");
        let other = self_signed(&["client.example.com"], is_authority);
        handshake(&client(Some(&other)), &served.config, NAME).expect_err("not trusted");
    }
}
