//! The definitions that `portcullis crds` prints, beside Istio's own: the same kinds under the same names with the same
//! fields, so that either may be there, or come later.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use portcullis_tests::cluster::Client;
use portcullis_tests::gateway::binary;
use portcullis_tests::yaml::{documents, istio, texts};
use serde_json::{Value, json};

use super::api_server;

/// Istio's definitions and ours, by name; those of ours alone are compared.
fn both() -> Option<(BTreeMap<String, Value>, BTreeMap<String, Value>)> {
    let theirs = istio()?.join("manifests/charts/base/files/crd-all.gen.yaml");
    let theirs = documents(&fs::read_to_string(theirs).expect("Istio's definitions"))?;
    let printed = Command::new(binary()).arg("crds").output().expect("the gateway prints definitions");
    let ours = documents(&String::from_utf8_lossy(&printed.stdout))?;
    let named = |all: Vec<Value>| -> BTreeMap<String, Value> {
        all.into_iter().map(|it| (it["metadata"]["name"].as_str().expect("a name").to_owned(), it)).collect()
    };
    Some((named(theirs), named(ours)))
}

/// What of a version shows outside of its schema.
fn face(version: &Value) -> Value {
    let columns = version["additionalPrinterColumns"].as_array().into_iter().flatten();
    let columns = columns.map(|it| json!([it["name"], it["type"], it["jsonPath"]]));
    let columns = columns.collect::<Vec<_>>();
    json!([version["served"], version["storage"], version["subresources"], columns])
}

/// Every field of a schema by path, with what it takes.
fn fields(schema: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    let kept = [
        "type",
        "format",
        "enum",
        "required",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "maxProperties",
        "pattern",
        "default",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    ];
    let taken: serde_json::Map<String, Value> =
        kept.iter().filter_map(|key| Some(((*key).to_owned(), in_order(schema.get(*key)?)))).collect();
    found.insert(path.to_owned(), taken.into());
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        fields(child, &format!("{path}.{name}"), found);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
        if schema[key].is_object() {
            fields(&schema[key], &format!("{path}{mark}"), found);
        }
    }
}

/// The order of words says nothing.
fn in_order(value: &Value) -> Value {
    let Value::Array(words) = value else { return value.clone() };
    let words: BTreeSet<String> = words.iter().map(ToString::to_string).collect();
    json!(words)
}

#[test]
fn definitions_are_istio_s_in_all_that_shows() {
    let Some((theirs, ours)) = both() else { return };
    for (name, ours) in &ours {
        let theirs = theirs.get(name).unwrap_or_else(|| panic!("Istio has no {name}"));
        for key in ["group", "scope", "names"] {
            assert_eq!(ours["spec"][key], theirs["spec"][key], "{name} {key}");
        }
        let versions = |definition: &Value| -> BTreeMap<String, Value> {
            let all = definition["spec"]["versions"].as_array().expect("versions");
            all.iter().map(|it| (it["name"].as_str().expect("a name").to_owned(), it.clone())).collect()
        };
        let (ours, theirs) = (versions(ours), versions(theirs));
        assert!(ours.keys().eq(theirs.keys()), "{name}");
        for (version, ours) in &ours {
            assert_eq!(face(ours), face(&theirs[version]), "{name} {version}");
            let spec = |version: &Value| {
                let mut found = BTreeMap::new();
                fields(&version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec", &mut found);
                found
            };
            let ours = spec(ours);
            for (path, takes) in spec(&theirs[version]) {
                assert_eq!(ours.get(&path), Some(&takes), "{name} {version} {path}");
            }
        }
    }
}

/// Applies an object of a routing kind, or asks what would come of it.
fn apply(client: &mut Client, object: &Value, options: &str) -> Result<(), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let plural = match text(&object["kind"]).as_str() {
        "ServiceEntry" => "serviceentries".to_owned(),
        "WorkloadEntry" => "workloadentries".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let (version, name) = (text(&object["apiVersion"]), text(&object["metadata"]["name"]));
    let path = format!("/apis/{version}/namespaces/default/{plural}/{name}?fieldManager=test{options}");
    let (status, answer) =
        client.request("PATCH", &path, "application/apply-patch+yaml", &object.to_string());
    if matches!(status, 200 | 201) { Ok(()) } else { Err(format!("{version} {name}: {answer}")) }
}

/// Every routing object among Istio's samples, put into one namespace.
fn samples() -> Option<Vec<Value>> {
    const KINDS: [&str; 5] =
        ["Gateway", "VirtualService", "DestinationRule", "ServiceEntry", "WorkloadEntry"];
    let texts = texts(&istio()?.join("samples"));
    let routing = texts.iter().flat_map(|text| text.split("\n---")).filter(|document| {
        // Templates of charts are no YAML yet.
        document.contains("networking.istio.io/") && !document.contains("{{")
    });
    let mut objects = documents(&routing.collect::<Vec<_>>().join("\n---\n"))?;
    objects.retain(|it| {
        let istio = it["apiVersion"].as_str().is_some_and(|it| it.starts_with("networking.istio.io/"));
        istio
            && it["kind"].as_str().is_some_and(|kind| KINDS.contains(&kind))
            && it["metadata"]["name"].is_string()
    });
    for object in &mut objects {
        object["metadata"]["namespace"] = json!("default");
    }
    Some(objects)
}

#[test]
fn istio_s_samples_are_accepted_by_both_and_either_follows_the_other() {
    let (Some((theirs, _)), Some(samples)) = (both(), samples()) else { return };
    let Some((_turn, cluster)) = api_server() else { return };
    assert!(samples.len() > 50, "{} samples", samples.len());
    let mut client = cluster.client();
    let mut all = |what: &str| {
        let would = |object| apply(&mut client, object, "&dryRun=All&fieldValidation=Strict").err();
        let refused: Vec<String> = samples.iter().filter_map(would).collect();
        assert!(refused.is_empty(), "{what}: {refused:#?}");
    };
    cluster.install_crds();
    all("our definitions");
    // An object is stored, and read in each version whoever's definition is there.
    let object = samples.iter().find(|it| it["kind"] == "VirtualService").expect("a VirtualService").clone();
    let name = object["metadata"]["name"].as_str().expect("a name");
    assert_eq!(apply(&mut cluster.client(), &object, ""), Ok(()));
    let stored = |what: &str| {
        let mut client = cluster.client();
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let path =
                format!("/apis/networking.istio.io/{version}/namespaces/default/virtualservices/{name}");
            let (status, answer) = client.request("GET", &path, "", "");
            assert_eq!((status, &answer["spec"]), (200, &object["spec"]), "{what} {version}");
        }
    };
    stored("our definitions");
    let install = |definitions: &BTreeMap<String, Value>| {
        let mut client = cluster.client();
        for (name, definition) in definitions {
            let path = format!(
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}?fieldManager=istio&force=true"
            );
            let content = "application/apply-patch+yaml";
            let (status, answer) = client.request("PATCH", &path, content, &definition.to_string());
            assert!(matches!(status, 200 | 201), "{name}: {answer}");
        }
    };
    install(&theirs);
    all("Istio's definitions over ours");
    stored("Istio's definitions over ours");
    cluster.install_crds();
    all("our definitions over Istio's");
    stored("our definitions over Istio's");
}
