//! Whether a failed try is followed by another one.
//!
//! The conditions are Envoy's reading of `retryOn`; which of them hold is the route's
//! [`RetryPolicy`]. What only the data plane can know (is the body still at hand, is there time
//! left, does the breaker give leave) it has to ask itself, after this.

use std::time::Duration;

use portcullis_snapshot::retry::RetryPolicy;
use rand::Rng;

use crate::backoff;

/// How a try ended, before anything of it went to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No connection: refused, unreachable, TLS failed, or not within the connect timeout.
    ConnectFailure,
    /// The exchange broke off.
    Reset {
        /// Whether any byte of the request had been handed to the connection.
        request_sent: bool,
    },
    /// HTTP/2 REFUSED_STREAM: the upstream did not look at the request (RFC 9113 §8.7).
    RefusedStream,
    /// Response headers came.
    Response(ResponseFacts),
    /// `perTryTimeout` passed. The upstream stream is reset locally.
    PerTryTimeout,
    /// A circuit breaker of the cluster was at its limit: never retried.
    Overflow,
    /// There was no endpoint to pick: never retried.
    NoEndpoint,
}

/// What of a response decides on a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFacts {
    /// Status.
    pub status: u16,
    /// `grpc-status` among the headers (a trailers-only answer), for gRPC requests.
    pub grpc_status: Option<u16>,
    /// Whether `x-envoy-ratelimited` is there.
    pub rate_limited: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again after `wait`.
    Retry {
        /// Back-off.
        wait: Duration,
    },
    /// What the last try yielded goes to the client.
    GiveUp {
        /// Whether only the number of attempts stood in the way: flag URX.
        exhausted: bool,
    },
}

/// Decides on a try that ended with `outcome` after `retries` retries (0 behind the first try).
pub fn decide(policy: &RetryPolicy, retries: u32, outcome: Outcome, dice: &mut impl Rng) -> Decision {
    // Without attempts there is no policy at all: nothing was used up.
    if policy.attempts == 0 || !retriable(policy, outcome) {
        return Decision::GiveUp { exhausted: false };
    }
    if retries >= policy.attempts {
        return Decision::GiveUp { exhausted: true };
    }
    Decision::Retry { wait: backoff::wait(policy.backoff, retries + 1, dice) }
}

/// Whether the policy names a condition that `outcome` fulfils.
#[must_use]
pub fn retriable(policy: &RetryPolicy, outcome: Outcome) -> bool {
    let on = &policy.on;
    // These three cover every way a try can end without response headers.
    let any_reset = on.server_error || on.gateway_error || on.reset;
    match outcome {
        Outcome::ConnectFailure => any_reset || on.connect_failure || on.reset_before_request,
        Outcome::Reset { request_sent } => any_reset || on.reset_before_request && !request_sent,
        Outcome::RefusedStream => any_reset || on.refused_stream,
        Outcome::PerTryTimeout => any_reset,
        Outcome::Response(facts) => retriable_response(policy, facts),
        Outcome::Overflow | Outcome::NoEndpoint => false,
    }
}

fn retriable_response(policy: &RetryPolicy, facts: ResponseFacts) -> bool {
    let on = &policy.on;
    // Retrying into a rate limit makes it worse, so that takes its own condition.
    if facts.rate_limited {
        return on.envoy_ratelimited;
    }
    let by_status = match facts.status {
        502..=504 => on.server_error || on.gateway_error,
        500..=599 => on.server_error,
        409 => on.retriable_4xx,
        _ => false,
    };
    by_status
        || on.retriable_status_codes && policy.statuses.contains(&facts.status)
        || facts.grpc_status.is_some_and(|status| match status {
            1 => on.grpc_cancelled,
            4 => on.grpc_deadline_exceeded,
            8 => on.grpc_resource_exhausted,
            13 => on.grpc_internal,
            14 => on.grpc_unavailable,
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::balance::testing::Dice;

    const CONNECT: Outcome = Outcome::ConnectFailure;
    const UNSENT: Outcome = Outcome::Reset { request_sent: false };
    const SENT: Outcome = Outcome::Reset { request_sent: true };

    fn policy(on: &str) -> RetryPolicy {
        let mut policy = RetryPolicy { attempts: 2, ..RetryPolicy::none() };
        for name in on.split(',').filter(|name| !name.is_empty()) {
            match name.parse() {
                Ok(status) => policy.statuses.push(status),
                Err(_) => assert!(policy.on.enable(name), "{name}"),
            }
        }
        policy
    }

    fn status(status: u16) -> Outcome {
        Outcome::Response(ResponseFacts { status, grpc_status: None, rate_limited: false })
    }

    fn grpc(grpc_status: u16) -> Outcome {
        Outcome::Response(ResponseFacts { status: 200, grpc_status: Some(grpc_status), rate_limited: false })
    }

    #[test]
    fn conditions() {
        let limited = Outcome::Response(ResponseFacts { status: 503, grpc_status: None, rate_limited: true });
        let all = [CONNECT, UNSENT, SENT, Outcome::RefusedStream, Outcome::PerTryTimeout, Outcome::Overflow];
        for (on, yes, no) in [
            ("", &[][..], &[CONNECT, SENT, status(503), grpc(14)][..]),
            (
                "5xx",
                &[
                    CONNECT,
                    UNSENT,
                    SENT,
                    Outcome::RefusedStream,
                    Outcome::PerTryTimeout,
                    status(500),
                    status(503),
                ],
                &[status(404), status(409), grpc(14), limited, Outcome::Overflow, Outcome::NoEndpoint],
            ),
            (
                "gateway-error",
                &[CONNECT, SENT, Outcome::PerTryTimeout, status(502), status(504)],
                &[status(500), status(505)],
            ),
            ("reset", &[CONNECT, SENT, UNSENT, Outcome::PerTryTimeout], &[status(503)]),
            ("reset-before-request", &[UNSENT, CONNECT], &[SENT, status(503), Outcome::PerTryTimeout]),
            ("connect-failure", &[CONNECT], &[UNSENT, SENT, Outcome::RefusedStream, Outcome::PerTryTimeout]),
            ("retriable-4xx", &[status(409)], &[status(404), status(429)]),
            ("refused-stream", &[Outcome::RefusedStream], &[SENT, CONNECT]),
            ("retriable-status-codes,418", &[status(418)], &[status(503)]),
            ("418", &[], &[status(418)]),
            ("envoy-ratelimited", &[limited], &[status(503)]),
            ("cancelled", &[grpc(1)], &[grpc(14)]),
            ("deadline-exceeded", &[grpc(4)], &[grpc(1)]),
            ("resource-exhausted", &[grpc(8)], &[grpc(1)]),
            ("internal", &[grpc(13)], &[grpc(1)]),
            ("unavailable", &[grpc(14)], &[grpc(1), status(503)]),
        ] {
            let policy = policy(on);
            for &outcome in yes {
                assert!(retriable(&policy, outcome), "{on}: {outcome:?}");
            }
            for &outcome in no {
                assert!(!retriable(&policy, outcome), "{on}: {outcome:?}");
            }
        }
        assert!(all.iter().all(|&outcome| !retriable(&policy(""), outcome)));
    }

    #[test]
    fn istios_default_leaves_answers_alone() {
        let policy = RetryPolicy::istio_default();
        assert!(retriable(&policy, CONNECT) && retriable(&policy, Outcome::RefusedStream));
        assert!(retriable(&policy, grpc(14)) && retriable(&policy, grpc(1)));
        for outcome in [status(500), status(503), SENT, UNSENT, Outcome::PerTryTimeout] {
            assert!(!retriable(&policy, outcome), "{outcome:?}");
        }
    }

    #[test]
    fn attempts_are_counted() {
        let mut dice = Dice::seed_from_u64(3);
        let policy = policy("5xx");
        assert!(matches!(decide(&policy, 0, status(503), &mut dice), Decision::Retry { .. }));
        assert!(matches!(decide(&policy, 1, status(503), &mut dice), Decision::Retry { .. }));
        assert_eq!(decide(&policy, 2, status(503), &mut dice), Decision::GiveUp { exhausted: true });
        assert_eq!(decide(&policy, 2, status(200), &mut dice), Decision::GiveUp { exhausted: false });
        let none = RetryPolicy { attempts: 0, ..policy };
        assert_eq!(decide(&none, 0, status(503), &mut dice), Decision::GiveUp { exhausted: false });
    }
}
