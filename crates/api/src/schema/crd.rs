//! The custom resource definitions of the kinds Portcullis shares with Istio.

use serde_json::{Map, Value, json};

use super::json_schema;
use super::rules::{ONE_OF, exclusion};
use crate::object::Kind;

/// The `CustomResourceDefinition` objects (apiextensions.k8s.io/v1) of the `networking.istio.io` kinds: names,
/// versions and printed columns as Istio has them, so that either installation can take over from the other.
pub fn crds() -> Vec<Value> {
    Kind::ISTIO.into_iter().map(definition).collect()
}

struct Names {
    plural: &'static str,
    short: &'static str,
    /// Name, JSON path and description of printed columns, in Istio's order.
    columns: &'static [Column],
    spec_required: bool,
}

type Column = (&'static str, &'static str, &'static str);

const AGE: Column = ("Age", ".metadata.creationTimestamp", "When the object was created");

fn names(kind: Kind) -> Names {
    match kind {
        Kind::VirtualService => Names {
            plural: "virtualservices",
            short: "vs",
            columns: &[
                ("Gateways", ".spec.gateways", "The gateways the routes apply to"),
                ("Hosts", ".spec.hosts", "The host names that are routed"),
                AGE,
            ],
            spec_required: false,
        },
        Kind::DestinationRule => Names {
            plural: "destinationrules",
            short: "dr",
            columns: &[("Host", ".spec.host", "The service the rule is for"), AGE],
            spec_required: false,
        },
        Kind::ServiceEntry => Names {
            plural: "serviceentries",
            short: "se",
            columns: &[
                ("Hosts", ".spec.hosts", "The host names of the service"),
                ("Location", ".spec.location", "Whether the service belongs to the mesh"),
                ("Resolution", ".spec.resolution", "How endpoints are found"),
                AGE,
            ],
            spec_required: true,
        },
        Kind::WorkloadEntry => Names {
            plural: "workloadentries",
            short: "we",
            columns: &[AGE, ("Address", ".spec.address", "The address of the endpoint")],
            spec_required: true,
        },
        _ => Names { plural: "gateways", short: "gw", columns: &[], spec_required: false },
    }
}

fn definition(kind: Kind) -> Value {
    let names = names(kind);
    let singular = kind.name().to_lowercase();
    let versions: Vec<Value> =
        kind.versions().iter().map(|version| version_entry(kind, &names, version)).collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", names.plural, kind.group()),
            "annotations": { "helm.sh/resource-policy": "keep" },
        },
        "spec": {
            "group": kind.group(),
            "names": {
                "categories": ["istio-io", "networking-istio-io"],
                "kind": kind.name(),
                "listKind": format!("{}List", kind.name()),
                "plural": names.plural,
                "shortNames": [names.short],
                "singular": singular,
            },
            "scope": "Namespaced",
            "versions": versions,
        },
    })
}

fn version_entry(kind: Kind, names: &Names, version: &str) -> Value {
    let mut spec = json_schema(kind).clone();
    strip_private(&mut spec);
    let mut schema = json!({
        "type": "object",
        "properties": {
            "spec": spec,
            "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        },
    });
    if names.spec_required {
        schema["required"] = json!(["spec"]);
    }
    let mut entry = json!({
        "name": version,
        "served": true,
        "storage": version == kind.versions()[0],
        "schema": { "openAPIV3Schema": schema },
        "subresources": { "status": {} },
    });
    let columns = columns(names);
    if !columns.is_empty() {
        entry["additionalPrinterColumns"] = columns.into();
    }
    entry
}

fn columns(names: &Names) -> Vec<Value> {
    let columns = names.columns.iter().map(|column| {
        let (name, path, description) = column;
        let kind = if *column == AGE { "date" } else { "string" };
        json!({ "name": name, "type": kind, "jsonPath": path, "description": description })
    });
    columns.collect()
}

/// Removes the marks that only the loader understands, or says them in the API server's words.
fn strip_private(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(groups) = object.get(ONE_OF) {
                let (keyword, value) = exclusion(groups);
                object.insert(keyword.to_owned(), value);
            }
            let kept: Map<String, Value> = std::mem::take(object)
                .into_iter()
                .filter(|(key, _)| !key.starts_with("x-portcullis-"))
                .collect();
            *object = kept;
            object.values_mut().for_each(strip_private);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_private),
        _ => {}
    }
}
