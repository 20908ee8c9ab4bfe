//! Process-wide behaviour: the parts of Istio's MeshConfig that a gateway obeys on its request path.

/// Mesh settings that requests depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `meshConfig.pathNormalization.normalization`.
    pub path_normalization: PathNormalization,
    /// `gatewayTopology.numTrustedProxies`: how many proxies in front append to X-Forwarded-For.
    pub trusted_proxies: u32,
    /// What becomes of `x-forwarded-client-cert` (`gatewayTopology.forwardClientCertDetails`).
    pub forward_client_cert: ForwardClientCert,
    /// Whether HTTP/1.0 requests are served; otherwise they get 426 (Istio's `PILOT_HTTP10`).
    pub http10: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path_normalization: PathNormalization::Base,
            trusted_proxies: 0,
            forward_client_cert: ForwardClientCert::SanitizeSet,
            http10: false,
        }
    }
}

/// Levels of path normalisation, each doing what the one before does and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathNormalization {
    /// The path is taken as it came.
    None,
    /// RFC 3986 §6.2.2: dot segments resolved, `\` read as `/`. Istio's DEFAULT.
    Base,
    /// And `//` merged.
    MergeSlashes,
    /// And `%2F`, `%5C` decoded first.
    DecodeAndMergeSlashes,
}

/// `gatewayTopology.forwardClientCertDetails`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardClientCert {
    /// Always removed.
    Sanitize,
    /// Passed on when the client presented a certificate.
    ForwardOnly,
    /// Own element appended when the client presented a certificate.
    AppendForward,
    /// Removed, then set from the client's certificate: the default at a gateway.
    SanitizeSet,
    /// Passed on always.
    AlwaysForwardOnly,
}
