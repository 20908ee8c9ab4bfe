//! Policies out of rules.

use portcullis_api::Object;

use super::*;
use crate::clusters::destination_rule::DestinationRules;
use crate::services::Hosts;
use crate::testing::{environment, objects};

/// The policy of a rule with `spec` for a port and subset.
fn with_policy<T>(
    spec: &str,
    subset: Option<&str>,
    port: Option<u16>,
    look: impl FnOnce(&Policy<'_>) -> T,
) -> T {
    let text = format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web, namespace: app}}
spec: {{host: web, {spec}}}
"
    );
    let objects = objects(&text);
    let environment = environment();
    let rules = DestinationRules::new(&objects, &environment, Hosts::All);
    let rule = rules.find("web.app.svc.cluster.local", "app").expect("a rule");
    let subset = rule.subsets.iter().find(|(_, own)| Some(own.value.name.as_str()) == subset);
    look(&Policy::new(Some(rule), subset.copied(), port, None))
}

fn mesh(text: &str) -> MeshConfig {
    let loaded = portcullis_api::load("mesh.yaml", &format!("kind: MeshConfig\n{text}"));
    match loaded.objects.as_slice() {
        [Object::Mesh(mesh)] => mesh.spec.clone(),
        other => panic!("{other:?} {:?}", loaded.findings),
    }
}

/// Which balancer, outlier detection and TLS stand at the end: a letter each.
fn print(policy: &Policy<'_>) -> String {
    let balancer = match policy.balancer() {
        Balancer::LeastRequest => "least",
        Balancer::RoundRobin => "robin",
        Balancer::Random => "random",
        _ => "hash",
    };
    let ejects = if policy.outlier.is_some() { " ejects" } else { "" };
    let tls = policy.tls.map(|tls| format!(" {}", tls.field())).unwrap_or_default();
    format!("{balancer}{ejects}{tls}")
}

#[test]
fn ports_and_subsets() {
    let spec = "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {}, tls: {mode: SIMPLE}, \
                portLevelSettings: [{port: {number: 90}, tls: {mode: SIMPLE}}, {port: {number: 91}, outlierDetection: {}}]}, \
                subsets: [{name: plain}, {name: own, trafficPolicy: {loadBalancer: {simple: RANDOM}}}, \
                {name: ports, trafficPolicy: {loadBalancer: {simple: RANDOM}, portLevelSettings: \
                [{port: {number: 80}, outlierDetection: {}}, {port: {number: 90}, tls: {mode: SIMPLE}}]}}]";
    for (subset, port, expected) in [
        (None, 80, "robin ejects spec.trafficPolicy.tls"),
        // What a port's entry leaves out is default, not inherited.
        (None, 90, "least spec.trafficPolicy.portLevelSettings[0].tls"),
        (None, 91, "least ejects"),
        (Some("plain"), 80, "robin ejects spec.trafficPolicy.tls"),
        (Some("plain"), 90, "least spec.trafficPolicy.portLevelSettings[0].tls"),
        (Some("own"), 80, "random ejects spec.trafficPolicy.tls"),
        (Some("own"), 90, "random spec.trafficPolicy.portLevelSettings[0].tls"),
        (Some("ports"), 80, "least ejects"),
        (Some("ports"), 90, "least spec.subsets[2].trafficPolicy.portLevelSettings[1].tls"),
        (Some("ports"), 91, "random ejects"),
    ] {
        let found = with_policy(spec, subset, Some(port), print);
        assert_eq!(found, expected, "{subset:?} {port}");
    }
    assert_eq!(with_policy(spec, Some("ports"), None, print), "random ejects spec.trafficPolicy.tls");
}

#[test]
fn outlier_detection() {
    let seconds = Duration::from_secs;
    let default = OutlierDetection {
        consecutive_5xx: Some(5),
        consecutive_gateway: None,
        consecutive_local: None,
        failure_statuses: None,
        interval: seconds(10),
        base_ejection: seconds(30),
        max_ejection: seconds(300),
        max_ejection_percent: 10,
        min_health_percent: 0,
    };
    for (settings, expected) in [
        ("", default.clone()),
        ("consecutive5xxErrors: 0", OutlierDetection { consecutive_5xx: None, ..default.clone() }),
        ("consecutive5xxErrors: 3", OutlierDetection { consecutive_5xx: Some(3), ..default.clone() }),
        ("consecutiveGatewayErrors: 2", OutlierDetection { consecutive_gateway: Some(2), ..default.clone() }),
        ("consecutiveGatewayErrors: 0", default.clone()),
        ("consecutiveLocalOriginFailures: 4", default.clone()),
        (
            "splitExternalLocalOriginErrors: true",
            OutlierDetection { consecutive_local: Some(5), ..default.clone() },
        ),
        (
            "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 4",
            OutlierDetection { consecutive_local: Some(4), ..default.clone() },
        ),
        ("maxEjectionPercent: 0", default.clone()),
        ("maxEjectionPercent: 100", OutlierDetection { max_ejection_percent: 100, ..default.clone() }),
        ("maxEjectionPercent: 900", OutlierDetection { max_ejection_percent: 100, ..default.clone() }),
        ("minHealthPercent: 50", OutlierDetection { min_health_percent: 50, ..default.clone() }),
        (
            "interval: 300ms, baseEjectionTime: 10m",
            OutlierDetection {
                interval: Duration::from_millis(300),
                base_ejection: seconds(600),
                max_ejection: seconds(600),
                ..default
            },
        ),
    ] {
        let spec = format!("trafficPolicy: {{outlierDetection: {{{settings}}}}}");
        assert_eq!(
            with_policy(&spec, None, Some(80), |policy| policy.outlier_detection()),
            Some(expected),
            "{settings}"
        );
    }
    assert_eq!(with_policy("subsets: []", None, Some(80), |policy| policy.outlier_detection()), None);
}

#[test]
fn connection_pools() {
    let default = PoolLimits::default();
    let seconds = Duration::from_secs;
    let cases = [
        ("", "", default.clone()),
        ("", "connectTimeout: 3s", PoolLimits { connect_timeout: seconds(3), ..default.clone() }),
        (
            "tcp: {connectTimeout: 2s, maxConnections: 7}",
            "connectTimeout: 3s",
            PoolLimits { connect_timeout: seconds(2), max_connections: 7, ..default.clone() },
        ),
        ("tcp: {maxConnections: 0}", "", default.clone()),
        ("tcp: {maxConnections: -1}", "", default.clone()),
        (
            "tcp: {idleTimeout: 5s}",
            "",
            PoolLimits {
                tcp_idle_timeout: Some(seconds(5)),
                idle_timeout: Some(seconds(5)),
                ..default.clone()
            },
        ),
        (
            "tcp: {idleTimeout: 0s}, http: {idleTimeout: 7s}",
            "",
            PoolLimits { tcp_idle_timeout: None, idle_timeout: Some(seconds(7)), ..default.clone() },
        ),
        (
            "tcp: {maxConnectionDuration: 1h, tcpKeepalive: {time: 60s, interval: 5s, probes: 3}}",
            "tcpKeepalive: {time: 1s}",
            PoolLimits {
                max_connection_duration: Some(seconds(3600)),
                keepalive: Some(TcpKeepalive {
                    time: Some(seconds(60)),
                    interval: Some(seconds(5)),
                    probes: Some(3),
                }),
                ..default.clone()
            },
        ),
        (
            "http: {http1MaxPendingRequests: 1, http2MaxRequests: 2, maxRetries: 3, maxRequestsPerConnection: 4, \
             maxConcurrentStreams: 5}",
            "",
            PoolLimits {
                max_pending: 1,
                max_requests: 2,
                max_retries: 3,
                max_requests_per_connection: Some(4),
                max_concurrent_streams: Some(5),
                ..default
            },
        ),
    ];
    for (settings, mesh_text, expected) in cases {
        let mesh = mesh(mesh_text);
        let spec = format!("trafficPolicy: {{connectionPool: {{{settings}}}}}");
        let found = with_policy(&spec, None, Some(80), |policy| policy.pool_limits(Some(&mesh)));
        assert_eq!(found, expected, "{settings} {mesh_text}");
    }
}

#[test]
fn the_mesh_fills_what_the_rule_leaves_out() {
    let mesh = mesh(
        "defaultTrafficPolicy: {outlierDetection: {consecutive5xxErrors: 9}, connectionPool: {tcp: {maxConnections: 9}}}",
    );
    let policy = Policy::new(None, None, Some(80), Some(&mesh));
    assert_eq!(policy.outlier_detection().and_then(|outlier| outlier.consecutive_5xx), Some(9));
    assert_eq!(policy.pool_limits(Some(&mesh)).max_connections, 9);
}

#[test]
fn keepalive_parts_are_filled_up_by_the_mesh() {
    let mesh = mesh("tcpKeepalive: {time: 60s, interval: 5s, probes: 3}");
    let found = |settings: &str, mesh: Option<&MeshConfig>| {
        let spec = format!("trafficPolicy: {{connectionPool: {{tcp: {{{settings}}}}}}}");
        let found = with_policy(&spec, None, Some(80), |policy| policy.pool_limits(mesh).keepalive);
        found.map(|keepalive| (keepalive.time, keepalive.interval, keepalive.probes))
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(found("", None), None);
    assert_eq!(found("tcpKeepalive: {}", None), Some((None, None, None)));
    assert_eq!(found("", Some(&mesh)), Some((seconds(60), seconds(5), Some(3))));
    assert_eq!(found("tcpKeepalive: {time: 9s}", Some(&mesh)), Some((seconds(9), seconds(5), Some(3))));
    assert_eq!(found("tcpKeepalive: {probes: 9}", Some(&mesh)), Some((seconds(60), seconds(5), Some(9))));
}

#[test]
fn proxy_protocol_by_port_and_subset() {
    let spec = "trafficPolicy: {proxyProtocol: {version: V2}, portLevelSettings: [{port: {number: 90}}]}, \
                subsets: [{name: plain}, {name: own, trafficPolicy: {proxyProtocol: {}}}, \
                {name: ports, trafficPolicy: {proxyProtocol: {version: V1}, portLevelSettings: \
                [{port: {number: 80}, outlierDetection: {}}]}}]";
    let (v1, v2) = (Some(ProxyVersion::V1), Some(ProxyVersion::V2));
    for (subset, port, expected) in [
        (None, 80, v2),
        // An entry for a port stands for the whole policy.
        (None, 90, None),
        (Some("plain"), 80, v2),
        (Some("plain"), 90, None),
        (Some("own"), 80, v1),
        (Some("own"), 90, v1),
        (Some("ports"), 80, v2),
        (Some("ports"), 90, v1),
    ] {
        let transport = |policy: &Policy<'_>| policy.transport(UpstreamProtocol::Http1);
        let found = with_policy(spec, subset, Some(port), transport);
        assert_eq!(found.proxy_protocol, expected, "{subset:?} {port}");
    }
}

#[test]
fn pings_only_where_http2_is_certain() {
    let keepalive = |settings: &str, protocol| {
        let spec = format!("trafficPolicy: {{connectionPool: {{http: {{http2KeepAlive: {{{settings}}}}}}}}}");
        with_policy(&spec, None, Some(80), |policy| policy.transport(protocol)).http2_keepalive
    };
    let both = "interval: 30s, timeout: 10s";
    let expected = Http2Keepalive { interval: Duration::from_secs(30), timeout: Duration::from_secs(10) };
    assert_eq!(keepalive(both, UpstreamProtocol::Http2), Some(expected));
    assert_eq!(keepalive(both, UpstreamProtocol::Http1), None);
    assert_eq!(keepalive(both, UpstreamProtocol::AsClient), None);
    assert_eq!(keepalive("interval: 30s", UpstreamProtocol::Http2), None);
}

#[test]
fn http_versions() {
    let upgrading = mesh("h2UpgradePolicy: UPGRADE");
    for (settings, port, of_mesh, expected) in [
        ("", Protocol::Http, None, UpstreamProtocol::Http1),
        ("", Protocol::Http2, None, UpstreamProtocol::Http2),
        ("", Protocol::Http, Some(&upgrading), UpstreamProtocol::Http2),
        // The mesh only speaks of ports that are said to be HTTP; a rule knows what it says.
        ("", Protocol::Other, Some(&upgrading), UpstreamProtocol::Http1),
        ("", Protocol::Other, Some(&upgrading), UpstreamProtocol::Http1),
        ("h2UpgradePolicy: UPGRADE", Protocol::Other, None, UpstreamProtocol::Http2),
        ("h2UpgradePolicy: DEFAULT", Protocol::Http, Some(&upgrading), UpstreamProtocol::Http2),
        ("h2UpgradePolicy: DEFAULT", Protocol::Http, None, UpstreamProtocol::Http1),
        ("h2UpgradePolicy: DO_NOT_UPGRADE", Protocol::Http, Some(&upgrading), UpstreamProtocol::Http1),
        // Nothing takes HTTP/2 from a port that is said to speak it.
        ("h2UpgradePolicy: DO_NOT_UPGRADE", Protocol::Http2, None, UpstreamProtocol::Http2),
        ("useClientProtocol: true", Protocol::Http2, None, UpstreamProtocol::AsClient),
        (
            "useClientProtocol: true, h2UpgradePolicy: UPGRADE",
            Protocol::Http,
            None,
            UpstreamProtocol::AsClient,
        ),
        ("useClientProtocol: false", Protocol::Http, None, UpstreamProtocol::Http1),
    ] {
        let spec = format!("trafficPolicy: {{connectionPool: {{http: {{{settings}}}}}}}");
        let found = with_policy(&spec, None, Some(80), |policy| policy.protocol(port, of_mesh));
        assert_eq!(found, expected, "{settings} {port:?}");
    }
}

#[test]
fn primes() {
    let found: Vec<u64> = (0..30).filter(|number| is_prime(*number)).collect();
    assert_eq!(found, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
}

#[test]
fn a_retry_budget_counts_along_with_a_pool() {
    let budget = |spec: &str, port| {
        let found = with_policy(&format!("trafficPolicy: {{{spec}}}"), None, Some(port), |policy| {
            policy.pool_limits(None).retry_budget
        });
        found.map(|budget| (budget.share.millionths(), budget.min_concurrency))
    };
    for (spec, port, expected) in [
        ("connectionPool: {http: {}}, retryBudget: {}", 80, Some((200_000, 3))),
        ("connectionPool: {tcp: {}}, retryBudget: {percent: 0, minRetryConcurrency: 0}", 80, Some((0, 3))),
        ("connectionPool: {}, retryBudget: {percent: 12.5, minRetryConcurrency: 7}", 80, Some((125_000, 7))),
        ("retryBudget: {percent: 50}", 80, None),
        ("connectionPool: {}", 80, None),
        (
            "connectionPool: {}, retryBudget: {}, portLevelSettings: [{port: {number: 80}, connectionPool: {}}]",
            80,
            None,
        ),
        (
            "connectionPool: {}, retryBudget: {}, portLevelSettings: [{port: {number: 80}, connectionPool: {}}]",
            81,
            Some((200_000, 3)),
        ),
    ] {
        assert_eq!(budget(spec, port), expected, "{spec} {port}");
    }
}
