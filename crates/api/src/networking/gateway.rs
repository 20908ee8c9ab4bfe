//! `Gateway`: which ports the proxy opens, for which hosts, with which TLS.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::map::Map;
use crate::schema::constraints;

/// The spec of a Gateway.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// The servers, each one port with its hosts and TLS settings.
    #[serde(default)]
    pub servers: Vec<Server>,
    /// Labels a gateway workload must carry, all of them, for this Gateway to apply to it. Absent or empty: every
    /// workload.
    #[serde(default)]
    pub selector: Map<String>,
}

/// One port of a gateway.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// The port to listen on.
    pub port: ServerPort,
    /// The address to bind, an IP or a Unix socket path. Absent: all addresses.
    pub bind: Option<String>,
    /// The host names served, each `host` or `namespace/host`; the host may start with `*.` or be `*`, the
    /// namespace may be `*` or `.`.
    pub hosts: Vec<String>,
    /// TLS towards the client, or the redirect to HTTPS.
    pub tls: Option<ServerTlsSettings>,
    /// A loopback endpoint for traffic by default. Not implemented by Istio.
    pub default_endpoint: Option<String>,
    /// A name for the server, unique in its workload; shown in statistics.
    pub name: Option<String>,
}

/// The port of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerPort {
    /// The port number, as the Service in front of the gateway declares it.
    pub number: u32,
    /// What is spoken on the port: HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS.
    pub protocol: String,
    /// A label for the port.
    pub name: String,
    /// Deprecated, and refused by Istio on a Gateway.
    pub target_port: Option<u32>,
}

/// TLS towards the client.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = constraints::server_tls)]
pub struct ServerTlsSettings {
    /// Answer every HTTP request with a 301 to the same URL with scheme https.
    pub https_redirect: Option<bool>,
    /// Whether TLS is terminated here, and whether a client certificate is asked for. Absent: PASSTHROUGH.
    pub mode: Option<ServerTlsMode>,
    /// Path of the file with the server's certificate chain.
    pub server_certificate: Option<String>,
    /// Path of the file with the server's private key.
    pub private_key: Option<String>,
    /// Path of the file with the authorities that client certificates must chain to.
    pub ca_certificates: Option<String>,
    /// Path of the file with the revocation list for client certificates.
    pub ca_crl: Option<String>,
    /// The Secret with certificate and key, in the gateway workload's namespace.
    pub credential_name: Option<String>,
    /// Several Secrets with certificates of different key types, at most two.
    #[schemars(transform = constraints::one_or_two)]
    #[serde(default)]
    pub credential_names: Vec<String>,
    /// The Secret or ConfigMap with the authorities for client certificates, when not beside the certificate.
    pub ca_cert_credential_name: Option<String>,
    /// Several file pairs with certificates of different key types, at most two.
    #[schemars(transform = constraints::one_or_two)]
    #[serde(default)]
    pub tls_certificates: Vec<TlsCertificate>,
    /// Names of which a client certificate must carry at least one.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
    /// Accept client certificates without verifying them. Must not be combined with verification settings.
    #[schemars(extend("nullable" = true))]
    pub insecure_skip_verify: Option<bool>,
    /// Base64 SHA-256 digests of the public keys (SPKI) accepted from clients.
    #[serde(default)]
    pub verify_certificate_spki: Vec<String>,
    /// Hex SHA-256 digests of the certificates accepted from clients.
    #[serde(default)]
    pub verify_certificate_hash: Vec<String>,
    /// The oldest TLS version accepted. Absent: TLS 1.2.
    pub min_protocol_version: Option<TlsVersion>,
    /// The newest TLS version accepted. Absent: TLS 1.3.
    pub max_protocol_version: Option<TlsVersion>,
    /// The cipher suites offered up to TLS 1.2, in OpenSSL's spelling. Absent: the proxy's own list.
    #[serde(default)]
    pub cipher_suites: Vec<String>,
    /// The elliptic curves offered for the key exchange. Absent: the proxy's own list.
    #[serde(default)]
    pub ecdh_curves: Vec<String>,
}

/// One certificate of a server, by files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsCertificate {
    /// Path of the file with the certificate chain.
    pub server_certificate: Option<String>,
    /// Path of the file with the private key.
    pub private_key: Option<String>,
    /// Path of the file with the authorities that client certificates must chain to.
    pub ca_certificates: Option<String>,
}

/// What a server does with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    /// Route by SNI and leave the encryption to the backend.
    Passthrough,
    /// Terminate TLS.
    Simple,
    /// Terminate TLS and require a client certificate.
    Mutual,
    /// Route by an SNI that names the backend cluster itself.
    AutoPassthrough,
    /// As MUTUAL, with the mesh's own certificates.
    IstioMutual,
    /// Terminate TLS and verify a client certificate if there is one.
    OptionalMutual,
}

/// A version of the TLS protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// Whatever the proxy thinks best.
    #[serde(rename = "TLS_AUTO")]
    Auto,
    /// TLS 1.0.
    #[serde(rename = "TLSV1_0")]
    V1_0,
    /// TLS 1.1.
    #[serde(rename = "TLSV1_1")]
    V1_1,
    /// TLS 1.2.
    #[serde(rename = "TLSV1_2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "TLSV1_3")]
    V1_3,
}
