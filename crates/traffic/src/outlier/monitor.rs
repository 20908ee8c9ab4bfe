//! Runs of failures of one endpoint, counted by every worker.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use portcullis_snapshot::cluster::OutlierDetection;

/// What a request or connection showed about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// Response headers came with this status (for gRPC, the status that its `grpc-status` maps to).
    Status(u16),
    /// A connection for HTTP was opened; the exchange is still to come.
    Connected,
    /// A connection of a TCP session was opened: all there is to see.
    TcpConnected,
    /// No connection, or it broke off before response headers.
    Failed,
    /// The route's or the try's timeout passed before response headers.
    TimedOut,
}

/// What has happened too often in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// `consecutive5xxErrors`.
    ServerErrors,
    /// `consecutiveGatewayErrors`.
    GatewayErrors,
    /// `consecutiveLocalOriginFailures`.
    LocalFailures,
}

/// The counts of one endpoint, and whether it is out. Success costs two or three plain loads.
#[derive(Debug, Default)]
pub struct Monitor {
    server_errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_failures: AtomicU32,
    ejected: AtomicBool,
}

impl Monitor {
    /// Counts an observation; gives the runs that have just reached their threshold.
    pub fn observe(&self, rules: &OutlierDetection, seen: Observation) -> impl Iterator<Item = Run> + use<> {
        let split = rules.consecutive_local.is_some();
        let [first, second] = match seen {
            Observation::Status(status) => self.status(rules, counted(rules, status)),
            Observation::Connected | Observation::TcpConnected if split => {
                reset(&self.local_failures);
                [None, None]
            }
            Observation::Connected => [None, None],
            Observation::TcpConnected => self.status(rules, 200),
            Observation::Failed | Observation::TimedOut if split => {
                [bump(&self.local_failures, rules.consecutive_local).then_some(Run::LocalFailures), None]
            }
            Observation::Failed => self.status(rules, 503),
            Observation::TimedOut => self.status(rules, 504),
        };
        first.into_iter().chain(second)
    }

    /// Whether the endpoint is out.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    pub(super) fn set_ejected(&self, ejected: bool) {
        self.ejected.store(ejected, Ordering::Relaxed);
    }

    pub(super) fn forget(&self, run: Run) {
        reset(match run {
            Run::ServerErrors => &self.server_errors,
            Run::GatewayErrors => &self.gateway_errors,
            Run::LocalFailures => &self.local_failures,
        });
    }

    pub(super) fn forget_all(&self) {
        [Run::ServerErrors, Run::GatewayErrors, Run::LocalFailures]
            .into_iter()
            .for_each(|run| self.forget(run));
    }

    fn status(&self, rules: &OutlierDetection, status: u16) -> [Option<Run>; 2] {
        match status {
            502..=504 => [
                bump(&self.gateway_errors, rules.consecutive_gateway).then_some(Run::GatewayErrors),
                bump(&self.server_errors, rules.consecutive_5xx).then_some(Run::ServerErrors),
            ],
            500..=599 => {
                reset(&self.gateway_errors);
                [bump(&self.server_errors, rules.consecutive_5xx).then_some(Run::ServerErrors), None]
            }
            _ => {
                reset(&self.gateway_errors);
                reset(&self.server_errors);
                [None, None]
            }
        }
    }
}

/// The status that a status counts as: itself, unless the rules list those that are failures.
fn counted(rules: &OutlierDetection, status: u16) -> u16 {
    match &rules.failure_statuses {
        None => status,
        Some(failures) if !failures.contains(&status) => 200,
        // Envoy only knows that it failed; what it takes that for depends on the split.
        Some(_) if rules.consecutive_local.is_some() => 503,
        Some(_) => 500,
    }
}

/// One more; whether that made it exactly `threshold`.
fn bump(count: &AtomicU32, threshold: Option<u32>) -> bool {
    let before = count.fetch_add(1, Ordering::Relaxed);
    threshold.is_some_and(|threshold| before.wrapping_add(1) == threshold)
}

/// Only writes where there is something to forget: the line stays shared between workers.
fn reset(count: &AtomicU32) {
    if count.load(Ordering::Relaxed) != 0 {
        count.store(0, Ordering::Relaxed);
    }
}
