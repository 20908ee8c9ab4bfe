//! Clusters out of objects, printed and compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use portcullis_snapshot::cluster::{Balancer, HashPolicy, UpstreamProtocol};

use super::*;
use crate::testing::{environment, objects};

/// Builds the clusters of `text` in `environment` and gives them to `look`.
fn with_clusters<T>(text: &str, environment: &Environment, look: impl FnOnce(&Clusters) -> T) -> T {
    let objects = objects(text);
    let mut diagnostics = Diagnostics::default();
    let services = Services::build(&objects, environment, Hosts::All, &mut diagnostics);
    look(&Clusters::build(&objects, environment, &services, None, &mut diagnostics))
}

/// Name, and addresses with weight and health, a line for each cluster.
fn printed(clusters: &Clusters) -> String {
    let mut out = String::new();
    for cluster in clusters.served.iter() {
        let _ = write!(out, "{}:", cluster.name);
        for endpoint in &cluster.endpoints.all {
            let weight = if endpoint.weight == 1 { String::new() } else { format!("*{}", endpoint.weight) };
            let _ = write!(out, " {}{weight}{}", endpoint.address, if endpoint.healthy { "" } else { "!" });
        }
        out.push('\n');
    }
    out
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let expected: String = expected.lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(with_clusters(text, &environment(), printed), expected.trim_start());
}

#[track_caller]
fn one(text: &str) -> Arc<Cluster> {
    with_clusters(text, &environment(), |clusters| {
        assert_eq!(clusters.len(), 1, "{}", printed(clusters));
        Arc::clone(clusters.served.iter().next().expect("one"))
    })
}

#[test]
fn slices_give_endpoints_by_port_name_and_condition() {
    check(
        "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: app}
spec:
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: dns, port: 53, protocol: UDP}
  - {name: admin, port: 90}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: app, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: dns, port: 53}]
endpoints:
- {addresses: [10.0.0.2]}
- {addresses: [10.0.0.1], conditions: {ready: true}}
- {addresses: [10.0.0.3], conditions: {ready: false, terminating: false}}
- {addresses: [10.0.0.4], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.0.0.5], conditions: {ready: false}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-2, namespace: app, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ['fd00::1']}, {addresses: [10.0.0.2]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-3, namespace: app, labels: {kubernetes.io/service-name: web}}
addressType: FQDN
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [a.example.com]}]
",
        "outbound|80||web.app.svc.cluster.local: 10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080! [fd00::1]:8080
         outbound|90||web.app.svc.cluster.local:",
    );
}

#[test]
fn pods_give_labels_and_hold_endpoints_back() {
    check(
        "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: app}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: app, labels: {version: v1}}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: app, labels: {version: v2, canary: 'yes'}}
status: {podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: app, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: one, namespace: app}}
- {addresses: [10.0.0.2]}
- {addresses: [10.0.0.3], targetRef: {kind: Pod, name: three, namespace: app}}
- {addresses: [10.0.0.4]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: app}
spec:
  host: web
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2, canary: 'yes'}}
  - {name: v3, labels: {version: v3}}
  - {name: any}
",
        "outbound|80|any|web.app.svc.cluster.local: 10.0.0.1:8080 10.0.0.2:8080 10.0.0.4:8080
         outbound|80|v1|web.app.svc.cluster.local: 10.0.0.1:8080
         outbound|80|v2|web.app.svc.cluster.local: 10.0.0.2:8080
         outbound|80|v3|web.app.svc.cluster.local:
         outbound|80||web.app.svc.cluster.local: 10.0.0.1:8080 10.0.0.2:8080 10.0.0.4:8080",
    );
}

#[test]
fn endpoints_objects_stand_in_for_slices() {
    check(
        "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: app}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: web, namespace: app}
subsets:
- {addresses: [{ip: 10.0.0.1}], notReadyAddresses: [{ip: 10.0.0.2}], ports: [{name: http, port: 8080}]}
",
        "outbound|80||web.app.svc.cluster.local: 10.0.0.1:8080 10.0.0.2:8080!",
    );
}

const ENTRIES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: static, namespace: app}
spec:
  hosts: [one.ext, two.ext]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: alt, protocol: HTTP, targetPort: 8181}]
  endpoints:
  - {address: 10.0.0.1, ports: {http: 8080}, weight: 5}
  - {address: 'unix:///run/app.sock', labels: {version: v1}}
  - {address: name.example.com}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dns, namespace: app}
spec:
  hosts: [dns.ext]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: a.example.com, ports: {http: 8080}}, {address: 10.0.0.9}, {address: late.example.com}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: itself, namespace: app}
spec:
  hosts: [a.example.com, '*.wild.ext']
  resolution: DNS_ROUND_ROBIN
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: itself, namespace: app}
spec: {host: a.example.com, subsets: [{name: v1, labels: {version: v1}}, {name: all}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: none, namespace: app}
spec: {hosts: [none.ext], ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hidden, namespace: app}
spec: {hosts: [hidden.ext], exportTo: [.], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}
";

#[test]
fn service_entries_by_resolution() {
    let mut environment = environment();
    let answers = ["10.1.0.2", "10.1.0.1"].map(|text| text.parse().expect("an address"));
    environment.resolved = BTreeMap::from([("a.example.com".to_owned(), answers.to_vec())]);
    let (found, wanted) =
        with_clusters(ENTRIES, &environment, |clusters| (printed(clusters), clusters.wanted_names()));
    let expected = "\
outbound|80|all|a.example.com: 10.1.0.2:80 or 10.1.0.1:80
outbound|80||a.example.com: 10.1.0.2:80 or 10.1.0.1:80
outbound|80||dns.ext: 10.0.0.9:80 10.1.0.1:8080 10.1.0.2:8080
outbound|80||none.ext:
outbound|80||one.ext: 10.0.0.1:8080*5 unix:///run/app.sock
outbound|80||two.ext: 10.0.0.1:8080*5 unix:///run/app.sock
outbound|81||one.ext: 10.0.0.1:8181*5 unix:///run/app.sock
outbound|81||two.ext: 10.0.0.1:8181*5 unix:///run/app.sock
";
    assert_eq!(found, expected);
    assert_eq!(wanted.into_iter().collect::<Vec<_>>(), ["a.example.com", "late.example.com"]);
}

#[test]
fn workload_entries_behind_entries_and_services() {
    check(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm, namespace: app}
spec:
  hosts: [vm.ext]
  resolution: STATIC
  workloadSelector: {labels: {app: vm}}
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: app}
spec: {selector: {app: vm}, ports: [{name: http, port: 80, targetPort: web}, {name: raw, port: 81, targetPort: 8181}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a, namespace: app}
spec: {address: 10.0.0.1, labels: {app: vm}, ports: {web: 8888}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: b, namespace: app, labels: {app: vm}}
spec: {address: 10.0.0.2, labels: {app: other}, weight: 3}
status: {conditions: [{type: Healthy, status: 'False'}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: c, namespace: other, labels: {app: vm}}
spec: {address: 10.0.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: pod, namespace: app, labels: {app: vm}}
status: {podIP: 10.0.0.4, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: done, namespace: app, labels: {app: vm}}
status: {podIP: 10.0.0.5, phase: Succeeded}
",
        "outbound|80||vm.ext: 10.0.0.1:8080 10.0.0.2:8080*3! 10.0.0.4:8080
         outbound|80||web.app.svc.cluster.local: 10.0.0.1:8888
         outbound|81||web.app.svc.cluster.local: 10.0.0.1:8181 10.0.0.2:8181*3!",
    );
}

#[test]
fn one_host_in_several_objects() {
    check(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: app, creationTimestamp: '2024-01-02T00:00:00Z'}
spec: {hosts: [x.ext, web.app.svc.cluster.local], resolution: STATIC, endpoints: [{address: 10.0.0.1}],
       ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: more, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b, namespace: app, creationTimestamp: '2024-01-01T00:00:00Z'}
spec: {hosts: [x.ext], resolution: STATIC, endpoints: [{address: 10.0.0.2}],
       ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: c, namespace: app, creationTimestamp: '2024-01-03T00:00:00Z'}
spec: {hosts: [x.ext], resolution: NONE, ports: [{number: 82, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: d, namespace: other, creationTimestamp: '2023-01-03T00:00:00Z'}
spec: {hosts: [x.ext], resolution: STATIC, endpoints: [{address: 10.0.0.4}],
       ports: [{number: 81, name: http, protocol: HTTP}, {number: 83, name: more, protocol: HTTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: app, creationTimestamp: '2025-01-01T00:00:00Z'}
spec: {ports: [{name: http, port: 80}]}
",
        "outbound|80||web.app.svc.cluster.local: 10.0.0.1:80
         outbound|80||x.ext: 10.0.0.1:80 10.0.0.2:80
         outbound|81||x.ext: 10.0.0.4:81
         outbound|83||x.ext: 10.0.0.4:83",
    );
}

#[test]
fn destinations() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: app}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: app}
spec: {ports: [{name: http, port: 80}, {name: admin, port: 90}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: app}
spec: {type: ExternalName, externalName: web.app.svc.cluster.local, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: twice, namespace: app}
spec: {type: ExternalName, externalName: alias.app.svc.cluster.local, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: app, annotations: {networking.istio.io/exportTo: '., other'}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: shown, namespace: app, annotations: {networking.istio.io/exportTo: '., gw'}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: app}
spec: {hosts: ['*.wild.ext'], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}
";
    for (host, subset, port, expected) in [
        ("web", None, None, "outbound|80||web.app.svc.cluster.local"),
        ("web", None, Some(80), "outbound|80||web.app.svc.cluster.local"),
        ("web.app.svc.cluster.local", None, None, "outbound|80||web.app.svc.cluster.local"),
        ("web", None, Some(81), "? outbound|81||web.app.svc.cluster.local"),
        ("web", Some("v1"), None, "? outbound|80|v1|web.app.svc.cluster.local"),
        ("web.app", None, None, "? outbound|8080||web.app"),
        ("two", None, None, "? outbound|8080||two.app.svc.cluster.local"),
        ("two", None, Some(90), "outbound|90||two.app.svc.cluster.local"),
        ("alias", None, None, "outbound|80||web.app.svc.cluster.local"),
        ("twice", None, None, "? outbound|80||alias.app.svc.cluster.local"),
        ("hidden", None, Some(80), "? outbound|80||hidden.app.svc.cluster.local"),
        ("shown", None, None, "outbound|80||shown.app.svc.cluster.local"),
        ("*.wild.ext", None, None, "outbound|80||*.wild.ext"),
        ("a.wild.ext", None, Some(80), "? outbound|80||a.wild.ext"),
        ("web", None, Some(70_000), "? outbound|70000||web.app.svc.cluster.local"),
    ] {
        let found = with_clusters(text, &environment(), |clusters| {
            match clusters.destination(host, "app", subset, port, 8080) {
                Target::Cluster(id) => clusters.served.get(id).expect("it is there").name.to_string(),
                Target::Unknown(name) => format!("? {name}"),
            }
        });
        assert_eq!(found, expected, "{host} {subset:?} {port:?}");
    }
}

/// A Service with one port called `port`, a DestinationRule with `policy`, a MeshConfig with `mesh`.
fn with_policy(port: &str, policy: &str, mesh: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: app}}
spec: {{ports: [{{name: {port}, port: 80}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web, namespace: app}}
spec: {{host: web, trafficPolicy: {{{policy}}}}}
---
kind: MeshConfig
{mesh}
"
    )
}

#[test]
fn protocols() {
    use UpstreamProtocol::{AsClient, Http1, Http2};
    for (port, http, mesh, expected) in [
        ("http", "", "", Http1),
        ("grpc", "", "", Http2),
        ("tcp", "", "", Http1),
        ("tcp", "h2UpgradePolicy: UPGRADE", "", Http2),
        ("http", "h2UpgradePolicy: DO_NOT_UPGRADE", "h2UpgradePolicy: UPGRADE", Http1),
        ("http", "h2UpgradePolicy: DEFAULT", "h2UpgradePolicy: UPGRADE", Http2),
        ("tcp", "", "h2UpgradePolicy: UPGRADE", Http1),
        ("http2", "h2UpgradePolicy: DO_NOT_UPGRADE", "", Http2),
        ("http", "useClientProtocol: true", "", AsClient),
        ("grpc", "useClientProtocol: true", "", AsClient),
    ] {
        let cluster = one(&with_policy(port, &format!("connectionPool: {{http: {{{http}}}}}"), mesh));
        assert_eq!(cluster.protocol, expected, "{port} {http} {mesh}");
    }
}

#[test]
fn balancers_and_hashes() {
    let header = || vec![HashPolicy::Header("x-user".into())];
    let cookie = |ttl| {
        let (name, path) = ("c".into(), Some("/p".into()));
        vec![HashPolicy::Cookie { name, path, ttl, attributes: Box::default() }]
    };
    let ring = |minimum_size| Balancer::RingHash { minimum_size };
    let maglev = |table_size| Balancer::Maglev { table_size };
    for (settings, balancer, hash) in [
        ("", Balancer::LeastRequest, vec![]),
        ("simple: UNSPECIFIED", Balancer::LeastRequest, vec![]),
        ("simple: LEAST_CONN", Balancer::LeastRequest, vec![]),
        ("simple: ROUND_ROBIN", Balancer::RoundRobin, vec![]),
        ("simple: RANDOM", Balancer::Random, vec![]),
        ("consistentHash: {httpHeaderName: X-User}", ring(1024), header()),
        ("consistentHash: {httpHeaderName: x-user, minimumRingSize: 99}", ring(99), header()),
        (
            "consistentHash: {httpHeaderName: x-user, ringHash: {minimumRingSize: 99999999}}",
            ring(8_388_608),
            header(),
        ),
        ("consistentHash: {httpHeaderName: x-user, maglev: {tableSize: 1009}}", maglev(1009), header()),
        ("consistentHash: {httpHeaderName: x-user, maglev: {tableSize: 1010}}", maglev(65_537), header()),
        ("consistentHash: {httpHeaderName: x-user, maglev: {}}", maglev(65_537), header()),
        ("consistentHash: {useSourceIp: true}", ring(1024), vec![HashPolicy::SourceIp]),
        ("consistentHash: {useSourceIp: false}", ring(1024), vec![]),
        ("consistentHash: {httpQueryParameterName: q}", ring(1024), vec![HashPolicy::Query("q".into())]),
        ("consistentHash: {httpCookie: {name: c, path: /p}}", ring(1024), cookie(None)),
        (
            "consistentHash: {httpCookie: {name: c, path: /p, ttl: 0s}}",
            ring(1024),
            cookie(Some(Duration::ZERO)),
        ),
    ] {
        let text = with_policy("http", &format!("loadBalancer: {{{settings}}}"), "");
        with_clusters(&text, &environment(), |clusters| {
            let target = Target::Cluster(ClusterId(0));
            let built = clusters.get(&target).map(|cluster| cluster.balancer);
            assert_eq!(built, Some(balancer), "{settings}");
            assert_eq!(clusters.hash_policies(&target, true), hash, "{settings}");
            assert_eq!(clusters.hash_policies(&target, false), hash, "{settings}");
        });
    }
}

#[test]
fn hashing_by_a_port_setting_needs_the_port_in_the_destination() {
    let policy = "loadBalancer: {simple: RANDOM}, portLevelSettings: [{port: {number: 80}, loadBalancer: \
                  {consistentHash: {useSourceIp: true}}}]";
    with_clusters(&with_policy("http", policy, ""), &environment(), |clusters| {
        let target = clusters.destination("web", "app", None, None, 80);
        assert_eq!(clusters.hash_policies(&target, true), [HashPolicy::SourceIp]);
        assert_eq!(clusters.hash_policies(&target, false), []);
        assert_eq!(clusters.hash_policies(&Target::Unknown("x".into()), true), []);
    });
}

#[test]
fn passthrough_balancing_leaves_nobody() {
    let text = format!(
        "{}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: app, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{{addresses: [10.0.0.2]}}]
",
        with_policy("http", "loadBalancer: {simple: PASSTHROUGH}", "")
    );
    assert!(one(&text).endpoints.all.is_empty());
}
