//! Clusters and dice for tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use portcullis_snapshot::cluster::{
    Address, Balancer, Cluster, Endpoint, Endpoints, Notes, PoolLimits, Service, UpstreamProtocol, Workload,
};
use rand::SeedableRng;
use rand::rand_core::{Infallible, TryRng};

/// A small generator with a seed (splitmix64): replays the same for the same seed.
pub(crate) struct Dice(u64);

impl SeedableRng for Dice {
    type Seed = [u8; 8];
    fn from_seed(seed: Self::Seed) -> Self {
        Self(u64::from_le_bytes(seed))
    }
}

impl TryRng for Dice {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|value| (value >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(value ^ (value >> 31))
    }
    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        for chunk in into.chunks_mut(8) {
            let bytes = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

/// `10.0.0.<number>:80`.
pub(crate) fn address(number: u8) -> Address {
    Address::Inet(SocketAddr::from((Ipv4Addr::new(10, 0, 0, number), 80)))
}

/// Endpoint `number` with a weight.
pub(crate) fn endpoint(number: u8, weight: u32, healthy: bool) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        name: None,
        address: address(number),
        weight,
        healthy,
        locality: "".into(),
        workload: Arc::new(Workload::default()),
    })
}

/// A cluster of endpoints in order of number.
pub(crate) fn cluster(balancer: Balancer, endpoints: Vec<Arc<Endpoint>>) -> Cluster {
    Cluster {
        name: "outbound|80||test".into(),
        service: Arc::new(Service { host: "test".into(), name: "test".into(), namespace: "ns".into() }),
        port: 80,
        protocol: UpstreamProtocol::Http1,
        tls: None,
        balancer,
        endpoints: Arc::new(Endpoints::alike(endpoints)),
        pool: Arc::new(PoolLimits::default()),
        outlier: None,
        warmup: None,
        transport: portcullis_snapshot::transport::Transport::default(),
        health_check: None,
        notes: Notes::default(),
    }
}
