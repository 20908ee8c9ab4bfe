//! Rendered metrics as text.

use std::time::{Duration, UNIX_EPOCH};

use portcullis_snapshot::cluster::Workload;

use super::*;
use crate::flags::{Flag, Flags};
use crate::record::{RequestRecord, TcpRecord};
use crate::samples;

fn metrics() -> Metrics {
    Metrics::new(&SourceLabels::default(), &Options { version: "1.2.3".into(), ..Options::default() })
}

fn rendered(metrics: &Metrics) -> String {
    let mut out = String::new();
    metrics.render(samples::started(), &mut out);
    out
}

/// The lines of one family.
fn family(metrics: &Metrics, name: &str) -> Vec<String> {
    let belongs = |line: &&str| line.trim_start_matches("# TYPE ").starts_with(name);
    rendered(metrics).lines().filter(belongs).map(str::to_owned).collect()
}

const SOURCE: &str = concat!(
    r#"reporter="source",source_workload="istio-ingressgateway","#,
    r#"source_canonical_service="istio-ingressgateway",source_canonical_revision="latest","#,
    r#"source_workload_namespace="istio-system",source_principal="unknown","#,
    r#"source_app="istio-ingressgateway",source_version="",source_cluster="Kubernetes","#,
);
const CART: &str = concat!(
    r#"destination_workload="cart-v1",destination_workload_namespace="shop","#,
    r#"destination_principal="unknown",destination_app="cart",destination_version="v1","#,
    r#"destination_service="cart.shop.svc.cluster.local",destination_canonical_service="cart","#,
    r#"destination_canonical_revision="v1",destination_service_name="cart","#,
    r#"destination_service_namespace="shop",destination_cluster="Kubernetes""#,
);
const NOBODY: &str = concat!(
    r#"destination_workload="unknown",destination_workload_namespace="unknown","#,
    r#"destination_principal="unknown",destination_app="unknown",destination_version="unknown","#,
    r#"destination_service="unknown",destination_canonical_service="unknown","#,
    r#"destination_canonical_revision="latest",destination_service_name="unknown","#,
    r#"destination_service_namespace="unknown",destination_cluster="unknown""#,
);
const OK: &str = r#",request_protocol="http",response_code="200",grpc_response_status="",response_flags="-",connection_security_policy="unknown""#;

#[test]
fn a_request_in_full() {
    let metrics = metrics();
    let shard = metrics.shard();
    shard.record_request(&samples::request());
    assert_eq!(
        family(&metrics, "istio_requests_total"),
        [
            "# TYPE istio_requests_total counter".to_owned(),
            format!("istio_requests_total{{{SOURCE}{CART}{OK}}} 1")
        ]
    );
    let name = "istio_request_duration_milliseconds";
    let mut expected = vec![format!("# TYPE {name} histogram")];
    let bounds = [
        "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000",
        "60000", "300000", "600000", "1800000", "3600000", "+Inf",
    ];
    for (at, bound) in bounds.iter().enumerate() {
        let count = usize::from(at >= 4);
        expected.push(format!("{name}_bucket{{{SOURCE}{CART}{OK},le=\"{bound}\"}} {count}"));
    }
    expected.push(format!("{name}_sum{{{SOURCE}{CART}{OK}}} 14"));
    expected.push(format!("{name}_count{{{SOURCE}{CART}{OK}}} 1"));
    assert_eq!(family(&metrics, name), expected);
    let sum = |name: &str| family(&metrics, name).into_iter().find(|line| line.contains("_sum{")).unwrap();
    assert!(sum("istio_request_bytes").ends_with(" 220"));
    assert!(sum("istio_response_bytes").ends_with(" 730"));
}

#[test]
fn an_empty_gateway_shows_itself_only() {
    let text = rendered(&metrics());
    let istio: Vec<_> = text.lines().filter(|line| line.contains("istio_")).collect();
    assert_eq!(istio, ["# TYPE istio_build gauge", r#"istio_build{component="proxy",tag="1.2.3"} 1"#]);
    let nameless = Metrics::new(&SourceLabels::default(), &Options::default());
    assert!(rendered(&nameless).contains(r#"tag="unknown""#));
}

#[test]
fn special_outcomes() {
    let tail = |protocol: &str, code: u16, grpc: &str, flags: &str| {
        format!(
            r#",request_protocol="{protocol}",response_code="{code}",grpc_response_status="{grpc}",response_flags="{flags}",connection_security_policy="unknown"}} 1"#
        )
    };
    let served_by_nobody = CART
        .replace("cart-v1", "unknown")
        .replace(r#"destination_workload_namespace="shop""#, r#"destination_workload_namespace="unknown""#)
        .replace(r#"app="cart""#, r#"app="unknown""#)
        .replace(r#"version="v1""#, r#"version="unknown""#)
        .replace(r#"canonical_service="cart""#, r#"canonical_service="unknown""#)
        .replace(r#"canonical_revision="v1""#, r#"canonical_revision="latest""#)
        .replace(r#"cluster="Kubernetes""#, r#"cluster="unknown""#);
    let base = samples::request;
    let not_routed = RequestRecord {
        response_code: 404,
        flags: Flags::of(Flag::NoRouteFound),
        cluster: None,
        endpoint: None,
        ..base()
    };
    let no_endpoint = RequestRecord {
        response_code: 503,
        flags: Flags::of(Flag::NoHealthyUpstream),
        endpoint: None,
        ..base()
    };
    let flags = [Flag::UpstreamRetryLimitExceeded, Flag::UpstreamConnectionFailure].into_iter().collect();
    let refused = RequestRecord { response_code: 503, flags, ..base() };
    let gone =
        RequestRecord { response_code: 0, flags: Flags::of(Flag::DownstreamConnectionTermination), ..base() };
    let grpc = RequestRecord { grpc: true, grpc_status: Some(14), ..base() };
    for (record, destination, tail) in [
        (not_routed, NOBODY, tail("http", 404, "", "NR")),
        (no_endpoint, served_by_nobody.as_str(), tail("http", 503, "", "UH")),
        (refused, CART, tail("http", 503, "", "URX,UF")),
        (gone, CART, tail("http", 0, "", "DC")),
        (grpc, CART, tail("grpc", 200, "14", "-")),
    ] {
        let metrics = metrics();
        metrics.shard().record_request(&record);
        let lines = family(&metrics, "istio_requests_total");
        assert_eq!(lines[1..], [format!("istio_requests_total{{{SOURCE}{destination}{tail}")]);
    }
}

#[test]
fn tcp_families() {
    let metrics = metrics();
    let shard = metrics.shard();
    let mut record = samples::tcp();
    shard.record_tcp_open(&record);
    shard.record_tcp_bytes(&record, 10, 20);
    shard.record_tcp_bytes(&record, 1, 2);
    record.flags = Flags::of(Flag::UpstreamConnectionFailure);
    shard.record_tcp_close(&record);
    let tail = |flags: &str| {
        format!(r#",request_protocol="tcp",response_flags="{flags}",connection_security_policy="unknown""#)
    };
    for (name, flags, value) in [
        ("istio_tcp_connections_opened_total", "-", 1),
        ("istio_tcp_connections_closed_total", "UF", 1),
        ("istio_tcp_sent_bytes_total", "-", 22),
        ("istio_tcp_received_bytes_total", "-", 11),
    ] {
        let row = format!("{name}{{{SOURCE}{CART}{}}} {value}", tail(flags));
        assert_eq!(family(&metrics, name), [format!("# TYPE {name} counter"), row]);
    }
}

#[test]
fn messages_are_counted_once() {
    let metrics = metrics();
    let shard = metrics.shard();
    let mut record = RequestRecord { grpc: true, request_messages: 3, ..samples::request() };
    shard.record_messages(&mut record);
    assert_eq!((record.request_messages, record.response_messages), (0, 0));
    shard.record_messages(&mut record);
    (record.request_messages, record.response_messages) = (1, 5);
    shard.record_request(&record);
    let rows =
        ["istio_request_messages_total", "istio_response_messages_total"].map(|name| family(&metrics, name));
    assert_eq!(rows[0][1], format!("istio_request_messages_total{{{SOURCE}{CART}}} 4"));
    assert_eq!(rows[1][1], format!("istio_response_messages_total{{{SOURCE}{CART}}} 5"));
}

#[test]
fn shards_and_snapshots_add_up() {
    let metrics = metrics();
    let shards = [metrics.shard(), metrics.shard()];
    for shard in &shards {
        for _ in 0..3 {
            // New addresses, old facts: as after a publication.
            shard.record_request(&samples::request());
        }
    }
    let lines = family(&metrics, "istio_requests_total");
    assert_eq!(lines[1..], [format!("istio_requests_total{{{SOURCE}{CART}{OK}}} 6")]);
}

#[test]
fn series_are_bounded_and_the_loss_is_counted() {
    let options = Options { max_series: 3, ..Options::default() };
    let metrics = Metrics::new(&SourceLabels::default(), &options);
    let shard = metrics.shard();
    for code in 200..210 {
        shard.record_request(&RequestRecord { response_code: code, ..samples::request() });
    }
    for name in 0..10 {
        let mut endpoint = (*samples::endpoint()).clone();
        endpoint.workload = Arc::new(Workload { name: format!("w{name}").into(), ..Workload::default() });
        let endpoint = Some(Arc::new(endpoint));
        shard.record_tcp_open(&TcpRecord { endpoint, ..samples::tcp() });
        shard.listener(&format!("l{name}").into()).opened();
    }
    assert_eq!(family(&metrics, "istio_requests_total").len(), 1 + 3);
    // The three destinations are the one above and two more.
    assert_eq!(family(&metrics, "istio_tcp_connections_opened_total").len(), 1 + 2);
    assert_eq!(family(&metrics, "portcullis_downstream_connections_total").len(), 1 + 3);
    let lost = "portcullis_metric_series_overflow_total";
    assert!(rendered(&metrics).contains(&format!("\n{lost} {}\n", 7 + 8 + 7)));
}

#[test]
fn label_values_are_escaped() {
    let source = SourceLabels { app: "a\"b\\c\nd".into(), ..SourceLabels::default() };
    let metrics = Metrics::new(&source, &Options::default());
    metrics.shard().record_request(&samples::request());
    assert!(rendered(&metrics).contains(r#"source_app="a\"b\\c\nd""#));
}

#[test]
fn our_own_families() {
    let metrics = metrics();
    let shard = metrics.shard();
    let listener = shard.listener(&"0.0.0.0_8080".into());
    listener.opened();
    shard.listener(&"0.0.0.0_8080".into()).opened();
    listener.closed();
    let pool = shard.pool(&"outbound|80||a".into());
    pool.opened();
    pool.failed();
    pool.queued();
    pool.queued();
    pool.dequeued();
    shard.request_started();
    shard.dropped(DropReason::NoFilterChain);
    let process = metrics.process();
    process.dropped(DropReason::LogLinesDropped, 40);
    process.config_applied(7);
    process.config_published(UNIX_EPOCH + Duration::from_millis(1_785_585_590_000));
    process.set_watches(vec![("following", 9), ("failing", 1)]);
    process.set_diagnostics(vec![DiagnosticCount {
        code: "IST0101".into(),
        severity: "error".into(),
        count: 2,
    }]);
    let expiry =
        |secret: &str, not_after| CertificateExpiry { secret: secret.into(), serial: "0a".into(), not_after };
    process.set_certificates(vec![
        expiry("ns/new", samples::started() + Duration::from_secs(3_600)),
        expiry("ns/old", samples::started() - Duration::from_secs(60)),
    ]);
    let text = rendered(&metrics);
    let own = &text[text.find("# HELP").unwrap()..];
    let drops: String = DropReason::ALL
        .iter()
        .map(|reason| {
            let count = match reason {
                DropReason::NoFilterChain => 1,
                DropReason::LogLinesDropped => 40,
                _ => 0,
            };
            format!("portcullis_drops_total{{reason=\"{}\"}} {count}\n", reason.as_str())
        })
        .collect();
    let expected = format!(
        r#"# HELP portcullis_downstream_connections_total Connections accepted.
# TYPE portcullis_downstream_connections_total counter
portcullis_downstream_connections_total{{listener="0.0.0.0_8080"}} 2
# HELP portcullis_downstream_connections_active Connections open.
# TYPE portcullis_downstream_connections_active gauge
portcullis_downstream_connections_active{{listener="0.0.0.0_8080"}} 1
# HELP portcullis_downstream_requests_active HTTP requests in progress.
# TYPE portcullis_downstream_requests_active gauge
portcullis_downstream_requests_active 1
# HELP portcullis_upstream_connections_total Connections opened.
# TYPE portcullis_upstream_connections_total counter
portcullis_upstream_connections_total{{cluster="outbound|80||a"}} 1
# HELP portcullis_upstream_connections_failed_total Connections that could not be opened.
# TYPE portcullis_upstream_connections_failed_total counter
portcullis_upstream_connections_failed_total{{cluster="outbound|80||a"}} 1
# HELP portcullis_upstream_connections_active Connections open, idle ones too.
# TYPE portcullis_upstream_connections_active gauge
portcullis_upstream_connections_active{{cluster="outbound|80||a"}} 1
# HELP portcullis_upstream_requests_pending Requests that wait for a connection.
# TYPE portcullis_upstream_requests_pending gauge
portcullis_upstream_requests_pending{{cluster="outbound|80||a"}} 1
# HELP portcullis_build_info Version of the gateway; always 1.
# TYPE portcullis_build_info gauge
portcullis_build_info{{version="1.2.3"}} 1
# HELP portcullis_config_generation Number of the configuration in force on every worker.
# TYPE portcullis_config_generation gauge
portcullis_config_generation 7
# HELP portcullis_config_last_publish_timestamp_seconds When the configuration in force was published, in Unix time.
# TYPE portcullis_config_last_publish_timestamp_seconds gauge
portcullis_config_last_publish_timestamp_seconds 1785585590.000
# HELP portcullis_config_age_seconds Time since the configuration in force was published.
# TYPE portcullis_config_age_seconds gauge
portcullis_config_age_seconds 10.123
# HELP portcullis_configuration_source Where the configuration in force comes from; 1 for that source.
# TYPE portcullis_configuration_source gauge
portcullis_configuration_source{{source="files"}} 1
portcullis_configuration_source{{source="cluster"}} 0
portcullis_configuration_source{{source="cache"}} 0
# HELP portcullis_configuration_age_seconds Time since the configuration in force was last known to be what its source says.
# TYPE portcullis_configuration_age_seconds gauge
portcullis_configuration_age_seconds 0.000
# HELP portcullis_cluster_watches Watches of the cluster's resources, by state.
# TYPE portcullis_cluster_watches gauge
portcullis_cluster_watches{{state="following"}} 9
portcullis_cluster_watches{{state="failing"}} 1
# HELP portcullis_diagnostics Findings in the configuration in force.
# TYPE portcullis_diagnostics gauge
portcullis_diagnostics{{code="IST0101",severity="error"}} 2
# HELP portcullis_certificate_expiry_seconds Time until a served certificate expires; negative once it has.
# TYPE portcullis_certificate_expiry_seconds gauge
portcullis_certificate_expiry_seconds{{secret="ns/new",serial="0a"}} 3600
portcullis_certificate_expiry_seconds{{secret="ns/old",serial="0a"}} -60
# HELP portcullis_drops_total What was refused or lost, by reason.
# TYPE portcullis_drops_total counter
{drops}# HELP portcullis_metric_series_overflow_total Samples lost because there were too many label sets.
# TYPE portcullis_metric_series_overflow_total counter
portcullis_metric_series_overflow_total 0
"#
    );
    assert_eq!(own, expected);
}

#[test]
fn a_shard_may_go_to_its_worker() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let metrics = Arc::new(metrics());
    let shard = sendable(metrics.shard());
    shard.record_request(&samples::request());
    assert_eq!(family(&metrics, "istio_requests_total").len(), 2);
}
