//! The resources Portcullis reads, exactly as they arrive.
//!
//! - [`networking`], [`mesh`] and [`core`]: one Rust type for each resource, with every field of its schema. Nothing
//!   is judged and no default is applied; what is absent is `None` or empty.
//! - [`gateway_api`]: the little of it that cert-manager's solvers write.
//! - [`Object`], [`Resource`], [`Meta`]: what all of them have in common.
//! - [`load()`]: text to objects, and [`Finding`]s for what could not be read.
//! - [`cert_manager`]: what annotations of a Gateway ask of cert-manager, and the Certificate that says the same.
//! - [`health_check`]: what an annotation of a DestinationRule says about active health checks.
//! - [`route_test`]: requests with what is expected of them, written beside the resources.
//! - [`schema`]: every field with its type and meaning, and the custom resource definitions, derived from the types.
//!
//! The crate depends on no clock, no file and no network.

pub mod cert_manager;
pub mod core;
mod duration;
mod finding;
pub mod gateway_api;
pub mod health_check;
pub mod load;
mod map;
pub mod mesh;
mod meta;
pub mod networking;
mod object;
pub mod route_test;
pub mod schema;
mod timestamp;
pub mod wire;

pub use finding::{Code, Finding, Severity};
pub use load::{Loaded, from_json_value, identity_of, load};
pub use map::{Iter, Map};
pub use meta::{Condition, DEFAULT_NAMESPACE, Identity, Meta, ObjectRef, Origin, Resource, Timestamp};
pub use object::{
    ConfigMap, DestinationRule, EndpointSlice, Endpoints, Gateway, HttpRoute, Ingress, Kind, Mesh, Namespace,
    Object, Pod, Secret, Service, ServiceEntry, Unsupported, VirtualService, WorkloadEntry,
};
