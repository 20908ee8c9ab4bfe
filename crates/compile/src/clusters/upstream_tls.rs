//! TLS towards a cluster (routing reference §3.6).

use std::sync::Arc;

use portcullis_api::Kind;
use portcullis_api::networking::{ClientTlsMode, ClientTlsSettings};
use portcullis_snapshot::cluster::UpstreamProtocol;
use portcullis_snapshot::tls::{UpstreamSni, UpstreamTls};
use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};

use super::policy::WrittenTls;
use crate::certificates::{Authorities, ServerVerifier, Trust, Unusable, WantedNames, certified_key};
use crate::credentials::cache::{Digest, Fingerprint};
use crate::credentials::secret::{AuthorityText, Pair, Problem, Secrets};
use crate::diagnostic::{Code, Diagnostics, Reporter, Subject};
use crate::environment::Environment;
use crate::objects::Objects;

/// TLS as `tls` says; `None` for plaintext. `names` are those of a ServiceEntry.
///
/// Settings that cannot be followed give a configuration that trusts nobody: connections fail, as they do at Istio's
/// gateway, and never go out in plaintext or to a stranger.
pub(super) fn upstream_tls(
    tls: &WrittenTls<'_>,
    protocol: UpstreamProtocol,
    names: &[String],
    objects: &Objects,
    environment: &Environment,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<UpstreamTls>> {
    let mode = tls.settings.mode.filter(|mode| *mode != ClientTlsMode::Disable)?;
    let subject = Subject::new(Kind::DestinationRule, tls.rule);
    let mut reporter = Reporter::new(diagnostics, subject, tls.field());
    let secrets = Secrets { objects, namespace: &environment.workload.namespace };
    let mut plan = Plan::gather(tls.settings, mode, &secrets, &mut reporter);
    plan.protocol = protocol;
    plan.names =
        if tls.settings.subject_alt_names.is_empty() { names } else { &tls.settings.subject_alt_names };
    let cache = &environment.tls.cache;
    let built = cache.upstream(plan.content(environment), || plan.build(environment));
    built
        .or_else(|problem| {
            reporter.report(
                Code::InvalidGatewayCredential,
                "credentialName",
                problem.0.as_str(),
                "replace its content",
            );
            plan.refuse(problem.0);
            cache.upstream(plan.content(environment), || plan.build(environment))
        })
        // Refusing everybody needs nothing that could fail.
        .ok()
}

/// What is wrong with a credential's content.
struct Broken(String);

/// Everything a configuration is made of.
struct Plan<'a> {
    settings: &'a ClientTlsSettings,
    protocol: UpstreamProtocol,
    names: &'a [String],
    trust: PlannedTrust<'a>,
    pair: Option<Pair<'a>>,
}

/// [`Trust`] before anything is parsed.
enum PlannedTrust<'a> {
    Authorities(AuthorityText<'a>),
    System,
    Anyone,
    Nobody(Arc<str>),
}

impl<'a> Plan<'a> {
    fn gather(
        settings: &'a ClientTlsSettings,
        mode: ClientTlsMode,
        secrets: &Secrets<'a>,
        reporter: &mut Reporter<'_, '_>,
    ) -> Self {
        let mut plan = Self {
            settings,
            protocol: UpstreamProtocol::Http1,
            names: &[],
            trust: PlannedTrust::System,
            pair: None,
        };
        if let Err((field, problem)) = plan.find(mode, secrets) {
            reporter.report(problem.code, field, problem.message.as_str(), problem.remedy);
            plan.refuse(problem.message);
        }
        plan
    }

    /// Trusts nobody and presents nothing.
    fn refuse(&mut self, reason: String) {
        self.trust = PlannedTrust::Nobody(reason.into());
        self.pair = None;
    }

    fn find(&mut self, mode: ClientTlsMode, secrets: &Secrets<'a>) -> Result<(), (&'static str, Problem)> {
        if mode == ClientTlsMode::IstioMutual {
            return Err(("mode", not_honoured("ISTIO_MUTUAL needs the mesh's own certificates")));
        }
        let credential = self.settings.credential_name.as_deref().filter(|name| !name.is_empty());
        let in_credential = |problem| ("credentialName", problem);
        self.trust = match credential {
            _ if self.settings.insecure_skip_verify == Some(true) => PlannedTrust::Anyone,
            Some(name) => PlannedTrust::Authorities(secrets.authorities(name).map_err(in_credential)?),
            None if is_written(self.settings.ca_certificates.as_deref()) => {
                return Err(("caCertificates", not_honoured("certificates in files are not read")));
            }
            None => PlannedTrust::System,
        };
        if mode == ClientTlsMode::Mutual {
            let Some(name) = credential else {
                return Err(("clientCertificate", not_honoured("certificates in files are not read")));
            };
            self.pair = Some(secrets.pair(name).map_err(in_credential)?);
        }
        Ok(())
    }

    /// What makes it the same configuration.
    fn content(&self, environment: &Environment) -> Digest {
        let trust = match &self.trust {
            // The store behind an address lives as long as any configuration made of it.
            PlannedTrust::System => format!("system {:p}", Arc::as_ptr(&environment.tls.roots)),
            PlannedTrust::Authorities(text) => format!("authorities {}", text.source),
            PlannedTrust::Anyone => "anyone".to_owned(),
            PlannedTrust::Nobody(reason) => format!("nobody {reason}"),
        };
        let authorities = match &self.trust {
            PlannedTrust::Authorities(text) => vec![text.certificates, text.revoked.unwrap_or_default()],
            _ => Vec::new(),
        };
        let pair = self.pair.iter().flat_map(|pair| [pair.source.as_bytes(), pair.certificates, pair.key]);
        Fingerprint::new("upstream")
            .add(trust)
            .add_all(authorities)
            .add_all(pair)
            .add_all(self.names)
            .add(format!("{:?} {:?}", self.settings.sni, self.protocol))
            .finish()
    }

    fn build(&self, environment: &Environment) -> Result<UpstreamTls, Broken> {
        let provider = &environment.tls.provider;
        let sni = self.settings.sni.as_deref().filter(|sni| !sni.is_empty());
        let wanted = match sni {
            _ if !self.names.is_empty() => WantedNames::OneOf(self.names.to_vec()),
            Some(_) => WantedNames::Unchecked,
            None => WantedNames::Connection,
        };
        let expects_host = wanted == WantedNames::Connection;
        let verifier = ServerVerifier::new(self.trust(environment)?, wanted, provider)
            .map_err(|problem| Broken(self.describe(&problem)))?;
        let key = self.key(provider)?;
        let http1 = config(provider, verifier.clone(), key.clone())?;
        let http2 = Arc::new(with_alpn(http1.clone(), b"h2"));
        // A TCP route knows no Host: without a fixed name, none is sent and none expected.
        let mut opaque = match expects_host {
            true => config(provider, verifier.with_names(WantedNames::Unchecked), key)?,
            false => http1.clone(),
        };
        opaque.enable_sni = sni.is_some();
        let config = match self.protocol {
            UpstreamProtocol::Http2 => Arc::clone(&http2),
            UpstreamProtocol::Http1 | UpstreamProtocol::AsClient => Arc::new(with_alpn(http1, b"http/1.1")),
        };
        let sni = sni.map_or(UpstreamSni::FromHost, |sni| UpstreamSni::Fixed(sni.into()));
        Ok(UpstreamTls { config, http2, opaque: Arc::new(opaque), sni })
    }

    fn trust(&self, environment: &Environment) -> Result<Trust, Broken> {
        Ok(match &self.trust {
            PlannedTrust::System => Trust::System(Arc::clone(&environment.tls.roots)),
            PlannedTrust::Anyone => Trust::Anyone,
            PlannedTrust::Nobody(reason) => Trust::Nobody(Arc::clone(reason)),
            PlannedTrust::Authorities(text) => {
                let authorities = Authorities::from_pem(text.certificates, text.revoked);
                Trust::Authorities(authorities.map_err(|problem| Broken(self.describe(&problem)))?)
            }
        })
    }

    /// The client certificate, if there is one.
    fn key(&self, provider: &CryptoProvider) -> Result<Option<Arc<CertifiedKey>>, Broken> {
        let Some(pair) = &self.pair else { return Ok(None) };
        let key = certified_key(pair.certificates, pair.key, provider);
        key.map(|key| Some(Arc::new(key)))
            .map_err(|problem| Broken(format!("the Secret {} {problem}", pair.source)))
    }

    fn describe(&self, problem: &Unusable) -> String {
        match &self.trust {
            PlannedTrust::Authorities(text) => format!("the Secret {} {problem}", text.source),
            _ => problem.to_string(),
        }
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    verifier: ServerVerifier,
    key: Option<Arc<CertifiedKey>>,
) -> Result<ClientConfig, Broken> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| Broken(error.to_string()))?
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

fn with_alpn(mut config: ClientConfig, protocol: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

fn is_written(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

fn not_honoured(message: &str) -> Problem {
    Problem {
        code: Code::FieldNotHonoured,
        message: format!("{message}: connections to this service fail"),
        remedy: "put certificates into a Secret beside the gateway and name it in credentialName",
    }
}

#[cfg(test)]
mod tests;
