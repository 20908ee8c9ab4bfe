//! What Istio notes of a configuration's objects in the proxy: `METADATA(ROUTE:istio:config)` and its like.

use crate::cluster::{Cluster, Endpoint, Workload};
use crate::route::Origin;

/// The namespace that Istio writes into.
const ISTIO: &str = "istio";

/// A value of metadata, keys in order.
enum Value {
    Text(String),
    Yes,
    List(Vec<Value>),
    Map(Vec<(&'static str, Value)>),
}

/// Appends what a route has at `path`: the object it was written in.
pub fn write_route(origin: &Origin, path: &[Box<str>], out: &mut Vec<u8>) {
    if let Some(config) = config(&origin.object) {
        write(&Value::Map(vec![("config", config)]), path, out);
    }
}

/// Appends what a cluster has at `path`: its service, subset and DestinationRule.
pub fn write_cluster(cluster: &Cluster, path: &[Box<str>], out: &mut Vec<u8>) {
    let mut map = Vec::new();
    if cluster.notes.overrides_alpn {
        map.push(("alpn_override", Value::Text("false".to_owned())));
    }
    if let Some(config) = cluster.notes.rule.as_deref().and_then(config) {
        map.push(("config", config));
    }
    if cluster.notes.external {
        map.push(("external", Value::Yes));
    }
    let service = &cluster.service;
    let service = [("host", &service.host), ("name", &service.name), ("namespace", &service.namespace)];
    let service = service.into_iter().map(|(key, value)| (key, Value::Text(value.to_string()))).collect();
    map.push(("services", Value::List(vec![Value::Map(service)])));
    if let Some(subset) = cluster.name.split('|').nth(2).filter(|subset| !subset.is_empty()) {
        map.push(("subset", Value::Text(subset.to_owned())));
    }
    write(&Value::Map(map), path, out);
}

/// Appends what an endpoint has at `path`: its workload.
pub fn write_endpoint(endpoint: &Endpoint, path: &[Box<str>], out: &mut Vec<u8>) {
    let Workload { name, namespace, canonical_service, canonical_revision, cluster, .. } =
        &*endpoint.workload;
    let facts = [name, namespace, canonical_service, canonical_revision, cluster];
    // What a metric calls `unknown`, and the revision that everything has, is left out here.
    let facts = facts.map(|fact| if matches!(&**fact, "unknown" | "latest") { "" } else { fact });
    write(&Value::Map(vec![("workload", Value::Text(facts.join(";")))]), path, out);
}

/// `VirtualService default/app` as the path of the API that leads to it.
fn config(object: &str) -> Option<Value> {
    // Istio merges a delegate's rules into its root, and notes the root.
    let object = match object.split_once(", delegate of ") {
        Some((_, root)) => format!("VirtualService {}", root.trim_end_matches(',')),
        None => object.to_owned(),
    };
    let (kind, name) = object.split_once(' ')?;
    let (namespace, name) = name.split_once('/')?;
    let kind = match kind {
        "VirtualService" => "virtual-service",
        "DestinationRule" => "destination-rule",
        _ => return None,
    };
    Some(Value::Text(format!("/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}")))
}

/// A text stands for itself, anything else is written as JSON; what is not there writes nothing.
fn write(root: &Value, path: &[Box<str>], out: &mut Vec<u8>) {
    let Some((ISTIO, keys)) = path.split_first().map(|(first, keys)| (&**first, keys)) else { return };
    let mut value = root;
    for key in keys {
        let Value::Map(map) = value else { return };
        let Some((_, found)) = map.iter().find(|(name, _)| **name == **key) else { return };
        value = found;
    }
    match value {
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        other => json(other, out),
    }
}

fn json(value: &Value, out: &mut Vec<u8>) {
    match value {
        // Names of the API have nothing in them that JSON would escape, and a header nothing that it may not hold.
        Value::Text(text) => out.extend_from_slice(format!("{text:?}").as_bytes()),
        Value::Yes => out.extend_from_slice(b"true"),
        Value::List(list) => {
            out.push(b'[');
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                json(value, out);
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            for (at, (key, value)) in map.iter().enumerate() {
                out.extend_from_slice(if at > 0 { b",\"" } else { b"\"" });
                out.extend_from_slice(key.as_bytes());
                out.extend_from_slice(b"\":");
                json(value, out);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::*;
    use crate::cluster::Address;
    use crate::route::RuleList;

    fn path(text: &str) -> Vec<Box<str>> {
        text.split(':').map(Into::into).collect()
    }

    fn of_route(keys: &str) -> String {
        of_object("VirtualService prod/app", keys)
    }

    fn of_object(object: &str, keys: &str) -> String {
        let origin = Origin { object: object.into(), list: RuleList::Http, rule: 0, entry: None };
        let mut out = Vec::new();
        write_route(&origin, &path(keys), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_route_names_its_object() {
        let config = "/apis/networking.istio.io/v1/namespaces/prod/virtual-service/app";
        assert_eq!(of_route("istio:config"), config);
        assert_eq!(of_route("istio"), format!("{{\"config\":\"{config}\"}}"));
        let delegated = "VirtualService team/part, delegate of prod/app,";
        assert_eq!(of_object(delegated, "istio:config"), config);
        for nothing in ["", "istio:config:x", "istio:nope", "envoy.lb"] {
            assert_eq!(of_route(nothing), "", "{nothing}");
        }
    }

    #[test]
    fn an_endpoint_names_its_workload() {
        let workload = Workload {
            name: "app-1".into(),
            namespace: "prod".into(),
            canonical_service: "app".into(),
            cluster: "Kubernetes".into(),
            ..Workload::default()
        };
        for (workload, expected) in [(workload, "app-1;prod;app;;Kubernetes"), (Workload::default(), ";;;;")]
        {
            let address = SocketAddr::from(([127, 0, 0, 1], 80));
            let endpoint = Endpoint {
                address: Address::Inet(address),
                name: None,
                weight: 1,
                healthy: true,
                locality: "".into(),
                workload: Arc::new(workload),
            };
            let mut out = Vec::new();
            write_endpoint(&endpoint, &path("istio:workload"), &mut out);
            assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }
}
