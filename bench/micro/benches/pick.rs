//! What a pick costs, by algorithm and number of endpoints.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis_snapshot::Cluster;
use portcullis_snapshot::cluster::{
    Address, Balancer, Endpoint, Endpoints, OutlierDetection, PoolLimits, Service, UpstreamProtocol, Workload,
};
use portcullis_traffic::{ClusterState, Observation, Registry, Tried};
use rand::Rng;
use rand::rand_core::{Infallible, TryRng};

/// A xorshift generator, about as fast as the one of a worker.
struct Dice(u64);

impl TryRng for Dice {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|value| (value >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Ok(self.0)
    }
    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        into.fill_with(|| self.next_u32() as u8);
        Ok(())
    }
}

fn cluster(balancer: Balancer, count: u32, weighted: bool, outlier: bool) -> Arc<Cluster> {
    let workload = Arc::new(Workload::default());
    let endpoint = |number: u32| {
        let address = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number), 8080));
        let weight = if weighted { number % 5 + 1 } else { 1 };
        let workload = Arc::clone(&workload);
        Arc::new(Endpoint {
            name: None,
            address: Address::Inet(address),
            weight,
            healthy: true,
            locality: "".into(),
            workload,
        })
    };
    let rules = OutlierDetection {
        failure_statuses: None,
        consecutive_5xx: Some(5),
        consecutive_gateway: None,
        consecutive_local: None,
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(300),
        max_ejection_percent: 10,
        min_health_percent: 0,
    };
    Arc::new(Cluster {
        name: "outbound|80||bench".into(),
        service: Arc::new(Service { host: "bench".into(), name: "bench".into(), namespace: "ns".into() }),
        port: 80,
        protocol: UpstreamProtocol::Http1,
        tls: None,
        balancer,
        endpoints: Arc::new(Endpoints::alike((0..count).map(endpoint).collect())),
        pool: Arc::new(PoolLimits::default()),
        outlier: outlier.then(|| Arc::new(rules)),
        warmup: None,
        transport: portcullis_snapshot::transport::Transport::default(),
        health_check: None,
        notes: portcullis_snapshot::cluster::Notes::default(),
    })
}

fn picks(criterion: &mut Criterion) {
    let ring = Balancer::RingHash { minimum_size: 1024 };
    let maglev = Balancer::Maglev { table_size: 65_537 };
    for (name, balancer, weighted, outlier) in [
        ("least request", Balancer::LeastRequest, false, false),
        ("least request, ejecting", Balancer::LeastRequest, false, true),
        ("least request, weighted", Balancer::LeastRequest, true, false),
        ("round robin", Balancer::RoundRobin, false, false),
        ("round robin, weighted", Balancer::RoundRobin, true, false),
        ("random", Balancer::Random, false, false),
        ("ring", ring, false, false),
        ("maglev", maglev, false, false),
    ] {
        let mut group = criterion.benchmark_group(name);
        for count in [2, 100, 10_000] {
            let (now, mut dice) = (Instant::now(), Dice(0x5eed));
            let state =
                ClusterState::new(&cluster(balancer, count, weighted, outlier), &Registry::default(), now);
            let tried = Tried::none();
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter(|| {
                    let hash = Some(dice.next_u64());
                    let picked = state.pick(now, &mut dice, hash, &tried).expect("an endpoint");
                    let active = picked.begin();
                    state.observe(&picked, Observation::Status(200), now);
                    black_box(active);
                });
            });
        }
        group.finish();
    }
}

/// What a worker pays when a cluster's list of endpoints changes.
fn updates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("new endpoint list and a pick");
    for count in [10, 1_000, 10_000] {
        let versions = [count, count + 1].map(|count| cluster(Balancer::LeastRequest, count, false, false));
        let (now, mut dice) = (Instant::now(), Dice(0x5eed));
        let state = ClusterState::new(&versions[0], &Registry::default(), now);
        let mut turn = 0;
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                turn += 1;
                state.update(&versions[turn % 2], now);
                black_box(state.pick(now, &mut dice, None, &Tried::none()).expect("an endpoint"));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, picks, updates);
criterion_main!(benches);
