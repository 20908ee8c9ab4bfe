//! What a certificate authority asks on port 80 is answered by cert-manager's solver, whatever else is said of the host.

use std::time::Instant;

use portcullis_tests::gateway::{Gateway, LIMIT, Setup};
use portcullis_tests::http::{routes, service, to};
use portcullis_tests::objects::gateway;
use portcullis_tests::process::poll;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Upstream, ok};

const QUESTION: &str = "/.well-known/acme-challenge/token-1";

/// An Ingress as cert-manager makes it, with its Service.
fn solver(namespace: &str, host: &str, upstream: &Upstream) -> String {
    service("cm-acme-http-solver", "http", &[upstream.address()]).replace("namespace: default", &format!("namespace: {namespace}"))
        + &format!(
            "
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: cm-acme-http-solver-x, namespace: {namespace}, labels: {{acme.cert-manager.io/http01-solver: 'true'}}}}
spec:
  ingressClassName: istio
  rules:
  - host: {host}
    http:
      paths:
      - path: {QUESTION}
        pathType: Exact
        backend: {{service: {{name: cm-acme-http-solver, port: {{number: 80}}}}}}"
        )
}

/// The same by an HTTPRoute, as an issuer with `gatewayHTTPRoute` has it. Its parent is whatever the issuer says.
fn solver_route(namespace: &str, host: &str, service_namespace: &str, upstream: &Upstream) -> String {
    service("cm-acme-http-solver", "http", &[upstream.address()]).replace("namespace: default", &format!("namespace: {service_namespace}"))
        + &format!(
            "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: cm-acme-http-solver-x, namespace: {namespace}, labels: {{acme.cert-manager.io/http01-solver: 'true'}}}}
spec:
  parentRefs: [{{group: networking.istio.io, kind: Gateway, namespace: istio-system, name: gw}}]
  hostnames: [{host}]
  rules:
  - matches: [{{path: {{type: Exact, value: {QUESTION}}}}}]
    backendRefs:
    - {{group: '', kind: Service, namespace: {service_namespace}, name: cm-acme-http-solver, port: 80, weight: 1}}"
        )
}

/// A server that sends everybody to https, with a route.
fn site(upstream: &Upstream) -> String {
    let server =
        "{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.test], tls: {httpsRedirect: true}}";
    gateway("gw", &[server.to_owned()])
        + &routes("app", &["a.test"], &[to("app", "")])
        + &service("app", "http", &[upstream.address()])
}

fn status(gateway: &Gateway, host: &str, path: &str) -> u16 {
    Raw::connect(gateway.address(80)).get(path, host).status
}

/// Findings are looked for behind what is served.
fn await_finding(gateway: &Gateway, word: &str) {
    let told = || gateway.page("Admin", "/diagnostics").text().contains(word).then_some(());
    poll(Instant::now() + LIMIT, told).expect("a finding");
}

#[test]
fn a_question_is_answered_before_a_redirect_and_on_hosts_that_no_gateway_has() {
    let (app, answers) = (Upstream::serve(|_| ok("app")), Upstream::serve(|_| ok("token-1.key")));
    let yaml = site(&app) + &solver("istio-system", "a.test", &answers);
    let gateway = Setup::new(yaml, &[80]).start();
    let answer = Raw::connect(gateway.address(80)).get(QUESTION, "a.test");
    assert_eq!((answer.status, answer.text().as_str()), (200, "token-1.key"));
    assert_eq!(status(&gateway, "a.test", "/.well-known/acme-challenge/other"), 301);
    assert_eq!(status(&gateway, "a.test", "/"), 301);
    assert_eq!(status(&gateway, "b.test", QUESTION), 404);
    gateway.apply("other.yaml", &solver("istio-system", "b.test", &answers).replace("solver-x", "solver-y"));
    assert_eq!(status(&gateway, "b.test", QUESTION), 200);
    assert_eq!(status(&gateway, "b.test", "/"), 404);
}

#[test]
fn a_port_is_opened_for_questions_alone() {
    let answers = Upstream::serve(|_| ok("token-1.key"));
    let gateway = Setup::new(solver("istio-system", "a.test", &answers), &[80]).start();
    assert_eq!(status(&gateway, "a.test", QUESTION), 200);
    assert_eq!(status(&gateway, "a.test", "/"), 404);
}

#[test]
fn nobody_elsewhere_answers_for_a_host() {
    let (app, other) = (Upstream::serve(|_| ok("app")), Upstream::serve(|_| ok("not yours")));
    let yaml = site(&app) + &solver("default", "a.test", &other);
    let gateway = Setup::new(yaml, &[80]).start();
    assert_eq!(status(&gateway, "a.test", QUESTION), 301);
    await_finding(&gateway, "cm-acme-http-solver-x");
}

#[test]
fn a_solver_of_the_gateway_api_is_one_as_well() {
    let (app, answers) = (Upstream::serve(|_| ok("app")), Upstream::serve(|_| ok("token-1.key")));
    let yaml = site(&app) + &solver_route("istio-system", "a.test", "istio-system", &answers);
    let gateway = Setup::new(yaml, &[80]).start();
    let answer = Raw::connect(gateway.address(80)).get(QUESTION, "a.test");
    assert_eq!((answer.status, answer.text().as_str()), (200, "token-1.key"));
    assert_eq!(status(&gateway, "a.test", "/"), 301);
    assert_eq!(status(&gateway, "b.test", QUESTION), 404);
}

#[test]
fn a_route_answers_for_nobody_from_elsewhere_either() {
    let (app, other) = (Upstream::serve(|_| ok("app")), Upstream::serve(|_| ok("not yours")));
    for (namespace, service) in [("default", "default"), ("istio-system", "default")] {
        let yaml = site(&app) + &solver_route(namespace, "a.test", service, &other);
        let gateway = Setup::new(yaml, &[80]).start();
        assert_eq!(status(&gateway, "a.test", QUESTION), 301);
        await_finding(&gateway, "HTTPRoute");
    }
}
