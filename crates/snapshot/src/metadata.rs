//! What Istio notes of a configuration's objects in the proxy: `METADATA(ROUTE:istio:config)` and its like, and
//! `xds.route_metadata` and its like in expressions.

use crate::cluster::{Cluster, Endpoint, Workload};
use crate::expression::Value;
use crate::route::Origin;

/// The namespace that Istio writes into.
const ISTIO: &str = "istio";

/// What is noted of a route: the object it was written in.
#[must_use]
pub fn of_route(origin: &Origin) -> Value<'static> {
    noted(config(&origin.object).map(|config| ("config", config)).into_iter().collect())
}

/// What is noted of a cluster: its service, subset and DestinationRule.
#[must_use]
pub fn of_cluster(cluster: &Cluster) -> Value<'static> {
    let mut map = Vec::new();
    if cluster.notes.overrides_alpn {
        map.push(("alpn_override", Value::text("false")));
    }
    if let Some(config) = cluster.notes.rule.as_deref().and_then(config) {
        map.push(("config", config));
    }
    if cluster.notes.external {
        map.push(("external", Value::Bool(true)));
    }
    let service = &cluster.service;
    let service = [("host", &service.host), ("name", &service.name), ("namespace", &service.namespace)];
    let service = service.into_iter().map(|(key, value)| (key, text(value.to_string()))).collect();
    map.push(("services", Value::List(vec![keyed(service)])));
    if let Some(subset) = cluster.name.split('|').nth(2).filter(|subset| !subset.is_empty()) {
        map.push(("subset", text(subset.to_owned())));
    }
    noted(map)
}

/// What is noted of an endpoint: its workload.
#[must_use]
pub fn of_endpoint(endpoint: &Endpoint) -> Value<'static> {
    let Workload { name, namespace, canonical_service, canonical_revision, cluster, .. } =
        &*endpoint.workload;
    let facts = [name, namespace, canonical_service, canonical_revision, cluster];
    // What a metric calls `unknown`, and the revision that everything has, is left out here.
    let facts = facts.map(|fact| if matches!(&**fact, "unknown" | "latest") { "" } else { fact });
    noted(vec![("workload", text(facts.join(";")))])
}

/// What stands in Istio's namespace, if anything does.
fn noted(map: Vec<(&'static str, Value<'static>)>) -> Value<'static> {
    let namespaces = if map.is_empty() { Vec::new() } else { vec![(ISTIO, keyed(map))] };
    Value::Metadata(Box::new(keyed(namespaces)))
}

fn keyed(map: Vec<(&'static str, Value<'static>)>) -> Value<'static> {
    Value::Map(map.into_iter().map(|(key, value)| [Value::text(key), value]).collect())
}

fn text(text: String) -> Value<'static> {
    Value::Text(text.into_bytes().into())
}

/// `VirtualService default/app` as the path of the API that leads to it.
fn config(object: &str) -> Option<Value<'static>> {
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
    Some(text(format!("/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}")))
}

/// Appends what is noted at `path`. A text stands for itself, anything else is written as JSON; what is not there writes
/// nothing, and neither does an empty path.
pub fn write(metadata: &Value<'_>, path: &[Box<str>], out: &mut Vec<u8>) {
    let (Value::Metadata(root), [_, ..]) = (metadata, path) else { return };
    let mut value = &**root;
    for key in path {
        let Value::Map(map) = value else { return };
        let Some([_, found]) = map.iter().find(|[name, _]| *name == Value::text(key)) else { return };
        value = found;
    }
    match value {
        Value::Text(text) => out.extend_from_slice(text),
        other => json(other, out),
    }
}

fn json(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        // Names of the API have nothing in them that JSON would escape, and a header nothing that it may not hold.
        Value::Text(text) => {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        }
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
            for (at, [key, value]) in map.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                json(key, out);
                out.push(b':');
                json(value, out);
            }
            out.push(b'}');
        }
        other => other.write(out),
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
        write(&super::of_route(&origin), &path(keys), &mut out);
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
            write(&of_endpoint(&endpoint), &path("istio:workload"), &mut out);
            assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }
}
