//! Versions, cipher suites and curves of a server's TLS (routing reference §1.7, security reference §5).

use std::sync::Arc;

use portcullis_api::mesh::MeshTlsConfig;
use portcullis_api::networking::{ServerTlsSettings, TlsVersion};
use portcullis_api::{Kind, Mesh};
use rustls::CipherSuite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as ECDSA_AES128,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 as ECDSA_AES256,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 as ECDSA_CHACHA,
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 as RSA_AES128, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 as RSA_AES256,
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 as RSA_CHACHA, TLS13_AES_128_GCM_SHA256,
    TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, NamedGroup, SupportedProtocolVersion};

use crate::diagnostic::{Code, Diagnostics, Reporter, Subject};

/// OpenSSL's names of the suites Istio accepts; `None` where the gateway has no such suite.
const SUITES: &[(&str, Option<CipherSuite>)] = &[
    ("ECDHE-ECDSA-AES128-GCM-SHA256", Some(ECDSA_AES128)),
    ("ECDHE-RSA-AES128-GCM-SHA256", Some(RSA_AES128)),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", Some(ECDSA_AES256)),
    ("ECDHE-RSA-AES256-GCM-SHA384", Some(RSA_AES256)),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", Some(ECDSA_CHACHA)),
    ("ECDHE-RSA-CHACHA20-POLY1305", Some(RSA_CHACHA)),
    ("ECDHE-ECDSA-AES128-SHA", None),
    ("ECDHE-RSA-AES128-SHA", None),
    ("ECDHE-ECDSA-AES256-SHA", None),
    ("ECDHE-RSA-AES256-SHA", None),
    ("AES128-GCM-SHA256", None),
    ("AES256-GCM-SHA384", None),
    ("AES128-SHA", None),
    ("AES256-SHA", None),
    ("DES-CBC3-SHA", None),
];

/// TLS 1.2 suites where none are asked for, in Envoy's order.
const DEFAULT_SUITES: &[CipherSuite] =
    &[ECDSA_AES128, ECDSA_CHACHA, RSA_AES128, RSA_CHACHA, ECDSA_AES256, RSA_AES256];

/// TLS 1.3 suites, which no setting reaches.
const FIXED_SUITES: &[CipherSuite] =
    &[TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];

/// Names of the curves Istio accepts.
const CURVES: &[(&str, Option<NamedGroup>)] = &[
    ("X25519", Some(NamedGroup::X25519)),
    ("P-256", Some(NamedGroup::secp256r1)),
    ("P-384", Some(NamedGroup::secp384r1)),
    ("X25519MLKEM768", Some(NamedGroup::X25519MLKEM768)),
    ("P-224", None),
    ("P-521", None),
    ("X25519Kyber768Draft00", None),
];

/// Curves where none are asked for.
const DEFAULT_CURVES: &[NamedGroup] = &[NamedGroup::X25519, NamedGroup::secp256r1];

/// What a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) tls12: bool,
    pub(super) tls13: bool,
    pub(super) suites: Vec<CipherSuite>,
    pub(super) curves: Vec<NamedGroup>,
}

impl Offer {
    /// What `settings` ask for, over what the mesh asks for. Nothing is ever offered that was not asked for: where
    /// only suites remain that the gateway does not have, TLS 1.2 is not offered.
    pub(super) fn new(
        settings: &ServerTlsSettings,
        mesh: Option<&MeshTlsConfig>,
        reporter: &mut Reporter<'_, '_>,
    ) -> Self {
        let own_minimum = settings.min_protocol_version.filter(|version| *version != TlsVersion::Auto);
        let minimum = own_minimum.or(mesh.and_then(|mesh| mesh.min_protocol_version));
        let maximum = settings.max_protocol_version;
        for (field, version) in
            [("minProtocolVersion", own_minimum), ("maxProtocolVersion", settings.max_protocol_version)]
        {
            if matches!(version, Some(TlsVersion::V1_0 | TlsVersion::V1_1)) {
                reporter.report(
                    Code::FieldNotHonoured,
                    field,
                    "TLS 1.0 and 1.1 are not spoken: TLS 1.2 is taken in their place",
                    "ask for TLSV1_2 or TLSV1_3",
                );
            }
        }
        let of_mesh = |names| List { names, field: "", prefix: "meshConfig.tlsDefaults: " };
        let shared = |list: fn(&MeshTlsConfig) -> &Vec<String>| {
            mesh.map(|mesh| list(mesh).as_slice()).unwrap_or_default()
        };
        let suites = match settings.cipher_suites.as_slice() {
            [] => of_mesh(shared(|mesh| &mesh.cipher_suites)),
            own => List { names: own, field: "cipherSuites", prefix: "" },
        };
        let curves = match settings.ecdh_curves.as_slice() {
            [] => of_mesh(shared(|mesh| &mesh.ecdh_curves)),
            own => List { names: own, field: "ecdhCurves", prefix: "" },
        };
        let suites = chosen(&suites, SUITES, DEFAULT_SUITES, reporter);
        Self {
            tls12: minimum != Some(TlsVersion::V1_3) && !suites.is_empty(),
            tls13: !matches!(maximum, Some(TlsVersion::V1_0 | TlsVersion::V1_1 | TlsVersion::V1_2)),
            suites,
            curves: chosen(&curves, CURVES, DEFAULT_CURVES, reporter),
        }
    }

    /// The versions offered, the newest first.
    pub(super) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let versions = [(self.tls13, &TLS13), (self.tls12, &TLS12)];
        versions.into_iter().filter_map(|(offered, version)| offered.then_some(version)).collect()
    }

    /// `provider` cut down to the suites and curves offered, in that order.
    pub(super) fn provider(&self, provider: &CryptoProvider) -> Arc<CryptoProvider> {
        let suites = FIXED_SUITES.iter().chain(&self.suites);
        let suites = suites.filter_map(|wanted| {
            provider.cipher_suites.iter().find(|suite| suite.suite() == *wanted).copied()
        });
        let curves = self
            .curves
            .iter()
            .filter_map(|wanted| provider.kx_groups.iter().find(|group| group.name() == *wanted).copied());
        Arc::new(CryptoProvider {
            cipher_suites: suites.collect(),
            kx_groups: curves.collect(),
            ..provider.clone()
        })
    }
}

/// What the gateway offers to upstreams: everything, or what the mesh's `tlsDefaults` name. The versions among those
/// settings only concern servers (Istio: `applyTLSDefaults`).
pub(crate) fn client_offer(
    mesh: Option<&Mesh>,
    provider: &Arc<CryptoProvider>,
    diagnostics: &mut Diagnostics,
) -> Arc<CryptoProvider> {
    let defaults = mesh.and_then(|mesh| Some((mesh, mesh.spec.tls_defaults.as_ref()?)));
    match defaults {
        Some((mesh, defaults)) if !defaults.cipher_suites.is_empty() || !defaults.ecdh_curves.is_empty() => {
            let mut reporter =
                Reporter::new(diagnostics, Subject::new(Kind::MeshConfig, mesh), "tlsDefaults");
            Offer::new(&ServerTlsSettings::default(), Some(defaults), &mut reporter).provider(provider)
        }
        _ => Arc::clone(provider),
    }
}

/// Names as written, and where.
struct List<'a> {
    names: &'a [String],
    /// Field of the server's `tls`; empty for a setting of the mesh.
    field: &'static str,
    /// Put before messages.
    prefix: &'static str,
}

/// What the names stand for, each once; `default` where none of them means anything, which is how Istio reads a list
/// of unknown names. A known name that the gateway has nothing for is left out and counts as meaning something.
fn chosen<T: Copy + PartialEq>(
    list: &List<'_>,
    known: &[(&str, Option<T>)],
    default: &[T],
    reporter: &mut Reporter<'_, '_>,
) -> Vec<T> {
    let mut seen: Vec<&str> = Vec::new();
    let mut chosen = Vec::new();
    for (at, name) in list.names.iter().enumerate() {
        let field = if list.field.is_empty() { String::new() } else { format!("{}[{at}]", list.field) };
        let mut report = |code, message: &str, remedy: &str| {
            reporter.report(code, &field, format!("{}{name} {message}", list.prefix), remedy);
        };
        let Some((name, value)) = known.iter().find(|(known, _)| known == name) else {
            report(Code::SchemaWarning, "is not a name Istio knows, and is left out", "");
            continue;
        };
        if seen.contains(name) {
            report(Code::SchemaWarning, "stands here twice", "");
            continue;
        }
        seen.push(name);
        match value {
            Some(value) => chosen.push(*value),
            None => report(
                Code::FieldNotHonoured,
                "is not offered: the gateway has no such algorithm",
                "choose ECDHE with AES-GCM or ChaCha20, and X25519, P-256 or P-384",
            ),
        }
    }
    if seen.is_empty() { default.to_vec() } else { chosen }
}

#[cfg(test)]
mod tests;
