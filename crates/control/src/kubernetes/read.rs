//! What a watch gives, cut down to what is read.

use std::sync::Arc;

use kube::api::{ApiResource, DynamicObject};
use portcullis_api::{Kind, Loaded, Object, ObjectRef, Origin, from_json_value, identity_of};
use serde_json::{Map, Value};

use super::book::Seen;
use super::kinds::{Followed, Watched};
use super::unread::qualified;
use crate::live::Read;
use crate::report::ledger::{Facts, REPORTED};

/// kubectl's copy of what was applied: as large as the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The names under which credentials stand in Secrets and ConfigMaps. No other value is kept.
const CREDENTIALS: &[&str] = &["tls.crt", "tls.key", "ca.crt", "ca.crl", "cert", "key", "cacert", "crl"];
/// Those of them that are private keys.
const PRIVATE: &[&str] = &["tls.key", "key"];
/// What is read of a Pod; the rest is large, and much of it changes all the time.
const OF_POD: &[(&str, &[&str])] =
    &[("spec", &["nodeName", "serviceAccountName"]), ("status", &["phase", "podIP", "podIPs", "conditions"])];

/// What of an object is needed beside what is compiled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Keep {
    /// What its status and Events are written with.
    pub(super) facts: bool,
    /// Its text, for the last good state.
    pub(super) text: bool,
}

/// How objects of a watch are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) watched: Watched,
    pub(super) resource: &'a Arc<ApiResource>,
    /// The object of which all data are kept.
    pub(super) whole: Option<&'a str>,
    pub(super) keep: Keep,
}

/// Reads an object. What changes without meaning anything here goes first, so that it is no news.
pub(super) fn read(reading: Reading<'_>, mut object: DynamicObject) -> Seen {
    let Reading { watched, resource, whole, keep } = reading;
    let reference = reference(watched, &object);
    let facts = (keep.facts && is_reported(watched.kind)).then(|| facts(resource, &mut object));
    trim_metadata(watched.kind, &mut object);
    if let (Value::Object(fields), Followed::Read(kind)) = (&mut object.data, watched.kind)
        && whole != Some(reference.name.as_str())
    {
        trim(kind, fields);
    }
    // A list gives items without their type.
    object.types = Some(kube::api::TypeMeta {
        api_version: match watched.group {
            "" => watched.versions[0].to_owned(),
            group => format!("{group}/{}", watched.versions[0]),
        },
        kind: watched.kind.name().to_owned(),
    });
    // It was JSON a moment ago.
    let value = serde_json::to_value(object).unwrap_or_default();
    let text = match watched.kind {
        Followed::Read(kind) if keep.text => Some(text(kind, &value)),
        _ => None,
    };
    let Loaded { objects, findings, .. } = match watched.kind {
        Followed::Read(_) => from_json_value(Origin::CLUSTER, value),
        // Some objects of a kind may be read and others not, so the kind does not tell.
        Followed::Unread(_) => {
            Loaded { objects: identity_of(Origin::CLUSTER, value).into_iter().collect(), ..Loaded::default() }
        }
    };
    let facts = facts.map(|facts| with_gateways(facts, &objects));
    Seen { read: Read { object: reference, objects, findings }, facts, text }
}

/// The text of an object as it is saved. ConfigMaps are saved in clear, and nothing asks one for a private key.
fn text(kind: Kind, value: &Value) -> Arc<str> {
    if kind != Kind::ConfigMap {
        return value.to_string().into();
    }
    let mut value = value.clone();
    if let Some(Value::Object(data)) = value.get_mut("data") {
        data.retain(|name, _| !PRIVATE.contains(&name.as_str()));
    }
    value.to_string().into()
}

/// Whether objects of the kind get a status or Events.
fn is_reported(kind: Followed) -> bool {
    match kind {
        Followed::Read(kind) => REPORTED.contains(&kind),
        Followed::Unread(_) => true,
    }
}

fn facts(resource: &Arc<ApiResource>, object: &mut DynamicObject) -> Facts {
    let meta = &object.metadata;
    Facts {
        resource: Arc::clone(resource),
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or_default(),
        version: meta.resource_version.clone().unwrap_or_default(),
        status: object.data.get_mut("status").map(Value::take).unwrap_or_default(),
        usable: false,
        gateways: Vec::new(),
        unbound: false,
    }
}

/// Adds what stands in the object itself.
fn with_gateways(mut facts: Facts, objects: &[Object]) -> Facts {
    facts.usable = !objects.is_empty();
    for object in objects {
        if let Object::VirtualService(service) = object {
            let own = &service.meta.namespace;
            let name = |reference: &String| match reference.split_once('/') {
                Some((".", name)) => (own.clone(), name.to_owned()),
                Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
                None => (own.clone(), reference.clone()),
            };
            let real = service.spec.gateways.iter().filter(|name| *name != "mesh");
            facts.gateways = real.map(name).collect();
            facts.unbound = service.spec.gateways.is_empty();
        }
    }
    facts
}

/// Which object it is.
pub(super) fn reference(watched: Watched, object: &DynamicObject) -> ObjectRef {
    ObjectRef {
        kind: match watched.kind {
            Followed::Read(kind) => kind.name().into(),
            Followed::Unread(kind) => qualified(watched.group, kind),
        },
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

fn trim_metadata(kind: Followed, object: &mut DynamicObject) {
    let meta = &mut object.metadata;
    meta.managed_fields = None;
    meta.resource_version = None;
    meta.self_link = None;
    meta.finalizers = None;
    let routing = matches!(kind, Followed::Read(kind) if !matches!(kind, Kind::Pod | Kind::EndpointSlice | Kind::Secret | Kind::ConfigMap));
    if !routing {
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
            if let Some(Value::Array(conditions)) =
                fields.get_mut("status").and_then(|status| status.get_mut("conditions"))
            {
                // The others change as often, and nobody asks for them.
                conditions.retain(|condition| condition["type"] == "Ready");
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
    use serde_json::json;

    use super::super::kinds::{READ, UNREAD};
    use super::*;

    fn see(watched: Watched, value: serde_json::Value) -> Seen {
        let resource = ApiResource {
            group: watched.group.to_owned(),
            version: "v1".to_owned(),
            api_version: format!("{}/v1", watched.group),
            kind: watched.kind.name().to_owned(),
            plural: watched.plural.to_owned(),
        };
        let keep = Keep { facts: true, text: true };
        let reading = Reading { watched, resource: &Arc::new(resource), whole: Some("istio"), keep };
        read(reading, serde_json::from_value(value).unwrap())
    }

    fn see_as(kind: Kind, value: serde_json::Value) -> Seen {
        see(READ.into_iter().find(|watched| watched.kind == Followed::Read(kind)).unwrap(), value)
    }

    fn read_as(kind: Kind, value: serde_json::Value) -> Object {
        let mut read = see_as(kind, value).read;
        assert_eq!(read.findings, []);
        read.objects.remove(0)
    }

    #[test]
    fn what_a_status_is_written_with_is_kept_beside_the_object() {
        let value = json!({
            "metadata": {"name": "a", "namespace": "b", "uid": "u", "generation": 3, "resourceVersion": "7"},
            "spec": {"hosts": ["a.test"], "gateways": ["mesh", "gw", "./own", "other/gw"]},
            "status": {"observedGeneration": 2},
        });
        let seen = see_as(Kind::VirtualService, value);
        let facts = seen.facts.expect("facts");
        assert_eq!((facts.uid.as_str(), facts.generation, facts.version.as_str()), ("u", 3, "7"));
        assert_eq!(
            (facts.usable, facts.unbound, &facts.status["observedGeneration"]),
            (true, false, &json!(2))
        );
        let gateways = [("b", "gw"), ("b", "own"), ("other", "gw")];
        assert_eq!(facts.gateways, gateways.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())));
        // What is kept on disk is what was read: without its state, and without its version.
        let text = seen.text.expect("text");
        assert!(text.contains("a.test") && !text.contains("observedGeneration"), "{text}");
    }

    #[test]
    fn no_private_key_is_saved_in_clear() {
        let value = json!({
            "metadata": {"name": "a", "namespace": "b"},
            "data": {"ca.crt": "root", "tls.key": "hunter2", "key": "hunter2"},
        });
        let text = see_as(Kind::ConfigMap, value).text.expect("text");
        assert!(text.contains("root") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn of_a_kind_that_is_not_read_only_the_identity_is_kept() {
        let policy = UNREAD.into_iter().find(|watched| watched.kind.name() == "AuthorizationPolicy").unwrap();
        let metadata = json!({"name": "a", "namespace": "b", "uid": "u", "annotations": {"large": "text"}});
        // As the API server gives it where only metadata are asked for.
        let value =
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
        let seen = see(policy, value);
        let Object::Unsupported(object) = &seen.read.objects[0] else { panic!("{seen:?}") };
        assert_eq!((object.api_group(), &*object.kind), ("security.istio.io", "AuthorizationPolicy"));
        assert!(object.meta.annotations.is_empty() && seen.text.is_none() && seen.facts.is_some());
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
        let is = |what: &str, status: &str, when: &str| json!({"type": what, "status": status, "lastProbeTime": when});
        let status = |when: &str, phase| {
            let conditions = [is("Ready", "True", when), is("Initialized", when, when)];
            json!({"phase": phase, "podIP": "10.0.0.1", "conditions": conditions})
        };
        let first = pod("1", &status("2026-01-01T00:00:00Z", "Running"));
        assert_eq!(first, pod("2", &status("2026-01-01T00:00:10Z", "Running")));
        assert_ne!(first, pod("3", &status("2026-01-01T00:00:10Z", "Failed")));
        let unready =
            json!({"phase": "Running", "podIP": "10.0.0.1", "conditions": [is("Ready", "False", "")]});
        assert_ne!(first, pod("4", &unready));
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
            let read = see_as(Kind::ConfigMap, value).read;
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
