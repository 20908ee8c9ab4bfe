//! Which gateway the configuration is for.

use std::time::SystemTime;

use clap::Args;
use portcullis_compile::{Environment, PortMap, ProxyProtocolPorts, TlsEnvironment};

use super::{Label, MappedPort, ProxyMode, ProxyPort, Range};

/// Who the gateway is, as Gateways and Services see it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The gateway")]
pub(crate) struct WorkloadArgs {
    /// Name of the gateway [default: istio-ingressgateway]
    #[arg(long, env = "PORTCULLIS_NAME", value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Namespace of the gateway: where the Secrets of its Gateways are [default: istio-system]
    #[arg(long, env = "PORTCULLIS_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// A label of the gateway, which Gateways select it by; may be repeated
    /// [default: istio=ingressgateway,app=istio-ingressgateway]
    #[arg(long = "label", env = "PORTCULLIS_LABELS", value_name = "KEY=VALUE", value_delimiter = ',')]
    pub(crate) labels: Vec<Label>,

    /// Where the gateway runs, for localityLbSetting and the like [default: unknown]
    #[arg(long, env = "PORTCULLIS_LOCALITY", value_name = "REGION/ZONE/SUBZONE")]
    pub(crate) locality: Option<String>,

    /// The node the gateway runs on, for Services with internalTrafficPolicy Local [default: unknown]
    #[arg(long, env = "PORTCULLIS_NODE", value_name = "NAME")]
    pub(crate) node: Option<String>,

    /// Bind other ports than those declared: 80:18080,443:18443
    #[arg(long, env = "PORTCULLIS_PORT_MAP", value_name = "FROM:TO", value_delimiter = ',')]
    pub(crate) port_map: Vec<MappedPort>,

    /// Add this to the ports that --port-map does not name [default: 0]
    #[arg(long, env = "PORTCULLIS_PORT_OFFSET", value_name = "N")]
    pub(crate) port_offset: Option<u16>,

    /// PROXY protocol headers in front of what clients send: off, strict (required), tolerant (optional), or mesh (as
    /// the mesh configuration says); PORT:MODE for one declared port [default: mesh]
    #[arg(long, env = "PORTCULLIS_PROXY_PROTOCOL", value_name = "[PORT:]MODE", value_delimiter = ',')]
    pub(crate) proxy_protocol: Vec<ProxyPort>,

    /// Believe only PROXY protocol headers of peers in this range of addresses; may be repeated
    /// [default: everyone's]
    #[arg(long, env = "PORTCULLIS_PROXY_PROTOCOL_TRUSTED", value_name = "CIDR", value_delimiter = ',')]
    pub(crate) proxy_protocol_trusted: Vec<Range>,
}

impl WorkloadArgs {
    /// Overrides the parts of `environment` that are given here.
    pub(crate) fn apply(&self, environment: &mut Environment) {
        let workload = &mut environment.workload;
        if let Some(name) = &self.name {
            workload.name.clone_from(name);
        }
        if let Some(namespace) = &self.namespace {
            workload.namespace.clone_from(namespace);
        }
        if !self.labels.is_empty() {
            let labels = self.labels.iter().map(|label| (label.key.clone(), label.value.clone()));
            workload.labels = labels.collect();
        }
        if let Some(locality) = &self.locality {
            workload.locality.clone_from(locality);
        }
        if let Some(node) = &self.node {
            workload.node.clone_from(node);
        }
        let ports = environment.ports.get_or_insert_with(PortMap::default);
        ports.map.extend(self.port_map.iter().map(|port| (port.declared, port.bound)));
        if let Some(offset) = self.port_offset {
            ports.offset = offset;
        }
        for port in &self.proxy_protocol {
            expect_header(&mut environment.proxy_protocol, port.declared, port.mode);
        }
        if !self.proxy_protocol_trusted.is_empty() {
            environment.proxy_protocol.trusted =
                self.proxy_protocol_trusted.iter().map(|range| range.0).collect();
        }
    }

    /// An environment for looking at configuration without serving it.
    pub(crate) fn environment(&self) -> Environment {
        let tls = TlsEnvironment::without_resumption();
        let mut environment = Environment::file_mode_default(tls, SystemTime::now());
        self.apply(&mut environment);
        environment
    }
}

/// Sets what is done about PROXY protocol headers on a declared port, or on those of which nothing else is said.
pub(crate) fn expect_header(ports: &mut ProxyProtocolPorts, declared: Option<u16>, mode: ProxyMode) {
    match (declared, mode) {
        (Some(port), ProxyMode::Set(mode)) => drop(ports.ports.insert(port, mode)),
        (Some(port), ProxyMode::Mesh) => drop(ports.ports.remove(&port)),
        (None, ProxyMode::Set(mode)) => ports.every = Some(mode),
        (None, ProxyMode::Mesh) => ports.every = None,
    }
}
