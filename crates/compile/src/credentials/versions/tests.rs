//! Offers out of settings.

use portcullis_api::{Gateway, Kind, Meta, Origin};

use super::*;
use crate::diagnostic::{Diagnostics, Subject};

fn offer(settings: &ServerTlsSettings, mesh: Option<&MeshTlsConfig>) -> (Offer, Vec<String>) {
    let gateway = Gateway {
        meta: Meta::default(),
        spec: portcullis_api::networking::GatewaySpec::default(),
        conditions: Vec::new(),
        origin: Origin::default(),
    };
    let mut diagnostics = Diagnostics::default();
    let mut reporter = Reporter::new(&mut diagnostics, Subject::new(Kind::Gateway, &gateway), "tls");
    let offer = Offer::new(settings, mesh, &mut reporter);
    let said =
        diagnostics.into_sorted().into_iter().map(|found| format!("{}: {}", found.field, found.message));
    (offer, said.collect())
}

#[test]
fn the_mesh_fills_in_and_the_server_wins() {
    let mesh = MeshTlsConfig {
        min_protocol_version: Some(TlsVersion::V1_3),
        ecdh_curves: vec!["P-384".into(), "P-521".into()],
        cipher_suites: vec!["ECDHE-RSA-AES256-GCM-SHA384".into()],
    };
    let (found, said) = offer(&ServerTlsSettings::default(), Some(&mesh));
    assert!(found.tls13 && !found.tls12);
    assert_eq!((found.curves, found.suites), (vec![NamedGroup::secp384r1], vec![RSA_AES256]));
    assert_eq!(
        said,
        ["tls: meshConfig.tlsDefaults: P-521 is not offered: the gateway has no such algorithm"]
    );
    let own = ServerTlsSettings {
        min_protocol_version: Some(TlsVersion::V1_2),
        cipher_suites: vec!["ECDHE-RSA-AES128-GCM-SHA256".into(), "ECDHE-RSA-AES128-GCM-SHA256".into()],
        ..ServerTlsSettings::default()
    };
    let (found, said) = offer(&own, Some(&MeshTlsConfig { ecdh_curves: Vec::new(), ..mesh }));
    assert!(found.tls13 && found.tls12);
    assert_eq!((found.curves, found.suites), (DEFAULT_CURVES.to_vec(), vec![RSA_AES128]));
    assert_eq!(said, ["tls.cipherSuites[1]: ECDHE-RSA-AES128-GCM-SHA256 stands here twice"]);
}
