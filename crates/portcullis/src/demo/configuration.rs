//! The demo's YAML, with the ports that were chosen.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_compile::PortMap;

use super::pki::Leaf;

const SHOP: &str = include_str!("shop.yaml");
const VAULT: &str = include_str!("vault.yaml");
const DATABASE: &str = include_str!("database.yaml");

/// Ports of the gateway that need no privileges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GatewayPorts {
    /// For 80.
    pub(crate) http: u16,
    /// For 443.
    pub(crate) https: u16,
    /// For 5432.
    pub(crate) postgres: u16,
}

impl GatewayPorts {
    /// The usual ones, or others where those are taken.
    ///
    /// # Errors
    /// When the system has no port left.
    pub(crate) fn choose() -> std::io::Result<Self> {
        let choose = |wanted: u16| {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, wanted))
                .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
            Ok::<_, std::io::Error>(listener.local_addr()?.port())
        };
        Ok(Self { http: choose(8080)?, https: choose(8443)?, postgres: choose(15432)? })
    }

    /// As the compiler wants them.
    pub(crate) fn map(self) -> PortMap {
        let map = BTreeMap::from([(80, self.http), (443, self.https), (5432, self.postgres)]);
        PortMap { map, offset: 0 }
    }
}

/// Ports of the backends on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackendPorts {
    /// Shop, first version.
    pub(crate) v1: u16,
    /// Shop, second version.
    pub(crate) v2: u16,
    /// The backend with TLS of its own.
    pub(crate) vault: u16,
    /// PostgreSQL, if there is one.
    pub(crate) database: Option<u16>,
}

/// Writes the configuration into `folder`.
///
/// # Errors
/// When the folder cannot be written to.
pub(crate) fn write(
    folder: &Path,
    ports: GatewayPorts,
    backends: BackendPorts,
    shop: &Leaf,
) -> std::io::Result<()> {
    fs::create_dir(folder)?;
    let filled = SHOP
        .replace("@HTTPS@", &ports.https.to_string())
        .replace("@V1@", &backends.v1.to_string())
        .replace("@V2@", &backends.v2.to_string());
    fs::write(folder.join("shop.yaml"), filled)?;
    fs::write(folder.join("shop-cert.yaml"), secret("shop-cert", shop))?;
    fs::write(folder.join("vault.yaml"), VAULT.replace("@VAULT@", &backends.vault.to_string()))?;
    if let Some(port) = backends.database {
        fs::write(folder.join("database.yaml"), DATABASE.replace("@DATABASE@", &port.to_string()))?;
    }
    Ok(())
}

fn secret(name: &str, leaf: &Leaf) -> String {
    let (certificate, key) = (STANDARD.encode(&leaf.certificate), STANDARD.encode(&leaf.key));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: istio-system}}\n\
         type: kubernetes.io/tls\ndata:\n  tls.crt: {certificate}\n  tls.key: {key}\n"
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use portcullis_compile::Environment;

    use super::*;
    use crate::commands::offline;
    use crate::decide::decide;
    use crate::demo::pki::Authority;
    use crate::question::Question;

    #[test]
    fn the_demo_has_no_findings_and_routes_what_its_guide_says() {
        let folder = tempfile::tempdir().expect("folder");
        let config = folder.path().join("config");
        let ports = GatewayPorts { http: 8080, https: 8443, postgres: 15432 };
        let backends = BackendPorts { v1: 1, v2: 2, vault: 3, database: Some(4) };
        let leaf =
            Authority::new().and_then(|authority| authority.server("shop.localhost")).expect("certificate");
        write(&config, ports, backends, &leaf).expect("written");
        let mut environment = Environment::for_tests();
        environment.ports = Some(ports.map());
        environment.now = std::time::SystemTime::now();
        let compiled = offline::load(&[PathBuf::from(&config)], &environment).expect("read");
        assert_eq!((compiled.verdicts, compiled.notices), (Vec::new(), Vec::new()));
        for question in [
            "https://shop.localhost:8443/",
            "https://shop.localhost/api/hello",
            "http://shop.localhost:8080/",
            "TLS vault.localhost:8443",
            "postgres://db.localhost:15432",
        ] {
            let decision = decide(&compiled.snapshot, &Question::parse(question).expect("question"));
            assert!(decision.routed, "{question}: {decision:?}");
        }
    }
}
