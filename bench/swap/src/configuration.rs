//! The objects of each generation.
//!
//! Everything that changes follows from the generation's number, so that an answer which names a generation can
//! be checked against all of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::ensure;
use portcullis_compile::{Objects, PortMap};
use portcullis_tests::gateway::Held;
use portcullis_tests::pki::Leaf;

use crate::backend::{Backends, GENERATION};

/// HTTP backends.
pub(crate) const BACKENDS: usize = 3;
/// Certificates that take turns.
pub(crate) const CERTIFICATES: usize = 4;

/// The host of everything HTTP.
pub(crate) const SHOP: &str = "shop.test";
/// The server name that is passed through.
pub(crate) const VAULT: &str = "vault.test";
/// The server name of the PostgreSQL server.
pub(crate) const DATABASE: &str = "db.test";

const HTTP: u16 = 80;
const HTTPS: u16 = 443;
const POSTGRES: u16 = 5432;
const FLAPPING: u16 = 9000;

/// The configuration as a function of the generation's number.
pub(crate) struct Configuration {
    ports: BTreeMap<u16, Held>,
    lasting: Objects,
    backends: [SocketAddr; BACKENDS],
    certificates: Vec<String>,
}

/// Where the gateway is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) postgres: SocketAddr,
    /// Open in every other generation.
    pub(crate) flapping: SocketAddr,
}

impl Configuration {
    /// Finds ports and makes certificates.
    ///
    /// # Errors
    /// When an object that lasts cannot be read.
    pub(crate) fn new(backends: &Backends) -> anyhow::Result<Self> {
        // Without a server nobody asks for it; its listener is there all the same.
        let database = backends.postgres.as_ref().map_or(backends.vault, |postgres| postgres.address());
        let certificate = |_| backends.authority.server(&[SHOP]);
        let secret = |leaf: Leaf| leaf.tls_secret("istio-system", "shop-cert");
        Ok(Self {
            ports: [HTTP, HTTPS, POSTGRES, FLAPPING].map(|port| (port, Held::new())).into(),
            lasting: read(&lasting(backends.vault, database))?.into_iter().collect(),
            backends: backends.http,
            certificates: (0..CERTIFICATES).map(certificate).map(secret).collect(),
        })
    }

    /// The objects of a generation.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn objects(&self, generation: u64) -> anyhow::Result<Objects> {
        let mut text = routes(generation) + &self.endpoints(generation) + "\n---\n";
        text += &self.certificates[certificate_of(generation)];
        text += &extra_gateway(generation);
        let mut objects = self.lasting.clone();
        objects.extend(read(&text)?);
        Ok(objects)
    }

    /// Which port stands for which.
    pub(crate) fn port_map(&self) -> PortMap {
        let map = self.ports.iter().map(|(&declared, held)| (declared, held.port)).collect();
        PortMap { map, offset: 0 }
    }

    /// Where clients go.
    pub(crate) fn targets(&self) -> Targets {
        let of = |declared: u16| SocketAddr::from(([127, 0, 0, 1], self.ports[&declared].port));
        Targets { http: of(HTTP), https: of(HTTPS), postgres: of(POSTGRES), flapping: of(FLAPPING) }
    }

    /// The ports that every generation has.
    pub(crate) fn lasting_ports(&self) -> Vec<u16> {
        [HTTP, HTTPS, POSTGRES].map(|declared| self.ports[&declared].port).into()
    }

    fn endpoints(&self, generation: u64) -> String {
        let members: Vec<_> = (0..BACKENDS).filter(|&index| is_member(generation, index)).collect();
        ["shop", "chat"]
            .map(|service| {
                let slice = |&index: &usize| endpoint_slice(service, index, self.backends[index]);
                members.iter().map(slice).collect::<String>()
            })
            .concat()
    }
}

/// Whether backend `index` belongs to the services in this generation: all but one do.
pub(crate) fn is_member(generation: u64, index: usize) -> bool {
    generation % BACKENDS as u64 != index as u64
}

/// Whether the port that comes and goes is there.
fn flapping_is_open(generation: u64) -> bool {
    generation % 2 == 1
}

/// The path that a backend sees for `path` behind the prefix.
pub(crate) fn path_of(generation: u64, rest: &str) -> String {
    format!("/generation-{generation}/{rest}")
}

fn certificate_of(generation: u64) -> usize {
    (generation % CERTIFICATES as u64) as usize
}

fn read(text: &str) -> anyhow::Result<Vec<portcullis_api::Object>> {
    let loaded = portcullis_api::load("hot-swap", text);
    ensure!(loaded.findings.is_empty(), "the configuration has findings: {:?}", loaded.findings);
    Ok(loaded.objects)
}

/// One slice per backend: each backend has a port of its own.
fn endpoint_slice(service: &str, index: usize, address: SocketAddr) -> String {
    let port_name = if service == "chat" { "grpc" } else { "http" };
    slice(service, index, port_name, address)
}

fn slice(service: &str, index: usize, port_name: &str, address: SocketAddr) -> String {
    format!(
        "
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {service}-{index}, namespace: default, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{{name: {port_name}, port: {}, protocol: TCP}}]
endpoints: [{{addresses: ['{}'], conditions: {{ready: true}}}}]",
        address.port(),
        address.ip()
    )
}

fn service(name: &str, port_name: &str, port: u16) -> String {
    format!(
        "
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{ports: [{{name: {port_name}, port: {port}}}], selector: {{app: {name}}}}}"
    )
}

fn lasting(vault: SocketAddr, database: SocketAddr) -> String {
    [
        GATEWAY.to_owned(),
        service("shop", "http", 80),
        service("chat", "grpc", 80),
        service("vault-even", "tls", HTTPS),
        service("vault-odd", "tls", HTTPS),
        service("db", "tcp-postgres", POSTGRES),
        slice("vault-even", 0, "tls", vault),
        slice("vault-odd", 0, "tls", vault),
        slice("db", 0, "tcp-postgres", database),
    ]
    .concat()
}

/// The routes of one generation: the path and two headers tell its number, and passed-through TLS takes the
/// other of two services.
fn routes(generation: u64) -> String {
    let vault = if generation.is_multiple_of(2) { "vault-even" } else { "vault-odd" };
    let path = path_of(generation, "");
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, namespace: default}}
spec:
  hosts: [{SHOP}]
  gateways: [istio-system/edge, istio-system/extra]
  http:
  - name: chat-{generation}
    match: [{{uri: {{prefix: /chat/}}}}]
    rewrite: {{uri: {path}}}
    headers: &headers
      request: {{set: {{{GENERATION}: '{generation}'}}}}
      response: {{set: {{{GENERATION}: '{generation}'}}}}
    route: [{{destination: {{host: chat.default.svc.cluster.local, port: {{number: 80}}}}}}]
  - name: shop-{generation}
    match: [{{uri: {{prefix: /shop/}}}}]
    rewrite: {{uri: {path}}}
    headers: *headers
    route: [{{destination: {{host: shop.default.svc.cluster.local, port: {{number: 80}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: passed, namespace: default}}
spec:
  hosts: [{VAULT}, {DATABASE}]
  gateways: [istio-system/edge]
  tls:
  - match: [{{port: {HTTPS}, sniHosts: [{VAULT}]}}]
    route: [{{destination: {{host: {vault}.default.svc.cluster.local, port: {{number: {HTTPS}}}}}}}]
  - match: [{{port: {POSTGRES}, sniHosts: [{DATABASE}]}}]
    route: [{{destination: {{host: db.default.svc.cluster.local, port: {{number: {POSTGRES}}}}}}}]"
    )
}

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [shop.test]
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.test]
    tls: {mode: SIMPLE, credentialName: shop-cert}
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: [vault.test]
    tls: {mode: PASSTHROUGH}
  - port: {number: 5432, name: tcp-postgres, protocol: TLS}
    hosts: [db.test]
    tls: {mode: PASSTHROUGH}";

/// The Gateway of the port that comes and goes: in every other generation it belongs to another workload.
fn extra_gateway(generation: u64) -> String {
    let workload = if flapping_is_open(generation) { "ingressgateway" } else { "elsewhere" };
    format!(
        "
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: extra, namespace: istio-system}}
spec:
  selector: {{istio: {workload}}}
  servers:
  - port: {{number: {FLAPPING}, name: http-extra, protocol: HTTP}}
    hosts: [{SHOP}]"
    )
}
