//! external-dns on what is shipped: the records that its sources for Istio's kinds make of Gateways and VirtualServices
//! that the gateway's Service is behind.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use portcullis_tests::cluster::ApiServer;
use portcullis_tests::helm::deployed;
use portcullis_tests::process::{run, skipped};
use serde_json::{Value, json};

use super::api_server;

/// Names the program of `tests/cluster/external-dns`.
const PROGRAM: &str = "PORTCULLIS_TEST_EXTERNAL_DNS";
/// It lists what it needs and ends.
const LIMIT: Duration = Duration::from_secs(60);
/// The prefix of its annotations before version 0.22.
const OLD_PREFIX: &str = "external-dns.alpha.kubernetes.io/";

/// Records by name, each as `TYPE target,target`.
type Records = BTreeMap<String, Vec<String>>;

/// What its provider holds when it has run with these arguments.
fn records(cluster: &ApiServer, arguments: &[&str]) -> Option<Records> {
    let Some(program) = std::env::var_os(PROGRAM) else {
        skipped(&format!("a test with external-dns needs {PROGRAM} (cargo xtask test)"));
        return None;
    };
    let mut command = Command::new(program);
    command.args(["--provider=inmemory", "--inmemory-zone=example.test", "--registry=noop", "--policy=sync"]);
    command.arg("--kubeconfig").arg(cluster.kubeconfig()).args(arguments);
    // Those by default, and those of IPv6.
    command.args(["A", "AAAA", "CNAME"].map(|kind| format!("--managed-record-types={kind}")));
    let said = run(&mut command, LIMIT).expect("external-dns runs");
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let mut records = Records::new();
    for line in said.stdout.lines() {
        let record: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| record[key].as_str().expect("a text").to_owned();
        let mut targets: Vec<&str> =
            record["targets"].as_array().expect("targets").iter().filter_map(Value::as_str).collect();
        targets.sort_unstable();
        let shown = format!("{} {}", text("recordType"), targets.join(","));
        records.entry(text("dnsName")).or_default().push(shown);
    }
    records.values_mut().for_each(|shown| shown.sort());
    Some(records)
}

fn expected(records: &[(&str, &[&str])]) -> Records {
    let owned = |shown: &[&str]| shown.iter().map(|&shown| shown.to_owned()).collect();
    records.iter().map(|(name, shown)| ((*name).to_owned(), owned(shown))).collect()
}

/// The addresses that ServiceLB writes: those of the nodes with a pod of the gateway.
fn set_addresses(cluster: &ApiServer, kind: &str, name: &str, addresses: &[&str]) {
    let ingress: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
    let status = json!({"loadBalancer": {"ingress": ingress}});
    cluster.client().set_status(kind, "istio-system", name, &status);
}

const GATEWAYS: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: public
  namespace: istio-system
  annotations: {external-dns.kubernetes.io/hostname: extra.example.test, external-dns.kubernetes.io/ttl: 5m}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
    tls: {httpsRedirect: true}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [default/app.example.test, '*.wild.example.test']
    tls: {mode: SIMPLE, credentialName: app}
  - port: {number: 5432, name: tls-postgres, protocol: TLS}
    hosts: [db.example.test]
    tls: {mode: PASSTHROUGH}
---
apiVersion: networking.istio.io/v1beta1
kind: Gateway
metadata:
  name: named
  namespace: istio-system
  annotations: {external-dns.kubernetes.io/target: lb.example.test}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [named.example.test, '*.named.example.test']
---
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata:
  name: through
  namespace: istio-system
  annotations: {external-dns.kubernetes.io/ingress: entry}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [through.example.test]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: old
  namespace: istio-system
  annotations: {external-dns.alpha.kubernetes.io/target: 203.0.113.9}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [old.example.test]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: elsewhere
  namespace: istio-system
spec:
  selector: {istio: another}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [elsewhere.example.test]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: entry
  namespace: istio-system
spec:
  defaultBackend: {service: {name: istio-ingressgateway, port: {number: 80}}}";

/// `more` is what its spec has beside hosts, gateways and a route; `annotation` one of external-dns.
fn virtual_service(name: &str, host: &str, gateways: &str, annotation: &str, more: &str) -> String {
    format!(
        "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: {name}
  namespace: default
  annotations: {{{annotation}}}
spec:
  hosts: ['{host}']
  gateways: [{gateways}]
  {more}
  http: [{{route: [{{destination: {{host: {name}}}}}]}}]"
    )
}

fn virtual_services() -> String {
    let public = "istio-system/public";
    let of = |name, host| virtual_service(name, host, public, "", "");
    let delegating = "
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: root
  namespace: default
spec:
  hosts: [root.wild.example.test]
  gateways: [istio-system/public]
  http: [{match: [{uri: {prefix: /a}}], delegate: {name: leaf}}]
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: leaf
  namespace: default
spec:
  http: [{route: [{destination: {host: leaf}}]}]";
    [
        of("app", "app.example.test"),
        virtual_service(
            "shop",
            "shop.wild.example.test",
            &format!("{public}, istio-system/named"),
            "external-dns.kubernetes.io/hostname: more.named.example.test",
            "",
        ),
        virtual_service(
            "own",
            "own.example.test",
            public,
            "external-dns.kubernetes.io/target: 203.0.113.5",
            "",
        ),
        // What yields nothing: hosts wider than the Gateway's, the mesh alone, and what the Gateway may not see.
        virtual_service("wide", "*.example.test", "istio-system/named", "", ""),
        virtual_service("mesh", "mesh.example.test", "mesh", "", ""),
        virtual_service("private", "private.example.test", public, "", "exportTo: ['.']"),
        delegating.to_owned(),
    ]
    .concat()
}

#[test]
fn records_point_at_the_gateway() {
    let Some((_turn, cluster)) = api_server() else { return };
    cluster.apply(&fs::read_to_string(deployed("k3s/portcullis.yaml")).expect("the file for K3s"));
    cluster.install_crds();
    cluster.apply(GATEWAYS);
    cluster.apply(&virtual_services());
    set_addresses(&cluster, "Service", "istio-ingressgateway", &["192.0.2.10", "192.0.2.11", "2001:db8::10"]);
    set_addresses(&cluster, "Ingress", "entry", &["198.51.100.4"]);
    let gateway: &[&str] = &["A 192.0.2.10,192.0.2.11", "AAAA 2001:db8::10"];

    let Some(found) = records(&cluster, &["--source=istio-gateway"]) else { return };
    let of_gateways = expected(&[
        ("*.wild.example.test", gateway),
        ("app.example.test", gateway),
        ("db.example.test", gateway),
        ("extra.example.test", gateway),
        ("named.example.test", &["CNAME lb.example.test"]),
        ("*.named.example.test", &["CNAME lb.example.test"]),
        ("through.example.test", &["A 198.51.100.4"]),
        ("old.example.test", gateway),
    ]);
    assert_eq!(found, of_gateways);
    let found = records(&cluster, &["--source=istio-virtualservice"]).expect("it is there");
    let of_routes = expected(&[
        ("app.example.test", gateway),
        ("shop.wild.example.test", gateway),
        ("own.example.test", &["A 203.0.113.5"]),
        ("root.wild.example.test", gateway),
        ("more.named.example.test", &["A 192.0.2.10,192.0.2.11", "AAAA 2001:db8::10"]),
    ]);
    assert_eq!(found, of_routes);

    // Both together, under the old prefix of its annotations: none of the others counts then.
    let both = ["--source=istio-gateway", "--source=istio-virtualservice", "--annotation-prefix", OLD_PREFIX];
    let found = records(&cluster, &both).expect("it is there");
    assert_eq!(found["old.example.test"], ["A 203.0.113.9"]);
    assert!(!found.contains_key("extra.example.test"));
    assert_eq!(found["own.example.test"], gateway);

    // ServiceLB has moved; what an address is given by hand goes before it.
    set_addresses(&cluster, "Service", "istio-ingressgateway", &["192.0.2.12"]);
    let app = |cluster: &ApiServer| {
        records(cluster, &["--source=istio-virtualservice"]).expect("it is there")["app.example.test"].clone()
    };
    assert_eq!(app(&cluster), ["A 192.0.2.12"]);
    let service = "/api/v1/namespaces/istio-system/services/istio-ingressgateway";
    let external = json!({"spec": {"externalIPs": ["203.0.113.7"]}}).to_string();
    let (status, answer) =
        cluster.client().request("PATCH", service, "application/merge-patch+json", &external);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(app(&cluster), ["A 203.0.113.7"]);
}

/// Releases of external-dns up to 0.18 ask for `v1alpha3`, up to 0.20 for `v1beta1`, and later ones for `v1`.
#[test]
fn whatever_version_external_dns_asks_for_it_finds_all_objects() {
    let Some((_turn, cluster)) = api_server() else { return };
    cluster.install_crds();
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}");
    cluster.apply(&(GATEWAYS.to_owned() + &virtual_services()));
    let mut client = cluster.client();
    for version in ["v1alpha3", "v1beta1", "v1"] {
        for (kind, count) in [("gateways", 5), ("virtualservices", 8)] {
            let path = format!("/apis/networking.istio.io/{version}/{kind}");
            let (status, list) = client.request("GET", &path, "", "");
            assert_eq!(status, 200, "{list}");
            let items = list["items"].as_array().expect("a list");
            let asked = json!(format!("networking.istio.io/{version}"));
            assert!(items.iter().all(|item| item["apiVersion"] == asked), "{list}");
            assert_eq!(items.len(), count, "{path}");
        }
    }
}
