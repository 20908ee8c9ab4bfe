//! What is written back: status, Events and the Lease of the writer, with the rights that the gateway is deployed with.

use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_tests::cluster::{ApiServer, namespace_address};
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{gateway, routes, service, slices, to};
use portcullis_tests::objects::destination_rule;
use portcullis_tests::process::poll;
use portcullis_tests::upstream::{Upstream, ok};
use serde_json::{Value, json};

use crate::{any_cluster, api_server, await_answer, await_following};

/// A killed writer's Lease runs out after 15 s; the others look every two.
const TAKEN_OVER: Duration = Duration::from_secs(40);
/// A writer that ends gives its Lease back, so nobody waits for that.
const HANDED_OVER: Duration = Duration::from_secs(10);

/// Addresses of the objects that these tests write.
const GATEWAY: &str = "/apis/networking.istio.io/v1/namespaces/istio-system/gateways/gw";
const ROUTES: &str = "/apis/networking.istio.io/v1/namespaces/default/virtualservices";
const RULE: &str = "/apis/networking.istio.io/v1/namespaces/default/destinationrules/app";
const ENTRY: &str = "/apis/networking.istio.io/v1/namespaces/default/serviceentries/far";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn reporting(cluster: &ApiServer, kubeconfig: &Path) -> Gateway {
    let setup = Setup::new("", &[80]).arguments(&[
        "--kubernetes",
        "--write-status",
        "--log",
        "info,portcullis_control::report=debug",
    ]);
    cluster.place(setup.variable("KUBECONFIG", kubeconfig)).start()
}

fn read(cluster: &ApiServer, path: &str) -> Value {
    let (status, object) = cluster.client().request("GET", path, "", "");
    assert_eq!(status, 200, "{path}: {object}");
    object
}

/// The condition of a type.
fn condition(object: &Value, kind: &str) -> Value {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|found| found["type"] == kind).cloned().unwrap_or_default()
}

/// Waits until an object is as wanted.
fn await_object(cluster: &ApiServer, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = poll(Instant::now() + LIMIT, || Some(read(cluster, path)).filter(|found| wanted(found)));
    found.unwrap_or_else(|| panic!("{path}: {:#}", read(cluster, path)["status"]))
}

fn served_by(count: usize) -> impl Fn(&Value) -> bool {
    move |object| {
        let (generation, programmed) = (&object["metadata"]["generation"], condition(object, "Programmed"));
        programmed["status"] == "True"
            && programmed["observedGeneration"] == *generation
            && programmed["message"]
                == format!("generation {generation} is served by {count} of {count} replicas")
    }
}

fn statuses(gateway: &Gateway) -> f64 {
    gateway.samples().sum("portcullis_reporting_writes_total", &[("object", "status"), ("result", "done")])
}

/// Waits until a gateway has counted so many: a status is there a moment before its writer hears so.
fn await_statuses(gateway: &Gateway, count: f64) {
    poll(Instant::now() + LIMIT, || (statuses(gateway) == count).then_some(()))
        .unwrap_or_else(|| panic!("{} statuses instead of {count}", statuses(gateway)));
}

fn leads(gateway: &Gateway) -> bool {
    gateway.samples().sum("portcullis_reporting_leader", &[]) == 1.0
}

/// Waits until one of them is the writer, and knows so many replicas; gives its position.
fn await_leader(gateways: &[Gateway], replicas: usize, limit: Duration) -> usize {
    let found = poll(Instant::now() + limit, || {
        gateways.iter().position(|gateway| {
            let samples = gateway.samples();
            samples.sum("portcullis_reporting_leader", &[]) == 1.0
                && samples.sum("portcullis_reporting_replicas", &[]) == replicas as f64
        })
    });
    found.unwrap_or_else(|| panic!("no writer of {replicas}: {}", gateways[0].errors()))
}

/// No right was missing.
fn assert_allowed(gateway: &Gateway) {
    let log = gateway.errors().to_lowercase();
    assert!(!log.contains("forbidden") && !log.contains("code=403"), "{log}");
    assert!(!gateway.page("Admin", "/diagnostics").text().contains("Forbidden"));
}

fn entry() -> &'static str {
    "
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: default}
spec: {hosts: [far.test], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 192.0.2.1}]}"
}

#[test]
fn a_status_is_written_once_by_one_of_three_replicas_and_the_next_one_goes_on() {
    // Writes are counted, and somebody's cluster has other objects.
    let Some((_turn, cluster)) = api_server() else { return };
    let address = namespace_address();
    let (one, two) = (Upstream::serve_on(address, |_| ok("one")), Upstream::serve_on(address, |_| ok("two")));
    let kubeconfig = cluster.account();
    cluster.install_crds();
    let mut gateways: Vec<Gateway> = (0..3).map(|_| reporting(&cluster, &kubeconfig)).collect();
    let leader = await_leader(&gateways, 3, LIMIT);
    // A kind that one of them picks up later is told as not served by all meanwhile.
    gateways.iter().for_each(await_following);
    assert_eq!(gateways.iter().filter(|gateway| leads(gateway)).count(), 1);

    // What others name comes first, so nothing is wrong in between.
    let balanced = destination_rule("app", "{loadBalancer: {simple: RANDOM}}");
    cluster.apply(&(service("app", "http", &[one.address()]) + &balanced + entry()));
    cluster.apply(&(gateway() + &routes("app", &["*"], &[to("app", "")])));
    let route = format!("{ROUTES}/app");
    for path in [GATEWAY, &route, RULE, ENTRY] {
        let object = await_object(&cluster, path, served_by(3));
        assert_eq!(condition(&object, "Accepted")["status"], "True", "{object:#}");
        assert_eq!(
            (&object["metadata"]["generation"], &object["status"]["observedGeneration"]),
            (&json!(1), &json!(1))
        );
        // What the gateway wrote is the status and nothing else.
        let managers = object["metadata"]["managedFields"].as_array().expect("managers");
        let own: Vec<&Value> = managers.iter().filter(|manager| manager["manager"] == "portcullis").collect();
        assert!(own.len() == 1 && own[0]["subresource"] == "status", "{managers:#?}");
    }
    // Something that concerns no status: once it is served, everything else has been looked at, too.
    cluster.apply(&slices("app", "http", &[two.address()]));
    for gateway in &gateways {
        await_answer("the endpoint has changed", gateway, "a.test", |answer| answer.text() == "two");
    }
    await_statuses(&gateways[leader], 4.0);
    let written: Vec<f64> = gateways.iter().map(statuses).collect();
    assert_eq!(written.iter().sum::<f64>(), 4.0, "once each, by one writer: {written:?}");

    // It ends in order.
    gateways.iter().for_each(assert_allowed);
    let mut ending = gateways.remove(leader);
    let start = Instant::now();
    ending.terminate();
    ending.ended(LIMIT);
    let leader = await_leader(&gateways, 2, HANDED_OVER);
    println!("handed over after {:?}", start.elapsed());
    // What the first one wrote is left as it is, but for the number of replicas of the Gateway.
    await_object(&cluster, GATEWAY, served_by(2));
    await_statuses(&gateways[leader], 1.0);

    // It is killed.
    drop(gateways.remove(leader));
    let start = Instant::now();
    let leader = poll(Instant::now() + TAKEN_OVER, || gateways.iter().position(leads)).expect("a new writer");
    println!("taken over after {:?}", start.elapsed());
    cluster.apply(&routes("more", &["b.test"], &[to("app", "")]));
    await_object(&cluster, &format!("{ROUTES}/more"), |object| {
        condition(object, "Accepted")["status"] == "True"
    });
    assert_allowed(&gateways[leader]);
}

/// Writes one condition as another controller does.
fn write_condition(cluster: &ApiServer, path: &str, kind: &str) {
    let patch = json!({"status": {"conditions": [{"type": kind, "status": "True"}]}}).to_string();
    let path = format!("{path}/status");
    let (status, answer) = cluster.client().request("PATCH", &path, "application/merge-patch+json", &patch);
    assert_eq!(status, 200, "{answer}");
}

/// Codes of an object's validation messages.
fn codes(object: &Value) -> Vec<String> {
    let messages = object["status"]["validationMessages"].as_array().into_iter().flatten();
    messages.filter_map(|message| message["type"]["code"].as_str().map(str::to_owned)).collect()
}

#[test]
fn findings_are_written_to_their_objects_and_taken_back() {
    let Some((_turn, cluster)) = any_cluster() else { return };
    let upstream = Upstream::serve_on(namespace_address(), |_| ok("app"));
    let kubeconfig = cluster.account();
    cluster.install_crds();
    cluster.apply(&(gateway() + &service("app", "http", &[upstream.address()])));
    cluster.apply(&routes("lost", &["a.test"], &[to("nowhere", "")]));
    cluster.apply(&routes("older", &["b.test"], &[to("app", "")]));
    cluster.apply(&routes("younger", &["b.test"], &[to("app", "")]));
    let of_other =
        gateway().replace("name: gw", "name: other").replace("istio: ingressgateway", "istio: other");
    cluster.apply(&of_other);
    let (lost, younger) = (format!("{ROUTES}/lost"), format!("{ROUTES}/younger"));
    write_condition(&cluster, &lost, "Reconciled");
    let gateway = reporting(&cluster, &kubeconfig);

    let object = await_object(&cluster, &lost, |object| codes(object) == ["IST0101"]);
    let refs = condition(&object, "ResolvedRefs");
    assert_eq!((&refs["status"], &refs["reason"]), (&json!("False"), &json!("ReferencedResourceNotFound")));
    assert!(refs["message"].as_str().is_some_and(|text| text.contains("nowhere")), "{refs}");
    assert_eq!(condition(&object, "Reconciled")["status"], "True", "another one's");
    let object =
        await_object(&cluster, &younger, |object| condition(object, "Conflicted")["status"] == "True");
    assert!(codes(&object).contains(&"PCL1041".to_owned()), "{object:#}");
    // The older one keeps the host, and another gateway's Gateway is that one's business.
    await_object(&cluster, &format!("{ROUTES}/older"), |object| {
        condition(object, "Conflicted").is_null() && served_by(1)(object)
    });
    assert_eq!(object_status(&cluster, "other"), Value::Null);

    let told = |reason: &str| {
        let events = read(&cluster, EVENTS);
        let events = events["items"].as_array().cloned().unwrap_or_default();
        events.into_iter().find(|event| event["reason"] == reason)
    };
    let event = poll(Instant::now() + LIMIT, || told("ReferencedResourceNotFound")).expect("an Event");
    assert_eq!((&event["regarding"]["name"], &event["type"]), (&json!("lost"), &json!("Warning")));

    // Both are mended.
    cluster.apply(&routes("lost", &["a.test"], &[to("app", "")]));
    cluster.delete("VirtualService", "default", "older");
    let object = await_object(&cluster, &lost, |object| codes(object).is_empty() && served_by(1)(object));
    assert_eq!(condition(&object, "ResolvedRefs")["status"], "True");
    assert_eq!(condition(&object, "Reconciled")["status"], "True", "another one's");
    await_object(&cluster, &younger, |object| {
        condition(object, "Conflicted").is_null() && codes(object).is_empty()
    });
    assert_allowed(&gateway);
}

fn object_status(cluster: &ApiServer, gateway: &str) -> Value {
    read(cluster, &GATEWAY.replace("/gw", &format!("/{gateway}")))["status"].clone()
}

/// A kind that is not read, as far as a test needs it.
const POLICIES: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: authorizationpolicies.security.istio.io}
spec:
  group: security.istio.io
  scope: Namespaced
  names: {kind: AuthorizationPolicy, plural: authorizationpolicies, singular: authorizationpolicy}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";

#[test]
fn a_policy_that_is_not_enforced_is_told_of() {
    let Some((_turn, cluster)) = api_server() else { return };
    let kubeconfig = cluster.account();
    cluster.install_crds();
    cluster.apply(POLICIES);
    let policies = "/apis/security.istio.io/v1/namespaces/default/authorizationpolicies";
    let served = || (cluster.client().request("GET", policies, "", "").0 == 200).then_some(());
    poll(Instant::now() + LIMIT, served).expect("the definition is served");
    let policy = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "nobody"},
        "spec": {"action": "DENY"},
    });
    let (status, answer) =
        cluster.client().request("POST", policies, "application/json", &policy.to_string());
    assert_eq!(status, 201, "{answer}");
    let gateway = reporting(&cluster, &kubeconfig);
    gateway.await_samples("it is told of", |samples| {
        samples.sum("portcullis_diagnostics", &[("code", "PCL1019")]) == 1.0
    });
    assert!(gateway.page("Admin", "/diagnostics").text().contains("AuthorizationPolicy default/nobody"));
    let told = || {
        let events = read(&cluster, EVENTS)["items"].as_array().cloned().unwrap_or_default();
        events.into_iter().find(|event| event["regarding"]["name"] == "nobody")
    };
    assert_eq!(poll(Instant::now() + LIMIT, told).expect("an Event")["reason"], "PolicyNotEnforced");
    // Once it is gone there is nothing more to say.
    let (status, answer) = cluster.client().request("DELETE", &format!("{policies}/nobody"), "", "");
    assert_eq!(status, 200, "{answer}");
    gateway.await_samples("it is gone", |samples| {
        samples.sum("portcullis_diagnostics", &[("code", "PCL1019")]) == 0.0
    });
    // Every watch was heard of a moment ago.
    let samples = gateway.samples();
    assert!(samples.sum("portcullis_cluster_watch_age_seconds", &[("kind", "AuthorizationPolicy")]) < 60.0);
    assert!(samples.sum("portcullis_configuration_age_seconds", &[]) < 150.0);
    assert_allowed(&gateway);
}
