//! Turns by weight: earliest deadline first, as Envoy schedules endpoints of unequal weight.
//!
//! Each endpoint has a deadline. The earliest one is next, and its new deadline is 1/weight later: an
//! endpoint of weight 3 comes up three times as often as one of weight 1, and evenly spread.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::rc::Rc;

use rand::Rng;

use super::endpoint::EndpointState;

/// Who is next.
#[derive(Debug)]
pub(super) struct Deadlines {
    queue: BinaryHeap<Reverse<Turn>>,
}

#[derive(Debug)]
struct Turn {
    deadline: f64,
    position: usize,
}

impl Deadlines {
    /// Endpoints that were scheduled before keep their deadline; others get one anywhere within
    /// their first period, or all workers would start with the same endpoint.
    pub(super) fn new(
        endpoints: &[Rc<EndpointState>],
        weight: impl Fn(&EndpointState) -> f64,
        dice: &mut impl Rng,
    ) -> Self {
        let held = || endpoints.iter().map(|endpoint| endpoint.learned().deadline.get());
        let now = held().filter(|&deadline| deadline > 0.0).fold(f64::INFINITY, f64::min);
        let now = if now.is_finite() { now } else { 0.0 };
        let turns = endpoints.iter().enumerate().map(|(position, endpoint)| {
            let held = endpoint.learned().deadline.get();
            // Whoever was out for long must not make up for all of it.
            let period = 1.0 / weight(endpoint);
            let deadline = if held > 0.0 { held.min(now + period) } else { now + unit(dice) * period };
            Reverse(Turn { deadline, position })
        });
        Self { queue: turns.collect() }
    }

    /// The position whose turn it is; its next one comes by `weight`.
    pub(super) fn next(
        &mut self,
        endpoints: &[Rc<EndpointState>],
        weight: impl Fn(&EndpointState) -> f64,
    ) -> usize {
        let Some(mut first) = self.queue.peek_mut() else { return 0 };
        let Turn { deadline, position } = &mut first.0;
        *deadline += 1.0 / weight(&endpoints[*position]);
        endpoints[*position].learned().deadline.set(*deadline);
        *position
    }
}

/// Uniform in [0, 1).
#[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
pub(super) fn unit(dice: &mut impl Rng) -> f64 {
    (dice.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.deadline.total_cmp(&other.deadline).then(self.position.cmp(&other.position))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Turn {}
