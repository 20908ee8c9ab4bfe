//! Clients that take their requests back as soon as they have made them (CVE-2023-44487, "rapid reset"): each costs
//! the gateway and an upstream more than it costs the client, and none counts as a stream in progress.

use std::cell::Cell;
use std::time::Duration;

/// Requests of a connection from which on those taken back are looked at (Envoy's
/// `premature_reset_total_stream_count`).
const FROM: u32 = 500;
/// A request that was waited for so long was meant (Envoy's `premature_reset_min_stream_lifetime_seconds`).
const MEANT: Duration = Duration::from_secs(1);

/// What a connection's client did with its requests.
#[derive(Debug, Default)]
pub(super) struct Resets {
    opened: Cell<u32>,
    taken_back: Cell<u32>,
}

impl Resets {
    /// Counts a request.
    pub(super) fn opened(&self) {
        self.opened.set(self.opened.get().saturating_add(1));
    }

    /// Counts a request that the client took back, before a response began and so long after it had come.
    pub(super) fn taken_back(&self, after: Duration) {
        if after < MEANT {
            self.taken_back.set(self.taken_back.get().saturating_add(1));
        }
    }

    /// Whether half of the requests or more were not meant.
    pub(super) fn are_too_many(&self) -> bool {
        let opened = self.opened.get();
        opened >= FROM && self.taken_back.get() >= opened.div_ceil(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resets(opened: u32, taken_back: u32, after: Duration) -> Resets {
        let resets = Resets::default();
        (0..opened).for_each(|_| resets.opened());
        (0..taken_back).for_each(|_| resets.taken_back(after));
        resets
    }

    #[test]
    fn half_of_many_requests_taken_back_at_once_is_too_many() {
        for (opened, taken_back, after, too_many) in [
            (499, 499, Duration::ZERO, false),
            (500, 250, Duration::ZERO, true),
            (500, 249, Duration::ZERO, false),
            (501, 250, Duration::ZERO, false),
            (500, 500, MEANT, false),
        ] {
            assert_eq!(
                resets(opened, taken_back, after).are_too_many(),
                too_many,
                "{taken_back} of {opened}"
            );
        }
    }
}
