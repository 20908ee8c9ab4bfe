//! From the tree of one object to its Rust type.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::conform::{Manner, conform};
use super::duplicate::report_duplicates;
use super::identify::{Identity, identify};
use super::metadata;
use super::node::{Content, Mark, Node};
use super::path::Path;
use super::report::{Note, Report};
use crate::finding::Code;
use crate::meta::{Meta, ObjectRef, Origin, Resource};
use crate::object::{Kind, Object, Unsupported};
use crate::schema::{Shape, shape};

/// Where Istio's control plane lives unless it was told otherwise; the home of a `MeshConfig` document.
const ROOT_NAMESPACE: &str = "istio-system";

/// Reads one object, or reports why it cannot be read.
pub(super) fn read(node: Node, document: u32, report: &mut Report) -> Option<Object> {
    let origin = Origin { source: report.source.clone(), document, line: node.mark.line };
    let kind_name: Arc<str> = node.entry("kind").and_then(Node::text)?.into();
    let api_version = node.entry("apiVersion").and_then(Node::text).unwrap_or_default().to_owned();
    let (namespace, name) = metadata::peek(&node);
    report.object = Some(ObjectRef { kind: kind_name.clone(), namespace, name });
    match identify(&api_version, &kind_name) {
        Identity::Known(Kind::HttpRoute) | Identity::WrongVersion(Kind::HttpRoute)
            if !metadata::is_solver(&node) =>
        {
            unsupported(&node, &api_version, None, report);
            identity(node, origin, report)
        }
        Identity::Known(kind) => {
            if let Some(object) = report.object.as_mut().filter(|_| kind == Kind::Namespace) {
                object.namespace.clear();
            }
            known(node, kind, origin, report)
        }
        Identity::WrongVersion(kind) => {
            wrong_version(&node, kind, &api_version, report);
            None
        }
        Identity::Unsupported { meant } => {
            unsupported(&node, &api_version, meant, report);
            identity(node, origin, report)
        }
    }
}

/// What stays of an object of a kind that is not read.
pub(super) fn identity(mut node: Node, origin: Origin, report: &Report) -> Option<Object> {
    let kind = node.entry("kind").and_then(Node::text)?.into();
    let api_version = node.entry("apiVersion").and_then(Node::text).unwrap_or_default().to_owned();
    let metadata = node.take("metadata").map(|(_, metadata)| metadata);
    let meta = lenient_meta(metadata, report)?;
    Some(Object::Unsupported(Arc::new(Unsupported { api_version, kind, meta, origin })))
}

/// The metadata of an object nobody reads; if it is broken the finding about the kind is enough.
fn lenient_meta(metadata: Option<Node>, report: &Report) -> Option<Meta> {
    let mut ignored = Report::new(report.source.clone());
    metadata::read(metadata?, &mut ignored)
}

fn known(mut node: Node, kind: Kind, origin: Origin, report: &mut Report) -> Option<Object> {
    let errors = report.errors();
    let mark = node.mark;
    report_duplicates(&node, &Path::ROOT, report);
    if report.errors() > errors {
        return None;
    }
    node.take("apiVersion");
    node.take("kind");
    let mut meta = match node.take("metadata") {
        Some((_, metadata)) => metadata::read(metadata, report),
        None => Some(Meta { namespace: crate::DEFAULT_NAMESPACE.into(), ..Meta::default() }),
    };
    if let Some(meta) = &mut meta {
        settle_names(meta, kind, mark, report);
    }
    let conditions = match node.take("status") {
        Some((_, status)) if kind == Kind::WorkloadEntry => metadata::conditions(&status),
        Some((key, status)) if kind == Kind::Pod => {
            put_back(&mut node, key, status);
            Vec::new()
        }
        _ => Vec::new(),
    };
    let spec = body(node, kind, report);
    if report.errors() > errors {
        return None;
    }
    typed(kind, Parts { meta: meta?, spec, conditions, origin }, mark, report)
}

fn put_back(node: &mut Node, key: super::node::Key, value: Node) {
    if let Content::Map(entries) = &mut node.content {
        entries.push((key, value));
    }
}

/// Kinds without a namespace or without a name of their own get what stands for it; the others must have a name.
fn settle_names(meta: &mut Meta, kind: Kind, mark: Mark, report: &mut Report) {
    match kind {
        Kind::Namespace => meta.namespace.clear(),
        Kind::MeshConfig if meta.name.is_empty() => {
            (meta.name, meta.namespace) = ("istio".into(), ROOT_NAMESPACE.into());
            report.object = Some(ObjectRef {
                kind: kind.name().into(),
                namespace: ROOT_NAMESPACE.into(),
                name: "istio".into(),
            });
        }
        _ => {}
    }
    if meta.name.is_empty() {
        report.add(Note {
            code: Code::MissingName,
            mark,
            field: "metadata.name".into(),
            message: "the object has no name".into(),
            remedy: "give it a metadata.name".into(),
        });
    }
}

/// Checks the kind's own fields: `spec`, or all that is left at the top level.
fn body(mut node: Node, kind: Kind, report: &mut Report) -> Value {
    let manner = match kind {
        Kind::MeshConfig => Manner::Mesh,
        _ if Kind::ISTIO.contains(&kind) => Manner::Custom,
        _ => Manner::Native,
    };
    if !kind.has_spec() {
        return conform(node, shape(kind), &Path::ROOT, manner, report);
    }
    let mark = node.mark;
    let spec = node.take("spec");
    // What is neither spec nor known above is unknown, whatever its name.
    conform(node, &Shape::Record(crate::schema::Record::default()), &Path::ROOT, manner, report);
    match spec {
        Some((_, spec)) => conform(spec, shape(kind), &Path::ROOT.key("spec"), manner, report),
        None => {
            report.add(Note {
                code: Code::MissingField,
                mark,
                field: "spec".into(),
                message: "the required field spec is missing".into(),
                remedy: String::new(),
            });
            Value::Null
        }
    }
}

/// The pieces of a resource before its kind is a Rust type.
struct Parts {
    meta: Meta,
    spec: Value,
    conditions: Vec<crate::Condition>,
    origin: Origin,
}

fn typed(kind: Kind, parts: Parts, mark: Mark, report: &mut Report) -> Option<Object> {
    let object = match kind {
        Kind::Gateway => resource(parts).map(Object::Gateway),
        Kind::VirtualService => resource(parts).map(Object::VirtualService),
        Kind::DestinationRule => resource(parts).map(Object::DestinationRule),
        Kind::ServiceEntry => resource(parts).map(Object::ServiceEntry),
        Kind::WorkloadEntry => resource(parts).map(Object::WorkloadEntry),
        Kind::MeshConfig => resource(parts).map(Object::Mesh),
        Kind::Service => resource(parts).map(Object::Service),
        Kind::EndpointSlice => resource(parts).map(Object::EndpointSlice),
        Kind::Endpoints => resource(parts).map(Object::Endpoints),
        Kind::Secret => resource(parts).map(Object::Secret),
        Kind::ConfigMap => resource(parts).map(Object::ConfigMap),
        Kind::Namespace => resource(parts).map(Object::Namespace),
        Kind::Pod => resource(parts).map(Object::Pod),
        Kind::Ingress => resource(parts).map(Object::Ingress),
        Kind::HttpRoute => resource(parts).map(Object::HttpRoute),
    };
    if object.is_none() {
        // The schema comes from the type, so this is a disagreement between the two: a defect of ours. Say so
        // without the reason, which may hold a value.
        report.add(Note {
            code: Code::WrongType,
            mark,
            field: String::new(),
            message: "the object fits its schema and yet cannot be read".into(),
            remedy: "please report this".into(),
        });
    }
    object
}

/// Reads mesh settings that have no metadata of their own; `path` is where they stand in the object reported on.
pub(super) fn read_mesh(
    node: Node,
    path: &Path<'_>,
    meta: Meta,
    origin: Origin,
    report: &mut Report,
) -> Option<Object> {
    let errors = report.errors();
    let mark = node.mark;
    report_duplicates(&node, path, report);
    if report.errors() > errors {
        return None;
    }
    let spec = conform(node, shape(Kind::MeshConfig), path, Manner::Mesh, report);
    if report.errors() > errors {
        return None;
    }
    typed(Kind::MeshConfig, Parts { meta, spec, conditions: Vec::new(), origin }, mark, report)
}

fn resource<S: DeserializeOwned>(parts: Parts) -> Option<Arc<Resource<S>>> {
    let Parts { meta, spec, conditions, origin } = parts;
    let spec = serde_json::from_value(spec).ok()?;
    Some(Arc::new(Resource { meta, spec, conditions, origin }))
}

fn wrong_version(node: &Node, kind: Kind, api_version: &str, report: &mut Report) {
    let mark = node.entry("apiVersion").map_or(node.mark, |version| version.mark);
    let prefix = if kind.group().is_empty() { String::new() } else { format!("{}/", kind.group()) };
    let versions: Vec<String> = kind.versions().iter().map(|version| format!("{prefix}{version}")).collect();
    let shown = super::path::shorten(api_version);
    let message = match api_version {
        "" => format!("a {} needs an apiVersion", kind.name()),
        _ => format!("there is no {} in version {shown:?}", kind.name()),
    };
    report.add(Note {
        code: Code::WrongVersion,
        mark,
        field: "apiVersion".into(),
        message,
        remedy: format!("write {}", versions.join(" or ")),
    });
}

fn unsupported(node: &Node, api_version: &str, meant: Option<&'static str>, report: &mut Report) {
    let mark = node.entry("kind").map_or(node.mark, |kind| kind.mark);
    report.add(Note {
        code: Code::UnsupportedKind,
        mark,
        field: String::new(),
        message: format!("objects of this kind ({:?}) are not read", super::path::shorten(api_version)),
        remedy: meant.map(|group| format!("did you mean {group}?")).unwrap_or_default(),
    });
}
