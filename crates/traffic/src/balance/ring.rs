//! Ring hash: Ketama's consistent hashing, laid out as Envoy does it.
//!
//! An endpoint owns points on a ring of 2^64, as many as its share of the weights asks for; a key
//! belongs to the first point at or behind it. One endpoint more or less moves the keys of its own
//! points, and a few others where the rest gets more or fewer points to keep the ring's size.

use std::rc::Rc;

use xxhash_rust::xxh64::xxh64;

use super::endpoint::EndpointState;

/// Largest ring (Envoy's `maximum_ring_size`): 16 bytes a point.
const MAX_SIZE: f64 = 8_388_608.0;

/// Points in order of hash.
#[derive(Debug)]
pub(super) struct Ring {
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// Lays out a ring of at least `minimum_size` points for endpoints in order of address, with their
    /// shares of it.
    pub(super) fn new(endpoints: &[Rc<EndpointState>], shares: &[f64], minimum_size: u64) -> Self {
        let least = shares.iter().copied().fold(1.0, f64::min);
        #[expect(clippy::cast_precision_loss, reason = "sizes stay far below 2^53")]
        let minimum = minimum_size as f64;
        // As small as possible while the lightest endpoint has a whole number of points.
        let scale = ((least * minimum).ceil() / least).min(MAX_SIZE);
        let mut points = Vec::new();
        let (mut have, mut want) = (0.0, 0.0);
        for ((position, endpoint), share) in (0_u32..).zip(endpoints).zip(shares) {
            want += scale * share;
            let mut name = format!("{}_", host_key(endpoint));
            let stem = name.len();
            let mut number = 0_u32;
            while have < want {
                name.truncate(stem);
                name.push_str(itoa::Buffer::new().format(number));
                points.push((xxh64(name.as_bytes(), 0), position));
                number += 1;
                have += 1.0;
            }
        }
        points.sort_unstable();
        Self { points }
    }

    /// The position of the endpoint for a key. Each further attempt goes on along the ring.
    pub(super) fn at(&self, key: u64, attempt: u32) -> usize {
        let first = self.points.partition_point(|&(hash, _)| hash < key);
        let point = self.points.get((first + attempt as usize) % self.points.len().max(1));
        point.map_or(0, |&(_, position)| position as usize)
    }
}

/// Weights as shares of their sum. Rounding decides on single points, so it is done as Envoy does it: each
/// weight times `whole`, divided by the sum.
pub(super) fn shares(endpoints: &[Rc<EndpointState>], whole: f64) -> impl Iterator<Item = f64> {
    let total: f64 = endpoints.iter().map(|endpoint| endpoint.weight()).sum();
    endpoints.iter().map(move |endpoint| endpoint.weight() * whole / total)
}

/// The text that stands for an endpoint in hashes: `ip:port`, or the path of a unix socket.
pub(super) fn host_key(endpoint: &EndpointState) -> String {
    match endpoint.address() {
        portcullis_snapshot::cluster::Address::Unix(path) => path.to_string_lossy().into_owned(),
        other => other.inet().map(|inet| inet.to_string()).unwrap_or_default(),
    }
}
