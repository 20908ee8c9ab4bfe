//! Maglev hashing (Eisenbud et al., NSDI 2016, §3.4), weighted as Envoy does it.
//!
//! Each endpoint walks a permutation of the table of its own and takes the next free slot whenever
//! it is its turn; a key belongs to whoever has its slot. Even, and a look-up is one remainder; a
//! change of endpoints moves a few keys more than a ring would.

use std::rc::Rc;

use xxhash_rust::xxh64::xxh64;

use super::endpoint::EndpointState;
use super::ring::host_key;

/// Largest table (Istio's bound on `tableSize`).
const MAX_SIZE: u64 = 5_000_011;
/// Smallest one the algorithm is defined for.
const MIN_SIZE: u64 = 2;

/// Slots, each with a position.
#[derive(Debug)]
pub(super) struct Maglev {
    slots: Vec<u32>,
}

struct Walk {
    position: u32,
    next: u64,
    skip: u64,
    weight: f64,
    /// Grows with each slot taken; compared with the round to keep to the weights.
    taken: f64,
}

impl Maglev {
    /// Fills a table of `size` slots, a prime number, for endpoints with their shares of it. They take turns
    /// in the order of their addresses as texts.
    pub(super) fn new(endpoints: &[Rc<EndpointState>], shares: &[f64], size: u64) -> Self {
        let size = size.clamp(MIN_SIZE, MAX_SIZE);
        let heaviest = shares.iter().copied().fold(0.0, f64::max);
        let mut named: Vec<_> = (0..)
            .zip(endpoints)
            .zip(shares)
            .map(|((position, endpoint), share)| (host_key(endpoint), position, *share))
            .collect();
        named.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let mut walks: Vec<Walk> =
            named.iter().map(|(name, position, share)| Walk::new(name, *position, *share, size)).collect();
        let mut slots = vec![FREE; usize::try_from(size).unwrap_or_default()];
        let mut free = slots.len();
        let mut round = 0.0;
        while free > 0 && !walks.is_empty() {
            round += 1.0;
            for walk in &mut walks {
                if round * walk.weight < walk.taken {
                    continue;
                }
                walk.taken += heaviest;
                walk.take(&mut slots, size);
                free -= 1;
                if free == 0 {
                    break;
                }
            }
        }
        Self { slots }
    }

    /// The position of the endpoint for a key. Further attempts turn the key over, as Envoy does.
    pub(super) fn at(&self, key: u64, attempt: u32) -> usize {
        let key = if attempt == 0 { key } else { key ^ !u64::from(attempt - 1) };
        let slot = key % (self.slots.len().max(1) as u64);
        self.slots.get(usize::try_from(slot).unwrap_or_default()).map_or(0, |&position| position as usize)
    }
}

impl Walk {
    fn new(name: &str, position: u32, share: f64, size: u64) -> Self {
        let next = xxh64(name.as_bytes(), 0) % size;
        let skip = xxh64(name.as_bytes(), 1) % (size - 1) + 1;
        Self { position, next, skip, weight: share, taken: 0.0 }
    }

    /// Takes the next free slot of the permutation; there is one, and a prime size reaches it. For
    /// a size that is not prime the walk falls back to the neighbour after one round.
    fn take(&mut self, slots: &mut [u32], size: u64) {
        for step in 0..size.saturating_mul(2) {
            let at = usize::try_from(self.next).unwrap_or_default();
            self.next = (self.next + if step < size { self.skip } else { 1 }) % size;
            if slots[at] == FREE {
                slots[at] = self.position;
                return;
            }
        }
    }
}

/// A slot that nobody has.
const FREE: u32 = u32::MAX;
