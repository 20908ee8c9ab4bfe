//! What the end of a request costs: its log line and its counts.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::{
    Address, Balancer, Endpoint, Endpoints, PoolLimits, Service, UpstreamProtocol, Workload,
};
use portcullis_telemetry::access_log::{Format, LineEncoder};
use portcullis_telemetry::metrics::{Metrics, Options, SourceLabels};
use portcullis_telemetry::{Details, Protocol, RequestRecord, TcpRecord};

fn record() -> RequestRecord {
    let cluster = Arc::new(Cluster {
        name: "outbound|80||cart.shop.svc.cluster.local".into(),
        service: Arc::new(Service {
            host: "cart.shop.svc.cluster.local".into(),
            name: "cart".into(),
            namespace: "shop".into(),
        }),
        port: 80,
        protocol: UpstreamProtocol::Http1,
        tls: None,
        balancer: Balancer::LeastRequest,
        endpoints: Arc::new(Endpoints::default()),
        pool: Arc::new(PoolLimits::default()),
        outlier: None,
        warmup: None,
        transport: portcullis_snapshot::transport::Transport::default(),
        health_check: None,
        notes: portcullis_snapshot::cluster::Notes::default(),
    });
    let endpoint = Arc::new(Endpoint {
        name: None,
        address: Address::Inet("10.42.1.7:8080".parse().expect("an address")),
        weight: 1,
        healthy: true,
        locality: "".into(),
        workload: Arc::new(Workload::default()),
    });
    let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let address = |text: &str| Some(text.parse().expect("an address"));
    RequestRecord {
        duration: Duration::from_micros(14_900),
        method: text("GET"),
        path: text("/api/v1/cart?id=7&currency=EUR"),
        protocol: Some(Protocol::Http11),
        authority: text("shop.example.com"),
        response_code: 200,
        details: Some(Details::VIA_UPSTREAM),
        bytes_sent: 512,
        wire_received: 220,
        wire_sent: 730,
        upstream_service_time: Some(13),
        x_forwarded_for: text("203.0.113.9"),
        user_agent: text("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        request_id: text("2f1c0e6a-0d3b-9d1e-8a55-4f7b2d9c1e00"),
        cluster: Some(cluster),
        endpoint: Some(endpoint),
        upstream_local_address: address("10.42.0.9:41822"),
        downstream_local_address: address("10.42.0.9:8443"),
        downstream_remote_address: address("203.0.113.9:50422"),
        sni: Some("shop.example.com".into()),
        route_name: Some("cart".into()),
        ..RequestRecord::new(SystemTime::UNIX_EPOCH + Duration::from_millis(1_785_585_600_123))
    }
}

fn lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("access log line");
    let record = record();
    let hostile = RequestRecord { user_agent: Some(Bytes::from(vec![b'"'; 200])), ..record.clone() };
    for (name, format, record) in [
        ("json", Format::Json, &record),
        ("json, 200 quotes to escape", Format::Json, &hostile),
        ("text", Format::Text, &record),
    ] {
        let mut encoder = LineEncoder::new(format);
        let mut out = Vec::with_capacity(64 * 1024);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                if out.len() > 60 * 1024 {
                    out.clear();
                }
                encoder.request(black_box(record), &mut out);
            });
        });
    }
    group.finish();
}

fn counts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("metrics");
    let metrics = Metrics::new(&SourceLabels::default(), &Options::default());
    let (shard, record) = (metrics.shard(), record());
    group.bench_function("a request", |bencher| bencher.iter(|| shard.record_request(black_box(&record))));
    let tcp = TcpRecord {
        cluster: record.cluster.clone(),
        endpoint: record.endpoint.clone(),
        ..TcpRecord::new(record.started)
    };
    group.bench_function("bytes of a session", |bencher| {
        bencher.iter(|| shard.record_tcp_bytes(black_box(&tcp), 100, 200));
    });
    for code in 0..1_000 {
        shard.record_request(&RequestRecord { response_code: code, ..record.clone() });
    }
    let mut out = String::new();
    group.bench_function("a page of 1,000 label sets", |bencher| {
        bencher.iter(|| {
            out.clear();
            metrics.render(record.started, &mut out);
            black_box(out.len());
        });
    });
    group.finish();
}

criterion_group!(benches, lines, counts);
criterion_main!(benches);
