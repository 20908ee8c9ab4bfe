//! DestinationRules.

use super::{below, compare, object};

fn rule(more: &str) -> String {
    object("DestinationRule", &format!("{{host: a.com, {more}}}"))
}

#[test]
fn hosts_subsets_and_selectors() {
    compare(
        ["a.com", "reviews", "*.a.com", "*"]
            .map(|host| (host, object("DestinationRule", &format!("{{host: '{host}'}}")), "")),
    );
    compare([("a_b", object("DestinationRule", "{host: a_b}"), "!spec.host")]);
    compare(
        [
            ("subsets: [{name: v1}, {name: v2, labels: {version: v2}}]", ""),
            ("subsets: [{name: v1}, {name: v1}]", "!spec.subsets[1].name"),
            ("subsets: [{name: v_1}]", "!spec.subsets[0].name"),
            ("subsets: [{name: v1, labels: {version: 'v 1'}}]", "!spec.subsets[0].labels.version"),
            ("subsets: [{name: v1, labels: {-a: v1}}]", "!spec.subsets[0].labels.-a"),
            ("subsets: [{name: v1, trafficPolicy: {}}]", "!spec.subsets[0].trafficPolicy"),
            // What would be a warning is lost in a subset.
            ("subsets: [{name: v1, trafficPolicy: {outlierDetection: {consecutiveErrors: 1}}}]", ""),
            ("workloadSelector: {matchLabels: {a: b}}", ""),
            ("workloadSelector: {matchLabels: {}}", "?spec.workloadSelector"),
            ("workloadSelector: {matchLabels: {a: b}}, exportTo: [.]", ""),
            ("workloadSelector: {matchLabels: {a: b}}, exportTo: [other]", "!spec.exportTo"),
            ("workloadSelector: {matchLabels: {a: b}}, exportTo: [., other]", "!spec.exportTo"),
            ("exportTo: ['*']", ""),
            ("exportTo: [., default]", "!spec.exportTo[1]"),
            ("exportTo: ['~']", "!spec.exportTo[0]"),
            ("exportTo: ['*', other]", "!spec.exportTo"),
            ("exportTo: [a_b]", "!spec.exportTo[0]"),
        ]
        .map(|(snippet, expected)| (snippet, rule(snippet), expected)),
    );
}

/// Rows on `trafficPolicy`; fields are below it.
fn policies(rows: &[(&str, &str)]) {
    for (policy, expected) in rows {
        let expected = below("spec.trafficPolicy", expected);
        compare([(*policy, rule(&format!("trafficPolicy: {policy}")), &*expected)]);
    }
}

#[test]
fn pools_and_outliers() {
    policies(&[
        ("{}", "!"),
        ("{connectionPool: {}}", "!connectionPool"),
        ("{connectionPool: {tcp: {maxConnections: -1}}}", "!connectionPool.tcp.maxConnections"),
        ("{connectionPool: {tcp: {connectTimeout: 1500us}}}", "!connectionPool.tcp.connectTimeout"),
        ("{connectionPool: {tcp: {connectTimeout: 2ms, idleTimeout: 0s}}}", ""),
        ("{connectionPool: {tcp: {tcpKeepalive: {time: 1500us}}}}", "!connectionPool.tcp.tcpKeepalive.time"),
        (
            "{connectionPool: {tcp: {tcpKeepalive: {interval: 1500us}}}}",
            "!connectionPool.tcp.tcpKeepalive.interval",
        ),
        (
            "{connectionPool: {tcp: {maxConnectionDuration: 1500us}}}",
            "!connectionPool.tcp.maxConnectionDuration",
        ),
        (
            "{connectionPool: {http: {http1MaxPendingRequests: -1}}}",
            "!connectionPool.http.http1MaxPendingRequests",
        ),
        ("{connectionPool: {http: {http2MaxRequests: -1}}}", "!connectionPool.http.http2MaxRequests"),
        (
            "{connectionPool: {http: {maxRequestsPerConnection: -1}}}",
            "!connectionPool.http.maxRequestsPerConnection",
        ),
        ("{connectionPool: {http: {maxRetries: -1}}}", "!connectionPool.http.maxRetries"),
        ("{connectionPool: {http: {maxConcurrentStreams: -1}}}", "!connectionPool.http.maxConcurrentStreams"),
        ("{connectionPool: {http: {idleTimeout: 1500us}}}", "!connectionPool.http.idleTimeout"),
        (
            "{connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}",
            "!connectionPool.http.useClientProtocol",
        ),
        ("{connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE, useClientProtocol: true}}}", ""),
        (
            "{connectionPool: {http: {http2KeepAlive: {}}}}",
            "!connectionPool.http.http2KeepAlive.interval !connectionPool.http.http2KeepAlive.timeout",
        ),
        ("{connectionPool: {http: {http2KeepAlive: {interval: 5s, timeout: 1s}}}}", ""),
        ("{outlierDetection: {}}", ""),
        ("{outlierDetection: {consecutiveErrors: 1}}", "?outlierDetection.consecutiveErrors"),
        ("{outlierDetection: {baseEjectionTime: 1500us}}", "!outlierDetection.baseEjectionTime"),
        ("{outlierDetection: {interval: 1500us}}", "!outlierDetection.interval"),
        ("{outlierDetection: {maxEjectionPercent: 101}}", "!outlierDetection.maxEjectionPercent"),
        ("{outlierDetection: {minHealthPercent: -1}}", "!outlierDetection.minHealthPercent"),
        (
            "{outlierDetection: {consecutiveLocalOriginFailures: 1}}",
            "!outlierDetection.consecutiveLocalOriginFailures",
        ),
        ("{outlierDetection: {consecutiveLocalOriginFailures: 1, splitExternalLocalOriginErrors: true}}", ""),
    ]);
}

#[test]
fn tls_tunnels_and_ports() {
    policies(&[
        ("{tls: {mode: SIMPLE}}", ""),
        ("{tls: {mode: SIMPLE, credentialName: c}}", ""),
        ("{tls: {mode: SIMPLE, credentialName: c, caCertificates: a}}", "!tls.credentialName"),
        ("{tls: {mode: SIMPLE, credentialName: 'configmap://default/c'}}", ""),
        ("{tls: {mode: SIMPLE, credentialName: 'configmap://other/c'}}", "!tls.credentialName"),
        ("{tls: {mode: SIMPLE, credentialName: 'configmap://c'}}", "!tls.credentialName"),
        ("{tls: {mode: SIMPLE, insecureSkipVerify: true}}", ""),
        ("{tls: {mode: SIMPLE, insecureSkipVerify: true, credentialName: c}}", "!tls.insecureSkipVerify"),
        ("{tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}}", "!tls.insecureSkipVerify"),
        ("{tls: {mode: MUTUAL, insecureSkipVerify: true, credentialName: c}}", ""),
        (
            "{tls: {mode: MUTUAL, insecureSkipVerify: true, caCertificates: a, clientCertificate: c, privateKey: k}}",
            "!tls.insecureSkipVerify",
        ),
        ("{tls: {mode: MUTUAL}}", "!tls.clientCertificate !tls.privateKey"),
        ("{tls: {mode: MUTUAL, clientCertificate: c}}", "!tls.privateKey"),
        ("{tls: {mode: MUTUAL, credentialName: c}}", ""),
        ("{tls: {mode: ISTIO_MUTUAL, credentialName: c, caCertificates: a}}", ""),
        ("{tunnel: {targetHost: a.com, targetPort: 443}}", ""),
        ("{tunnel: {targetHost: 10.0.0.1, targetPort: 443, protocol: POST}}", ""),
        ("{tunnel: {targetHost: a.com, targetPort: 443, protocol: GET}}", "!tunnel.protocol"),
        ("{tunnel: {targetHost: a_b, targetPort: 443}}", "!tunnel.targetHost"),
        ("{tunnel: {targetHost: a.com, targetPort: 70000}}", "!tunnel.targetPort"),
        ("{tunnel: {targetHost: a.com, targetPort: 443}, proxyProtocol: {version: V1}}", "!"),
        ("{portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}", ""),
        ("{portLevelSettings: [{port: {number: 80}}]}", "!portLevelSettings[0]"),
        ("{portLevelSettings: [{tls: {mode: SIMPLE}}]}", "!portLevelSettings[0].port"),
        ("{portLevelSettings: [{port: {number: 80}, outlierDetection: {consecutiveErrors: 1}}]}", ""),
        (
            "{portLevelSettings: [{port: {number: 80}, tls: {mode: MUTUAL, privateKey: k}}]}",
            "!portLevelSettings[0].tls.clientCertificate",
        ),
    ]);
}

#[test]
fn balancers() {
    let hash = |hash: &str| format!("{{loadBalancer: {{consistentHash: {{{hash}}}}}}}");
    let rows = [
        ("httpCookie: {name: c, ttl: 0s}", ""),
        ("httpCookie: {name: '', ttl: 0s}", "!loadBalancer.consistentHash.httpCookie.name"),
        (
            "httpCookie: {name: c, attributes: [{name: a}, {name: a}]}",
            "!loadBalancer.consistentHash.httpCookie.attributes[1].name",
        ),
        (
            "httpCookie: {name: c, attributes: [{name: ''}]}",
            "!loadBalancer.consistentHash.httpCookie.attributes[0].name",
        ),
        ("useSourceIp: true, minimumRingSize: 10", "?loadBalancer.consistentHash.minimumRingSize"),
        (
            "useSourceIp: true, minimumRingSize: 10, ringHash: {minimumRingSize: 20}",
            "!loadBalancer.consistentHash.minimumRingSize ?loadBalancer.consistentHash.minimumRingSize",
        ),
        ("useSourceIp: true, maglev: {}", "!loadBalancer.consistentHash.maglev.tableSize"),
        ("useSourceIp: true, maglev: {tableSize: 65537}", ""),
        ("useSourceIp: true, maglev: {tableSize: 65536}", "!loadBalancer.consistentHash.maglev.tableSize"),
        ("useSourceIp: true, maglev: {tableSize: 15485863}", "!loadBalancer.consistentHash.maglev.tableSize"),
    ]
    .map(|(snippet, expected)| (hash(snippet), expected));
    let rows: Vec<(&str, &str)> =
        rows.iter().map(|(snippet, expected)| (snippet.as_str(), *expected)).collect();
    policies(&rows);
    policies(&[
        ("{loadBalancer: {simple: RANDOM, warmup: {duration: 10s, minimumPercent: 10, aggression: 2}}}", ""),
        ("{loadBalancer: {simple: RANDOM, warmup: {duration: 1500us}}}", "!loadBalancer.warmup.duration"),
        (
            "{loadBalancer: {simple: RANDOM, warmup: {duration: 10s, aggression: 0}}}",
            "!loadBalancer.warmup.aggression",
        ),
        ("{loadBalancer: {localityLbSetting: {}, zoneAwareLbSetting: {}}}", "!loadBalancer"),
    ]);
}

#[test]
fn localities() {
    let rows = [
        ("distribute: [{from: us/*, to: {us/a: 40, us/b: 60}}]", ""),
        ("distribute: [{from: us/*, to: {us/a: 40, us/b: 50}}]", "!distribute[0].to"),
        ("distribute: [{from: us/*, to: {us/a: 0, us/b: 100}}]", "!distribute[0].to"),
        ("distribute: [{from: us/*, to: {us/*/a: 100}}]", "!distribute[0].to"),
        ("distribute: [{from: us/*, to: {us//a: 100}}]", "!distribute[0].to"),
        ("distribute: [{from: us, to: {a: 100}}, {from: us/a, to: {b: 100}}]", "!distribute"),
        ("distribute: [{from: us/a, to: {a: 100}}, {from: us/b, to: {b: 100}}]", ""),
        ("distribute: [{from: '*', to: {a: 100}}, {from: us, to: {b: 100}}]", "!distribute"),
        ("distribute: [{from: us/*, to: {a: 100}}, {from: us/a/b, to: {b: 100}}]", "!distribute"),
        ("distribute: [{from: us/a/b, to: {a: 100}}, {from: us/a/b, to: {b: 100}}]", "!distribute"),
        ("distribute: [{from: us, to: {us: 100}}], failover: [{from: a, to: b}]", "!"),
        ("failover: [{from: a, to: b}]", "?"),
        ("failoverPriority: [topology.istio.io/network]", "?"),
        ("failover: [{from: a, to: a}]", "!failover[0] ?"),
        ("failover: [{from: a/b, to: a}]", "!failover[0] ?"),
        ("failover: [{from: a*, to: b}]", "!failover[0] ?"),
        (
            "failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/zone]",
            "!failoverPriority[0]",
        ),
    ];
    for (setting, expected) in rows {
        let expected = below("loadBalancer.localityLbSetting", expected);
        policies(&[(&format!("{{loadBalancer: {{localityLbSetting: {{{setting}}}}}}}"), &expected)]);
    }
    policies(&[
        ("{outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}", ""),
        (
            "{outlierDetection: {}, loadBalancer: {zoneAwareLbSetting: {failoverPriority: [topology.istio.io/subzone]}}}",
            "!loadBalancer.zoneAwareLbSetting.failoverPriority[0]",
        ),
        (
            "{loadBalancer: {zoneAwareLbSetting: {failover: [{from: a, to: b}]}}}",
            "?loadBalancer.zoneAwareLbSetting",
        ),
    ]);
}
