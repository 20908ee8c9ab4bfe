//! What a row of health checks says about an endpoint.
//!
//! ```text
//!              unhealthy_threshold failures in a row
//!   well  ───────────────────────────────────────────►  failing
//!         ◄───────────────────────────────────────────
//!              healthy_threshold successes in a row
//! ```
//!
//! An endpoint is well until its checks say otherwise; only the very first check decides at once, either way: what has
//! never answered is not given requests to find that out (Envoy starts its hosts as failing to the same end).

use portcullis_snapshot::health_check::HealthCheck;

/// The judge of one endpoint.
#[derive(Debug, Clone)]
pub struct Judge {
    failing: bool,
    /// Checks in a row that spoke against the verdict.
    against: u32,
    /// Whether any check has been judged.
    seen: bool,
}

impl Judge {
    /// For an endpoint about which nothing was heard but this verdict: `failing` is what it starts as.
    #[must_use]
    pub fn new(failing: bool) -> Self {
        Self { failing, against: 0, seen: failing }
    }

    /// Takes in a check; tells the verdict when it changes: whether the endpoint is failing now.
    pub fn hear(&mut self, passed: bool, rules: &HealthCheck) -> Option<bool> {
        let first = !std::mem::replace(&mut self.seen, true);
        if passed != self.failing {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let needed = if passed { rules.healthy_threshold } else { rules.unhealthy_threshold };
        if !first && self.against < needed.get() {
            return None;
        }
        self.against = 0;
        self.failing = !passed;
        Some(self.failing)
    }

    /// Whether the endpoint is failing.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use portcullis_snapshot::health_check::Probe;
    use proptest::prelude::*;

    use super::*;

    fn rules(unhealthy: u32, healthy: u32) -> HealthCheck {
        HealthCheck {
            probe: Probe::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_threshold: NonZeroU32::new(unhealthy).expect("not zero"),
            healthy_threshold: NonZeroU32::new(healthy).expect("not zero"),
            port: None,
            panic_percent: 0,
        }
    }

    /// The verdict after each check: `.` well, `x` failing.
    fn verdicts(checks: &str, rules: &HealthCheck) -> String {
        let mut judge = Judge::new(false);
        let hear = |check| {
            judge.hear(check == '+', rules);
            if judge.is_failing() { 'x' } else { '.' }
        };
        checks.chars().map(hear).collect()
    }

    #[test]
    fn only_rows_count_but_for_the_first_check() {
        let rules = rules(3, 2);
        for (checks, expected) in [
            ("+--+--+", "......."),
            ("+---++", "...xx."),
            ("+---+-++", "...xxxx."),
            ("-", "x"),
            ("-++", "xx."),
            ("+---", "...x"),
        ] {
            assert_eq!(verdicts(checks, &rules), expected, "{checks}");
        }
    }

    #[test]
    fn a_verdict_carried_over_needs_the_whole_row() {
        let mut judge = Judge::new(true);
        assert_eq!(judge.hear(true, &rules(1, 2)), None);
        assert_eq!(judge.hear(true, &rules(1, 2)), Some(false));
    }

    proptest! {
        /// Against a look back over the whole history.
        #[test]
        fn agrees_with_a_look_back(checks: Vec<bool>, unhealthy in 1u32..5, healthy in 1u32..5) {
            let rules = rules(unhealthy, healthy);
            let (mut judge, mut failing, mut since) = (Judge::new(false), false, 0);
            for (at, passed) in checks.iter().enumerate() {
                let row = |wanted: bool| {
                    checks[since..=at].iter().rev().take_while(|check| **check == wanted).count() as u32
                };
                let changes = match failing {
                    false => !passed && (at == 0 || row(false) >= unhealthy),
                    true => *passed && row(true) >= healthy,
                };
                let told = judge.hear(*passed, &rules);
                prop_assert_eq!(told, changes.then_some(!failing));
                if changes {
                    failing = !failing;
                    since = at + 1;
                }
                prop_assert_eq!(judge.is_failing(), failing);
            }
        }
    }
}
