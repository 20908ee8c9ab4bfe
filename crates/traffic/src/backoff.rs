//! Waiting between tries.

use std::time::Duration;

use rand::Rng;

/// The bound of a wait grows to this many times the base interval (Envoy's default for
/// `retry_back_off.max_interval`).
pub const MAX_FACTOR: u32 = 10;

/// The wait before retry `nth` (from 1): uniform in [0, base × 2^(nth−1)), the bound at most
/// [`MAX_FACTOR`] × base.
pub fn wait(base: Duration, nth: u32, dice: &mut impl Rng) -> Duration {
    let factor = 1_u32.checked_shl(nth.saturating_sub(1)).unwrap_or(MAX_FACTOR).clamp(1, MAX_FACTOR);
    let bound = base.saturating_mul(factor).as_nanos();
    let nanos = (u128::from(dice.next_u64()) * bound.min(u128::from(u64::MAX))) >> u64::BITS;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn bounds_grow_and_stop() {
        let mut dice = crate::balance::testing::Dice::seed_from_u64(1);
        let base = Duration::from_millis(25);
        for (nth, bound) in
            [(0, 25), (1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (60, 250), (u32::MAX, 250)]
        {
            let waits: Vec<_> = (0..2_000).map(|_| wait(base, nth, &mut dice)).collect();
            let longest = *waits.iter().max().unwrap();
            let bound = Duration::from_millis(bound);
            assert!(longest < bound && longest > bound.mul_f64(0.95), "{nth}: {longest:?} of {bound:?}");
        }
        assert_eq!(wait(Duration::ZERO, 3, &mut dice), Duration::ZERO);
    }
}
