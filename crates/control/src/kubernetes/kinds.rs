//! What is watched: one line a kind.

use portcullis_api::Kind;

/// A kind of the cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    pub(super) kind: Kind,
    /// Its API group; empty for the core group.
    pub(super) group: &'static str,
    /// The versions that are understood, the best first.
    pub(super) versions: &'static [&'static str],
    /// Its name in addresses.
    pub(super) plural: &'static str,
    pub(super) place: Place,
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

/// Everything that is watched. Endpoints are not: every cluster since 1.21 makes EndpointSlices of them. Nor are
/// Namespaces, of which nothing is read.
pub(super) const WATCHED: [Watched; 10] = [
    istio(Kind::Gateway, "gateways"),
    istio(Kind::VirtualService, "virtualservices"),
    istio(Kind::DestinationRule, "destinationrules"),
    istio(Kind::ServiceEntry, "serviceentries"),
    istio(Kind::WorkloadEntry, "workloadentries"),
    core(Kind::Service, "services", Place::Namespaces),
    Watched {
        kind: Kind::EndpointSlice,
        group: "discovery.k8s.io",
        versions: &["v1"],
        plural: "endpointslices",
        place: Place::Namespaces,
    },
    core(Kind::Pod, "pods", Place::Namespaces),
    core(Kind::Secret, "secrets", Place::Own),
    core(Kind::ConfigMap, "configmaps", Place::OwnAndRoot(MESH)),
];

const fn istio(kind: Kind, plural: &'static str) -> Watched {
    Watched { kind, group: NETWORKING, versions: ISTIO, plural, place: Place::Namespaces }
}

const fn core(kind: Kind, plural: &'static str, place: Place) -> Watched {
    Watched { kind, group: "", versions: &["v1"], plural, place }
}
