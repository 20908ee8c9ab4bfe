//! What a watch gives, cut down to what is read.

use kube::api::DynamicObject;
use portcullis_api::{Kind, Loaded, ObjectRef, Origin, from_json_value};
use serde_json::{Map, Value};

use super::kinds::Watched;
use crate::live::Read;

/// kubectl's copy of what was applied: as large as the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The names under which credentials stand in Secrets and ConfigMaps. No other value is kept.
const CREDENTIALS: &[&str] = &["tls.crt", "tls.key", "ca.crt", "ca.crl", "cert", "key", "cacert", "crl"];
/// What is read of a Pod; the rest is large, and much of it changes all the time.
const OF_POD: &[(&str, &[&str])] =
    &[("spec", &["nodeName", "serviceAccountName"]), ("status", &["phase", "podIP", "podIPs"])];

/// Reads an object; of the one that is called `whole` all data are kept. What changes without meaning anything here goes
/// first, so that it is no news.
pub(super) fn read(watched: Watched, whole: Option<&str>, mut object: DynamicObject) -> Read {
    let reference = reference(watched, &object);
    trim_metadata(watched.kind, &mut object);
    if let Value::Object(fields) = &mut object.data
        && whole != Some(reference.name.as_str())
    {
        trim(watched.kind, fields);
    }
    // A list gives items without their type.
    object.types = Some(kube::api::TypeMeta {
        api_version: match watched.group {
            "" => watched.versions[0].to_owned(),
            group => format!("{group}/{}", watched.versions[0]),
        },
        kind: watched.kind.name().to_owned(),
    });
    let loaded = match serde_json::to_value(object) {
        Ok(value) => from_json_value(Origin::CLUSTER, value),
        // It was JSON a moment ago.
        Err(_) => Loaded::default(),
    };
    Read { object: reference, objects: loaded.objects, findings: loaded.findings }
}

/// Which object it is.
pub(super) fn reference(watched: Watched, object: &DynamicObject) -> ObjectRef {
    ObjectRef {
        kind: watched.kind.name().into(),
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

fn trim_metadata(kind: Kind, object: &mut DynamicObject) {
    let meta = &mut object.metadata;
    meta.managed_fields = None;
    meta.resource_version = None;
    meta.self_link = None;
    meta.finalizers = None;
    if matches!(kind, Kind::Pod | Kind::EndpointSlice | Kind::Secret | Kind::ConfigMap) {
        meta.annotations = None;
    } else if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

fn trim(kind: Kind, fields: &mut Map<String, Value>) {
    match kind {
        Kind::Pod => {
            for (part, kept) in OF_POD {
                keep(fields, part, kept);
            }
        }
        Kind::Secret => {
            keep(fields, "data", CREDENTIALS);
        }
        Kind::ConfigMap => {
            keep(fields, "data", CREDENTIALS);
            fields.remove("binaryData");
        }
        // Its state has its health.
        Kind::WorkloadEntry => {}
        // What the cluster says of their state is other controllers' talk.
        _ => {
            fields.remove("status");
        }
    }
}

/// Removes all but these members of a part.
fn keep(fields: &mut Map<String, Value>, part: &str, members: &[&str]) {
    if let Some(Value::Object(fields)) = fields.get_mut(part) {
        fields.retain(|name, _| members.contains(&name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use portcullis_api::Object;
    use serde_json::json;

    use super::super::kinds::WATCHED;
    use super::*;

    fn read_as(kind: Kind, value: serde_json::Value) -> Object {
        let watched = WATCHED.into_iter().find(|watched| watched.kind == kind).unwrap();
        let mut read = read(watched, Some("istio"), serde_json::from_value(value).unwrap());
        assert_eq!(read.findings, []);
        read.objects.remove(0)
    }

    fn pod(resource_version: &str, status: &Value) -> Object {
        read_as(
            Kind::Pod,
            json!({
                "metadata": {
                    "name": "a", "namespace": "b", "resourceVersion": resource_version,
                    "annotations": {"seen": resource_version}, "managedFields": [{"manager": resource_version}],
                },
                "spec": {"nodeName": "n", "containers": [{"name": "app", "image": "app"}]},
                "status": status,
            }),
        )
    }

    #[test]
    fn what_a_kubelet_says_all_the_time_is_no_news() {
        let ready = |when: &str| json!({"type": "Ready", "status": "True", "lastProbeTime": when});
        let status =
            |when: &str, phase| json!({"phase": phase, "podIP": "10.0.0.1", "conditions": [ready(when)]});
        let first = pod("1", &status("2026-01-01T00:00:00Z", "Running"));
        assert_eq!(first, pod("2", &status("2026-01-01T00:00:10Z", "Running")));
        assert_ne!(first, pod("3", &status("2026-01-01T00:00:10Z", "Failed")));
    }

    #[test]
    fn of_all_states_only_health_is_kept() {
        let left = |kind| {
            let mut fields = Map::from_iter([("status".to_owned(), json!({"conditions": []}))]);
            trim(kind, &mut fields);
            fields.contains_key("status")
        };
        assert!(left(Kind::WorkloadEntry) && !left(Kind::VirtualService));
    }

    #[test]
    fn of_a_secret_only_credentials_are_kept() {
        let value = json!({
            "metadata": {"name": "a", "namespace": "b"}, "type": "Opaque",
            "data": {"password": "aHVudGVyMg==", "tls.crt": "Y2VydA=="},
        });
        let Object::Secret(secret) = read_as(Kind::Secret, value) else { panic!("a Secret") };
        assert_eq!(secret.spec.value("tls.crt"), Some(&b"cert"[..]));
        assert_eq!(secret.spec.value("password"), None);
    }

    #[test]
    fn of_the_mesh_settings_all_is_kept() {
        let of = |name: &str| {
            let value = json!({
                "metadata": {"name": name, "namespace": "b"},
                "data": {"mesh": "connectTimeout: 3s", "ca.crt": "root"},
            });
            let watched = WATCHED.into_iter().find(|watched| watched.kind == Kind::ConfigMap).unwrap();
            let read = read(watched, Some("istio"), serde_json::from_value(value).unwrap());
            let config_map = |object: &Object| match object {
                Object::ConfigMap(map) => map.spec.data.keys().cloned().collect::<Vec<_>>(),
                _ => Vec::new(),
            };
            read.objects.iter().flat_map(config_map).collect::<Vec<_>>()
        };
        assert_eq!(of("istio"), ["ca.crt", "mesh"]);
        assert_eq!(of("roots"), ["ca.crt"]);
    }
}
