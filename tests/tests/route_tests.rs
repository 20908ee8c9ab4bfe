//! `portcullis test`, `check --routes` and `explain` on folders of their own: what is found, printed and returned.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use portcullis_tests::gateway::binary;
use portcullis_tests::process::{Finished, run};
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// Two VirtualServices that share a host, a redirect, a response, weights, and PostgreSQL by server name.
const RESOURCES: &str = r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.test], tls: {mode: SIMPLE, credentialName: none}}
  - {port: {number: 5432, name: db, protocol: TLS}, hosts: [db.test, '*.db.test'], tls: {mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: first, namespace: default, creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  hosts: [a.test]
  gateways: [istio-system/gw]
  http:
  - name: old
    match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, redirectCode: 308}
  - match: [{uri: {prefix: /fixed}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - match: [{uri: {prefix: /fixed/never}}]
    route: [{destination: {host: app}}]
  - match: [{uri: {prefix: /only-443}, port: 443}]
    route: [{destination: {host: app}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: second, namespace: default, creationTimestamp: '2026-01-02T00:00:00Z'}
spec:
  hosts: [a.test]
  gateways: [istio-system/gw]
  http:
  - match: [{uri: {prefix: /api}, headers: {x-team: {exact: blue}}}]
    rewrite: {uri: /v2, authority: inner.test}
    headers: {request: {set: {x-from: '%REQ(x-a)%'}, remove: [x-secret]}, response: {add: {x-by: gw}}}
    route: [{destination: {host: app, subset: v2, port: {number: 80}}}]
  - route:
    - {destination: {host: app, subset: v1}, weight: 90}
    - {destination: {host: app, subset: v2}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db, namespace: default}
spec:
  hosts: [db.test, '*.db.test']
  gateways: [istio-system/gw]
  tls:
  - match: [{sniHosts: [db.test]}]
    route: [{destination: {host: one.db, port: {number: 5432}}}]
  - match: [{sniHosts: ['*.db.test']}]
    route: [{destination: {host: app}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: app, namespace: default}
spec: {host: app, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec: {ports: [{name: http, port: 80}]}
";

const TESTS: &str = r"
apiVersion: portcullis.dev/v1alpha1
kind: RouteTest
metadata: {name: all}
spec:
  cases:
  - name: rewritten
    request: GET http://a.test/api/x?q
    headers: {x-team: blue}
    expect:
      destination: {host: app.default, port: 80, subset: v2}
      rule: VirtualService default/second http[0]
      server: Gateway istio-system/gw servers[0]
      tls: PLAINTEXT
      path: /v2/x
      authority: inner.test
      headers: {request: {set: {X-From: '%REQ(x-a)%'}, remove: [x-secret]}, response: {add: {x-by: gw}}}
  - name: weighted
    request: GET http://a.test/api/x
    expect: {weights: [{host: app, subset: v2, weight: 10}, {host: app, subset: v1, weight: 90}]}
  - name: moved
    request: GET http://a.test/old
    expect: {redirect: {status: 308, location: 'http://a.test/new'}, ruleName: old}
  - name: fixed
    request: GET http://a.test/fixed
    expect: {response: {status: 418, body: short and stout}}
  - name: a missing certificate is taken for granted
    request: GET https://a.test/only-443
    expect: {destination: {host: app, subset: ''}, tls: TERMINATED}
  - name: no such host
    request: GET http://b.test/
    expect: {error: {status: 404}}
  - name: no such service
    request: TLS db.test:5432
    expect: {refused: true}
  - name: by the longest name
    request: postgres://x.db.test
    expect: {destination: {host: app}, tls: PASSED_THROUGH, rule: 'VirtualService default/db tls[1]'}
  - name: wrong port
    request: tcp://:9000
    expect: {refused: true}
";

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
}

fn portcullis(arguments: &[&str], folder: &Path) -> Finished {
    run(Command::new(binary()).args(arguments).current_dir(folder), LIMIT).expect("it ends")
}

#[test]
fn cases_that_hold_pass() {
    let folder = folder(&[("resources.yaml", RESOURCES), ("a.test.yaml", TESTS)]);
    for arguments in [&["test", "."][..], &["test", "a.test.yaml"], &["test", "a.test.yaml", "--config", "."]]
    {
        let out = portcullis(arguments, folder.path());
        assert_eq!(out.code(), 0, "{}{}", out.stdout, out.stderr);
        assert!(out.stdout.ends_with("ok: 9 passed\n"), "{}", out.stdout);
    }
}

#[test]
fn a_case_that_fails_says_what_is_different_and_why() {
    let wrong = TESTS
        .replace("subset: v2}\n      rule", "subset: v9}\n      rule")
        .replace("path: /v2/x", "path: /x")
        .replace("weight: 90", "weight: 80")
        .replace("location: 'http://a.test/new'", "location: 'http://a.test/newer'")
        .replace("x-by: gw", "x-by: other");
    let folder = folder(&[("resources.yaml", RESOURCES), ("a.test.yaml", &wrong)]);
    let out = portcullis(&["test", "."], folder.path());
    assert_eq!(out.code(), 1, "{}{}", out.stdout, out.stderr);
    for part in [
        "FAIL  rewritten (line 7)",
        "destination.subset: expected v9, got v2",
        "path: expected /x, got /v2/x",
        "headers.response: expected response: add x-by: other, got response: add x-by: gw",
        "FAIL  weighted (line 18)",
        "redirect.location: expected http://a.test/newer, got http://a.test/new",
        "rule won",
        "failed: 3 failed, 6 passed",
    ] {
        assert!(out.stdout.contains(part), "{part} in\n{}", out.stdout);
    }

    let out = portcullis(&["test", ".", "-o", "json"], folder.path());
    let report: Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert_eq!((report["passed"].as_u64(), report["failed"].as_u64()), (Some(6), Some(3)));
    let first = &report["cases"][0];
    assert_eq!(first["differences"][0]["field"], "destination.subset");
    assert_eq!(first["decision"]["won"]["origin"], "VirtualService default/second http[0].match[0]");

    let out = portcullis(&["test", ".", "-o", "junit"], folder.path());
    assert_eq!(out.code(), 1);
    assert!(out.stdout.contains("<testsuites tests=\"9\" failures=\"3\">"), "{}", out.stdout);
    assert!(out.stdout.contains("name=\"fixed\" classname=\"all\""), "{}", out.stdout);
}

#[test]
fn a_test_with_a_mistake_is_not_run() {
    for (from, to, place) in [
        ("{error: {status: 404}}", "{error: {status: 404}, prot: 1}", "a.test.yaml:32"),
        ("request: tcp://:9000", "request: tcp://", "spec.cases[8].request"),
        ("kind: RouteTest", "kind: RouteTests", "no document of kind RouteTest"),
    ] {
        let folder = folder(&[("resources.yaml", RESOURCES), ("a.test.yaml", &TESTS.replacen(from, to, 1))]);
        let out = portcullis(&["test", "."], folder.path());
        assert_eq!(out.code(), 2, "{to}: {}{}", out.stdout, out.stderr);
        assert!(out.stderr.contains(place), "{to}: {}", out.stderr);
    }
}

#[test]
fn tests_beside_resources_are_no_resources() {
    let folder = folder(&[("resources.yaml", RESOURCES), ("a.test.yaml", TESTS)]);
    let out = portcullis(&["check", ".", "--severity", "info", "-o", "json"], folder.path());
    let report: Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert_eq!(report["objects"], 6);
    assert!(!out.stdout.contains("RouteTest"), "{}", out.stdout);
}

#[test]
fn the_effective_table_is_shown() {
    let folder = folder(&[("resources.yaml", RESOURCES)]);
    let out = portcullis(&["check", "--routes", "."], folder.path());
    let table: Vec<&str> = out.stdout.lines().map(str::trim).collect();
    let at = |part: &str| {
        let found = table.iter().position(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("{part} in\n{}", out.stdout))
    };
    // The rules of both VirtualServices, the older one's first, the catch-all last.
    assert!(at("listener 0.0.0.0_80") < at("host a.test"));
    assert!(at("(VirtualService default/first http[0].match[0], old)") < at("second http[0].match[0]"));
    assert!(at("second http[0].match[0]") < at("any path -> 90:outbound|80|v1|app"));
    assert!(table[at("first http[2].match[0]")].contains("never reached: 1 takes all its requests"));
    assert!(at("not here VirtualService default/first http[3].match[0]: needs port 443") > 0);
    assert!(at("TLS passed through for *.db.test") > 0);

    let out = portcullis(&["check", "--routes", ".", "-o", "json"], folder.path());
    let report: Value = serde_json::from_str(&out.stdout).expect("JSON");
    let rules = report["listeners"][0]["servers"][0]["hosts"][0]["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), 5, "{rules:?}");
    assert_eq!(rules[2]["neverReachedBehind"], 1);
}

#[test]
fn an_explanation_says_why_each_earlier_rule_lost() {
    let folder = folder(&[("resources.yaml", RESOURCES)]);
    for (question, parts) in [
        // A host of two VirtualServices: the rules of both.
        (
            "GET http://a.test/api/x",
            &[
                "rule lost     VirtualService default/first http[0].match[0] (old): needs path starts with \"/old\"",
                "rule lost     VirtualService default/second http[0].match[0]: needs header x-team",
                "not here      VirtualService default/first http[3].match[0]: needs port 443, the server declares 80",
                "rule won      VirtualService default/second http[1]",
            ][..],
        ),
        ("GET http://nowhere.test/", &["no virtual host for nowhere.test here; served: a.test"]),
        (
            "GET http://a.test:8080/",
            &["nothing listens on port 8080", "a.test is served on port 80 (plaintext HTTP)"],
        ),
        ("TLS x.y.db.test:5432", &["server name   *.db.test", "VirtualService default/db tls[1].match[0]"]),
        ("TLS a.test:5432", &["served: *.db.test, db.test", "a.test is served on port 80"]),
        ("tcp://:5432", &["this port serves TLS only"]),
    ] {
        let out = portcullis(&["explain", ".", question], folder.path());
        for part in parts {
            assert!(out.stdout.contains(part), "{question}: {part} in\n{}", out.stdout);
        }
    }
}

#[test]
fn the_tests_of_the_example_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = portcullis(&["test", "config/examples/istio-migration"], &root);
    assert_eq!(out.code(), 0, "{}{}", out.stdout, out.stderr);
}
