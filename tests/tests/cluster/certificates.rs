//! Certificates that Gateways ask cert-manager for, with a definition in its place: what is written, told and taken back.

use std::time::Instant;

use portcullis_tests::cluster::{ApiServer, namespace_address};
use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::service;
use portcullis_tests::process::poll;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};
use serde_json::{Value, json};

use crate::api_server;

const CERTIFICATES: &str = "/apis/cert-manager.io/v1/namespaces/istio-system/certificates";
const GATEWAY: &str = "/apis/networking.istio.io/v1/namespaces/istio-system/gateways/shop";

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/istio-system/events";

/// cert-manager's kind, as far as a gateway sees it.
const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.cert-manager.io}
spec:
  group: cert-manager.io
  scope: Namespaced
  names: {kind: Certificate, plural: certificates, singular: certificate, listKind: CertificateList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";

fn gateway(annotations: &str, hosts: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: shop, namespace: istio-system, annotations: {{{annotations}}}}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: [{hosts}]
    tls: {{mode: SIMPLE, credentialName: shop}}"
    )
}

fn start(cluster: &ApiServer) -> Gateway {
    let kubeconfig = cluster.account();
    Setup::new("", &[80, 443])
        .arguments(&["--kubernetes", "--write-status"])
        .variable("KUBECONFIG", &kubeconfig)
        .start()
}

fn await_that(cluster: &ApiServer, path: &str, what: &str, holds: impl Fn(u16, &Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = poll(Instant::now() + LIMIT, || {
        let (status, object) = cluster.client().request("GET", path, "", "");
        last = object.clone();
        holds(status, &object).then_some(object)
    });
    found.unwrap_or_else(|| panic!("{what}: {last:#}"))
}

fn ready(gateway: &Value) -> Value {
    let mut conditions = gateway["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|found| found["type"] == "CertificatesReady").cloned().unwrap_or_default()
}

/// An Ingress as cert-manager makes it for the time being.
const SOLVER: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: cm-acme-http-solver-x, namespace: istio-system, labels: {acme.cert-manager.io/http01-solver: 'true'}}
spec:
  rules:
  - host: a.test
    http:
      paths:
      - path: /.well-known/acme-challenge/token
        pathType: Exact
        backend: {service: {name: solver, port: {number: 80}}}";

/// The kind that makes solvers of the Gateway API, as far as a gateway sees it.
const ROUTES: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: httproutes.gateway.networking.k8s.io
  annotations: {api-approved.kubernetes.io: https://github.com/kubernetes-sigs/gateway-api}
spec:
  group: gateway.networking.k8s.io
  scope: Namespaced
  names: {kind: HTTPRoute, plural: httproutes, singular: httproute, listKind: HTTPRouteList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";

/// An HTTPRoute as cert-manager makes it where the issuer has `gatewayHTTPRoute`.
const SOLVER_ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cm-acme-http-solver-y, namespace: istio-system, labels: {acme.cert-manager.io/http01-solver: 'true'}}
spec:
  parentRefs: [{group: networking.istio.io, kind: Gateway, name: shop}]
  hostnames: [b.test]
  rules:
  - matches: [{path: {type: Exact, value: /.well-known/acme-challenge/token}}]
    backendRefs: [{group: '', kind: Service, namespace: istio-system, name: solver, port: 80, weight: 1}]";

/// The authority asks on port 80, which nothing else is served on.
#[test]
fn a_challenge_is_answered_as_long_as_its_solver_is_there() {
    let Some((_turn, cluster)) = api_server() else { return };
    cluster.install_crds();
    let answers = Upstream::serve_on(namespace_address(), |_| ok("token.key"));
    let running = start(&cluster);
    let solver = service("solver", "http", &[answers.address()])
        .replace("namespace: default", "namespace: istio-system");
    cluster.apply(&(solver + "\n---" + SOLVER));
    let ask = |host: &str| {
        let stream = std::net::TcpStream::connect(running.address(80)).ok()?;
        Some(Raw::on(stream).get("/.well-known/acme-challenge/token", host))
    };
    let answered = |host: &'static str| move || ask(host).filter(|answer| answer.text() == "token.key");
    poll(Instant::now() + LIMIT, answered("a.test")).expect("an answer");
    cluster.delete("Ingress", "istio-system", "cm-acme-http-solver-x");
    let gone = |host: &'static str| move || ask(host).is_none_or(|answer| answer.status == 404).then_some(());
    poll(Instant::now() + LIMIT, gone("a.test")).expect("the end of it");

    // The Gateway API is installed later, and its solver works, too.
    cluster.apply(ROUTES);
    let routes = "/apis/gateway.networking.k8s.io/v1/namespaces/istio-system/httproutes";
    await_that(&cluster, routes, "the kind is served", |status, _| status == 200);
    cluster.apply(SOLVER_ROUTE);
    poll(Instant::now() + LIMIT, answered("b.test")).expect("an answer");
    cluster.delete("HTTPRoute", "istio-system", "cm-acme-http-solver-y");
    poll(Instant::now() + LIMIT, gone("b.test")).expect("the end of it");
    // Whoever has no part in a challenge is told that it has no effect.
    cluster.apply(&SOLVER.replace("labels: {acme.cert-manager.io/http01-solver: 'true'}", "labels: {}"));
    let told = || {
        running.page("Admin", "/diagnostics").text().contains("Ingress istio-system/cm-acme").then_some(())
    };
    poll(Instant::now() + LIMIT, told).expect("told of");
    let log = running.errors().to_lowercase();
    assert!(!log.contains("forbidden") && !log.contains("code=403"), "{log}");
}

#[test]
fn a_gateway_that_names_an_issuer_gets_its_certificate() {
    let Some((_turn, cluster)) = api_server() else { return };
    cluster.install_crds();
    let running = start(&cluster);
    cluster.apply(&gateway("cert-manager.io/cluster-issuer: letsencrypt", "a.test"));
    await_that(&cluster, GATEWAY, "told that there is no cert-manager", |_, object| {
        ready(object)["reason"] == "CertManagerAbsent"
    });
    let of_gateway = |events: &Value| {
        let mut events = events["items"].as_array().into_iter().flatten();
        events.any(|it| it["regarding"]["name"] == "shop" && it["reason"] == "CertManagerAbsent")
    };
    await_that(&cluster, EVENTS, "an Event says so, too", |_, events| of_gateway(events));

    // It is installed later.
    cluster.apply(DEFINITION);
    let made = await_that(&cluster, &format!("{CERTIFICATES}/shop"), "made", |status, _| status == 200);
    assert_eq!(made["spec"]["dnsNames"], json!(["a.test"]));
    assert_eq!(made["spec"]["issuerRef"]["kind"], "ClusterIssuer");
    assert_eq!(made["metadata"]["ownerReferences"][0]["name"], "shop");
    let waits = await_that(&cluster, GATEWAY, "not ready", |_, object| {
        ready(object)["reason"] == "CertificateNotReady"
    });
    assert_eq!(ready(&waits)["status"], "False");

    // A host more is asked for at once; what cert-manager says is told.
    cluster.apply(&gateway("cert-manager.io/cluster-issuer: letsencrypt", "a.test, b.test"));
    await_that(&cluster, &format!("{CERTIFICATES}/shop"), "brought up to date", |_, object| {
        object["spec"]["dnsNames"] == json!(["a.test", "b.test"])
    });
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let path = format!("{CERTIFICATES}/shop/status");
    let (code, said) =
        cluster.client().request("PATCH", &path, "application/merge-patch+json", &status.to_string());
    assert_eq!(code, 200, "{said}");
    await_that(&cluster, GATEWAY, "ready", |_, object| ready(object)["status"] == "True");

    // Nobody asks any more.
    cluster.apply(&gateway("", "a.test"));
    await_that(&cluster, &format!("{CERTIFICATES}/shop"), "deleted", |status, _| status == 404);
    await_that(&cluster, GATEWAY, "nothing is said of certificates", |_, object| ready(object).is_null());
    let log = running.errors().to_lowercase();
    assert!(!log.contains("forbidden") && !log.contains("code=403"), "{log}");
}
