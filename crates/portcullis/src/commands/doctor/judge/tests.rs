//! A cluster in which all is well, and every way in which it is not.

use std::time::{Duration, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::facts::{Credential, CredentialState, Right};
use super::*;

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a fact")
}

fn all<T: DeserializeOwned>(values: Value) -> Seen<T> {
    Seen::All(of(values), 0)
}

fn service(name: &str, ports: &[u16], address: Option<&str>) -> Value {
    let ports: Vec<Value> = ports.iter().map(|port| json!({"port": port})).collect();
    let ingress: Vec<Value> = address.iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": ports},
        "status": {"loadBalancer": {"ingress": ingress}},
    })
}

fn gateway_service(address: Option<&str>) -> Value {
    let mut service = service("istio-ingressgateway", &[15021, 80, 443, 5432], address);
    service["metadata"]["namespace"] = json!("istio-system");
    service["spec"]["selector"] = json!({"app": "istio-ingressgateway", "istio": "ingressgateway"});
    service
}

fn pod(name: &str, labels: Value, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "istio-system"},
        "spec": {"serviceAccountName": "istio-ingressgateway", "containers": [{}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    });
    pod["metadata"]["labels"] = labels;
    pod
}

fn gateway_pod(ready: bool) -> Value {
    pod("gw-1", json!({"app": "istio-ingressgateway", "istio": "ingressgateway", "pool": "a"}), ready)
}

fn balancer_pod() -> Value {
    let labels = json!({
        "svccontroller.k3s.cattle.io/svcname": "istio-ingressgateway",
        "svccontroller.k3s.cattle.io/svcnamespace": "istio-system",
    });
    let mut pod = pod("svclb-istio-ingressgateway-0a1b2c3d-xyz", labels, true);
    pod["metadata"]["namespace"] = json!("kube-system");
    pod["spec"]["containers"] = json!([{"ports": [{"hostPort": 80}, {"hostPort": 443}]}]);
    pod
}

fn gateway(selector: Value, annotations: Value) -> Value {
    let mut gateway = json!({
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {"servers": [{"tls": {"mode": "SIMPLE", "credentialName": "shop"}}]},
    });
    gateway["metadata"]["annotations"] = annotations;
    gateway["spec"]["selector"] = selector;
    gateway
}

fn node(name: &str, labels: Value) -> Value {
    let mut node = json!({
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    });
    node["metadata"]["labels"] = labels;
    node
}

fn webhooks(name: &str, policy: &str) -> Value {
    json!([{
        "metadata": {"name": name},
        "webhooks": [{
            "failurePolicy": policy,
            "clientConfig": {"service": {"namespace": "istio-system", "name": "istiod"}},
            "rules": [{"apiGroups": ["networking.istio.io", "security.istio.io"], "resources": ["*"]}],
        }],
    }])
}

fn well() -> Facts {
    let kinds = ["gateways", "virtualservices", "destinationrules", "serviceentries", "workloadentries"];
    let kinds: std::collections::BTreeSet<String> = kinds.map(str::to_owned).into();
    Facts {
        now: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        namespace: "istio-system".to_owned(),
        name: "istio-ingressgateway".to_owned(),
        services: all(json!([gateway_service(Some("192.0.2.1"))])),
        pods: all(json!([gateway_pod(true), balancer_pod()])),
        nodes: all(json!([node("a", json!({}))])),
        gateways: all(json!([gateway(json!({"istio": "ingressgateway"}), json!({}))])),
        credentials: Seen::default(),
        validating: all(webhooks("istiod-default-validator", "Fail")),
        mutating: Seen::default(),
        answering: [(("istio-system".to_owned(), "istiod".to_owned()), true)].into(),
        served: ["v1", "v1beta1", "v1alpha3"].map(|version| (version.to_owned(), kinds.clone())).into(),
        missing_rights: Seen::default(),
        classes: all(
            json!([{"metadata": {"name": "traefik"}, "spec": {"controller": "traefik.io/ingress-controller"}}]),
        ),
        ingresses: Seen::default(),
    }
}

/// `error Code Kind ns/name: message`, one a finding.
fn said(facts: &Facts) -> Vec<String> {
    let found = judge(facts);
    let lines = found.iter().map(|it| {
        assert!(!it.remedy.is_empty(), "{it}");
        let object = it.object.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{} {} {object}: {}", it.severity, it.code, it.message)
    });
    lines.collect()
}

/// The only finding, which begins and goes on like this.
#[track_caller]
fn only(facts: &Facts, begins: &str, part: &str) {
    let said = said(facts);
    assert!(said.len() == 1 && said[0].starts_with(begins) && said[0].contains(part), "{said:#?}");
}

const SERVICE: &str = "Service istio-system/istio-ingressgateway: ";

#[test]
fn where_all_is_well_nothing_is_said() {
    assert_eq!(said(&well()), [""; 0]);
}

#[test]
fn every_code_is_documented() {
    let page = include_str!("../../../../../../docs/doctor.md");
    let listed: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, CODES);
}

#[test]
fn a_service_that_is_not_there() {
    let mut facts = well();
    facts.services = all(json!([service("other", &[9000], Some("192.0.2.1"))]));
    only(&facts, &format!("error ServiceMissing {SERVICE}"), "no such Service");
    // Pods on the nodes' own ports need none.
    let mut pod = gateway_pod(true);
    pod["spec"]["containers"] = json!([{"ports": [{"hostPort": 80}]}]);
    facts.pods = all(json!([pod]));
    only(&facts, &format!("info ServiceMissing {SERVICE}"), "");
}

#[test]
fn pods_that_are_not_there_or_not_ready() {
    let mut facts = well();
    facts.pods = all(json!([balancer_pod()]));
    only(&facts, &format!("error PodsMissing {SERVICE}"), "no pod");
    let mut waiting = gateway_pod(false);
    let message = json!({"reason": "ImagePullBackOff", "message": "not found"});
    waiting["status"]["containerStatuses"] = json!([{"state": {"waiting": message}}]);
    facts.pods = all(json!([waiting, balancer_pod()]));
    only(&facts, "error PodNotReady Pod istio-system/gw-1: ", "ImagePullBackOff: not found");
    assert!(judge(&facts)[0].remedy.contains("import the image"));
    facts.pods = all(json!([waiting, gateway_pod(true), balancer_pod()]));
    only(&facts, "warning PodNotReady", "");
}

#[test]
fn traefik_still_holds_the_ports() {
    let mut facts = well();
    let traefik = service("traefik", &[80, 443], Some("192.0.2.1"));
    facts.services = all(json!([gateway_service(None), traefik]));
    let said_so = said(&facts);
    assert_eq!(
        said_so,
        [
            "error PortTaken Service kube-system/traefik: it holds ports of the nodes that the gateway needs: 80, 443",
            "error ServicePending Service istio-system/istio-ingressgateway: it has no address: its ports are taken",
        ]
    );
    assert!(judge(&facts)[0].remedy.contains("disable: [traefik]"));
    // The other way round, Traefik waits.
    facts.services = all(json!([gateway_service(Some("192.0.2.1")), service("traefik", &[80], None)]));
    only(&facts, "warning PortTaken Service kube-system/traefik: it waits", "80");
    // Another pool of nodes is none of our business, nor is another class, nor a cluster without ServiceLB.
    let mut other = service("traefik", &[80], Some("192.0.2.2"));
    other["spec"]["loadBalancerClass"] = json!("example.com/other");
    facts.services = all(json!([gateway_service(Some("192.0.2.1")), other]));
    assert_eq!(said(&facts), [""; 0]);
    facts.services =
        all(json!([gateway_service(Some("192.0.2.1")), service("traefik", &[80], Some("192.0.2.2"))]));
    facts.pods = all(json!([gateway_pod(true)]));
    assert_eq!(said(&facts), [""; 0]);
}

#[test]
fn a_host_port_holds_a_port() {
    let mut facts = well();
    let mut nginx = pod("nginx-1", json!({"app": "nginx"}), true);
    nginx["spec"]["containers"] = json!([{"ports": [{"hostPort": 443}]}]);
    facts.pods = all(json!([gateway_pod(true), balancer_pod(), nginx]));
    only(&facts, "warning PortTaken Pod istio-system/nginx-1", "443");
}

#[test]
fn why_a_service_has_no_address() {
    let mut facts = well();
    facts.services = all(json!([gateway_service(None)]));
    let pending = format!("error ServicePending {SERVICE}it has no address: ");
    only(&facts, &pending, "nobody says why");

    facts.nodes = all(json!([node("a", json!({"svccontroller.k3s.cattle.io/enablelb": "false"}))]));
    only(&facts, &pending, "none with the value true");
    facts.nodes = all(json!([node("a", json!({"svccontroller.k3s.cattle.io/enablelb": "true"}))]));
    let mut pooled = gateway_service(None);
    pooled["metadata"]["labels"] = json!({"svccontroller.k3s.cattle.io/lbpool": "edge"});
    facts.services = all(json!([pooled]));
    only(&facts, &pending, "no node of the pool edge");

    let mut facts = well();
    facts.services = all(json!([gateway_service(None)]));
    let mut stuck = balancer_pod();
    stuck["status"] = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"},
    ]});
    facts.pods = all(json!([gateway_pod(true), stuck]));
    only(&facts, &pending, "0/1 nodes are available");
    facts.pods = all(json!([gateway_pod(true)]));
    only(&facts, &pending, "nothing here serves Services of type LoadBalancer");

    let mut classed = gateway_service(None);
    classed["spec"]["loadBalancerClass"] = json!("example.com/metal");
    facts.services = all(json!([classed]));
    only(&facts, &pending, "class example.com/metal");

    let mut facts = well();
    facts.services = all(json!([gateway_service(None)]));
    facts.pods = all(json!([gateway_pod(false), balancer_pod()]));
    assert!(said(&facts).iter().any(|it| it.contains("no node has a ready pod")), "{:?}", said(&facts));
}

#[test]
fn local_without_node_ports() {
    let mut facts = well();
    let mut service = gateway_service(Some("192.0.2.1"));
    service["spec"]["allocateLoadBalancerNodePorts"] = json!(false);
    facts.services = all(json!([service]));
    only(&facts, &format!("error NodePortsMissing {SERVICE}"), "ServiceLB needs them");
}

#[test]
fn clients_without_an_address_of_their_own() {
    let mut facts = well();
    let mut service = gateway_service(Some("192.0.2.1"));
    service["spec"]["externalTrafficPolicy"] = json!("Cluster");
    facts.services = all(json!([service]));
    only(&facts, &format!("warning ClientAddressHidden {SERVICE}"), "looks like a node");

    let mut facts = well();
    facts.services = all(json!([gateway_service(Some("203.0.113.7"))]));
    let mut node = node("a", json!({}));
    node["status"]["addresses"] = json!([{"type": "ExternalIP", "address": "203.0.113.7"}]);
    facts.nodes = all(json!([node]));
    only(&facts, &format!("info ClientAddressTranslated {SERVICE}"), "external addresses");
}

#[test]
fn names_that_point_elsewhere() {
    let target = |key: &str, value: &str| {
        let mut facts = well();
        facts.services = all(json!([gateway_service(Some("203.0.113.7"))]));
        let mut annotations = json!({});
        annotations[key] = json!(value);
        facts.gateways = all(json!([gateway(json!({"istio": "ingressgateway"}), annotations)]));
        facts
    };
    let [old, new] = ["external-dns.alpha.kubernetes.io/target", "external-dns.kubernetes.io/target"];
    assert_eq!(said(&target(old, "203.0.113.7")), [""; 0]);
    only(
        &target(old, "203.0.113.7, 203.0.113.9"),
        "warning DnsTargetDiffers Gateway default/shop: ",
        "203.0.113.9",
    );
    only(&target(new, "edge.example.com"), "warning DnsTargetDiffers Gateway default/shop: ", "203.0.113.7");
    // Behind a translating network the public address must be another one.
    let mut private = target(new, "203.0.113.7");
    private.services = all(json!([gateway_service(Some("10.0.0.4"))]));
    only(&private, "info DnsTargetDiffers", "10.0.0.4");
}

#[test]
fn a_gateway_that_external_dns_finds_no_service_for() {
    let mut facts = well();
    facts.gateways = all(json!([gateway(json!({"istio": "ingressgateway", "pool": "a"}), json!({}))]));
    only(&facts, "warning DnsFindsNoService Gateway default/shop: ", "external-dns finds no address");
    // Another gateway's Gateway is none of our business.
    facts.gateways = all(json!([gateway(json!({"istio": "egressgateway"}), json!({}))]));
    assert_eq!(said(&facts), [""; 0]);
}

#[test]
fn secrets_and_their_certificates() {
    let day = Duration::from_secs(24 * 3600);
    let now = well().now;
    let elsewhere = ["default".to_owned()].into();
    for (state, begins, part) in [
        (CredentialState::Missing { elsewhere: Default::default() }, "error SecretMissing", "is not there"),
        (CredentialState::Missing { elsewhere }, "error SecretElsewhere", "it is in default"),
        (CredentialState::Incomplete, "error SecretIncomplete", "missing"),
        (CredentialState::Unreadable, "error CertificateUnreadable", "cannot be read"),
        (CredentialState::Until(now - day), "error CertificateExpired", "has ended on 2027-01-14T"),
        (CredentialState::Until(now + 13 * day), "warning CertificateEndsSoon", "ends on 2027-01-28T"),
    ] {
        let mut facts = well();
        facts.credentials = Seen::All(vec![Credential { name: "shop".to_owned(), state }], 0);
        only(&facts, &format!("{begins} Secret istio-system/shop: "), part);
    }
    let mut facts = well();
    let good = Credential { name: "shop".to_owned(), state: CredentialState::Until(now + 15 * day) };
    facts.credentials = Seen::All(vec![good], 0);
    assert_eq!(said(&facts), [""; 0]);
}

#[test]
fn the_secrets_that_servers_name() {
    let credentials = |tls: Value| -> Vec<String> {
        let server: super::super::facts::Server = of(json!({"tls": tls}));
        server.credentials().map(str::to_owned).collect()
    };
    assert_eq!(credentials(json!({"mode": "SIMPLE", "credentialName": "kubernetes://a"})), ["a"]);
    assert_eq!(credentials(json!({"mode": "MUTUAL", "credentialNames": ["a", "b"]})), ["a", "b"]);
    // Passed through, whatever else it says; and what is no name of a Secret here.
    assert_eq!(credentials(json!({"credentialName": "a"})), [""; 0]);
    assert_eq!(credentials(json!({"mode": "SIMPLE", "credentialName": "configmap://a/b"})), [""; 0]);
}

#[test]
fn definitions_that_are_not_served() {
    let mut facts = well();
    for kinds in facts.served.values_mut() {
        kinds.remove("gateways");
    }
    only(
        &facts,
        "error DefinitionMissing CustomResourceDefinition gateways.networking.istio.io: ",
        "not installed",
    );
    let mut facts = well();
    facts.served.remove("v1alpha3");
    let said = said(&facts);
    assert_eq!(said.len(), 5, "{said:#?}");
    assert!(
        said.iter().all(|it| it.starts_with("warning VersionMissing") && it.contains(": v1alpha3 of it"))
    );
}

#[test]
fn rights_that_are_missing() {
    let right = |verb: &str, namespace: Option<&str>| Right {
        account: "system:serviceaccount:istio-system:portcullis".to_owned(),
        verb: verb.to_owned(),
        group: "networking.istio.io".to_owned(),
        resource: "gateways".to_owned(),
        namespace: namespace.map(str::to_owned),
    };
    let mut facts = well();
    facts.missing_rights = Seen::All(vec![right("watch", None), right("list", None)], 0);
    let message = "it may not list, watch in all namespaces: gateways.networking.istio.io";
    only(&facts, "error RightMissing ServiceAccount istio-system/portcullis: ", message);
    facts.missing_rights = Seen::All(vec![right("get", Some("shop"))], 0);
    only(&facts, "error RightMissing", "in shop");
}

#[test]
fn webhooks_of_an_istiod_that_is_gone() {
    let mut facts = well();
    let istiod = ("istio-system".to_owned(), "istiod".to_owned());
    facts.answering = [(istiod, false)].into();
    let begins = "error WebhookLeftBehind ValidatingWebhookConfiguration istiod-default-validator: ";
    only(&facts, begins, "no Istio resource can be written");
    facts.validating = all(webhooks("istiod-default-validator", "Ignore"));
    only(&facts, "info WebhookLeftBehind", "istio-system/istiod");
    facts.validating = Seen::default();
    let mut injector = webhooks("istio-sidecar-injector", "Fail");
    injector[0]["webhooks"][0]["rules"] = json!([{"apiGroups": [""], "resources": ["pods"]}]);
    facts.mutating = all(injector);
    only(&facts, "error WebhookLeftBehind MutatingWebhookConfiguration istio-sidecar-injector: ", "pods");
    // What could not be asked is not accused.
    facts.answering.clear();
    assert_eq!(said(&facts), [""; 0]);
}

#[test]
fn classes_of_ingress() {
    let class = |name: &str, controller: &str, default: &str| {
        let annotations = json!({"ingressclass.kubernetes.io/is-default-class": default});
        json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"controller": controller}})
    };
    let mut facts = well();
    facts.classes = all(json!([class("a", "x/a", "true"), class("b", "x/b", "true")]));
    only(&facts, "warning IngressClassClash IngressClass a: ", "a, b");
    facts.classes = all(json!([class("a", "x/a", "true"), class("b", "x/a", "false")]));
    only(&facts, "info IngressClassClash IngressClass a: ", "controller x/a");
}

#[test]
fn ingresses_are_somebody_else_s() {
    let mut facts = well();
    let ingress = |class: &str| json!({"metadata": {"name": "i"}, "spec": {"ingressClassName": class}});
    facts.ingresses = all(json!([ingress("traefik"), ingress("traefik")]));
    only(&facts, "info IngressNotServed IngressClass traefik: ", "2");
    facts.ingresses = all(json!([ingress("nginx")]));
    only(&facts, "warning IngressNotServed IngressClass nginx: ", "1");
}

#[test]
fn what_could_not_be_seen_is_said() {
    let mut facts = well();
    facts.nodes = Seen::Refused("nodes is forbidden".to_owned());
    facts.ingresses = Seen::All(Vec::new(), 3);
    let said = said(&facts);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(
        said[0].starts_with("warning NotSeen Node *: they cannot be listed: nodes is forbidden"),
        "{said:?}"
    );
    assert!(said[1].contains("3 of them cannot be read"), "{said:?}");
}
