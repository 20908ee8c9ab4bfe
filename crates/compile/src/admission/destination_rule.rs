//! DestinationRules (`ValidateDestinationRule`).

use std::collections::BTreeSet;

use portcullis_api::DestinationRule;
use portcullis_api::networking::{
    ClientTlsSettings, ConnectionPoolSettings, H2UpgradePolicy, HttpSettings, LoadBalancerSettings,
    OutlierDetection, PortTrafficPolicy, TcpSettings, TrafficPolicy, TunnelSettings,
};

use super::names::{self, Exporter};
use super::{MILLISECOND, Review, client_tls, load_balancer, member, port};

pub(super) fn review(rule: &DestinationRule, review: &mut Review<'_, '_>) {
    let (spec, namespace) = (&rule.spec, rule.meta.namespace.as_str());
    review.judge("spec.host", names::wildcard_host(&spec.host));
    if let Some(policy) = &spec.traffic_policy {
        of_policy(policy, namespace, &mut review.at("spec.trafficPolicy"));
    }
    let mut seen = BTreeSet::new();
    for (index, subset) in spec.subsets.iter().enumerate() {
        let mut review = review.at(format_args!("spec.subsets[{index}]"));
        if !seen.insert(&subset.name) {
            review.refuse(
                "name",
                format!("{:?} is an earlier subset's name", subset.name),
                "rename one of them",
            );
        }
        if !names::is_label(&subset.name) {
            review.refuse(
                "name",
                format!("{:?} is no name for a subset", subset.name),
                "use letters, digits and -",
            );
        }
        names::label_map("labels", &subset.labels, &mut review);
        // Warnings about a subset are lost on the way, as in Istio.
        if let Some(policy) = &subset.traffic_policy {
            of_policy(policy, namespace, &mut review.at("trafficPolicy").silent());
        }
    }
    let exporter = if spec.workload_selector.is_some() { Exporter::SelectingRule } else { Exporter::Other };
    names::export_to(namespace, &spec.export_to, exporter, review);
    let Some(selector) = &spec.workload_selector else { return };
    let mut review = review.at("spec.workloadSelector");
    for (key, value) in &selector.match_labels {
        if key.is_empty() {
            review.refuse(member("matchLabels", key), "a label's key is empty", "write the key");
        }
        if key.contains('*') || value.contains('*') {
            review.refuse(member("matchLabels", key), "labels have no wildcards", "write the whole label");
        }
    }
    if selector.match_labels.is_empty() {
        review.warn("", "selects by no label, and so every workload", "add matchLabels, or remove it");
    }
}

/// `validateTrafficPolicy`.
fn of_policy(policy: &TrafficPolicy, namespace: &str, review: &mut Review<'_, '_>) {
    let empty = TrafficPolicy::default();
    if *policy == empty {
        return review.refuse("", "says nothing", "set one of its fields, or remove it");
    }
    if policy.tunnel.is_some() && policy.proxy_protocol.is_some() {
        return review.refuse("", "tunnel and proxyProtocol exclude each other", "keep one of them");
    }
    of_parts(
        (&policy.outlier_detection, &policy.connection_pool, &policy.load_balancer, &policy.tls),
        namespace,
        review,
    );
    for (index, policy) in policy.port_level_settings.iter().enumerate() {
        of_port(policy, namespace, &mut review.at(format_args!("portLevelSettings[{index}]")));
    }
    if let Some(tunnel) = &policy.tunnel {
        of_tunnel(tunnel, &mut review.at("tunnel"));
    }
}

/// `validatePortTrafficPolicies`. Warnings are lost here, too.
fn of_port(policy: &PortTrafficPolicy, namespace: &str, review: &mut Review<'_, '_>) {
    if policy.port.is_none() {
        review.refuse("port", "is missing", "say which port the settings are for");
    }
    if (PortTrafficPolicy { port: policy.port, ..PortTrafficPolicy::default() }) == *policy {
        return review.refuse("", "says nothing about the port", "set one of its fields, or remove it");
    }
    let mut review = review.at("").silent();
    of_parts(
        (&policy.outlier_detection, &policy.connection_pool, &policy.load_balancer, &policy.tls),
        namespace,
        &mut review,
    );
}

/// What policies have in common, for all ports or for one.
type Parts<'p> = (
    &'p Option<OutlierDetection>,
    &'p Option<ConnectionPoolSettings>,
    &'p Option<LoadBalancerSettings>,
    &'p Option<ClientTlsSettings>,
);

fn of_parts((outlier, pool, balancer, tls): Parts<'_>, namespace: &str, review: &mut Review<'_, '_>) {
    if let Some(outlier) = outlier {
        of_outlier(outlier, &mut review.at("outlierDetection"));
    }
    if let Some(pool) = pool {
        of_pool(pool, &mut review.at("connectionPool"));
    }
    if let Some(balancer) = balancer {
        load_balancer::review(balancer, outlier.is_some(), &mut review.at("loadBalancer"));
    }
    if let Some(tls) = tls {
        client_tls::review(tls, namespace, &mut review.at("tls"));
    }
}

/// `validateTunnelSettings`.
fn of_tunnel(tunnel: &TunnelSettings, review: &mut Review<'_, '_>) {
    if !matches!(tunnel.protocol.as_deref(), None | Some("" | "CONNECT" | "POST")) {
        review.refuse("protocol", "is neither CONNECT nor POST", "use one of them");
    }
    if !names::is_ip(&tunnel.target_host) {
        review.judge("targetHost", names::fqdn(&tunnel.target_host));
    }
    review.judge("targetPort", port(tunnel.target_port));
}

/// `validateOutlierDetection`.
fn of_outlier(outlier: &OutlierDetection, review: &mut Review<'_, '_>) {
    review.length("baseEjectionTime", outlier.base_ejection_time.as_ref());
    if outlier.consecutive_errors.unwrap_or(0) != 0 {
        let remedy = "use consecutiveGatewayErrors or consecutive5xxErrors";
        review.warn("consecutiveErrors", "is deprecated and without effect", remedy);
    }
    let apart = outlier.split_external_local_origin_errors == Some(true);
    if !apart && outlier.consecutive_local_origin_failures.unwrap_or(0) > 0 {
        let message = "counts nothing while local failures are not counted apart";
        review.refuse(
            "consecutiveLocalOriginFailures",
            message,
            "set splitExternalLocalOriginErrors to true",
        );
    }
    review.length("interval", outlier.interval.as_ref());
    for (field, value) in [
        ("maxEjectionPercent", outlier.max_ejection_percent),
        ("minHealthPercent", outlier.min_health_percent),
    ] {
        if value.is_some_and(|percent| !(0..=100).contains(&percent)) {
            review.refuse(field, "is no percentage", "use 0 to 100");
        }
    }
}

/// `validateConnectionPool`.
fn of_pool(pool: &ConnectionPoolSettings, review: &mut Review<'_, '_>) {
    if pool.http.is_none() && pool.tcp.is_none() {
        return review.refuse("", "says nothing", "set http or tcp, or remove it");
    }
    if let Some(http) = &pool.http {
        of_http(http, &mut review.at("http"));
    }
    if let Some(tcp) = &pool.tcp {
        of_tcp(tcp, &mut review.at("tcp"));
    }
}

fn of_http(http: &HttpSettings, review: &mut Review<'_, '_>) {
    let limits = [
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ];
    limits.into_iter().for_each(|(field, limit)| of_limit(field, limit, review));
    review.length("idleTimeout", http.idle_timeout.as_ref());
    if http.h2_upgrade_policy == Some(H2UpgradePolicy::Upgrade) && http.use_client_protocol == Some(true) {
        review.refuse("useClientProtocol", "contradicts h2UpgradePolicy: UPGRADE", "keep one of them");
    }
    if let Some(keep_alive) = &http.http2_keep_alive {
        let mut review = review.at("http2KeepAlive");
        for (field, length) in [("interval", &keep_alive.interval), ("timeout", &keep_alive.timeout)] {
            if length.is_none() {
                review.refuse(field, "is missing", "write a length such as 5s");
            }
            review.length(field, length.as_ref());
        }
    }
}

fn of_tcp(tcp: &TcpSettings, review: &mut Review<'_, '_>) {
    of_limit("maxConnections", tcp.max_connections, review);
    review.length("connectTimeout", tcp.connect_timeout.as_ref());
    review.length("maxConnectionDuration", tcp.max_connection_duration.as_ref());
    // What rounds to zero milliseconds switches the timeout off.
    let idle = tcp.idle_timeout.as_ref();
    review.length("idleTimeout", idle.filter(|idle| idle.nanos() / MILLISECOND != 0));
    if let Some(probes) = &tcp.tcp_keepalive {
        review.length("tcpKeepalive.time", probes.time.as_ref());
        review.length("tcpKeepalive.interval", probes.interval.as_ref());
    }
}

fn of_limit(field: &str, limit: Option<i32>, review: &mut Review<'_, '_>) {
    if limit.is_some_and(|limit| limit < 0) {
        review.refuse(field, "is negative", "use 0 or more");
    }
}
