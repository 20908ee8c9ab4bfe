//! One object of any kind.

use std::sync::Arc;

use crate::core::{
    ConfigMapBody, EndpointSliceBody, EndpointsBody, IngressSpec, NamespaceBody, PodBody, SecretBody,
    ServiceSpec,
};
use crate::gateway_api::HttpRouteSpec;
use crate::mesh::MeshConfig;
use crate::meta::{Meta, ObjectRef, Origin, Resource};
use crate::networking::{
    DestinationRuleSpec, GatewaySpec, ServiceEntrySpec, VirtualServiceSpec, WorkloadEntrySpec,
};

/// A Gateway.
pub type Gateway = Resource<GatewaySpec>;
/// A VirtualService.
pub type VirtualService = Resource<VirtualServiceSpec>;
/// A DestinationRule.
pub type DestinationRule = Resource<DestinationRuleSpec>;
/// A ServiceEntry.
pub type ServiceEntry = Resource<ServiceEntrySpec>;
/// A WorkloadEntry.
pub type WorkloadEntry = Resource<WorkloadEntrySpec>;
/// The mesh's configuration, as a document of its own or out of the `istio` ConfigMap.
pub type Mesh = Resource<MeshConfig>;
/// A Service.
pub type Service = Resource<ServiceSpec>;
/// An EndpointSlice.
pub type EndpointSlice = Resource<EndpointSliceBody>;
/// An Endpoints object.
pub type Endpoints = Resource<EndpointsBody>;
/// A Secret.
pub type Secret = Resource<SecretBody>;
/// A ConfigMap.
pub type ConfigMap = Resource<ConfigMapBody>;
/// A Namespace.
pub type Namespace = Resource<NamespaceBody>;
/// A Pod.
pub type Pod = Resource<PodBody>;
/// An Ingress.
pub type Ingress = Resource<IngressSpec>;
/// An HTTPRoute of one of cert-manager's solvers.
pub type HttpRoute = Resource<HttpRouteSpec>;

/// One object of any kind. Cloning is cheap.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// `networking.istio.io` Gateway.
    Gateway(Arc<Gateway>),
    /// `networking.istio.io` VirtualService.
    VirtualService(Arc<VirtualService>),
    /// `networking.istio.io` DestinationRule.
    DestinationRule(Arc<DestinationRule>),
    /// `networking.istio.io` ServiceEntry.
    ServiceEntry(Arc<ServiceEntry>),
    /// `networking.istio.io` WorkloadEntry.
    WorkloadEntry(Arc<WorkloadEntry>),
    /// A `MeshConfig` document, or the `mesh` key of the ConfigMap `istio`.
    Mesh(Arc<Mesh>),
    /// `v1` Service.
    Service(Arc<Service>),
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// `v1` Endpoints.
    Endpoints(Arc<Endpoints>),
    /// `v1` Secret.
    Secret(Arc<Secret>),
    /// `v1` ConfigMap.
    ConfigMap(Arc<ConfigMap>),
    /// `v1` Namespace.
    Namespace(Arc<Namespace>),
    /// `v1` Pod.
    Pod(Arc<Pod>),
    /// `networking.k8s.io/v1` Ingress.
    Ingress(Arc<Ingress>),
    /// `gateway.networking.k8s.io` HTTPRoute of one of cert-manager's solvers.
    HttpRoute(Arc<HttpRoute>),
    /// An object of a kind that is not read.
    Unsupported(Arc<Unsupported>),
}

/// An object of a kind that is not read: only its identity is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The API version as written, such as `security.istio.io/v1`.
    pub api_version: String,
    /// The kind as written.
    pub kind: Arc<str>,
    /// Name, namespace, labels and the like.
    pub meta: Meta,
    /// Where it was read.
    pub origin: Origin,
}

impl Unsupported {
    /// The group of its API version, such as `security.istio.io`; empty for the core group.
    #[must_use]
    pub fn api_group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// Runs one expression on whichever resource an object holds.
macro_rules! on_any {
    ($object:expr, $resource:ident => $body:expr) => {
        match $object {
            Object::Gateway($resource) => $body,
            Object::VirtualService($resource) => $body,
            Object::DestinationRule($resource) => $body,
            Object::ServiceEntry($resource) => $body,
            Object::WorkloadEntry($resource) => $body,
            Object::Mesh($resource) => $body,
            Object::Service($resource) => $body,
            Object::EndpointSlice($resource) => $body,
            Object::Endpoints($resource) => $body,
            Object::Secret($resource) => $body,
            Object::ConfigMap($resource) => $body,
            Object::Namespace($resource) => $body,
            Object::Pod($resource) => $body,
            Object::Ingress($resource) => $body,
            Object::HttpRoute($resource) => $body,
            Object::Unsupported($resource) => $body,
        }
    };
}

impl Object {
    /// The object's metadata.
    pub fn meta(&self) -> &Meta {
        on_any!(self, resource => &resource.meta)
    }

    /// Where the object was read.
    pub fn origin(&self) -> &Origin {
        on_any!(self, resource => &resource.origin)
    }

    /// The object's kind; `None` if it is one that is not read.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Gateway(_) => Kind::Gateway,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
            Self::Mesh(_) => Kind::MeshConfig,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Endpoints(_) => Kind::Endpoints,
            Self::Secret(_) => Kind::Secret,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::Namespace(_) => Kind::Namespace,
            Self::Pod(_) => Kind::Pod,
            Self::Ingress(_) => Kind::Ingress,
            Self::HttpRoute(_) => Kind::HttpRoute,
            Self::Unsupported(_) => return None,
        })
    }

    /// Which object this is.
    pub fn object_ref(&self) -> ObjectRef {
        let kind = match self {
            Self::Unsupported(unsupported) => unsupported.kind.clone(),
            _ => self.kind().map_or("", Kind::name).into(),
        };
        let meta = self.meta();
        ObjectRef { kind, namespace: meta.namespace.clone(), name: meta.name.clone() }
    }
}

/// A kind of object that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `networking.istio.io` Gateway.
    Gateway,
    /// `networking.istio.io` VirtualService.
    VirtualService,
    /// `networking.istio.io` DestinationRule.
    DestinationRule,
    /// `networking.istio.io` ServiceEntry.
    ServiceEntry,
    /// `networking.istio.io` WorkloadEntry.
    WorkloadEntry,
    /// The mesh's configuration.
    MeshConfig,
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Endpoints.
    Endpoints,
    /// `v1` Secret.
    Secret,
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Namespace.
    Namespace,
    /// `v1` Pod.
    Pod,
    /// `networking.k8s.io/v1` Ingress.
    Ingress,
    /// `gateway.networking.k8s.io` HTTPRoute of one of cert-manager's solvers; every other one is not read.
    HttpRoute,
}

impl Kind {
    /// Every kind that is read.
    pub const ALL: [Self; 15] = [
        Self::Gateway,
        Self::VirtualService,
        Self::DestinationRule,
        Self::ServiceEntry,
        Self::WorkloadEntry,
        Self::MeshConfig,
        Self::Service,
        Self::EndpointSlice,
        Self::Endpoints,
        Self::Secret,
        Self::ConfigMap,
        Self::Namespace,
        Self::Pod,
        Self::Ingress,
        Self::HttpRoute,
    ];

    /// The kinds of `networking.istio.io`: those Portcullis has custom resource definitions for.
    pub const ISTIO: [Self; 5] =
        [Self::Gateway, Self::VirtualService, Self::DestinationRule, Self::ServiceEntry, Self::WorkloadEntry];

    /// The name as written in an object's `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::MeshConfig => "MeshConfig",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Endpoints => "Endpoints",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Ingress => "Ingress",
            Self::HttpRoute => "HTTPRoute",
        }
    }

    /// The API group; empty for the core group and for `MeshConfig`, which is no API object.
    pub fn group(self) -> &'static str {
        match self {
            _ if Self::ISTIO.contains(&self) => "networking.istio.io",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::Ingress => "networking.k8s.io",
            Self::HttpRoute => "gateway.networking.k8s.io",
            _ => "",
        }
    }

    /// The versions of the group that are read, the preferred one first; `MeshConfig` has none.
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::MeshConfig => &[],
            _ if Self::ISTIO.contains(&self) => &["v1", "v1beta1", "v1alpha3"],
            Self::HttpRoute => &["v1", "v1beta1"],
            _ => &["v1"],
        }
    }

    /// Whether the kind's fields stand under `spec` rather than at the top level of the object.
    pub fn has_spec(self) -> bool {
        matches!(self, Self::Service | Self::Ingress | Self::HttpRoute) || Self::ISTIO.contains(&self)
    }
}
