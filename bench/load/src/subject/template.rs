//! Templates: `@NAME@` in a peer's files and arguments becomes a port, an address or a folder.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use portcullis_tests::gateway::Held;
use portcullis_tests::objects::NAMESPACE;

use super::Port;
use crate::machine::cores::open_files;
use crate::site::Site;

/// Names and what stands for them.
pub(super) struct Values(Vec<(String, String)>);

impl Values {
    pub(super) fn new(site: &Site, folder: &Path, ports: &BTreeMap<Port, Held>) -> Self {
        let mut values = vec![
            ("@FOLDER@".to_owned(), folder.display().to_string()),
            ("@ECDSA_SECRET@".to_owned(), site.ecdsa.tls_secret(NAMESPACE, "ecdsa")),
            ("@CLIENTS@".to_owned(), clients().to_string()),
            ("@RSA_SECRET@".to_owned(), site.rsa.tls_secret(NAMESPACE, "rsa")),
        ];
        for (port, held) in ports {
            let name = match port {
                Port::Plain => "PLAIN",
                Port::Tls => "TLS",
                Port::Rsa => "RSA",
                Port::Pass => "PASS",
                Port::Postgres => "PG",
                Port::Admin => "ADMIN",
            };
            values.push((format!("@{name}@"), held.port.to_string()));
        }
        // Where no database is wanted, nobody asks for it.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let postgres = site.postgres.as_ref().map_or(nowhere, |server| server.address());
        let backends = [
            ("BACKEND", site.backends.http),
            ("GRPC", site.backends.grpc),
            ("OPAQUE", site.backends.opaque),
            ("POSTGRES", postgres),
        ];
        for (name, address) in backends {
            values.push((format!("@{name}@"), address.to_string()));
            values.push((format!("@{name}_PORT@"), address.port().to_string()));
        }
        Self(values)
    }

    /// The text with every name replaced.
    pub(super) fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// Connections that a subject may be told to expect: two files for each, and some for the rest.
fn clients() -> u64 {
    (open_files().saturating_sub(OTHER_FILES) / 2).min(MOST_CLIENTS)
}

/// More are never opened.
const MOST_CLIENTS: u64 = 20_000;
/// Listeners, pipes, logs.
const OTHER_FILES: u64 = 600;
