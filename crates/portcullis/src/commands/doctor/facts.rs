//! What is looked at in a cluster, cut down to what is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use portcullis_api::ObjectRef;
use serde::Deserialize;

/// Everything that was seen.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) now: SystemTime,
    /// The gateway's namespace, and the name of its Service.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) services: Seen<Service>,
    pub(super) pods: Seen<Pod>,
    pub(super) nodes: Seen<Node>,
    pub(super) gateways: Seen<Gateway>,
    /// The Secrets that Gateways name, in the gateway's namespace.
    pub(super) credentials: Seen<Credential>,
    pub(super) validating: Seen<Webhooks>,
    pub(super) mutating: Seen<Webhooks>,
    /// Services that webhooks call, by namespace and name: whether anyone answers.
    pub(super) answering: BTreeMap<(String, String), bool>,
    /// Versions of Istio's routing group, with the kinds (plural) that each serves.
    pub(super) served: BTreeMap<String, BTreeSet<String>>,
    /// What the gateway's account may not, of what it needs.
    pub(super) missing_rights: Seen<Right>,
    pub(super) classes: Seen<IngressClass>,
    pub(super) ingresses: Seen<Ingress>,
}

/// A list, or why it could not be had.
#[derive(Debug, Clone)]
pub(super) enum Seen<T> {
    /// Everything there is, but for what cannot be read: its number.
    All(Vec<T>, usize),
    Refused(String),
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self::All(Vec::new(), 0)
    }
}

impl<T> Seen<T> {
    /// What was seen; nothing where nothing could be.
    pub(super) fn list(&self) -> &[T] {
        match self {
            Self::All(list, _) => list,
            Self::Refused(_) => &[],
        }
    }
}

/// Labels, selectors and annotations.
pub(super) type Labels = BTreeMap<String, String>;

/// Whether a selector that says something chooses what has these labels.
pub(super) fn selects(selector: &Labels, labels: &Labels) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
}

impl Meta {
    pub(super) fn reference(&self, kind: &str) -> ObjectRef {
        ObjectRef { kind: kind.into(), namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Service {
    pub(super) metadata: Meta,
    pub(super) spec: ServiceSpec,
    pub(super) status: ServiceStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServiceSpec {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) selector: Labels,
    pub(super) ports: Vec<ServicePort>,
    pub(super) external_traffic_policy: String,
    pub(super) load_balancer_class: Option<String>,
    #[serde(rename = "externalIPs")]
    pub(super) external_ips: Vec<String>,
    pub(super) allocate_load_balancer_node_ports: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServicePort {
    pub(super) port: u16,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServiceStatus {
    pub(super) load_balancer: LoadBalancer,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoadBalancer {
    pub(super) ingress: Vec<Ingressed>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ingressed {
    pub(super) ip: String,
    pub(super) hostname: String,
}

impl Service {
    pub(super) fn is_load_balancer(&self) -> bool {
        self.spec.kind == "LoadBalancer"
    }

    /// Whether it waits for an address.
    pub(super) fn is_pending(&self) -> bool {
        self.is_load_balancer() && self.addresses().next().is_none()
    }

    /// Where clients find it: as external-dns reads it.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &str> {
        let given = self.status.load_balancer.ingress.iter();
        let given = given.map(|it| if it.ip.is_empty() { it.hostname.as_str() } else { it.ip.as_str() });
        let own = self.spec.external_ips.iter().map(String::as_str);
        own.chain(given.filter(|_| self.spec.external_ips.is_empty())).filter(|address| !address.is_empty())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Meta,
    pub(super) spec: PodSpec,
    pub(super) status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) service_account_name: String,
    pub(super) host_network: bool,
    pub(super) containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) ports: Vec<ContainerPort>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerPort {
    pub(super) host_port: Option<u16>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: String,
    pub(super) conditions: Vec<Condition>,
    pub(super) container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerStatus {
    pub(super) state: ContainerState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) waiting: Option<Waiting>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    pub(super) reason: String,
    pub(super) message: String,
}

impl Pod {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    pub(super) fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|it| it.kind == "Ready" && it.status == "True")
    }

    pub(super) fn host_ports(&self) -> impl Iterator<Item = u16> {
        self.spec.containers.iter().flat_map(|container| &container.ports).filter_map(|port| port.host_port)
    }

    /// Why it does not run, as the cluster says.
    pub(super) fn obstacle(&self) -> Option<String> {
        let waiting = self.status.container_statuses.iter().find_map(|it| it.state.waiting.as_ref());
        let scheduled =
            self.status.conditions.iter().find(|it| it.kind == "PodScheduled" && it.status == "False");
        match (scheduled, waiting) {
            (Some(condition), _) => Some(condition.message.clone()),
            (None, Some(waiting)) if waiting.message.is_empty() => Some(waiting.reason.clone()),
            (None, Some(waiting)) => Some(format!("{}: {}", waiting.reason, waiting.message)),
            (None, None) => None,
        }
        .filter(|text| !text.is_empty())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) metadata: Meta,
    pub(super) status: NodeStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeStatus {
    pub(super) addresses: Vec<NodeAddress>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeAddress {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) address: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Gateway {
    pub(super) metadata: Meta,
    pub(super) spec: GatewaySpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GatewaySpec {
    pub(super) selector: Labels,
    pub(super) servers: Vec<Server>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    pub(super) tls: Option<Tls>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Tls {
    pub(super) mode: String,
    pub(super) credential_name: String,
    pub(super) credential_names: Vec<String>,
}

impl Server {
    /// The Secrets with its certificates. Names that say more than a name are the compiler's business.
    pub(super) fn credentials(&self) -> impl Iterator<Item = &str> {
        let ends = |tls: &&Tls| matches!(tls.mode.as_str(), "SIMPLE" | "MUTUAL" | "OPTIONAL_MUTUAL");
        let tls = self.tls.iter().filter(ends);
        let names = tls.flat_map(|tls| tls.credential_names.iter().chain([&tls.credential_name]));
        let names = names.map(|name| name.strip_prefix("kubernetes://").unwrap_or(name));
        names.filter(|name| !name.is_empty() && !name.contains('/'))
    }
}

/// A Secret that a Gateway names; nothing of its content is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) name: String,
    pub(super) state: CredentialState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CredentialState {
    /// It is not there, but in these namespaces, which are those of Gateways.
    Missing { elsewhere: BTreeSet<String> },
    /// Certificate or key is not in it.
    Incomplete,
    /// The certificate cannot be read.
    Unreadable,
    /// When its certificate ends.
    Until(SystemTime),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Webhooks {
    pub(super) metadata: Meta,
    pub(super) webhooks: Vec<Webhook>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Webhook {
    pub(super) failure_policy: String,
    pub(super) client_config: ClientConfig,
    pub(super) rules: Vec<WebhookRule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClientConfig {
    pub(super) service: Option<ServiceName>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceName {
    pub(super) namespace: String,
    pub(super) name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WebhookRule {
    pub(super) api_groups: Vec<String>,
    pub(super) resources: Vec<String>,
}

/// Something that an account may do, or may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) account: String,
    pub(super) verb: String,
    pub(super) group: String,
    pub(super) resource: String,
    /// `None` = in all of them.
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct IngressClass {
    pub(super) metadata: Meta,
    pub(super) spec: IngressClassSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct IngressClassSpec {
    pub(super) controller: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ingress {
    pub(super) metadata: Meta,
    pub(super) spec: IngressSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct IngressSpec {
    pub(super) ingress_class_name: Option<String>,
}
