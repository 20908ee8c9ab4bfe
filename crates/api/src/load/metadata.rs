//! `metadata` and the conditions of `status`.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::conform::{Manner, conform};
use super::node::{Content, Node};
use super::path::Path;
use super::report::{Note, Report};
use crate::cert_manager::SOLVER;
use crate::finding::Code;
use crate::map::Map;
use crate::meta::{Condition, DEFAULT_NAMESPACE, Identity, Meta, Timestamp};
use crate::schema::{Shape, shape_of};

/// Kubernetes' ObjectMeta: what is used is typed, the rest only has its place.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct ObjectMeta {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    self_link: Option<String>,
    cluster_name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
    deletion_grace_period_seconds: Option<i64>,
    labels: Map<String>,
    annotations: Map<String>,
    owner_references: Option<Value>,
    finalizers: Option<Value>,
    managed_fields: Option<Value>,
}

static SHAPE: LazyLock<Shape> = LazyLock::new(shape_of::<ObjectMeta>);

/// What an object is called, as far as it can be told before anything is checked: namespace and name.
pub(super) fn peek(object: &Node) -> (String, String) {
    let metadata = object.entry("metadata");
    let text = |name: &str| metadata.and_then(|metadata| metadata.entry(name)).and_then(Node::text);
    (text("namespace").unwrap_or(DEFAULT_NAMESPACE).to_owned(), text("name").unwrap_or_default().to_owned())
}

/// Whether an object is part of one of cert-manager's solvers.
pub(super) fn is_solver(object: &Node) -> bool {
    let labels = object.entry("metadata").and_then(|metadata| metadata.entry("labels"));
    labels.and_then(|labels| labels.entry(SOLVER)).and_then(Node::text) == Some("true")
}

/// Reads `metadata`; `None` (and a finding) if it cannot be read.
pub(super) fn read(node: Node, report: &mut Report) -> Option<Meta> {
    let mark = node.mark;
    let errors = report.errors();
    let path = Path::ROOT.key("metadata");
    let value = conform(node, &SHAPE, &path, Manner::Native, report);
    if report.errors() > errors {
        return None;
    }
    let wire: ObjectMeta = serde_json::from_value(value).unwrap_or_default();
    let creation_timestamp = wire.creation_timestamp.as_deref().map(Timestamp::parse);
    if creation_timestamp == Some(None) {
        report.add(Note {
            code: Code::WrongType,
            mark,
            field: path.key("creationTimestamp").render(),
            message: "expected an RFC 3339 timestamp such as \"2024-05-01T12:00:00Z\"".into(),
            remedy: "leave it out: only the API server sets it".into(),
        });
        return None;
    }
    let identity =
        Identity { generation: wire.generation, resource_version: wire.resource_version, uid: wire.uid };
    Some(Meta {
        name: wire.name.unwrap_or_default(),
        namespace: wire.namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        labels: wire.labels,
        annotations: wire.annotations,
        creation_timestamp: creation_timestamp.flatten(),
        identity: (identity != Identity::default()).then(|| Box::new(identity)),
    })
}

/// The conditions of a `status`. A status is written by controllers, never by hand: what does not fit is passed over.
pub(super) fn conditions(status: &Node) -> Vec<Condition> {
    let Some(Node { content: Content::List(items), .. }) = status.entry("conditions") else {
        return Vec::new();
    };
    let text = |item: &Node, name: &str| item.entry(name).and_then(Node::text).map(str::to_owned);
    items
        .iter()
        .filter_map(|item| Some(Condition { kind: text(item, "type")?, status: text(item, "status")? }))
        .collect()
}
