//! Sessions that resume and configurations that stay.

use super::*;

#[test]
fn sessions_resume_on_any_configuration_that_asks_the_same() {
    let authority = Authority::new("ca");
    let good = authority.leaf(&["client.example.com"]);
    let roots = [("ca.crt", authority.pem())];
    let roots = [(roots[0].0, roots[0].1.as_str())];
    // Made twice, as by two compilations that share nothing but ticket key and session store; the second time the
    // certificate is a new one.
    for mode in ["SIMPLE", "MUTUAL"] {
        for stateful in [false, true] {
            let mut scene = Scene::new(&tls_secret("cred", &authority.leaf(&[NAME]), &roots));
            if stateful {
                let none = crate::environment::TlsEnvironment::without_resumption();
                scene.environment.tls.ticketer = none.ticketer;
                scene.environment.tls.session_store = ServerSessionMemoryCache::new(64);
            }
            let tls = format!("mode: {mode}, credentialName: cred");
            let first = scene.served(&tls);
            let renewed = Scene {
                objects: objects(&tls_secret("cred", &authority.leaf(&[NAME]), &roots)),
                environment: scene.environment.clone(),
            };
            let second = renewed.served(&tls);
            assert!(!Arc::ptr_eq(&first, &second));
            for versions in [&[&TLS12], &[&TLS13]] {
                let peer = client_with(default_provider(), versions, Some(&good));
                let resumed =
                    |tls: &ServerTls| handshake(&peer, &tls.config, NAME).expect("a handshake").resumed;
                assert!(!resumed(&first), "{mode} {versions:?}");
                assert!(resumed(&first), "{mode} {versions:?}");
                assert!(resumed(&second), "{mode} {versions:?}");
            }
        }
    }
}

#[test]
fn no_session_outruns_verification() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let own = authority.leaf(&[NAME]);
    let good = authority.leaf(&["client.example.com"]);
    for stateful in [false, true] {
        let mut scene = Scene::new(&tls_secret("cred", &own, &[("ca.crt", &authority.pem())]));
        if stateful {
            let none = crate::environment::TlsEnvironment::without_resumption();
            scene.environment.tls.ticketer = none.ticketer;
            scene.environment.tls.session_store = ServerSessionMemoryCache::new(64);
        }
        let withdrawn = Scene {
            objects: objects(&tls_secret("cred", &own, &[("ca.crt", &other.pem())])),
            environment: scene.environment.clone(),
        };
        let simple = scene.served("mode: SIMPLE, credentialName: cred");
        let mutual = scene.served("mode: MUTUAL, credentialName: cred");
        let named = scene.served("mode: MUTUAL, credentialName: cred, subjectAltNames: [x]");
        let optional = scene.served("mode: OPTIONAL_MUTUAL, credentialName: cred");
        let withdrawn = withdrawn.served("mode: MUTUAL, credentialName: cred");
        for versions in [&[&TLS12], &[&TLS13]] {
            let none = client_with(default_provider(), versions, None);
            let known = client_with(default_provider(), versions, Some(&good));
            handshake(&none, &simple.config, NAME).expect("no certificate is asked for");
            handshake(&none, &mutual.config, NAME)
                .expect_err("a session without certificate is no certificate");
            assert!(!handshake(&none, &optional.config, NAME).expect("none is needed").resumed);
            handshake(&none, &mutual.config, NAME).expect_err("nor is one of an optional chain");
            handshake(&known, &mutual.config, NAME).expect("a good certificate");
            assert!(handshake(&known, &mutual.config, NAME).expect("again").resumed);
            handshake(&known, &named.config, NAME).expect_err("the name is asked for here");
            handshake(&known, &mutual.config, NAME).expect("a good certificate");
            handshake(&known, &withdrawn.config, NAME).expect_err("its authority has been withdrawn");
        }
    }
}

#[test]
fn unchanged_chains_keep_their_configuration() {
    let authority = Authority::new("ca");
    let one = authority.leaf(&[NAME]);
    let scene = Scene::new(&tls_secret("cred", &one, &[("ca.crt", &authority.pem())]));
    let tls = "mode: MUTUAL, credentialName: cred";
    let first = scene.served(tls);
    assert!(Arc::ptr_eq(&first, &scene.served(tls)));
    assert!(!Arc::ptr_eq(&first, &scene.served("mode: SIMPLE, credentialName: cred")));
    assert!(!Arc::ptr_eq(&first, &scene.served(&format!("{tls}, subjectAltNames: [x]"))));
    assert!(!Arc::ptr_eq(&first, &scene.served(&format!("{tls}, minProtocolVersion: TLSV1_3"))));
    let renewed = Scene {
        objects: objects(&tls_secret("cred", &authority.leaf(&[NAME]), &[("ca.crt", &authority.pem())])),
        environment: scene.environment,
    };
    assert!(!Arc::ptr_eq(&first, &renewed.served(tls)));
}
