//! Kubernetes objects as text, for gateways under test.
//!
//! Each function gives one document, or several, with its separator in front: texts are joined by
//! writing them one behind the other.

use std::net::SocketAddr;

/// The namespace of the gateway, where its Secrets are.
pub const NAMESPACE: &str = "istio-system";

/// A Service `name.default.svc.cluster.local` of one port with one member.
///
/// `port_name` tells the protocol: `tcp-postgres`, `http`, `https`.
pub fn service(name: &str, port: u16, port_name: &str, member: SocketAddr) -> String {
    format!(
        "
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{ports: [{{name: {port_name}, port: {port}}}], selector: {{app: {name}}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: {port_name}, port: {}, protocol: TCP}}]
endpoints: [{{addresses: ['{}'], conditions: {{ready: true}}}}]",
        member.port(),
        member.ip()
    )
}

/// A Gateway `istio-system/name` with these servers, each in YAML's flow style.
pub fn gateway(name: &str, servers: &[String]) -> String {
    let servers: String = servers.iter().map(|server| format!("\n  - {server}")).collect();
    format!(
        "
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  selector: {{istio: ingressgateway}}
  servers:{servers}"
    )
}

/// A server that passes TLS through.
pub fn passthrough(port: u16, hosts: &[&str]) -> String {
    server(port, "TLS", hosts, "{mode: PASSTHROUGH}")
}

/// A server with any `tls` block.
pub fn server(port: u16, protocol: &str, hosts: &[&str], tls: &str) -> String {
    // Istio wants each server of a Gateway to name its port differently.
    let label: String = hosts.concat().chars().filter(char::is_ascii_alphanumeric).collect();
    let name = format!("{}-{port}{label}", protocol.to_lowercase());
    let hosts = hosts.join("', '");
    format!(
        "{{port: {{number: {port}, name: {name}, protocol: {protocol}}}, hosts: ['{hosts}'], tls: {tls}}}"
    )
}

/// A VirtualService `default/name` with a `tls` route from each server name to a service's port.
pub fn tls_routes(name: &str, gateway: &str, port: u16, routes: &[(&str, &str)]) -> String {
    let hosts: Vec<&str> = routes.iter().map(|(host, _)| *host).collect();
    let hosts = hosts.join("', '");
    let rules: String = routes
        .iter()
        .map(|(host, service)| {
            format!(
                "\n  - match: [{{port: {port}, sniHosts: ['{host}']}}]\n    route: [{}]",
                destination(service, port)
            )
        })
        .collect();
    format!("{}\n  tls:{rules}", virtual_service(name, gateway, &hosts))
}

/// A VirtualService `default/name` with one `tcp` route to a service's port, for `hosts`.
pub fn tcp_route(name: &str, gateway: &str, port: u16, host: &str, service: &str) -> String {
    let rule = format!("\n  - match: [{{port: {port}}}]\n    route: [{}]", destination(service, port));
    format!("{}\n  tcp:{rule}", virtual_service(name, gateway, host))
}

fn virtual_service(name: &str, gateway: &str, hosts: &str) -> String {
    format!(
        "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: ['{hosts}']
  gateways: [{NAMESPACE}/{gateway}]"
    )
}

fn destination(service: &str, port: u16) -> String {
    format!("{{destination: {{host: {service}.default.svc.cluster.local, port: {{number: {port}}}}}}}")
}

/// A DestinationRule of a service with any `trafficPolicy`.
pub fn destination_rule(service: &str, policy: &str) -> String {
    format!(
        "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {service}, namespace: default}}
spec:
  host: {service}.default.svc.cluster.local
  trafficPolicy: {policy}"
    )
}
