//! `ServiceEntry` and `WorkloadEntry`: services and endpoints that Kubernetes does not know.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::map::Map;
use crate::schema::constraints;

/// The spec of a ServiceEntry.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = constraints::service_entry)]
pub struct ServiceEntrySpec {
    /// The host names of the service, one service each; may start with `*.`.
    #[schemars(transform = constraints::entry_hosts)]
    pub hosts: Vec<String>,
    /// Virtual addresses or CIDR blocks of the service. Without meaning for routing at a gateway.
    #[schemars(transform = constraints::entry_addresses)]
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The ports of the service.
    #[schemars(transform = constraints::entry_ports)]
    #[serde(default)]
    pub ports: Vec<ServicePort>,
    /// Whether the service belongs to the mesh. Absent: MESH_EXTERNAL.
    pub location: Option<Location>,
    /// How endpoints are found. Absent: NONE.
    pub resolution: Option<Resolution>,
    /// The endpoints. Excludes `workloadSelector`.
    #[schemars(transform = constraints::entry_endpoints)]
    #[serde(default)]
    pub endpoints: Vec<WorkloadEntrySpec>,
    /// Labels of the Pods and WorkloadEntries of the same namespace that are the endpoints.
    pub workload_selector: Option<WorkloadLabels>,
    /// The namespaces that see this service: `.` its own, `*` all, or names. Absent: the mesh default.
    #[serde(default)]
    pub export_to: Vec<String>,
    /// Names of which a server certificate must carry at least one, where the DestinationRule says nothing.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
}

/// A choice of workloads by label.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadLabels {
    /// Labels a workload must carry, all of them.
    #[schemars(transform = constraints::selector_labels)]
    #[serde(default)]
    pub labels: Map<String>,
}

/// A port of a ServiceEntry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// The port number.
    #[schemars(transform = constraints::port)]
    pub number: u32,
    /// What is spoken on the port: HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP, TLS and the like.
    #[schemars(transform = constraints::port_text)]
    pub protocol: Option<String>,
    /// A name, unique in the service.
    #[schemars(transform = constraints::port_text)]
    pub name: String,
    /// The port number at the endpoints. Absent: `number`.
    #[schemars(transform = constraints::port)]
    pub target_port: Option<u32>,
}

/// Whether a service belongs to the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// It does not.
    MeshExternal,
    /// It does.
    MeshInternal,
}

/// How the endpoints of a service are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// Not at all: the client's own destination is used.
    None,
    /// They are written down as addresses.
    Static,
    /// By DNS, every answer being an endpoint.
    Dns,
    /// By DNS, the first answer being the only endpoint.
    DnsRoundRobin,
    /// By DNS, for the name each request asks for.
    DynamicDns,
}

/// One endpoint: the spec of a WorkloadEntry, and an item of `endpoints` in a ServiceEntry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = constraints::workload)]
pub struct WorkloadEntrySpec {
    /// The address: an IP, a name to resolve, or a socket as `unix:///path`.
    #[schemars(transform = constraints::address)]
    pub address: Option<String>,
    /// Port numbers at this endpoint by the service's port names.
    #[schemars(transform = constraints::endpoint_ports)]
    #[serde(default)]
    pub ports: Map<u32>,
    /// Labels, for subsets and selectors.
    #[schemars(transform = constraints::endpoint_labels)]
    #[serde(default)]
    pub labels: Map<String>,
    /// The network the endpoint is in.
    #[schemars(transform = constraints::place)]
    pub network: Option<String>,
    /// Where the endpoint is, `region/zone/subzone`.
    #[schemars(transform = constraints::place)]
    pub locality: Option<String>,
    /// Its share of the traffic relative to other endpoints. Absent or 0: 1.
    pub weight: Option<u32>,
    /// The service account of the workload.
    #[schemars(transform = constraints::account)]
    pub service_account: Option<String>,
}
