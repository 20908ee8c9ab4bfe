//! Terminating TLS: from the `tls` block of a Gateway's server and the Secrets or files it names to a finished
//! configuration.
//!
//! What is wrong with a credential harms its own chain and nothing else: the chain stays, its handshakes fail, and a
//! diagnostic says why.

pub(crate) mod cache;
mod client_auth;
mod resumption;
pub(crate) mod secret;
mod sources;
mod versions;

use std::sync::Arc;

use portcullis_api::networking::{ServerTlsMode, ServerTlsSettings};
use portcullis_snapshot::listener::ChainTls;
use portcullis_snapshot::tls::{CertificateInfo, ServerTls};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use self::cache::{Digest, Fingerprint};
use self::client_auth::ClientAuth;
use self::resumption::{ScopedSessions, ScopedTickets};
use self::secret::Secrets;
pub(crate) use self::sources::credential_names;
use self::sources::{NamedPair, Sources, report_unused};
use self::versions::Offer;
pub(crate) use self::versions::client_offer;
use crate::certificates::{Unusable, certified_key, info};
use crate::diagnostic::{Code, Reporter};
use crate::environment::Environment;
use crate::objects::Objects;
use crate::settings::mesh;

/// Protocols offered by ALPN on a chain that carries HTTP.
pub(crate) const HTTP_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];
/// Protocols offered by ALPN on a chain that carries bytes: Istio's, and the one PostgreSQL clients insist on.
pub(crate) const TCP_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1", b"postgresql"];

/// Terminating TLS of a Gateway's server, whose `tls` block `reporter` is at.
pub(crate) fn server_tls(
    settings: &ServerTlsSettings,
    protocols: &[&[u8]],
    objects: &Objects,
    environment: &Environment,
    reporter: &mut Reporter<'_, '_>,
) -> ChainTls {
    match settings.mode {
        None | Some(ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough) => return ChainTls::None,
        Some(ServerTlsMode::IstioMutual) => {
            let message = "ISTIO_MUTUAL needs the mesh's own certificates, which the gateway does not have";
            reporter.report(
                Code::FieldNotHonoured,
                "mode",
                message,
                "use SIMPLE or MUTUAL with a credentialName",
            );
            return unavailable(message);
        }
        Some(ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) => {}
    }
    let secrets = Secrets { objects, namespace: &environment.workload.namespace };
    let sources = Sources { secrets, files: &environment.files };
    report_unused(settings, reporter);
    let (pairs, clients) = match gather(settings, &sources, reporter) {
        Ok(gathered) => gathered,
        Err(reason) => return unavailable(&reason),
    };
    let defaults = mesh(objects).and_then(|mesh| mesh.spec.tls_defaults.as_ref());
    let plan = Plan { pairs, clients, protocols, offer: Offer::new(settings, defaults, reporter) };
    match environment.tls.cache.server(plan.content(), || plan.build(environment)) {
        Ok(tls) => {
            report_validity(&plan.pairs, &tls.certificates, environment, reporter);
            ChainTls::Terminate(tls)
        }
        Err(Failure { field, message, remedy }) => {
            reporter.report(Code::InvalidGatewayCredential, field, message.as_str(), remedy);
            unavailable(&message)
        }
    }
}

fn unavailable(reason: &str) -> ChainTls {
    ChainTls::Unavailable { reason: reason.into() }
}

/// Finds everything the settings name.
///
/// # Errors
/// The reason why the chain cannot be served, already reported.
fn gather<'a>(
    settings: &'a ServerTlsSettings,
    sources: &Sources<'a>,
    reporter: &mut Reporter<'_, '_>,
) -> Result<(Vec<NamedPair<'a>>, ClientAuth<'a>), String> {
    let pairs = sources.pairs(settings);
    let gathered = pairs.and_then(|pairs| Ok((pairs, ClientAuth::gather(settings, sources)?)));
    gathered.map_err(|(field, problem)| {
        reporter.report(problem.code, field, problem.message.as_str(), problem.remedy);
        problem.message
    })
}

/// Why a configuration cannot be made.
struct Failure {
    field: String,
    message: String,
    remedy: &'static str,
}

impl Failure {
    fn unusable(field: &str, called: &str, problem: &Unusable) -> Self {
        let message = format!("{called} {problem}");
        Self { field: field.to_owned(), message, remedy: "replace its content" }
    }
}

/// Everything a configuration is made of.
struct Plan<'a> {
    pairs: Vec<NamedPair<'a>>,
    clients: ClientAuth<'a>,
    protocols: &'a [&'a [u8]],
    offer: Offer,
}

impl Plan<'_> {
    /// What makes it the same configuration.
    fn content(&self) -> Digest {
        let pairs = self.pairs.iter().map(|named| &named.pair);
        let pairs = pairs.flat_map(|pair| [pair.source.as_bytes(), pair.certificates, pair.key]);
        Fingerprint::new("server")
            .add_all(pairs)
            .add(self.clients.content())
            .add_all(self.protocols)
            .add(format!("{:?}", self.offer))
            .finish()
    }

    fn build(&self, environment: &Environment) -> Result<ServerTls, Failure> {
        let provider = self.offer.provider(&environment.tls.provider);
        let (keys, certificates) = self.keys(environment)?;
        let leaf = match &*keys {
            [only] => only.cert.first().map(|leaf| Arc::new(leaf.clone())),
            _ => None,
        };
        let verifier = self.clients.verifier(&provider)?;
        let scope = self.scope(&certificates);
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&self.offer.versions());
        let builder = builder.map_err(|_| Failure {
            field: String::new(),
            message: "no version, suite or curve of TLS remains that the gateway has and the settings allow"
                .to_owned(),
            remedy: "allow TLS 1.3, or TLS 1.2 with a cipher suite of ECDHE with AES-GCM or ChaCha20",
        })?;
        let (verifier, authorities) = verifier.unzip();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Certificates(keys)));
        // As BoringSSL does, the server's order decides: AES-128 before AES-256.
        config.ignore_client_order = true;
        config.ticketer = Arc::new(ScopedTickets { scope, shared: Arc::clone(&environment.tls.ticketer) });
        config.session_storage =
            Arc::new(ScopedSessions { scope, shared: Arc::clone(&environment.tls.session_store) });
        let without_alpn = Arc::new(config.clone());
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(ServerTls {
            config: Arc::new(config),
            without_alpn,
            client_certificate: self.clients.demand(),
            certificates,
            leaf,
            authorities: authorities.flatten(),
        })
    }

    fn keys(
        &self,
        environment: &Environment,
    ) -> Result<(Vec<Arc<CertifiedKey>>, Vec<CertificateInfo>), Failure> {
        let mut keys = Vec::with_capacity(self.pairs.len());
        let mut infos = Vec::with_capacity(self.pairs.len());
        for NamedPair { field, called, pair } in &self.pairs {
            let failed = |problem: Unusable| Failure::unusable(field, called, &problem);
            let key =
                certified_key(pair.certificates, pair.key, &environment.tls.provider).map_err(failed)?;
            infos.push(info(Arc::clone(&pair.source), &key.cert[0]).map_err(failed)?);
            keys.push(Arc::new(key));
        }
        Ok((keys, infos))
    }

    /// What a session of this chain may be resumed at: chains that ask the same of clients and go by the same names.
    /// A renewed certificate keeps its sessions.
    fn scope(&self, certificates: &[CertificateInfo]) -> Digest {
        let identities = certificates.iter().flat_map(|info| info.names.iter().chain([&info.subject]));
        Fingerprint::new("session").add(self.clients.content()).add_all(identities).finish()
    }
}

/// Certificates of one server, of which the client's abilities choose.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    /// An ECDSA certificate if the client can verify it, else the first that it can, as Envoy chooses. One that the
    /// client cannot verify is better than none: the alert then says what is wrong.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        choose(&self.0, hello.signature_schemes()).cloned()
    }
}

fn choose<'k>(keys: &'k [Arc<CertifiedKey>], schemes: &[SignatureScheme]) -> Option<&'k Arc<CertifiedKey>> {
    let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
    let is_ecdsa = |key: &&Arc<CertifiedKey>| key.key.algorithm() == SignatureAlgorithm::ECDSA;
    let ecdsa = keys.iter().find(|key| is_ecdsa(key) && fits(key));
    ecdsa.or_else(|| keys.iter().find(fits)).or_else(|| keys.first())
}

/// Says which certificates are out of their time; they are served all the same, as Istio does.
fn report_validity(
    pairs: &[NamedPair<'_>],
    certificates: &[CertificateInfo],
    environment: &Environment,
    reporter: &mut Reporter<'_, '_>,
) {
    for (named, certificate) in pairs.iter().zip(certificates) {
        let message = if environment.now > certificate.not_after {
            "has expired; it is served all the same, and clients will refuse it"
        } else if environment.now < certificate.not_before {
            "is not valid yet; it is served all the same, and clients will refuse it"
        } else {
            continue;
        };
        let message =
            format!("the certificate of {} ({}) {message}", certificate.source, certificate.subject);
        reporter.report(Code::CertificateNotValid, &named.field, message, "renew it");
    }
}

#[cfg(test)]
mod tests;
