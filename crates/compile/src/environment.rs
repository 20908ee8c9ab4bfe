//! What a compilation must know of the world beside the objects.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use portcullis_api::Map;
use portcullis_snapshot::cidr::Cidr;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ProducesTickets, StoresServerSessions};

use crate::credentials::cache::TlsCache;
use crate::files::Files;
use crate::locality;

/// Everything outside the objects that a snapshot depends on.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Who this gateway is.
    pub workload: GatewayWorkload,
    /// Istio's root namespace; a mesh setting overrides it. Default `istio-system`.
    pub root_namespace: String,
    /// Suffix of Kubernetes names. Default `cluster.local`.
    pub cluster_domain: String,
    /// Outside Kubernetes: which port is bound for a declared one. `None`: as the workload's own Services
    /// say, which are among the objects (Istio's `resolvePorts`).
    pub ports: Option<PortMap>,
    /// Where PROXY protocol headers are expected, beside what the mesh configuration says.
    pub proxy_protocol: ProxyProtocolPorts,
    /// What TLS needs beside certificates.
    pub tls: TlsEnvironment,
    /// DNS answers so far; the names asked for stand in [`Compiled::wanted_names`](crate::Compiled).
    pub resolved: BTreeMap<String, Vec<IpAddr>>,
    /// What the files hold that objects name by path ([`referenced_files`](crate::referenced_files)).
    pub files: Files,
    /// Only for telling which certificates have expired.
    pub now: SystemTime,
}

/// The gateway workload as Istio would see its pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayWorkload {
    /// Name of the workload.
    pub name: String,
    /// Namespace of the pod: where Secrets are looked up and whose `exportTo` counts.
    pub namespace: String,
    /// Labels of the pod, matched by Gateway selectors and `sourceLabels`.
    pub labels: Map<String>,
    /// Where it runs, `region/zone/subzone`; empty when unknown. A label `istio-locality` of the pod comes first.
    pub locality: String,
    /// The node it runs on; empty when unknown.
    pub node: String,
}

impl GatewayWorkload {
    /// Where it runs.
    pub(crate) fn locality(&self) -> Cow<'_, str> {
        locality::of_labels(&self.labels).map_or(Cow::Borrowed(self.locality.as_str()), Cow::Owned)
    }

    /// A label, one that Istio derives from where it runs included.
    pub(crate) fn label(&self, name: &str) -> Option<Cow<'_, str>> {
        let derived = |locality: &str| {
            locality::derived_label(name, locality, &self.node).map(|value| Cow::Owned(value.to_owned()))
        };
        derived(&self.locality()).or_else(|| self.labels.get(name).map(|value| Cow::Borrowed(value.as_str())))
    }
}

impl Default for GatewayWorkload {
    /// Istio's own ingress gateway.
    fn default() -> Self {
        let labels = [("istio", "ingressgateway"), ("app", "istio-ingressgateway")];
        Self {
            name: "istio-ingressgateway".to_owned(),
            namespace: "istio-system".to_owned(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            locality: String::new(),
            node: String::new(),
        }
    }
}

/// Which port is bound for a declared one, where no Service says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortMap {
    /// Declared to bound.
    pub map: BTreeMap<u16, u16>,
    /// Added to ports that `map` does not name.
    pub offset: u16,
}

impl PortMap {
    /// The port to bind for `declared`; `None` when the offset leads beyond 65535.
    #[must_use]
    pub fn bound(&self, declared: u16) -> Option<u16> {
        self.map.get(&declared).copied().or_else(|| declared.checked_add(self.offset))
    }
}

/// Where PROXY protocol headers are expected. What is said here of a port wins over
/// `gatewayTopology.proxyProtocol` of the mesh configuration, which knows no ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyProtocolPorts {
    /// For ports that `ports` does not name; `None` = as the mesh configuration says.
    pub every: Option<ProxyProtocolMode>,
    /// By the port number that Gateways declare.
    pub ports: BTreeMap<u16, ProxyProtocolMode>,
    /// Whose headers are believed, wherever they are expected; empty = everyone's.
    pub trusted: Vec<Cidr>,
}

/// What is done about PROXY protocol headers on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocolMode {
    /// Nothing.
    Off,
    /// Every connection of a trusted peer must begin with one.
    Strict,
    /// A connection of a trusted peer may begin with one.
    Tolerant,
}

impl ProxyProtocolPorts {
    /// The mode of a listener whose servers declare these ports; `mesh` says whether the mesh configuration asks
    /// for headers. Where several declared ports are one listener, the first that is named counts.
    pub(crate) fn mode(&self, declared: impl IntoIterator<Item = u16>, mesh: bool) -> ProxyProtocolMode {
        let of_mesh = if mesh { ProxyProtocolMode::Strict } else { ProxyProtocolMode::Off };
        let named = declared.into_iter().find_map(|port| self.ports.get(&port).copied());
        named.or(self.every).unwrap_or(of_mesh)
    }
}

/// What TLS needs beside certificates. All of it is shared by every chain, so that a session can be resumed
/// on any worker and survives a new snapshot.
#[derive(Debug, Clone)]
pub struct TlsEnvironment {
    /// Cryptography.
    pub provider: Arc<CryptoProvider>,
    /// Seals session tickets.
    pub ticketer: Arc<dyn ProducesTickets>,
    /// Keeps sessions of clients without tickets.
    pub session_store: Arc<dyn StoresServerSessions>,
    /// The operating system's authorities, loaded by the caller.
    pub roots: Arc<RootCertStore>,
    /// Configurations of earlier compilations.
    pub cache: TlsCache,
}

impl TlsEnvironment {
    /// An environment in which no session is resumed and no public authority is known: for looking at
    /// configuration without serving it.
    #[must_use]
    pub fn without_resumption() -> Self {
        Self {
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            ticketer: Arc::new(NoTickets),
            session_store: Arc::new(NoServerSessionStorage {}),
            roots: Arc::new(RootCertStore::empty()),
            cache: TlsCache::default(),
        }
    }
}

impl TlsEnvironment {
    /// Whether `other` is made of the same objects.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.provider, &other.provider)
            && Arc::ptr_eq(&self.roots, &other.roots)
            && std::ptr::addr_eq(Arc::as_ptr(&self.ticketer), Arc::as_ptr(&other.ticketer))
            && std::ptr::addr_eq(Arc::as_ptr(&self.session_store), Arc::as_ptr(&other.session_store))
    }
}

/// Seals nothing.
#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

impl Environment {
    /// Istio's defaults outside Kubernetes: the workload `istio-ingressgateway`, ports bound as declared.
    #[must_use]
    pub fn file_mode_default(tls: TlsEnvironment, now: SystemTime) -> Self {
        Self {
            workload: GatewayWorkload::default(),
            root_namespace: "istio-system".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            ports: Some(PortMap::default()),
            proxy_protocol: ProxyProtocolPorts::default(),
            tls,
            resolved: BTreeMap::new(),
            files: Files::default(),
            now,
        }
    }

    /// As [`file_mode_default`](Self::file_mode_default) without session resumption and at the beginning of
    /// time, so that no test depends on today.
    #[must_use]
    pub fn for_tests() -> Self {
        Self::file_mode_default(TlsEnvironment::without_resumption(), SystemTime::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_mapped_then_offset() {
        let ports = PortMap { map: BTreeMap::from([(80, 18080)]), offset: 20_000 };
        assert_eq!(ports.bound(80), Some(18080));
        assert_eq!(ports.bound(8080), Some(28080));
        assert_eq!(ports.bound(60_000), None);
        assert_eq!(PortMap::default().bound(443), Some(443));
    }
}
