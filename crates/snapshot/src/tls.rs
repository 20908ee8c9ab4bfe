//! TLS as the model knows it: finished rustls configurations, and facts about certificates.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};

/// Terminating TLS of one filter chain.
#[derive(Clone)]
pub struct ServerTls {
    /// Ready to accept; session tickets are shared by every chain and worker of the process.
    pub config: Arc<ServerConfig>,
    /// The same without ALPN, for a client that offers no protocol of [`config`](Self::config): Istio's gateway goes on
    /// without one, where rustls would end the handshake.
    pub without_alpn: Arc<ServerConfig>,
    /// Whether the client is asked for a certificate.
    pub client_certificate: ClientCertificate,
    /// What is presented, for `/certs`, metrics and `explain`.
    pub certificates: Vec<CertificateInfo>,
    /// What is presented, in DER, where there is no choice.
    pub leaf: Option<Arc<CertificateDer<'static>>>,
    /// What client certificates chain to, in DER, where that is verified.
    pub authorities: Option<Arc<[CertificateDer<'static>]>>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServerTls")
            .field("client_certificate", &self.client_certificate)
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

/// Whether a client certificate is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// SIMPLE.
    NotRequested,
    /// OPTIONAL_MUTUAL.
    Optional,
    /// MUTUAL.
    Required,
}

/// Facts about a certificate; never its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// `namespace/name` of the Secret, or the file.
    pub source: Arc<str>,
    /// RFC 2253 subject.
    pub subject: String,
    /// DNS and IP subject alternative names.
    pub names: Vec<String>,
    /// Hex serial number.
    pub serial: String,
    /// Start of validity.
    pub not_before: SystemTime,
    /// End of validity. Expired certificates are served all the same, as Istio does.
    pub not_after: SystemTime,
}

/// TLS towards an upstream.
#[derive(Clone)]
pub struct UpstreamTls {
    /// Ready to connect; ALPN already set for the cluster's protocol: `h2`, or `http/1.1` for the others.
    pub config: Arc<ClientConfig>,
    /// The same with ALPN `h2`, for a request that came by HTTP/2 to a cluster that speaks as the client does.
    pub http2: Arc<ClientConfig>,
    /// For TCP and TLS routes: no ALPN, and no name sent or expected unless the configuration fixes one.
    pub opaque: Arc<ClientConfig>,
    /// What name is sent.
    pub sni: UpstreamSni,
    /// What is presented, in DER.
    pub leaf: Option<Arc<CertificateDer<'static>>>,
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("UpstreamTls").field("sni", &self.sni).finish_non_exhaustive()
    }
}

/// The server name sent to, and (where the configuration verifies names) expected of, an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamSni {
    /// The final Host header without its port; none for an IP address or a TCP route.
    FromHost,
    /// Always this one.
    Fixed(Arc<str>),
}
