//! How to reach an API server, out of a kubeconfig.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use super::kubectl;
use crate::gateway::LIMIT;
use crate::process::run;
use crate::raw::Raw;

/// Where it is, and who asks.
#[derive(Clone)]
pub(super) struct Access {
    /// As a kubeconfig has it.
    server: String,
    /// In PEM, as base64.
    authority: String,
    token: Option<String>,
    tls: Arc<ClientConfig>,
}

impl Access {
    /// An API server of a test's own, by the files that it leaves in its folder.
    ///
    /// # Panics
    /// When one of them is missing.
    pub(super) fn own(folder: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file of the server");
        let authority = STANDARD.encode(read("ca.crt"));
        Self {
            server: format!("https://127.0.0.1:{}", read("port")),
            tls: trusting(&authority, None),
            authority,
            token: Some(read("token")),
        }
    }

    /// What a kubeconfig says in its current context. kubectl reads it: what that takes is what users write.
    ///
    /// # Panics
    /// When it cannot be read, or has credentials of another kind than token and certificate.
    pub(super) fn read(kubeconfig: &Path) -> Self {
        let mut view = Command::new(kubectl());
        view.args(["config", "view", "--raw", "--flatten", "--minify", "-o", "json"])
            .env("KUBECONFIG", kubeconfig);
        let said = run(&mut view, LIMIT).expect("kubectl runs");
        assert_eq!(said.code(), 0, "{}", said.stderr);
        let config: Value = serde_json::from_str(&said.stdout).expect("JSON");
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let authority = text(&cluster["certificate-authority-data"]).expect("an authority in the kubeconfig");
        let pair = text(&user["client-certificate-data"]).zip(text(&user["client-key-data"]));
        let token = text(&user["token"]);
        assert!(
            pair.is_some() || token.is_some(),
            "{}: neither a token nor a certificate",
            kubeconfig.display()
        );
        Self {
            server: text(&cluster["server"]).expect("a server in the kubeconfig"),
            tls: trusting(&authority, pair),
            authority,
            token,
        }
    }

    /// Host and port.
    pub(super) fn host(&self) -> String {
        let host = self.server.strip_prefix("https://").expect("a server over TLS").trim_end_matches('/');
        assert!(!host.contains('/'), "{}: a path in the address of a server is not understood", self.server);
        if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            host.to_owned()
        } else {
            format!("{host}:443")
        }
    }

    /// The header that says who asks, as far as no certificate does.
    pub(super) fn authorization(&self) -> String {
        self.token.as_ref().map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default()
    }

    /// A connection; none while nobody listens there.
    pub(super) fn connect(&self) -> Option<Raw<StreamOwned<ClientConnection, TcpStream>>> {
        let host = self.host();
        let (name, _) = host.rsplit_once(':').expect("a port");
        let name = name.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(name).expect("the name of a host");
        let tls = ClientConnection::new(Arc::clone(&self.tls), name).expect("a TLS client");
        let stream = TcpStream::connect(&host).ok()?;
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Some(Raw::over(StreamOwned::new(tls, stream)))
    }

    /// A kubeconfig of the same server for whoever has a token.
    pub(super) fn kubeconfig(&self, token: &str) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.server, "certificate-authority-data": self.authority,
            }}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        config.to_string()
    }
}

fn trusting(authority: &str, pair: Option<(String, String)>) -> Arc<ClientConfig> {
    let pem = |data: &str| STANDARD.decode(data).expect("base64");
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&pem(authority)) {
        roots.add(root.expect("a certificate")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots);
    let config = match pair {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain =
                CertificateDer::pem_slice_iter(&pem(&chain)).map(|it| it.expect("a certificate")).collect();
            let key = PrivateKeyDer::from_pem_slice(&pem(&key)).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a certificate with its key")
        }
    };
    Arc::new(config)
}
