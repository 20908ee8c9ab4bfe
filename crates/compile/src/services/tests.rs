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
    let services = Services::build(&objects, &environment(), &mut Diagnostics::default());
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
    let services = Services::build(&objects, &environment(), &mut Diagnostics::default());
    let port = |namespace| services.find("x.ext", namespace).map(|service| service.default_port(1));
    assert_eq!([port("one"), port("two"), port("three")], [Some(80), Some(90), Some(80)]);
}
