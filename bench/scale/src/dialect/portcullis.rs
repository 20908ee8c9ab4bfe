//! Portcullis: a folder with a file for each host, as a repository of a cluster's configuration has it.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::Result;
use portcullis_tests::{http, objects};

use super::{Dialect, File, Place};
use crate::certificates::stem;
use crate::estate::{Estate, OWN, Site, TURN, name};

/// Servers of one Gateway; an API server takes no more than some thousand, and nobody writes as many.
const SERVERS: usize = 100;

#[derive(Debug)]
pub(super) struct Portcullis;

impl Dialect for Portcullis {
    fn name(&self) -> &'static str {
        "portcullis"
    }

    fn arguments(&self) -> &'static [&'static str] {
        &[
            "run",
            "--config",
            "@FOLDER@/config",
            "--workers",
            "1",
            "--drain",
            "0",
            "--port-map",
            "80:@PLAIN@,443:@TLS@",
            "--admin",
            "127.0.0.1:0",
            "--metrics",
            "127.0.0.1:@ADMIN@",
            "--stats",
            "127.0.0.1:0",
            "--health",
            "127.0.0.1:0",
        ]
    }

    fn files(&self, _: &Place, estate: &Estate<'_>) -> Result<Vec<File>> {
        let mut files = vec![File::new("config/gateway.yaml", http::gateway())];
        files.extend(estate.sites.iter().map(|site| file(site, estate)));
        if let Some(certificates) = estate.certificates {
            for (number, sites) in estate.sites.chunks(SERVERS).enumerate() {
                files.push(File::new(format!("config/edge-{number}.yaml"), edge(number, sites)));
            }
            for number in 0..certificates.count() {
                files.push(File::new(format!("config/secret-{number}.yaml"), certificates.secret(number)));
            }
        }
        Ok(files)
    }

    fn added(&self, _: &Place, estate: &Estate<'_>) -> Vec<File> {
        vec![file(estate.last(), estate)]
    }

    fn altered(&self, _: &Place, estate: &Estate<'_>) -> Vec<File> {
        vec![file(&estate.sites[0], estate)]
    }
}

fn file(site: &Site, estate: &Estate<'_>) -> File {
    with_members(site, &estate.members)
}

/// The file of a host whose service has these endpoints.
pub(crate) fn with_members(site: &Site, members: &[SocketAddr]) -> File {
    let mut text = objects(site, site.certificate.map(|_| site.number / SERVERS));
    if site.has_service() {
        text += &service(&site.name(), members);
    }
    File::new(format!("config/{}.yaml", site.name()), text)
}

/// A Gateway with a server for each host.
fn edge(number: usize, sites: &[Site]) -> String {
    let server = |site: &Site| {
        let credential = stem(site.certificate.unwrap_or_default());
        let tls = format!("{{mode: SIMPLE, credentialName: {credential}}}");
        objects::server(443, "HTTPS", &[&site.host()], &tls)
    };
    objects::gateway(&format!("edge-{number}"), &sites.iter().map(server).collect::<Vec<_>>())
}

/// A VirtualService on the Gateway for plaintext, or on the one with its server for TLS.
pub(crate) fn objects(site: &Site, edge: Option<usize>) -> String {
    let gateway = edge.map_or("gw".to_owned(), |edge| format!("edge-{edge}"));
    let mut text = format!(
        "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {}, namespace: default}}
spec:
  hosts: [{}]
  gateways: [{}/{gateway}]
  http:
  - {{match: [{{uri: {{prefix: {OWN}}}}}], directResponse: {{status: 200, body: {{string: own}}}}}}",
        site.name(),
        site.host(),
        objects::NAMESPACE
    );
    let turn = site.turn.map(|turn| format!(", headers: {{response: {{set: {{{TURN}: '{turn}'}}}}}}"));
    for path in &site.paths {
        let _ = write!(
            text,
            "\n  - {{match: [{{uri: {{prefix: {path}}}}}], route: [{{destination: {{host: {}, port: {{number: 80}}}}{}}}]}}",
            name(site.service),
            turn.as_deref().unwrap_or_default()
        );
    }
    text
}

/// A Service with all its endpoints in one EndpointSlice, as Kubernetes makes it.
pub(crate) fn service(name: &str, members: &[SocketAddr]) -> String {
    let addresses: String = members
        .iter()
        .map(|member| format!("\n- {{addresses: [{}], conditions: {{ready: true}}}}", member.ip()))
        .collect();
    let port = members.first().map_or(0, SocketAddr::port);
    format!(
        "{}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: {port}, protocol: TCP}}]
endpoints:{addresses}
",
        http::service(name, "http", &[])
    )
}
