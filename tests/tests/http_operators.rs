//! What operators see of HTTP: metrics with Istio's labels, access-log lines with Istio's keys, the object and the
//! reason behind a failure, the admin pages, and the end of the process.

use std::time::{Duration, Instant};

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::http::{gateway, prefix, routes, service, site};
use portcullis_tests::process::poll;
use portcullis_tests::raw::Raw;
use portcullis_tests::upstream::{Gate, Upstream, ok};
use serde_json::{Value, json};

/// Within which a process that may end must have ended.
const END: Duration = Duration::from_secs(15);

/// One route of each kind.
fn every_outcome(upstream: &Upstream) -> Gateway {
    let rules = [
        prefix("/fine", "app", "name: fine"),
        "{match: [{uri: {prefix: /moved}}], redirect: {uri: /there, redirectCode: 308}}".to_owned(),
        "{match: [{uri: {prefix: /direct}}], directResponse: {status: 418, body: {string: tea}}}".to_owned(),
        prefix("/empty", "empty", ""),
        prefix("/unknown", "nowhere", ""),
    ];
    let services = service("app", "http", &[upstream.address()]) + &service("empty", "http", &[]);
    Setup::new(gateway() + &routes("app", &["a.test"], &rules) + &services, &[80]).start()
}

#[test]
fn each_outcome_has_its_labels() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = every_outcome(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    let app = "app.default.svc.cluster.local";
    let empty = "empty.default.svc.cluster.local";
    for (path, host, code, flags, service) in [
        ("/fine", "a.test", 200, "-", app),
        ("/moved", "a.test", 308, "-", "unknown"),
        ("/direct", "a.test", 418, "-", "unknown"),
        ("/empty", "a.test", 503, "UH", empty),
        ("/unknown", "a.test", 503, "NC", "unknown"),
        ("/none", "a.test", 404, "NR", "unknown"),
        ("/fine", "b.test", 404, "NR", "unknown"),
    ] {
        assert_eq!(client.get(path, host).status, code, "{host}{path}");
        let code = code.to_string();
        let labels = [("response_code", &*code), ("response_flags", flags), ("destination_service", service)];
        // Counted when the exchange ends, a moment after the client has its answer.
        let families = ["istio_requests_total", "istio_request_bytes_count", "istio_response_bytes_count"];
        gateway.await_samples(&format!("{labels:?}"), |samples| {
            families.iter().all(|name| samples.sum(name, &labels) >= 1.0)
        });
    }
    let samples = gateway.samples();
    assert_eq!(samples.sum("istio_requests_total", &[]), 7.0);
    assert_eq!(samples.sum("istio_request_duration_milliseconds_count", &[]), 7.0);
}

/// Names, values and order as Istio's telemetry has them; a missing fact is `unknown`, never absent.
#[test]
fn a_routed_request_carries_every_label_in_order() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = every_outcome(&upstream);
    assert_eq!(Raw::connect(gateway.address(80)).get("/fine", "a.test").status, 200);
    let samples =
        gateway.await_samples("one request", |samples| samples.sum("istio_requests_total", &[]) == 1.0);
    let labels = samples.labels("istio_requests_total", &[]);
    let expected = [
        ("reporter", "source"),
        ("source_workload", "istio-ingressgateway"),
        ("source_canonical_service", "istio-ingressgateway"),
        ("source_canonical_revision", "latest"),
        ("source_workload_namespace", "istio-system"),
        ("source_principal", "unknown"),
        ("source_app", "istio-ingressgateway"),
        ("source_version", ""),
        ("source_cluster", "Kubernetes"),
        ("destination_workload", "unknown"),
        ("destination_workload_namespace", "unknown"),
        ("destination_principal", "unknown"),
        ("destination_app", "unknown"),
        ("destination_version", "unknown"),
        ("destination_service", "app.default.svc.cluster.local"),
        ("destination_canonical_service", "unknown"),
        ("destination_canonical_revision", "latest"),
        ("destination_service_name", "app"),
        ("destination_service_namespace", "default"),
        ("destination_cluster", "Kubernetes"),
        ("request_protocol", "http"),
        ("response_code", "200"),
        ("grpc_response_status", ""),
        ("response_flags", "-"),
        ("connection_security_policy", "unknown"),
    ];
    let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, expected);
    assert_eq!(gateway.page("Stats", "/stats/prometheus").status, 200);
}

#[test]
fn a_log_line_has_istios_keys_types_and_nulls() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = every_outcome(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    client.send("GET /fine?x=\"1\" HTTP/1.1\r\nhost: a.test\r\nuser-agent: test/1\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let mut line = gateway.log_of("/fine?x=\"1\"");
    let arrival = upstream.arrivals().remove(0).message;
    let local = client.stream.local_addr().unwrap().to_string();
    let expected = json!({
        "authority": "a.test", "bytes_received": 0, "bytes_sent": 4, "connection_termination_details": null,
        "downstream_local_address": gateway.address(80).to_string(), "downstream_remote_address": local,
        "method": "GET", "path": "/fine?x=\"1\"", "protocol": "HTTP/1.1",
        "request_id": arrival.header("x-request-id"), "requested_server_name": null, "response_code": 200,
        "response_code_details": "via_upstream", "response_flags": "-", "route_name": "fine",
        "upstream_cluster": "outbound|80||app.default.svc.cluster.local",
        "upstream_host": upstream.address().to_string(), "upstream_transport_failure_reason": null,
        "user_agent": "test/1", "x_forwarded_for": arrival.header("x-forwarded-for"),
    });
    let fields = line.as_object_mut().unwrap();
    // What differs from run to run: types alone.
    assert!(fields.remove("duration").is_some_and(|value| value.is_u64()));
    assert!(fields.remove("upstream_service_time").is_some_and(|value| value.is_string()));
    assert!(
        fields
            .remove("start_time")
            .is_some_and(|value| value.as_str().is_some_and(|time| time.ends_with('Z')))
    );
    let own = fields.remove("upstream_local_address");
    assert!(own.is_some_and(|value| value.as_str().is_some_and(|address| address.starts_with("127.0.0.1:"))));
    assert_eq!(line, expected);
}

/// A 404 and a 503 name the object and the reason.
#[test]
fn a_failure_names_its_object_and_reason() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = every_outcome(&upstream);
    let mut client = Raw::connect(gateway.address(80));
    let cases = [
        ("/none", "a.test", "a.test:80", "route_not_found"),
        ("/fine-elsewhere", "b.test", "b.test", "route_not_found"),
        ("/empty", "a.test", "empty.default.svc.cluster.local", "no_healthy_upstream"),
        ("/unknown", "a.test", "nowhere", "cluster_not_found"),
    ];
    for (path, host, ..) in cases {
        client.get(path, host);
    }
    for (path, _, object, details) in cases {
        let line = gateway.log_of(path);
        let reason = line["portcullis_reason"].as_str().unwrap_or_default();
        assert!(reason.contains(object), "{path}: {line:#}");
        assert_eq!(line["response_code_details"], details, "{path}");
    }
}

#[test]
fn the_admin_pages_show_what_is_served() {
    let upstream = Upstream::serve(|_| ok("fine"));
    let gateway = every_outcome(&upstream);
    let page = |path: &str| {
        let answer = gateway.page("Admin", path);
        assert_eq!(answer.status, 200, "{path}");
        answer.text()
    };
    assert!(page("/config_dump").contains("app.default.svc.cluster.local"));
    assert!(page("/clusters").contains(&upstream.address().to_string()));
    assert!(page("/listeners").contains("\"open\": true"));
    let explained = page("/explain?url=http://a.test/fine");
    assert!(explained.contains("outbound|80||app.default.svc.cluster.local"), "{explained}");
    assert!(serde_json::from_str::<Value>(&page("/server_info")).is_ok());
    assert_eq!(gateway.page("Health", "/healthz/ready").status, 200);
    assert_eq!(gateway.page("Metrics", "/healthz/ready").status, 200);
}

/// SIGTERM: not ready at once, whoever still comes is served and told to close, what runs finishes, the last lines
/// are written, exit 0.
#[test]
fn the_end_is_orderly() {
    let answer = Gate::new();
    let pass = answer.clone();
    let upstream = Upstream::serve(move |request| {
        if request.target() == "/long" {
            pass.pass();
        }
        ok("fine")
    });
    let setup = Setup::new(site(upstream.address(), ""), &[80]).arguments(&["--drain", "1"]);
    let mut gateway = setup.start();
    let mut long = Raw::connect(gateway.address(80));
    long.send("GET /long HTTP/1.1\r\nhost: a.test\r\n\r\n");
    upstream.await_arrivals(1);
    let (mut idle, mut fresh) = (Raw::connect(gateway.address(80)), Raw::connect(gateway.address(80)));
    assert_eq!(idle.get("/idle", "a.test").header("connection"), None);

    let mut busy = Raw::connect(gateway.address(80));
    gateway.terminate();
    // Who asks again and again has every answer, until one says that it is the last.
    while busy.get("/busy", "a.test").header("connection").is_none() {}
    assert!(busy.is_closed());
    let draining = || (gateway.page("Health", "/healthz/ready").status == 503).then_some(());
    poll(Instant::now() + END, draining).expect("not ready at once");
    // Idle connections go before long, those that come late are served.
    assert!(idle.is_closed() && fresh.is_closed());
    let mut late = Raw::connect(gateway.address(80));
    assert_eq!(late.get("/late", "a.test").header("connection"), Some("close"));
    assert!(late.is_closed());
    answer.open();
    let last = long.answer();
    // Its head had been written before the end began, or it says that the connection closes.
    assert_eq!(last.text(), "fine");
    assert!(long.is_closed());
    let (status, lines) = gateway.ended_log(END);
    assert_eq!(status.code(), Some(0));
    let mut paths: Vec<_> = lines.iter().filter_map(|line| line["path"].as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths, ["/busy", "/idle", "/late", "/long"]);
}

/// What does not finish within its bound is cut off, and logged all the same.
#[test]
fn the_end_has_a_bound() {
    let never = Gate::new();
    let upstream = Upstream::serve(move |_| {
        never.pass();
        ok("fine")
    });
    let setup = Setup::new(site(upstream.address(), ""), &[80]).settings("[drain]\nfinish_seconds = 1\n");
    let mut gateway = setup.start();
    let mut client = Raw::connect(gateway.address(80));
    client.send("GET /never HTTP/1.1\r\nhost: a.test\r\n\r\n");
    upstream.await_arrivals(1);
    gateway.terminate();
    assert!(client.is_closed());
    let (status, lines) = gateway.ended_log(END);
    assert_eq!(status.code(), Some(0));
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!((&lines[0]["path"], &lines[0]["response_code"]), (&json!("/never"), &json!(0)));
}
