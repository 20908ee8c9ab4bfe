//! The schema of every kind, derived from the Rust types: JSON schema, list of fields, resource definitions.
//!
//! Everything here comes out of the types' `JsonSchema`, and the loader checks objects against the very same tree,
//! so what this module lists is what the loader accepts.

pub(crate) mod constraints;
mod crd;
mod normal;
mod rules;
mod shape;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

pub use crd::crds;
pub(crate) use rules::Rule;
pub(crate) use shape::{Field, Record, Shape};

use crate::core::{
    ConfigMapBody, EndpointSliceBody, EndpointsBody, IngressSpec, NamespaceBody, PodBody, SecretBody,
    ServiceSpec,
};
use crate::gateway_api::HttpRouteSpec;
use crate::mesh::MeshConfig;
use crate::networking::{
    DestinationRuleSpec, GatewaySpec, ServiceEntrySpec, VirtualServiceSpec, WorkloadEntrySpec,
};
use crate::object::Kind;

/// One field of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldInfo {
    /// Where it stands in the object, such as `spec.servers[].tls.mode`. `[]` is any item of a list, `*` any key of a
    /// map.
    pub path: String,
    /// Its type in words: `string`, `duration`, `list of string`, `one of SIMPLE, MUTUAL`, …
    pub type_name: String,
    /// Its meaning, from the documentation of the Rust field.
    pub doc: String,
    /// Whether an object without it is refused (where what holds it is present).
    pub required: bool,
}

/// The JSON schema of a kind's own fields: of `spec` where [`Kind::has_spec`], else of the object without
/// `apiVersion`, `kind` and `metadata`. It has no `$ref`.
pub fn json_schema(kind: Kind) -> &'static Value {
    &tables(kind).schema
}

/// Every field of a kind, sorted by path.
pub fn fields(kind: Kind) -> &'static [FieldInfo] {
    &tables(kind).fields
}

/// The tree the loader checks a kind's own fields against.
pub(crate) fn shape(kind: Kind) -> &'static Shape {
    &tables(kind).shape
}

/// The tree the loader checks a type against.
pub(crate) fn shape_of<T: JsonSchema>() -> Shape {
    Shape::of(&generate::<T>())
}

struct Tables {
    schema: Value,
    shape: Shape,
    fields: Vec<FieldInfo>,
}

static TABLES: LazyLock<BTreeMap<Kind, Tables>> =
    LazyLock::new(|| Kind::ALL.into_iter().map(|kind| (kind, build(kind))).collect());

fn tables(kind: Kind) -> &'static Tables {
    TABLES.get(&kind).expect("the table is built from every kind there is")
}

fn build(kind: Kind) -> Tables {
    let schema = generate_kind(kind);
    let shape = Shape::of(&schema);
    let mut fields = Vec::new();
    shape.list_fields(if kind.has_spec() { "spec" } else { "" }, &mut fields);
    Tables { schema, shape, fields }
}

fn generate_kind(kind: Kind) -> Value {
    match kind {
        Kind::Gateway => generate::<GatewaySpec>(),
        Kind::VirtualService => generate::<VirtualServiceSpec>(),
        Kind::DestinationRule => generate::<DestinationRuleSpec>(),
        Kind::ServiceEntry => generate::<ServiceEntrySpec>(),
        Kind::WorkloadEntry => generate::<WorkloadEntrySpec>(),
        Kind::MeshConfig => generate::<MeshConfig>(),
        Kind::Service => generate::<ServiceSpec>(),
        Kind::EndpointSlice => generate::<EndpointSliceBody>(),
        Kind::Endpoints => generate::<EndpointsBody>(),
        Kind::Secret => generate::<SecretBody>(),
        Kind::ConfigMap => generate::<ConfigMapBody>(),
        Kind::Namespace => generate::<NamespaceBody>(),
        Kind::Pod => generate::<PodBody>(),
        Kind::Ingress => generate::<IngressSpec>(),
        Kind::HttpRoute => generate::<HttpRouteSpec>(),
    }
}

fn generate<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    normal::normalize(&mut schema);
    schema
}

#[cfg(test)]
mod tests;
