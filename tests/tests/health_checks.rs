//! Active health checks: what fails them gets no requests until it is well again, over each kind of probe.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{gateway, routes, service, to};
use portcullis_tests::objects::NAMESPACE;
use portcullis_tests::pki::Authority;
use portcullis_tests::python::Script;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Conn, Upstream, ok, status, tls_server};

/// A DestinationRule that has its endpoints checked as `policy` says; `spec` is what else it holds.
fn checked(policy: &str, spec: &str) -> String {
    format!(
        "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: app
  namespace: default
  annotations:
    portcullis.dev/health-check: '{{interval: 100ms, unhealthyThreshold: 1, healthyThreshold: 1, {policy}}}'
spec: {{host: app, {spec}}}"
    )
}

/// A gateway in front of `members`, with this DestinationRule.
fn start(members: &[SocketAddr], port_name: &str, rule: &str) -> Gateway {
    let objects =
        gateway() + &routes("app", &["*"], &[to("app", "")]) + &service("app", port_name, members) + rule;
    Setup::new(objects, &[80]).start()
}

/// A service whose `/healthz` can be made to fail.
fn patient() -> (Upstream, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&well);
    let upstream = Upstream::serve(move |request| match request.target() {
        "/healthz" if asked.load(Ordering::Relaxed) => ok("well"),
        "/healthz" => status(503),
        _ => ok("fine"),
    });
    (upstream, well)
}

fn await_failing(gateway: &Gateway, count: f64) {
    gateway.await_samples("that verdict", |samples| {
        let passed = samples.sum("portcullis_health_checks_total", &[]) > 0.0;
        passed && samples.sum("portcullis_endpoints_failing", &[]) == count
    });
}

/// How many of 20 requests get status 200.
fn good(gateway: &Gateway) -> usize {
    let mut client = Raw::connect(gateway.address(80));
    (0..20).filter(|_| client.get("/asked", "a.test").status == 200).count()
}

fn asked(upstream: &Upstream) -> usize {
    upstream.targets().iter().filter(|target| *target == "/asked").count()
}

#[test]
fn what_fails_gets_no_requests_until_it_is_well() {
    let ((one, one_is_well), (other, _)) = (patient(), patient());
    let gateway = start(
        &[one.address(), other.address()],
        "http",
        &checked("http: {path: /healthz, host: up.test}", ""),
    );
    await_failing(&gateway, 0.0);
    assert_eq!(good(&gateway), 20);
    assert!(asked(&one) > 0 && asked(&other) > 0);

    one_is_well.store(false, Ordering::Relaxed);
    await_failing(&gateway, 1.0);
    let before = asked(&one);
    assert_eq!(good(&gateway), 20);
    assert_eq!(asked(&one), before);
    let clusters = gateway.page("Admin", "/clusters").text();
    assert!(clusters.contains("\"failingHealthChecks\": true"), "{clusters}");
    gateway.await_error("endpoint fails its health checks");

    one_is_well.store(true, Ordering::Relaxed);
    await_failing(&gateway, 0.0);
    good(&gateway);
    assert!(asked(&one) > before);
    let probe = one.arrivals().into_iter().find(|arrival| arrival.message.line.contains("/healthz")).unwrap();
    assert_eq!(probe.message.header("host"), Some("up.test"));
}

#[test]
fn where_all_fail_requests_say_so_or_go_on() {
    let (upstream, well) = patient();
    well.store(false, Ordering::Relaxed);
    let gateway = start(&[upstream.address()], "http", &checked("http: {path: /healthz}", ""));
    await_failing(&gateway, 1.0);
    let mut client = Raw::connect(gateway.address(80));
    let answer = client.get("/asked", "a.test");
    assert_eq!((answer.status, answer.text().as_str()), (503, "no healthy upstream"));
    assert_eq!(gateway.log_of("/asked")["response_flags"], "UH");

    // Below the share that panics, all are used.
    let gateway =
        start(&[upstream.address()], "http", &checked("minHealthPercent: 50, http: {path: /healthz}", ""));
    await_failing(&gateway, 1.0);
    assert_eq!(good(&gateway), 20);
}

#[test]
fn a_change_of_configuration_keeps_verdicts_and_ends_with_the_annotation() {
    let ((one, one_is_well), (other, _)) = (patient(), patient());
    one_is_well.store(false, Ordering::Relaxed);
    let members = [one.address(), other.address()];
    let gateway = start(&members, "http", &checked("http: {path: /healthz}", ""));
    await_failing(&gateway, 1.0);
    gateway.apply("other.yaml", &routes("other", &["other.test"], &[to("app", "")]));
    assert_eq!(good(&gateway), 20);
    assert_eq!(asked(&one), 0);
}

#[test]
fn nobody_at_the_port_is_a_failure_too() {
    let well = Upstream::serve(|_| ok("fine"));
    // Bound and closed: nobody listens there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    let gateway = start(&[well.address(), gone], "http", &checked("tcp: {}", ""));
    await_failing(&gateway, 1.0);
    assert_eq!(good(&gateway), 20);
    let retried =
        gateway.access_log().iter().filter(|line| line["response_flags"] != serde_json::Value::Null).count();
    assert_eq!(retried, 0, "{:?}", gateway.access_log());
}

#[test]
fn an_upstream_that_hangs_fails_in_time() {
    let hanging = Upstream::script(|mut conn: Conn| while conn.request().is_some() {});
    let gateway = start(&[hanging.address()], "http", &checked("timeout: 100ms, http: {}", ""));
    await_failing(&gateway, 1.0);
    gateway.await_error("no answer within 100ms");
}

#[test]
fn probes_speak_the_tls_of_the_cluster() {
    let verified =
        "trafficPolicy: {tls: {mode: SIMPLE, sni: up.test, credentialName: ca, subjectAltNames: [up.test]}}";
    let ca = Authority::new("upstreams");
    let well = tls_server(&ca.server(&["up.test"]), "HTTP/1.1 204 No Content\r\n\r\n");
    let misnamed = tls_server(&ca.server(&["other.test"]), "HTTP/1.1 204 No Content\r\n\r\n");
    let plain = Upstream::serve(|_| ok("plain"));
    let rule = checked("http: {}", verified) + "\n---\n" + &ca.secret(NAMESPACE, "ca");
    let gateway = start(&[well, misnamed, plain.address()], "http", &rule);
    await_failing(&gateway, 2.0);
    gateway.await_error(&format!("address={misnamed}"));
    gateway.await_error(&format!("address={}", plain.address()));
}

#[test]
fn grpc_servers_are_asked_by_their_own_protocol() {
    let Some(mut server) = Script::start("health_server.py") else { return };
    let port = server.number("port");
    let member = SocketAddr::from(([127, 0, 0, 1], port));
    server.tell("- SERVING");
    assert_eq!(server.number("set"), 1);
    server.tell("shop.Cart NOT_SERVING");
    assert_eq!(server.number("set"), 1);
    let whole = start(&[member], "grpc", &checked("grpc: {}", ""));
    await_failing(&whole, 0.0);
    let cart = start(&[member], "grpc", &checked("grpc: {service: shop.Cart}", ""));
    await_failing(&cart, 1.0);
    cart.await_error("NOT_SERVING");
    server.tell("shop.Cart SERVING");
    assert_eq!(server.number("set"), 1);
    await_failing(&cart, 0.0);
    let unknown = start(&[member], "grpc", &checked("grpc: {service: no.Such}", ""));
    await_failing(&unknown, 1.0);
}
