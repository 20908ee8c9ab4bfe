//! One writer among the replicas, by a Lease (coordination.k8s.io): who holds it, and what to do next.
//!
//! ```text
//!             nobody holds it, or its holder was silent for too long
//!   waiting ─────────────────────────────────────────────────────────► leading ─┐ renews every few seconds
//!      ▲                                                                 │  ▲   │
//!      │  another one holds it, or it could not be renewed in time       │  └───┘
//!      └─────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The clocks of machines differ, so the times written into the Lease are for people. What counts is how long *this*
//! process has seen the Lease unchanged, by its own monotonic clock: a holder is silent when it has not changed the Lease
//! for as long as the Lease says, counted from when the change was seen, never from when it was written.

pub(crate) mod record;

use std::time::{Duration, Instant};

pub(crate) use record::{Held, Record};

/// How long a holder may be silent before another one takes the Lease.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
/// How often the holder renews it: three chances before the others may take it. Each renewal is a write, and K3s keeps
/// them in SQLite.
pub(crate) const RENEW: Duration = Duration::from_secs(5);
/// A holder that has not renewed it for so long writes nothing more, well before another one may begin.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// How often the others look.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

/// What to do about the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is none: make it.
    Create,
    /// Nobody holds it any more: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Somebody holds it.
    Wait,
}

/// The standing of one candidate.
#[derive(Debug)]
pub(crate) struct Election {
    identity: String,
    /// What was seen last, and when it was first seen so.
    observed: Option<(Held, Instant)>,
    /// When the last renewal that succeeded was sent.
    renewed: Option<Instant>,
}

impl Election {
    pub(crate) fn new(identity: String) -> Self {
        Self { identity, observed: None, renewed: None }
    }

    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// The Lease was seen as it is now; `None` where there is none.
    pub(crate) fn observe(&mut self, held: Option<Held>, now: Instant) {
        let Some(held) = held else {
            (self.observed, self.renewed) = (None, None);
            return;
        };
        if held.holder != self.identity {
            self.renewed = None;
        }
        match &self.observed {
            Some((before, _)) if *before == held => {}
            _ => self.observed = Some((held, now)),
        }
    }

    /// A renewal that was sent at `sent` has succeeded.
    pub(crate) fn won(&mut self, held: Held, sent: Instant) {
        (self.observed, self.renewed) = (Some((held, sent)), Some(sent));
    }

    /// It was given back.
    pub(crate) fn released(&mut self) {
        self.renewed = None;
    }

    /// What is to be done, after [`observe`](Self::observe).
    pub(crate) fn step(&self, now: Instant) -> Step {
        match &self.observed {
            None => Step::Create,
            Some((held, _)) if held.holder.is_empty() => Step::Take,
            Some((held, _)) if held.holder == self.identity => Step::Renew,
            Some((held, since)) if now.saturating_duration_since(*since) >= held.length => Step::Take,
            Some(_) => Step::Wait,
        }
    }

    /// Whether this process may write.
    pub(crate) fn leads(&self, now: Instant) -> bool {
        self.renewed.is_some_and(|renewed| now.saturating_duration_since(renewed) < DEADLINE)
    }

    /// How long until the Lease is to be looked at again.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        if self.leads(now) { RENEW } else { LOOK }
    }

    /// How often the Lease has changed hands; what the next holder writes.
    pub(crate) fn transitions(&self) -> u64 {
        self.observed.as_ref().map_or(0, |(held, _)| held.transitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(holder: &str, renewed: &str) -> Option<Held> {
        Some(Held { holder: holder.to_owned(), renewed: renewed.to_owned(), length: LEASE, transitions: 3 })
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_silent_holder_is_followed_after_the_length_of_its_lease_by_ones_own_clock() {
        let (mut election, start) = (Election::new("b".to_owned()), Instant::now());
        election.observe(None, start);
        assert_eq!(election.step(start), Step::Create);
        // The time it was renewed at lies far in the past, or in the future: nobody's clock is believed.
        election.observe(held("a", "1970-01-01T00:00:00.000000Z"), start);
        assert_eq!(election.step(start + seconds(14)), Step::Wait);
        election.observe(held("a", "2970-01-01T00:00:00.000000Z"), start + seconds(14));
        assert_eq!(election.step(start + seconds(28)), Step::Wait, "it was renewed");
        election.observe(held("a", "2970-01-01T00:00:00.000000Z"), start + seconds(28));
        assert_eq!(election.step(start + seconds(29)), Step::Take);
        assert_eq!(election.transitions(), 3);
    }

    #[test]
    fn what_was_released_is_taken_at_once() {
        let (mut election, start) = (Election::new("b".to_owned()), Instant::now());
        election.observe(held("a", "1"), start);
        election.observe(held("", "2"), start + seconds(1));
        assert_eq!(election.step(start + seconds(1)), Step::Take);
    }

    #[test]
    fn a_holder_that_cannot_renew_stops_before_another_one_may_begin() {
        let (mut election, start) = (Election::new("a".to_owned()), Instant::now());
        assert!(!election.leads(start));
        election.won(held("a", "1").expect("held"), start);
        assert!(election.leads(start + seconds(9)) && !election.leads(start + DEADLINE));
        assert!(DEADLINE + seconds(2) < LEASE && 2 * RENEW <= DEADLINE);
        assert_eq!((election.pause(start), election.pause(start + DEADLINE)), (RENEW, LOOK));
        // It is still its own as long as nobody else took it.
        election.observe(held("a", "1"), start + seconds(20));
        assert_eq!(election.step(start + seconds(20)), Step::Renew);
        election.won(held("a", "2").expect("held"), start + seconds(20));
        election.observe(held("b", "3"), start + seconds(21));
        assert!(!election.leads(start + seconds(21)));
        assert_eq!(election.step(start + seconds(21)), Step::Wait);
    }
}
