//! Configurations for HTTP: Gateways in plaintext, VirtualServices with `http` rules, Services with any number
//! of members.

use std::net::SocketAddr;

use crate::objects;

/// A plaintext HTTP server of a Gateway, in YAML's flow style.
pub fn server(port: u16, hosts: &[&str]) -> String {
    let hosts = hosts.join("', '");
    format!("{{port: {{number: {port}, name: http-{port}, protocol: HTTP}}, hosts: ['{hosts}']}}")
}

/// A VirtualService `default/name` on Gateway `istio-system/gw`, with these `http` rules, each in YAML's flow
/// style.
pub fn routes(name: &str, hosts: &[&str], rules: &[String]) -> String {
    let rules: String = rules.iter().map(|rule| format!("\n  - {rule}")).collect();
    let hosts = hosts.join("', '");
    format!(
        "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: ['{hosts}']
  gateways: [{}/gw]
  http:{rules}",
        objects::NAMESPACE
    )
}

/// A rule that sends everything to port 80 of a service; `more` are further fields, as `timeout: 1s`.
pub fn to(service: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!("{{route: [{{destination: {{host: {service}, port: {{number: 80}}}}}}]{comma}{more}}}")
}

/// The same for paths that begin with `prefix`.
pub fn prefix(prefix: &str, service: &str, more: &str) -> String {
    to(service, more).replacen('{', &format!("{{match: [{{uri: {{prefix: {prefix}}}}}], "), 1)
}

/// A Service `name.default.svc.cluster.local` on port 80, its protocol told by the port's name, and its
/// members, each in an EndpointSlice of its own.
pub fn service(name: &str, port_name: &str, members: &[SocketAddr]) -> String {
    let service = format!(
        "
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{ports: [{{name: {port_name}, port: 80}}], selector: {{app: {name}}}}}"
    );
    service + &slices(name, port_name, members)
}

/// The EndpointSlices alone.
pub fn slices(name: &str, port_name: &str, members: &[SocketAddr]) -> String {
    let slice = |(index, member): (usize, &SocketAddr)| {
        format!(
            "
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-{index}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: {port_name}, port: {}, protocol: TCP}}]
endpoints: [{{addresses: ['{}'], conditions: {{ready: true}}}}]",
            member.port(),
            member.ip()
        )
    };
    members.iter().enumerate().map(slice).collect()
}

/// Gateway `gw` with plaintext HTTP on port 80 for every host.
pub fn gateway() -> String {
    objects::gateway("gw", &[server(80, &["*"])])
}

/// Everything for one service `app` that gets every request of port 80; `more` are further fields of its rule.
pub fn site(member: SocketAddr, more: &str) -> String {
    gateway() + &routes("app", &["*"], &[to("app", more)]) + &service("app", "http", &[member])
}
