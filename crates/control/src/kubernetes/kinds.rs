//! What is watched: one line a kind.

use portcullis_api::Kind;

/// A kind of the cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    pub(super) kind: Followed,
    /// Its API group; empty for the core group.
    pub(super) group: &'static str,
    /// The versions that are understood, the best first.
    pub(super) versions: &'static [&'static str],
    /// Its name in addresses.
    pub(super) plural: &'static str,
    pub(super) place: Place,
}

/// What is done with the objects of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    /// They are read.
    Read(Kind),
    /// They are not, and that there are any is told; by the kind's name as objects have it.
    Unread(&'static str),
}

impl Followed {
    /// The name that objects of the kind have.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read(kind) => kind.name(),
            Self::Unread(name) => name,
        }
    }
}

/// Where objects of a kind are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In all namespaces, or in those the gateway is restricted to.
    Namespaces,
    /// In the gateway's own namespace.
    Own,
    /// In the gateway's own namespace, and one by name in Istio's root namespace.
    OwnAndRoot(&'static str),
}

/// The ConfigMap of the mesh's settings.
pub(super) const MESH: &str = "istio";

/// The versions of Istio's routing kinds; they have one schema.
const ISTIO: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Everything that is read. Endpoints are not: every cluster since 1.21 makes EndpointSlices of them. Nor are Namespaces,
/// of which nothing that is honoured asks more than the name: `exportTo` and delegates name namespaces, and Istio's
/// `discoverySelectors` choose what sidecars hear of.
pub(super) const READ: [Watched; 12] = [
    istio(Kind::Gateway, "gateways"),
    istio(Kind::VirtualService, "virtualservices"),
    istio(Kind::DestinationRule, "destinationrules"),
    istio(Kind::ServiceEntry, "serviceentries"),
    istio(Kind::WorkloadEntry, "workloadentries"),
    core(Kind::Service, "services", Place::Namespaces),
    Watched {
        kind: Followed::Read(Kind::EndpointSlice),
        group: "discovery.k8s.io",
        versions: &["v1"],
        plural: "endpointslices",
        place: Place::Namespaces,
    },
    core(Kind::Pod, "pods", Place::Namespaces),
    core(Kind::Secret, "secrets", Place::Own),
    core(Kind::ConfigMap, "configmaps", Place::OwnAndRoot(MESH)),
    // Those of cert-manager's solvers. Of the others it is told that they have no effect, below.
    Watched {
        kind: Followed::Read(Kind::Ingress),
        group: "networking.k8s.io",
        versions: &["v1"],
        plural: "ingresses",
        place: Place::Own,
    },
    Watched {
        kind: Followed::Read(Kind::HttpRoute),
        group: GATEWAY_API,
        versions: &["v1", "v1beta1"],
        plural: "httproutes",
        place: Place::Own,
    },
];

/// Kinds that would change what is served and are not read: of their objects only the metadata are asked for, so that
/// somebody is told that they have no effect. Of the Gateway API they are those that make routes; the others do nothing
/// without one.
pub(super) const UNREAD: [Watched; 13] = [
    unread("AuthorizationPolicy", SECURITY, &["v1", "v1beta1"], "authorizationpolicies"),
    unread("RequestAuthentication", SECURITY, &["v1", "v1beta1"], "requestauthentications"),
    unread("Telemetry", "telemetry.istio.io", &["v1", "v1alpha1"], "telemetries"),
    unread("EnvoyFilter", NETWORKING, &["v1alpha3"], "envoyfilters"),
    unread("ProxyConfig", NETWORKING, &["v1beta1"], "proxyconfigs"),
    unread("WasmPlugin", "extensions.istio.io", &["v1alpha1"], "wasmplugins"),
    unread("Ingress", "networking.k8s.io", &["v1"], "ingresses"),
    unread("Gateway", GATEWAY_API, &["v1", "v1beta1"], "gateways"),
    unread("HTTPRoute", GATEWAY_API, &["v1", "v1beta1"], "httproutes"),
    unread("GRPCRoute", GATEWAY_API, &["v1"], "grpcroutes"),
    unread("TLSRoute", GATEWAY_API, &["v1", "v1alpha3", "v1alpha2"], "tlsroutes"),
    unread("TCPRoute", GATEWAY_API, &["v1", "v1alpha2"], "tcproutes"),
    unread("UDPRoute", GATEWAY_API, &["v1", "v1alpha2"], "udproutes"),
];

const fn istio(kind: Kind, plural: &'static str) -> Watched {
    Watched {
        kind: Followed::Read(kind),
        group: NETWORKING,
        versions: ISTIO,
        plural,
        place: Place::Namespaces,
    }
}

const fn core(kind: Kind, plural: &'static str, place: Place) -> Watched {
    Watched { kind: Followed::Read(kind), group: "", versions: &["v1"], plural, place }
}

const fn unread(
    kind: &'static str,
    group: &'static str,
    versions: &'static [&'static str],
    plural: &'static str,
) -> Watched {
    Watched { kind: Followed::Unread(kind), group, versions, plural, place: Place::Namespaces }
}
