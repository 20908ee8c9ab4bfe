//! Records for tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::{
    Address, Balancer, Endpoint, Endpoints, Notes, PoolLimits, Service, UpstreamProtocol, Workload,
};

use crate::details::Details;
use crate::record::{Protocol, RequestRecord, TcpRecord};

/// 2026-08-01T12:00:00.123Z.
pub(crate) fn started() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_785_585_600_123)
}

pub(crate) fn cluster() -> Arc<Cluster> {
    Arc::new(Cluster {
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
        notes: Notes::default(),
    })
}

pub(crate) fn endpoint() -> Arc<Endpoint> {
    Arc::new(Endpoint {
        name: None,
        address: Address::Inet(address("10.42.1.7:8080")),
        weight: 1,
        healthy: true,
        locality: "".into(),
        workload: Arc::new(Workload {
            name: "cart-v1".into(),
            namespace: "shop".into(),
            app: "cart".into(),
            version: "v1".into(),
            canonical_service: "cart".into(),
            canonical_revision: "v1".into(),
            cluster: "Kubernetes".into(),
        }),
    })
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A request that went well, with every field set.
pub(crate) fn request() -> RequestRecord {
    RequestRecord {
        duration: Duration::from_micros(14_900),
        method: Some(Bytes::from_static(b"GET")),
        path: Some(Bytes::from_static(b"/cart?id=7")),
        protocol: Some(Protocol::Http2),
        authority: Some(Bytes::from_static(b"shop.example.com")),
        response_code: 200,
        details: Some(Details::VIA_UPSTREAM),
        bytes_sent: 512,
        wire_received: 220,
        wire_sent: 730,
        upstream_service_time: Some(13),
        x_forwarded_for: Some(Bytes::from_static(b"203.0.113.9")),
        user_agent: Some(Bytes::from_static(b"curl/8")),
        request_id: Some(Bytes::from_static(b"2f1c0e6a-0d3b-9d1e-8a55-4f7b2d9c1e00")),
        cluster: Some(cluster()),
        endpoint: Some(endpoint()),
        upstream_local_address: Some(address("10.42.0.9:41822")),
        downstream_local_address: Some(address("10.42.0.9:8443")),
        downstream_remote_address: Some(address("203.0.113.9:50422")),
        sni: Some("shop.example.com".into()),
        route_name: Some("cart".into()),
        ..RequestRecord::new(started())
    }
}

/// A passthrough session that went well.
pub(crate) fn tcp() -> TcpRecord {
    TcpRecord {
        duration: Duration::from_secs(3),
        bytes_received: 1_000,
        bytes_sent: 2_000,
        cluster: Some(cluster()),
        endpoint: Some(endpoint()),
        upstream_local_address: Some(address("10.42.0.9:41822")),
        downstream_local_address: Some(address("10.42.0.9:15432")),
        downstream_remote_address: Some(address("[2001:db8::1]:50422")),
        sni: Some("db.example.com".into()),
        ..TcpRecord::new(started())
    }
}
