//! Drawing by weight.

/// Running sums of weights.
#[derive(Debug)]
pub(super) struct Weights {
    sums: Vec<u64>,
}

impl Weights {
    pub(super) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let running = weights.scan(0_u64, |sum, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Self { sums: running.collect() }
    }

    /// The position for a draw uniform over `u64`; there must be at least one weight.
    pub(super) fn at(&self, dice: u64) -> usize {
        let total = self.sums.last().copied().unwrap_or(1);
        let point = u64::try_from((u128::from(dice) * u128::from(total)) >> u64::BITS).unwrap_or(0);
        self.sums.partition_point(|&sum| sum <= point).min(self.sums.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_its_share_of_the_dice() {
        let weights = Weights::new([1, 3].into_iter());
        for (dice, position) in [(0, 0), (u64::MAX / 4 - 1, 0), (u64::MAX / 4 + 2, 1), (u64::MAX, 1)] {
            assert_eq!(weights.at(dice), position);
        }
    }
}
