//! TLS towards a cluster (routing reference §3.6).

mod sources;

use std::sync::Arc;

use portcullis_api::Kind;
use portcullis_api::networking::{ClientTlsMode, ClientTlsSettings};
use portcullis_snapshot::cluster::UpstreamProtocol;
use portcullis_snapshot::tls::{UpstreamSni, UpstreamTls};
use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use self::sources::{Anchors, KeyPair, Sources};
use super::policy::WrittenTls;
use crate::certificates::{Authorities, ServerVerifier, Trust, Unusable, WantedNames, certified_key};
use crate::credentials::cache::{Digest, Fingerprint};
use crate::credentials::client_offer;
use crate::credentials::secret::Secrets;
use crate::diagnostic::{Code, Diagnostics, Reporter, Subject};
use crate::environment::Environment;
use crate::objects::Objects;
use crate::settings::mesh;

/// What TLS depends on beside its settings: the cluster it leads to.
pub(super) struct Upstream<'a> {
    /// Service port.
    pub(super) port: u16,
    /// Name of the subset, or empty.
    pub(super) subset: &'a str,
    /// Host of the service.
    pub(super) host: &'a str,
    pub(super) protocol: UpstreamProtocol,
    /// Names that its ServiceEntry gives, and identities of its endpoints.
    pub(super) names: &'a [String],
}

/// TLS as `tls` says; `None` for plaintext.
///
/// Settings that cannot be followed give a configuration that trusts nobody: connections fail, as they do at Istio's
/// gateway, and never go out in plaintext or to a stranger.
pub(super) fn upstream_tls(
    tls: &WrittenTls<'_>,
    upstream: &Upstream<'_>,
    objects: &Objects,
    environment: &Environment,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<UpstreamTls>> {
    let mode = tls.settings.mode.filter(|mode| *mode != ClientTlsMode::Disable)?;
    let provider = client_offer(mesh(objects), &environment.tls.provider, diagnostics);
    let subject = Subject::new(Kind::DestinationRule, tls.rule);
    let mut reporter = Reporter::new(diagnostics, subject, tls.field());
    let sources = Sources {
        secrets: Secrets { objects, namespace: &environment.workload.namespace },
        files: &environment.files,
    };
    let (sni, names) = naming(tls.settings, mode, upstream);
    let mut plan = Plan {
        sni,
        names,
        offers: if mode == ClientTlsMode::IstioMutual { &MESH } else { &COMMON },
        protocol: upstream.protocol,
        anchors: Anchors::System { revoked: None },
        pair: None,
        provider,
    };
    match sources.find(tls.settings, mode) {
        Ok((anchors, pair)) => (plan.anchors, plan.pair) = (anchors, pair),
        Err((field, problem)) => {
            reporter.report(problem.code, field, problem.message.as_str(), problem.remedy);
            plan.refuse(problem.message);
        }
    }
    report_unused(tls.settings, &mut reporter);
    let cache = &environment.tls.cache;
    let built = cache.upstream(plan.content(environment), || plan.build(environment));
    built
        .or_else(|problem| {
            let code = Code::InvalidGatewayCredential;
            reporter.report(code, problem.field, problem.message.as_str(), "replace its content");
            plan.refuse(problem.message);
            cache.upstream(plan.content(environment), || plan.build(environment))
        })
        // Refusing everybody needs nothing that could fail.
        .ok()
}

/// Names the files that a `credentialName` beside them makes useless.
fn report_unused(settings: &ClientTlsSettings, reporter: &mut Reporter<'_, '_>) {
    let is_written = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if !is_written(&settings.credential_name) {
        return;
    }
    let ClientTlsSettings { ca_certificates, client_certificate, private_key, ca_crl, .. } = settings;
    let files = [
        ("caCertificates", ca_certificates),
        ("clientCertificate", client_certificate),
        ("privateKey", private_key),
        ("caCrl", ca_crl),
    ];
    for (field, _) in files.into_iter().filter(|(_, path)| is_written(path)) {
        let message = "has no effect beside credentialName, which says where everything is";
        reporter.report(Code::NeverApplies, field, message, "leave one of the two out");
    }
}

/// What is wrong with a credential's content, and the field that names it.
struct Broken {
    field: &'static str,
    message: String,
}

/// Everything a configuration is made of.
struct Plan<'a> {
    /// Name to send, if it is always the same.
    sni: Option<String>,
    names: WantedNames,
    /// Protocols offered by ALPN: over HTTP/1.1, over HTTP/2, and where bytes are carried.
    offers: &'static Offers,
    protocol: UpstreamProtocol,
    anchors: Anchors<'a>,
    pair: Option<KeyPair<'a>>,
    provider: Arc<CryptoProvider>,
}

/// Protocols offered by ALPN.
#[derive(Debug)]
struct Offers {
    http1: &'static [&'static [u8]],
    http2: &'static [&'static [u8]],
    bytes: &'static [&'static [u8]],
}

/// To services outside the mesh.
const COMMON: Offers = Offers { http1: &[b"http/1.1"], http2: &[b"h2"], bytes: &[] };
/// To sidecars of a mesh, as Istio's `alpn` filter offers them. `istio-peer-exchange` is left out: it promises a
/// preface that the gateway does not send.
const MESH: Offers = Offers {
    http1: &[b"istio-http/1.1", b"istio", b"http/1.1"],
    http2: &[b"istio-h2", b"istio", b"h2"],
    bytes: &[b"istio"],
};

/// Name to send, if it is always the same, and names expected (Istio: `setAutoSniAndAutoSanValidation`,
/// `buildIstioMutualTLS`).
fn naming(
    settings: &ClientTlsSettings,
    mode: ClientTlsMode,
    upstream: &Upstream<'_>,
) -> (Option<String>, WantedNames) {
    let Upstream { port, subset, host, names, .. } = *upstream;
    let written = settings.sni.as_deref().filter(|sni| !sni.is_empty());
    let sni = match written {
        None if mode == ClientTlsMode::IstioMutual => Some(format!("outbound_.{port}_.{subset}_.{host}")),
        written => written.map(str::to_owned),
    };
    let own = &settings.subject_alt_names;
    let wanted = match &sni {
        _ if !own.is_empty() => WantedNames::OneOf(own.clone()),
        // A name that is sent because the request goes by it is expected, too, also beside those of a ServiceEntry.
        None if !names.is_empty() => WantedNames::ConnectionAndOneOf(names.to_vec()),
        None => WantedNames::Connection,
        Some(_) if !names.is_empty() => WantedNames::OneOf(names.to_vec()),
        Some(_) => WantedNames::Unchecked,
    };
    (sni, wanted)
}

impl Plan<'_> {
    /// Trusts nobody and presents nothing.
    fn refuse(&mut self, reason: String) {
        self.anchors = Anchors::Nobody(reason.into());
        self.pair = None;
    }

    /// What makes it the same configuration.
    fn content(&self, environment: &Environment) -> Digest {
        let (anchors, texts) = match &self.anchors {
            // The store behind an address lives as long as any configuration made of it.
            Anchors::System { revoked } => (
                format!("system {:p}", Arc::as_ptr(&environment.tls.roots)),
                vec![revoked.unwrap_or_default()],
            ),
            Anchors::Given { certificates, revoked, .. } => {
                ("given".to_owned(), vec![*certificates, revoked.unwrap_or_default()])
            }
            Anchors::Anyone => ("anyone".to_owned(), Vec::new()),
            Anchors::Nobody(reason) => (format!("nobody {reason}"), Vec::new()),
        };
        let pair = self.pair.iter().flat_map(|pair| [pair.certificates, pair.key]);
        let suites = self.provider.cipher_suites.iter().map(|suite| suite.suite());
        let groups = self.provider.kx_groups.iter().map(|group| group.name());
        let offer = (suites.collect::<Vec<_>>(), groups.collect::<Vec<_>>());
        Fingerprint::new("upstream")
            .add(anchors)
            .add_all(texts)
            .add_all(pair)
            .add(format!("{:?} {:?} {:?} {:?} {offer:?}", self.sni, self.names, self.offers, self.protocol))
            .finish()
    }

    fn build(&self, environment: &Environment) -> Result<UpstreamTls, Broken> {
        let verifier = ServerVerifier::new(self.trust(environment)?, self.names.clone(), &self.provider)
            .map_err(|problem| self.broken(&problem))?;
        let key = self.key()?;
        let leaf = key.as_ref().and_then(|key| key.cert.first()).map(|leaf| Arc::new(leaf.clone()));
        let base = self.config(verifier.clone(), key.clone())?;
        let http2 = Arc::new(with_alpn(base.clone(), self.offers.http2));
        // A TCP route knows no Host: without a fixed name, none is sent and none expected.
        let bytes = match &self.names {
            WantedNames::Connection => self.config(verifier.with_names(WantedNames::Unchecked), key)?,
            WantedNames::ConnectionAndOneOf(names) => {
                self.config(verifier.with_names(WantedNames::OneOf(names.clone())), key)?
            }
            WantedNames::OneOf(_) | WantedNames::Unchecked => base.clone(),
        };
        let mut opaque = with_alpn(bytes, self.offers.bytes);
        opaque.enable_sni = self.sni.is_some();
        let config = match self.protocol {
            UpstreamProtocol::Http2 => Arc::clone(&http2),
            UpstreamProtocol::Http1 | UpstreamProtocol::AsClient => {
                Arc::new(with_alpn(base, self.offers.http1))
            }
        };
        let sni = self.sni.as_deref().map_or(UpstreamSni::FromHost, |sni| UpstreamSni::Fixed(sni.into()));
        Ok(UpstreamTls { config, http2, opaque: Arc::new(opaque), sni, leaf })
    }

    fn trust(&self, environment: &Environment) -> Result<Trust, Broken> {
        let broken = |problem| self.broken(&problem);
        Ok(match &self.anchors {
            Anchors::System { revoked } => {
                let revoked = revoked.map(Authorities::revocation_lists).transpose().map_err(broken)?;
                Trust::System(Arc::clone(&environment.tls.roots), revoked.unwrap_or_default())
            }
            Anchors::Anyone => Trust::Anyone,
            Anchors::Nobody(reason) => Trust::Nobody(Arc::clone(reason)),
            Anchors::Given { certificates, revoked, .. } => {
                Trust::Authorities(Authorities::from_pem(certificates, *revoked).map_err(broken)?)
            }
        })
    }

    /// The client certificate, if there is one.
    fn key(&self) -> Result<Option<Arc<CertifiedKey>>, Broken> {
        let Some(KeyPair { field, called, certificates, key }) = &self.pair else { return Ok(None) };
        let key = certified_key(certificates, key, &self.provider);
        key.map(|key| Some(Arc::new(key)))
            .map_err(|problem| Broken { field, message: format!("{called} {problem}") })
    }

    fn config(
        &self,
        verifier: ServerVerifier,
        key: Option<Arc<CertifiedKey>>,
    ) -> Result<ClientConfig, Broken> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Broken { field: "", message: error.to_string() })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok(match key {
            None => builder.with_no_client_auth(),
            Some(key) => {
                let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(key));
                builder.with_client_cert_resolver(resolver)
            }
        })
    }

    fn broken(&self, problem: &Unusable) -> Broken {
        match &self.anchors {
            Anchors::Given { field, called, .. } => {
                let field = if *problem == Unusable::RevocationList && *field == "caCertificates" {
                    "caCrl"
                } else {
                    field
                };
                Broken { field, message: format!("{called} {problem}") }
            }
            Anchors::System { .. } => Broken { field: "caCrl", message: format!("its file {problem}") },
            Anchors::Anyone | Anchors::Nobody(_) => Broken { field: "", message: problem.to_string() },
        }
    }
}

fn with_alpn(mut config: ClientConfig, protocols: &[&[u8]]) -> ClientConfig {
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

#[cfg(test)]
mod tests;
