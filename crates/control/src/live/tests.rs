//! News of watches, in the orders in which they come.

use portcullis_api::from_json_value;
use serde_json::json;

use super::*;

fn scope(kind: Kind, namespace: Option<&str>) -> Scope {
    Scope { kind, namespace: namespace.map(Arc::from) }
}

fn service(namespace: &str, name: &str, port: i64) -> Read {
    read(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": [{"port": port}]},
    }))
}

fn read(value: serde_json::Value) -> Read {
    let text = |path: &str| value.pointer(path).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    let object = ObjectRef {
        kind: text("/kind").into(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
    };
    let loaded = from_json_value("cluster", value);
    Read { object, objects: loaded.objects, findings: loaded.findings }
}

fn tell(live: &mut Live, namespace: Option<&str>, change: Change) -> bool {
    live.apply(Event { scope: scope(Kind::Service, namespace), change })
}

fn services(live: &Live) -> Vec<String> {
    let names = live.objects().names(Kind::Service);
    names.into_iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect()
}

fn codes(live: &Live) -> Vec<&'static str> {
    live.notices().map(|notice| notice.code).collect()
}

#[test]
fn a_list_replaces_everything_of_its_scope_and_nothing_else() {
    let mut live = Live::new([scope(Kind::Service, Some("a")), scope(Kind::Service, Some("b"))]);
    assert!(!live.is_synced());
    assert!(tell(
        &mut live,
        Some("a"),
        Change::Listed(vec![service("a", "one", 80), service("a", "two", 80)])
    ));
    assert_eq!(live.awaited().count(), 1);
    let states = [("awaited", 1), ("failing", 0), ("following", 1), ("forbidden", 0), ("not_installed", 0)];
    assert_eq!(live.states(), states.into());
    assert!(tell(&mut live, Some("b"), Change::Listed(vec![service("b", "one", 80)])));
    assert!(live.is_synced());
    // After a restart of the API server everything is listed again: no news.
    assert!(!tell(&mut live, Some("b"), Change::Listed(vec![service("b", "one", 80)])));
    assert!(tell(&mut live, Some("a"), Change::Listed(vec![service("a", "two", 81)])));
    assert_eq!(services(&live), ["a/two", "b/one"]);
}

#[test]
fn single_objects_come_change_and_go() {
    let mut live = Live::default();
    assert!(tell(&mut live, None, Change::Listed(Vec::new())) || live.is_synced());
    assert!(tell(&mut live, None, Change::Applied(service("a", "one", 80))));
    assert!(!tell(&mut live, None, Change::Applied(service("a", "one", 80))), "the same");
    assert!(tell(&mut live, None, Change::Applied(service("a", "one", 81))));
    let gone = || Change::Deleted { namespace: "a".to_owned(), name: "one".to_owned() };
    assert!(tell(&mut live, None, gone()));
    assert!(!tell(&mut live, None, gone()));
    assert!(live.objects().is_empty());
}

#[test]
fn what_cannot_be_used_keeps_its_last_good_version_and_says_so() {
    let mut live = Live::default();
    let broken = || {
        read(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "one", "namespace": "a"},
            "spec": {"ports": "eighty"},
        }))
    };
    tell(&mut live, None, Change::Listed(vec![service("a", "one", 80)]));
    assert!(tell(&mut live, None, Change::Applied(broken())));
    assert_eq!(services(&live), ["a/one"]);
    assert_eq!(codes(&live).last(), Some(&"KeptLastGood"));
    assert!(!tell(&mut live, None, Change::Applied(broken())), "nothing new");
    assert!(tell(&mut live, None, Change::Applied(service("a", "one", 80))));
    assert!(codes(&live).is_empty());
}

#[test]
fn a_cluster_that_cannot_be_asked_is_no_empty_cluster() {
    let mut live = Live::new([scope(Kind::Service, None)]);
    assert!(tell(&mut live, None, Change::Failing("connection refused".to_owned())));
    assert!(!live.is_synced());
    tell(&mut live, None, Change::Listed(vec![service("a", "one", 80)]));
    assert!(codes(&live).is_empty());
    assert!(tell(&mut live, None, Change::Failing("connection refused".to_owned())));
    assert!(!tell(&mut live, None, Change::Failing("connection reset".to_owned())), "still failing");
    assert_eq!((services(&live), codes(&live)), (vec!["a/one".to_owned()], vec!["WatchFailing"]));
    assert!(live.is_synced());
    // A watch that goes on where it was has news, and so it works.
    tell(&mut live, None, Change::Applied(service("a", "one", 80)));
    assert!(codes(&live).is_empty());
}

#[test]
fn a_kind_that_is_not_there_is_not_waited_for() {
    let mut live = Live::new([scope(Kind::Service, None)]);
    assert!(tell(&mut live, None, Change::Absent(Absence::NotInstalled)));
    assert!(live.is_synced());
    assert!(!tell(&mut live, None, Change::Absent(Absence::NotInstalled)));
    tell(&mut live, None, Change::Listed(vec![service("a", "one", 80)]));
    // Rights that were taken away take nothing else away; a kind that was does.
    assert!(tell(&mut live, None, Change::Absent(Absence::Forbidden("no".to_owned()))));
    assert_eq!((services(&live).len(), codes(&live)), (1, vec!["WatchForbidden"]));
    assert!(tell(&mut live, None, Change::Absent(Absence::NotInstalled)));
    assert!(services(&live).is_empty());
}

#[test]
fn the_mesh_settings_go_with_their_config_map() {
    let mut live = Live::default();
    let config_map = read(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": "connectTimeout: 3s\n"},
    }));
    let change = |change| Event { scope: scope(Kind::ConfigMap, Some("istio-system")), change };
    live.apply(change(Change::Listed(vec![config_map])));
    assert_eq!((live.objects().count(Kind::MeshConfig), live.objects().count(Kind::ConfigMap)), (1, 1));
    assert!(live.apply(change(Change::Listed(Vec::new()))));
    assert!(live.objects().is_empty());
}
