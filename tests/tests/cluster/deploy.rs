//! What is shipped to a cluster, put to an API server: the chart with every set of values, the one file for K3s, and the
//! rules under which the gateway then runs.

use std::fs;
use std::path::Path;
use std::time::Instant;

use portcullis_tests::cluster::Client;
use portcullis_tests::gateway::{LIMIT, Setup};
use portcullis_tests::helm::{chart, deployed, value_sets};
use portcullis_tests::process::{poll, skipped};
use serde_json::{Value, json};

use super::api_server;

const NAMESPACES: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: edge, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: vault}";

/// A render that is recorded beside its values; `helm.rs` sees to it that it is what Helm makes of them.
fn rendered(name: &str) -> String {
    fs::read_to_string(chart().join(format!("ci/{name}.rendered.yaml"))).expect("a recorded render")
}

/// Installs the kinds of the Prometheus operator; tells whether they are to be had.
fn install_monitors(client: &mut Client) -> bool {
    let Some(sources) = std::env::var_os("PORTCULLIS_TEST_PROMETHEUS_OPERATOR") else {
        skipped("monitors are held against PORTCULLIS_TEST_PROMETHEUS_OPERATOR (cargo xtask test)");
        return false;
    };
    for kind in ["podmonitors", "servicemonitors"] {
        let file = format!("example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml");
        client.apply(&fs::read_to_string(Path::new(&sources).join(file)).expect("a definition"));
        let path = format!("/apis/monitoring.coreos.com/v1/namespaces/default/{kind}");
        let served = || (client.request("GET", &path, "", "").0 == 200).then_some(());
        poll(Instant::now() + LIMIT, served).expect("the definition is served");
    }
    true
}

/// Without the kinds of the Prometheus operator.
fn known(manifest: &str) -> String {
    let documents = manifest.split("\n---");
    let known = documents.filter(|document| !document.contains("apiVersion: monitoring.coreos.com/"));
    known.collect::<Vec<_>>().join("\n---")
}

#[test]
fn the_api_server_accepts_what_is_shipped() {
    let Some((_turn, cluster)) = api_server() else { return };
    let mut client = cluster.client();
    client.apply(NAMESPACES);
    let monitors = install_monitors(&mut client);
    for (name, _) in value_sets() {
        let manifest = if monitors { rendered(&name) } else { known(&rendered(&name)) };
        let made = client.try_out(&manifest);
        assert!(made.len() >= 5, "{name}: {}", made.len());
    }
    let file = fs::read_to_string(deployed("k3s/portcullis.yaml")).expect("the file for K3s");
    assert_eq!(client.try_out(&file).iter().filter(|it| it["kind"] == "CustomResourceDefinition").count(), 5);
    client.apply(&file);
    // Applied again, it changes nothing.
    let versions = |answers: Vec<Value>| -> Vec<Value> {
        answers.into_iter().map(|answer| answer["metadata"]["generation"].clone()).collect()
    };
    let before = versions(client.try_out(&file));
    client.apply(&file);
    assert_eq!(versions(client.try_out(&file)), before);
}

#[test]
fn the_pod_keeps_the_strictest_rules_for_pods() {
    let Some((_turn, cluster)) = api_server() else { return };
    let mut client = cluster.client();
    client.apply(NAMESPACES);
    client.apply(&rendered("restricted"));
    let (status, workload) =
        client.request("GET", "/apis/apps/v1/namespaces/edge/deployments/istio-ingressgateway", "", "");
    assert_eq!(status, 200, "{workload}");
    let mut pod = workload["spec"]["template"].clone();
    let path = "/api/v1/namespaces/edge/pods?dryRun=All";
    let mut create = |pod: &Value| client.request("POST", path, "application/json", &pod.to_string());
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("probe");
    pod["metadata"]["creationTimestamp"] = Value::Null;
    let (status, answer) = create(&pod);
    assert_eq!(status, 201, "{answer}");
    // The rules are in force.
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let (status, answer) = create(&pod);
    assert_eq!(status, 403, "{answer}");
}

#[test]
fn the_roles_of_a_restricted_chart_are_enough() {
    let Some((_turn, cluster)) = api_server() else { return };
    cluster.install_crds();
    cluster.apply(NAMESPACES);
    cluster.apply(&rendered("restricted"));
    let kubeconfig = cluster.kubeconfig_of("edge", "edge");
    // As the chart's variables say it.
    let arguments = ["--kubernetes", "--namespace", "edge", "--watch-namespace", "shop,vault"];
    let gateway = Setup::new("", &[80]).arguments(&arguments).variable("KUBECONFIG", &kubeconfig).start();
    let watches = |state: &str| gateway.samples().sum("portcullis_cluster_watches", &[("state", state)]);
    // Eight kinds in three namespaces, Secrets beside the gateway, ConfigMaps there and the mesh's.
    gateway.await_samples("everything is followed", |samples| {
        samples.sum("portcullis_cluster_watches", &[("state", "following")]) >= 27.0
    });
    assert_eq!((watches("forbidden"), watches("failing")), (0.0, 0.0));
    let log = gateway.errors().to_lowercase();
    assert!(!log.contains("forbidden"), "{log}");
}
