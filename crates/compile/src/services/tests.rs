//! What the registry knows beside endpoints.

use super::*;
use crate::testing::{environment, objects};

#[test]
fn endpoints_know_their_workload() {
    let objects = objects(
        "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: app}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-7d9f5-x2k4p
  namespace: app
  labels: {app: web, version: v2, pod-template-hash: 7d9f5, istio-locality: eu.a.1}
status: {podIP: 10.0.0.1}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: app, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]
",
    );
    let services = Services::build(&objects, &environment(), Hosts::All, &mut Diagnostics::default());
    let service = services.find("web.app.svc.cluster.local", "app").expect("it is there");
    let [known, unknown] = service.ports[0].members.as_slice() else { panic!("two endpoints") };
    let workload = &known.workload;
    assert_eq!(&*known.locality, "eu/a/1");
    assert_eq!(
        [&*workload.name, &*workload.namespace, &*workload.app, &*workload.version, &*workload.cluster],
        ["web", "app", "web", "v2", "Kubernetes"]
    );
    assert_eq!((&*unknown.workload.name, &*unknown.workload.cluster), ("unknown", "Kubernetes"));
}

#[test]
fn of_the_pods_an_entry_picks_those_that_are_ready() {
    let pod = |name: &str, address: &str, ready: &str| {
        format!(
            "
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: app, labels: {{app: web}}}}
status: {{phase: Running, podIP: {address}{ready}}}"
        )
    };
    let entry = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: app}
spec:
  hosts: [web.ext]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: web}}";
    let objects = objects(
        &[
            entry.to_owned(),
            pod(
                "ready",
                "10.0.0.1",
                ", conditions: [{type: Initialized, status: 'False'}, {type: Ready, status: 'True'}]",
            ),
            pod("not", "10.0.0.2", ", conditions: [{type: Ready, status: 'False'}]"),
            pod("silent", "10.0.0.3", ""),
        ]
        .concat(),
    );
    let services = Services::build(&objects, &environment(), Hosts::All, &mut Diagnostics::default());
    let service = services.find("web.ext", "app").expect("it is there");
    let names: Vec<_> = service.ports[0].members.iter().map(|member| &*member.workload.name).collect();
    assert_eq!(names, ["ready"]);
}

#[test]
fn an_endpoint_without_a_name_is_called_after_its_entry() {
    let objects = objects(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext, namespace: app}
spec:
  hosts: [web.ext]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2, labels: {app: web}}]
",
    );
    let services = Services::build(&objects, &environment(), Hosts::All, &mut Diagnostics::default());
    let service = services.find("web.ext", "app").expect("it is there");
    let facts =
        |member: &Member| (member.workload.name.to_string(), member.workload.canonical_service.to_string());
    let facts: Vec<_> = service.ports[0].members.iter().map(facts).collect();
    assert_eq!(facts, [("ext-0".into(), "ext-0".into()), ("ext-1".into(), "web".into())]);
}

#[test]
fn a_destination_prefers_the_service_of_its_own_namespace() {
    let objects = objects(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: one, creationTimestamp: '2024-01-01T00:00:00Z'}
spec: {hosts: [x.ext], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b, namespace: two, creationTimestamp: '2025-01-01T00:00:00Z'}
spec: {hosts: [x.ext], resolution: STATIC, ports: [{number: 90, name: http, protocol: HTTP}]}
",
    );
    let services = Services::build(&objects, &environment(), Hosts::All, &mut Diagnostics::default());
    let port = |namespace| services.find("x.ext", namespace).map(|service| service.ports[0].number);
    assert_eq!([port("one"), port("two"), port("three")], [Some(80), Some(90), Some(80)]);
}

#[test]
fn objects_for_one_host_share_the_endpoints_of_ports_of_one_name() {
    let entry = |name: &str, host: &str, number: u16, port: &str, address: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: app}}\n\
             spec: {{hosts: [{host}], resolution: STATIC, ports: [{{number: {number}, name: {port}, protocol: HTTP}}], \
             endpoints: [{{address: {address}}}]}}\n"
        )
    };
    let own = "web.app.svc.cluster.local";
    let service = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: app}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: app, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
"
    .to_owned();
    let all = service
        + &entry("a", own, 80, "http", "10.0.0.2")
        + &entry("b", own, 81, "other", "10.0.0.3")
        + &entry("c", "x.ext", 80, "http", "10.0.0.4")
        + &entry("d", "x.ext", 81, "http", "10.0.0.5")
        + &entry("e", "x.ext", 82, "other", "10.0.0.6");
    let services = Services::build(&objects(&all), &environment(), Hosts::All, &mut Diagnostics::default());
    let found = |host: &str| {
        let service = services.find(host, "app").expect("it is there");
        let last = |member: &Member| match &member.place {
            Place::Ip(IpAddr::V4(address)) => address.octets()[3],
            other => panic!("{other:?}"),
        };
        let ports = service.ports.iter();
        ports.map(|port| (port.number, port.members.iter().map(last).collect())).collect::<Vec<(_, Vec<_>)>>()
    };
    assert_eq!(found(own), [(80, vec![1, 2])]);
    assert_eq!(found("x.ext"), [(80, vec![4, 5]), (81, vec![4, 5]), (82, vec![6])]);
}
