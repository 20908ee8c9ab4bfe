//! Envoy: listeners, routes and clusters each in a file of its own (`path_config_source`), replaced by renaming.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Dialect, File, Place, part, shown};
use crate::estate::{Estate, OWN, Site, TURN, name};

const CONFIGURATION: &str = include_str!("../../../peers/envoy/envoy.yaml");

#[derive(Debug)]
pub(super) struct Envoy;

impl Dialect for Envoy {
    fn name(&self) -> &'static str {
        "envoy"
    }

    fn arguments(&self) -> &'static [&'static str] {
        &[
            "-c",
            "@FOLDER@/envoy.yaml",
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warning",
        ]
    }

    fn files(&self, place: &Place, estate: &Estate<'_>) -> Result<Vec<File>> {
        Ok(vec![
            File::new("envoy.yaml", place.fill(MAIN)),
            File::new("xds/listeners.yaml", place.fill(&listeners(estate)?)),
            File::new("xds/clusters.json", clusters(estate)),
            routes(estate),
        ])
    }

    fn added(&self, _: &Place, estate: &Estate<'_>) -> Vec<File> {
        vec![routes(estate)]
    }

    fn altered(&self, _: &Place, estate: &Estate<'_>) -> Vec<File> {
        vec![routes(estate)]
    }
}

const MAIN: &str = "
node: {id: bench, cluster: bench}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: @ADMIN@}}}
dynamic_resources:
  lds_config: {path_config_source: {path: @FOLDER@/xds/listeners.yaml}}
  cds_config: {path_config_source: {path: @FOLDER@/xds/clusters.json}}
";

/// One chain for all of TLS: Envoy finds the certificate by name among those of one context, and a chain for each host would
/// hold an HTTP connection manager for each.
fn listeners(estate: &Estate<'_>) -> Result<String> {
    let log = part(CONFIGURATION, "access_log: [", "route_config:")?;
    let listener = |name: &str, port: &str, more: &str| {
        format!(
            "
- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener
  name: {name}
  address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
  listener_filters: [{{name: tls, typed_config: {{
    \"@type\": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}}}]
  filter_chains:
  - filters:
    - {{name: envoy.filters.network.http_connection_manager, typed_config: {{
        \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
        stat_prefix: web, codec_type: AUTO, use_remote_address: true,
        {log}
        rds: {{route_config_name: web, config_source: {{path_config_source: {{path: @FOLDER@/xds/routes.json}}}}}},
        http_filters: [{{name: envoy.filters.http.router, typed_config: {{
          \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}{more}"
        )
    };
    let plain = listener("plain", "@PLAIN@", "").replace(INSPECTOR, "");
    let Some(certificates) = estate.certificates else { return Ok(format!("resources:{plain}\n")) };
    let pair = |number| {
        let (certificate, key) = certificates.files(number);
        format!(
            "\n          - {{certificate_chain: {{filename: {}}}, private_key: {{filename: {}}}}}",
            shown(&certificate),
            shown(&key)
        )
    };
    let pairs: String = (0..certificates.count()).map(pair).collect();
    let context = format!(
        "
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
        common_tls_context:
          alpn_protocols: [h2, http/1.1]
          tls_params: {{tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3}}
          tls_certificates:{pairs}"
    );
    Ok(format!("resources:{plain}{}\n", listener("tls", "@TLS@", &context)))
}

/// What a listener without TLS does not need.
const INSPECTOR: &str = "  listener_filters: [{name: tls, typed_config: {
    \"@type\": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]
";

fn clusters(estate: &Estate<'_>) -> String {
    let endpoint = |member: &std::net::SocketAddr| {
        json!({"endpoint": {"address": {"socket_address": {
            "address": member.ip().to_string(), "port_value": member.port()}}}})
    };
    let endpoints: Vec<Value> = estate.members.iter().map(endpoint).collect();
    let cluster = |site: &Site| {
        json!({
            "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            "name": site.name(), "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": site.name(), "endpoints": [{"lb_endpoints": endpoints}]},
        })
    };
    let services = estate.sites.iter().filter(|site| site.has_service());
    json!({"resources": services.map(cluster).collect::<Vec<_>>()}).to_string()
}

fn routes(estate: &Estate<'_>) -> File {
    let host = |site: &Site| {
        let own = json!({"match": {"prefix": OWN},
            "direct_response": {"status": 200, "body": {"inline_string": "own"}}});
        let headers: Vec<Value> = site
            .turn
            .iter()
            .map(|turn| json!({"header": {"key": TURN, "value": turn.to_string()}}))
            .collect();
        let route = |path: &String| {
            let to = json!({"cluster": name(site.service), "timeout": "0s"});
            json!({"match": {"prefix": path}, "route": to, "response_headers_to_add": headers})
        };
        let routes: Vec<Value> = std::iter::once(own).chain(site.paths.iter().map(route)).collect();
        json!({"name": site.name(), "domains": [site.host()], "routes": routes})
    };
    let web = json!({
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "web", "virtual_hosts": estate.sites.iter().map(host).collect::<Vec<_>>(),
    });
    File::new("xds/routes.json", json!({ "resources": [web] }).to_string())
}
