//! What a certificate authority asks on port 80 is answered by cert-manager's solver, whatever else is said of the host.

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{routes, service, to};
use portcullis_tests::objects::gateway;
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
    assert!(gateway.page("Admin", "/diagnostics").text().contains("cm-acme-http-solver-x"));
}
